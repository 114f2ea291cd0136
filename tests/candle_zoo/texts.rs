//! Encoders of texts.

use accelerant::OptimizeOptions;
use accelerant::candle::OptimizeTrt;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models as reference;

use crate::common;
use crate::harness::{agree, exported, length, tokens, weights};
use crate::models::bert::{self, Bert, SentenceEncoder};
use crate::models::distilbert::DistilBert;

/// Tokens, their types, and a mask whose last place is padding.
fn texts(config: &bert::Config, batch: usize, length: usize, seed: u64) -> Vec<Tensor> {
    let ids = tokens(&[batch, length], config.vocabulary, seed);
    let types = tokens(&[batch, length], 2, seed + 1);
    let mut mask = vec![1u32; batch * length];
    if length > 1 {
        mask[batch * length - 1] = 0;
    }
    vec![ids, types, Tensor::from_vec(mask, (batch, length), &Device::Cpu).unwrap()]
}

#[test]
fn bert_agrees_with_candle_transformers() {
    let config = bert::Config {
        vocabulary: 100,
        hidden: 48,
        layers: 3,
        heads: 4,
        intermediate: 80,
        positions: 64,
    };
    let ours = Bert::new(&config, weights()).unwrap();
    let theirs = reference::bert::Config {
        vocab_size: config.vocabulary,
        hidden_size: config.hidden,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        intermediate_size: config.intermediate,
        max_position_embeddings: config.positions,
        model_type: None,
        ..Default::default()
    };
    let theirs = reference::bert::BertModel::load(weights(), &theirs).unwrap();
    let native = |x: &[Tensor]| vec![ours.forward(&x[0], &x[1], &x[2]).unwrap()];
    let x = texts(&config, 2, 9, 1);
    agree("BERT", &native(&x)[0], &theirs.forward(&x[0], &x[1], Some(&x[2])).unwrap());
    exported("BERT", &ours, native, &OptimizeOptions::new(), &[x]);

    let mut options = OptimizeOptions::new().dynamic_batch(1..=4);
    for input in ["ids", "types", "mask"] {
        options = options.dynamic_axis(input, 1, length(1..=64));
    }
    let inputs = [(2, 9), (1, 1), (4, 64), (3, 17)]
        .map(|(batch, length)| texts(&config, batch, length, 7 + length as u64));
    exported("BERT, dynamic batch and length", &ours, native, &options, &inputs);
}

#[test]
fn trained_sentence_embeddings_agree_with_pytorch() {
    let folder = match common::minilm::folder() {
        Ok(folder) => folder,
        Err(reason) => {
            return common::skipped("trained_sentence_embeddings_agree_with_pytorch", reason);
        }
    };
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let vb = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    let net = SentenceEncoder(Bert::new(&bert::Config::MINILM, vb).unwrap());
    // How `data/minilm_reference.py` wrote it.
    let rows: serde_json::Value =
        serde_json::from_str(include_str!("../data/minilm_reference.json")).unwrap();
    let rows: Vec<(Vec<u32>, Vec<f64>)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let read = |name: &str| row[name].clone();
            (
                serde_json::from_value(read("tokens")).unwrap(),
                serde_json::from_value(read("embedding")).unwrap(),
            )
        })
        .collect();
    // As one batch, padded to the longest.
    let longest = rows.iter().map(|(tokens, _)| tokens.len()).max().unwrap();
    let mut ids = Vec::new();
    for (tokens, _) in &rows {
        ids.extend(tokens.iter().copied().chain(std::iter::repeat(0)).take(longest));
    }
    let ids = Tensor::from_vec(ids, (rows.len(), longest), &Device::Cpu).unwrap();
    let mask = ids.ne(0u32).unwrap().to_dtype(DType::U32).unwrap();
    let first = (
        ids.narrow(0, 0, 1).unwrap().narrow(1, 0, rows[0].0.len()).unwrap(),
        mask.narrow(0, 0, 1).unwrap().narrow(1, 0, rows[0].0.len()).unwrap(),
    );

    let check = |place: &str, got: &Tensor| {
        for (got, (_, expected)) in got.to_vec2::<f32>().unwrap().iter().zip(&rows) {
            assert_eq!(got.len(), expected.len(), "{place}");
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let got: Vec<f64> = got.iter().map(|&x| f64::from(x)).collect();
            let cosine = dot(&got, expected) / (dot(&got, &got) * dot(expected, expected)).sqrt();
            assert!(cosine >= 0.9999, "{place}: cosine {cosine}");
        }
    };
    check("candle", &net.forward(&ids, &mask).unwrap());
    check("candle, one", &net.forward(&first.0, &first.1).unwrap());
    let options = OptimizeOptions::new()
        .dynamic_batch(1..=8)
        .dynamic_axis("ids", 1, length(1..=128))
        .dynamic_axis("mask", 1, length(1..=128));
    let fast = net.optimize_trt_with((&ids, &mask), &options).unwrap();
    check("optimize_trt", &fast.run((&ids, &mask)).unwrap()[0]);
    check("optimize_trt, one", &fast.run((&first.0, &first.1)).unwrap()[0]);
    exported(
        "MiniLM",
        &net,
        |x| vec![net.forward(&x[0], &x[1]).unwrap()],
        &options,
        &[vec![ids.clone(), mask.clone()], vec![first.0.clone(), first.1.clone()]],
    );
}

#[test]
fn distilbert_agrees_with_candle_transformers() {
    let config = bert::Config {
        vocabulary: 100,
        hidden: 48,
        layers: 3,
        heads: 4,
        intermediate: 80,
        positions: 64,
    };
    let ours = DistilBert::new(&config, weights()).unwrap();
    let theirs = serde_json::json!({
        "vocab_size": config.vocabulary,
        "dim": config.hidden,
        "n_layers": config.layers,
        "n_heads": config.heads,
        "hidden_dim": config.intermediate,
        "activation": "gelu",
        "max_position_embeddings": config.positions,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    });
    let theirs: reference::distilbert::Config = serde_json::from_value(theirs).unwrap();
    let theirs = reference::distilbert::DistilBertModel::load(weights(), &theirs).unwrap();
    let native = |x: &[Tensor]| vec![ours.forward(&x[0], &x[1]).unwrap()];
    let inputs = |batch, length| {
        let mut x = texts(&config, batch, length, 7 + length as u64);
        x.remove(1);
        x
    };
    let x = inputs(2, 9);
    // Theirs says where padding is, ours where it is not.
    let padding = x[1].eq(0u32).unwrap().reshape((2, 1, 1, 9)).unwrap();
    agree("DistilBERT", &native(&x)[0], &theirs.forward(&x[0], &padding).unwrap());
    exported("DistilBERT", &ours, native, &OptimizeOptions::new(), &[x]);

    let options = OptimizeOptions::new()
        .dynamic_batch(1..=4)
        .dynamic_axis("ids", 1, length(1..=64))
        .dynamic_axis("mask", 1, length(1..=64));
    let inputs = [inputs(2, 9), inputs(1, 1), inputs(4, 64), inputs(3, 17)];
    exported("DistilBERT, dynamic batch and length", &ours, native, &options, &inputs);
}
