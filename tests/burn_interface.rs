//! What a Burn forward function may take and return: any number of tensors of any kind, in
//! tuples, arrays, vectors, options and structs; the names they get; and what is refused.
#![cfg(feature = "burn")]

mod common;

use accelerant::backend::tract::Tract;
use accelerant::backend::{Backend, Executable};
use accelerant::burn::{BurnGraph, BurnModule, BurnTensors, OptimizeTrt};
use accelerant::export::{OnnxModel, Target};
use accelerant::{
    BackendKind, Dim, Engine, ErrorKind, HostTensor, OptimizeOptions, Registry, Result,
};
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use common::{check, random};

fn device() -> Device {
    Device::flex()
}

fn float<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = random(&shape, seed).into_raw_vec_and_offset().0;
    Tensor::from_data(TensorData::new(values, shape), &device())
}

fn host(tensors: impl BurnTensors) -> Vec<HostTensor> {
    let mut out = Vec::new();
    tensors.into_host(&mut out).expect("CPU tensors can be read");
    out
}

#[derive(Module, Debug, Default)]
struct Nothing {
    #[module(skip)]
    nothing: (),
}

/// Compares a function of any interface with its export, and gives back its signature.
fn compare<I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    example: I,
    f: impl Fn(I) -> O,
) -> String {
    let forward = |_: &Nothing, input| f(input);
    let module = Nothing::default();
    let options = OptimizeOptions::new();
    let graph = BurnGraph::capture(&module, &example, forward, &options)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let expected = host(f(example.clone()));
    check(name, |target| graph.to_onnx(target), &host(example.clone()), &expected);

    // The module takes and gives the same types.
    let options = options.require(common::portable());
    let fast = module.optimize_trt_with(example.clone(), forward, &options).unwrap();
    let got = host(fast.forward(example));
    assert_eq!(got.len(), expected.len(), "{name}");
    for (got, expected) in got.iter().zip(&expected) {
        common::assert_close(name, got, expected, common::F32);
    }
    fast.inference().signature().to_string()
}

#[test]
fn tuples_arrays_and_kinds() {
    let (x, mask) = (float([2, 3], 1), float([2, 3], 2).greater_elem(0.0));
    let bias: Tensor<1> = float([3], 3);
    let signature = compare(
        "kinds",
        (x.clone(), mask, bias),
        |(x, mask, bias): (Tensor<2>, Tensor<2, Bool>, Tensor<1>)| {
            let y = x.mask_fill(mask.clone(), 0.0) + bias.unsqueeze();
            (y, mask.bool_not())
        },
    );
    let expected = "(input_0: f32 [2, 3], input_1: bool [2, 3], input_2: f32 [3]) -> \
                    (output_0: f32 [2, 3], output_1: bool [2, 3])";
    assert_eq!(signature, expected);

    let twelve = |i: u64| float([2], i);
    compare(
        "twelve",
        (
            twelve(0),
            twelve(1),
            twelve(2),
            twelve(3),
            twelve(4),
            twelve(5),
            twelve(6),
            twelve(7),
            twelve(8),
            twelve(9),
            twelve(10),
            twelve(11),
        ),
        |(a, b, c, d, e, f, g, h, i, j, k, l)| ([a - b, c - d], (e - f, [g - h, i - j]), k - l),
    );
}

/// Stands in for TensorRT where there is no GPU: it is written for as TensorRT is, but runs on the
/// portable backend.
#[derive(Debug)]
struct LikeTensorRt;

impl Backend for LikeTensorRt {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("like-tensorrt".into())
    }

    fn description(&self) -> String {
        Tract.description()
    }

    fn target(&self) -> Target {
        Target::tensorrt()
    }

    fn probe(&self) -> Result<()> {
        Tract.probe()
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        Tract.build(model)
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        Tract.load(engine)
    }
}

/// Runs a function as TensorRT is handed it, compares with Burn's result, and gives the signature.
fn like_tensorrt<I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    example: I,
    f: impl Fn(I) -> O,
) -> String {
    let registry = Registry::empty().with(LikeTensorRt);
    let options = OptimizeOptions::new().registry(registry).narrow_f64(true);
    let forward = |_: &Nothing, input| f(input);
    let fast = Nothing::default()
        .optimize_trt_with(example.clone(), forward, &options)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let (got, expected) = (host(fast.forward(example.clone())), host(f(example)));
    for (got, expected) in got.iter().zip(&expected) {
        let tolerance = common::tolerance(BackendKind::Tract, expected);
        common::assert_close(name, got, expected, tolerance);
    }
    fast.inference().signature().to_string()
}

/// The module takes and gives Burn's own types, whatever the backend is handed.
#[test]
fn types_that_tensorrt_has_not() {
    use burn::tensor::DType;
    let handed = [
        (DType::I64, "i64", "i64"),
        (DType::I32, "i32", "i32"),
        (DType::I16, "i32", "i32"),
        (DType::I8, "i32", "i32"),
        (DType::U8, "u8", "i32"),
        (DType::U16, "i32", "i32"),
        (DType::U32, "i64", "i64"),
        (DType::U64, "i64", "i64"),
    ];
    for (dtype, input, output) in handed {
        let numbers = TensorData::from([[1i64, 2, 120], [4, 5, 100]]);
        let x: Tensor<2, Int> = Tensor::from_data(numbers, (&device(), dtype));
        let name = format!("{dtype:?}");
        let pick = |x: Tensor<2, Int>| (x.clone().flip([0]), x.clone().greater_elem(4));
        let signature = like_tensorrt(&name, x.clone(), pick);
        let expected = format!(
            "(input_0: {input} [2, 3]) -> (output_0: {output} [2, 3], output_1: bool [2, 3])"
        );
        assert_eq!(signature, expected, "{name}");
        if dtype == DType::U64 {
            continue;
        }
        // 120 + 120 is beyond a signed byte, 3 * 120 beyond any: it wraps as it does in Burn.
        let wrap = |x: Tensor<2, Int>| (x.clone() + x.clone(), x * 3);
        like_tensorrt(&format!("{name}, arithmetic"), x.clone(), wrap);
        compare(&format!("{name}, arithmetic"), x, wrap);
    }
    let floats = [(DType::F32, "f32"), (DType::F16, "f16"), (DType::F64, "f32")];
    for (dtype, handed) in floats {
        let x: Tensor<2> = float([2, 3], 1).cast(dtype);
        let signature = like_tensorrt(&format!("{dtype:?}"), x, |x: Tensor<2>| {
            (x.clone() * 2.5 + 1.0, x.greater_elem(0.5))
        });
        let expected = format!(
            "(input_0: {handed} [2, 3]) -> (output_0: {handed} [2, 3], output_1: bool [2, 3])"
        );
        assert_eq!(signature, expected);
    }
}

#[test]
fn types_are_checked_against_the_example_not_the_backend() {
    use burn::tensor::DType;
    let options = OptimizeOptions::new().registry(Registry::empty().with(LikeTensorRt));
    let double = |_: &Nothing, x: Tensor<2>| x * 2;
    let wide: Tensor<2> = float([2, 3], 1).cast(DType::F64);
    let fast = Nothing::default()
        .optimize_trt_with(wide, double, &options.clone().narrow_f64(true))
        .unwrap();
    let error = fast.try_forward(float([2, 3], 1)).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some("input_0")));
    assert!(error.to_string().contains("expected f64, got f32"), "{error}");

    let numbers = |value: u64| {
        let data = TensorData::from([value, 1]);
        Tensor::<1, Int>::from_data(data, (&device(), DType::U64))
    };
    let module = Nothing::default();
    let fast = module
        .optimize_trt_with(numbers(1), |_, x: Tensor<1, Int>| x.greater_elem(2), &options)
        .unwrap();
    assert!(fast.try_forward(numbers(i64::MAX as u64)).is_ok());
    let error = fast.try_forward(numbers(u64::MAX)).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InputMismatch, Some("input_0")));
    let sum = |_: &Nothing, x: Tensor<1, Int>| x.clone() + x;
    let error = module.optimize_trt_with(numbers(1), sum, &options).unwrap_err();
    assert!(error.to_string().contains("unsigned 64-bit integers"), "{error}");
}

#[test]
fn double_precision_is_narrowed_for_tensorrt_only_on_request() {
    use burn::tensor::DType;
    let x: Tensor<2> = float([2, 3], 1).cast(DType::F64);
    let forward = |_: &Nothing, x: Tensor<2>| (x.clone() * 2).exp() + x;
    let module = Nothing::default();
    let report = module.check_trt(x.clone(), forward).unwrap();
    let text = report.to_string();
    assert!(!report.is_exportable());
    assert!(text.starts_with("3 of 3 operations and an input cannot be exported:"), "{text}");
    assert!(text.contains("input_0") && text.contains("narrow_f64"), "{text}");
    assert!(text.contains("Exp") && text.contains("MulScalar"), "{text}");
    let options = OptimizeOptions::new().narrow_f64(true);
    let report = module.check_trt_with(x.clone(), forward, &options).unwrap();
    assert!(report.is_exportable(), "{report}");
    // A weight alone is enough to be refused.
    let weight = |_: &Nothing, x: Tensor<2>| {
        let table = Tensor::<2>::from_data([[1.0, 2.0, 3.0]], (&x.device(), DType::F64));
        x + table.cast(DType::F32)
    };
    let report = module.check_trt(float([2, 3], 1), weight).unwrap();
    assert!(report.to_string().contains("narrow_f64"), "{report}");
}

#[derive(Clone)]
struct Batch {
    tokens: Vec<Tensor<2>>,
    mask: Option<Tensor<2, Bool>>,
    state: State,
}

#[derive(Clone)]
struct State {
    hidden: Tensor<2>,
    cell: Tensor<2>,
}

accelerant::burn_tensors!(Batch { tokens, mask, state });
accelerant::burn_tensors!(State { hidden, cell });

#[test]
fn structs_are_named_after_their_fields() {
    let step = |batch: Batch| {
        let sum = batch.tokens.into_iter().reduce(|a, b| a + b).expect("there are tokens");
        let sum = match batch.mask {
            Some(mask) => sum.mask_fill(mask, 0.0),
            None => sum,
        };
        let State { hidden, cell } = batch.state;
        let cell = cell * 0.5 + sum;
        let hidden = hidden + cell.clone().tanh();
        (vec![hidden.clone()], State { hidden, cell })
    };
    let state = State { hidden: float([2, 4], 1), cell: float([2, 4], 2) };
    let mask = float([2, 4], 5).greater_elem(0.0);
    let tokens = vec![float([2, 4], 3), float([2, 4], 4)];
    let batch = Batch { tokens, mask: Some(mask), state };
    let signature = compare("struct", batch.clone(), step);
    let expected = "(tokens.0: f32 [2, 4], tokens.1: f32 [2, 4], mask: bool [2, 4], \
                    state.hidden: f32 [2, 4], state.cell: f32 [2, 4]) -> \
                    (output_0: f32 [2, 4], 1.hidden: f32 [2, 4], 1.cell: f32 [2, 4])";
    assert_eq!(signature, expected);
    let signature = compare("struct without a mask", Batch { mask: None, ..batch }, step);
    assert!(!signature.contains("mask"), "{signature}");
}

#[test]
fn a_state_that_comes_out_again_gets_another_name() {
    let state = State { hidden: float([2, 4], 1), cell: float([2, 4], 2) };
    let signature = compare("state", state.clone(), |state| State {
        hidden: state.hidden.tanh(),
        cell: state.cell * 2,
    });
    assert!(signature.ends_with("(hidden_out: f32 [2, 4], cell_out: f32 [2, 4])"), "{signature}");
    let options = OptimizeOptions::new()
        .input_names(["h", "c"])
        .output_names(["h'", "c'"])
        .dynamic_axis("h", 0, Dim::dynamic("batch", 1..=4).unwrap())
        .dynamic_axis(1, 0, Dim::dynamic("batch", 1..=4).unwrap());
    let fast = Nothing::default().optimize_trt_with(state.clone(), |_, s| s, &options).unwrap();
    let expected =
        "(h: f32 [batch, 4], c: f32 [batch, 4]) -> (h': f32 [batch, 4], c': f32 [batch, 4])";
    assert_eq!(fast.inference().signature().to_string(), expected);
    let got = host(fast.forward(state.clone()));
    assert_eq!(got, host(state));
}

#[test]
fn outputs_may_have_names_of_operators() {
    let x = float::<2>([2, 3], 1);
    let options = OptimizeOptions::new().output_names(["Tanh"]);
    let tanh = |_: &Nothing, x: Tensor<2>| x.tanh();
    let fast = Nothing::default().optimize_trt_with(x.clone(), tanh, &options).unwrap();
    assert_eq!(fast.inference().signature().outputs[0].name, "Tanh");
    assert_eq!(host(fast.forward(x)).len(), 1);
}

#[test]
fn outputs_may_be_inputs_constants_or_the_same_twice() {
    let x = float::<2>([2, 3], 1);
    compare("identity", x.clone(), |x| x);
    compare("crossed", (x.clone(), float::<2>([2, 3], 2)), |(a, b)| (b, a));
    compare("twice", x.clone(), |x| {
        let y = x.clone().tanh();
        (y.clone(), x, y)
    });
    compare("a constant", x.clone(), |x: Tensor<2>| {
        let constant = Tensor::<1>::from_data([1.0, 2.0, 3.0], &x.device());
        (x, constant)
    });
}

#[derive(Module, Debug)]
struct Tied {
    encode: Linear,
    table: Param<Tensor<2>>,
}

#[test]
fn a_parameter_may_be_an_output() {
    let module = Tied {
        encode: LinearConfig::new(3, 4).init(&device()),
        table: Param::from_tensor(float([2, 4], 7)),
    };
    let forward = |m: &Tied, x: Tensor<2>| (m.encode.forward(x), m.table.val());
    let x = float([2, 3], 1);
    let graph = BurnGraph::capture(&module, &x, forward, &OptimizeOptions::new()).unwrap();
    let expected = host(forward(&module, x.clone()));
    check("parameter", |target| graph.to_onnx(target), &host(x), &expected);
}

#[test]
fn an_input_that_forward_never_uses_stays_an_input() {
    let signature =
        compare("unused", (float::<2>([2, 3], 1), float::<1>([4], 2)), |(x, _)| x.tanh());
    assert_eq!(signature, "(input_0: f32 [2, 3], input_1: f32 [4]) -> (output_0: f32 [2, 3])");
}

#[test]
fn lists_of_another_length_are_refused_at_run_time() {
    let pair = || vec![float::<2>([2, 3], 1), float([2, 3], 2)];
    let sum = |_: &Nothing, x: Vec<Tensor<2>>| x.into_iter().reduce(|a, b| a + b).unwrap();
    let options = OptimizeOptions::new().require(common::portable());
    let fast = Nothing::default().optimize_trt_with(pair(), sum, &options).unwrap();
    assert!(fast.try_forward(pair()).is_ok());
    let error = fast.try_forward(pair()[..1].to_vec()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMismatch, "{error}");
}

#[test]
fn a_module_is_opened_from_files_with_the_types_of_burn() {
    type Inputs = (Vec<Tensor<2>>, Option<Tensor<1>>, Tensor<1, Int>);
    let ids = || Tensor::<1, Int>::from_data([1, 0], &device());
    let inputs =
        || (vec![float::<2>([2, 3], 1), float([2, 3], 2)], Some(float::<1>([3], 3)), ids());
    let forward = |_: &Nothing, (list, bias, ids): Inputs| {
        let sum = list.into_iter().reduce(|a, b| a + b).unwrap();
        let sum = bias.map_or(sum.clone(), |bias| sum + bias.unsqueeze());
        vec![sum.clone().select(0, ids), sum]
    };
    let folder = tempfile::tempdir().unwrap();
    let (engine, model) = (folder.path().join("list.engine"), folder.path().join("list.onnx"));
    let options = OptimizeOptions::new().require(common::portable());
    let made = Nothing::default()
        .optimize_trt_with(inputs(), forward, &options.clone().save_onnx(&model))
        .unwrap();
    made.inference().engine().save(&engine).unwrap();
    let expected = host(made.forward(inputs()));
    for file in [&engine, &model] {
        let opened = BurnModule::<Inputs, Vec<Tensor<2>>>::open(file, &options).unwrap();
        let got = host(opened.try_forward(inputs()).unwrap());
        assert_eq!(got.len(), 2, "the file knows the length of the list");
        for (got, expected) in got.iter().zip(&expected) {
            common::assert_close("opened", got, expected, common::F32);
        }
        let shorter = (vec![float([2, 3], 1)], Some(float([3], 3)), ids());
        let error = opened.try_forward(shorter).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputMismatch, "{error}");
    }

    // Other types than the model's.
    let kind = |error: accelerant::Error| {
        assert!(
            error.operation().is_some_and(|operation| operation.contains("puts of")),
            "{error}"
        );
        error.kind()
    };
    type Flat = (Tensor<2>, Tensor<2>, Tensor<1>, Tensor<1, Int>);
    let flat = BurnModule::<Flat, [Tensor<2>; 2]>::open(&engine, &options).unwrap();
    let (list, bias, ids) = inputs();
    let [a, b] = list.try_into().unwrap();
    let got = host(flat.forward((a, b, bias.unwrap(), ids)));
    common::assert_close("flat", &got[1], &expected[1], common::F32);
    type Three = (Tensor<2>, Tensor<2>, Tensor<1>);
    let few = BurnModule::<Three, Vec<Tensor<2>>>::open(&engine, &options).unwrap_err();
    assert_eq!(kind(few), ErrorKind::InputMismatch);
    type Ranks = (Tensor<2>, Tensor<3>, Tensor<1>, Tensor<1, Int>);
    let ranks = BurnModule::<Ranks, Vec<Tensor<2>>>::open(&engine, &options).unwrap_err();
    assert_eq!(ranks.tensor(), Some("input_1"), "{ranks}");
    assert_eq!(kind(ranks), ErrorKind::ShapeMismatch);
    let outputs = BurnModule::<Flat, Vec<Tensor<2, Int>>>::open(&engine, &options).unwrap_err();
    assert_eq!(kind(outputs), ErrorKind::DTypeMismatch);
}

#[test]
fn a_file_of_another_maker_takes_integers_of_any_smaller_type() {
    let graph = accelerant::export::GraphBuilder::new("another");
    let x = graph.input("x", accelerant::DType::I64, [2]).unwrap();
    let one = graph.constant("one", HostTensor::scalar(1i64));
    graph.output("y", &x.add(&one).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let options = OptimizeOptions::new().require(common::portable());
    let module = accelerant::InferenceModule::compile(&model, &options).unwrap();
    let opened = BurnModule::<Tensor<1, Int>, Tensor<1, Int>>::from_inference(module).unwrap();
    let narrow = burn::tensor::IntDType::I32;
    let x = Tensor::<1, Int>::from_data([4, -7], &device()).cast(narrow);
    let y = opened.try_forward(x).unwrap().into_data().convert::<i64>();
    assert_eq!(y.try_to_vec::<i64>().unwrap(), [5, -6]);
}

/// Compares at every size of a range with one export.
fn at_sizes<const D: usize, O: BurnTensors>(
    name: &str,
    axes: &[(usize, &str)],
    shapes: &[[usize; D]],
    f: impl Fn(Tensor<D>) -> O,
) {
    let mut options = OptimizeOptions::new();
    for (axis, symbol) in axes {
        options = options.dynamic_axis(0, *axis, Dim::dynamic(*symbol, 1..=24).unwrap());
    }
    let forward = |_: &Nothing, x| f(x);
    let module = Nothing::default();
    let graph = BurnGraph::capture(&module, &float(shapes[0], 1), forward, &options)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let sample = |shape: &[usize; D]| {
        let x: Tensor<D> = float(*shape, 5);
        let expected = host(f(x.clone()));
        common::Sample { name: format!("{shape:?}"), inputs: host(x), expected }
    };
    let samples: Vec<_> = shapes.iter().map(sample).collect();
    common::check_all(name, |target| graph.to_onnx(target), &samples);
}

#[test]
fn sizes_that_follow_from_the_inputs() {
    let shapes = [[2, 6, 4], [1, 9, 4], [5, 24, 4], [24, 1, 4]];
    let axes = [(0, "batch"), (1, "length")];
    at_sizes("merged and taken apart", &axes, &shapes, |x: Tensor<3>| {
        let [b, n, w] = x.dims();
        let rows: Tensor<2> = x.reshape([b * n, w]);
        rows.tanh().reshape([b, n, w])
    });
    at_sizes("a product of all", &axes, &shapes, |x: Tensor<3>| {
        let [b, n, w] = x.dims();
        x.reshape([b * n * w])
    });
    at_sizes("twice as long", &axes, &shapes, |x: Tensor<3>| {
        let [b, n, w] = x.dims();
        let both = Tensor::cat(vec![x.clone(), x.clone() * 2.0], 1);
        let table = Tensor::<3>::ones([b, 2 * n, w], &x.device());
        both + table
    });
    at_sizes("positions", &axes, &shapes, |x: Tensor<3>| {
        let [_, n, _] = x.dims();
        let positions = Tensor::<1, Int>::arange(0..n as i64, &x.device()).float();
        x * positions.reshape([1, n, 1])
    });
    at_sizes("one more", &axes, &shapes, |x: Tensor<3>| {
        let [b, _, w] = x.dims();
        let first = Tensor::<3>::zeros([b, 1, w], &x.device());
        Tensor::cat(vec![first, x], 1)
    });
    at_sizes("the last", &axes, &shapes, |x: Tensor<3>| {
        let [_, n, _] = x.dims();
        x.narrow(1, n - 1, 1)
    });
    at_sizes(
        "the first half",
        &[(1, "length")],
        &[[2, 6, 4], [2, 23, 4], [2, 1, 4]],
        |x: Tensor<3>| {
            let half = x.dims()[1].div_ceil(2);
            x.narrow(1, 0, half)
        },
    );
    at_sizes("a causal mask", &axes, &shapes, |x: Tensor<3>| {
        let [b, n, _] = x.dims();
        let scores = x.clone().matmul(x.clone().swap_dims(1, 2));
        let mask = Tensor::<3, Bool>::tril_mask([b, n, n], 0, &x.device());
        burn::tensor::activation::softmax(scores.mask_fill(mask, -1e4), 2)
    });
}

#[test]
fn a_module_on_an_autodiff_device_exports_as_it_is() {
    use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig};
    #[derive(Module, Debug)]
    struct Trained {
        linear: Linear,
        norm: BatchNorm,
        dropout: Dropout,
    }
    let device = device().autodiff();
    let module = Trained {
        linear: LinearConfig::new(3, 4).init(&device),
        norm: BatchNormConfig::new(4).init(&device),
        dropout: DropoutConfig::new(0.5).init(),
    };
    let forward =
        |m: &Trained, x: Tensor<2>| m.dropout.forward(m.norm.forward::<2>(m.linear.forward(x)));
    // A pass in training moves the running mean and variance.
    let x: Tensor<2> = float([8, 3], 1);
    forward(&module, x.clone().to_device(&device).autodiff_like(&device));
    let fast = module.optimize_trt(x.clone().to_device(&device), forward).unwrap();
    let expected = host(forward(&module.valid(), x.clone()));
    let got = host(fast.forward(x));
    common::assert_close("autodiff", &got[0], &expected[0], common::TF32);
}

trait AutodiffLike {
    fn autodiff_like(self, device: &Device) -> Self;
}

impl AutodiffLike for Tensor<2> {
    fn autodiff_like(self, device: &Device) -> Self {
        Tensor::from_data(self.into_data(), device)
    }
}
