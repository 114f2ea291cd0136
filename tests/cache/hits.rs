//! What is found again, what is another engine, and what is told of it.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use accelerant::Registry;
use accelerant::cache::{CacheUse, EngineCache, Miss};
use accelerant::precision::Precision;
use accelerant::{
    DType, Engine, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Phase, Progress,
    export::GraphBuilder,
};

use super::harness::{Place, in_file, is_hit, missed, model};

#[test]
fn the_second_module_is_not_built() {
    let place = Place::new();
    assert_eq!(missed(place.used(2.0)), Miss::New);
    for _ in 0..3 {
        assert!(is_hit(&place.used(2.0)));
    }
    assert_eq!(place.builds(), 1);
    // The entry is a file of an engine as any other.
    let engine = Engine::open(place.entry()).unwrap();
    let options = OptimizeOptions::new().registry(Registry::empty().with(place.backend.clone()));
    let module = InferenceModule::from_engine(engine, &options).unwrap();
    assert_eq!(module.report().cache, CacheUse::NotUsed { reason: "an engine was given".into() });
}

#[cfg(feature = "candle")]
#[test]
fn an_entry_is_opened_as_a_module_of_candle() {
    use accelerant::candle::{CandleModule, TensorOps};
    use candle_core::{DType, Device, Tensor};

    let place = Place::new();
    let options = OptimizeOptions::new()
        .registry(Registry::empty().with(place.backend.clone()))
        .cache(place.cache());
    let x = Tensor::new(&[[1f32, 3.0, 2.0]], &Device::Cpu).unwrap();
    let make = || CandleModule::of_fn(&x, &options, |xs| Ok(vec![xs[0].argmax(1)?])).unwrap();
    for opened in [make(), make(), CandleModule::open(place.entry(), &options).unwrap()] {
        let y = &opened.run(&x).unwrap()[0];
        assert_eq!((y.dtype(), y.to_vec1::<u32>().unwrap()), (DType::U32, vec![1]));
    }
    assert_eq!(place.builds(), 1);
}

#[test]
fn what_changed_is_named() {
    let mut place = Place::new();
    place.used(2.0);
    let changes = |used| match missed(used) {
        Miss::Changed { changes } => {
            changes.into_iter().map(|change| change.part).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(changes(place.used(3.0)), ["weights"]);
    place.backend.driver = "590.2".into();
    let used = place.used(2.0);
    assert!(used.to_string().contains("driver changed from `580.1` to `590.2`"), "{used}");
    assert_eq!(changes(used), ["driver"]);
    // Of three entries the one that is most like it.
    place.backend.padding = 1;
    assert_eq!(changes(place.used(2.0)), ["padding"]);
    assert_eq!(place.builds(), 4);
}

#[test]
fn another_precision_of_a_model_is_named() {
    let place = Place::new();
    let registry = || Registry::empty().with(place.backend.clone());
    let options = || OptimizeOptions::new().cache(place.cache()).registry(registry());
    let used = |options: &OptimizeOptions| {
        InferenceModule::compile(&in_file(&model(2.0), "unread"), options).unwrap().report().cache
    };
    assert_eq!(missed(used(&options())), Miss::New);
    for (precision, before) in [(Precision::Fp32, "its own"), (Precision::Mixed, "")] {
        let used = used(&options().precision(precision));
        let Miss::Changed { changes } = missed(used) else { panic!("{precision}") };
        let [change] = &changes[..] else { panic!("{precision}: {changes:?}") };
        assert_eq!((&*change.part, &*change.now), ("precision", &*format!("{precision:?}")));
        assert!(before.is_empty() || change.before == before, "{change:?}");
    }
}

/// Small weights are in the graph: models that have no others share none.
#[test]
fn models_of_one_name_without_weights_are_not_the_same() {
    let place = Place::new();
    let registry = Registry::empty().with(place.backend.clone());
    let options = OptimizeOptions::new().cache(place.cache()).registry(registry);
    for width in [3usize, 4] {
        let graph = GraphBuilder::new("main_graph");
        let x = graph.input("x", DType::F32, [width]).unwrap();
        graph.output("y", &x.relu().unwrap()).unwrap();
        let module = InferenceModule::compile(&graph.finish().unwrap(), &options).unwrap();
        assert_eq!(missed(module.report().cache), Miss::New, "{width}");
    }
}

#[test]
fn a_model_that_is_nothing_like_it_is_new() {
    let place = Place::new();
    place.used(2.0);
    let options = |place: &Place| {
        let registry = Registry::empty().with(place.backend.clone());
        OptimizeOptions::new().cache(place.cache()).registry(registry)
    };
    for name in ["times", "other"] {
        let graph = GraphBuilder::new(name);
        let x = graph.input("x", DType::F32, [400usize]).unwrap();
        let weight = HostTensor::from_vec([400], vec![9f32; 400]).unwrap();
        let y = x.add(&graph.weight("factor", weight).unwrap()).unwrap();
        graph.output("y", &y).unwrap();
        let module = InferenceModule::compile(&graph.finish().unwrap(), &options(&place)).unwrap();
        assert_eq!(missed(module.report().cache), Miss::New, "{name}");
    }
}

#[test]
fn a_cache_that_is_off_builds_every_time() {
    let place = Place::new();
    for _ in 0..2 {
        let used = place.used_with(2.0, EngineCache::off());
        assert_eq!(used, CacheUse::NotUsed { reason: "it is switched off".into() });
    }
    assert_eq!(place.builds(), 2);
    assert!(!place.engines().exists());
}

#[test]
fn backends_that_build_as_fast_as_they_load_keep_nothing() {
    let place = Place::new();
    let options = OptimizeOptions::new().cache(place.cache()).require(super::common::portable());
    let module = InferenceModule::compile(&model(2.0), &options).unwrap();
    assert!(matches!(module.report().cache, CacheUse::NotUsed { .. }));
    assert!(!place.engines().exists());
}

#[test]
fn the_report_tells_the_phases_of_a_build_and_of_a_hit() {
    let place = Place::new();
    let registry = Registry::empty().with(place.backend.clone());
    let options = OptimizeOptions::new().cache(place.cache()).registry(registry);
    let phases = |module: &InferenceModule| {
        let report = module.report();
        report.phases.iter().map(|time| time.phase).collect::<Vec<_>>()
    };
    let built = InferenceModule::compile(&model(2.0), &options).unwrap();
    assert!(phases(&built).contains(&Phase::Store) && phases(&built).contains(&Phase::Load));
    assert!(built.report().first_run.is_none());
    let found = InferenceModule::compile(&model(2.0), &options).unwrap();
    assert!(!phases(&found).contains(&Phase::Store), "{:?}", phases(&found));
    assert!(phases(&found).contains(&Phase::Cache));
    found.run(&[HostTensor::from_vec([2, 400], vec![1f32; 800]).unwrap()]).unwrap();
    let report = found.report();
    assert!(report.first_run.is_some());

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["cache"]["result"], "hit");
    assert!(json["first_run_seconds"].as_f64().unwrap() > 0.0, "{json}");
    assert_eq!(json["phases"][0]["phase"], "export");
    let page = report.to_string();
    for word in ["backend    kept", "cache      hit", "time       export", "total", "first run"] {
        assert!(page.contains(word), "{word}: {page}");
    }
}

#[test]
fn a_callback_sees_the_phases_and_stops_the_work() {
    let place = Place::new();
    let registry = Registry::empty().with(place.backend.clone());
    let options = OptimizeOptions::new().cache(place.cache()).registry(registry);
    let seen: Arc<Mutex<Vec<(bool, Phase)>>> = Arc::default();
    let writes = seen.clone();
    let followed = options.clone().progress(move |event| {
        match event {
            Progress::Started { phase } => writes.lock().unwrap().push((true, phase)),
            Progress::Finished { phase, .. } => writes.lock().unwrap().push((false, phase)),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    InferenceModule::compile(&model(2.0), &followed).unwrap();
    let seen = seen.lock().unwrap().clone();
    let began = |phase| seen.iter().filter(|event| **event == (true, phase)).count();
    let ended = |phase| seen.iter().filter(|event| **event == (false, phase)).count();
    for phase in [Phase::Export, Phase::Cache, Phase::Store, Phase::Load] {
        assert!(began(phase) > 0 && began(phase) == ended(phase), "{phase}: {seen:?}");
    }
    // Stopped at each phase in turn; another backend is not taken instead.
    for stop in [Phase::Export, Phase::Cache, Phase::Load] {
        let options = options.clone().registry(
            Registry::empty().with(place.backend.clone()).with(accelerant::backend::tract::Tract),
        );
        let options = options.progress(move |event| match event {
            Progress::Started { phase } if phase == stop => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let error = InferenceModule::compile(&model(2.0), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{stop}: {error}");
    }
    assert_eq!(place.builds(), 1);
}

#[test]
fn an_engine_that_the_library_refuses_is_built_anew() {
    let mut place = Place::new();
    missed(place.used(2.0));
    // Its checksum is right, and it cannot be loaded: neither before the passes nor after them.
    let refusal = place.folder.path().join("refused");
    std::fs::write(&refusal, "22").unwrap();
    place.backend.refusal = Some(refusal);
    let used = place.used(2.0);
    assert!(used.to_string().contains("refused by the test"), "{used}");
    assert!(matches!(missed(used), Miss::Damaged { .. }));
    assert!(is_hit(&place.used(2.0)));
    assert_eq!(place.builds(), 2);
}
