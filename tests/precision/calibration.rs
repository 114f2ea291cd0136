//! Ranges that are measured: with either portable backend, saved and read, and what is wrong with samples.

use accelerant::Registry;
use accelerant::backend::{ort::Ort, tract::Tract};
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{Calibration, Method, Moments, Precision, PrecisionOptions, Ranges};
use accelerant::{DType, Dim, ErrorKind, HostTensor};

use crate::runs::{has_ort, numbers};

/// One layer on any number of rows.
fn model() -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let batch = Dim::dynamic("batch", 1..=64).unwrap();
    let x = graph.input("x", DType::F32, [batch, Dim::Fixed(32)]).unwrap();
    let weight = graph.constant("weight", numbers(&[32, 32], 0.2, 1));
    let y = x.affine(3.0, 1.0).unwrap().matmul(&weight).unwrap().tanh().unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn batches(rows: &[usize]) -> Vec<Vec<HostTensor>> {
    let batch = |(seed, &rows): (usize, &usize)| vec![numbers(&[rows, 32], 1.0, seed as u64)];
    rows.iter().enumerate().map(batch).collect()
}

#[test]
fn both_portable_backends_measure_the_same() {
    let (model, calibration) = (model(), Calibration::new(Method::Mse));
    let batches = || batches(&[5, 64, 1]);
    let tract = calibration.run(&model, &Registry::empty().with(Tract), batches()).unwrap();
    assert_eq!((tract.samples(), tract.method()), (70, "mse"));
    let input = tract.get("x").expect("inputs are measured too");
    let values: Vec<f32> = batches().iter().flat_map(|b| b[0].to_vec::<f32>().unwrap()).collect();
    let (min, max) = values.iter().fold((0f32, 0f32), |(a, b), v| (a.min(*v), b.max(*v)));
    assert_eq!((input.min, input.max), (min, max));
    assert!((input.deviation - 0.577).abs() < 0.03, "of even numbers: {input:?}");
    let shifted = tract.get("Add").expect("what is within is measured");
    assert!((shifted.mean - 1.0).abs() < 0.1 && (shifted.max - (3.0 * max + 1.0)).abs() < 1e-5);
    if has_ort("calibration") {
        let ort = calibration.run(&model, &Registry::empty().with(Ort), batches()).unwrap();
        assert_eq!(ort.iter().count(), tract.iter().count());
        for ((name, a), (other, b)) in ort.iter().zip(tract.iter()) {
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-3 * b.abs().max(1.0);
            assert_eq!(name, other);
            let same = near(a.min, b.min) && near(a.max, b.max) && near(a.limit, b.limit);
            assert!(same, "{name}: {a:?} and {b:?}");
        }
    }
}

/// However many batches run at the same time, and however the samples are divided into batches.
#[test]
fn batches_at_once_measure_what_one_after_the_other_does() {
    let model = model();
    let one = vec![numbers(&[60, 32], 1.0, 3)];
    let rows = one[0].to_array::<f32>().unwrap();
    let parts = |rows_of_each: usize| -> Vec<Vec<HostTensor>> {
        let each = rows.axis_chunks_iter(ndarray::Axis(0), rows_of_each);
        each.map(|part| vec![HostTensor::from(part.to_owned())]).collect()
    };
    for method in [Method::MinMax, Method::Mse, Method::Entropy, Method::Percentile(0.99)] {
        let calibration = |count| Calibration::new(method).batches_at_once(count);
        let tract = Registry::empty().with(Tract);
        let whole = calibration(1).run(&model, &tract, vec![one.clone()]).unwrap();
        for (count, batches) in [(1, parts(7)), (3, parts(7)), (4, parts(20)), (8, parts(60))] {
            let found = calibration(count).run(&model, &tract, batches).unwrap();
            assert_eq!((found.samples(), found.iter().count()), (60, whole.iter().count()));
            for ((name, a), (_, b)) in found.iter().zip(whole.iter()) {
                let near = |a: f32, b: f32, part: f32| (a - b).abs() <= part * b.abs();
                let ends = near(a.min, b.min, 1e-5) && near(a.max, b.max, 1e-5);
                let rest = near(a.limit, b.limit, 0.01) && near(a.deviation, b.deviation, 1e-3);
                assert!(ends && rest, "{method} {name}: {a:?} and {b:?}");
            }
        }
    }
    let none = Calibration::new(Method::Mse).batches_at_once(0);
    let error = none.run(&model, &Registry::empty().with(Tract), batches(&[8])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    // The first of several that are wrong is told, whichever worker has it.
    let mut bad = batches(&[8, 8, 8, 8, 8]);
    for place in [4, 2] {
        let mut values = vec![0.5f32; 256];
        values[place] = f32::NAN;
        bad[place] = vec![HostTensor::from_vec([8, 32], values).unwrap()];
    }
    for count in [1, 2, 4] {
        let calibration = Calibration::new(Method::Mse).batches_at_once(count);
        let run = calibration.run(&model, &Registry::empty().with(Tract), bad.clone());
        let error = run.unwrap_err().to_string();
        assert!(error.contains("NaN") && error.contains("item 2"), "{count}: {error}");
    }
}

#[test]
fn ranges_are_saved_and_read() {
    let calibration = Calibration::new(Method::Entropy);
    let ranges = calibration.run(&model(), &Registry::empty().with(Tract), batches(&[16])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ranges.json");
    ranges.save(&path).unwrap();
    assert_eq!(Ranges::open(&path).unwrap(), ranges);
    std::fs::write(
        &path,
        std::fs::read_to_string(&path).unwrap().replacen("\"min\": -", "\"min\": 7", 1),
    )
    .unwrap();
    let error = Ranges::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.tensor().is_some(), "{error}");
    std::fs::write(&path, "{}").unwrap();
    assert_eq!(Ranges::open(&path).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Ranges::open(folder.path().join("none")).unwrap_err().kind(), ErrorKind::Io);
}

/// The kind of an error, and what its text must name.
fn refused(batches: Vec<Vec<HostTensor>>, method: Method, kind: ErrorKind, named: &[&str]) {
    let calibration = Calibration::new(method);
    let error = calibration.run(&model(), &Registry::empty().with(Tract), batches).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for name in named {
        assert!(error.to_string().contains(name), "`{name}` is not in: {error}");
    }
}

#[test]
fn samples_that_are_wrong_are_named() {
    use ErrorKind::InvalidArgument;
    let minmax = Method::MinMax;
    refused(vec![], minmax, InvalidArgument, &["calibrate", "no samples"]);
    refused(batches(&[3, 4]), minmax, InvalidArgument, &["7 samples"]);
    // Before anything is built: no backend is asked.
    let none = Registry::empty();
    let error = Calibration::new(minmax).run(&model(), &none, batches(&[3, 4])).unwrap_err();
    assert!(error.to_string().contains("7 samples"), "{error}");
    let many = Calibration::new(minmax).least_samples(100);
    let error = many.run(&model(), &none, batches(&[30, 30])).unwrap_err();
    assert!(error.to_string().contains("60 samples are too few; 100"), "{error}");
    let narrow = || vec![numbers(&[8, 31], 1.0, 1)];
    refused(vec![narrow()], minmax, ErrorKind::ShapeMismatch, &["`x`", "axis 1", "31"]);
    let mut later = batches(&[8, 8]);
    later.push(narrow());
    refused(later, minmax, ErrorKind::ShapeMismatch, &["`x`", "axis 1", "item 2"]);
    refused(vec![vec![]], minmax, ErrorKind::InputMismatch, &["input"]);
    let whole = HostTensor::from_vec([8, 32], vec![1i64; 256]).unwrap();
    refused(vec![vec![whole]], minmax, ErrorKind::DTypeMismatch, &["`x`"]);
    let constant = HostTensor::from_vec([8, 32], vec![0.5f32; 256]).unwrap();
    refused(vec![vec![constant]], minmax, InvalidArgument, &["`x`", "same"]);
    let mut values = vec![0.5f32; 256];
    values[17] = f32::NAN;
    let mut bad = batches(&[8]);
    bad.push(vec![HostTensor::from_vec([8, 32], values).unwrap()]);
    refused(bad, minmax, InvalidArgument, &["`x`", "NaN", "item 1"]);
    // Before anything is built, where all samples are looked at first.
    let constant = HostTensor::from_vec([8, 32], vec![0.5f32; 256]).unwrap();
    let run = Calibration::new(minmax).run(&model(), &none, vec![vec![constant]]);
    assert!(run.unwrap_err().to_string().contains("same"));
    let undefined = HostTensor::from_vec([8, 32], vec![f32::NAN; 256]).unwrap();
    let run = Calibration::new(minmax).run(&model(), &none, vec![vec![undefined]]);
    assert!(run.unwrap_err().to_string().contains("NaN"));
    for few in [vec![], batches(&[3, 4])] {
        let error = Moments::measure(&model(), &none, few).unwrap_err();
        assert!(error.to_string().contains("samples"), "{error}");
        assert_eq!(error.kind(), InvalidArgument, "{error}");
    }
    refused(batches(&[8]), Method::Percentile(1.5), InvalidArgument, &["percentile 1.5"]);
}

/// Ranges of one model say nothing of another.
#[test]
fn ranges_of_another_model_are_refused() {
    let calibration = Calibration::new(Method::MinMax);
    let ranges = calibration.run(&model(), &Registry::empty().with(Tract), batches(&[16])).unwrap();
    let graph = GraphBuilder::for_target("other", Target::tensorrt());
    let x = graph.input("z", DType::F32, [2usize, 2]).unwrap();
    graph.output("w", &x.relu().unwrap()).unwrap();
    let options = PrecisionOptions::new(Precision::Int8).ranges(ranges);
    let error = graph.finish().unwrap().with_precision(Target::tensorrt(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("another model"), "{error}");
}

#[test]
fn moments_that_say_nothing_are_refused() {
    let measure = |model: &OnnxModel, batches| {
        Moments::measure(model, &Registry::empty().with(Tract), batches)
    };
    let refused = |batches: Vec<Vec<HostTensor>>, kind: ErrorKind, named: &[&str]| {
        let error = measure(&model(), batches).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        for name in named {
            assert!(error.to_string().contains(name), "`{name}` is not in: {error}");
        }
    };
    refused(vec![], ErrorKind::InvalidArgument, &["no samples"]);
    refused(batches(&[3, 4]), ErrorKind::InvalidArgument, &["7 samples"]);
    refused(vec![vec![numbers(&[8, 31], 1.0, 1)]], ErrorKind::ShapeMismatch, &["`x`", "axis 1"]);
    let mut values = vec![0.5f32; 256];
    values[17] = f32::INFINITY;
    let bad = vec![HostTensor::from_vec([8, 32], values).unwrap()];
    refused(vec![batches(&[8]).remove(0), bad], ErrorKind::InvalidArgument, &["finite", "item 1"]);

    let graph = GraphBuilder::for_target("other", Target::tensorrt());
    let x = graph.input("z", DType::F32, [8usize, 32]).unwrap();
    let weight = graph.constant("weight", numbers(&[32, 16], 0.2, 1));
    graph.output("w", &x.relu().unwrap().matmul(&weight).unwrap()).unwrap();
    let other = graph.finish().unwrap();
    let moments = measure(&model(), batches(&[16, 3])).unwrap();
    let names: Vec<_> = moments.names().collect();
    assert_eq!((names.as_slice(), moments.rows("Add")), (&["Add"][..], Some(19)));
    let options = PrecisionOptions::new(Precision::Int4Weights).moments(moments);
    let error = other.with_precision(Target::tensorrt(), options).unwrap_err();
    assert!(error.to_string().contains("another model"), "{error}");

    let graph = GraphBuilder::for_target("none", Target::tensorrt());
    let x = graph.input("z", DType::F32, [8usize, 32]).unwrap();
    graph.output("w", &x.relu().unwrap()).unwrap();
    let error = measure(&graph.finish().unwrap(), batches(&[8])).unwrap_err();
    assert!(error.to_string().contains("no layer"), "{error}");
}

/// Tokens that are all the same say nothing; a mask of ones beside tokens that vary says enough.
#[test]
fn samples_of_integers_vary_too() {
    let graph = GraphBuilder::for_target("tokens", Target::tensorrt());
    let tokens = graph.input("tokens", DType::I64, [8usize, 4]).unwrap();
    let mask = graph.input("mask", DType::F32, [8usize, 4]).unwrap();
    let y = tokens.cast(DType::F32).unwrap().mul(&mask).unwrap();
    graph.output("y", &y).unwrap();
    let model = graph.finish().unwrap();
    let batch = |last: i64| {
        let mut tokens = vec![3i64; 32];
        tokens[31] = last;
        let mask = HostTensor::from_vec([8, 4], vec![1f32; 32]).unwrap();
        vec![vec![HostTensor::from_vec([8, 4], tokens).unwrap(), mask]]
    };
    let run = |last| {
        Calibration::new(Method::MinMax).run(&model, &Registry::empty().with(Tract), batch(last))
    };
    let error = run(3).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidArgument, Some("tokens")));
    assert!(error.to_string().contains("same"), "{error}");
    assert_eq!(run(9).unwrap().get("y").unwrap().max, 9.0);
}
