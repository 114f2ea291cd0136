//! TensorRT-RTX builds without a GPU: what it builds is found again, by the options that change engines alone.

use accelerant::Registry;
use accelerant::backend::tensorrt::{LayerRanges, Profiles, TensorRt, TensorRtOptions};
use accelerant::cache::Miss;
use accelerant::export::onnx::{
    AttributeProto, NodeProto, ValueInfoProto, attribute_proto::AttributeType,
};
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::{
    BackendKind, DType, Dim, Engine, HostTensor, InferenceModule, OptimizeOptions, Phase,
};

use super::harness::{Place, is_hit, missed};

fn model(largest: usize) -> OnnxModel {
    let graph = GraphBuilder::new("layer");
    let batch = Dim::dynamic("batch", 1..=largest).unwrap();
    let x = graph.input("x", DType::F32, [batch, Dim::Fixed(32)]).unwrap();
    let weight = HostTensor::from_vec([32, 16], vec![0.5f32; 512]).unwrap();
    let y = x.matmul(&graph.weight("w", weight).unwrap()).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

/// Has an engine written, and gives the module and the engine of the file.
fn built(place: &Place, options: TensorRtOptions, largest: usize) -> (InferenceModule, Engine) {
    let path = place.folder.path().join("layer.engine");
    let rtx = TensorRt::rtx().with_options(options);
    let optimize = OptimizeOptions::new()
        .cache(place.cache())
        .registry(Registry::default().with(rtx.clone()))
        .save_engine(&path);
    let module = InferenceModule::compile(&model(largest), &optimize).unwrap();
    let engine = Engine::open(&path).unwrap();
    rtx.validate(&engine).unwrap();
    assert_eq!(engine.kind(), &BackendKind::TensorRtRtx);
    (module, engine)
}

fn quick() -> TensorRtOptions {
    TensorRtOptions::default().optimization_level(0)
}

#[test]
fn an_engine_is_built_once_and_is_the_same_file() {
    let place = Place::new();
    let (first, engine) = built(&place, quick(), 8);
    assert_eq!(missed(first.report().cache), Miss::New);
    for phase in [Phase::Export, Phase::Parse, Phase::Build, Phase::Store] {
        assert!(first.report().phases.iter().any(|time| time.phase == phase), "{phase}");
    }
    let (second, again) = built(&place, quick(), 8);
    assert!(is_hit(&second.report().cache), "{}", second.report());
    assert!(second.report().time(Phase::Parse).is_zero());
    assert!(engine.to_bytes() == again.to_bytes());
}

#[cfg(all(feature = "burn", feature = "candle"))]
#[test]
fn models_of_frameworks_are_found_by_notes_too() {
    use super::same_key::{of_burn, of_candle};

    let frameworks: [fn(&OptimizeOptions) -> accelerant::report::ModuleReport; 2] =
        [of_burn, of_candle];
    for make in frameworks {
        let place = Place::new();
        let path = place.folder.path().join("model.engine");
        let options = OptimizeOptions::new().cache(place.cache()).save_engine(&path);
        let options = options.tensorrt(quick());
        missed(make(&options).cache);
        let files = std::fs::read_dir(place.engines()).unwrap().map(|file| file.unwrap().path());
        let notes = files.filter(|path| path.extension().is_some_and(|ending| ending == "memo"));
        assert_eq!(notes.count(), 1);
        let report = make(&options);
        assert!(is_hit(&report.cache) && report.time(Phase::Parse).is_zero(), "{report}");
    }
}

#[test]
fn options_that_change_engines_are_other_keys_and_those_of_running_are_not() {
    let place = Place::new();
    built(&place, quick(), 8);
    let running = quick()
        .cuda_graph(true)
        .kernel_overlap(true)
        .isolated_captures(true)
        .max_contexts(3)
        .shared_scratch(true)
        .memory_limit(1 << 30)
        .layer_ranges(LayerRanges::Names)
        .timing_cache(place.folder.path().join("timings"))
        .progress(|_| std::ops::ControlFlow::Continue(()));
    assert!(is_hit(&built(&place, running, 8).0.report().cache));

    let profiles = Profiles::new().range("batch", 1, 2, 4);
    let others = [
        ("workspace", quick().workspace(1 << 26), 8),
        ("optimization level", quick().optimization_level(1), 8),
        ("auxiliary streams", quick().aux_streams(1), 8),
        ("tf32", quick().tf32(false), 8),
        ("layer details", quick().layer_details(true), 8),
        ("compute capabilities", quick().compute_capabilities([89]), 8),
        ("profiles", quick().profiles(profiles), 8),
        ("sizes", quick(), 16),
    ];
    for (part, options, largest) in others {
        let used = built(&place, options, largest).0.report().cache;
        let Miss::Changed { changes } = missed(used) else { panic!("{part}") };
        // The entry that is most like it differs in this alone.
        let names: Vec<_> = changes.iter().map(|change| change.part.as_str()).collect();
        assert_eq!(names, [part]);
    }
}

#[test]
fn what_the_parser_warns_of_is_in_the_report() {
    let place = Place::new();
    let mut proto = model(8).proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    let float = |name: &str, f| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(f),
        ..Default::default()
    };
    let shape = AttributeProto {
        name: Some("shape".into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: vec![8],
        ..Default::default()
    };
    // TensorRT takes no seed.
    graph.node.push(NodeProto {
        name: Some("noise".into()),
        op_type: Some("RandomUniform".into()),
        output: vec!["noise".into()],
        attribute: vec![float("seed", 1.0), shape],
        ..Default::default()
    });
    graph.output.push(ValueInfoProto { name: Some("noise".into()), ..Default::default() });
    let model = OnnxModel::from_proto(proto).unwrap().bind("batch", 1..=8).unwrap();
    let path = place.folder.path().join("noise.engine");
    let options = OptimizeOptions::new().cache(place.cache()).save_engine(&path);
    let module = InferenceModule::compile(&model, &options).unwrap();
    let report = module.report();
    let of_seed = report.warnings.iter().filter(|text| text.contains("seed")).count();
    assert_eq!(of_seed, 1, "{report}");
    assert!(report.to_string().contains("warnings   "), "{report}");
}

#[test]
fn passes_that_changed_something_are_in_the_report() {
    let place = Place::new();
    // `Relu(x W + b) * y`, which TensorRT-RTX computes wrongly as it is.
    let graph = GraphBuilder::new("gated");
    let x = graph.input("x", DType::F32, [4usize, 32]).unwrap();
    let weight = HostTensor::from_vec([32, 16], vec![0.5f32; 512]).unwrap();
    let bias = HostTensor::from_vec([16], vec![0.5f32; 16]).unwrap();
    let product = x.matmul(&graph.weight("w", weight).unwrap()).unwrap();
    let sum = product.add(&graph.weight("b", bias).unwrap()).unwrap();
    let gate = graph.input("gate", DType::F32, [4usize, 16]).unwrap();
    graph.output("y", &sum.relu().unwrap().mul(&gate).unwrap()).unwrap();
    let path = place.folder.path().join("gated.engine");
    let options = OptimizeOptions::new().cache(place.cache()).save_engine(&path);
    let module = InferenceModule::compile(&graph.finish().unwrap(), &options).unwrap();
    let report = module.report();
    assert_eq!(report.passes.len(), 1, "{report}");
    assert_eq!(report.passes[0].places, 1, "{report}");
    assert!(report.to_string().contains(": 1 place"), "{report}");
}
