//! Functions of two tensors, with and without broadcasting; products.

use crate::harness::cases;

cases! {
    arithmetic {
        "add", true, [2, 3, 5], |xs| xs.add(&xs.sqr()?);
        "sub", true, [2, 3, 5], |xs| xs.sub(&xs.sqr()?);
        "mul", true, [2, 3, 5], |xs| xs.mul(&xs.sqr()?);
        "div", true, [2, 3, 5], |xs| xs.div(&xs.sqr()?.affine(1.0, 1.0)?);
        "operators", true, [2, 3, 5], |xs| {
            let ys = (xs.sqr() + xs)?;
            let zs = ((&ys * xs)? - xs.abs())?;
            let sum = ((ys + zs)? * 0.5)?;
            let quotient = (xs / (1.0 + (sum.sqr() * &sum.sqr()?)?)?)?;
            let inverse = (1.0 / (quotient.exp()? + 0.5)?)?;
            let rest = (2.0 - (inverse.clone() - 0.25)?)?;
            (3.0 * &rest)? / (&inverse / 4.0)?
        };
        "operators on owned tensors", true, [2, 3, 5], |xs| {
            let ys = xs.relu()?;
            let sum = (ys.clone() + ys)?;
            (sum.clone() * sum)? - (xs.abs()? / 3.0)?
        };
        "broadcast_add", true, [2, 3, 5], |xs| xs.broadcast_add(&T::constant(&weight(&[3, 1], 1)));
        "broadcast_sub", true, [2, 3, 5], |xs| xs.broadcast_sub(&xs.mean_keepdim(2)?);
        "broadcast_mul", true, [2, 3, 5], |xs| T::constant(&weight(&[1, 3, 5], 1)).broadcast_mul(xs);
        "broadcast_div", true, [2, 3, 5], |xs| xs.broadcast_div(&T::constant(&weight(&[5], 1).exp()?));
        "broadcast_maximum", true, [2, 3, 5], |xs| xs.broadcast_maximum(&T::constant(&weight(&[5], 1)));
        "broadcast_minimum", true, [2, 3, 5], |xs| xs.broadcast_minimum(&T::constant(&weight(&[5], 1)));
        "broadcast of both", true, [2, 3, 5], |xs| xs.unsqueeze(3)?.broadcast_mul(&xs.unsqueeze(2)?);
        "folded constants", true, [2, 5], |xs| {
            let w = T::constant(&weight(&[3, 5], 1)).affine(2.0, 1.0)?.t()?;
            xs.matmul(&w)
        };
        "matmul", false, [4, 6], |xs| xs.matmul(&T::constant(&weight(&[6, 3], 1)));
        "batched matmul", true, [2, 3, 4, 5], |xs| xs.matmul(&xs.transpose(2, 3)?);
        "broadcast_matmul", true, [2, 4, 6], |xs| xs.broadcast_matmul(&T::constant(&weight(&[6, 3], 1)));
        "broadcast_matmul, left", true, [2, 4, 6], |xs| T::constant(&weight(&[3, 4], 1)).broadcast_matmul(xs);
        "matmul, zeros", true, [2, 6], |xs| (xs * 0.0)?.matmul(&T::constant(&weight(&[6, 3], 1)));
        "matmul, turned zeros", true, [2, 6], |xs| {
            xs.affine(0.0, 0.0)?.t()?.unsqueeze(0)?.matmul(&xs.unsqueeze(0)?)
        };
        "matmul, expanded", true, [2, 6], |xs| {
            let rows = T::constant(&weight(&[1, 6], 1)).broadcast_as(xs.shape())?;
            rows.matmul(&T::constant(&weight(&[6, 3], 2)))?.broadcast_add(&xs.sum_keepdim(1)?)
        };
        "matmul, a sum over what is expanded", true, [2, 6], |xs| {
            let rows = T::constant(&weight(&[1, 3], 1)).broadcast_as((6, 3))?;
            xs.matmul(&rows)
        };
        "matmul, a sum over an expanded input", true, [2, 6], |xs| {
            let rows = xs.sum_keepdim(0)?.sum_keepdim(1)?.broadcast_as((6, 3))?;
            xs.matmul(&rows)
        };
        "where_cond", true, [2, 3, 5], |xs| xs.gt(0.1)?.where_cond(xs, &xs.affine(0.5, 1.0)?);
        "masks", true, [2, 3, 5], |xs| {
            let mask = xs.gt(-0.5)?.mul(&xs.lt(0.5)?)?.maximum(&xs.gt(0.9)?)?;
            mask.narrow(1, 0, 1)?.broadcast_as(xs.shape())?.where_cond(xs, &xs.neg()?)
        };
        "comparisons", true, [2, 3, 5], |xs| {
            let y = xs.neg()?.clamp(-0.3, 0.3)?;
            let results = [xs.eq(&y)?, xs.ne(&y)?, xs.lt(&y)?, xs.gt(&y)?, xs.ge(&y)?, xs.le(&y)?];
            T::stack(&results, 0)?.to_dtype(DType::F32)?.sum(0)
        };
        "to_dtype", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.to_dtype(DType::I64)?.to_dtype(DType::F32);
        "mv", false, [3, 5], |xs| xs.mv(&T::constant(&weight(&[5], 1)));
        "dot", false, [5], |xs| xs.dot(&T::constant(&weight(&[5], 1)));
        "broadcast_eq", true, [2, 3, 5], |xs| xs.sign()?.broadcast_eq(&T::constant(&weight(&[5], 1).sign()?));
        "broadcast_ne", true, [2, 3, 5], |xs| xs.sign()?.broadcast_ne(&T::constant(&weight(&[5], 1).sign()?));
        "broadcast_lt", true, [2, 3, 5], |xs| xs.broadcast_lt(&T::constant(&weight(&[5], 1)));
        "broadcast_le", true, [2, 3, 5], |xs| xs.broadcast_le(&xs.mean_keepdim(1)?);
        "broadcast_gt", true, [2, 3, 5], |xs| xs.broadcast_gt(&T::constant(&weight(&[5], 1)));
        "broadcast_ge", true, [2, 3, 5], |xs| xs.broadcast_ge(&T::constant(&weight(&[5], 1)));
        "cmp", true, [2, 3, 5], |xs| xs.cmp(0.25, candle_core::op::CmpOp::Le);
        "eq", true, [2, 3, 5], |xs| xs.sign()?.eq(1u8);
        "ne", true, [2, 3, 5], |xs| xs.sign()?.ne(&xs.neg()?.sign()?);
        "lt", true, [2, 3, 5], |xs| xs.lt(&xs.sqr()?);
        "gt", true, [2, 3, 5], |xs| xs.gt(0.1f32);
        "ge", true, [2, 3, 5], |xs| xs.ge(0.1f32);
        "le", true, [2, 3, 5], |xs| xs.le(&xs.sqr()?);
    }
}
