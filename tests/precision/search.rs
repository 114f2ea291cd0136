//! Layers that a precision does not suit are found by what the model gives.

use accelerant::Registry;
use accelerant::backend::ort::Ort;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{Auto, Metric, Precision, PrecisionOptions, Search, Sensitivity};
use accelerant::{DType, Error, ErrorKind, HostTensor, OptimizeOptions};

use crate::plan::Plan;
use crate::runs::{has_ort, numbers};

/// Four layers; each output of the third has one large weight, beside which the others are lost in 4 bits.
fn model() -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [16usize, 128]).unwrap();
    let mut y = x;
    for layer in 0..4u64 {
        let mut weight = numbers(&[128, 128], 0.2, layer).to_array::<f32>().unwrap();
        if layer == 2 {
            (0..128).for_each(|output| weight[[(output * 7) % 128, output]] = 2.0);
        }
        y = y.matmul(&graph.constant("weight", HostTensor::from(weight))).unwrap().tanh().unwrap();
    }
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn batches() -> Vec<Vec<HostTensor>> {
    (0..2).map(|seed| vec![numbers(&[16, 128], 1.0, 50 + seed)]).collect()
}

fn found(
    search: &Search,
    batches: &[Vec<HostTensor>],
) -> Result<(PrecisionOptions, Sensitivity), Error> {
    search.run(&model(), Target::tensorrt(), &Registry::empty().with(Ort), batches)
}

#[test]
fn the_layer_that_does_not_bear_four_bits_stays_in_half() {
    if !has_ort("a search") {
        return;
    }
    let asked = PrecisionOptions::new(Precision::Int4Weights).block(64);
    let (options, sensitivity) = found(&Search::new(asked.clone(), 0.03), &batches()).unwrap();
    let names: Vec<_> = sensitivity.in_half().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["MatMul_4"], "{sensitivity}");
    assert_eq!(sensitivity.layers[0].name, "MatMul_4");
    assert!(sensitivity.drop <= 0.03 && sensitivity.drop_of_all > 0.03, "{sensitivity}");
    let written = model().with_precision(Target::tensorrt(), options).unwrap();
    let report = written.precision_report().unwrap();
    let forms: Vec<_> = ["MatMul", "MatMul_2", "MatMul_4", "MatMul_6"]
        .map(|name| report.layer(name).unwrap().precision.as_str())
        .into();
    assert_eq!(forms, ["int4", "int4", "f16", "int4"], "{report}");
    Plan::of("found", &written);

    let folder = tempfile::tempdir().unwrap();
    let [json, svg] = ["found.json", "found.svg"].map(|name| folder.path().join(name));
    sensitivity.save(&json).unwrap();
    sensitivity.save(&svg).unwrap();
    let read: Sensitivity = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    // The last digit of a number may be another after reading.
    let layers = |found: &Sensitivity| -> Vec<_> {
        let layers = found.layers.iter();
        layers
            .map(|layer| (layer.name.clone(), layer.in_half, layer.drop.unwrap() as f32))
            .collect()
    };
    assert_eq!(layers(&read), layers(&sensitivity));
    assert_eq!(
        (read.precision, read.drop as f32),
        (sensitivity.precision, sensitivity.drop as f32)
    );
    let picture = std::fs::read_to_string(svg).unwrap();
    assert_eq!(picture.matches("<rect").count(), 4, "{picture}");
    assert!(picture.starts_with("<svg") && picture.contains("MatMul_4"));

    // Where all of them lose little enough, none is looked at.
    let (_, all) = found(&Search::new(asked, 1.9), &batches()).unwrap();
    assert_eq!((all.in_half().count(), all.drop), (0, all.drop_of_all));
}

/// Without a GPU nothing is timed: the first that loses little enough is taken, and all say what they lose.
#[test]
fn a_precision_is_chosen_by_what_it_loses() {
    if !has_ort("a choice") {
        return;
    }
    let ort = || Registry::empty().with(Ort);
    let options = OptimizeOptions::new().registry(ort());
    let auto = |max_drop| {
        let int4 = PrecisionOptions::new(Precision::Int4Weights).block(64);
        let int8 = PrecisionOptions::new(Precision::Int8);
        let half = PrecisionOptions::new(Precision::Fp16);
        Auto::new(max_drop).candidates([int8, int4, half])
    };
    let (chosen, tried) = auto(0.03).run(&model(), &options, &ort(), &batches()).unwrap();
    assert_eq!(chosen.precision(), Precision::Int4Weights, "{tried:?}");
    let precisions: Vec<_> = tried.iter().map(|tried| tried.precision).collect();
    use Precision::{Fp16, Fp32, Int4Weights, Int8};
    assert_eq!(precisions, [Fp32, Int8, Int4Weights, Fp16]);
    assert!(tried[1].error.as_ref().unwrap().contains("calibration"), "{tried:?}");
    assert!(tried[2].chosen && tried[2].in_half == 1, "{tried:?}");
    assert!(tried[3].drop.unwrap() < 1e-4 && !tried[3].chosen, "{tried:?}");
    // Nothing may be lost at all: 32 bits stay.
    let (chosen, tried) = auto(0.0).run(&model(), &options, &ort(), &batches()).unwrap();
    assert_eq!(chosen.precision(), Precision::Fp32, "{tried:?}");
    assert!(tried[0].chosen && tried[2].error.is_some() && tried[3].error.is_some(), "{tried:?}");
    // What is wrong with the metric or the samples is an error of the whole, before anything is tried.
    let none = auto(0.1).metric(Metric::own(|_, _| Ok(f64::NAN)));
    let error = none.run(&model(), &options, &ort(), &batches()).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
    let mut values = numbers(&[16, 128], 1.0, 9).to_vec::<f32>().unwrap();
    values[5] = f32::NAN;
    let bad = vec![batches().remove(0), vec![HostTensor::from_vec([16, 128], values).unwrap()]];
    let error = auto(0.1).run(&model(), &options, &ort(), &bad).unwrap_err();
    assert!(error.to_string().contains("NaN") && error.to_string().contains("item 1"), "{error}");
    let error = auto(-1.0).run(&model(), &options, &ort(), &batches()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(auto(0.1).run(&model(), &options, &ort(), &[]).is_err());
}

#[test]
fn what_cannot_be_searched_is_refused() {
    if !has_ort("a search") {
        return;
    }
    let int4 = || PrecisionOptions::new(Precision::Int4Weights);
    let refused = |search: Search, batches: &[Vec<HostTensor>], text: &str| {
        let error = found(&search, batches).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    };
    refused(Search::new(int4(), -0.1), &batches(), "0 or more");
    refused(Search::new(int4(), f64::NAN), &batches(), "0 or more");
    refused(Search::new(int4(), 0.1), &[], "no samples");
    refused(Search::new(PrecisionOptions::new(Precision::Fp16), 0.1), &batches(), "quantizes no");
    refused(Search::new(int4().keep(["MatMul"]), 0.1), &batches(), "no layer is quantized");
    refused(Search::new(int4().block(48), 0.1), &batches(), "16, 32, 64 or 128");
    refused(Search::new(int4().in_half(["nothing"]), 0.1), &batches(), "`nothing`");
    let metric = |metric| Search::new(int4(), 0.1).metric(metric);
    refused(metric(Metric::own(|_, _| Ok(f64::NAN))), &batches(), "NaN");
    refused(metric(Metric::own(|_, _| Ok(1.0))), &batches(), "results that are the same");
    let any =
        |got: &[HostTensor], expected: &[HostTensor]| Ok(f64::from(u8::from(got != expected)));
    refused(metric(Metric::own(any)), &batches(), "half precision alone");
    let fails = |_: &[HostTensor], _: &[HostTensor]| {
        Err(Error::new(ErrorKind::InvalidArgument, "no labels were given"))
    };
    refused(metric(Metric::own(fails)), &batches(), "no labels");
    let other = vec![vec![numbers(&[16, 64], 1.0, 1)]];
    let error = found(&Search::new(int4(), 0.1), &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch, "{error}");
}
