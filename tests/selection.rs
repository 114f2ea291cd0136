//! Which backend runs, and what is said of the others.
#![cfg(all(feature = "ort", feature = "tract", feature = "tensorrt-rtx"))]

mod common;

use std::sync::{Arc, Mutex};

use accelerant::backend::{Backend, Executable, ort::Ort, tract::Tract};
use accelerant::cache::EngineCache;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{
    BackendKind, DType, Dim, Engine, Error, ErrorKind, HostTensor, InferenceModule,
    OptimizeOptions, Registry, Result,
};
use common::random;

fn model() -> OnnxModel {
    let graph = GraphBuilder::new("small");
    let x = graph.input("x", DType::F32, [Dim::dynamic("n", 1..=4).unwrap(), 16.into()]).unwrap();
    let w = graph.weight("w", random(&[16, 32], 1)).unwrap();
    graph.output("y", &x.matmul(&w).unwrap().tanh().unwrap()).unwrap();
    graph.finish().unwrap()
}

/// What runs where no GPU is: ONNX Runtime, or tract where no library of it is found.
fn on_the_cpu() -> BackendKind {
    if Ort.probe().is_ok() { BackendKind::Ort } else { BackendKind::Tract }
}

/// Whether TensorRT-RTX can run here, asked of the backend itself.
fn gpu() -> bool {
    let registry = Registry::default();
    common::runs("running on TensorRT-RTX", &**registry.get(&BackendKind::TensorRtRtx).unwrap())
}

#[test]
fn the_best_backend_that_works_is_taken_and_the_others_have_reasons() {
    let module = InferenceModule::compile(&model(), &OptimizeOptions::new()).unwrap();
    if gpu() {
        assert_eq!(module.backend(), BackendKind::TensorRtRtx);
        assert!(module.rejected().is_empty());
    } else {
        assert_eq!(module.backend(), on_the_cpu());
        let first = &module.rejected()[0];
        assert_eq!(
            (&first.kind, first.reason.kind()),
            (&BackendKind::TensorRtRtx, ErrorKind::Device)
        );
        assert!(first.to_string().contains("CUDA"), "{first}");
    }
    let y = module.run(&[HostTensor::from(random(&[3, 16], 2))]).unwrap();
    assert_eq!(y[0].shape(), [3, 32]);
}

#[derive(Debug)]
struct Panics {
    at_once: bool,
}

impl Backend for Panics {
    fn kind(&self) -> BackendKind {
        BackendKind::from_name("panics")
    }

    fn description(&self) -> String {
        "a backend that panics".into()
    }

    fn target(&self) -> Target {
        Target::portable()
    }

    fn probe(&self) -> Result<()> {
        assert!(!self.at_once, "the library lacks `this`");
        Ok(())
    }

    fn build(&self, _: &OnnxModel) -> Result<Engine> {
        panic!("the library lacks `that`")
    }

    fn load(&self, _: &Engine) -> Result<Box<dyn Executable>> {
        unreachable!()
    }
}

#[test]
fn a_backend_that_panics_is_passed_over() {
    for (at_once, lacks) in [(true, "`this`"), (false, "`that`")] {
        let registry = Registry::empty().with(Panics { at_once }).with(Tract);
        let options = OptimizeOptions::new().registry(registry);
        let module = InferenceModule::compile(&model(), &options).unwrap();
        assert_eq!(module.backend(), BackendKind::Tract);
        let reason = module.rejected()[0].to_string();
        assert!(reason.contains("panicked") && reason.contains(lacks), "{reason}");
        let options = options.require(BackendKind::from_name("panics"));
        let error = InferenceModule::compile(&model(), &options).unwrap_err();
        assert!(error.to_string().contains(lacks), "{error}");
    }
}

#[test]
fn a_registry_names_the_backends_that_it_has() {
    let registry = Registry::empty().with(Tract);
    let error = registry.get(&BackendKind::from_name("mine")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend, "{error}");
    assert_eq!(error.to_string(), "the registry has no backend `mine`; there are: tract");
}

#[test]
fn a_required_backend_runs_or_says_why_not() {
    let options = OptimizeOptions::new().require(BackendKind::TensorRtRtx);
    match InferenceModule::compile(&model(), &options) {
        Ok(module) => assert_eq!(module.backend(), BackendKind::TensorRtRtx),
        Err(error) => {
            assert!(!gpu(), "{error}");
            assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        }
    }
    let options = OptimizeOptions::new().require(BackendKind::Tract);
    assert_eq!(InferenceModule::compile(&model(), &options).unwrap().backend(), BackendKind::Tract);
}

#[test]
fn files_asked_for_are_written_even_without_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let (onnx, plan) = (folder.path().join("m.onnx"), folder.path().join("m.engine"));
    let options = OptimizeOptions::new().save_onnx(&onnx).save_engine(&plan);
    let module = InferenceModule::compile(&model(), &options).unwrap();
    let engine = Engine::open(&plan).unwrap();
    assert_eq!(&engine, module.engine());
    assert_eq!(engine.kind(), &BackendKind::TensorRtRtx);
    assert_eq!(engine.signature(), model().signature());
    assert!(engine.build_time().as_nanos() > 0 && engine.plan().len() > 1000);
    let again = OnnxModel::open(&onnx).unwrap().bind("n", 1..=4).unwrap();
    assert_eq!(again.signature(), model().signature());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn the_options_of_tensorrt_need_no_registry() {
    use accelerant::backend::tensorrt::TensorRtOptions;
    // An option that TensorRT refuses shows that TensorRT got the options.
    let wrong = TensorRtOptions::new().optimization_level(9);
    for kind in [BackendKind::TensorRtRtx, BackendKind::TensorRt] {
        let options = OptimizeOptions::new().tensorrt(wrong.clone()).cache(EngineCache::off());
        if !builds(&kind) {
            continue;
        }
        let error = InferenceModule::build(&model(), &options.require(kind.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains("optimization level 9"), "{error}");
    }
    // The place among the backends is the usual one.
    let module = InferenceModule::compile(&model(), &OptimizeOptions::new()).unwrap();
    let tuned = OptimizeOptions::new().tensorrt(TensorRtOptions::new().max_contexts(1));
    let tuned = InferenceModule::compile(&model(), &tuned).unwrap();
    let kinds = |module: &InferenceModule| {
        module.rejected().iter().map(|rejection| rejection.kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!((tuned.backend(), kinds(&tuned)), (module.backend(), kinds(&module)));
}

/// Whether a flavor was compiled in and can build here.
fn builds(kind: &BackendKind) -> bool {
    let options = OptimizeOptions::new().require(kind.clone()).cache(EngineCache::off());
    InferenceModule::build(&model(), &options).is_ok()
}

#[test]
fn what_is_required_stays_required_with_another_registry() {
    let options = OptimizeOptions::new().require(BackendKind::Tract);
    let options = options.registry(Registry::default().with(Tract));
    let module = InferenceModule::compile(&model(), &options).unwrap();
    assert_eq!(module.backend(), BackendKind::Tract);
    let none = options.registry(Registry::empty().with(Ort));
    let error = InferenceModule::compile(&model(), &none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend, "{error}");
}

#[test]
fn the_flavor_that_is_required_builds_the_engine_file() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("m.engine");
    let options = OptimizeOptions::new().save_engine(&plan);
    // It may run elsewhere: what is required here is not asked to.
    let required = options.clone().require(BackendKind::Tract);
    let module = InferenceModule::compile(&model(), &required).unwrap();
    assert_eq!(module.backend(), BackendKind::Tract);
    assert_eq!(Engine::open(&plan).unwrap().kind(), &BackendKind::TensorRtRtx);
    std::fs::remove_file(&plan).unwrap();

    // TensorRT's lean runtime builds nothing, and TensorRT-RTX does not stand in for it.
    let compiled = InferenceModule::compile(&model(), &options.require(BackendKind::TensorRt));
    if plan.exists() {
        assert_eq!(Engine::open(&plan).unwrap().kind(), &BackendKind::TensorRt);
    } else {
        let error = compiled.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoBackend, "{error}");
        assert!(error.to_string().contains("m.engine"), "{error}");
    }
}

/// A backend that could run anything.
#[derive(Debug)]
struct Eager;

impl Backend for Eager {
    fn kind(&self) -> BackendKind {
        BackendKind::Custom("eager".into())
    }

    fn description(&self) -> String {
        "a backend of the test".into()
    }

    fn target(&self) -> Target {
        Target::tensorrt()
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn build(&self, _: &OnnxModel) -> Result<Engine> {
        unreachable!("nothing is exported for it")
    }

    fn load(&self, _: &Engine) -> Result<Box<dyn Executable>> {
        unreachable!("nothing is built for it")
    }
}

#[test]
fn a_backend_for_which_nothing_can_be_exported_is_passed_over_with_the_reason() {
    let export = |target: Target| match target == Target::portable() {
        true => Ok(model()),
        false => Err(Error::new(ErrorKind::UnsupportedOperation, "not for this one")),
    };
    let eager = Registry::empty().with(Eager);
    let options = OptimizeOptions::new().registry(eager.clone().with(Tract));
    let module = InferenceModule::compile_with(export, &options).unwrap();
    assert_eq!(module.backend(), BackendKind::Tract);
    let rejected: Vec<_> = module.rejected().iter().map(ToString::to_string).collect();
    assert_eq!(rejected, ["eager: not for this one"]);
    // With no other the model's own fault is the error.
    let alone = InferenceModule::compile_with(export, &OptimizeOptions::new().registry(eager));
    assert_eq!(alone.unwrap_err().kind(), ErrorKind::UnsupportedOperation);
}

#[test]
fn an_engine_file_runs_without_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.engine");
    let options = OptimizeOptions::new();
    let module = InferenceModule::compile(&model(), &options).unwrap();
    module.engine().save(&path).unwrap();
    let opened = InferenceModule::open(&path, &options).unwrap();
    let x = [HostTensor::from(random(&[3, 16], 2))];
    assert_eq!(opened.run(&x).unwrap(), module.run(&x).unwrap());
    assert_eq!(opened.backend(), module.backend());
    let other = OptimizeOptions::new().require(BackendKind::TensorRt);
    let error = InferenceModule::open(&path, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend, "{error}");
    assert!(error.to_string().contains("is required"), "{error}");
    assert!(error.to_string().starts_with("open ") && error.to_string().contains("m.engine: "));

    let none = OptimizeOptions::new().registry(Registry::empty());
    assert_eq!(InferenceModule::open(&path, &none).unwrap_err().kind(), ErrorKind::NoBackend);
    std::fs::write(&path, b"no engine").unwrap();
    let error = InferenceModule::open(&path, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineCorrupt);
    assert!(error.to_string().contains("m.engine"), "{error}");
}

/// The lines that a subscriber with this filter gets of `f`.
fn told(filter: &str, f: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .with_ansi(false);
    common::logs::with_subscriber(subscriber.finish(), f);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn one_warning_names_every_reason() {
    let text = told("accelerant=warn", || {
        InferenceModule::compile(&model(), &OptimizeOptions::new()).unwrap();
    });
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("running on")).collect();
    if gpu() {
        assert!(warnings.is_empty(), "{text}");
    } else {
        assert_eq!(warnings.len(), 1, "{text}");
        assert!(
            warnings[0].contains("tensorrt-rtx: no CUDA driver") || warnings[0].contains("CUDA"),
            "{text}"
        );
    }
}

#[test]
fn the_passes_of_onnx_runtime_are_told_to_who_asks_for_them() {
    if let Err(error) = Ort.probe() {
        return common::skipped("what ONNX Runtime tells", error);
    }
    let compile = || {
        let options = OptimizeOptions::new().require(BackendKind::Ort);
        InferenceModule::compile(&model(), &options).unwrap();
    };
    // With a plain `tracing_subscriber::fmt().init()`, a program hears all of this level.
    let usual = told("info", compile);
    assert!(!usual.contains("GraphTransformer"), "{usual}");
    let searching = told("ort=debug", compile);
    assert!(searching.contains("GraphTransformer"), "{searching}");
}
