//! Engines that run: results, options of running, threads, and inputs that do not fit.

use std::thread;

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;
use accelerant::cache::EngineCache;
use accelerant::export::{GraphBuilder, Target};
use accelerant::precision::Precision;
use accelerant::{Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Registry, Shape};
use ndarray::Array2;

use super::{FEATURES, Mlp, assert_close, batch, exact, gpu, input, load, rtx};

#[test]
fn inference_matches_ndarray() {
    if !gpu("inference_matches_ndarray") {
        return;
    }
    let mlp = Mlp::new(11);
    let fixed = load(&rtx(), &mlp.export(4));
    let dynamic = load(&rtx(), &mlp.export(batch(1, 64)));
    for seed in 0..3 {
        let x = input(4, seed);
        assert_close(&fixed.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
    }
    // Growing, shrinking and repeated sizes.
    for (seed, rows) in [1, 64, 7, 7, 64, 2, 33].into_iter().enumerate() {
        let x = input(rows, seed as u64);
        assert_close(&dynamic.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
    }
}

#[test]
fn an_engine_for_another_device_is_refused_or_runs_right() {
    if !gpu("an_engine_for_another_device_is_refused_or_runs_right") {
        return;
    }
    let mlp = Mlp::new(15);
    // No device is all of these; the library decides which it takes nevertheless.
    for capability in [75, 89, 120] {
        let backend = TensorRt::rtx().with_options(exact().compute_capabilities([capability]));
        match backend.load(&backend.build(&mlp.export(4)).unwrap()) {
            Ok(executable) => {
                let x = input(4, 4);
                assert_close(&executable.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::EngineIncompatible, "{error}");
                assert!(error.to_string().contains("built by"), "{error}");
            }
        }
    }
}

#[test]
fn options_of_running_do_not_change_results() {
    if !gpu("options_of_running_do_not_change_results") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("kernels");
    let mlp = Mlp::new(12);
    let options = exact().cuda_graph(true).runtime_cache(&cache);
    for _ in 0..2 {
        let fast = load(&TensorRt::rtx().with_options(options.clone()), &mlp.export(batch(1, 16)));
        for rows in [3, 3, 16, 3] {
            let x = input(rows, rows as u64);
            assert_close(&fast.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
        }
        drop(fast);
        assert!(cache.metadata().unwrap().len() > 0);
    }
    std::fs::write(&cache, b"not a cache").unwrap();
    let fast = load(&TensorRt::rtx().with_options(options), &mlp.export(batch(1, 16)));
    let x = input(5, 5);
    assert_close(&fast.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
}

#[test]
fn layers_are_timed_beside_runs_that_stay_right() {
    if !gpu("layers_are_timed_beside_runs_that_stay_right") {
        return;
    }
    let mlp = Mlp::new(17);
    let executable = load(&rtx(), &mlp.export(batch(1, 64)));
    let device = executable.device().unwrap();
    let x: HostTensor = input(33, 1).into();
    let layers = device.layer_times(&[x], 5).unwrap();
    assert!(!layers.is_empty());
    let micros: f64 = layers.iter().map(|layer| layer.micros).sum();
    assert!(layers.iter().all(|layer| !layer.name.is_empty() && layer.micros >= 0.0), "{layers:?}");
    // Two small products: far from nothing, and far from a thousandth of a second.
    assert!((0.5..5000.0).contains(&micros), "{layers:?}");
    let x = input(7, 2);
    assert_close(&executable.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
    let wrong = Array2::<f32>::zeros((65, FEATURES)).into();
    let error = device.layer_times(&[wrong], 1).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::OutOfProfile, Some("x")));
}

/// The names of the model's nodes come through the parser, the builder and the profiler.
#[test]
fn a_report_has_the_time_of_each_layer_before_and_after() {
    if !gpu("a_report_has_the_time_of_each_layer_before_and_after") {
        return;
    }
    let model = Mlp::new(18).export(64);
    let options = OptimizeOptions::new().registry(Registry::empty().with(rtx()));
    let options = options.cache(EngineCache::off()).precision(Precision::Fp16);
    let timed = options.clone().time_layers([input(64, 3).into()]);
    let module = InferenceModule::compile(&model, &timed).unwrap();
    let report = module.precision_report().unwrap();
    assert_eq!(report.not_timed, None, "{report}");
    let products: Vec<_> =
        report.layers.iter().filter(|l| matches!(&*l.operator, "MatMul" | "Gemm")).collect();
    assert!(!products.is_empty(), "{report}");
    for layer in products {
        let [before, after] = [layer.before, layer.after].map(|cost| {
            cost.unwrap_or_else(|| panic!("no kernel is known of {layer}\n{report}")).micros
        });
        assert!(before > 0.0 && after > 0.0, "{layer}");
        let half = layer.engine.iter().any(|name| {
            let name = name.to_lowercase();
            name.contains("half") || name.contains("16")
        });
        // The inspector of some versions has no types.
        eprintln!("{layer}: {:?}", layer.engine);
        assert!(half || layer.engine.is_empty(), "{layer}: {:?}", layer.engine);
    }
    let wrong = options.time_layers([input(63, 3).into()]);
    let error = InferenceModule::compile(&model, &wrong).unwrap_err();
    assert_eq!(error.tensor(), Some("x"), "{error}");
}

#[test]
fn more_threads_than_contexts_wait_for_each_other() {
    if !gpu("more_threads_than_contexts_wait_for_each_other") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mlp = Mlp::new(13);
    let variants = [
        (exact(), batch(1, 32)),
        (exact().max_contexts(4).cuda_graph(true), batch(1, 32)),
        (exact().max_contexts(3).runtime_cache(folder.path().join("kernels")), batch(1, 32)),
        (exact().max_contexts(1), Dim::Fixed(8)),
        (exact().max_contexts(4), Dim::Fixed(8)),
    ];
    for (options, rows) in variants {
        let executable = load(&TensorRt::rtx().with_options(options), &mlp.export(rows.clone()));
        thread::scope(|scope| {
            for thread in 0..8u64 {
                let (mlp, executable, rows) = (&mlp, &executable, &rows);
                scope.spawn(move || {
                    for round in 0..20 {
                        let rows = rows.fixed().unwrap_or(1 + (thread as usize * 5 + round) % 32);
                        let x = input(rows, thread);
                        let y = executable.run(&[x.clone().into()]).unwrap();
                        assert_close(&y[0], &mlp.forward(&x));
                    }
                });
            }
        });
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_and_the_executable_lives_on() {
    if !gpu("inputs_that_do_not_fit_are_refused_and_the_executable_lives_on") {
        return;
    }
    let mlp = Mlp::new(14);
    let executable = load(&rtx(), &mlp.export(batch(1, 8)));
    let zeros =
        |rows: usize, columns: usize| HostTensor::from(Array2::<f32>::zeros((rows, columns)));
    let refused: &[(&[HostTensor], ErrorKind, Option<usize>)] = &[
        (&[], ErrorKind::InputMismatch, None),
        (&[zeros(9, FEATURES)], ErrorKind::OutOfProfile, Some(0)),
        (&[zeros(0, FEATURES)], ErrorKind::OutOfProfile, Some(0)),
        (&[zeros(4, FEATURES + 1)], ErrorKind::ShapeMismatch, Some(1)),
        (&[HostTensor::from(Array2::<f64>::zeros((4, FEATURES)))], ErrorKind::DTypeMismatch, None),
    ];
    for (inputs, kind, axis) in refused {
        let error = executable.run(inputs).unwrap_err();
        assert_eq!((error.kind(), error.axis()), (*kind, *axis), "{error}");
    }
    let x = input(8, 1);
    assert_close(&executable.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
}

#[test]
fn element_types_go_through_as_they_are() {
    if !gpu("element_types_go_through_as_they_are") {
        return;
    }
    let check = |values: HostTensor| {
        let graph = GraphBuilder::for_target("neg", Target::tensorrt());
        let x =
            graph.input("x", values.dtype(), Shape::from(values.shape().iter().copied())).unwrap();
        let y = graph.node("Concat").input(&x).input(&x).attr("axis", 0i64).build().unwrap();
        graph.output("y", &y).unwrap();
        let executable = load(&rtx(), &graph.finish().unwrap());
        let y = executable.run(std::slice::from_ref(&values)).unwrap().remove(0);
        assert_eq!(y.dtype(), values.dtype());
        assert_eq!(
            &y.bytes()[..],
            [&values.bytes()[..], &values.bytes()[..]].concat(),
            "{}",
            values.dtype()
        );
    };
    check(HostTensor::from_vec([3], vec![1.5f32, -2.0, 0.25]).unwrap());
    check(
        HostTensor::from_vec([3], vec![half::f16::from_f32(1.5), half::f16::MAX, half::f16::MIN])
            .unwrap(),
    );
    check(HostTensor::from_vec([2], vec![half::bf16::from_f32(1.5), half::bf16::MAX]).unwrap());
    check(HostTensor::from_vec([3], vec![i32::MIN, 0, i32::MAX]).unwrap());
    check(HostTensor::from_vec([3], vec![i64::MIN, 0, i64::MAX]).unwrap());
    check(HostTensor::from_vec([3], vec![true, false, true]).unwrap());
}
