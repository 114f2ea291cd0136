//! Functions of one tensor.

use crate::harness::cases;

cases! {
    elementwise {
        "abs", true, [2, 3, 5], |xs| xs.abs();
        "ceil", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.ceil();
        "cos", true, [2, 3, 5], |xs| xs.cos();
        "erf", true, [2, 3, 5], |xs| xs.erf();
        "exp", true, [2, 3, 5], |xs| xs.exp();
        "floor", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.floor();
        "gelu", true, [2, 3, 5], |xs| xs.affine(3.0, 0.0)?.gelu();
        "gelu_erf", true, [2, 3, 5], |xs| xs.affine(3.0, 0.0)?.gelu_erf();
        "log", true, [2, 3, 5], |xs| xs.affine(0.25, 1.5)?.log();
        "neg", true, [2, 3, 5], |xs| xs.neg();
        "recip", true, [2, 3, 5], |xs| xs.affine(1.0, 3.0)?.recip();
        "relu", true, [2, 3, 5], |xs| xs.relu();
        "round", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.round();
        "round, infinite", true, [2, 3, 5], |xs| (xs.affine(1e30, 0.0)? * 1e30)?.round();
        "round halves", true, [2, 3, 5], |xs| xs.affine(8.0, 0.0)?.floor()?.affine(0.5, 0.0)?.round();
        "sign", true, [2, 3, 5], |xs| xs.sign();
        "silu", true, [2, 3, 5], |xs| xs.silu();
        "sin", true, [2, 3, 5], |xs| xs.sin();
        "sqr", true, [2, 3, 5], |xs| xs.sqr();
        "sqrt", true, [2, 3, 5], |xs| xs.abs()?.sqrt();
        "tanh", true, [2, 3, 5], |xs| xs.tanh();
        "sigmoid", true, [2, 3, 5], |xs| xs.sigmoid();
        "hard_sigmoid", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.hard_sigmoid();
        "mish", true, [2, 3, 5], |xs| xs.affine(5.0, 0.0)?.mish();
        "leaky_relu", true, [2, 3, 5], |xs| xs.leaky_relu(0.1);
        "swiglu", true, [2, 3, 6], |xs| xs.swiglu();
        "elu", true, [2, 3, 5], |xs| xs.elu(0.7);
        "affine", true, [2, 3, 5], |xs| xs.affine(-1.5, 0.25);
        "affine, nothing", true, [2, 3, 5], |xs| xs.affine(1.0, 0.0);
        "powf", true, [2, 3, 5], |xs| xs.abs()?.powf(1.7);
        "powf 2", true, [2, 3, 5], |xs| xs.powf(2.0);
        "clamp", true, [2, 3, 5], |xs| xs.clamp(-0.5f32, 0.25);
        "maximum", true, [2, 3, 5], |xs| xs.maximum(&xs.neg()?);
        "maximum of a number", true, [2, 3, 5], |xs| xs.maximum(0.25);
        "minimum", true, [2, 3, 5], |xs| xs.minimum(&xs.neg()?);
        "minimum of a number", true, [2, 3, 5], |xs| xs.minimum(0.25f32);
        "functions", true, [2, 3, 5], |xs| ops::leaky_relu(&ops::sigmoid(&ops::silu(xs)?)?, 0.5);
        "round_to", true, [2, 3, 5], |xs| xs.round_to(1);
        "round_to, tens", true, [2, 3, 5], |xs| xs.affine(50.0, 0.0)?.round_to(-1);
        "selu", true, [2, 3, 5], |xs| xs.affine(3.0, 0.0)?.selu(1.673_263, 1.050_701);
        "pow", true, [2, 3, 5], |xs| xs.sqr()?.affine(1.0, 0.1)?.pow(xs);
        "broadcast_pow", true, [2, 3, 5], |xs| {
            T::constant(&weight(&[5], 1).sqr()?.affine(1.0, 0.1)?).broadcast_pow(xs)
        };
        "copy", true, [2, 3, 5], |xs| xs.copy()?.neg();
        "detach", true, [2, 3, 5], |xs| xs.detach().neg();
        "contiguous", true, [2, 3, 5], |xs| xs.t()?.contiguous()?.neg();
        "force_contiguous", true, [2, 3, 5], |xs| xs.t()?.force_contiguous()?.neg();
        "to_device", true, [2, 3, 5], |xs| xs.to_device(xs.device())?.neg();
    }
}
