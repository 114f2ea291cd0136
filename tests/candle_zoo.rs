//! Whole Candle networks under `#[accelerant::trace]`: natively against candle-transformers on the
//! same weights, and exported against the native result, through every consumer. The networks are
//! in `examples/candle_models`.

#![cfg(all(feature = "candle", feature = "ort"))]

mod common;
#[path = "../examples/candle_models/mod.rs"]
mod models;

use std::hash::{DefaultHasher, Hash, Hasher};

use accelerant::candle::{CandleModule, Examples, OptimizeTrt, Trace, Traceable};
use accelerant::{BackendKind, Dim, HostTensor, OptimizeOptions};
use candle_core::{DType, Device, Module, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use candle_transformers::models as reference;
use common::{Sample, Tolerance, check_within, random, to_f64};
use models::bert::{self, Bert, SentenceEncoder};
use models::convnext::ConvNext;
use models::llama::{self, Llama};
use models::resnet::ResNet;
use models::vit::{self, Vit};

/// Weights that depend on their name and shape alone, so that two models have the same where they
/// call them the same. Kept at a size at which values neither grow nor vanish.
struct Weights;

impl SimpleBackend for Weights {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if name.contains("grn") {
            candle_core::bail!("the first version of ConvNeXt has no {name}")
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let (values, _) = random(shape.dims(), hasher.finish()).into_raw_vec_and_offset();
        let tensor = Tensor::from_vec(values, shape.clone(), device)?;
        let inputs = shape.dims().iter().skip(1).product::<usize>();
        let tensor = match () {
            () if name.ends_with("running_var") => tensor.affine(0.5, 1.5)?,
            () if name.ends_with("bias") || name.ends_with("mean") => tensor.affine(0.1, 0.0)?,
            () if shape.rank() == 1 => tensor.affine(0.2, 1.0)?,
            () if name.contains("embed") || name.contains("token") => tensor,
            () => tensor.affine((2.0 / inputs as f64).sqrt(), 0.0)?,
        };
        tensor.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("the shape of {name} is not known")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        false
    }
}

fn weights() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Weights), DType::F32, Device::Cpu)
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let (values, _) = random(shape, seed).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Tokens of a vocabulary, as u32.
fn tokens(shape: &[usize], vocabulary: usize, seed: u64) -> Tensor {
    let half = vocabulary as f64 / 2.0 - 0.01;
    tensor(shape, seed).affine(half, half).unwrap().to_dtype(DType::U32).unwrap()
}

/// As tensors travel: u32 as i64.
fn host(tensor: &Tensor) -> HostTensor {
    let flat = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::F32 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<f32>().unwrap()),
        _ => {
            let flat = flat.to_dtype(DType::I64).unwrap();
            HostTensor::from_vec(tensor.dims(), flat.to_vec1::<i64>().unwrap())
        }
    }
    .unwrap()
}

/// Relative to the largest value of the output: rounding adds up over dozens of layers.
fn tolerance(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    let scale = to_f64(expected).into_iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let part = if backend == BackendKind::Ort { 1e-4 } else { 2e-2 };
    Tolerance { absolute: part * scale, relative: 0.0 }
}

fn agree(place: &str, got: &Tensor, expected: &Tensor) {
    let (got, expected) = (host(got), host(expected));
    let values = to_f64(&expected);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let spread = values.iter().map(|x| (x - mean).abs()).sum::<f64>() / values.len() as f64;
    // Values that hardly differ would agree whatever the model did.
    assert!(spread > 0.01 * mean.abs() && spread > 1e-3, "{place}: spread {spread}");
    common::assert_close(place, &got, &expected, tolerance(BackendKind::Ort, &expected));
}

/// Exports with the sizes of the first inputs, and compares with the native results for all.
fn exported(
    name: &str,
    model: &impl Traceable,
    native: impl Fn(&[Tensor]) -> Vec<Tensor>,
    options: &OptimizeOptions,
    inputs: &[Vec<Tensor>],
) {
    let start = std::time::Instant::now();
    let trace = Trace::of(model, Examples::from(&inputs[0][..]), options);
    let trace = trace.unwrap_or_else(|e| panic!("{name}: {e}"));
    let sample = |inputs: &Vec<Tensor>| {
        let shapes: Vec<String> = inputs.iter().map(|x| format!("{:?}", x.dims())).collect();
        let expected = native(inputs).iter().map(host).collect();
        Sample { name: shapes.join(", "), inputs: inputs.iter().map(host).collect(), expected }
    };
    let samples: Vec<Sample> = inputs.iter().map(sample).collect();
    check_within(name, |consumer| trace.to_onnx(consumer), &samples, tolerance);
    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f64());
}

/// A model of pictures, with its size fixed and with a dynamic batch.
fn pictures<M: Module + Traceable>(name: &str, ours: &M, theirs: &impl Module, size: usize) {
    let shape = |batch| [batch, 3, size, size];
    let x = tensor(&shape(1), 1);
    let expected = theirs.forward(&x).unwrap();
    agree(&format!("{name}: candle-transformers"), &ours.forward(&x).unwrap(), &expected);
    let native = |inputs: &[Tensor]| vec![ours.forward(&inputs[0]).unwrap()];
    exported(name, ours, native, &OptimizeOptions::new(), &[vec![x]]);
    let options = OptimizeOptions::new().dynamic_batch(1..=3).unwrap();
    let inputs = [2, 1, 3].map(|batch| vec![tensor(&shape(batch), 1 + batch as u64)]);
    exported(&format!("{name}, dynamic batch"), ours, native, &options, &inputs);
}

#[test]
fn resnets_agree_with_candle_transformers() {
    let net = |layers| ResNet::new(layers, 10, weights()).unwrap();
    pictures("ResNet-18", &net(18), &reference::resnet::resnet18(10, weights()).unwrap(), 64);
    pictures("ResNet-50", &net(50), &reference::resnet::resnet50(10, weights()).unwrap(), 64);
    assert!(ResNet::new(51, 10, weights()).is_err());
    // The others differ in the number of blocks: natively only.
    let x = tensor(&[1, 3, 40, 40], 1);
    for (layers, theirs) in [
        (34, reference::resnet::resnet34(10, weights()).unwrap()),
        (101, reference::resnet::resnet101(10, weights()).unwrap()),
        (152, reference::resnet::resnet152(10, weights()).unwrap()),
    ] {
        let (got, expected) = (net(layers).forward(&x).unwrap(), theirs.forward(&x).unwrap());
        agree(&format!("ResNet-{layers}"), &got, &expected);
    }
}

#[test]
fn resnet_50_at_full_size() {
    let net = ResNet::new(50, 1000, weights()).unwrap();
    let x = tensor(&[1, 3, 224, 224], 1);
    let native = |inputs: &[Tensor]| vec![net.forward(&inputs[0]).unwrap()];
    exported("ResNet-50 at 224", &net, native, &OptimizeOptions::new(), &[vec![x]]);
}

#[test]
fn convnext_agrees_with_candle_transformers() {
    let ours = ConvNext::new([3, 3, 9, 3], [96, 192, 384, 768], 10, weights()).unwrap();
    let theirs =
        reference::convnext::convnext(&reference::convnext::Config::tiny(), 10, weights()).unwrap();
    pictures("ConvNeXt-tiny", &ours, &theirs, 64);
}

#[test]
fn vit_agrees_with_candle_transformers() {
    let ours = Vit::new(&vit::Config::BASE, 10, weights()).unwrap();
    let config = reference::vit::Config::vit_base_patch16_224();
    let theirs = reference::vit::Model::new(&config, 10, weights()).unwrap();
    let theirs = candle_nn::Func::new(move |xs| theirs.forward(xs));
    let x = tensor(&[1, 3, 224, 224], 1);
    agree("ViT-B/16", &ours.forward(&x).unwrap(), &theirs.forward(&x).unwrap());
    let native = |inputs: &[Tensor]| vec![ours.forward(&inputs[0]).unwrap()];
    exported("ViT-B/16", &ours, native, &OptimizeOptions::new(), &[vec![x]]);

    let sizes =
        vit::Config { hidden: 64, layers: 2, heads: 4, intermediate: 96, image: 32, patch: 8 };
    let small = Vit::new(&sizes, 10, weights()).unwrap();
    let native = |inputs: &[Tensor]| vec![small.forward(&inputs[0]).unwrap()];
    let options = OptimizeOptions::new().dynamic_batch(1..=4).unwrap();
    let inputs = [2, 1, 4].map(|batch| vec![tensor(&[batch, 3, 32, 32], batch as u64)]);
    exported("a small ViT, dynamic batch", &small, native, &options, &inputs);
}

fn length(range: std::ops::RangeInclusive<usize>) -> Dim {
    Dim::dynamic("length", range).unwrap()
}

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

    let mut options = OptimizeOptions::new().dynamic_batch(1..=4).unwrap();
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
        serde_json::from_str(include_str!("data/minilm_reference.json")).unwrap();
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
        .unwrap()
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
