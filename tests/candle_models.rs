//! Whole Candle models through `.optimize_trt(…)`: values, names, symbolic dimensions, and what is
//! refused. Single methods and layers are in `cases_candle`.

#![cfg(all(feature = "candle", feature = "tract"))]

mod common;

use accelerant::candle::{
    CandleModule, Forward, OptimizeTrt, TensorOps, Trace, WeightNames, error_of, export_onnx,
};
use accelerant::export::{OnnxModel, Target};
use accelerant::{BackendKind, Dim, ErrorKind, InferenceModule, OptimizeOptions};
use candle_core::{DType, Device, ModuleT, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder, VarMap};
use common::random;

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let (values, _) = random(shape, seed).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn linear(inputs: usize, outputs: usize, seed: u64) -> Linear {
    Linear::new(tensor(&[outputs, inputs], seed), Some(tensor(&[outputs], seed + 1)))
}

struct Cnn {
    first: Conv2d,
    norm: BatchNorm,
    second: Conv2d,
    head: Linear,
}

impl Cnn {
    fn new() -> Self {
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        let grouped = Conv2dConfig { groups: 2, stride: 2, ..config };
        let variance = tensor(&[8], 4).sqr().unwrap().affine(1.0, 0.5).unwrap();
        Self {
            first: Conv2d::new(tensor(&[8, 3, 3, 3], 1), Some(tensor(&[8], 2)), config),
            norm: BatchNorm::new(
                8,
                tensor(&[8], 3),
                variance,
                tensor(&[8], 5),
                tensor(&[8], 6),
                1e-5,
            )
            .unwrap(),
            second: Conv2d::new(tensor(&[4, 4, 3, 3], 7), None, grouped),
            head: linear(16, 10, 8),
        }
    }
}

impl Forward for Cnn {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let xs = xs.scope("stem", |xs| {
            self.norm.forward(&self.first.forward(xs)?)?.relu()?.max_pool2d(2)
        })?;
        let xs = self.second.forward(&xs)?.relu()?;
        self.head.forward(&xs.flatten_from(1)?)?.softmax(1)
    }
}

struct Mlp(Vec<Linear>);

impl Forward for Mlp {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let (head, body) = self.0.split_last().expect("there are layers");
        let xs = body.iter().try_fold(xs.clone(), |xs, layer| layer.forward(&xs)?.gelu_erf())?;
        head.forward(&xs)
    }
}

fn mlp() -> Mlp {
    Mlp(vec![linear(12, 16, 1), linear(16, 16, 3), linear(16, 4, 5)])
}

fn assert_close(got: &Tensor, expected: &Tensor) {
    assert_eq!((got.dtype(), got.dims()), (expected.dtype(), expected.dims()));
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (x, y) in values(got).into_iter().zip(values(expected)) {
        assert!((x - y).abs() <= 5e-3 * (1.0 + y.abs()), "{x} for {y}");
    }
}

fn batch(range: std::ops::RangeInclusive<usize>) -> OptimizeOptions {
    OptimizeOptions::new().dynamic_batch(range)
}

fn operators(model: &OnnxModel) -> Vec<&str> {
    model.proto().graph.as_ref().unwrap().node.iter().map(|node| node.op_type()).collect()
}

fn initializers(model: &OnnxModel) -> Vec<&str> {
    model.proto().graph.as_ref().unwrap().initializer.iter().map(|tensor| tensor.name()).collect()
}

#[test]
fn a_convolutional_network_gives_candles_values() {
    let net = Cnn::new();
    let x = tensor(&[2, 3, 8, 8], 20);
    let fast = net.optimize_trt(&x).unwrap();
    let expected = net.forward(&x).unwrap();
    assert_close(&fast.forward(&x).unwrap(), &expected);
    assert_close(&fast.forward_t(&x, false).unwrap(), &expected);
    let backend = fast.inference().backend();
    assert!(common::is_portable(&backend) || backend == BackendKind::TensorRtRtx);
    assert_close(&candle_core::Module::forward(&fast, &x).unwrap(), &expected);
    // A view with other strides.
    let strided = x.transpose(2, 3).unwrap().contiguous().unwrap().transpose(2, 3).unwrap();
    assert!(!strided.is_contiguous());
    assert_close(&fast.forward(&strided).unwrap(), &expected);
}

#[test]
fn a_fully_connected_network_takes_any_batch_of_its_range() {
    let net = mlp();
    let fast = net.optimize_trt_with(&tensor(&[2, 12], 1), &batch(1..=9)).unwrap();
    for size in [1, 2, 5, 9] {
        let x = tensor(&[size, 12], 40 + size as u64);
        assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
    }
    let shared = fast.clone();
    std::thread::spawn(move || shared.forward(&tensor(&[3, 12], 1)).unwrap()).join().unwrap();
}

#[test]
fn a_network_is_tuned_for_batches_of_several_sizes_and_takes_all_between() {
    let net = mlp();
    let options = OptimizeOptions::new().batch_sizes([8, 1, 3]);
    let fast = net.optimize_trt_with(&tensor(&[2, 12], 1), &options).unwrap();
    let batch = &fast.inference().signature().inputs[0].shape.dims()[0];
    assert_eq!((batch.min(), batch.opt(), batch.max()), (1, 3, 8), "the middle one");
    for size in [8, 1, 3, 5, 8, 3] {
        let x = tensor(&[size, 12], 50 + size as u64);
        assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
    }
    assert!(fast.forward(&tensor(&[9, 12], 1)).is_err());
    for wrong in [vec![], vec![0], vec![0, 8]] {
        let options = OptimizeOptions::new().batch_sizes(wrong);
        let error = net.optimize_trt_with(&tensor(&[2, 12], 1), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[test]
fn layers_are_whole_operators_with_their_names() {
    let model = export_onnx(&Cnn::new(), &tensor(&[1, 3, 8, 8], 1), &batch(1..=4)).unwrap();
    let expected = [
        "Conv",
        "BatchNormalization",
        "Relu",
        "MaxPool",
        "Conv",
        "Relu",
        "Reshape",
        "Gemm",
        "Softmax",
        "Identity",
    ];
    assert_eq!(operators(&model), expected);
    let names = initializers(&model);
    for name in
        ["stem/conv2d.weight", "stem/batch_norm.running_var", "conv2d.weight", "linear.bias"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(
        model.signature().to_string(),
        "(input_0: f32 [batch, 3, 8, 8]) -> (output_0: f32 [batch, 10])"
    );

    let norm = LayerNorm::new(tensor(&[6], 1), tensor(&[6], 2), 1e-5);
    let model = export_onnx(&norm, &tensor(&[2, 6], 1), &OptimizeOptions::new()).unwrap();
    assert_eq!(operators(&model), ["LayerNormalization", "Identity"]);
}

/// A network made by a `VarBuilder`, as users have it.
struct Built {
    stem: Conv2d,
    norm: BatchNorm,
    head: Linear,
}

impl Built {
    fn new(vb: VarBuilder) -> Result<Self> {
        let stem = candle_nn::conv2d(3, 4, 3, Conv2dConfig::default(), vb.pp("stem").pp(0))?;
        let norm = candle_nn::batch_norm(4, 1e-5, vb.pp("stem.norm"))?;
        Ok(Self { stem, norm, head: candle_nn::linear(4 * 6 * 6, 5, vb.pp("head"))? })
    }
}

impl Forward for Built {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let xs = xs.scope("stem", |xs| self.norm.forward(&self.stem.forward(xs)?))?;
        self.head.forward(&xs.flatten_from(1)?)
    }
}

#[test]
fn weights_are_named_after_their_paths() {
    let paths = |prefix: &str| {
        let mut paths: Vec<_> = ["0.weight", "0.bias"]
            .into_iter()
            .chain(["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"])
            .map(|path| format!("{prefix}stem.{path}"))
            .chain(["weight", "bias"].map(|path| format!("{prefix}head.{path}")))
            .collect();
        paths.sort();
        paths
    };
    let named = |net: &Built, names: &WeightNames| {
        let options = batch(1..=4).weight_names(names);
        let model = export_onnx(net, &tensor(&[1, 3, 8, 8], 1), &options).unwrap();
        let weights = initializers(&model).into_iter().filter(|name| name.contains('.'));
        let mut weights: Vec<_> = weights.map(str::to_owned).collect();
        weights.sort();
        weights
    };

    // Recorded behind a prefix, from variables.
    let (variables, names) = (VarMap::new(), WeightNames::new());
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let net = Built::new(names.record(vb.pp("net"))).unwrap();
    assert_eq!(named(&net, &names), paths("net."));

    // From the variables, after the network was made.
    let names = WeightNames::new();
    names.add_variables(&variables);
    assert_eq!(named(&net, &names), paths("net."));

    // Recorded from a checkpoint that is converted when it is read.
    let variables = variables.data().lock().unwrap();
    let tensors = variables.iter().map(|(name, variable)| {
        let path = name.strip_prefix("net.").unwrap().to_owned();
        (path, variable.as_tensor().to_dtype(DType::F64).unwrap())
    });
    let tensors = tensors.collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let names = WeightNames::new();
    let net = Built::new(names.record(vb)).unwrap();
    assert_eq!(named(&net, &names), paths(""));
    let unnamed = named(&net, &WeightNames::new());
    assert!(unnamed.iter().any(|name| name == "linear.weight"), "{unnamed:?}");
}

#[test]
fn a_shared_weight_is_one_initializer() {
    let layer = linear(6, 6, 1);
    let net = Mlp(vec![layer.clone(), layer.clone(), layer]);
    let model = export_onnx(&net, &tensor(&[1, 6], 1), &OptimizeOptions::new()).unwrap();
    assert_eq!(initializers(&model).iter().filter(|name| name.contains("linear")).count(), 2);
}

#[test]
fn a_weight_that_is_a_view_is_exported_as_it_is_seen() {
    let weight = tensor(&[6, 8], 1).t().unwrap().narrow(0, 2, 4).unwrap();
    let net = Linear::new(weight, None);
    let x = tensor(&[3, 6], 2);
    assert_close(
        &net.optimize_trt(&x).unwrap().forward(&x).unwrap(),
        &candle_core::Module::forward(&net, &x).unwrap(),
    );
}

/// A model from a forward.
macro_rules! model {
    (|$xs:ident| $body:expr) => {{
        struct Model;
        impl Forward for Model {
            fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                $body
            }
        }
        Model
    }};
}

#[test]
fn values_in_order_and_their_places_are_one_operator() {
    let net = model!(|xs| {
        let (values, places) = xs.sort_last_dim(true)?;
        values.broadcast_add(&places.to_dtype(DType::F32)?)
    });
    let model = export_onnx(&net, &tensor(&[2, 6], 1), &OptimizeOptions::new()).unwrap();
    let count = operators(&model).iter().filter(|op| **op == "TopK").count();
    assert_eq!(count, 1, "{model}");
}

#[test]
fn several_inputs_and_outputs_of_several_types() {
    fn both<T: TensorOps>(a: &T, ids: &T) -> Result<Vec<T>> {
        let table = T::constant(&tensor(&[7, 3], 3));
        let ids = ids.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&table.narrow(0, 0, 1)?)?;
        let sum = a.add(&ids)?;
        Ok(vec![sum.argmax(1)?, sum])
    }
    let (a, ids) = (tensor(&[4, 3], 1), Tensor::new(&[1u32, 2, 3, 4], &Device::Cpu).unwrap());
    let options = batch(1..=6).input_names(["a", "ids"]).output_names(["ArgMax", "Add"]);
    let fast =
        CandleModule::of_fn([&a, &ids], &options, |inputs| both(&inputs[0], &inputs[1])).unwrap();
    let (got, expected) = (fast.run([&a, &ids]).unwrap(), both(&a, &ids).unwrap());
    assert_eq!(got[0].dtype(), DType::U32);
    assert_eq!(got[0].to_vec1::<u32>().unwrap(), expected[0].to_vec1::<u32>().unwrap());
    assert_close(&got[1], &expected[1]);

    let error = fast.run([&a]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMismatch);
    let error = fast.run([&a, &ids.to_dtype(DType::I64).unwrap()]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some("ids")));
    let error = fast.run([&a, &ids.narrow(0, 0, 3).unwrap()]).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::ShapeMismatch, Some("ids"), Some(0))
    );
}

#[test]
fn a_module_is_opened_from_files_with_the_types_of_candle() {
    fn largest<T: TensorOps>(a: &T, ids: &T) -> Result<Vec<T>> {
        Ok(vec![a.argmax(1)?, ids.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_add(a)?])
    }
    let (a, ids) = (tensor(&[4, 3], 1), Tensor::new(&[1u32, 2, 3, 4], &Device::Cpu).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (engine, model) = (folder.path().join("both.engine"), folder.path().join("both.onnx"));
    let options = batch(1..=6).save_onnx(&model);
    let made = CandleModule::of_fn([&a, &ids], &options, |xs| largest(&xs[0], &xs[1])).unwrap();
    made.inference().engine().save(&engine).unwrap();
    let expected = made.run([&a, &ids]).unwrap();
    // Files leave sizes open that the engine has ranges for.
    let bound = OnnxModel::open(&model).unwrap().bind("batch", 1..=6).unwrap();
    let bound = InferenceModule::compile(&bound, &OptimizeOptions::new()).unwrap();
    for opened in [
        CandleModule::open(&engine, &OptimizeOptions::new()).unwrap(),
        CandleModule::open(&model, &OptimizeOptions::new()).unwrap(),
        CandleModule::from_inference(bound).unwrap(),
    ] {
        let got = opened.run([&a, &ids]).unwrap();
        assert_eq!(got[0].dtype(), DType::U32, "no file says so but by the interface");
        assert_eq!(got[0].to_vec1::<u32>().unwrap(), expected[0].to_vec1::<u32>().unwrap());
        assert_close(&got[1], &expected[1]);
        let error = opened.run([&a, &ids.to_dtype(DType::I64).unwrap()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DTypeMismatch, "as the module that was made");
    }
    assert!(CandleModule::open(folder.path().join("none.engine"), &options).is_err());
}

#[test]
fn a_file_of_another_maker_has_the_types_of_its_signature() {
    use accelerant::export::GraphBuilder;
    let graph = GraphBuilder::new("another");
    let ids = graph.input("ids", accelerant::DType::I64, [3]).unwrap();
    let mask = graph.input("mask", accelerant::DType::Bool, [3]).unwrap();
    let hundred = graph.constant("hundred", accelerant::HostTensor::scalar(100i64));
    graph.output("y", &mask.select(&ids, &hundred).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("another.ONNX");
    graph.finish().unwrap().save(&file).unwrap();
    let opened = CandleModule::open(&file, &OptimizeOptions::new()).unwrap();
    let mask = Tensor::new(&[1u8, 0, 1], &Device::Cpu).unwrap();
    let ids = Tensor::new(&[5u32, 6, 7], &Device::Cpu).unwrap();
    for ids in [ids.clone(), ids.to_dtype(DType::I64).unwrap()] {
        let y = &opened.run([&ids, &mask]).unwrap()[0];
        assert_eq!(y.to_vec1::<i64>().unwrap(), [5, 100, 7]);
    }
    let error = opened.run([&ids.to_dtype(DType::F32).unwrap(), &mask]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some("ids")));

    let graph = GraphBuilder::new("no type of candle");
    let x = graph.input("x", accelerant::DType::I8, [3]).unwrap();
    graph.output("y", &x.cast(accelerant::DType::F32).unwrap()).unwrap();
    let module =
        InferenceModule::compile(&graph.finish().unwrap(), &OptimizeOptions::new()).unwrap();
    let error = CandleModule::from_inference(module).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some("x")));
}

#[test]
fn height_and_width_may_be_symbols_too() {
    struct Net(Conv2d);
    impl Forward for Net {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            let (n, _, h, w) = xs.dims4()?;
            let ys = self.0.forward(xs)?.relu()?;
            // As attention over pixels does it, with the sizes in other places.
            let tokens = ys.reshape((n, 4, h * w))?.transpose(1, 2)?.softmax(2)?;
            let ys = tokens.transpose(1, 2)?.reshape((n, 4, h, w))?.add(&ys)?;
            ys.upsample_nearest2d(2 * h, 2 * w)?.max_pool2d(2)
        }
    }
    let config = Conv2dConfig { padding: 1, ..Default::default() };
    let net = Net(Conv2d::new(tensor(&[4, 3, 3, 3], 1), None, config));
    let options = batch(1..=3)
        .dynamic_axis(0, 2, Dim::dynamic("height", 4..=16).unwrap())
        .dynamic_axis(0, 3, Dim::dynamic("width", 2..=200).unwrap());
    let fast = net.optimize_trt_with(&tensor(&[1, 3, 8, 8], 1), &options).unwrap();
    for (n, h, w) in [(1, 4, 2), (2, 5, 7), (3, 16, 9), (1, 4, 200)] {
        let x = tensor(&[n, 3, h, w], 5);
        assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
    }
}

#[test]
fn symbols_keep_their_names_through_reshapes() {
    let net = model!(|xs| {
        let (b, s, d) = xs.dims3()?;
        let heads = xs.reshape((b, s, 2, d / 2))?.transpose(1, 2)?.contiguous()?;
        let scores = heads.matmul(&heads.t()?)?.softmax_last_dim()?;
        let merged = scores.reshape((b * 2, s, s))?;
        merged.reshape((b, 2, s, s))?.matmul(&heads)?.transpose(1, 2)?.reshape((b, s, d))?.add(xs)
    });
    let options = batch(1..=4).dynamic_axis(0, 1, Dim::dynamic("length", 1..=300).unwrap());
    let x = tensor(&[3, 5, 8], 1);
    let trace = Trace::of(&net, &x, &options).unwrap();
    let model = trace.to_onnx(Target::portable()).unwrap();
    assert_eq!(model.signature().outputs[0].to_string(), "output_0: f32 [batch, length, 8]");
    let fast = CandleModule::compile(&trace, &options).unwrap();
    for (b, s) in [(1, 1), (3, 5), (4, 300), (2, 2)] {
        let x = tensor(&[b, s, 8], 9);
        assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
    }
}

#[test]
fn masks_and_wide_numbers_come_back_as_candle_has_them() {
    let net = model!(|xs| xs.affine(1.5, -0.25)?.gt(0.5));
    let x = tensor(&[4, 3], 1);
    let got = net.optimize_trt(&x).unwrap().forward(&x).unwrap();
    assert_eq!(got.to_vec2::<u8>().unwrap(), net.forward(&x).unwrap().to_vec2::<u8>().unwrap());

    // TensorRT has no f64.
    let net = model!(|xs| xs.affine(1.5, -0.25)?.relu());
    let x = x.to_dtype(DType::F64).unwrap();
    let got =
        net.optimize_trt_with(&x, &OptimizeOptions::new().require(common::portable())).unwrap();
    let (got, expected) = (got.forward(&x).unwrap(), net.forward(&x).unwrap());
    assert_eq!(got.to_vec2::<f64>().unwrap(), expected.to_vec2::<f64>().unwrap());
}

fn refusal(net: impl Forward, shape: &[usize], options: &OptimizeOptions) -> (ErrorKind, String) {
    let error = Trace::of(&net, &tensor(shape, 1), options)
        .and_then(|trace| trace.to_onnx(Target::portable()));
    let error = error.expect_err("the model is refused");
    (error.kind(), error.to_string())
}

#[test]
fn what_depends_on_a_size_is_refused() {
    let constant = || model!(|xs| xs.reshape((4, 6)));
    let (kind, text) = refusal(constant(), &[4, 3, 2], &batch(1..=8));
    assert_eq!(kind, ErrorKind::ShapeMismatch);
    assert!(text.contains("`batch` = 8"), "{text}");
    // The size is right where it is the only one.
    assert!(Trace::of(&constant(), &tensor(&[4, 3, 2], 1), &batch(4..=4)).is_ok());
    assert!(Trace::of(&constant(), &tensor(&[4, 3, 2], 1), &OptimizeOptions::new()).is_ok());

    // Of another size than the tuned one.
    let (_, text) = refusal(model!(|xs| xs.reshape((8, 6))), &[4, 3, 2], &batch(1..=8));
    assert!(text.contains("works for `batch` = 8, but not for `batch` = 1"), "{text}");
    assert!(
        text.contains("shape mismatch in reshape") || text.contains("Shape mismatch"),
        "{text}"
    );

    let number = model!(|xs| xs.affine(1.0 / xs.dim(0)? as f64, 0.0));
    let (kind, text) = refusal(number, &[4, 3], &batch(1..=8));
    assert_eq!(kind, ErrorKind::UnsupportedOperation);
    assert!(text.contains("Affine { mul: 0.125") && text.contains("`batch` = 1"), "{text}");

    let branch = model!(|xs| if xs.dim(0)? == 3 { xs.relu() } else { xs.exp() });
    assert_eq!(refusal(branch, &[4, 3], &batch(1..=8)).0, ErrorKind::UnsupportedOperation);

    let squeeze = model!(|xs| xs.squeeze(0));
    assert_eq!(refusal(squeeze, &[4, 3], &batch(1..=8)).0, ErrorKind::UnsupportedOperation);

    let some = model!(|xs| xs.narrow(0, 0, xs.dim(0)?.min(5)));
    let (kind, text) = refusal(some, &[4, 3], &batch(1..=8));
    assert_eq!(kind, ErrorKind::UnsupportedOperation);
    assert!(text.contains("depends on a symbolic dimension"), "{text}");

    // Of another size the values are others, and not the first of those.
    let made = model!(|xs| {
        let part = Tensor::full(1.0 / xs.dim(0)? as f32, xs.shape(), xs.device())?;
        xs.add(&T::constant(&part))
    });
    let (kind, text) = refusal(made, &[4, 3], &batch(1..=8));
    assert_eq!(kind, ErrorKind::UnsupportedOperation);
    assert!(text.contains("not the begin"), "{text}");
}

#[test]
fn constants_made_in_the_forward_are_constants() {
    let net =
        model!(|xs| xs.broadcast_add(&T::constant(&Tensor::arange(0f32, 3f32, xs.device())?)));
    let fast = net.optimize_trt_with(&tensor(&[2, 3], 1), &batch(1..=8)).unwrap();
    let x = tensor(&[7, 3], 2);
    assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
}

#[test]
fn tracing_fails_with_candles_own_words() {
    for shape in [&[2, 11][..], &[12], &[1, 1, 1, 2, 12]] {
        let (kind, text) = refusal(linear(12, 4, 1), shape, &OptimizeOptions::new());
        let candle = candle_core::Module::forward(&linear(12, 4, 1), &tensor(shape, 1))
            .unwrap_err()
            .to_string();
        // A backtrace may follow.
        let candle = candle.lines().next().unwrap();
        assert_eq!((kind, text), (ErrorKind::ShapeMismatch, format!("trace: {candle}")));
    }
    let net = model!(|xs| xs.transpose(0, 5));
    let (kind, text) = refusal(net, &[2, 3], &OptimizeOptions::new());
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert_eq!(text, "trace: transpose: dimension index 5 out of range for shape [2, 3]");
}

#[test]
fn running_fails_with_an_error_that_can_be_found() {
    let fast = mlp().optimize_trt_with(&tensor(&[2, 12], 1), &batch(1..=4)).unwrap();
    let cases = [
        (tensor(&[5, 12], 1), ErrorKind::OutOfProfile, Some(0)),
        (tensor(&[2, 11], 1), ErrorKind::ShapeMismatch, Some(1)),
        (tensor(&[2, 1, 12], 1), ErrorKind::ShapeMismatch, None),
        (tensor(&[2, 12], 1).to_dtype(DType::F64).unwrap(), ErrorKind::DTypeMismatch, None),
    ];
    for (x, kind, axis) in cases {
        let error = fast.forward(&x).unwrap_err();
        let text = error.to_string();
        let ours = error_of(&error).expect("the error is ours");
        assert_eq!(
            (ours.kind(), ours.axis(), ours.tensor()),
            (kind, axis, Some("input_0")),
            "{text}"
        );
        assert!(text.contains(&ours.to_string()), "{text}");
    }
}

#[test]
fn constants_are_expanded_to_symbolic_sizes() {
    struct Net(Tensor);
    impl Forward for Net {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            let (batch, _, width) = xs.dims3()?;
            T::cat(&[&T::constant(&self.0).expand((batch, 1, width))?, xs], 1)
        }
    }
    let net = Net(tensor(&[1, 1, 4], 2));
    let fast = net.optimize_trt_with(&tensor(&[2, 5, 4], 1), &batch(1..=3)).unwrap();
    for n in [2, 1, 3] {
        let x = tensor(&[n, 5, 4], 3);
        assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
    }
}
