//! The same methods in other types than 32-bit floats: 16-bit floats, and whole numbers.

use crate::harness::*;

/// Runs a forward on `x` in 16-bit floats.
fn halves(name: &str, x: &Tensor, f16: &[Gap], model: &impl Forward) {
    const NO_BF16: &[Gap] = &[
        Gap { runner: Tract, reason: "tract has no bfloat16" },
        Gap { runner: OnnxRuntime, reason: "no kernel of the CPU computes in bfloat16" },
    ];
    // These only move values, and the last converts them.
    let moves = ["gather", "index_select", "narrow", "reshape", "transpose", "to_dtype"];
    let bf16 = if moves.contains(&name) { &NO_BF16[..1] } else { NO_BF16 };
    for (dtype, gaps) in [(DType::F16, f16), (DType::BF16, bf16)] {
        // Candle's own convolution has no bfloat16 on the CPU.
        if dtype == DType::BF16 && name == "conv2d" {
            continue;
        }
        let name = format!("{name}, {}", dtype.as_str());
        let named = Named { family: "16-bit floats", name: &name, gaps };
        case(named, model, &x.to_dtype(dtype).unwrap(), false);
    }
}

macro_rules! halves {
    ($($test:ident { $($name:literal, [$($size:expr),*] $(, except [$($runner:ident: $reason:literal),*])?, |$xs:ident| $body:expr;)* })*) => {$(
        #[test]
        fn $test() {
            let mut seed = 0;
            let mut table = Table::new();
            $({
                struct Model;
                impl Forward for Model {
                    fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                        $body
                    }
                }
                seed += 1;
                let gaps: &[Gap] = &[$($(Gap { runner: $runner, reason: $reason }),*)?];
                table.row($name, || halves($name, &tensor(&[$($size),*], seed), gaps, &Model));
            })*
            table.end();
        }
    )*};
}

/// A weight in the type of a tensor.
fn like<T: TensorOps>(xs: &T, shape: &[usize], seed: u64) -> T {
    T::constant(&weight(shape, seed).to_dtype(xs.dtype()).unwrap())
}

halves! {
    halves_elementwise {
        "abs", [2, 6], |xs| xs.abs();
        "affine", [2, 6], |xs| xs.affine(1.5, 0.25);
        "exp", [2, 6], |xs| xs.exp();
        "gelu", [2, 6], |xs| xs.gelu();
        "gelu_erf", [2, 6], |xs| xs.gelu_erf();
        "neg", [2, 6], |xs| xs.neg();
        "relu", [2, 6], |xs| xs.relu();
        "sigmoid", [2, 6], |xs| xs.sigmoid();
        "silu", [2, 6], |xs| xs.silu();
        "sqr", [2, 6], |xs| xs.sqr();
        "sqrt", [2, 6], |xs| xs.abs()?.sqrt();
        "tanh", [2, 6], |xs| xs.tanh();
        "add", [2, 6], |xs| xs.add(&xs.abs()?);
        "broadcast_mul", [2, 6], |xs| xs.broadcast_mul(&like(xs, &[6], 1));
        "clamp", [2, 6], |xs| xs.clamp(-0.5, 0.5);
        "where_cond", [2, 6], |xs| xs.gt(0.0)?.where_cond(xs, &xs.neg()?);
        "to_dtype", [2, 6], |xs| xs.to_dtype(DType::F32)?.affine(2.0, 0.0);
    }

    halves_others {
        "matmul", [4, 6], |xs| xs.matmul(&like(xs, &[6, 3], 1));
        "conv2d", [1, 2, 5, 5], |xs| xs.conv2d(&like(xs, &[3, 2, 3, 3], 1), 1, 1, 1, 1);
        "max_pool2d", [1, 2, 4, 4], |xs| xs.max_pool2d(2);
        "avg_pool2d", [1, 2, 4, 4], |xs| xs.avg_pool2d(2);
        "sum", [2, 6], |xs| xs.sum(1);
        "mean", [2, 6], |xs| xs.mean(1);
        "max", [2, 6], |xs| xs.max(1);
        "argmax", [2, 6], |xs| xs.argmax(1);
        "softmax", [2, 6], |xs| xs.softmax(1);
        "sort_last_dim", [2, 6], |xs| Ok(xs.sort_last_dim(true)?.0);
        "cat", [2, 6], |xs| T::cat(&[xs, &xs.neg()?], 0);
        "narrow", [2, 6], |xs| xs.narrow(1, 1, 3);
        "pad_with_zeros", [2, 6], |xs| xs.pad_with_zeros(1, 1, 1);
        "transpose", [2, 6], |xs| xs.transpose(0, 1);
        "reshape", [2, 6], |xs| xs.reshape((3, 4));
        "index_select", [4, 6], |xs| xs.index_select(&T::new(&[2u32, 0], xs.device())?, 0);
        "gather", [4, 6], |xs| xs.gather(&T::new(&[[2u32, 0], [1, 1], [0, 5], [3, 3]], xs.device())?, 1);
        "LayerNorm", [2, 6], |xs| {
            let layer = candle_nn::LayerNorm::new(
                weight(&[6], 1).to_dtype(xs.dtype())?,
                weight(&[6], 2).to_dtype(xs.dtype())?,
                1e-5,
            );
            layer.forward(xs)
        };
        "RmsNorm", [2, 6], |xs| {
            candle_nn::RmsNorm::new(weight(&[6], 1).to_dtype(xs.dtype())?, 1e-5).forward(xs)
        };
        "Linear", [2, 6], |xs| {
            let weight = |shape: &[usize], seed| weight(shape, seed).to_dtype(xs.dtype());
            candle_nn::Linear::new(weight(&[4, 6], 1)?, Some(weight(&[4], 2)?)).forward(xs)
        };
    }
}

cases_of! {
    whole_numbers {
        "add, i64", [whole(&[2, 3], 20, DType::I64, 1), whole(&[2, 3], 20, DType::I64, 2)], |xs| Ok(vec![(&xs[0] + &xs[1])?]);
        "sub, i64", [whole(&[2, 3], 20, DType::I64, 1), whole(&[2, 3], 20, DType::I64, 2)], |xs| Ok(vec![(&xs[0] - &xs[1])?]);
        "mul, i64", [whole(&[2, 3], 20, DType::I64, 1), whole(&[2, 3], 20, DType::I64, 2)], |xs| Ok(vec![(&xs[0] * &xs[1])?]);
        "add, u32", [whole(&[2, 3], 20, DType::U32, 1), whole(&[2, 3], 20, DType::U32, 2)], |xs| Ok(vec![(&xs[0] + &xs[1])?]);
        "maximum, i64", [whole(&[2, 3], 20, DType::I64, 1)], |xs| Ok(vec![xs[0].maximum(7i64)?]);
        "maximum, wide", [values(&[u32::MAX, 3, 7]), values(&[5u32, 1 << 31, 6])], |xs| Ok(vec![xs[0].maximum(&xs[1])?, xs[0].minimum(&xs[1])?]);
        "eq, u32", [whole(&[2, 3], 4, DType::U32, 1)], |xs| Ok(vec![xs[0].eq(2u32)?]);
        "lt, i64", [whole(&[2, 3], 20, DType::I64, 1), whole(&[2, 3], 20, DType::I64, 2)], |xs| Ok(vec![xs[0].lt(&xs[1])?]);
        "sum, i64", [whole(&[2, 3], 20, DType::I64, 1)], |xs| Ok(vec![xs[0].sum(1)?]);
        "max, i64", [whole(&[2, 3], 20, DType::I64, 1)], |xs| Ok(vec![xs[0].max(1)?]);
        "reshape, u32", [whole(&[2, 6], 20, DType::U32, 1)], |xs| Ok(vec![xs[0].reshape((3, 4))?]);
        "cat, i64", [whole(&[2, 3], 20, DType::I64, 1)], |xs| Ok(vec![T::cat(&[&xs[0], &xs[0]], 1)?]);
        "where_cond, u8", [whole(&[2, 3], 2, DType::U8, 1), tensor(&[2, 3], 2)], |xs| Ok(vec![xs[0].where_cond(&xs[1], &xs[1].neg()?)?]);
        "where_cond, a comparison and u8", [tensor(&[2, 3], 2)], |xs| {
            let no = xs[0].zeros_like()?.to_dtype(DType::U8)?;
            Ok(vec![xs[0].gt(0.1)?.where_cond(&xs[0].lt(0.5)?, &no)?])
        };
        "to_dtype, u32", [whole(&[2, 3], 20, DType::U32, 1)], |xs| Ok(vec![xs[0].to_dtype(DType::F32)?]);
        "to_dtype, u8", [whole(&[2, 3], 20, DType::U8, 1)], |xs| Ok(vec![xs[0].to_dtype(DType::F32)?]);
        "index_select, i64", [whole(&[5, 3], 20, DType::I64, 1), whole(&[2], 5, DType::U32, 2)], |xs| Ok(vec![xs[0].index_select(&xs[1], 0)?]);
    }
}
