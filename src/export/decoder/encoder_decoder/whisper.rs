//! Whisper (Radford et al., 2022): convolutions over features of sound, layer norms, and absolute positions.

use super::super::AttentionForm;
use super::super::attention::{Seen, Sight};
use super::super::ending::{give, of_last};
use super::EncoderDecoderFamily;
use super::layers::{Layers, Names};
use crate::error::Result;
use crate::export::graph::{Conv, Value};
use crate::spec::DType;
use crate::tensor::HostTensor;

fn names(layer: &str, attention: &str) -> Names {
    let name = |part: &str| format!("{layer}.{attention}.{part}_proj");
    Names { names: ["q", "k", "v", "out"].map(name), biases: [true, false, true, true] }
}

fn norm(layers: &Layers<'_>, x: &Value, name: &str) -> Result<Value> {
    let Layers { checkpoint, graph, config, .. } = layers;
    checkpoint.layer_norm(graph, x, name, config.hidden, config.norm_epsilon)
}

fn feed_forward(layers: &Layers<'_>, states: &Value, layer: &str) -> Result<Value> {
    let (hidden, inner) = (layers.config.hidden, layers.config.intermediate);
    let normed = norm(layers, states, &format!("{layer}.final_layer_norm"))?;
    let x = layers.linear(&normed, &format!("{layer}.fc1"), [inner, hidden], true)?.gelu()?;
    states.add(&layers.linear(&x, &format!("{layer}.fc2"), [hidden, inner], true)?)
}

/// Sines and cosines of positions, `[positions, hidden]`.
fn sinusoids(positions: usize, hidden: usize) -> Result<HostTensor> {
    let half = hidden / 2;
    let step = 10000f32.ln() / (half - 1) as f32;
    let angle = |at: usize, i: usize| at as f32 * (-step * i as f32).exp();
    let values = (0..positions).flat_map(|at| {
        let sines = (0..half).map(move |i| angle(at, i).sin());
        sines.chain((0..half).map(move |i| angle(at, i).cos()))
    });
    HostTensor::from_vec([positions, hidden], values.collect())
}

pub(super) fn encoder(layers: &Layers<'_>) -> Result<()> {
    let Layers { config, options, graph, checkpoint, .. } = layers;
    let EncoderDecoderFamily::Whisper { mel_bins, source_positions, .. } = config.family else {
        unreachable!("the caller chose Whisper");
    };
    let sizes = [options.batch, mel_bins, 2 * source_positions];
    let features = graph.input("features", DType::F32, sizes)?;
    let mut x = features.cast(options.dtype)?;
    for (name, channels, stride) in [("conv1", mel_bins, 1), ("conv2", config.hidden, 2)] {
        let name = format!("model.encoder.{name}");
        let weight = checkpoint.weight(&format!("{name}.weight"), &[config.hidden, channels, 3])?;
        let bias = checkpoint.weight(&format!("{name}.bias"), &[config.hidden])?;
        let weight = graph.constant(&format!("{name}.weight"), weight);
        let bias = graph.constant(&format!("{name}.bias"), bias);
        let conv =
            Conv { strides: vec![stride], padding: vec![(1, 1)], dilations: vec![1], groups: 1 };
        x = x.conv(&weight, Some(&bias), &conv)?.gelu()?;
    }
    let name = "model.encoder.embed_positions.weight";
    let positions = match checkpoint.weights.has(name) {
        true => checkpoint.weight(name, &[source_positions, config.hidden])?,
        false => sinusoids(source_positions, config.hidden)?.convert(options.dtype)?,
    };
    let mut states = x.transpose(&[0, 2, 1])?.add(&graph.constant("positions", positions))?;
    let heads = config.encoder_heads;
    let scale = 1.0 / (layers.head_size(heads) as f64).sqrt();
    for layer in 0..config.encoder_layers {
        let name = format!("model.encoder.layers.{layer}");
        let scope = graph.scope(&name);
        let own = names(&name, "self_attn");
        let normed = norm(layers, &states, &format!("{name}.self_attn_layer_norm"))?;
        let [q, k, v] = layers.all_projected(&normed, &own, heads)?;
        let mixed = layers.mixed([&q, &k, &v], None, &own, scale, AttentionForm::Whole)?;
        states = feed_forward(layers, &states.add(&mixed)?, &name)?;
        drop(scope);
    }
    let states = norm(layers, &states, "model.encoder.layer_norm")?;
    layers.give_sources(&states, |layer| {
        names(&format!("model.decoder.layers.{layer}"), "encoder_attn")
    })
}

pub(super) fn decoder(layers: &Layers<'_>) -> Result<()> {
    let Layers { config, options, graph, checkpoint, .. } = layers;
    let pass = layers.pass(false)?;
    let (capacity, heads) = (options.capacity, config.decoder_heads);
    let scale = 1.0 / (config.head_size as f64).sqrt();
    let sight =
        Sight::new(&pass.positions, &Seen::all(graph, capacity)?.places, None, 1, layers.scores())?;

    let name = "model.decoder.embed_tokens.weight";
    let embeddings = checkpoint.weight(name, &[config.vocabulary, config.hidden])?;
    let table = graph.constant("embeddings", embeddings.clone());
    let name = "model.decoder.embed_positions.weight";
    let places = checkpoint.weight(name, &[config.positions, config.hidden])?;
    let places = graph.constant("positions", places).gather(&pass.positions, 0)?;
    let mut states = table.gather(&pass.tokens, 0)?.add(&places)?;
    let mut written = Vec::new();
    for layer in 0..config.decoder_layers {
        let name = format!("model.decoder.layers.{layer}");
        let scope = graph.scope(&name);
        let own = names(&name, "self_attn");
        let normed = norm(layers, &states, &format!("{name}.self_attn_layer_norm"))?;
        let [q, k, v] = layers.all_projected(&normed, &own, heads)?;
        let [keys, values] = &pass.caches[layer];
        let (keys, values) = (pass.places.write(keys, &k)?, pass.places.write(values, &v)?);
        let form = options.attention_form(layers.target);
        let mixed = layers.mixed([&q, &keys, &values], Some(&sight), &own, scale, form)?;
        states = states.add(&mixed)?;
        written.push([keys, values]);

        let cross = names(&name, "encoder_attn");
        let normed = norm(layers, &states, &format!("{name}.encoder_attn_layer_norm"))?;
        let q = layers.projected(&normed, &cross, 0, heads)?;
        let [keys, values] = &pass.sources[layer];
        let mixed = layers.mixed([&q, keys, values], None, &cross, scale, AttentionForm::Whole)?;
        states = feed_forward(layers, &states.add(&mixed)?, &name)?;
        drop(scope);
    }
    let last = of_last(&states, &pass.positions, pass.last.as_ref())?;
    let normed = norm(layers, &last, "model.decoder.layer_norm")?;
    let sizes = [config.vocabulary, config.hidden];
    let head = checkpoint.head("proj_out", sizes, Some(embeddings))?;
    let logits = head.of(graph, &normed, options.form)?.cast(DType::F32)?.squeeze(&[1])?;
    give(&logits, &pass.positions, pass.last.as_ref())?;
    layers.give_caches(&written)
}
