//! Other weights for modules that run: on each backend, under load, for models that fit and models that do not.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use accelerant::cache::EngineCache;
use accelerant::export::{GraphBuilder, OnnxModel, Value};
use accelerant::{
    BackendKind, DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Refit,
    Registry, Result,
};
use ndarray::{Array1, Array2};

const SIZE: usize = 32;

/// The backends that run here, each with whether it exchanges weights without building.
fn backends(test: &str) -> Vec<(BackendKind, OptimizeOptions, bool)> {
    #[allow(unused_mut, reason = "without a backend's feature nothing is added")]
    let mut registry = Registry::default();
    #[cfg(feature = "tensorrt-rtx")]
    {
        use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
        let options = TensorRtOptions::default().tf32(false).refit(true);
        registry.push(TensorRt::rtx().with_options(options));
    }
    let mut found = Vec::new();
    for backend in registry.backends() {
        let kind = backend.kind();
        // Enterprise TensorRT's library is in no registry.
        if kind == BackendKind::TensorRt {
            continue;
        }
        if !common::is_portable(&kind) && !common::runs(test, backend.as_ref()) {
            continue;
        }
        if backend.probe().is_err() {
            continue;
        }
        let options = OptimizeOptions::new().registry(registry.clone()).cache(EngineCache::off());
        found.push((kind.clone(), options.require(kind), backend.refits()));
    }
    found
}

/// Whether the engine keeps its weights, since the library could not build another on this driver.
fn is_not_there(reason: &str) -> bool {
    reason.contains("built without `refit`")
}

/// A product with the unit matrix times `factor`, and what `more` makes of it.
fn layer(factor: f32, columns: usize, more: impl Fn(Value) -> Result<Value>) -> Result<OnnxModel> {
    let graph = GraphBuilder::new("layer");
    let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=8)?, Dim::Fixed(SIZE)])?;
    let mut weight = Array2::<f32>::zeros((SIZE, columns));
    weight.diag_mut().fill(factor);
    let bias = graph.weight("bias", Array1::from_elem(columns, factor))?;
    let y = x.linear(&graph.weight("weight", weight)?, Some(&bias))?;
    graph.output("y", &more(y)?)?;
    graph.finish()
}

fn plain(factor: f32) -> OnnxModel {
    layer(factor, SIZE, Ok).expect("a model")
}

/// What the module computes for ones: twice the factor.
fn factor_of(module: &InferenceModule, rows: usize) -> f32 {
    let x = HostTensor::from(Array2::<f32>::ones((rows, SIZE)));
    let y = module.run(&[x]).expect("it runs")[0].to_vec::<f32>().expect("floats");
    assert_eq!(y.len(), rows * SIZE);
    assert!(y.iter().all(|value| *value == y[0]), "old and new weights in one result: {y:?}");
    y[0] / 2.0
}

#[test]
fn weights_change_while_threads_run() {
    for (kind, options, in_place) in backends("weights_change_while_threads_run") {
        let module = InferenceModule::compile(&plain(1.0), &options).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (module, done) = (module.clone(), &done);
                scope.spawn(move || {
                    let mut last = 0.0;
                    let mut runs = 0;
                    while !done.load(Ordering::Acquire) || runs < 10 {
                        let factor = factor_of(&module, 1 + (runs + thread) % 8);
                        assert!(factor >= last, "{factor} after {last}");
                        (last, runs) = (factor, runs + 1);
                    }
                });
            }
            for factor in 2..=12 {
                let refit = module.refit_from(&plain(factor as f32)).unwrap();
                match refit {
                    Refit::InPlace => assert!(in_place, "{kind}"),
                    Refit::Rebuilt { ref reason } => {
                        assert!(!in_place || is_not_there(reason), "{kind}: {reason}")
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(factor_of(&module, 3), factor as f32, "{kind}: a run after the call");
            }
            done.store(true, Ordering::Release);
        });
        assert_eq!(factor_of(&module, 8), 12.0, "{kind}");
    }
}

#[test]
fn modules_that_share_a_model_share_its_weights() {
    for (kind, options, _) in backends("modules_that_share_a_model_share_its_weights") {
        let module = InferenceModule::compile(&plain(1.0), &options).unwrap();
        let (clone, replicas) = (module.clone(), module.on_devices(&[0]).unwrap());
        module.refit_from(&plain(5.0)).unwrap();
        let later = module.on_devices(&[0]).unwrap();
        for module in [&module, &clone, &replicas, &later] {
            assert_eq!(factor_of(module, 2), 5.0, "{kind}");
        }
        replicas.refit_from(&plain(6.0)).unwrap();
        drop(replicas);
        assert_eq!(factor_of(&clone, 2), 6.0, "{kind}");
    }
}

#[test]
fn other_models_are_refused_or_built() {
    for (kind, options, in_place) in backends("other_models_are_refused_or_built") {
        let module = InferenceModule::compile(&plain(1.0), &options).unwrap();
        let wide = layer(2.0, SIZE + 1, Ok).unwrap();
        let error = module.refit_from(&wide).unwrap_err();
        assert_eq!((error.kind(), error.tensor()), (ErrorKind::ShapeMismatch, Some("y")), "{kind}");
        assert!(error.to_string().contains("33") && error.to_string().contains("32"), "{error}");
        assert_eq!(factor_of(&module, 2), 1.0, "{kind}: as before");
        // Another graph of the same inputs and outputs.
        let refit = module.refit_from(&layer(3.0, SIZE, |y| y.relu()).unwrap()).unwrap();
        let Refit::Rebuilt { reason } = refit else { panic!("{kind}: {refit:?}") };
        assert!(!in_place || reason.contains("more than its weights"), "{kind}: {reason}");
        assert_eq!(factor_of(&module, 2), 3.0, "{kind}");
        // Back to the first graph, of which the engine is no more.
        module.refit_from(&plain(-4.0)).unwrap();
        assert_eq!(factor_of(&module, 2), -4.0, "{kind}");
    }
}

/// Weights of several kinds of layers, small ones and large ones.
fn network(seed: u64) -> Result<OnnxModel> {
    let graph = GraphBuilder::new("network");
    let tokens = graph.input("tokens", DType::I64, [Dim::Fixed(2), Dim::Fixed(5)])?;
    let random = |shape: &[usize], seed: u64| common::random(shape, seed);
    let weight = |name: &str, shape: &[usize], place: u64| {
        graph.weight(name, random(shape, 10 * seed + place))
    };
    let table = weight("embedding", &[50, SIZE], 0)?;
    let x = table.gather(&tokens, 0)?;
    let scale = weight("norm.scale", &[SIZE], 1)?;
    let shift = weight("norm.shift", &[SIZE], 2)?;
    let x = x.layer_norm(&scale, Some(&shift), -1, 1e-5)?;
    let x =
        x.linear(&weight("up", &[SIZE, 4 * SIZE], 3)?, Some(&weight("up.bias", &[4 * SIZE], 4)?))?;
    let x = x.relu()?.linear(&weight("down", &[4 * SIZE, SIZE], 5)?, None)?;
    graph.output("y", &x)?;
    graph.finish()
}

#[test]
fn each_kind_of_weight_is_exchanged() {
    let tokens = HostTensor::from_vec([2, 5], vec![0i64, 7, 49, 3, 3, 12, 13, 1, 0, 48]).unwrap();
    for (kind, options, in_place) in backends("each_kind_of_weight_is_exchanged") {
        let module = InferenceModule::compile(&network(1).unwrap(), &options).unwrap();
        let before = module.run(std::slice::from_ref(&tokens)).unwrap();
        for seed in [2, 3, 1] {
            let model = network(seed).unwrap();
            let refit = module.refit_from(&model).unwrap();
            match refit {
                Refit::InPlace => assert!(in_place, "{kind}"),
                Refit::Rebuilt { ref reason } => {
                    assert!(!in_place || is_not_there(reason), "{kind}: {reason}")
                }
                other => panic!("{other:?}"),
            }
            let fresh = InferenceModule::compile(&model, &options).unwrap();
            let expected = fresh.run(std::slice::from_ref(&tokens)).unwrap();
            let got = module.run(std::slice::from_ref(&tokens)).unwrap();
            let difference = largest_difference(&got[0], &expected[0]);
            assert!(difference < 1e-4, "{kind}, seed {seed}: {difference:e}");
            let moved = largest_difference(&got[0], &before[0]);
            assert_eq!(moved > 1e-2, seed != 1, "{kind}, seed {seed}: {moved:e}");
        }
    }
}

fn largest_difference(one: &HostTensor, other: &HostTensor) -> f64 {
    let (one, other) = (common::to_f64(one), common::to_f64(other));
    assert_eq!(one.len(), other.len());
    one.iter()
        .zip(&other)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, x| if x <= most { most } else { x })
}

/// A backend of which each engine is loaded once, and has profiles.
mod counted {
    use std::borrow::Cow;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use accelerant::BackendKind;
    use accelerant::Engine;
    use accelerant::backend::{Backend, Executable};
    use accelerant::export::{OnnxModel, Target};
    use accelerant::{HostTensor, Result, Signature};

    pub(super) const KIND: BackendKind = BackendKind::Custom(Cow::Borrowed("counted"));

    #[derive(Debug, Default)]
    pub(super) struct Counted(pub(super) Arc<AtomicUsize>);

    /// Gives what the engine holds.
    #[derive(Clone, Debug)]
    struct Loaded(Engine);

    impl Backend for Counted {
        fn kind(&self) -> BackendKind {
            KIND
        }

        fn description(&self) -> String {
            "a backend that counts".into()
        }

        fn target(&self) -> Target {
            Target::portable()
        }

        fn probe(&self) -> Result<()> {
            Ok(())
        }

        fn build(&self, model: &OnnxModel) -> Result<Engine> {
            let graph = model.proto().graph.as_ref();
            let weights = graph.iter().flat_map(|graph| &graph.initializer);
            let bias = weights.filter(|weight| weight.name() == "bias");
            let plan = bias.flat_map(|bias| bias.raw_data().to_vec()).collect::<Vec<u8>>();
            let time = std::time::Duration::ZERO;
            Ok(Engine::new(KIND, "1", "any", model.signature().clone(), time, plan))
        }

        fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Loaded(engine.clone())))
        }

        fn load_on(&self, engine: &Engine, _: usize) -> Result<Box<dyn Executable>> {
            self.load(engine)
        }
    }

    impl Executable for Loaded {
        fn signature(&self) -> &Signature {
            self.0.signature()
        }

        fn run(&self, _: &[HostTensor]) -> Result<Vec<HostTensor>> {
            let bytes = self.0.plan().clone();
            let size = bytes.len() / 4;
            Ok(vec![HostTensor::from_bytes(accelerant::DType::F32, [size], bytes)?])
        }

        fn for_profile(&self, _: &str) -> Result<Box<dyn Executable>> {
            Ok(Box::new(self.clone()))
        }
    }
}

#[test]
fn an_exchange_loads_once_for_all_profiles_of_a_device() {
    let counted = counted::Counted::default();
    let loads = counted.0.clone();
    let options = OptimizeOptions::new().registry(Registry::empty().with(counted));
    let module = InferenceModule::compile(&plain(1.0), &options).unwrap();
    let second = module.on_devices(&[1]).unwrap();
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    let profiles = [("small", &module), ("large", &module), ("small", &second)];
    let profiles = profiles.map(|(name, module)| module.for_profile(name).unwrap());
    assert_eq!(loads.load(Ordering::Relaxed), 2, "profiles share what is loaded");
    let bias = |module: &InferenceModule| module.run(&[]).unwrap()[0].to_vec::<f32>().unwrap()[0];
    for factor in [2.0, 3.0] {
        module.refit_from(&plain(factor)).unwrap();
        for module in profiles.iter().chain([&module, &second]) {
            assert_eq!(bias(module), factor);
        }
    }
    assert_eq!(loads.load(Ordering::Relaxed), 6, "twice for each of two exchanges");
    // Profiles alone are enough.
    drop((module, second));
    profiles[0].refit_from(&plain(4.0)).unwrap();
    assert!(profiles.iter().all(|module| bias(module) == 4.0));
    assert_eq!(loads.load(Ordering::Relaxed), 8);
}

#[cfg(feature = "tensorrt-rtx")]
#[test]
fn weights_may_stay_on_the_host() {
    use accelerant::backend::Backend as _;
    use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};

    let options = TensorRtOptions::default().tf32(false);
    let streaming = TensorRt::rtx().with_options(options.clone().weight_streaming(true));
    // Built here, also where nothing runs.
    let big = |seed: u64| -> Result<OnnxModel> {
        let graph = GraphBuilder::new("big");
        let mut x = graph.input("x", DType::F32, [Dim::Fixed(4), Dim::Fixed(512)])?;
        for i in 0..4 {
            let weight = common::random(&[512, 512], seed + i) * 0.1;
            x = x.linear(&graph.weight(&format!("w{i}"), weight)?, None)?.relu()?;
        }
        graph.output("y", &x)?;
        graph.finish()
    };
    let model = big(3).unwrap();
    let engine = streaming.build(&model).unwrap();
    if !common::runs("weights_may_stay_on_the_host", &streaming) {
        return;
    }
    let x = [HostTensor::from(common::random(&[4, 512], 9))];
    let whole = streaming.load(&engine).unwrap();
    let expected = whole.run(&x).unwrap();
    let all = whole.device().unwrap().memory().weights;
    for budget in [0, all / 2, u64::MAX] {
        let limited = options.clone().weight_streaming(true).weight_budget(budget);
        let module = TensorRt::rtx().with_options(limited).load(&engine).unwrap();
        for _ in 0..3 {
            let got = module.run(&x).unwrap();
            assert!(largest_difference(&got[0], &expected[0]) < 1e-4, "budget {budget}");
        }
    }
    let plain = TensorRt::rtx().with_options(options.weight_budget(0));
    let error = plain.load(&plain.build(&model).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}
