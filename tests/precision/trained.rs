//! Trained models in every precision: the digits of both frameworks by their accuracy, and the sentence encoder
//! all-MiniLM-L6-v2 by its embeddings of real sentences.

use accelerant::backend::{Registry, ort::Ort};
use accelerant::burn::{BurnGraph, OptimizeTrt as _};
use accelerant::candle::{OptimizeTrt as _, Trace};
use accelerant::export::{OnnxModel, Target};
use accelerant::precision::{Calibration, Method, Precision, PrecisionOptions};
use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions};
use burn::tensor::{Device, Int, Tensor};

use crate::common::{self, to_f64};
use crate::data::{self, Digits};
use crate::models::minilm::{encode, load, tokenizer};
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
fn all(plain: &OnnxModel, samples: Vec<Vec<HostTensor>>) -> Vec<(Precision, OnnxModel)> {
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
    let options = OptimizeOptions::new().dynamic_batch(1..=512).unwrap();
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

    let (_, net) = candle_net::train(&training, 42, 5).unwrap();
    let example = candle_net::tensor(&one.images).unwrap();
    let plain = Trace::of(&net, &example, &options).unwrap().to_onnx(Target::tensorrt()).unwrap();
    digits_keep_their_accuracy("digits of Candle", &plain, &training, &test);
    let fast = net.optimize_trt_with(&example, &half).unwrap();
    in_half("Candle", fast.inference());
}

/// Sentences of several subjects, some near to each other.
const SENTENCES: [&str; 12] = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing the violin on a crowded square in the old town.",
    "Two men pushed carts through the woods.",
    "A monkey is playing drums.",
    "The new movie is awesome, although the second half is far too long for a child.",
    "The cat sits outside.",
    "The compiler refused the program, because a reference outlived the value it pointed to.",
    "Interest rates rose by half a point last week.",
    "The central bank raised its rates again.",
];

/// What the ranges are measured on, none of which is looked at afterwards.
const SAMPLES: [&str; 12] = [
    "A dog runs after a ball in the park.",
    "She sold seven tickets for the concert.",
    "How do I sort a list of numbers without copying it?",
    "The train to Lisbon leaves at a quarter past nine, from the platform behind the station.",
    "Rain is expected in the north, with strong winds along the coast.",
    "He has never been to the theatre.",
    "Water boils at a lower temperature on a mountain.",
    "The committee postponed its decision until the next meeting in the autumn.",
    "Two children are building a castle of sand.",
    "This restaurant is closed on Mondays.",
    "The patient was given antibiotics and sent home.",
    "Yes.",
];

/// The cosines between all sentences.
fn similarities(embeddings: &[Vec<f64>]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let pairs = (0..embeddings.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.map(|(i, j)| dot(&embeddings[i], &embeddings[j])).collect()
}

#[test]
fn embeddings_of_sentences_keep_their_meaning() {
    let test = "embeddings_of_sentences_keep_their_meaning";
    let folder = match common::minilm::folder() {
        Ok(folder) if has_ort(test) => folder,
        Ok(_) => return,
        Err(reason) => return common::skipped(test, reason),
    };
    let device = Device::flex();
    let (model, tokenizer) = (load(&folder, &device), tokenizer(&folder));
    let length = Dim::dynamic("length", 1..=64).unwrap();
    let options = OptimizeOptions::new().dynamic_batch(1..=16).unwrap();
    let options = options.dynamic_axis(0, 1, length.clone()).dynamic_axis(1, 1, length);
    let example = encode(&tokenizer, &SENTENCES[..2], &device);
    let embed = |model: &crate::models::bert::Bert,
                 (tokens, mask): (Tensor<2, Int>, Tensor<2, Int>)| {
        model.embed(tokens, mask)
    };
    let graph = BurnGraph::capture(&model, &example, embed, &options).unwrap();
    let plain = graph.to_onnx(Target::tensorrt()).unwrap();
    let inputs = |sentences: &[&str]| -> Vec<HostTensor> {
        let (tokens, mask) = encode(&tokenizer, sentences, &device);
        let host = |tensor: Tensor<2, Int>| {
            let dims = tensor.dims();
            let types = plain.signature().inputs[0].dtype;
            let values: Vec<i64> = tensor.into_data().iter().collect();
            match types {
                DType::I64 => HostTensor::from_vec(dims, values).unwrap(),
                _ => {
                    let values = values.into_iter().map(|v| v as i32).collect();
                    HostTensor::from_vec(dims, values).unwrap()
                }
            }
        };
        vec![host(tokens), host(mask)]
    };
    let samples = SAMPLES.chunks(4).map(inputs).collect();
    // One alone, two of one length, and all, of which most are padded.
    let batches = [inputs(&SENTENCES[9..10]), inputs(&SENTENCES[..2]), inputs(&SENTENCES)];
    let embeddings = |model: &OnnxModel| -> Vec<Vec<f64>> {
        let all = batches.iter().flat_map(|batch| to_f64(&run(test, model, batch)[0]));
        all.collect::<Vec<_>>().chunks_exact(384).map(<[f64]>::to_vec).collect()
    };
    let expected = embeddings(&plain);
    let order = similarities(&expected[3..]);
    for (precision, model) in all(&plain, samples) {
        let got = embeddings(&model);
        let cosine = |(a, b): (&Vec<f64>, &Vec<f64>)| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let least = got.iter().zip(&expected).map(cosine).fold(1.0, f64::min);
        let report = model.precision_report().unwrap();
        let plan = Plan::of(test, &model);
        let size = plan.size;
        eprintln!("MiniLM in {precision}: cosine {least:.6}, plan of {size} bytes");
        let few = report.layers.iter().filter(|layer| layer.precision.ends_with(['4', '8']));
        let few = few.count();
        let expected_few = match precision {
            Precision::Mixed | Precision::Fp16 | Precision::Bf16 => few == 0,
            // Others have activations whose few large values leave no steps for all else.
            Precision::Int8 => few >= 20,
            _ => few == 36,
        };
        assert!(expected_few, "{precision}: {few} quantized\n{report}");
        let (wanted, slack) = match precision {
            Precision::Mixed | Precision::Fp16 => (0.9999, 1e-3),
            Precision::Bf16 => (0.999, 1e-2),
            // Four bits that are rounded to the nearest lose more in a model as narrow as this one.
            Precision::Int4Weights => (0.93, 0.12),
            _ => (0.99, 3e-2),
        };
        assert!(least >= wanted, "{precision}: {least}\n{report}");
        let got = similarities(&got[3..]);
        for (i, (a, x)) in order.iter().zip(&got).enumerate() {
            for (b, y) in order[..i].iter().zip(&got) {
                assert!(a - b < slack || x > y, "{precision}: {a} > {b}, but {x} <= {y}");
            }
        }
        // One of each layer for every kind of sizes that the plan tells apart.
        let attentions = plan.attentions();
        assert!(attentions > 0 && attentions.is_multiple_of(6), "{precision}: {attentions}");
    }
}
