//! Forms of operations that are refused when exported, each with its reason.

use burn::tensor::Distribution;
use burn::tensor::module::deform_conv2d;
use burn::tensor::ops::DeformConvOptions;

use crate::harness::*;

#[test]
fn of_inference() {
    let x = |batch, seed| input([batch, 4], seed);
    let no_random = "an exported model has no random numbers";
    refused("Float", "Random", x, |x| x.random_like(Distribution::Default), no_random);
    let noise = |x: Tensor<2>| Tensor::<2, Int>::random([2, 3], Distribution::Default, &x.device());
    refused("Numeric", "IntRandom", x, noise, no_random);
    let inputs = |batch, seed| {
        (input([batch, 2, 5, 5], seed), input([batch, 18, 3, 3], seed), input([4, 2, 3, 3], seed))
    };
    let options = DeformConvOptions::new([1, 1], [0, 0], [1, 1], 1, 1);
    refused(
        "Module",
        "DeformableConv2d",
        inputs,
        |(x, offset, weight)| deform_conv2d(x, offset, weight, None, None, options.clone()),
        "deformable convolution has no ONNX form yet",
    );
}
