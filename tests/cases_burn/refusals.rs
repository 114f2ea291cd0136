//! Forms of operations that are refused when exported, each with its reason.

use burn::tensor::Distribution;

use crate::harness::*;

#[test]
fn of_inference() {
    let x = |batch, seed| input([batch, 4], seed);
    let no_random = "an exported model has no random numbers: generate the numbers outside of the forward, and pass them as an input";
    refused("Float", "Random", x, |x| x.random_like(Distribution::Default), no_random);
    let noise = |x: Tensor<2>| Tensor::<2, Int>::random([2, 3], Distribution::Default, &x.device());
    refused("Numeric", "IntRandom", x, noise, no_random);
}
