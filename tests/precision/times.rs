//! Times of layers in the report. An engine runs on a GPU alone; what its kernels compute is read from its plan here, and
//! each kernel counts as one microsecond.

use accelerant::backend::{Backend, Executable, LayerTime, tensorrt::TensorRt, tract::Tract};
use accelerant::cache::EngineCache;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{Precision, PrecisionReport};
use accelerant::{
    BackendKind, DType, Engine, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
    Registry,
};

use crate::plan::Plan;
use crate::runs::numbers;

/// Builds with TensorRT-RTX, and tells the kernels of the plan.
#[derive(Debug)]
struct Planned(TensorRt);

impl Backend for Planned {
    fn kind(&self) -> BackendKind {
        self.0.kind()
    }

    fn description(&self) -> String {
        self.0.description()
    }

    fn target(&self) -> Target {
        self.0.target()
    }

    fn probe(&self) -> Result<(), Error> {
        self.0.probe()
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine, Error> {
        self.0.build(model)
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>, Error> {
        self.0.load(engine)
    }

    fn time_layers(
        &self,
        model: &OnnxModel,
        _: &[HostTensor],
        _: usize,
    ) -> Result<Vec<LayerTime>, Error> {
        let kernels = Plan::of("timed", model).kernels;
        let timed = kernels.into_iter().map(|kernel| {
            let parts = kernel.layers.split('\u{1f}');
            let nodes = parts.filter_map(|part| {
                let node = part.strip_prefix("[ONNX Layer: ")?.strip_suffix(']')?;
                Some(node.to_owned())
            });
            LayerTime::new(kernel.name, 1.0, 1.0).of_nodes(nodes.collect(), kernel.types)
        });
        Ok(timed.collect())
    }
}

/// Attention between two layers of weights, whose nodes have no names.
fn model() -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [2usize, 16, 64]).unwrap();
    let weight = |seed| graph.constant("weight", numbers(&[64, 64], 0.1, seed));
    let [q, k, v] = [1, 2, 3].map(|seed| x.matmul(&weight(seed)).unwrap());
    let scores = q.matmul(&k.transpose(&[0, 2, 1]).unwrap()).unwrap().softmax(-1).unwrap();
    let y = scores.matmul(&v).unwrap().matmul(&weight(4)).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn input() -> HostTensor {
    numbers(&[2, 16, 64], 1.0, 7)
}

fn options(backend: impl Backend + 'static) -> OptimizeOptions {
    let registry = Registry::empty().with(backend);
    OptimizeOptions::new().registry(registry).cache(EngineCache::off())
}

fn of(report: &PrecisionReport, operator: &str) -> Vec<String> {
    let layers = report.layers.iter().filter(|layer| layer.operator == operator);
    layers.map(ToString::to_string).collect()
}

#[test]
fn each_product_has_both_times() {
    let options = options(Planned(TensorRt::rtx())).precision(Precision::Fp16);
    let (_, report) = InferenceModule::build(&model(), &options.time_layers([input()])).unwrap();
    let report = report.precision.unwrap();
    assert_eq!(report.not_timed, None);
    for layer in report.layers.iter().filter(|layer| layer.operator == "MatMul") {
        let (before, after) = (layer.before, layer.after);
        let [before, after] =
            [before, after].map(|cost| cost.unwrap_or_else(|| panic!("{report}")));
        assert!(before.micros >= 1.0 && after.micros >= 1.0, "{layer}");
        assert!(layer.engine.iter().any(|name| name.contains("half")), "{layer}");
    }
    // Attention is one kernel after, and its softmax shares the kernel with both products.
    let softmax = report.layers.iter().find(|layer| layer.operator == "Softmax").unwrap();
    assert!(softmax.after.unwrap().shared_with >= 2, "{softmax}");
    let [before, after] = [report.before.unwrap(), report.after.unwrap()];
    assert!(before.elsewhere < before.micros && after.elsewhere < after.micros, "{report}");
    assert!(of(&report, "MatMul")[0].contains("before"), "{report}");
    assert!(report.to_string().contains("one after the other"), "{report}");
}

#[test]
fn a_backend_without_times_says_so() {
    let half = options(Tract).precision(Precision::Fp16).time_layers([input()]);
    let module = InferenceModule::compile(&model(), &half).unwrap();
    let report = module.precision_report().unwrap();
    assert!(report.not_timed.as_ref().unwrap().contains("tract does not tell"), "{report}");
    assert!(report.to_string().contains("not timed"), "{report}");
    assert!(report.layers.iter().all(|layer| layer.before.is_none()));
}

#[test]
fn times_that_cannot_be_are_refused_before_a_build() {
    // None of these needs a library.
    let refused = |options: OptimizeOptions, kind, text: &str| {
        let error = InferenceModule::compile(&model(), &options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        let error = InferenceModule::build(&model(), &options.require(BackendKind::Tract));
        assert_eq!(error.unwrap_err().kind(), kind);
    };
    let invalid = ErrorKind::InvalidArgument;
    refused(options(Tract).time_layers([input()]), invalid, "take a precision");
    let half = || options(Tract).precision(Precision::Fp16);
    refused(half().time_layers([]), ErrorKind::InputMismatch, "time layers");
    let narrow = half().time_layers([numbers(&[2, 16, 63], 1.0, 1)]);
    refused(narrow, ErrorKind::ShapeMismatch, "`x`");
}
