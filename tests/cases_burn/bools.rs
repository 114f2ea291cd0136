//! Bools: logic, tests, and tensors of bools that are moved about.

use crate::harness::*;

fn masks(batch: usize, seed: u64) -> (Tensor<2, Bool>, Tensor<2, Bool>) {
    (input([batch, 4], seed).greater_elem(0.0), input([batch, 4], seed + 9).greater_elem(0.2))
}

#[test]
fn logic() {
    of("logic", BOTH, masks, |(a, b)| {
        (
            a.clone().bool_and(b.clone()),
            a.clone().bool_or(b.clone()),
            a.clone().bool_xor(b),
            a.bool_not(),
        )
    });
    of("equal bools", BOTH, masks, |(a, b)| (a.clone().equal(b.clone()), a.not_equal(b)));
    of("bools to numbers", BOTH, masks, |(a, b)| (a.int(), b.float()));
    function("numbers to bools", [3, 4], |x| x.clamp_min(0.0).bool());
}

#[test]
fn tests_of_many() {
    of("any and all", BOTH, masks, |(a, b)| {
        (a.clone().any(), b.clone().all(), a.any_dim(1), b.all_dim(1))
    });
    function("any and all of floats", [3, 4], |x| {
        let y = x.clamp_min(0.0);
        (y.clone().any(), y.clone().all(), y.clone().any_dim(1), y.all_dim(1))
    });
    of_ints("any and all of integers", BOTH, [3, 4], |x| {
        let y = x / 15;
        (y.clone().any(), y.clone().all(), y.clone().any_dim(1), y.all_dim(1))
    });
    function("contains nan", [3, 4], |x| x.log().contains_nan());
}

#[test]
fn moved() {
    of("bools reshaped", BOTH, masks, |(a, b)| {
        let c = Tensor::cat(vec![a.clone(), b.clone()], 1);
        (
            c.reshape([-1, 2, 4]),
            a.clone().swap_dims(0, 1),
            a.repeat_dim(1, 2),
            b.unsqueeze_dim::<3>(1).repeat_dim(1, 3),
        )
    });
    of("bools chosen by a mask", BOTH, masks, |(a, b)| {
        (a.clone().mask_where(b.clone(), a.clone().bool_not()), a.clone().mask_fill(b, true))
    });
    of("bools expanded", BOTH, masks, |(a, _)| {
        let [batch, width] = a.dims();
        a.unsqueeze_dim::<3>(1).expand([batch, 3, width])
    });
}
