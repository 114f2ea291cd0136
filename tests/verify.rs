//! A module against its source on another runtime: tract and ONNX Runtime check each other, and a source that differs
//! shows what is found of a module that is wrong.
#![cfg(all(feature = "ort", feature = "tract"))]

mod common;

use accelerant::Registry;
use accelerant::backend::{Backend, ort::Ort, tract::Tract};
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::verify::{Verification, VerifyOptions};
use accelerant::{
    BackendKind, DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
};
use common::{random, skipped};

/// Two linear layers with a `Relu` between and a softmax at the end, over any batch up to 8.
fn model(second: f32) -> OnnxModel {
    let graph = GraphBuilder::new("classifier");
    let batch = Dim::dynamic("batch", 1..=8).unwrap();
    let x = graph.input("x", DType::F32, [batch, Dim::Fixed(16)]).unwrap();
    let first = graph.weight("w1", random(&[16, 32], 1)).unwrap();
    let hidden = x.matmul(&first).unwrap().relu().unwrap();
    let weight = graph.weight("w2", random(&[32, 10], 2).mapv(|v| v * second)).unwrap();
    let scores = hidden.matmul(&weight).unwrap();
    graph.output("scores", &scores).unwrap();
    graph.output("chances", &scores.softmax(1).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn samples() -> Vec<Vec<HostTensor>> {
    [1, 3, 8].map(|rows| vec![HostTensor::from(random(&[rows, 16], rows as u64))]).to_vec()
}

fn on_tract(kept: bool) -> InferenceModule {
    let options = OptimizeOptions::new().require(BackendKind::Tract).keep_source(kept);
    InferenceModule::compile(&model(1.0), &options).unwrap()
}

fn onnxruntime(test: &str) -> bool {
    let found = Ort.probe();
    if let Err(e) = &found {
        skipped(test, e);
    }
    found.is_ok()
}

#[test]
fn a_right_module_is_within_its_tolerance_layer_by_layer() {
    if !onnxruntime("a_right_module_is_within_its_tolerance_layer_by_layer") {
        return;
    }
    let module = on_tract(true);
    let plain = module.verify(&samples()).unwrap();
    plain.expect().unwrap();
    assert!(plain.passed() && plain.layers.is_empty() && plain.first_off().is_none());
    assert!(plain.reference.contains("ONNX Runtime"), "{plain}");
    let names: Vec<_> = plain.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!((names, plain.samples), (vec!["scores", "chances"], 3));
    for output in &plain.outputs {
        assert_eq!((output.difference.top1, output.difference.values), (Some(1.0), 120));
        assert!(output.difference.absolute < 1e-4 && output.difference.cosine > 0.99999);
    }

    let options = VerifyOptions::new().layer_by_layer(true).tolerance(1e-4, 1e-4);
    let layers = module.verify_with(&samples(), &options).unwrap();
    let operators: Vec<_> = layers.layers.iter().map(|layer| layer.operator.as_str()).collect();
    // Each output has a name of its own.
    let expected = ["MatMul", "Relu", "MatMul", "Identity", "Softmax", "Identity"];
    assert_eq!(operators, expected, "{layers}");
    assert!(layers.passed() && layers.first_off().is_none(), "{layers}");
    // The other way round.
    let options = OptimizeOptions::new().require(BackendKind::Ort).keep_source(true);
    let other = InferenceModule::compile(&model(1.0), &options).unwrap();
    assert!(other.verify(&samples()).unwrap().reference.contains("tract"));
}

#[test]
fn the_first_value_that_is_off_is_named() {
    if !onnxruntime("the_first_value_that_is_off_is_named") {
        return;
    }
    // The module computes with one weight, and the source has another one in the second layer.
    let options = VerifyOptions::new().tolerance(1e-3, 1e-3);
    let verify = |options: &VerifyOptions| {
        on_tract(false).verify_against(&model(1.5), &samples(), options).unwrap()
    };
    let wrong = verify(&options);
    assert!(!wrong.passed());
    let scores = &wrong.outputs[0].difference;
    assert!(scores.absolute > 0.1 && (scores.relative - 1.0 / 3.0).abs() < 1e-3, "{wrong}");
    // Scores that are all larger by a factor have the same direction, and the same best one.
    assert!(scores.cosine > 0.9999 && scores.top1 == Some(1.0), "{wrong}");
    let error = wrong.expect().unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Execution, Some("scores")));
    let json = serde_json::to_value(&wrong).unwrap();
    assert!(json["outputs"][0]["difference"]["off"].as_u64().unwrap() > 0, "{json}");
}

/// A runtime with a fault: what one operator gives is wrong.
mod faulty {
    use super::*;
    use accelerant::backend::Executable;
    use accelerant::export::Target;
    use accelerant::{Engine, Result};

    #[derive(Clone, Debug)]
    pub(super) struct Faulty;

    pub(super) const KIND: BackendKind = BackendKind::Custom(std::borrow::Cow::Borrowed("faulty"));

    impl Backend for Faulty {
        fn kind(&self) -> BackendKind {
            KIND
        }

        fn description(&self) -> String {
            "faulty".into()
        }

        fn target(&self) -> Target {
            Target::portable()
        }

        fn probe(&self) -> Result<()> {
            Ok(())
        }

        fn build(&self, model: &OnnxModel) -> Result<Engine> {
            let mut proto = model.proto().clone();
            for node in &mut proto.graph.as_mut().unwrap().node {
                if node.op_type() == "Relu" {
                    node.op_type = Some("LeakyRelu".into());
                }
            }
            let mut wrong = OnnxModel::from_proto(proto)?;
            if wrong.signature().inputs.iter().any(|spec| spec.shape.is_dynamic()) {
                wrong = wrong.bind("batch", 1..=8)?;
            }
            Tract.build(&wrong)
        }

        fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
            Tract.load(engine)
        }
    }
}

#[test]
fn the_layer_where_a_fault_begins_is_named() {
    let registry = Registry::empty().with(faulty::Faulty);
    let options = OptimizeOptions::new().registry(registry).keep_source(true);
    let module = InferenceModule::compile(&model(1.0), &options).unwrap();
    let options = VerifyOptions::new()
        .reference(Registry::empty().with(Tract))
        .tolerance(1e-4, 1e-4)
        .layer_by_layer(true);
    let found: Verification = module.verify_with(&samples(), &options).unwrap();
    assert!(!found.passed());
    let first = found.first_off().unwrap();
    assert_eq!((first.operator.as_str(), first.tensor.is_empty()), ("Relu", false), "{found}");
    assert!(found.layers[0].difference.is_within(), "the product before it is right: {found}");
    let error = found.expect().unwrap_err();
    assert!(error.to_string().contains("of Relu"), "{error}");
    assert!(found.to_string().contains("the first that is off"), "{found}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let module = on_tract(true);
    let kinds = [
        on_tract(false).verify(&samples()).unwrap_err(),
        module.verify(&[]).unwrap_err(),
        module
            .verify_with(&samples(), &VerifyOptions::new().reference(Registry::empty()))
            .unwrap_err(),
        module
            .verify_with(&samples(), &VerifyOptions::new().reference(Registry::empty().with(Tract)))
            .unwrap_err(),
    ];
    let expected = [
        (ErrorKind::InvalidArgument, "keep_source"),
        (ErrorKind::InvalidArgument, "no samples"),
        (ErrorKind::NoBackend, "no other runtime than tract"),
        (ErrorKind::NoBackend, "no other runtime than tract"),
    ];
    for (error, (kind, words)) in kinds.iter().zip(expected) {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words) && error.operation().is_some(), "{error}");
    }
    let graph = GraphBuilder::new("other");
    let x = graph.input("x", DType::F32, [1usize, 16]).unwrap();
    graph.output("y", &x.relu().unwrap()).unwrap();
    let other = graph.finish().unwrap();
    let error = module.verify_against(&other, &samples(), &VerifyOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMismatch, "{error}");
}

#[cfg(feature = "burn")]
#[test]
fn a_burn_model_is_compared_with_its_own_export() {
    use accelerant::burn::OptimizeTrt;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    if !onnxruntime("a_burn_model_is_compared_with_its_own_export") {
        return;
    }
    let device = Device::default();
    let layer = LinearConfig::new(16, 4).init(&device);
    let options = OptimizeOptions::new().require(BackendKind::Tract).keep_source(true);
    let x = Tensor::<2>::zeros([2, 16], &device);
    let fast = layer.optimize_trt_with(x, |layer: &Linear, x| layer.forward(x), &options).unwrap();
    let sample = vec![HostTensor::from(random(&[2, 16], 5))];
    let verification = fast.inference().verify(&[sample]).unwrap();
    verification.expect().unwrap();
}
