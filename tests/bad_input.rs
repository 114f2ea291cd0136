//! Bad ONNX bytes and engine files: typed errors that name what and where, never an abort.

mod common;

use accelerant::export::onnx::{
    ModelProto, StringStringEntryProto, tensor_shape_proto::dimension, type_proto::Value,
};
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::{
    BackendKind, DType, Dim, Engine, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
    Registry,
};
use common::{portable, random};
use proptest::prelude::*;
use prost::Message as _;

fn model() -> OnnxModel {
    let graph = GraphBuilder::new("small");
    let x = graph.input("x", DType::F32, [Dim::dynamic("n", 1..=4).unwrap(), 16.into()]).unwrap();
    let w = graph.weight("w", random(&[16, 32], 1)).unwrap();
    let b = graph.weight("b", random(&[32], 2)).unwrap();
    graph.output("y", &x.linear(&w, Some(&b)).unwrap().relu().unwrap()).unwrap();
    graph.finish().unwrap()
}

fn engine() -> Engine {
    let signature = model().signature().clone();
    Engine::new(
        BackendKind::TensorRtRtx,
        "1.6.1.120",
        "sm_90",
        signature,
        Default::default(),
        vec![7u8; 4096],
    )
}

/// Whatever these bytes are, every backend answers with a value or an error.
fn try_all(bytes: Vec<u8>) -> Vec<ErrorKind> {
    let model = match OnnxModel::from_bytes(bytes) {
        Ok(model) => model,
        Err(error) => return vec![error.kind()],
    };
    let backends = Registry::default();
    let built = backends.backends().iter().map(|backend| backend.build(&model));
    built.filter_map(|built| built.err().map(|e| e.kind())).collect()
}

#[test]
fn truncated_models_are_refused() {
    let bytes = model().to_bytes();
    for length in (0..bytes.len()).step_by(13) {
        let kinds = try_all(bytes[..length].to_vec());
        assert!(!kinds.is_empty(), "the first {length} of {} bytes were taken", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
        prop_assert!(!try_all(bytes).is_empty());
    }

    #[test]
    fn altered_models_never_abort(at in 0usize..2600, value: u8) {
        let mut bytes = model().to_bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        // Altered weights still are a model; all else is a typed error.
        try_all(bytes);
    }

    #[test]
    fn altered_engines_are_refused(at in 0usize..6000, bit in 0u8..8) {
        let mut bytes = engine().to_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let kind = Engine::from_bytes(bytes).unwrap_err().kind();
        let expected = [ErrorKind::EngineCorrupt, ErrorKind::EngineIncompatible];
        prop_assert!(expected.contains(&kind), "byte {at}: {kind:?}");
    }
}

/// Changes a valid model into one that reads well and means nothing.
fn broken(change: impl FnOnce(&mut ModelProto)) -> accelerant::Error {
    let mut proto = model().proto().clone();
    change(&mut proto);
    OnnxModel::from_proto(proto).unwrap_err()
}

#[test]
fn valid_but_wrong_models_name_what_is_wrong() {
    let error = broken(|m| m.graph.as_mut().unwrap().node[0].input[1] = "missing".into());
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("missing")));
    let error = broken(|m| m.graph.as_mut().unwrap().initializer[0].dims[1] = 33);
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("w")));
    let error = broken(|m| m.graph.as_mut().unwrap().initializer[0].dims[0] = -1);
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("w")));
    let error = broken(|m| m.graph.as_mut().unwrap().output[0].name = Some("z".into()));
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("z")));
    let error = broken(|m| {
        let graph = m.graph.as_mut().unwrap();
        graph.node[1].output = graph.node[0].output.clone();
    });
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert_eq!(broken(|m| m.graph = None).kind(), ErrorKind::InvalidModel);
    assert_eq!(broken(|m| m.opset_import.clear()).kind(), ErrorKind::InvalidModel);
    assert_eq!(
        broken(|m| m.graph.as_mut().unwrap().output.clear()).kind(),
        ErrorKind::InvalidModel
    );
}

#[test]
fn weights_beside_the_model_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let write = |location: &str, offset: &str, length: &str| {
        let mut proto = model().proto().clone();
        let weight = &mut proto.graph.as_mut().unwrap().initializer[0];
        weight.raw_data = None;
        weight.data_location = Some(1);
        let entries = [("location", location), ("offset", offset), ("length", length)];
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        weight.external_data = entries.iter().map(entry).collect();
        std::fs::write(&path, proto.encode_to_vec()).unwrap();
    };
    let weight = model().proto().graph.as_ref().unwrap().initializer[0].raw_data.clone().unwrap();
    std::fs::write(folder.path().join("weights"), [&[0; 64], &weight[..]].concat()).unwrap();

    write("weights", "64", "2048");
    let opened = OnnxModel::open(&path).unwrap();
    assert_eq!(opened.proto(), model().proto());
    let error = OnnxModel::from_bytes(std::fs::read(&path).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("w")));

    let cases = [("weights", "65", "2048"), ("weights", "64", "2047"), ("weights", "-1", "2048")];
    let outside = [("../weights", "64", "2048"), ("/etc/hostname", "0", "2048"), ("", "0", "2048")];
    for (location, offset, length) in cases.into_iter().chain(outside) {
        write(location, offset, length);
        let error = OnnxModel::open(&path).unwrap_err();
        let found = (error.kind(), error.tensor());
        assert_eq!(found, (ErrorKind::InvalidModel, Some("w")), "{location} {offset} {length}");
    }
    write("missing", "0", "2048");
    assert_eq!(OnnxModel::open(&path).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn an_unknown_operator_is_refused_by_every_backend() {
    let mut proto = model().proto().clone();
    proto.graph.as_mut().unwrap().node[1].op_type = Some("Relax".into());
    let model = OnnxModel::from_proto(proto).unwrap();
    for backend in Registry::default().backends() {
        let Err(error) = backend.build(&model) else { panic!("{} took it", backend.kind()) };
        if backend.kind() != BackendKind::TensorRt {
            assert!(error.to_string().contains("Relax"), "{}: {error}", backend.kind());
        }
    }
}

#[test]
fn engines_come_back_from_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.engine");
    engine().save(&path).unwrap();
    assert_eq!(Engine::open(&path).unwrap(), engine());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");

    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 40, 100, bytes.len() - 4096, bytes.len() - 1] {
        let error = Engine::from_bytes(bytes[..length].to_vec()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "{length}: {error}");
    }
    let mut newer = bytes.clone();
    newer[8] = 9;
    assert_eq!(Engine::from_bytes(newer).unwrap_err().kind(), ErrorKind::EngineIncompatible);
}

#[test]
fn an_engine_of_another_version_or_flavor_is_refused_by_name() {
    let error = engine().expect(&BackendKind::TensorRtRtx, "1.7.1.116").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineIncompatible);
    let text =
        "load engine: the engine was built by tensorrt-rtx 1.6.1.120, found tensorrt-rtx 1.7.1.116";
    assert_eq!(error.to_string(), text);
    for backend in Registry::default().backends() {
        if common::is_portable(&backend.kind()) && backend.probe().is_ok() {
            assert_eq!(backend.load(&engine()).unwrap_err().kind(), ErrorKind::EngineIncompatible);
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("model.onnx");
    assert_eq!(model().save(&path).unwrap_err().kind(), ErrorKind::Io);
    let options = OptimizeOptions::new().save_onnx(&path);
    assert_eq!(InferenceModule::compile(&model(), &options).unwrap_err().kind(), ErrorKind::Io);
    // A folder stands where the file should be.
    let path = folder.path().join("folder");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(engine().save(&path).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_required_backend_is_never_replaced() {
    let options = OptimizeOptions::new().registry(Registry::empty());
    assert_eq!(
        InferenceModule::compile(&model(), &options).unwrap_err().kind(),
        ErrorKind::NoBackend
    );
    let kind = BackendKind::Custom("nowhere".into());
    let error =
        InferenceModule::compile(&model(), &OptimizeOptions::new().require(kind)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend);
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn sizes_are_stated_of_symbols_that_inputs_have() {
    let opened = || OnnxModel::from_bytes(model().to_bytes()).unwrap();
    let tuned = opened().bind("n", 1..=4).unwrap().tuned_for("n", [1, 4]).unwrap();
    let signature = tuned.signature();
    for spec in [&signature.inputs[0], &signature.outputs[0]] {
        let Dim::Symbol(n) = &spec.shape.dims()[0] else { panic!("{spec:?}") };
        assert_eq!((n.min(), n.opt(), n.max(), n.sizes()), (1, 4, 4, &[1, 4][..]));
    }
    let refused = |result: accelerant::Result<OnnxModel>, part: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(opened().bind("m", 1..=4), "`m`");
    refused(opened().tuned_for("m", [1]), "`m`");
    refused(tuned.clone().tuned_for("n", [8]), "[8]");
    refused(tuned.tuned_for("n", []), "`n`");
    // A symbol that an output alone has.
    let mut proto = model().proto().clone();
    let output = &mut proto.graph.as_mut().unwrap().output[0];
    let Some(Value::TensorType(tensor)) = &mut output.r#type.as_mut().unwrap().value else {
        panic!("{output:?}")
    };
    tensor.shape.as_mut().unwrap().dim[0].value = Some(dimension::Value::DimParam("rows".into()));
    let renamed = OnnxModel::from_bytes(proto.encode_to_vec()).unwrap();
    assert_eq!(renamed.signature().outputs[0].shape.to_string(), "[n, 32]", "what it is");
    refused(renamed.bind("rows", 1..=4), "`rows`");
}

#[cfg(feature = "candle")]
fn one_name() -> accelerant::candle::WeightNames {
    let weight = candle_core::Tensor::zeros(1, candle_core::DType::F32, &candle_core::Device::Cpu);
    let names = accelerant::candle::WeightNames::new();
    names.add(&weight.unwrap(), "weight");
    names
}

#[test]
fn a_model_that_is_onnx_takes_no_options_of_an_export() {
    let new = OptimizeOptions::new;
    for (options, name) in [
        (new().dynamic_batch(1..=4), "dynamic_batch"),
        (new().batch_sizes([1, 4]), "batch_sizes"),
        (new().dynamic_axis(0, 0, 4), "dynamic_axis"),
        (new().name("other"), "`name`"),
        (new().input_names(["other"]), "input_names"),
        (new().output_names(["other"]), "output_names"),
        #[cfg(feature = "burn")]
        (new().narrow_f64(true), "narrow_f64"),
        #[cfg(any(feature = "burn", feature = "candle"))]
        (new().probe_every_size(true), "probe_every_size"),
        #[cfg(feature = "candle")]
        (new().weight_names(&one_name()), "weight_names"),
    ] {
        let error = InferenceModule::compile(&model(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn wrong_inputs_name_tensor_and_axis() {
    let options = OptimizeOptions::new().require(portable());
    let module = InferenceModule::compile(&model(), &options).unwrap();
    let run = |tensors: Vec<HostTensor>| module.run(&tensors).unwrap_err();
    let good = || HostTensor::from(random(&[2, 16], 1));

    assert_eq!(run(vec![]).kind(), ErrorKind::InputMismatch);
    assert_eq!(run(vec![good(), good()]).kind(), ErrorKind::InputMismatch);
    let error = run(vec![HostTensor::from(random(&[2, 16, 1], 1))]);
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::ShapeMismatch, Some("x")));
    let error = run(vec![HostTensor::from(random(&[2, 15], 1))]);
    assert_eq!((error.kind(), error.axis()), (ErrorKind::ShapeMismatch, Some(1)));
    let error = run(vec![HostTensor::from(random(&[5, 16], 1))]);
    assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)));
    let text = error.to_string();
    assert!(
        text.starts_with("run: tensor `x`, axis 0: `n` = 5 is outside the profile 1..=4"),
        "{text}"
    );
    let error = run(vec![HostTensor::from(random(&[0, 16], 1))]);
    assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)));
    let error = run(vec![HostTensor::from(ndarray::Array2::<f64>::zeros((2, 16)))]);
    assert_eq!(error.kind(), ErrorKind::DTypeMismatch);
}

#[test]
fn weights_beside_the_model_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let beside = || {
        let entries = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "data"))
    };
    let size = |path: &std::path::Path| std::fs::metadata(path).map(|m| m.len()).ok();
    let sizes = || [size(&path), beside().and_then(|beside| size(&beside))];

    model().save(&path).unwrap();
    assert_eq!(sizes()[1], None, "a small model is one file");
    let whole = sizes()[0].unwrap();
    // `w` has 2048 bytes, `b` 128.
    model().save_external(&path, 1024).unwrap();
    assert_eq!(sizes()[1], Some(2048));
    assert!(sizes()[0].unwrap() < whole - 1900);
    assert_eq!(OnnxModel::open(&path).unwrap().proto(), model().proto());
    model().save_external(&path, 0).unwrap();
    assert_eq!(sizes()[1], Some(4096 + 128), "each begins at a multiple of 4096");
    assert_eq!(OnnxModel::open(&path).unwrap().proto(), model().proto());

    let options = OptimizeOptions::new().save_onnx(&path).external_weights(1024);
    InferenceModule::compile(&model(), &options.require(portable())).unwrap();
    assert_eq!(sizes()[1], Some(2048));
    let opened = OnnxModel::open(&path).unwrap().bind("n", 1..=4).unwrap();
    let run = |model: &OnnxModel| {
        let options = OptimizeOptions::new().require(portable());
        let module = InferenceModule::compile(model, &options).unwrap();
        module.run(&[HostTensor::from(random(&[2, 16], 1))]).unwrap()
    };
    assert_eq!(run(&opened), run(&model()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");

    // A file of weights that is cut short, or gone, is an error.
    let beside = beside().unwrap();
    std::fs::write(&beside, vec![0; 2047]).unwrap();
    assert_eq!(OnnxModel::open(&path).unwrap_err().kind(), ErrorKind::InvalidModel);
    std::fs::remove_file(&beside).unwrap();
    assert_eq!(OnnxModel::open(&path).unwrap_err().kind(), ErrorKind::Io);
}
