//! Layers of candle_nn, each as one operator.

use accelerant::candle::{GroupNorm, Trace, func, func_t, seq};
use accelerant::export::Target;
use candle_core::quantized::QMatMul;
use candle_nn::ops::Identity;
use candle_nn::{
    Activation, BatchNorm, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, Dropout, Embedding, LayerNorm,
    Linear, PReLU, RmsNorm,
};

use crate::harness::*;

#[test]
fn linear_layers() {
    for (i, shape) in [&[2, 6][..], &[2, 3, 6], &[2, 3, 2, 6]].into_iter().enumerate() {
        let net = Linear::new(weight(&[4, 6], 1), Some(weight(&[4], 2)));
        layer("Linear", &net, &tensor(shape, i as u64));
        layer(
            "Linear, without bias",
            &Linear::new(weight(&[4, 6], 3), None),
            &tensor(shape, i as u64),
        );
    }
}

#[test]
fn convolution_layers() {
    let x = tensor(&[2, 4, 9], 1);
    for (i, (padding, stride, dilation, groups)) in
        [(0, 1, 1, 1), (1, 1, 1, 2), (2, 2, 2, 4), (1, 3, 1, 1)].into_iter().enumerate()
    {
        let config = Conv1dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None };
        let kernel = weight(&[8, 4 / groups, 3], i as u64);
        layer("Conv1d", &Conv1d::new(kernel.clone(), None, config), &x);
        layer("Conv1d, bias", &Conv1d::new(kernel, Some(weight(&[8], 9)), config), &x);
    }
    let x = tensor(&[2, 4, 7, 8], 1);
    for (i, (padding, stride, dilation, groups)) in
        [(0, 1, 1, 1), (1, 1, 1, 2), (2, 2, 2, 4), (1, 3, 1, 1)].into_iter().enumerate()
    {
        let config = Conv2dConfig { padding, stride, dilation, groups, cudnn_fwd_algo: None };
        let kernel = weight(&[8, 4 / groups, 3, 3], i as u64);
        layer("Conv2d", &Conv2d::new(kernel.clone(), None, config), &x);
        layer("Conv2d, bias", &Conv2d::new(kernel, Some(weight(&[8], 9)), config), &x);
    }
}

#[test]
fn normalization_layers() {
    let positive = |seed| weight(&[6], seed).sqr().unwrap().affine(1.0, 0.1).unwrap();
    for shape in [&[2, 6][..], &[2, 6, 5], &[2, 6, 4, 3]] {
        let x = tensor(shape, 1);
        let net =
            BatchNorm::new(6, weight(&[6], 1), positive(2), weight(&[6], 3), weight(&[6], 4), 1e-3)
                .unwrap();
        layer("BatchNorm", &net, &x);
        let net = BatchNorm::new_no_bias(6, weight(&[6], 1), positive(2), 1e-5).unwrap();
        layer("BatchNorm, without weights", &net, &x);
    }
    for shape in [&[2, 6][..], &[2, 5, 6], &[2, 4, 3, 6]] {
        let x = tensor(shape, 1);
        layer("LayerNorm", &LayerNorm::new(weight(&[6], 1), weight(&[6], 2), 1e-5), &x);
        layer("LayerNorm, without bias", &LayerNorm::new_no_bias(weight(&[6], 1), 1e-3), &x);
        layer("LayerNorm, without mean", &LayerNorm::rms_norm(weight(&[6], 1), 1e-5), &x);
        layer("RmsNorm", &RmsNorm::new(weight(&[6], 1), 1e-6), &x);
    }
}

#[test]
fn activation_layers() {
    let activations = [
        Activation::Gelu,
        Activation::NewGelu,
        Activation::Relu,
        Activation::Relu2,
        Activation::Relu6,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::HardSigmoid,
        Activation::Swiglu,
        Activation::Swish,
        Activation::Mish,
        Activation::HardSwish,
        Activation::Elu(1.0),
        Activation::Elu(0.5),
        Activation::LeakyRelu(0.2),
        Activation::GeluPytorchTanh,
    ];
    let x = tensor(&[2, 3, 6], 1).affine(7.0, 0.0).unwrap();
    layer("Activation", &Activation::Silu, &tensor(&[2, 6], 1));
    for activation in activations {
        layer(&format!("Activation, {activation:?}"), &activation, &x);
    }
    for shape in [&[2, 6][..], &[2, 6, 3], &[2, 6, 3, 4]] {
        let x = tensor(shape, 2);
        layer("PReLU, of channels", &PReLU::new(weight(&[6], 1), false), &x);
        layer("PReLU, of one", &PReLU::new(weight(&[1], 1), true), &x);
    }
    case(
        Named { family: "layers", name: "PReLU, of a row", gaps: &[] },
        &PReLU::new(weight(&[6], 1), false),
        &tensor(&[6], 2),
        false,
    );
    layer("Dropout", &Dropout::new(0.5), &x);
}

#[test]
fn embedding_layers() {
    let net = Embedding::new(weight(&[11, 4], 1), 4);
    for shape in [&[3][..], &[2, 5]] {
        let ids = tensor(shape, 1).affine(5.4, 5.5).unwrap();
        for dtype in [DType::U32, DType::I64, DType::U8] {
            layer("Embedding", &net, &ids.to_dtype(dtype).unwrap());
        }
    }
}

#[test]
fn transposed_convolution_layers() {
    // A batch of one: without padding, Candle 0.11.1 mixes up the items of a larger one on the CPU.
    let x = tensor(&[1, 4, 7], 1);
    for (i, (padding, output_padding, stride, dilation, groups)) in
        [(0, 0, 1, 1, 1), (1, 1, 2, 1, 2), (2, 0, 1, 2, 4)].into_iter().enumerate()
    {
        let config = ConvTranspose1dConfig { padding, output_padding, stride, dilation, groups };
        let kernel = weight(&[4, 2, 3], i as u64);
        let bias = weight(&[2 * groups], 9);
        layer_of_one("ConvTranspose1d", &ConvTranspose1d::new(kernel.clone(), None, config), &x);
        layer_of_one(
            "ConvTranspose1d, bias",
            &ConvTranspose1d::new(kernel, Some(bias), config),
            &x,
        );
    }
    let x = tensor(&[2, 4, 5, 6], 1);
    for (i, (padding, output_padding, stride, dilation)) in
        [(0, 0, 1, 1), (1, 1, 2, 1), (1, 0, 1, 2)].into_iter().enumerate()
    {
        let config = ConvTranspose2dConfig { padding, output_padding, stride, dilation };
        let kernel = weight(&[4, 3, 3, 3], i as u64);
        layer("ConvTranspose2d", &ConvTranspose2d::new(kernel.clone(), None, config), &x);
        layer(
            "ConvTranspose2d, bias",
            &ConvTranspose2d::new(kernel, Some(weight(&[3], 9)), config),
            &x,
        );
    }
}

#[test]
fn group_normalization_layers() {
    let net = |groups| GroupNorm::new(weight(&[6], 1), weight(&[6], 2), 6, groups, 1e-5).unwrap();
    for shape in [&[2, 6, 5][..], &[2, 6, 4, 3]] {
        layer("GroupNorm, one group", &net(1), &tensor(shape, 1));
        layer("GroupNorm", &net(2), &tensor(shape, 1));
        layer("GroupNorm, more groups", &net(3), &tensor(shape, 1));
        layer("GroupNorm, of each channel", &net(6), &tensor(shape, 1));
    }
}

#[test]
fn one_group_is_not_left_to_tensorrt() {
    let operators = |groups, target| {
        let net = GroupNorm::new(weight(&[6], 1), weight(&[6], 2), 6, groups, 1e-5).unwrap();
        let trace = Trace::of(&net, &tensor(&[2, 6, 5], 1), &OptimizeOptions::new()).unwrap();
        let model = trace.to_onnx(target).unwrap();
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        nodes.iter().map(|node| node.op_type().to_owned()).collect::<Vec<_>>()
    };
    let newest = Target::onnx_runtime();
    assert_eq!(operators(1, newest), ["GroupNormalization", "Identity"]);
    assert_eq!(operators(2, Target::tensorrt()), ["GroupNormalization", "Identity"]);
    // Its parser reads one group as one group a channel.
    let one = operators(1, Target::tensorrt());
    assert!(!one.contains(&"GroupNormalization".to_owned()), "{one:?}");
}

#[test]
fn layers_in_a_row() {
    let net = seq()
        .add(Linear::new(weight(&[8, 6], 1), Some(weight(&[8], 2))))
        .add_fn(|xs| xs.relu())
        .add(func(|xs| xs.affine(0.5, 1.0)))
        .add(func_t(|xs, train| if train { xs.neg() } else { xs.sqr() }))
        .add(Identity)
        .add(seq().add(Activation::Gelu))
        .add(Some(Linear::new(weight(&[3, 8], 3), None)));
    assert_eq!(net.len(), 7);
    let x = tensor(&[2, 6], 1);
    layer("Sequential", &net, &x);
    assert_eq!(net.forward_all(&x).unwrap().len(), 7);
    assert_eq!(
        net.forward_all(&x).unwrap()[6].to_vec2::<f32>().unwrap(),
        net.forward(&x).unwrap().to_vec2::<f32>().unwrap()
    );
    assert!(net.forward_t(&x, false).is_ok());
    assert!(net.forward_t(&x, true).unwrap_err().to_string().contains("is for inference"));
}

#[test]
fn functions_as_layers() {
    let x = tensor(&[2, 6], 1);
    layer("Func", &func(|xs| xs.relu()), &x);
    layer("FuncT", &func_t(|xs, train| if train { xs.neg() } else { xs.sqr() }), &x);
}

#[test]
fn a_layer_that_does_nothing() {
    layer("Identity", &Identity, &tensor(&[2, 6], 1));
}

#[test]
fn weights_that_may_be_quantized() {
    let net = QMatMul::Tensor(weight(&[4, 6], 1));
    layer("QMatMul, not quantized", &net, &tensor(&[2, 6], 1));
}
