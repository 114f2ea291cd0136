//! Decoders, whose state goes in and comes out.

use accelerant::candle::{CandleModule, Examples, OptimizeTrt};
use accelerant::{Dim, OptimizeOptions};
use candle_core::{DType, Device, Tensor};
use candle_transformers::models as reference;

use crate::common;
use crate::harness::{agree, exported, host, length, tokens, tolerance, weights};
use crate::models::llama::{self, Llama};

#[test]
fn llama_agrees_with_candle_transformers_in_prefill_and_in_steps() {
    let config = llama::Config {
        vocabulary: 90,
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        intermediate: 96,
        positions: 64,
        theta: 10_000.0,
    };
    let net = Llama::new(&config, weights()).unwrap();
    let theirs = reference::llama::Config {
        hidden_size: config.hidden,
        intermediate_size: config.intermediate,
        vocab_size: config.vocabulary,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kv_heads,
        use_flash_attn: false,
        rms_norm_eps: 1e-5,
        rope_theta: config.theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: config.positions,
        tie_word_embeddings: false,
    };
    let mut cache = reference::llama::Cache::new(true, DType::F32, &theirs, &Device::Cpu).unwrap();
    let theirs = reference::llama::Llama::load(weights(), &theirs).unwrap();
    let from = |start: usize, count: usize| {
        Tensor::arange(start as u32, (start + count) as u32, &Device::Cpu).unwrap()
    };
    let ids = tokens(&[2, 7], config.vocabulary, 1);
    let native = |x: &[Tensor]| {
        let (scores, caches) = net.forward(&x[0], &x[1], &x[2..]).unwrap();
        [vec![scores], caches].concat()
    };
    let prefill = vec![ids.clone(), from(0, 7)];
    let mut outputs = native(&prefill);
    agree("prefill", &outputs[0], &theirs.forward(&ids, 0, &mut cache).unwrap());

    // Any length at first.
    let options = OptimizeOptions::new()
        .dynamic_axis("ids", 0, Dim::dynamic("batch", 1..=4).unwrap())
        .dynamic_axis("ids", 1, length(1..=32))
        .dynamic_axis("positions", 0, length(1..=32));
    let short = vec![tokens(&[1, 3], config.vocabulary, 2), from(0, 3)];
    let long = vec![tokens(&[4, 32], config.vocabulary, 3), from(0, 32)];
    exported("Llama, prefill", &net, native, &options, &[prefill, short, long]);

    // Then one token at a time, what was computed before coming in and going out.
    let past = Dim::dynamic("past", 1..=63).unwrap();
    let mut options = OptimizeOptions::new();
    for i in 0..2 * config.layers {
        options = options.dynamic_axis(2 + i, 2, past.clone());
    }
    let mut steps: Vec<Vec<Tensor>> = Vec::new();
    let mut fast: Option<CandleModule> = None;
    for step in 7..11 {
        let id = tokens(&[2, 1], config.vocabulary, step as u64);
        let inputs = [vec![id.clone(), from(step, 1)], outputs.split_off(1)].concat();
        let expected = theirs.forward(&id, step, &mut cache).unwrap();
        let model = fast.get_or_insert_with(|| {
            net.optimize_trt_with(Examples::from(&inputs[..]), &options).unwrap()
        });
        let signature = model.inference().signature();
        assert_eq!(signature.inputs[2].to_string(), "cache_0: f32 [2, 2, past, 16]");
        // What it gave last time goes in again.
        outputs = model.run(Examples::from(&inputs[..])).unwrap();
        let (got, wanted) = (host(&outputs[0]), host(&expected));
        common::assert_close(
            &format!("step {step}"),
            &got,
            &wanted,
            tolerance(model.backend(), &wanted),
        );
        // Natively, but on the state that the backend gave.
        let (got, wanted) = (host(&native(&inputs)[0]), host(&expected));
        let place = format!("step {step}, natively");
        common::assert_close(&place, &got, &wanted, tolerance(model.backend(), &wanted));
        steps.push(inputs);
    }
    exported("Llama, steps", &net, native, &options, &steps);
}
