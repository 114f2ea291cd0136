//! Models from files go through the passes that exports go through: what a target computes wrongly is written
//! otherwise, and layers have the forms that are faster. Each result is compared with that of the file as it is,
//! on whatever portable runtime there is, and what TensorRT gets is built by it.

#![cfg(feature = "tract")]

mod bodies;
#[cfg(feature = "ort")]
mod branches;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "tensorrt-rtx")]
mod edges;
mod file;
mod fixes;
mod for_tract;
mod forms;
mod masks;
mod on_tract;
mod on_tract_asked;
mod on_tract_lost;
mod on_tract_numbers;
mod on_tract_scalars;
mod on_tract_sizes;
mod torch;
#[cfg(feature = "tensorrt-rtx")]
mod types;

use accelerant::Engine;
use accelerant::Registry;
use accelerant::backend::{Backend, Executable};
use accelerant::export::onnx::NodeProto;
use accelerant::export::{OnnxModel, Target};
use accelerant::{
    BackendKind, DType, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Result,
};
use common::{Sample, Tolerance, check_within, is_portable, portable_backend, random};

/// The operators of a model, in order.
fn operators(model: &OnnxModel) -> Vec<&str> {
    let nodes = &model.proto().graph.as_ref().expect("a model has a graph").node;
    nodes.iter().map(|node| node.op_type()).collect()
}

/// Reproducible numbers that both types have.
fn tensor(dtype: DType, shape: &[usize], scale: f32, seed: u64) -> HostTensor {
    let values = random(shape, seed).mapv(|v| half::f16::from_f32(v * scale));
    match dtype {
        DType::F16 => HostTensor::from(values),
        _ => HostTensor::from(values.mapv(half::f16::to_f32)),
    }
}

/// What the portable runtime makes of a file as it is.
fn run(model: &OnnxModel, inputs: &[HostTensor]) -> Vec<HostTensor> {
    let backend = portable_backend();
    let executable = backend.load(&backend.build(model).expect("it is built")).expect("it loads");
    executable.run(inputs).expect("it runs")
}

/// How far a result may be from the file's: relative to the largest value.
fn near(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    let values = common::to_f64(expected);
    let scale = values.into_iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let part = match (backend, expected.dtype()) {
        (_, DType::F16) => 1e-2,
        (kind, _) if is_portable(&kind) => 1e-4,
        _ => 2e-2,
    };
    Tolerance { absolute: part * scale, relative: 0.0 }
}

/// Compares what a file is for `target` with the file itself, on every backend, and gives it.
fn changed(name: &str, model: &OnnxModel, target: Target, inputs: &[HostTensor]) -> OnnxModel {
    let written = model.for_target(target).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_ne!(written.to_bytes(), model.to_bytes(), "{name} is as it was:\n{model}");
    assert_eq!(written.signature(), model.signature(), "{name}");
    assert_eq!(written.for_target(target).unwrap(), written, "{name}: a second time");
    let expected = run(model, inputs);
    let values = common::to_f64(&expected[0]);
    assert!(values.iter().any(|x| x.abs() > 1e-3), "{name}: nothing to compare");
    let samples = [Sample { name: "as it is".into(), inputs: inputs.to_vec(), expected }];
    check_within(name, |_| Ok(written.clone()), &samples, near);
    written
}

/// Compares what a file is for portable runtimes with known results.
fn check_for(
    name: &str,
    model: &OnnxModel,
    samples: &[Sample],
    tolerance: impl Fn(BackendKind, &HostTensor) -> Tolerance,
) {
    for (backend, target) in
        [(BackendKind::Tract, Target::portable()), (BackendKind::Ort, Target::onnx_runtime())]
    {
        if portable_backend().kind() != backend {
            continue;
        }
        let written = model.for_target(target).unwrap_or_else(|e| panic!("{name}: {e}"));
        for sample in samples {
            for (got, expected) in run(&written, &sample.inputs).iter().zip(&sample.expected) {
                let allowed = tolerance(backend.clone(), expected);
                common::compare(got, expected, allowed)
                    .unwrap_or_else(|e| panic!("{name}: {e}\n{written}"));
            }
        }
    }
}

/// A file that is right for every target as it is, byte for byte. On compute capability 9.0 weights of 32-bit floats
/// are turned, and all else stays.
fn unchanged(name: &str, model: &OnnxModel) {
    for target in [Target::portable(), Target::onnx_runtime(), Target::tensorrt(), hopper()] {
        let written = model.for_target(target).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (turned, rest) = without_turned_weights(&written);
        match target == hopper() && turned > 0 {
            true => {
                assert_eq!(
                    rest,
                    without_turned_weights(model).1,
                    "{name} for {target:?}:\n{written}"
                );
            }
            false => {
                assert_eq!(
                    written.to_bytes(),
                    model.to_bytes(),
                    "{name} for {target:?}:\n{written}"
                );
            }
        }
    }
}

/// How many weights are turned, and the other nodes as they would be with the weights as the file has them.
fn without_turned_weights(model: &OnnxModel) -> (usize, Vec<NodeProto>) {
    const TURNED: &str = ".by_inputs";
    let nodes = &model.proto().graph.as_ref().expect("a model has a graph").node;
    let is_turn =
        |node: &&NodeProto| node.op_type() == "Transpose" && node.output[0].ends_with(TURNED);
    let mut rest: Vec<_> = nodes.iter().filter(|node| !is_turn(node)).cloned().collect();
    for input in rest.iter_mut().flat_map(|node| &mut node.input) {
        if let Some(weight) = input.strip_suffix(TURNED) {
            *input = weight.to_owned();
        }
    }
    (nodes.len() - rest.len(), rest)
}

fn hopper() -> Target {
    Target::tensorrt().for_compute_capability(Some(90))
}

/// A backend that keeps the operators of what it is given.
#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<String>>);

impl Backend for Seen {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("seen".into())
    }

    fn description(&self) -> String {
        "seen".into()
    }

    fn target(&self) -> Target {
        Target::tensorrt()
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        let operators = operators(model).join(" ");
        self.0.lock().unwrap().push(operators.clone());
        Err(Error::new(ErrorKind::Build, operators))
    }

    fn load(&self, _: &Engine) -> Result<Box<dyn Executable>> {
        unreachable!("nothing was built")
    }
}

#[test]
fn a_backend_gets_a_file_as_it_computes_it_right_and_once() {
    let model = fixes::gated(18, DType::F32, fixes::Gate::Relu);
    let options = OptimizeOptions::new()
        .registry(Registry::empty().with(Seen::default()))
        .require(BackendKind::Custom("seen".into()));
    let error = InferenceModule::compile(&model, &options).unwrap_err();
    assert!(error.to_string().contains("Gemm Relu Clip Mul"), "{error}");
    // What was written for the target goes as it is.
    let error = InferenceModule::compile(&model.for_target(Target::tensorrt()).unwrap(), &options);
    let error = error.unwrap_err().to_string();
    assert_eq!(error.matches("Clip").count(), 1, "{error}");
}
