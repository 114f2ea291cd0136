//! TensorRT-RTX for real: engines built from small models, every error it can give, and inference
//! where there is a GPU. Needs the library (`cargo xtask sdk`), and fails without it.
#![cfg(feature = "tensorrt-rtx")]

mod cached;
#[path = "../common/mod.rs"]
mod common;
mod eight_bits;
mod logs;
mod profiles;
mod refused;
mod running;
mod side_by_side;
mod values;

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use accelerant::Engine;
use accelerant::backend::tensorrt::{
    LayerRanges, Profiles, ProgressEvent, TensorRt, TensorRtOptions,
};
use accelerant::backend::{Backend, Executable};
use accelerant::cuda::cudarc::driver::CudaContext;
use accelerant::export::{GraphBuilder, OnnxModel, Reader, Target, onnx};
use accelerant::{BackendKind, DType, Dim, ErrorKind, HostTensor, Result, Shape};
use ndarray::{Array1, Array2};

const FEATURES: usize = 32;
const HIDDEN: usize = 64;
const CLASSES: usize = 10;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Multiples of 1/8 from -1/2 to 1/2: with them the layers below are exact even in TF32, so that
/// results can be compared closely whatever the kernels do.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    noise(len, seed).iter().map(|byte| f32::from(byte % 9) / 8.0 - 0.5).collect()
}

/// Two fully connected layers, whose weights are large enough to be handed over by pointer.
struct Mlp {
    first: Array2<f32>,
    bias: Array1<f32>,
    second: Array2<f32>,
}

impl Mlp {
    fn new(seed: u64) -> Self {
        Self {
            first: Array2::from_shape_vec((FEATURES, HIDDEN), numbers(FEATURES * HIDDEN, seed))
                .unwrap(),
            bias: Array1::from_vec(numbers(HIDDEN, seed + 1)),
            second: Array2::from_shape_vec((HIDDEN, CLASSES), numbers(HIDDEN * CLASSES, seed + 2))
                .unwrap(),
        }
    }

    fn export(&self, batch: impl Into<Dim>) -> OnnxModel {
        let graph = GraphBuilder::for_target("mlp", Target::tensorrt());
        let model = || -> Result<OnnxModel> {
            let x = graph.input("x", DType::F32, [batch.into(), Dim::Fixed(FEATURES)])?;
            let first = graph.weight("first.weight", self.first.clone())?;
            let bias = graph.weight("first.bias", self.bias.clone())?;
            let hidden = x.linear(&first, Some(&bias))?.relu()?;
            let y = hidden.linear(&graph.weight("second.weight", self.second.clone())?, None)?;
            graph.output("y", &y)?;
            graph.finish()
        };
        model().unwrap()
    }

    fn forward(&self, x: &Array2<f32>) -> Array2<f32> {
        (x.dot(&self.first) + &self.bias).mapv(|v| v.max(0.0)).dot(&self.second)
    }
}

fn batch(min: usize, max: usize) -> Dim {
    Dim::dynamic("batch", min..=max).unwrap()
}

fn input(rows: usize, seed: u64) -> Array2<f32> {
    Array2::from_shape_vec((rows, FEATURES), numbers(rows * FEATURES, seed)).unwrap()
}

fn rtx() -> TensorRt {
    TensorRt::rtx().with_options(exact())
}

fn exact() -> TensorRtOptions {
    TensorRtOptions::default().tf32(false)
}

/// Whether there is a GPU; without one the reason is told, or is a failure where one was declared.
fn gpu(test: &str) -> bool {
    common::runs(test, &rtx())
}

/// A model from nodes that are not checked here: `(operator, name, inputs, output)`.
fn raw(nodes: &[(&str, &str, &[&str], &str)], output: &str) -> Result<OnnxModel> {
    let mut proto = Mlp::new(1).export(4).proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    graph.node = nodes
        .iter()
        .map(|(operator, name, inputs, output)| onnx::NodeProto {
            name: Some((*name).into()),
            op_type: Some((*operator).into()),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![(*output).into()],
            ..Default::default()
        })
        .collect();
    graph.output[0].name = Some(output.into());
    OnnxModel::from_proto(proto)
}

#[test]
fn a_static_model_becomes_an_engine() {
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    assert_eq!(engine.kind(), &BackendKind::TensorRtRtx);
    assert_eq!(engine.library(), rtx().library_version().unwrap());
    assert_eq!(engine.target(), "any");
    assert!(engine.plan().len() > FEATURES * HIDDEN * 4, "the weights are in the plan");
    assert!(!engine.build_time().is_zero());
    rtx().validate(&engine).unwrap();
}

#[test]
fn a_dynamic_batch_becomes_a_profile_and_survives_a_file() {
    let engine = rtx().build(&Mlp::new(2).export(batch(1, 64))).unwrap();
    assert_eq!(
        engine.signature().inputs[0].shape.profile(),
        [[1, FEATURES], [64, FEATURES], [64, FEATURES]].map(Vec::from)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlp.engine");
    engine.save(&path).unwrap();
    let read = Engine::open(&path).unwrap();
    assert!(read.to_bytes() == engine.to_bytes());
    rtx().validate(&read).unwrap();
}

#[test]
fn weights_by_pointer_and_inline_give_the_same_signature_and_size() {
    let model = Mlp::new(3).export(4);
    let split = model.split();
    assert_eq!(split.weights.len(), 2, "both matrices, not the bias");
    assert!(split.bytes.len() < 2048, "{} bytes are left", split.bytes.len());
    let one = rtx().build(&model).unwrap();
    let other = rtx().build(&OnnxModel::from_bytes(model.to_bytes()).unwrap()).unwrap();
    assert_eq!(one.signature(), other.signature());
    assert!(one.plan().len().abs_diff(other.plan().len()) < 1024);
}

#[test]
fn a_signature_that_the_plan_does_not_have_is_found() {
    if !gpu("a_signature_that_the_plan_does_not_have_is_found") {
        return;
    }
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    let with = |change: fn(&mut accelerant::Signature)| {
        let mut signature = engine.signature().clone();
        change(&mut signature);
        let (library, target, plan) = (engine.library(), engine.target(), engine.plan().clone());
        let altered = Engine::new(
            engine.kind().clone(),
            library,
            target,
            signature,
            engine.build_time(),
            plan,
        );
        // SAFETY: TensorRT-RTX built the plan just now; what is said beside the plan is checked.
        rtx().validate(&unsafe { altered.assume_built() }).unwrap_err()
    };
    let name = with(|s| s.inputs[0].name = "z".into());
    assert_eq!((name.kind(), name.tensor()), (ErrorKind::EngineCorrupt, Some("z")));
    let dtype = with(|s| s.outputs[0].dtype = DType::F16);
    assert_eq!((dtype.kind(), dtype.tensor()), (ErrorKind::EngineCorrupt, Some("y")));
    let shape = with(|s| s.inputs[0].shape = Shape::from([5usize, FEATURES]));
    assert_eq!((shape.kind(), shape.tensor()), (ErrorKind::EngineCorrupt, Some("x")));
    let count = with(|s| s.outputs.clear());
    assert_eq!(count.kind(), ErrorKind::EngineCorrupt);
}

#[test]
fn a_profile_other_than_the_header_says_is_found() {
    if !gpu("a_profile_other_than_the_header_says_is_found") {
        return;
    }
    let one = TensorRt::rtx().with_options(exact().profiles(Profiles::new()));
    let engine = one.build(&Mlp::new(1).export(batch(1, 8))).unwrap();
    let mut signature = engine.signature().clone();
    signature.inputs[0].shape = Shape::from([batch(1, 9), Dim::Fixed(FEATURES)]);
    let (library, target, plan) = (engine.library(), engine.target(), engine.plan().clone());
    let altered =
        Engine::new(engine.kind().clone(), library, target, signature, engine.build_time(), plan);
    // SAFETY: TensorRT-RTX built the plan just now; what is said beside the plan is checked.
    let error = rtx().validate(&unsafe { altered.assume_built() }).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::EngineCorrupt, Some("x")));
}

#[test]
fn options_reach_the_builder() {
    let model = Mlp::new(1).export(4);
    let options = exact()
        .workspace(1 << 26)
        .optimization_level(0)
        .aux_streams(1)
        .compute_capabilities([89, 120]);
    let engine = TensorRt::rtx().with_options(options).build(&model).unwrap();
    assert_eq!(engine.target(), "sm_89+sm_120");

    let refused =
        |options: TensorRtOptions| TensorRt::rtx().with_options(options).build(&model).unwrap_err();
    assert_eq!(refused(exact().optimization_level(6)).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(exact().max_contexts(0)).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(exact().workspace(0)).kind(), ErrorKind::InvalidArgument);
    // The builder has no target of 9.0, though its engines run there.
    for unknown in [13, 90] {
        let capability = refused(exact().compute_capabilities([80, unknown]));
        assert_eq!(capability.kind(), ErrorKind::InvalidArgument);
        assert!(capability.to_string().contains(&format!("not for {unknown}")), "{capability}");
    }
    for known in [75, 80, 86, 89, 120, 121] {
        let options = exact().optimization_level(0).compute_capabilities([known]);
        assert!(TensorRt::rtx().with_options(options).build(&model).is_ok(), "{known}");
    }
}

#[test]
fn layers_are_in_other_forms_for_hopper_unless_told_otherwise() {
    let in_forms = |options: TensorRtOptions| {
        let target = rtx().with_options(options).target();
        assert_eq!(target.reader(), Reader::TensorRt);
        target == Target::tensorrt().for_compute_capability(Some(90))
    };
    let options = TensorRtOptions::default;
    assert!(in_forms(options().hopper_forms(true)));
    assert!(in_forms(options().compute_capabilities([89]).hopper_forms(true)));
    assert!(!in_forms(options().hopper_forms(false)));
    assert!(!in_forms(options().compute_capabilities([80, 89])), "for other devices");
    let oldest = rtx().with_options(options().compute_capabilities([89, 80])).target();
    assert_eq!(oldest, Target::tensorrt().for_compute_capability(Some(80)));
    let here = match gpu("layers are in other forms on Hopper") {
        true => CudaContext::new(0).unwrap().compute_capability().unwrap() == (9, 0),
        false => false,
    };
    assert_eq!(in_forms(options()), here);
    #[cfg(feature = "tensorrt")]
    {
        assert_eq!(TensorRt::enterprise().target(), Target::tensorrt());
    }
}

#[test]
fn layers_can_be_inspected() {
    if !gpu("layers_can_be_inspected") {
        return;
    }
    let rtx = TensorRt::rtx().with_options(exact().layer_details(true));
    let engine = rtx.build(&Mlp::new(1).export(4)).unwrap();
    let layers = rtx.layer_information(&engine).unwrap();
    assert!(layers.trim_start().starts_with('{') && layers.contains("Layers"), "{layers}");
}

#[test]
fn ranges_of_layers_say_what_is_asked_for() {
    if !gpu("ranges_of_layers_say_what_is_asked_for") {
        return;
    }
    let model = Mlp::new(1).export(4);
    let [plain, detailed] = [false, true].map(|kept| {
        TensorRt::rtx().with_options(exact().layer_details(kept)).build(&model).unwrap()
    });
    let input = [HostTensor::from_vec([4, FEATURES], vec![0f32; 4 * FEATURES]).unwrap()];
    let run = |engine: &Engine, ranges: LayerRanges| {
        let rtx = TensorRt::rtx().with_options(exact().layer_ranges(ranges));
        rtx.load(engine)?.run(&input)
    };
    for ranges in [LayerRanges::Nothing, LayerRanges::Names, LayerRanges::Details] {
        run(&detailed, ranges).unwrap();
    }
    run(&plain, LayerRanges::Nothing).unwrap();
    run(&plain, LayerRanges::Names).unwrap();
    // More than the engine was built to tell.
    let error = run(&plain, LayerRanges::Details).unwrap_err();
    assert!(error.to_string().contains("layer_ranges"), "{error}");
}

#[test]
fn an_unbounded_dimension_is_refused_by_name() {
    let seq = Dim::dynamic("seq", 1..=accelerant::Symbol::UNBOUNDED).unwrap();
    let error = rtx().build(&Mlp::new(1).export(seq)).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::InvalidArgument, Some("x"), Some(0))
    );
    assert!(error.to_string().contains("`seq`"), "{error}");
}

#[test]
fn a_build_tells_its_progress() {
    let (started, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (s, f) = (started.clone(), finished.clone());
    let options = exact().progress(move |event| {
        match event {
            ProgressEvent::Started { .. } => s.fetch_add(1, Ordering::Relaxed),
            ProgressEvent::Finished { .. } => f.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        ControlFlow::Continue(())
    });
    TensorRt::rtx().with_options(options).build(&Mlp::new(1).export(4)).unwrap();
    assert!(started.load(Ordering::Relaxed) > 0);
    assert_eq!(started.load(Ordering::Relaxed), finished.load(Ordering::Relaxed));
}

#[test]
fn a_build_can_be_stopped_and_survives_a_panicking_callback() {
    let model = Mlp::new(1).export(4);
    let stopped = exact().progress(|_| ControlFlow::Break(()));
    let error = TensorRt::rtx().with_options(stopped).build(&model).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Build, "stopped by the progress callback")
    );
    let panicking = exact().progress(|_| panic!("a callback of the test"));
    let error = TensorRt::rtx().with_options(panicking).build(&model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
}

fn load(backend: &TensorRt, model: &OnnxModel) -> Box<dyn Executable> {
    let engine = backend.build(model).unwrap();
    backend.load(&engine).unwrap()
}

fn assert_close(got: &HostTensor, expected: &Array2<f32>) {
    assert_eq!(got.shape(), expected.shape());
    for (got, expected) in got.to_vec::<f32>().unwrap().iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
    }
}
