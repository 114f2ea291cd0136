//! Models, engines and devices that are refused, with typed errors.

use accelerant::Engine;
use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{BackendKind, DType, ErrorKind, Result};

use super::{Mlp, common, exact, noise, raw, rtx};

#[test]
fn all_unsupported_operators_are_reported_at_once() {
    let nodes: &[(&str, &str, &[&str], &str)] = &[
        ("Relu", "fine", &["x"], "a"),
        ("Bernoulli", "first/odd", &["a"], "b"),
        ("NoSuchOperator", "second/odd", &["b"], "c"),
        ("Relu", "also_fine", &["c"], "d"),
    ];
    let model = raw(nodes, "d").unwrap();
    let error = rtx().build(&model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let refusals = rtx().check(&model).unwrap().unwrap();
    let found: Vec<_> = refusals.iter().map(|r| (r.node, r.reason.kind())).collect();
    assert_eq!(found, [Some(1), Some(2)].map(|node| (node, error.kind())), "{refusals:?}");
    assert_eq!(rtx().check(&Mlp::new(1).export(4usize)).unwrap().map(|none| none.len()), Some(0));
    let text = error.to_string();
    for part in ["first/odd", "Bernoulli", "second/odd", "NoSuchOperator"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[test]
fn models_that_are_wrong_give_typed_errors() {
    let cases: &[(&str, Result<OnnxModel>)] = &[
        ("an input that nobody makes", raw(&[("Relu", "r", &["nowhere"], "y")], "y")),
        ("an output that nobody makes", raw(&[("Relu", "r", &["x"], "a")], "elsewhere")),
        ("a node without inputs", raw(&[("Relu", "r", &[], "y")], "y")),
        ("a circle", raw(&[("Relu", "r", &["b"], "a"), ("Relu", "s", &["a"], "b")], "b")),
        ("shapes that do not fit", raw(&[("MatMul", "m", &["x", "second.weight"], "y")], "y")),
        ("an attribute that is missing", raw(&[("Cast", "c", &["x"], "y")], "y")),
        ("no nodes", raw(&[], "y")),
    ];
    for (what, model) in cases {
        let built = model.as_ref().map(|model| rtx().build(model));
        let kind = match &built {
            Ok(Ok(_)) => panic!("{what}: built"),
            Ok(Err(error)) => error.kind(),
            Err(error) => error.kind(),
        };
        let expected = [ErrorKind::InvalidModel, ErrorKind::UnsupportedOperation, ErrorKind::Build];
        assert!(expected.contains(&kind), "{what}: {kind:?}");
    }
}

#[test]
fn an_operator_set_of_the_future_does_not_abort() {
    let mut future = Mlp::new(1).export(4).proto().clone();
    future.opset_import[0].version = Some(999);
    // TensorRT-RTX reads operators of newer sets as the newest that it knows.
    if let Err(error) = OnnxModel::from_proto(future).and_then(|model| rtx().build(&model)) {
        assert!(
            [ErrorKind::InvalidModel, ErrorKind::UnsupportedOperation].contains(&error.kind()),
            "{error}"
        );
    }
}

#[test]
fn types_that_tensorrt_has_not_are_refused() {
    for dtype in [DType::I16, DType::U16, DType::U32, DType::U64, DType::F64] {
        let graph = GraphBuilder::for_target("cast", Target::tensorrt());
        let x = graph.input("x", dtype, [4usize]).unwrap();
        graph.output("y", &x.cast(DType::F32).unwrap()).unwrap();
        let error = rtx().build(&graph.finish().unwrap()).expect_err("no such type");
        let expected = [ErrorKind::UnsupportedOperation, ErrorKind::InvalidModel];
        assert!(expected.contains(&error.kind()), "{dtype}: {:?} {error}", error.kind());
    }
}

#[test]
fn broken_onnx_bytes_never_abort() {
    let bytes = Mlp::new(1).export(4).to_bytes();
    let attempt =
        |bytes: Vec<u8>| -> Result<Engine> { rtx().build(&OnnxModel::from_bytes(bytes)?) };
    for cut in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
        if let Err(error) = attempt(bytes[..cut].to_vec()) {
            let expected = [ErrorKind::InvalidModel, ErrorKind::UnsupportedOperation];
            assert!(expected.contains(&error.kind()), "cut at {cut}: {:?} {error}", error.kind());
        }
    }
    assert_eq!(attempt(noise(4096, 9)).unwrap_err().kind(), ErrorKind::InvalidModel);
    // The structure is at both ends; most of the middle is weights.
    for (i, at) in
        (0..1000).step_by(37).chain((bytes.len() - 200..bytes.len()).step_by(5)).enumerate()
    {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (i % 8);
        if let Err(error) = attempt(flipped) {
            assert!(!error.message().is_empty(), "flip at {at}");
        }
    }
}

#[test]
fn engine_files_that_do_not_fit_are_refused() {
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    let altered = |kind: BackendKind, library: &str| {
        Engine::new(
            kind,
            library,
            engine.target(),
            engine.signature().clone(),
            engine.build_time(),
            engine.plan().clone(),
        )
    };
    for other in [
        altered(BackendKind::TensorRtRtx, "1.4.0.76"),
        altered(BackendKind::TensorRt, engine.library()),
        altered(BackendKind::Ort, engine.library()),
    ] {
        for error in [rtx().load(&other).unwrap_err(), rtx().validate(&other).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::EngineIncompatible, "{error}");
            let text = error.to_string();
            assert!(text.contains(other.library()) && text.contains(engine.library()), "{text}");
        }
    }

    let bytes = engine.to_bytes();
    for cut in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
        let error = Engine::from_bytes(bytes[..cut].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "cut at {cut}: {error}");
    }
    let regions = (0..256).chain((256..bytes.len()).step_by(bytes.len() / 64 + 1));
    for at in regions {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let error = Engine::from_bytes(flipped).unwrap_err();
        let expected = [ErrorKind::EngineCorrupt, ErrorKind::EngineIncompatible];
        assert!(expected.contains(&error.kind()), "flip at {at}: {error}");
    }
}

#[test]
fn plans_that_are_no_plans_are_refused() {
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    for plan in [Vec::new(), vec![0; 3], vec![0; 1 << 16], noise(100_000, 7)] {
        let library = engine.library();
        let signature = engine.signature().clone();
        let junk = Engine::new(
            BackendKind::TensorRtRtx,
            library,
            "any",
            signature,
            engine.build_time(),
            plan,
        );
        let error = rtx().validate(&junk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "any bytes: {error}");
        // SAFETY: the library is seen to refuse it by its first bytes.
        let error = rtx().validate(&unsafe { junk.assume_built() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "{error}");
    }
}

#[test]
fn without_a_driver_loading_is_a_device_error() {
    if rtx().probe().is_ok() {
        common::skipped("without_a_driver_loading_is_a_device_error", "there is a GPU");
        return;
    }
    let engine = rtx().build(&Mlp::new(1).export(4)).unwrap();
    let error = rtx().load(&engine).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    assert_eq!(rtx().memory(&engine).unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn a_device_that_is_not_there_is_a_device_error() {
    let backend = TensorRt::rtx().with_options(exact().device(4096));
    let error = backend.probe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "{error}");
}
