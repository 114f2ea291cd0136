//! The sentence encoder all-MiniLM-L6-v2 in every precision, by its embeddings of real sentences.

use accelerant::Registry;
use accelerant::backend::ort::Ort;
use accelerant::burn::BurnGraph;
use accelerant::export::{OnnxModel, Target};
use accelerant::precision::{Calibration, Method, Moments, Precision, PrecisionOptions, Search};
use accelerant::{DType, Dim, HostTensor, OptimizeOptions};
use burn::tensor::{Device, Int, Tensor};
use tokenizers::Tokenizer;

use crate::common::{self, minilm, to_f64};
use crate::models::bert::Bert;
use crate::models::minilm::{encode, load, tokenizer};
use crate::plan::Plan;
use crate::runs::{has_ort, run_each};
use crate::trained::all;

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

/// What is measured on, none of which is looked at afterwards: ranges on the first twelve, moments on all.
const SAMPLES: [&str; 60] = [
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
    "A boy is kicking a ball against the wall.",
    "The woman is cutting onions in the kitchen.",
    "Three friends are walking along the beach at sunset.",
    "An old man is reading a newspaper on a bench.",
    "The children are playing chess in the garden.",
    "A dog is sleeping on the sofa.",
    "Someone is playing the guitar in the street.",
    "The horse jumped over the fence and ran into the field.",
    "A cat is watching birds through the window.",
    "The baby laughs at the small brown bear.",
    "Two women are dancing on a stage.",
    "A cook is preparing fish with lemon and rice.",
    "The film was boring, and the actors were worse.",
    "I loved the book, but its ending came too soon.",
    "This phone has a good camera and a poor battery.",
    "The hotel was clean, and its staff were very friendly.",
    "The program crashed because it ran out of memory.",
    "How can I read a file line by line?",
    "The function returns an error when the list is empty.",
    "What is the difference between a thread and a process?",
    "The server answered after three seconds.",
    "You need to install the driver before you start the machine.",
    "The government announced new taxes on fuel.",
    "Shares fell sharply after the company cut its forecast.",
    "Unemployment dropped to its lowest level in ten years.",
    "The bank lent money to small firms in the region.",
    "Prices of houses have doubled since last summer.",
    "The president met leaders of four countries on Tuesday.",
    "Our team won the match in the last minute.",
    "She broke the record for the hundred metres.",
    "The river flooded several villages after heavy snow.",
    "A strong earthquake shook the island early in the morning.",
    "Scientists discovered a new planet outside the solar system.",
    "Plants turn light into sugar.",
    "The doctor told him to drink less coffee.",
    "The vaccine protects against most forms of the disease.",
    "My sister studies medicine in Berlin.",
    "He forgot his keys at the office again.",
    "We are going to the mountains next weekend.",
    "Could you send me the report by Friday?",
    "The museum opens at ten and closes at six.",
    "There is a good bakery around the corner.",
    "The bus was late, so they missed the beginning of the play.",
    "An engineer repaired the bridge during the night.",
    "The farmer drives his tractor through the wheat.",
    "A train carrying coal stopped in the tunnel.",
    "The king lived in a castle above the lake.",
    "No.",
];

/// The cosines between all sentences.
fn similarities(embeddings: &[Vec<f64>]) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let pairs = (0..embeddings.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.map(|(i, j)| dot(&embeddings[i], &embeddings[j])).collect()
}

/// Which pairs of sentences are more alike than others stays, but where they were as alike within `slack`.
fn in_order(name: &str, got: &[Vec<f64>], expected: &[Vec<f64>], slack: f64) {
    let [order, got] = [expected, got].map(|embeddings| similarities(&embeddings[3..]));
    for (i, (a, x)) in order.iter().zip(&got).enumerate() {
        for (b, y) in order[..i].iter().zip(&got) {
            assert!(a - b < slack || x > y, "{name}: {a} > {b}, but {x} <= {y}");
        }
    }
}

/// The least cosine between embeddings.
fn least_cosine(got: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let cosine = |(a, b): (&Vec<f64>, &Vec<f64>)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    got.iter().zip(expected).map(cosine).fold(1.0, f64::min)
}

/// The encoder with its real weights, exported from Burn for any number of sentences of any length.
struct Encoder {
    plain: OnnxModel,
    tokenizer: Tokenizer,
    device: Device,
}

impl Encoder {
    /// None where its files or ONNX Runtime are missing, which is told.
    fn load(test: &str) -> Option<Self> {
        let folder = match minilm::folder() {
            Ok(folder) if has_ort(test) => folder,
            Ok(_) => return None,
            Err(reason) => {
                common::skipped(test, reason);
                return None;
            }
        };
        let device = Device::flex();
        let (model, tokenizer) = (load(&folder, &device), tokenizer(&folder));
        let length = Dim::dynamic("length", 1..=64).unwrap();
        let options = OptimizeOptions::new().dynamic_batch(1..=16);
        let options = options.dynamic_axis(0, 1, length.clone()).dynamic_axis(1, 1, length);
        let example = encode(&tokenizer, &SENTENCES[..2], &device);
        let embed = |model: &Bert, (tokens, mask): (Tensor<2, Int>, Tensor<2, Int>)| {
            model.embed(tokens, mask)
        };
        let graph = BurnGraph::capture(&model, &example, embed, &options).unwrap();
        let plain = graph.to_onnx(Target::tensorrt()).unwrap();
        Some(Self { plain, tokenizer, device })
    }

    fn inputs(&self, sentences: &[&str]) -> Vec<HostTensor> {
        let (tokens, mask) = encode(&self.tokenizer, sentences, &self.device);
        let host = |tensor: Tensor<2, Int>| {
            let dims = tensor.dims();
            let values: Vec<i64> = tensor.into_data().iter().collect();
            match self.plain.signature().inputs[0].dtype {
                DType::I64 => HostTensor::from_vec(dims, values).unwrap(),
                _ => {
                    let values = values.into_iter().map(|v| v as i32).collect();
                    HostTensor::from_vec(dims, values).unwrap()
                }
            }
        };
        vec![host(tokens), host(mask)]
    }

    /// Of one sentence alone, two of one length, and all, of which most are padded.
    fn embeddings(&self, model: &OnnxModel) -> Vec<Vec<f64>> {
        let batches =
            [&SENTENCES[9..10], &SENTENCES[..2], &SENTENCES].map(|part| self.inputs(part));
        let all = run_each("MiniLM", model, &batches);
        let all = all.iter().flat_map(|outputs| to_f64(&outputs[0]));
        all.collect::<Vec<_>>().chunks_exact(384).map(<[f64]>::to_vec).collect()
    }
}

#[test]
fn embeddings_of_sentences_keep_their_meaning() {
    let test = "embeddings_of_sentences_keep_their_meaning";
    let Some(encoder) = Encoder::load(test) else { return };
    let samples = SAMPLES[..12].chunks(4).map(|part| encoder.inputs(part)).collect();
    let expected = encoder.embeddings(&encoder.plain);
    for (precision, model) in all(&encoder.plain, samples) {
        let got = encoder.embeddings(&model);
        let least = least_cosine(&got, &expected);
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
        in_order(&precision.to_string(), &got, &expected, slack);
        // One of each layer for every kind of sizes that the plan tells apart.
        let attentions = plan.attentions();
        assert!(attentions > 0 && attentions.is_multiple_of(6), "{precision}: {attentions}");
    }
}

/// Errors that make up for each other, blocks of 16, and the layers that lose most in half precision.
#[test]
fn embeddings_keep_their_meaning_in_4_bits_that_samples_chose() {
    let test = "embeddings_keep_their_meaning_in_4_bits_that_samples_chose";
    let Some(encoder) = Encoder::load(test) else { return };
    let (plain, target) = (&encoder.plain, Target::tensorrt());
    let registry = Registry::empty().with(Ort);
    // Each alone: what is padded would count as well.
    let each = SAMPLES.chunks(1).map(|sentence| encoder.inputs(sentence));
    let moments = Moments::measure(plain, &registry, each).unwrap();
    assert!(moments.names().all(|name| moments.rows(name) > Some(600)), "{moments:?}");
    let moments = std::sync::Arc::new(moments);
    let expected = encoder.embeddings(plain);
    let samples = || SAMPLES.chunks(12).map(|part| encoder.inputs(part));
    let told = |what: &str, model: &OnnxModel| -> f64 {
        let least = least_cosine(&encoder.embeddings(model), &expected);
        let plan = Plan::of(test, model);
        eprintln!("MiniLM {what}: cosine {least:.5}, plan of {} bytes", plan.size);
        least
    };
    for (block, wanted) in [(128, 0.975), (32, 0.975), (16, 0.985)] {
        let asked = PrecisionOptions::new(Precision::Int4Weights).block(block);
        let nearest = plain.with_precision(target, asked.clone()).unwrap();
        // Only the codes differ, so that TensorRT-RTX would build the same plan.
        let nearest = least_cosine(&encoder.embeddings(&nearest), &expected);
        let model = plain.with_precision(target, asked.moments(moments.clone())).unwrap();
        let least = told(&format!("in blocks of {block}, compensated"), &model);
        assert!(least > wanted && least > nearest, "{block}: {least}, {nearest} without moments");
    }
    let ranges = Calibration::new(Method::Mse).run(plain, &registry, samples()).unwrap();
    let asked = PrecisionOptions::new(Precision::Int8).ranges(ranges);
    let uneven = plain.with_precision(target, asked.clone()).unwrap();
    let even = plain.with_precision(target, asked.moments(moments.clone()).smooth(0.5)).unwrap();
    let lost = |what: &str, model: &OnnxModel| 1.0 - told(&format!("in int8, {what}"), model);
    let [uneven_lost, even_lost] = [lost("uneven", &uneven), lost("evened out", &even)];
    let few = |model: &OnnxModel| {
        let report = model.precision_report().unwrap();
        report.layers.iter().filter(|layer| layer.is_quantized()).count()
    };
    assert!(even_lost < 0.5 * uneven_lost, "{even_lost} of {uneven_lost}");
    assert!(few(&even) > few(&uneven), "{} layers and {}", few(&even), few(&uneven));
    eprintln!("{} and {} of 36 layers are in int8", few(&uneven), few(&even));
    let samples: Vec<_> = samples().collect();
    let asked = PrecisionOptions::new(Precision::Int4Weights).block(16).moments(moments);
    let (options, found) =
        Search::new(asked, 0.007).run(plain, target, &registry, &samples).unwrap();
    let model = plain.with_precision(target, options).unwrap();
    let kept = found.in_half().count();
    let least = told(&format!("in blocks of 16, compensated, {kept} layers in half"), &model);
    assert!(least >= 0.99 && (1..=9).contains(&kept), "{least}: {found}");
    in_order("the chosen layers", &encoder.embeddings(&model), &expected, 3e-2);
}
