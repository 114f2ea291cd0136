//! Arithmetic, functions of floats, and reductions.

use crate::harness::*;

#[test]
fn arithmetic_and_reductions() {
    function("scalars", [3, 4], |x| ((x + 1.5) * 2.0 - 0.25) / 3.0);
    function("tensors", [3, 4], |x| {
        (x.clone() + x.clone().exp()) * x.clone() - x.clone() / (x.abs() + 1.0)
    });
    function("broadcast", [3, 4, 5], |x| x.clone() - x.mean_dim(2));
    function("functions", [3, 4], |x| {
        x.clone().sin() + x.clone().cos() + (x.abs() + 1.0).log() + 2.0
    });
    function("sqrt", [3, 4], |x| (x.abs() + 0.5).sqrt());
    function("powf", [3, 4], |x| (x.abs() + 0.5).powf_scalar(1.7));
    function("clamp", [3, 4], |x| x.clamp(-0.3, 0.4));
    function("clamp one side", [3, 4], |x| (x.clone().clamp_min(-0.3), x.clamp_max(0.2)));
    function("rounding", [3, 4], |x| {
        (x.clone() * 5).floor() + (x.clone() * 7).ceil() + (x * 9).round()
    });
    function("sums", [3, 4, 5], |x| {
        (x.clone().sum_dim(1), x.clone().mean_dim(2), x.clone().max_dim(1), x.min_dim(2))
    });
    function("matmul", [3, 4, 5], |x| x.clone().matmul(x.swap_dims(1, 2)));
    let full = |x: Tensor<3>| (x.clone().sum(), x.mean());
    let graph = BurnGraph::capture(
        &Nothing::default(),
        &input([2, 3, 4], 1),
        |_, x| full(x),
        &OptimizeOptions::new(),
    );
    let x = input([2, 3, 4], 2);
    check(
        "full reductions",
        |c| graph.as_ref().unwrap().to_onnx(c),
        &host(x.clone()),
        &host(full(x)),
    );
}

#[test]
fn more_functions() {
    function("tan", [3, 4], |x| x.tan());
    function("inverse", [3, 4], |x| (x.clone().acos(), x.clone().asin(), x.atan()));
    function("hyperbolic", [3, 4], |x| (x.clone().cosh(), x.sinh()));
    function("inverse hyperbolic", [3, 4], |x| {
        let wide = x.clone().abs() + 1.5;
        (wide.acosh(), x.clone().asinh(), (x * 0.9).atanh())
    });
    function("trunc", [3, 4], |x| (x * 5).trunc());
    function("powf of tensors", [3, 4], |x| (x.clone().abs() + 0.5).powf(x));
    function("powi", [3, 4], |x| x.powi_scalar(3));
    function("product", [3, 4], |x| x.prod_dim(1));
    function("sign", [3, 4], |x| x.sign());
}

/// Of slices that hold nothing: a sum is 0, a mean no number.
#[test]
fn reductions_of_nothing() {
    function("sums of nothing", [3, 4], |x| {
        (x.clone().slice([0..1, 2..2]).sum_dim(1), x.slice(0..0).sum())
    });
    function("means of nothing", [3, 4], |x| x.slice([0..1, 2..2]).mean_dim(1));
    function("sums of no rows", [3, 4], |x| x.slice(0..0).sum_dim(0));
    function("means of no rows", [3, 4], |x| x.slice(0..0).mean_dim(0));
}
