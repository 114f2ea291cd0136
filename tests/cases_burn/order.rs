//! Sorting, the largest few, and running results.

use crate::harness::*;

#[test]
fn sorts() {
    function("sort", [3, 7], |x| (x.clone().sort(1), x.sort_descending(1)));
    function("sort the middle axis", [3, 7, 2], |x| x.sort_with_indices(1));
    function("sort with indices, descending", [3, 7], |x| x.sort_descending_with_indices(1));
    function("argsort", [3, 7], |x| (x.clone().argsort(1), x.argsort_descending(1)));
    function("median", [3, 7], |x| x.median(1));
    of_ints("sort integers", BOTH, [3, 7], |x| x.sort(1));
    const COUNT: &[Gap] = &[Gap { runner: Tract, reason: "tract 0.23 takes a constant count" }];
    function_with("sort the dynamic axis", DYNAMIC.except(COUNT), [3, 2], |x| x.sort(0));
}

#[test]
fn the_largest_few() {
    function("topk", [3, 7], |x| x.topk(3, 1));
    function("topk with indices", [3, 7, 2], |x| x.topk_with_indices(2, 1));
    function("argtopk", [3, 7], |x| x.argtopk(3, 1));
    of_ints("topk of integers", BOTH, [3, 7], |x| x.topk(3, 1));
}

#[test]
fn running_results() {
    function("cumsum", [3, 7, 2], |x| (x.clone().cumsum(1), x.cumsum(2)));
    function("cumsum of the dynamic axis", [3, 2], |x| x.cumsum(0));
    function("cumprod", [3, 7], |x| (x * 2).cumprod(1));
    function("cumulative extremes", [3, 7, 2], |x| (x.clone().cummin(1), x.cummax(1)));
    function("cumulative maximum of the dynamic axis", [3, 2], |x| x.cummax(0));
    of_ints("cumulative integers", BOTH, [3, 7], |x| {
        (x.clone().cumsum(1), x.clone().cummin(1), x.clone().cummax(1), (x / 5).cumprod(1))
    });
}

/// Of which TensorRT sorts no more than the first 3840.
#[test]
fn the_first_of_many() {
    function("sort, the first of many", [3, 3841], |x| x.sort_descending(1).narrow(1, 0, 5));
    function("argsort, the first of many", [3, 4000], |x| x.argsort(1).slice([0..1, 0..50]));
    function("sort with indices, the first of many", [3, 8400], |x| {
        let (values, indices) = x.sort_descending_with_indices(1);
        (values.narrow(1, 0, 300), indices.narrow(1, 2, 7))
    });
    function("sort, cut and whole", [3, 9], |x| {
        let sorted = x.sort(1);
        (sorted.clone().narrow(1, 0, 3), sorted)
    });
    function("topk of many", [3, 4000], |x| x.topk(5, 1));
}
