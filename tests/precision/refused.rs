//! Options that cannot be obeyed, before anything is built; layers that the rules keep; bodies of branches and loops.

use accelerant::Registry;
use accelerant::backend::{ort::Ort, tract::Tract};
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{Precision, PrecisionOptions, PrecisionReport, Range, Ranges};
use accelerant::{DType, Error, ErrorKind, InferenceModule, OptimizeOptions};

use crate::runs::{has_ort, near, numbers};

fn model() -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [8usize, 32]).unwrap();
    let weight = graph.constant("weight", numbers(&[32, 32], 0.2, 1));
    let y = x.matmul(&weight).unwrap().relu().unwrap().softmax(-1).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn refused(options: PrecisionOptions, target: Target, kind: ErrorKind, text: &str) -> Error {
    let error = model().with_precision(target, options).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    error
}

#[test]
fn what_cannot_be_obeyed_is_refused() {
    let rtx = Target::tensorrt();
    let half = || PrecisionOptions::new(Precision::Fp16);
    let both = half().keep(["Relu"]).ask(["Rel*"]);
    let error = refused(both, rtx, ErrorKind::InvalidArgument, "excluded");
    assert_eq!(error.operation(), Some("Relu"));
    let both = PrecisionOptions::new(Precision::Int4Weights).keep(["MatMul"]).in_half(["MatMul"]);
    refused(both, rtx, ErrorKind::InvalidArgument, "wanted in half");
    for none in ["", "*_of_nothing", "Conv*"] {
        refused(half().keep([none]), rtx, ErrorKind::InvalidArgument, &format!("`{none}`"));
        refused(half().in_half([none]), rtx, ErrorKind::InvalidArgument, &format!("`{none}`"));
    }
    for number in [f32::NAN, f32::INFINITY] {
        let range = ("y".to_owned(), Range::new(-1.0, 1.0, 0.0, 1.0, number));
        let ranges = Ranges::new("by hand", 8, [range]);
        let ranged = PrecisionOptions::new(Precision::Int8).ranges(ranges);
        let error = refused(ranged, rtx, ErrorKind::InvalidArgument, "is no range");
        assert_eq!(error.tensor(), Some("y"));
    }
    // What a file may say that no calibration measures.
    let rows = [
        (8, Range::new(1.0, -1.0, 0.0, 1.0, 1.0), "the least element is above the greatest"),
        (8, Range::new(-1.0, 1.0, 99.0, 1.0, 1.0), "the mean is outside"),
        (8, Range::new(5.0, 6.0, 5.5, 0.2, 0.001), "the limit is below every element"),
        (8, Range::new(-6.0, -5.0, -5.5, 0.2, 0.001), "the limit is below every element"),
        (8, Range::new(-1.0, 1.0, 0.0, -1.0, 1.0), "the deviation is below 0"),
        (0, Range::new(-1.0, 1.0, 0.0, 1.0, 1.0), "on no samples"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (samples, range, text) in rows {
        let ranges = Ranges::new("by hand", samples, [("y".to_owned(), range)]);
        let path = folder.path().join("ranges.json");
        ranges.save(&path).unwrap();
        let error = Ranges::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
        let ranged = PrecisionOptions::new(Precision::Int8).ranges(ranges);
        refused(ranged, rtx, ErrorKind::InvalidArgument, text);
    }
    refused(half().keep(["Conv_7"]), rtx, ErrorKind::InvalidArgument, "`Conv_7`");
    refused(half().ask(["nothing*"]), rtx, ErrorKind::InvalidArgument, "`nothing*`");
    for precision in [Precision::Int8, Precision::Fp8] {
        refused(precision.into(), rtx, ErrorKind::InvalidArgument, "calibration");
        // A backend that computes in 32 bits in any case would hide that the ranges are missing.
        refused(precision.into(), Target::portable(), ErrorKind::InvalidArgument, "calibration");
    }
    refused(half().smooth(0.5), rtx, ErrorKind::InvalidArgument, "nothing to smooth");
    for strength in [-0.1, 1.1, f32::NAN] {
        refused(half().smooth(strength), rtx, ErrorKind::InvalidArgument, "from 0 to 1");
        refused(
            half().smooth(strength),
            Target::portable(),
            ErrorKind::InvalidArgument,
            "from 0 to 1",
        );
    }
    let none = half().least_signal_to_noise(f32::NAN);
    refused(none, rtx, ErrorKind::InvalidArgument, "NaN decibels");
    let older = rtx.for_compute_capability(Some(86));
    refused(Precision::Fp8.into(), older, ErrorKind::Device, "8.6");
    let oldest = rtx.for_compute_capability(Some(75));
    refused(Precision::Bf16.into(), oldest, ErrorKind::Device, "8.0");
    assert!("half".parse::<Precision>().unwrap_err().to_string().contains("int4-weights"));
}

#[test]
fn a_layer_that_is_asked_for_and_kept_says_why() {
    let options = PrecisionOptions::new(Precision::Fp16).ask(["Softmax", "MatMul"]);
    let half = model().with_precision(Target::tensorrt(), options).unwrap();
    let report = half.precision_report().unwrap();
    let refused: Vec<_> = report.refused().collect();
    let [layer] = &refused[..] else { panic!("{report}") };
    assert_eq!((&*layer.operator, &*layer.precision), ("Softmax", "f32"));
    assert!(layer.reason.as_ref().unwrap().contains("exponentials"), "{layer}");
    assert!(report.to_string().contains("ASKED FOR"), "{report}");
    let read: PrecisionReport = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(&read, report);

    let options = PrecisionOptions::new(Precision::Fp16).keep(["MatMul"]);
    let half = model().with_precision(Target::tensorrt(), options).unwrap();
    let layer = half.precision_report().unwrap().layer("MatMul").unwrap().clone();
    assert_eq!((&*layer.precision, layer.reason.as_deref()), ("f32", Some("it is excluded")));
}

/// A backend that computes in 32 bits alone says so, and a module tells what became of its model.
#[test]
fn a_module_tells_its_precision() {
    let input = [numbers(&[8, 32], 1.0, 2)];
    let options = |registry| OptimizeOptions::new().registry(registry);
    let tract = || Registry::empty().with(Tract);
    let plain = InferenceModule::compile(&model(), &options(tract())).unwrap();
    assert!(plain.precision_report().is_none());
    let expected = plain.run(&input).unwrap();
    let half = options(tract()).precision(Precision::Fp16);
    let module = InferenceModule::compile(&model(), &half).unwrap();
    let note = module.precision_report().unwrap().note.clone();
    assert!(note.as_ref().is_some_and(|note| note.contains("32 bits")), "{note:?}");
    assert_eq!(module.run(&input).unwrap()[0], expected[0]);
    if has_ort("the precision of a module") {
        let half = options(Registry::empty().with(Ort)).precision(Precision::Fp16);
        let module = InferenceModule::compile(&model(), &half).unwrap();
        let report = module.precision_report().unwrap();
        assert_eq!(report.layer("MatMul").unwrap().precision, "f16", "{report}");
        near("module", &module.run(&input).unwrap()[0], &expected[0], 4e-3);
    }
}

#[test]
fn fp32_and_tf32_leave_the_model_as_it_is() {
    for precision in [Precision::Fp32, Precision::Tf32] {
        let model = model();
        let same = model.with_precision(Target::tensorrt(), precision).unwrap();
        assert_eq!(same.to_bytes(), model.to_bytes());
        assert_eq!(same.precision_report().unwrap().precision, precision);
    }
}

#[test]
fn ranges_that_share_no_more_than_usual_names_are_of_another_model() {
    let named = |names: &[&str]| {
        let range = Range::new(-1.0, 1.0, 0.0, 1.0, 1.0);
        let ranges = Ranges::new("by hand", 8, names.iter().map(|&name| (name.into(), range)));
        let options = PrecisionOptions::new(Precision::Int8).ranges(ranges);
        model().with_precision(Target::tensorrt(), options).map(drop)
    };
    named(&["y"]).unwrap();
    named(&["x", "MatMul", "Relu", "y"]).unwrap();
    // Passes take values out.
    named(&["x", "MatMul", "Relu", "y", "taken", "out"]).unwrap();
    let others = ["x", "y", "Conv", "Conv_1", "Flatten", "Gemm"];
    let nearly: Vec<String> = (0..19).map(|i| format!("Conv_{i}")).chain(["Relu".into()]).collect();
    let nearly: Vec<&str> = nearly.iter().map(String::as_str).collect();
    for (names, text) in [
        (&["z"][..], "none is of a value of this one"),
        (&others, "of 6 values, this one has 2"),
        (&nearly, "of 20 values, this one has 1"),
    ] {
        let error = named(names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    }
}

/// A pipe would be waited for, and a device has no end.
#[cfg(unix)]
#[test]
fn ranges_are_read_from_plain_files() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let huge = folder.path().join("huge");
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let zeros = std::path::Path::new("/dev/zero");
    for (path, kind, text) in [
        (&*pipe, ErrorKind::Io, "not a regular file"),
        (zeros, ErrorKind::Io, "not a regular file"),
        (folder.path(), ErrorKind::Io, "not a regular file"),
        (&*huge, ErrorKind::InvalidArgument, "1099511627776 bytes"),
    ] {
        let error = Ranges::open(path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    }
}
