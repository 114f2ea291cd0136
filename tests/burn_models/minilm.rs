//! A trained sentence encoder: its embeddings of real sentences against those of PyTorch, natively and
//! on every target.

use accelerant::Registry;
use accelerant::burn::{BurnGraph, OptimizeTrt};
use accelerant::{BackendKind, Dim, OptimizeOptions};
use burn::tensor::{Int, Tensor};

use crate::common::{self, to_f64};
use crate::models::bert::Bert;
use crate::models::minilm::{encode, load, tokenizer};
use crate::{device, host};

/// How `data/minilm_reference.py` wrote it.
const REFERENCE: &str = include_str!("../data/minilm_reference.json");

struct Row {
    sentence: String,
    tokens: Vec<i64>,
    embedding: Vec<f64>,
}

fn reference() -> Vec<Row> {
    let rows: serde_json::Value = serde_json::from_str(REFERENCE).expect("JSON");
    let row = |row: &serde_json::Value| Row {
        sentence: row["sentence"].as_str().expect("a text").to_owned(),
        tokens: serde_json::from_value(row["tokens"].clone()).expect("numbers"),
        embedding: serde_json::from_value(row["embedding"].clone()).expect("numbers"),
    };
    rows.as_array().expect("a list").iter().map(row).collect()
}

/// Checks the embeddings `[batch, width]` of sentences, one after the other.
fn check(place: &str, rows: &[&Row], got: &[f64]) {
    let width = rows[0].embedding.len();
    assert_eq!(got.len(), rows.len() * width, "{place}");
    for (row, got) in rows.iter().zip(got.chunks_exact(width)) {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let expected = &row.embedding;
        let cosine = dot(got, expected) / (dot(got, got) * dot(expected, expected)).sqrt();
        assert!(cosine >= 0.9999, "{place}: cosine {cosine} for {:?}", row.sentence);
    }
}

type Sentences = (Tensor<2, Int>, Tensor<2, Int>);

fn embed(model: &Bert, (tokens, mask): Sentences) -> Tensor<2> {
    model.embed(tokens, mask)
}

#[test]
fn embeddings_agree_with_pytorch() {
    let folder = match common::minilm::folder() {
        Ok(folder) => folder,
        Err(reason) => return common::skipped("embeddings_agree_with_pytorch", reason),
    };
    let (model, tokenizer) = (load(&folder, &device()), tokenizer(&folder));
    let rows = reference();
    for row in &rows {
        let (tokens, _) = encode(&tokenizer, &[&row.sentence], &device());
        let tokens: Vec<i64> = tokens.into_data().iter().collect();
        assert_eq!(tokens, row.tokens, "{:?}", row.sentence);
    }
    // One sentence alone, two of about the same length, and all, of which most are padded.
    let batches: [Vec<&Row>; 3] = [vec![&rows[2]], vec![&rows[0], &rows[1]], rows.iter().collect()];
    let inputs = batches.each_ref().map(|rows| {
        let sentences: Vec<&str> = rows.iter().map(|row| row.sentence.as_str()).collect();
        encode(&tokenizer, &sentences, &device())
    });
    for (rows, input) in batches.iter().zip(&inputs) {
        check("Burn", rows, &to_f64(&host(embed(&model, input.clone()))[0]));
    }

    let length = Dim::dynamic("length", 1..=128).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_batch(1..=8);
    let options = options.dynamic_axis(0, 1, length.clone()).dynamic_axis(1, 1, length);
    let graph = BurnGraph::capture(&model, &inputs[2], embed, &options).expect("it is captured");
    for backend in Registry::default().backends() {
        let kinds = [common::portable(), BackendKind::TensorRtRtx];
        if !kinds.contains(&backend.kind()) {
            continue;
        }
        let place = backend.kind().to_string();
        let onnx = graph.to_onnx(backend.target()).unwrap_or_else(|e| panic!("{place}: {e}"));
        let engine = backend.build(&onnx).unwrap_or_else(|e| panic!("{place}: {e}"));
        if !common::runs("embeddings_agree_with_pytorch", backend.as_ref()) {
            continue;
        }
        let executable = backend.load(&engine).unwrap_or_else(|e| panic!("{place}: {e}"));
        for (rows, input) in batches.iter().zip(&inputs) {
            let outputs = executable.run(&host(input.clone()));
            let outputs = outputs.unwrap_or_else(|e| panic!("{place}: {e}"));
            check(&place, rows, &to_f64(&outputs[0]));
        }
    }

    // The call that a user makes.
    let fast = model.optimize_trt_with(inputs[2].clone(), embed, &options).expect("it compiles");
    for (rows, input) in batches.iter().zip(&inputs) {
        let embeddings: Tensor<2> = fast.forward(input.clone());
        check("optimize_trt", rows, &to_f64(&host(embeddings)[0]));
    }
}
