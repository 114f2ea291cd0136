//! T5 (Raffel et al., 2019): root mean square norms, no biases, and positions as numbers that are added to scores by
//! distance. Written as the authors' code has it.

use super::super::attention::{Seen, Sight};
use super::super::ending::{give, of_last};
use super::super::{Activation, AttentionForm};
use super::EncoderDecoderFamily;
use super::layers::{Layers, Names};
use crate::error::Result;
use crate::export::graph::Value;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The bucket of a distance: `of` counts backwards from a token. Far distances share buckets by their logarithm.
fn bucket(back: i64, both_ways: bool, buckets: usize, farthest: usize) -> usize {
    let (mut first, mut count) = (0, buckets);
    if both_ways {
        count /= 2;
        if back < 0 {
            first = count;
        }
    }
    let distance = if both_ways { back.unsigned_abs() as usize } else { back.max(0) as usize };
    let exact = count / 2;
    if distance < exact {
        return first + distance;
    }
    // In 32 bits, as the frameworks do.
    let part = (distance as f32 / exact as f32).ln() / (farthest as f64 / exact as f64).ln() as f32;
    first + (exact + (part * (count - exact) as f32) as usize).min(count - 1)
}

struct Parts<'l, 'a> {
    layers: &'l Layers<'a>,
    buckets: usize,
    farthest: usize,
    gated: bool,
    activation: Activation,
    tied: bool,
    scaled: bool,
}

impl<'l, 'a> Parts<'l, 'a> {
    fn new(layers: &'l Layers<'a>) -> Self {
        match layers.config.family {
            EncoderDecoderFamily::T5 {
                buckets,
                farthest,
                gated,
                activation,
                tied_embeddings: tied,
                scaled_states: scaled,
            } => Self { layers, buckets, farthest, gated, activation, tied, scaled },
            EncoderDecoderFamily::Whisper { .. } => unreachable!("the caller chose T5"),
        }
    }

    fn names(layer: &str, attention: &str) -> Names {
        let name = |part: &str| format!("{layer}.{attention}.{part}");
        Names { names: ["q", "k", "v", "o"].map(name), biases: [false; 4] }
    }

    fn norm(&self, x: &Value, name: &str) -> Result<Value> {
        let Layers { checkpoint, graph, config, .. } = self.layers;
        let numbers = [config.norm_epsilon, 0.0];
        let name = format!("{name}.weight");
        checkpoint.root_mean_square_norm(graph, x, &name, config.hidden, numbers)
    }

    fn embeddings(&self) -> Result<HostTensor> {
        let Layers { checkpoint, config, .. } = self.layers;
        let names = ["shared.weight", "decoder.embed_tokens.weight", "encoder.embed_tokens.weight"];
        let name = names.iter().find(|name| checkpoint.weights.has(name)).unwrap_or(&names[0]);
        checkpoint.weight(name, &[config.vocabulary, config.hidden])
    }

    /// What is added to scores by distance back, from `-ahead` to `behind`: `[distances, heads]`.
    fn by_distance(&self, side: &str, ahead: usize, behind: usize) -> Result<Vec<f32>> {
        let Layers { checkpoint, config, .. } = self.layers;
        let heads = config.decoder_heads;
        let name = format!("{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let table = checkpoint.source(&name, &[self.buckets, heads])?;
        let table = table.convert(DType::F32)?.to_vec::<f32>()?;
        let both_ways = side == "encoder";
        let distances = -(ahead as i64)..=behind as i64;
        let rows = distances.flat_map(|back| {
            let row = bucket(back, both_ways, self.buckets, self.farthest) * heads;
            table[row..row + heads].to_vec()
        });
        Ok(rows.collect())
    }

    fn feed_forward(&self, states: &Value, block: &str) -> Result<Value> {
        let (layers, config) = (self.layers, self.layers.config);
        let normed = self.norm(states, &format!("{block}.layer_norm"))?;
        let name = |part: &str| format!("{block}.DenseReluDense.{part}");
        let inward = [config.intermediate, config.hidden];
        let first = if self.gated { "wi_0" } else { "wi" };
        let x = layers.linear(&normed, &name(first), inward, false)?;
        let x = match self.activation {
            Activation::Relu => x.relu()?,
            Activation::Silu => x.mul(&x.sigmoid()?)?,
            Activation::Gelu => x.gelu()?,
            Activation::GeluTanh => x.gelu_tanh()?,
        };
        let x = match self.gated {
            true => x.mul(&layers.linear(&normed, &name("wi_1"), inward, false)?)?,
            false => x,
        };
        let outward = [config.hidden, config.intermediate];
        states.add(&layers.linear(&x, &name("wo"), outward, false)?)
    }
}

pub(super) fn encoder(layers: &Layers<'_>) -> Result<()> {
    let parts = Parts::new(layers);
    let Layers { config, options, graph, .. } = layers;
    let (batch, length) = (options.batch, options.source);
    let tokens = graph.input("source", DType::I64, [batch, length])?;
    let lengths = graph.input("lengths", DType::I64, [batch, 1])?;

    // Tokens that only fill the row are at positions that no real token is at or before.
    let last = lengths.affine(1.0, -1.0)?;
    let filled = Sight::new(&last, &Seen::all(graph, length)?.places, None, 1, layers.scores())?.0;
    let heads = config.encoder_heads;
    let most = length - 1;
    let by_distance = parts.by_distance("encoder", most, most)?;
    let bias = (0..heads).flat_map(|head| {
        let by_distance = &by_distance;
        (0..length).flat_map(move |at| {
            (0..length).map(move |to| by_distance[(at + most - to) * heads + head])
        })
    });
    let bias = HostTensor::from_vec([1, heads, length, length], bias.collect())?;
    let bias = graph.constant("distances", bias.convert(layers.scores())?);
    let sight = Sight(bias.add(&filled)?);

    let table = graph.constant("embeddings", parts.embeddings()?);
    let mut states = table.gather(&tokens, 0)?;
    for layer in 0..config.encoder_layers {
        let scope = graph.scope(format!("encoder.block.{layer}"));
        let block = format!("encoder.block.{layer}.layer");
        let names = Parts::names(&format!("{block}.0"), "SelfAttention");
        let normed = parts.norm(&states, &format!("{block}.0.layer_norm"))?;
        let [q, k, v] = layers.all_projected(&normed, &names, heads)?;
        let mixed = layers.mixed([&q, &k, &v], Some(&sight), &names, 1.0, AttentionForm::Whole)?;
        states = parts.feed_forward(&states.add(&mixed)?, &format!("{block}.1"))?;
        drop(scope);
    }
    let states = parts.norm(&states, "encoder.final_layer_norm")?;
    graph.output("source_sight", &filled)?;
    layers.give_sources(&states, |layer| {
        Parts::names(&format!("decoder.block.{layer}.layer.1"), "EncDecAttention")
    })
}

pub(super) fn decoder(layers: &Layers<'_>) -> Result<()> {
    let parts = Parts::new(layers);
    let Layers { config, options, graph, .. } = layers;
    let pass = layers.pass(true)?;
    let (capacity, heads) = (options.capacity, config.decoder_heads);

    let seen =
        Sight::new(&pass.positions, &Seen::all(graph, capacity)?.places, None, 1, layers.scores())?
            .0;
    // Row `distance + capacity - 1` of a table over all distances back.
    let table = parts.by_distance("decoder", capacity - 1, capacity - 1)?;
    let table = HostTensor::from_vec([2 * capacity - 1, heads], table)?.convert(layers.scores())?;
    let backwards: Vec<i64> = (0..capacity as i64).map(|to| capacity as i64 - 1 - to).collect();
    let backwards = graph.constant("backwards", HostTensor::from_vec([capacity], backwards)?);
    let rows = pass.positions.unsqueeze(&[2])?.add(&backwards)?;
    let bias = graph.constant("distances", table).gather(&rows, 0)?.transpose(&[0, 3, 1, 2])?;
    let sight = Sight(bias.add(&seen)?);

    let embeddings = parts.embeddings()?;
    let table = graph.constant("embeddings", embeddings.clone());
    let mut states = table.gather(&pass.tokens, 0)?;
    let mut written = Vec::new();
    for layer in 0..config.decoder_layers {
        let scope = graph.scope(format!("decoder.block.{layer}"));
        let block = format!("decoder.block.{layer}.layer");
        let own = Parts::names(&format!("{block}.0"), "SelfAttention");
        let normed = parts.norm(&states, &format!("{block}.0.layer_norm"))?;
        let [q, k, v] = layers.all_projected(&normed, &own, heads)?;
        let [keys, values] = &pass.caches[layer];
        let (keys, values) = (pass.places.write(keys, &k)?, pass.places.write(values, &v)?);
        let form = options.attention_form(layers.target);
        states =
            states.add(&layers.mixed([&q, &keys, &values], Some(&sight), &own, 1.0, form)?)?;
        written.push([keys, values]);

        let cross = Parts::names(&format!("{block}.1"), "EncDecAttention");
        let normed = parts.norm(&states, &format!("{block}.1.layer_norm"))?;
        let q = layers.projected(&normed, &cross, 0, heads)?;
        let [keys, values] = &pass.sources[layer];
        let source = pass.source_sight.as_ref();
        let whole = AttentionForm::Whole;
        states = states.add(&layers.mixed([&q, keys, values], source, &cross, 1.0, whole)?)?;
        states = parts.feed_forward(&states, &format!("{block}.2"))?;
        drop(scope);
    }
    let last = of_last(&states, &pass.positions, pass.last.as_ref())?;
    let normed = parts.norm(&last, "decoder.final_layer_norm")?;
    let sizes = [config.vocabulary, config.hidden];
    let head = layers.checkpoint.head("lm_head", sizes, parts.tied.then_some(embeddings))?;
    let scale = if parts.scaled { (config.hidden as f64).powf(-0.5) } else { 1.0 };
    let logits = head.of(graph, &normed.affine(scale, 0.0)?, options.form)?;
    let logits = logits.cast(DType::F32)?.squeeze(&[1])?;
    give(&logits, &pass.positions, pass.last.as_ref())?;
    layers.give_caches(&written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `T5Attention._relative_position_bucket` of the Python package transformers, with 32 buckets up to 128.
    #[test]
    fn distances_fall_into_the_buckets_of_the_authors() {
        let both_ways = [
            (0, 0),
            (7, 7),
            (8, 8),
            (11, 8),
            (12, 9),
            (15, 9),
            (16, 10),
            (31, 11),
            (32, 12),
            (63, 13),
            (64, 14),
            (90, 14),
            (91, 15),
            (500, 15),
            (-1, 17),
            (-7, 23),
            (-8, 24),
            (-16, 26),
            (-31, 27),
            (-64, 30),
            (-500, 31),
        ];
        let backwards = [
            (0, 0),
            (8, 8),
            (15, 15),
            (16, 16),
            (17, 16),
            (20, 17),
            (31, 21),
            (33, 21),
            (45, 23),
            (46, 24),
            (63, 26),
            (64, 26),
            (90, 29),
            (127, 31),
            (500, 31),
            (-1, 0),
            (-500, 0),
        ];
        for (back, expected) in both_ways {
            assert_eq!(bucket(back, true, 32, 128), expected, "{back}");
        }
        for (back, expected) in backwards {
            assert_eq!(bucket(back, false, 32, 128), expected, "{back}");
        }
    }
}
