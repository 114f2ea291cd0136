//! Burn models: every lowered operation and layer against Burn's own result on the CPU.
#![cfg(feature = "burn")]

mod common;

use accelerant::burn::{BurnGraph, BurnTensors, OptimizeTrt, export_onnx};
use accelerant::{BackendKind, Dim, ErrorKind, HostTensor, OptimizeOptions};
use burn::module::Module;
use burn::nn::conv::{Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use common::{Sample, check, check_all, random};

fn device() -> Device {
    Device::flex()
}

fn input<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = random(&shape, seed).into_raw_vec_and_offset().0;
    Tensor::from_data(TensorData::new(values, shape), &device())
}

fn host<T: BurnTensors>(tensors: T) -> Vec<HostTensor> {
    let mut out = Vec::new();
    tensors.into_host(&mut out).expect("CPU tensors can be read");
    out
}

/// What Burn makes of it, with integers as wide as in a capture.
fn expected<T: BurnTensors>(tensors: T) -> Vec<HostTensor> {
    let wide = |tensor: HostTensor| match tensor.to_vec::<i32>() {
        Ok(values) => {
            let values: Vec<i64> = values.into_iter().map(i64::from).collect();
            HostTensor::from_vec(tensor.shape(), values).expect("as many as before")
        }
        Err(_) => tensor,
    };
    host(tensors).into_iter().map(wide).collect()
}

/// Compares a forward pass with its export: static, and with a dynamic batch at three sizes.
fn case<M: Module, const D: usize, O: BurnTensors>(
    name: &str,
    module: &M,
    shape: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> O,
) {
    let run = |label: &str, options: &OptimizeOptions, example: [usize; D], batches: &[usize]| {
        let graph = BurnGraph::capture(module, &input(example, 1), &forward, options);
        let graph = graph.unwrap_or_else(|e| panic!("{name}, {label}: {e}"));
        let sample = |&batch: &usize| {
            let mut shape = example;
            shape[0] = batch;
            let x = input(shape, 7 + batch as u64);
            let expected = expected(forward(module, x.clone()));
            Sample { name: format!("batch {batch}"), inputs: host(x), expected }
        };
        let samples: Vec<_> = batches.iter().map(sample).collect();
        check_all(&format!("{name}, {label}"), |c| graph.to_onnx(c), &samples);
    };
    run("static", &OptimizeOptions::new(), shape, &[shape[0]]);
    let dynamic = OptimizeOptions::new().dynamic_batch(1..=5).expect("a valid range");
    run("dynamic", &dynamic, shape, &[1, shape[0], 5]);
}

/// A module without parameters, for cases that are functions.
#[derive(Module, Debug, Default)]
struct Nothing {
    #[module(skip)]
    nothing: (),
}

fn function<const D: usize, O: BurnTensors>(
    name: &str,
    shape: [usize; D],
    f: impl Fn(Tensor<D>) -> O,
) {
    case(name, &Nothing::default(), shape, |_, x| f(x));
}

#[test]
fn linear_layers() {
    let layer = LinearConfig::new(6, 4).init(&device());
    case("linear", &layer, [3, 6], |m: &Linear, x| m.forward(x));
    case("linear of rank 3", &layer, [3, 2, 6], |m: &Linear, x| m.forward(x));
    let layer = LinearConfig::new(6, 4).with_bias(false).init(&device());
    case("linear without bias", &layer, [3, 6], |m: &Linear, x| m.forward(x));
}

#[test]
fn convolutions() {
    let conv = |config: Conv2dConfig| config.init(&device());
    let forward = |m: &Conv2d, x: Tensor<4>| m.forward(x);
    case("conv2d", &conv(Conv2dConfig::new([3, 4], [3, 3])), [2, 3, 8, 7], forward);
    let same = PaddingConfig2d::Same;
    case(
        "conv2d, same",
        &conv(Conv2dConfig::new([3, 4], [3, 3]).with_padding(same)),
        [2, 3, 8, 7],
        forward,
    );
    let explicit = PaddingConfig2d::Explicit(1, 2, 1, 2);
    let config = Conv2dConfig::new([4, 6], [3, 2]).with_stride([2, 1]).with_padding(explicit);
    case("conv2d, stride, padding", &conv(config), [2, 4, 9, 8], forward);
    let config = Conv2dConfig::new([4, 8], [3, 3]).with_groups(4).with_dilation([2, 1]);
    case("conv2d, depthwise, dilated", &conv(config.with_bias(false)), [2, 4, 9, 8], forward);
    let layer = Conv1dConfig::new(3, 5, 3).with_stride(2).init(&device());
    case("conv1d", &layer, [2, 3, 11], |m: &burn::nn::conv::Conv1d, x| m.forward(x));
}

#[test]
fn pooling() {
    case("max pool", &MaxPool2dConfig::new([2, 2]).init(), [2, 3, 8, 6], |m: &MaxPool2d, x| {
        m.forward(x)
    });
    let config = MaxPool2dConfig::new([3, 2])
        .with_strides([2, 1])
        .with_padding(PaddingConfig2d::Explicit(1, 0, 1, 0));
    case("max pool, stride, padding", &config.init(), [2, 3, 9, 6], |m: &MaxPool2d, x| {
        m.forward(x)
    });
    for count in [true, false] {
        let config = AvgPool2dConfig::new([3, 3]).with_strides([2, 2]);
        let layer = config
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .with_count_include_pad(count)
            .init();
        case(&format!("average pool, counted {count}"), &layer, [2, 3, 9, 7], |m, x| m.forward(x));
    }
    for size in [[1, 1], [4, 2]] {
        let layer = AdaptiveAvgPool2dConfig::new(size).init();
        case(&format!("adaptive pool to {size:?}"), &layer, [2, 3, 8, 6], |m, x| m.forward(x));
    }
}

#[derive(Module, Debug)]
struct Norm {
    conv: Conv2d,
    norm: BatchNorm,
}

#[test]
fn batch_norm_exports_in_its_running_form() {
    let trained = {
        let device = device().autodiff();
        let norm = Norm {
            conv: Conv2dConfig::new([3, 4], [1, 1]).init(&device),
            norm: BatchNormConfig::new(4).init(&device),
        };
        // Two passes in training give the running mean and variance values of their own.
        for _ in 0..2 {
            let x = input([4, 3, 5, 5], 3).to_device(&device);
            norm.norm.forward(norm.conv.forward(x));
        }
        norm
    };
    case("batch norm", &trained.valid(), [2, 3, 5, 4], |m: &Norm, x| {
        m.norm.forward(m.conv.forward(x))
    });
    // A module that still is on an autodiff device exports the same way.
    let graph = BurnGraph::capture(
        &trained,
        &input([2, 3, 5, 4], 1),
        |m: &Norm, x| m.norm.forward(m.conv.forward(x)),
        &OptimizeOptions::new(),
    );
    let x = input([2, 3, 5, 4], 9);
    let valid = trained.valid();
    let expected = host(valid.norm.forward(valid.conv.forward(x.clone())));
    check("autodiff module", |c| graph.as_ref().unwrap().to_onnx(c), &host(x), &expected);
}

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

#[test]
fn layers_of_transformers() {
    use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
    use burn::nn::{LayerNorm, LayerNormConfig};
    let norm = LayerNormConfig::new(6).init(&device());
    case("layer norm", &norm, [3, 4, 6], |m: &LayerNorm, x| m.forward(x));
    let example = input([3, 4, 6], 1);
    let forward = |m: &LayerNorm, x: Tensor<3>| m.forward(x);
    let model = export_onnx(&norm, &example, forward, &OptimizeOptions::new()).unwrap();
    let nodes = model.proto().graph.as_ref().unwrap().node.iter().map(|n| n.op_type());
    assert_eq!(nodes.collect::<Vec<_>>(), ["LayerNormalization", "Identity"], "{model}");
    let attention = MultiHeadAttentionConfig::new(8, 2).with_dropout(0.1).init(&device());
    case("self attention", &attention, [3, 4, 8], |m: &MultiHeadAttention, x| {
        m.forward(MhaInput::self_attn(x)).context
    });
}

#[test]
fn integers_come_back_in_the_devices_own_type() {
    let forward = |_: &Nothing, x: Tensor<2>| (x.clone().argmax(1), x.greater_elem(0.0));
    let (module, x) = (Nothing::default(), input([3, 4], 1));
    let fast = module.optimize_trt(x.clone(), forward).unwrap();
    let (indices, mask) = fast.forward(x.clone());
    let native = forward(&module, x);
    assert_eq!(indices.into_data(), native.0.into_data());
    assert_eq!(mask.into_data(), native.1.into_data());
}

#[test]
fn embeddings() {
    use burn::nn::{Embedding, EmbeddingConfig};
    let layer = EmbeddingConfig::new(11, 5).init(&device());
    let ids = |values: Vec<i64>, rows: usize| {
        Tensor::<2, Int>::from_data(TensorData::new(values, [rows, 3]), &device())
    };
    let options = OptimizeOptions::new().dynamic_batch(1..=4).unwrap();
    let example = ids(vec![0, 10, 3, 4, 4, 1], 2);
    let graph = BurnGraph::capture(&layer, &example, |m: &Embedding, x| m.forward(x), &options);
    let graph = graph.unwrap();
    let sample = |name: &str, x: Tensor<2, Int>| Sample {
        name: name.into(),
        expected: host(layer.forward(x.clone())),
        inputs: host(x),
    };
    let samples = [sample("two", example), sample("one", ids(vec![5, 6, 7], 1))];
    check_all("embedding", |c| graph.to_onnx(c), &samples);
}

#[test]
fn up_sampling() {
    use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
    // Static: the pure Rust backend cannot resize a symbolic batch.
    for (mode, size) in [(InterpolateMode::Nearest, [8, 10]), (InterpolateMode::Bilinear, [7, 9])] {
        let options = InterpolateOptions::new(mode).with_output_size(size);
        let forward = |_: &Nothing, x| interpolate(x, options.clone());
        let (module, x) = (Nothing::default(), input([2, 3, 4, 5], 1));
        let graph = BurnGraph::capture(&module, &x, forward, &OptimizeOptions::new()).unwrap();
        let expected = host(forward(&module, x.clone()));
        check("resize", |c| graph.to_onnx(c), &host(x), &expected);
    }
    let config =
        ConvTranspose2dConfig::new([4, 3], [3, 2]).with_stride([2, 2]).with_padding([1, 0]);
    let layer = config.with_padding_out([1, 0]).init(&device());
    case("transposed", &layer, [2, 4, 5, 6], |m: &ConvTranspose2d, x| m.forward(x));
}

#[test]
fn windows_that_hang_over_the_end() {
    let config = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_ceil_mode(true);
    case("max pool, ceil", &config.init(), [2, 3, 8, 6], |m: &MaxPool2d, x| m.forward(x));
}

#[derive(Module, Debug)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm,
    pool: MaxPool2d,
    fc: Linear,
    other: Linear,
}

impl Net {
    fn new() -> Self {
        let fc: Linear = LinearConfig::new(4 * 4 * 4, 10).init(&device());
        Self {
            conv: Conv2dConfig::new([1, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(&device()),
            norm: BatchNormConfig::new(4).init(&device()),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            other: fc.clone(),
            fc,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(activation::relu(self.norm.forward(self.conv.forward(x))));
        let x: Tensor<2> = x.flatten(1, 3);
        self.fc.forward(x.clone()) + self.other.forward(x)
    }
}

#[test]
fn parameters_have_the_modules_paths() {
    let model = export_onnx(
        &Net::new(),
        &input([1, 1, 8, 8], 1),
        Net::forward,
        &OptimizeOptions::new().name("net").input_names(["pixels"]).output_names(["scores"]),
    );
    let model = model.unwrap();
    let mut names: Vec<_> = model
        .proto()
        .graph
        .as_ref()
        .unwrap()
        .initializer
        .iter()
        .map(|t| t.name().to_owned())
        .collect();
    names.retain(|name| name.contains('.'));
    names.sort();
    let paths = [
        "conv.bias",
        "conv.weight",
        "fc.bias",
        "fc.weight",
        "norm.beta",
        "norm.gamma",
        "norm.running_mean",
        "norm.running_var",
        "other.bias",
        "other.weight",
    ];
    assert_eq!(names, paths);
    assert_eq!(
        model.signature().to_string(),
        "(pixels: f32 [1, 1, 8, 8]) -> (scores: f32 [1, 10])"
    );
    assert!(
        model.to_string().contains("conv/Conv = Conv(pixels, conv.weight, conv.bias)"),
        "{model}"
    );
}

#[test]
fn one_call_gives_a_module_like_the_original() {
    let net = Net::new();
    let options = OptimizeOptions::new().dynamic_batch(1..=8).unwrap();
    let fast = net.optimize_trt_with(input([2, 1, 8, 8], 1), Net::forward, &options).unwrap();
    for batch in [1, 3, 8] {
        let x = input([batch, 1, 8, 8], 3);
        let (expected, got) = (net.forward(x.clone()), fast.forward(x));
        let place = format!("batch {batch} on {}", fast.inference().backend());
        let tolerance =
            if fast.inference().backend() == BackendKind::Ort { common::F32 } else { common::TF32 };
        common::assert_close(&place, &host(got)[0], &host(expected)[0], tolerance);
    }
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (fast, net) = (fast.clone(), &net);
            scope.spawn(move || {
                let x = input([2, 1, 8, 8], seed);
                let (expected, got) = (net.forward(x.clone()), fast.forward(x));
                common::assert_close("threads", &host(got)[0], &host(expected)[0], common::TF32);
            });
        }
    });
}

#[test]
fn bad_inputs_are_typed_errors() {
    let options = OptimizeOptions::new().dynamic_batch(1..=8).unwrap().input_names(["pixels"]);
    let fast =
        Net::new().optimize_trt_with(input([2, 1, 8, 8], 1), Net::forward, &options).unwrap();
    let error = fast.try_forward(input([9, 1, 8, 8], 1)).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::OutOfProfile, Some("pixels"), Some(0))
    );
    let error = fast.try_forward(input([2, 1, 8, 9], 1)).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::ShapeMismatch, Some("pixels"), Some(3))
    );
    assert_eq!(error.to_string(), "run: tensor `pixels`, axis 3: expected 8, got 9");
    let error = fast.inference().run(&[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMismatch);
    let error = fast.inference().run(&[HostTensor::from(random(&[2, 64], 1))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
    let ids = HostTensor::from(ndarray::Array4::<i64>::zeros((1, 1, 8, 8)));
    assert_eq!(fast.inference().run(&[ids]).unwrap_err().kind(), ErrorKind::DTypeMismatch);
    let empty = HostTensor::from(ndarray::Array4::<f32>::zeros((0, 1, 8, 8)));
    assert_eq!(fast.inference().run(&[empty]).unwrap_err().kind(), ErrorKind::OutOfProfile);

    let error =
        Net::new().optimize_trt_with(input([9, 1, 8, 8], 1), Net::forward, &options).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::OutOfProfile,
        "the example lies outside the range: {error}"
    );
    let error = Net::new()
        .optimize_trt_with(
            input([2, 1, 8, 8], 1),
            Net::forward,
            &OptimizeOptions::new().dynamic_axis(1, 0, Dim::Fixed(1)),
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_cannot_be_exported_is_listed_whole() {
    let forward = |_: &Nothing, x: Tensor<2>| {
        let order: Tensor<2, Int> = x.clone().argsort(1);
        (x.clone().sort(1), order, x.cumsum(1))
    };
    let module = Nothing::default();
    let error = module.optimize_trt(input([2, 3], 1), forward).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    let text = error.to_string();
    for name in ["Sort", "ArgSort", "CumSum"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_size_that_steers_the_forward_is_refused_when_dynamic() {
    let forward = |_: &Nothing, x: Tensor<2>| {
        let scale = x.dims()[0] as f32;
        x * scale
    };
    let module = Nothing::default();
    let branch = |_: &Nothing, x: Tensor<2>| if x.dims()[0] > 50 { x * 2 } else { x };
    let wide = OptimizeOptions::new().dynamic_batch(1..=64).unwrap();
    let error = module.optimize_trt_with(input([2, 3], 1), branch, &wide).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let dynamic = OptimizeOptions::new().dynamic_batch(1..=8).unwrap();
    assert!(module.optimize_trt(input([2, 3], 1), forward).is_ok());
    let error = module.optimize_trt_with(input([2, 3], 1), forward, &dynamic).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("MulScalar"), "{error}");
}

/// A function with static sizes.
fn fixed<const D: usize, O: BurnTensors>(
    name: &str,
    shape: [usize; D],
    f: impl Fn(Tensor<D>) -> O,
) {
    let (module, x) = (Nothing::default(), input(shape, 3));
    let forward = |_: &Nothing, x| f(x);
    let graph = BurnGraph::capture(&module, &x, forward, &OptimizeOptions::new()).unwrap();
    let expected = expected(f(x.clone()));
    check(name, |c| graph.to_onnx(c), &host(x), &expected);
}

#[test]
fn attention_as_one_operation() {
    use burn::tensor::module::attention;
    use burn::tensor::ops::AttentionModuleOptions;
    let run = |name: &str, options: AttentionModuleOptions, masked: bool| {
        fixed(name, [2, 2, 4, 6], |x| {
            let mask =
                masked.then(|| x.clone().matmul(x.clone().swap_dims(2, 3)).greater_elem(0.5));
            attention(x.clone(), x.clone() * 0.5, x, mask, None, options)
        });
    };
    let plain = AttentionModuleOptions::default();
    run("attention", plain, false);
    run("attention, masked", plain, true);
    run("attention, causal", AttentionModuleOptions { is_causal: true, ..plain }, false);
    run("attention, capped", AttentionModuleOptions { softcap: Some(2.0), ..plain }, true);
    run("attention, scaled", AttentionModuleOptions { scale: Some(0.3), ..plain }, false);
}

#[test]
fn other_forms_of_resize_and_pad() {
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions, PadMode};
    for (name, mode, corners) in [
        ("bicubic", InterpolateMode::Bicubic, false),
        ("bicubic, corners", InterpolateMode::Bicubic, true),
        ("bilinear, corners", InterpolateMode::Bilinear, true),
    ] {
        let options = InterpolateOptions::new(mode).with_output_size([7, 9]);
        let options = options.with_align_corners(corners);
        fixed(name, [2, 3, 4, 5], |x| interpolate(x, options.clone()));
    }
    fixed("reflect", [2, 4, 5], |x| x.pad((1, 2, 0, 1), PadMode::Reflect));
    fixed("edge", [2, 4, 5], |x| x.pad((1, 2, 0, 1), PadMode::Edge));
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
