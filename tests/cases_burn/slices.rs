//! Slices, windows, flips, and slices that are replaced.

use burn::tensor::{Slice, s};

use crate::harness::*;

#[test]
fn slices() {
    function("slice with steps", [3, 9, 4], |x| {
        (x.clone().slice(s![.., 1..8;2, ..]), x.slice(s![.., ..;3, 1..]))
    });
    function("slice backwards", [3, 9], |x| {
        (x.clone().slice(s![.., ..;-1]), x.clone().slice(s![.., 2..8;-2]), x.slice(s![.., 1..;-3]))
    });
    function("slice from the end", [3, 9], |x| x.slice(s![.., -4..-1]));
    function_with("the dynamic axis backwards", DYNAMIC, [3, 2], |x| x.slice(s![..;-1, ..]));
    function_with("half of the dynamic axis backwards", DYNAMIC, [3, 2], |x| {
        let half = x.dims()[0] / 2;
        x.slice([Slice::new(half as isize, None, -1)])
    });
    function("flip", [3, 4, 5], |x| (x.clone().flip([1]), x.flip([1, -1])));
    function("roll", [3, 4, 5], |x| x.roll(&[1, 2], &[1, 2]));
    function("narrow, chunk, split", [3, 9], |x| {
        let mut parts = x.clone().chunk(2, 1);
        parts.extend(x.clone().split(4, 1));
        let last = parts.pop().unwrap();
        (x.narrow(1, 2, 3), parts.swap_remove(0), last)
    });
    function("bools sliced and joined", [3, 4], |x| {
        let y = x.greater_elem(0.0);
        let z = y.clone().slice(s![.., 1..3]);
        (Tensor::cat(vec![y.clone(), z], 1), y.flip([1]))
    });
}

#[test]
fn windows() {
    function("unfold", [3, 9], |x| {
        let windows: Tensor<3> = x.unfold(1, 4, 2);
        windows
    });
    function("unfold a middle axis", [2, 7, 3], |x| {
        let windows: Tensor<4> = x.unfold(1, 3, 1);
        windows
    });
    let long = |batch: usize, seed| input([batch + 5, 2], seed);
    of("unfold the dynamic axis", STATIC, long, |x| {
        let windows: Tensor<3> = x.unfold(0, 3, 2);
        windows
    });
}

#[test]
fn replaced_slices() {
    let inputs = |batch, seed| (input([batch, 6, 5], seed), input([batch, 2, 3], seed + 1));
    of("slice assign", BOTH, inputs, |(x, y)| x.slice_assign(s![.., 1..3, 2..5], y));
    of("slice assign with steps", BOTH, inputs, |(x, y)| x.slice_assign(s![.., 1..5;2, ..;2], y));
    of("slice assign backwards", BOTH, inputs, |(x, y)| x.slice_assign(s![.., 2..4;-1, ..;-2], y));
    function("slice fill", [3, 6], |x| x.slice_fill(s![.., 2..4], 7.5));
}

#[test]
fn triangles() {
    function("triu and tril", [3, 4, 4], |x| (x.clone().triu(1), x.tril(-1)));
}
