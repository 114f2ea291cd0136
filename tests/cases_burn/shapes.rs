//! Shapes, positions, comparisons and masks.

use crate::harness::*;

#[test]
fn comparisons_and_masks() {
    function("compare", [3, 4], |x| {
        let y = x.clone() * 0.5 + 0.1;
        let (a, b) = (x.clone().greater(y.clone()), x.clone().lower_equal_elem(0.2));
        (a.clone().bool_and(b.clone()), a.clone().bool_or(b.clone()), a.bool_not(), b)
    });
    function("compare with scalars", [3, 4], |x| {
        let (a, b) = (x.clone().greater_elem(0.1), x.clone().lower_elem(0.1));
        (a, b, x.clone().greater_equal_elem(0.0), x.clone().equal(x.clone()), x.equal_elem(2.0))
    });
    function("mask fill", [3, 4], |x| x.clone().mask_fill(x.lower_elem(0.0), -7.5));
    function("mask where", [3, 4], |x| {
        x.clone().mask_where(x.clone().greater_elem(0.3), x.clone() * 10)
    });
    function("bool to numbers", [3, 4], |x| {
        let mask = x.greater_elem(0.0);
        (mask.clone().float(), mask.int().float() * 2)
    });
    function("is nan", [3, 4], |x| x.log().is_nan());
    function("arg", [3, 4], |x| (x.clone().argmax(1), x.argmin(1)));
    function("max with indices", [3, 4], |x| x.max_dim_with_indices(1));
}

#[test]
fn positions() {
    function("expand", [3, 1, 5], |x| {
        let [batch, _, columns] = x.dims();
        x.expand([batch, 4, columns])
    });
    function("repeat", [3, 2, 5], |x| x.repeat_dim(1, 3));
    function("gather", [3, 4], |x| {
        let order = x.clone().greater_elem(0.0).int();
        x.gather(1, order)
    });
    // What an empty tensor holds is nobody's to know; here all of it is replaced.
    function("empty like", [3, 4], |x| x.empty_like().mask_fill(x.clone().equal(x), 1.5));
    function("zeros and ones like", [3, 4], |x| x.zeros_like() + x.ones_like() * 2 + x);
    function("full by the batch", [3, 4], |x| {
        let [batch, _] = x.dims();
        let column = Tensor::<2>::full([batch, 2], 1.5, &x.device());
        Tensor::cat(vec![x, column], 1)
    });
    function("pad", [3, 4, 5], |x| x.pad((1, 2, 0, 1), burn::tensor::ops::PadMode::Constant(0.5)));
}

#[test]
fn shapes() {
    function("flatten", [3, 4, 5, 2], |x| -> Tensor<2> { x.flatten(1, 3) });
    function("reshape", [3, 4, 6], |x| x.reshape([-1, 8, 3]));
    function("reshape by the batch", [3, 4, 6], |x| {
        let [batch, ..] = x.dims();
        x.swap_dims(0, 1).reshape([4, batch, 2, 3])
    });
    function("merge the batch", [3, 4, 6], |x| {
        let [batch, rows, columns] = x.dims();
        x.reshape([batch * rows, columns])
    });
    function("permute", [3, 4, 5], |x| x.permute([2, 0, 1]));
    function("swap", [3, 4, 5], |x| x.swap_dims(0, 2));
    function("cat", [3, 4, 5], |x| Tensor::cat(vec![x.clone(), x.clone() * 2, x], 1));
    function("cat the batch", [3, 4], |x| Tensor::cat(vec![x.clone(), x], 0));
    function("slice", [3, 6, 5], |x| x.slice([0..1, 1..4]));
    function("squeeze", [3, 1, 5], |x| -> Tensor<2> { x.squeeze_dim(1) });
    function("two outputs, one twice, one the input", [3, 4], |x| {
        let y = x.clone().exp();
        (y.clone(), x, y)
    });
}
