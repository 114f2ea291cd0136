//! Activations.

use burn::tensor::activation;

use crate::harness::*;

#[test]
fn activations() {
    function("relu", [3, 4, 5], activation::relu);
    function("leaky relu", [3, 4], |x| activation::leaky_relu(x, 0.2));
    function("gelu", [3, 4], |x| activation::gelu(x * 3));
    function("sigmoid", [3, 4], |x| activation::sigmoid(x * 4));
    function("log sigmoid", [3, 4], |x| activation::log_sigmoid(x * 30));
    function("tanh", [3, 4], activation::tanh);
    function("softmax", [3, 4, 5], |x| activation::softmax(x, 1));
    function("log softmax", [3, 4, 5], |x| activation::log_softmax(x, 2));
    function("silu", [3, 4], activation::silu);
    function("hard sigmoid", [3, 4], |x| activation::hard_sigmoid(x * 4, 0.2, 0.5));
}

#[test]
fn prelu_and_transposed_1d() {
    use burn::nn::conv::{ConvTranspose1d, ConvTranspose1dConfig};
    use burn::nn::{PRelu, PReluConfig};
    let layer = PReluConfig::new().with_num_parameters(3).init(&device());
    case("prelu", &layer, [2, 3, 4, 5], |m: &PRelu, x: Tensor<4>| m.forward(x));
    let layer = ConvTranspose1dConfig::new([4, 3], 3).with_stride(2).init(&device());
    case("transposed 1d", &layer, [2, 4, 5], |m: &ConvTranspose1d, x| m.forward(x));
}

/// Far from zero, where a logarithm of a softmax or of a sigmoid has lost its number.
#[test]
fn far_logarithms() {
    function("log softmax, far", [3, 4], |x| activation::log_softmax(x * 1e4, 1));
    function("log softmax of a middle axis, far", [3, 4, 5], |x| {
        activation::log_softmax(x * 1e4, 1)
    });
    function("log sigmoid, far", [3, 4], |x| activation::log_sigmoid(x * 1e3));
    function("log sigmoid, small", [3, 4], |x| activation::log_sigmoid(x.abs() * 20) * 1e6);
    function("softplus, far", [3, 4], |x| activation::softplus(x * 1e3, 1.0));
    function("mish, far", [3, 4], |x| activation::mish(x * 1e3));
    function("log of a sum of exponents, far", [3, 4], |x| {
        let x = x * 1e4;
        let most = x.clone().max_dim(1);
        (x - most.clone()).exp().sum_dim(1).log() + most
    });
}
