//! Integers: arithmetic, bits, reductions.

use burn::tensor::DType;

use crate::harness::*;

fn pair(batch: usize, seed: u64) -> (Tensor<2, Int>, Tensor<2, Int>) {
    (ints([batch, 4], -20, 20, seed), ints([batch, 4], 1, 9, seed + 100))
}

#[test]
fn arithmetic() {
    of("integers", BOTH, pair, |(x, y)| {
        (x.clone() + y.clone(), x.clone() - y.clone(), x.clone() * y.clone(), -x)
    });
    of("division rounds towards zero", BOTH, pair, |(x, y)| (x.clone() / y, x / 7));
    of("the remainder has the sign of the divisor", BOTH, pair, |(x, y)| {
        (x.clone().remainder(y.clone()), x.clone().remainder(-y), x.remainder_scalar(-6))
    });
    of_ints("integers and numbers", BOTH, [3, 4], |x| ((x + 5) * 3 - 2,));
    of_ints("large numbers stay exact", BOTH, [3, 4], |x| x + 9_007_199_254_740_993i64);
    of_ints("integer signs", BOTH, [3, 4], |x| (x.clone().abs(), x.sign()));
    of_ints("integers held between", BOTH, [3, 4], |x| {
        (x.clone().clamp(-5, 7), x.clone().clamp_min(-3), x.clamp_max(4))
    });
    of_ints("integer powers of a number", BOTH, [3, 4], |x| {
        (
            x.clone().powi_scalar(0),
            x.clone().powi_scalar(1),
            x.clone().powi_scalar(3),
            x.powi_scalar(6),
        )
    });
    let powers = |batch, seed| (ints([batch, 4], -5, 5, seed), ints([batch, 4], 0, 9, seed + 1));
    of("integer powers", BOTH, powers, |(x, y)| x.powi(y));
}

#[test]
fn bits() {
    of("and, or, xor", BOTH, pair, |(x, y)| {
        (x.clone().bitwise_and(y.clone()), x.clone().bitwise_or(y.clone()), x.bitwise_xor(y))
    });
    const FOLDED: &[Gap] = &[Gap {
        runner: Tract,
        reason: "tract 0.23 fails to fold constants into a symbolic batch",
    }];
    for how in [STATIC, DYNAMIC.except(FOLDED)] {
        of_ints("and, or, xor with a number", how, [3, 4], |x| {
            (
                x.clone().bitwise_and_scalar(0b1011),
                x.clone().bitwise_or_scalar(-7),
                x.bitwise_xor_scalar(0x7fff_0000_1234i64),
            )
        });
    }
    of_ints("not", BOTH, [3, 4], |x| x.bitwise_not());
    of("shifts", BOTH, pair, |(x, y)| {
        (x.clone().bitwise_left_shift(y.clone()), x.bitwise_right_shift(y))
    });
    of_ints("shifts by a number", BOTH, [3, 4], |x| {
        (x.clone().bitwise_left_shift_scalar(5), x.bitwise_right_shift_scalar(2))
    });
    let narrow =
        |batch, seed| ints([batch, 4], -2_000_000_000, 2_000_000_000, seed).cast(DType::I32);
    of("bits of 32-bit integers", BOTH, narrow, |x| {
        let y = x.clone().bitwise_right_shift_scalar(3);
        (x.clone().bitwise_and(y.clone()).cast(DType::I64), x.bitwise_xor(y).cast(DType::I64))
    });
}

#[test]
fn reductions() {
    of_ints("integer sums", BOTH, [3, 4, 5], |x| {
        (x.clone().sum(), x.clone().sum_dim(1), x.clone().sum_dims(&[1, 2]), x.sum_dim(0))
    });
    of_ints("integer means round towards zero", BOTH, [3, 4, 5], |x| {
        (x.clone().mean(), x.clone().mean_dim(2), x.mean_dim(0))
    });
    of_ints("integer products", BOTH, [3, 4], |x| (x.clone().prod_dim(1), (x / 7).prod()));
    of_ints("integer extremes", BOTH, [3, 4, 5], |x| {
        (x.clone().max(), x.clone().min(), x.clone().max_dim(1), x.clone().min_dim(2), x.max_abs())
    });
    of_ints("positions of integer extremes", BOTH, [3, 7], |x| {
        let distinct =
            x.clone() * 7 + Tensor::arange(0..7, (&x.device(), x.dtype())).reshape([1, 7]);
        (distinct.clone().argmax(1), distinct.argmin(1))
    });
    let matrices =
        |batch, seed| (ints([batch, 3, 4], -20, 20, seed), ints([batch, 4, 5], -20, 20, seed + 1));
    of("integer matrices", BOTH, matrices, |(a, b)| a.matmul(b));
}

#[test]
fn comparisons() {
    of("compare integers", BOTH, pair, |(x, y)| {
        (
            x.clone().greater(y.clone()),
            x.clone().greater_equal(y.clone()),
            x.clone().lower(y.clone()),
            x.clone().lower_equal(y.clone()),
            x.clone().equal(y.clone()),
            x.not_equal(y),
        )
    });
    of_ints("compare integers with numbers", BOTH, [3, 4], |x| {
        (
            x.clone().greater_elem(3),
            x.clone().greater_equal_elem(3),
            x.clone().lower_elem(-2),
            x.clone().lower_equal_elem(-2),
            x.clone().equal_elem(1),
            x.not_equal_elem(1),
        )
    });
    of_ints("integers to floats", BOTH, [3, 4], |x| x.float() / 3);
    function("floats to integers cut off", [3, 4], |x| (x * 10).int());
}

#[test]
fn shapes() {
    of_ints("integer shapes", BOTH, [3, 4, 2], |x| {
        let y = Tensor::cat(vec![x.clone(), x.clone() * 2], 1).swap_dims(1, 2);
        (y, x.clone().flip([1]), x.clone().repeat_dim(2, 3), x.reshape([-1, 8]))
    });
    of_ints("integer pads and slices", BOTH, [3, 4], |x| {
        (
            x.clone().pad((1, 2, 0, 0), burn::tensor::ops::PadMode::Constant(7.0)),
            x.slice([0..1, 1..3]),
        )
    });
    of_ints("integer masks", BOTH, [3, 4], |x| {
        let mask = x.clone().greater_elem(0);
        (x.clone().mask_fill(mask.clone(), -99), x.clone().mask_where(mask, x * 2))
    });
}

/// Beyond what 32 bits hold.
#[test]
fn wide_integers() {
    let wide = |batch, seed| ints([batch, 5], -(1 << 40), 1 << 40, seed);
    of("sums of wide integers", BOTH, wide, |x: Tensor<2, Int>| {
        (x.clone().sum_dim(1), x.clone().sum_dim(0), x.sum())
    });
    of("means of wide integers", BOTH, wide, |x: Tensor<2, Int>| (x.clone().mean_dim(1), x.mean()));
    let factors = |batch, seed| ints([batch, 5], -100_000, 100_000, seed);
    of("products of wide integers", BOTH, factors, |x: Tensor<2, Int>| {
        (x.clone().matmul(x.clone().transpose()), x.clone() * x.clone(), x.powi_scalar(3))
    });
}
