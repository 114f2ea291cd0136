//! Trained models in every precision: the digits of both frameworks by their accuracy.

use accelerant::Registry;
use accelerant::backend::ort::Ort;
use accelerant::burn::{BurnGraph, OptimizeTrt as _};
use accelerant::candle::{OptimizeTrt as _, Trace};
use accelerant::export::{OnnxModel, Target};
use accelerant::precision::{Auto, Calibration, Method, Precision, PrecisionOptions};
use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions};
use burn::tensor::Device;

use crate::common::to_f64;
use crate::data::{self, Digits};
use crate::plan::Plan;
use crate::runs::{has_ort, run};
use crate::{burn_net, candle_net};

const CHANGED: [Precision; 6] = [
    Precision::Mixed,
    Precision::Fp16,
    Precision::Bf16,
    Precision::Int8,
    Precision::Fp8,
    Precision::Int4Weights,
];

/// The model in each precision, with the ranges of these samples.
pub(crate) fn all(plain: &OnnxModel, samples: Vec<Vec<HostTensor>>) -> Vec<(Precision, OnnxModel)> {
    let registry = Registry::empty().with(Ort);
    let ranges = Calibration::new(Method::Mse).run(plain, &registry, samples).unwrap();
    let one = |precision| {
        let options = PrecisionOptions::new(precision).ranges(ranges.clone());
        (precision, plain.with_precision(Target::tensorrt(), options).unwrap())
    };
    CHANGED.into_iter().map(one).collect()
}

fn images(digits: &Digits) -> HostTensor {
    HostTensor::from(digits.images.clone())
}

/// The part of images whose digit has the greatest score.
fn accuracy(scores: &HostTensor, digits: &Digits) -> f64 {
    let scores = to_f64(scores);
    let rows = scores.chunks_exact(10).zip(&digits.labels);
    let best = |row: &[f64]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    rows.filter(|(row, label)| best(row) == **label as usize).count() as f64 / digits.len() as f64
}

fn digits_keep_their_accuracy(name: &str, plain: &OnnxModel, training: &Digits, test: &Digits) {
    let samples = training.shuffled(64, 1).into_iter().take(4).map(|batch| vec![images(&batch)]);
    let input = [images(test)];
    let native = accuracy(&run(name, plain, &input)[0], test);
    assert!(native > 0.95, "{name} has learned: {native}");
    for (precision, model) in all(plain, samples.collect()) {
        Plan::of(name, &model);
        let got = accuracy(&run(name, &model, &input)[0], test);
        eprintln!("{name} in {precision}: {:.2} %, in fp32 {:.2} %", got * 100.0, native * 100.0);
        let lost = match precision {
            Precision::Mixed | Precision::Fp16 | Precision::Bf16 => 0.0,
            _ => 0.005,
        };
        assert!(got >= native - lost, "{name} in {precision}: {got} of {native}");
    }
}

/// Whether a module computes in half precision, and takes what it took.
fn in_half(name: &str, module: &InferenceModule) {
    let report = module.precision_report().expect("a precision was asked for");
    let half = report.layers.iter().filter(|layer| layer.precision == "f16").count();
    assert!(half > 8, "{name}: {report}");
    let signature = module.signature();
    assert!(signature.inputs.iter().chain(&signature.outputs).all(|t| t.dtype == DType::F32));
}

#[test]
fn digits_of_both_frameworks_keep_their_accuracy() {
    if !has_ort("digits") {
        return;
    }
    let (training, test) = data::load();
    let options = OptimizeOptions::new().dynamic_batch(1..=512);
    let one = test.select(&[0]);

    let net = burn_net::train(&training, 42, 5);
    let example = burn_net::tensor(&one.images, &Device::flex());
    let graph = BurnGraph::capture(&net, &example, burn_net::Net::forward, &options).unwrap();
    let plain = graph.to_onnx(Target::tensorrt()).unwrap();
    digits_keep_their_accuracy("digits of Burn", &plain, &training, &test);
    // The call that a user makes.
    let half = options.clone().registry(Registry::empty().with(Ort)).precision(Precision::Fp16);
    let fast = net.optimize_trt_with(example, burn_net::Net::forward, &half).unwrap();
    in_half("Burn", fast.inference());
    // One option has the precision chosen, for both frameworks.
    let samples = images(&test.select(&(0..16).collect::<Vec<_>>()));
    let auto = options.clone().registry(Registry::empty().with(Ort));
    let auto = auto.auto_precision(Auto::new(0.01), [vec![samples]]);
    let example = burn_net::tensor(&one.images, &Device::flex());
    let fast = net.optimize_trt_with(example, burn_net::Net::forward, &auto).unwrap();
    chosen("Burn", fast.inference());

    let (_, net) = candle_net::train(&training, 42, 5).unwrap();
    let example = candle_net::tensor(&one.images).unwrap();
    let plain = Trace::of(&net, &example, &options).unwrap().to_onnx(Target::tensorrt()).unwrap();
    digits_keep_their_accuracy("digits of Candle", &plain, &training, &test);
    let fast = net.optimize_trt_with(&example, &half).unwrap();
    in_half("Candle", fast.inference());
    let fast = net.optimize_trt_with(&example, &auto).unwrap();
    chosen("Candle", fast.inference());
}

/// Without a GPU the first precision that loses little enough is chosen. The samples give ranges too.
fn chosen(name: &str, module: &InferenceModule) {
    let report = module.report();
    let half = report.tried.iter().find(|tried| tried.chosen).expect("one is chosen");
    assert_eq!(half.precision, Precision::Fp16, "{name}: {report}");
    let int8 = report.tried.iter().find(|tried| tried.precision == Precision::Int8);
    let error = int8.expect("it is tried").error.clone().unwrap_or_default();
    assert!(!error.contains("calibration"), "{name}: {error}");
    assert_eq!(module.precision_report().expect("it has one").precision, Precision::Fp16);
}
