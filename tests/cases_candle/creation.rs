//! Tensors that a forward makes, of sizes that are known or follow the batch.

use crate::harness::cases;

cases! {
    creation {
        "zeros", true, [2, 3], |xs| xs.add(&T::zeros(xs.shape(), DType::F32, xs.device())?);
        "zeros, fixed", true, [2, 3], |xs| T::cat(&[xs, &T::zeros((1, 3), DType::F32, xs.device())?], 0);
        "ones", true, [2, 3], |xs| xs.add(&T::ones((xs.dim(0)?, 3), DType::F32, xs.device())?);
        "full", true, [2, 3], |xs| xs.add(&T::full(2.5f32, xs.shape(), xs.device())?);
        "zeros_like", true, [2, 3], |xs| T::cat(&[xs.zeros_like()?, xs.clone()], 1);
        "ones_like", true, [2, 3], |xs| T::cat(&[xs.ones_like()?, xs.clone()], 1);
        "arange", true, [2, 3], |xs| xs.broadcast_add(&T::arange(0f32, xs.dim(0)? as f32, xs.device())?.unsqueeze(1)?);
        "arange, whole", true, [2, 3], |xs| {
            let rows = T::arange(1u32, xs.dim(0)? as u32 + 1, xs.device())?;
            xs.broadcast_mul(&rows.to_dtype(DType::F32)?.unsqueeze(1)?)
        };
        "arange, fixed", true, [2, 3], |xs| xs.broadcast_add(&T::arange(0i64, 3, xs.device())?.to_dtype(DType::F32)?);
        "arange_step", true, [2, 3], |xs| xs.broadcast_add(&T::arange_step(0f32, 1.5, 0.5, xs.device())?);
        "arange_step, batch", true, [2, 3], |xs| {
            let rows = T::arange_step(1i64, 2 * xs.dim(0)? as i64 + 1, 2, xs.device())?;
            xs.broadcast_mul(&rows.to_dtype(DType::F32)?.unsqueeze(1)?)
        };
        "tril2", true, [2, 3], |xs| T::tril2(xs.dim(0)?, DType::F32, xs.device())?.matmul(xs);
        "triu2", true, [2, 3], |xs| T::triu2(xs.dim(0)?, DType::F32, xs.device())?.matmul(xs);
        "eye", true, [2, 3], |xs| xs.matmul(&T::eye(3, DType::F32, xs.device())?);
        "eye, batch", true, [2, 3], |xs| T::eye(xs.dim(0)?, DType::F32, xs.device())?.matmul(xs);
        "new", true, [2, 3], |xs| xs.broadcast_add(&T::new(&[1f32, 2.0, 3.0], xs.device())?);
        "from_vec", true, [2, 3], |xs| xs.broadcast_add(&T::from_vec(vec![1f32, 2.0, 3.0], (1, 3), xs.device())?);
        "from_slice", true, [2, 3], |xs| xs.broadcast_add(&T::from_slice(&[1f32, 2.0, 3.0], 3, xs.device())?);
        "from_iter", true, [2, 3], |xs| xs.broadcast_add(&T::from_iter([1f32, 2.0, 3.0], xs.device())?);
        "meshgrid", true, [2, 3], |xs| {
            let rows = T::arange(0f32, xs.dim(0)? as f32, xs.device())?;
            let grids = T::meshgrid(&[&rows, &T::new(&[1f32, 2.0, 3.0], xs.device())?], false)?;
            (&grids[0] + &grids[1])? * xs
        };
        "meshgrid, xy", true, [2, 3], |xs| {
            let grids = T::meshgrid(&[xs.sum(0)?, xs.sum(1)?], true)?;
            &grids[0] * &grids[1]
        };
    }
}
