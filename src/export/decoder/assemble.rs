//! One graph of a decoder: embeddings, layers and the choice of the next token.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::attention::{Heads, Seen, Sight, attend};
use super::beginning::Inputs;
use super::cache::{Places, give_directly};
use super::checkpoint::Checkpoint;
use super::ending::{give, of_last};
use super::products::Linear;
use super::rotary::Angles;
use super::{Activation, DecoderConfig, DecoderOptions, DecoderWeights, Projections};
use crate::error::Result;
use crate::export::graph::{GraphBuilder, Value};
use crate::export::{OnnxModel, Target};
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

pub(super) fn assemble(
    config: &DecoderConfig,
    weights: &dyn DecoderWeights,
    target: Target,
    options: &DecoderOptions,
) -> Result<OnnxModel> {
    let target = target.with_caches_in_place();
    let graph = GraphBuilder::for_target("decoder", target);
    let checkpoint = Checkpoint { weights, dtype: options.dtype };
    let heads = Heads {
        key_value: config.key_value_heads,
        group: config.group(),
        size: config.head_size,
        scale: config.attention_scale,
        cap: config.attention_cap,
    };
    Assembly { config, checkpoint, target, options, graph, heads }.model()
}

struct Assembly<'a> {
    config: &'a DecoderConfig,
    checkpoint: Checkpoint<'a>,
    target: Target,
    options: &'a DecoderOptions,
    graph: GraphBuilder,
    heads: Heads,
}

/// What all layers of one pass share.
struct SharedByLayers {
    places: Places,
    seen: Seen,
    /// By window: what tokens see.
    sights: HashMap<Option<usize>, Sight>,
    /// By whether the layer has positions of its own for windows.
    angles: HashMap<bool, Angles>,
}

impl Assembly<'_> {
    fn model(&self) -> Result<OnnxModel> {
        let (config, options, graph) = (self.config, self.options, &self.graph);
        let Inputs { tokens, positions, last } = Inputs::declare(graph, options)?;
        let seen = Seen::declare(graph, self.target, options)?;
        let [heads, capacity, size] =
            [config.key_value_heads, options.capacity, config.head_size].map(Dim::from);
        let sizes = [options.texts()?, heads, capacity, size];
        let cache = |name: String| graph.input(&name, options.dtype, sizes.clone());
        let caches: Vec<[Value; 2]> = (0..config.layers)
            .map(|i| Ok([cache(format!("key.{i}"))?, cache(format!("value.{i}"))?]))
            .collect::<Result<_>>()?;

        let pass = self.pass(&positions, seen)?;
        let embeddings = self.checkpoint.weight(
            &format!("{}.embed_tokens.weight", config.prefix),
            &[config.vocabulary, config.hidden],
        )?;
        let table = graph.constant("embeddings", embeddings.clone());
        let mut states = table.gather(&tokens, 0)?.affine(config.embedding_scale, 0.0)?;
        let mut written = Vec::with_capacity(config.layers);
        for (layer, cache) in caches.iter().enumerate() {
            let scope = graph.scope(format!("layers.{layer}"));
            let (next, new) = self.layer(layer, &states, cache, &pass)?;
            drop(scope);
            states = next;
            written.push(new);
        }
        self.end(&states, &positions, last.as_ref(), embeddings)?;
        for (layer, [key, value]) in written.iter().enumerate() {
            graph.output(&format!("new_key.{layer}"), key)?;
            graph.output(&format!("new_value.{layer}"), value)?;
        }
        if self.target.writes_caches_in_place() {
            graph.with_graph(give_directly);
        }
        graph.finish()
    }

    fn pass(&self, positions: &Value, seen: Seen) -> Result<SharedByLayers> {
        let Self { config, options, graph, target, .. } = self;
        let capacity = options.capacity;
        let mut pass = SharedByLayers {
            places: Places::new(graph, *target, positions, capacity)?,
            seen,
            sights: HashMap::new(),
            angles: HashMap::new(),
        };
        let scores = if options.wide_scores { DType::F32 } else { options.dtype };
        for layer in 0..config.layers {
            let window = config.window_of(layer);
            if let Entry::Vacant(place) = pass.sights.entry(window) {
                let group = config.group();
                place.insert(Sight::new(positions, &pass.seen.places, window, group, scores)?);
            }
            if let Some(rotary) = config.rotary_of(layer)
                && !pass.angles.contains_key(&window.is_some())
            {
                let angles = Angles::new(graph, rotary, positions, capacity, options.dtype)?;
                pass.angles.insert(window.is_some(), angles);
            }
        }
        Ok(pass)
    }

    /// The states behind a layer, and its keys and values.
    fn layer(
        &self,
        layer: usize,
        states: &Value,
        [key_cache, value_cache]: &[Value; 2],
        pass: &SharedByLayers,
    ) -> Result<(Value, [Value; 2])> {
        let (config, form) = (self.config, self.options.form);
        let name = |part: &str| format!("{}.layers.{layer}.{part}", config.prefix);
        let normed = self.norm(states, &name("input_layernorm.weight"), config.hidden)?;
        let [queries, keys, values] = self.queries(layer, &normed)?;
        let angles = config
            .rotary_of(layer)
            .and_then(|_| pass.angles.get(&config.window_of(layer).is_some()));
        let [queries, keys] = [(queries, "q"), (keys, "k")].map(|(x, which)| {
            let x = match config.head_norms {
                true => self.norm(
                    &x?,
                    &name(&format!("self_attn.{which}_norm.weight")),
                    config.head_size,
                )?,
                false => x?,
            };
            let x = x.transpose(&[0, 2, 1, 3])?;
            angles.map_or(Ok(x.clone()), |angles| angles.rotate(&x))
        });
        let keys = pass.places.write(key_cache, &keys?)?;
        let values = pass.places.write(value_cache, &values?.transpose(&[0, 2, 1, 3])?)?;
        let [seen_keys, seen_values] = [pass.seen.of(&keys)?, pass.seen.of(&values)?];
        let sight = &pass.sights[&config.window_of(layer)];
        let wide = self.options.wide_scores;
        let attention = self.options.attention_form(self.target);
        let mixed =
            attend(&self.heads, &queries?, &seen_keys, &seen_values, Some(sight), wide, attention)?;
        let sizes = [config.hidden, config.heads * config.head_size];
        let output =
            self.checkpoint.linear(&name("self_attn.o_proj"), sizes, config.output_bias)?;
        let mixed = output.of(&self.graph, &mixed, form)?;
        let after = "post_attention_layernorm.weight";
        let (mixed, before) = match config.norms_after {
            true => (
                self.norm(&mixed, &name(after), config.hidden)?,
                "pre_feedforward_layernorm.weight",
            ),
            false => (mixed, after),
        };
        let states = states.add(&mixed)?;
        let normed = self.norm(&states, &name(before), config.hidden)?;
        let mut fed = self.feed_forward(layer, &normed)?;
        if config.norms_after {
            fed = self.norm(&fed, &name("post_feedforward_layernorm.weight"), config.hidden)?;
        }
        Ok((states.add(&fed)?, [keys, values]))
    }

    /// Queries, keys and values of a layer, `[b, t, heads, head size]`.
    fn queries(&self, layer: usize, states: &Value) -> Result<[Result<Value>; 3]> {
        let (config, form) = (self.config, self.options.form);
        let name = |part: &str| format!("{}.layers.{layer}.self_attn.{part}", config.prefix);
        let (heads, kv, size) = (config.heads, config.key_value_heads, config.head_size);
        let split = |x: &Value, heads: usize| {
            let lead = [Some(x.dims()[0].clone()), Some(x.dims()[1].clone())];
            x.reshape(&[&lead[..], &[Some(heads.into()), Some(size.into())]].concat())
        };
        let bias = config.query_bias;
        let apart = || -> Result<Vec<Linear>> {
            let parts = [("q_proj", heads), ("k_proj", kv), ("v_proj", kv)];
            let linear = |(part, heads)| {
                self.checkpoint.linear(&name(part), [heads * size, config.hidden], bias)
            };
            parts.into_iter().map(linear).collect()
        };
        let all = match (config.projections, self.options.joined) {
            (Projections::Joined, _) => self.checkpoint.linear(
                &name("qkv_proj"),
                [(heads + 2 * kv) * size, config.hidden],
                bias,
            )?,
            (Projections::Apart, true) => Linear::joined(name("qkv_proj"), apart()?)?,
            (Projections::Apart, false) => {
                let parts = apart()?;
                let of = |i: usize, heads| split(&parts[i].of(&self.graph, states, form)?, heads);
                return Ok([of(0, heads), of(1, kv), of(2, kv)]);
            }
        };
        let all = split(&all.of(&self.graph, states, form)?, heads + 2 * kv)?;
        let part = |from: usize, to: usize| all.slice(2, from as i64, Some(to as i64));
        Ok([part(0, heads), part(heads, heads + kv), part(heads + kv, heads + 2 * kv)])
    }

    fn feed_forward(&self, layer: usize, states: &Value) -> Result<Value> {
        let (config, form, graph) = (self.config, self.options.form, &self.graph);
        let name = |part: &str| format!("{}.layers.{layer}.mlp.{part}", config.prefix);
        let (inner, hidden) = (config.intermediate, config.hidden);
        let apart = || -> Result<Vec<Linear>> {
            ["gate_proj", "up_proj"]
                .into_iter()
                .map(|part| self.checkpoint.linear(&name(part), [inner, hidden], false))
                .collect()
        };
        let joined = match (config.projections, self.options.joined) {
            (Projections::Joined, _) => {
                Some(self.checkpoint.linear(&name("gate_up_proj"), [2 * inner, hidden], false)?)
            }
            (Projections::Apart, true) => Some(Linear::joined(name("gate_up_proj"), apart()?)?),
            (Projections::Apart, false) => None,
        };
        let (gate, up) = match joined {
            Some(both) => {
                let both = both.of(graph, states, form)?;
                (both.slice(2, 0, Some(inner as i64))?, both.slice(2, inner as i64, None)?)
            }
            None => {
                let parts = apart()?;
                (parts[0].of(graph, states, form)?, parts[1].of(graph, states, form)?)
            }
        };
        let gate = match config.activation {
            Activation::Silu => gate.mul(&gate.sigmoid()?)?,
            Activation::Gelu => gate.gelu()?,
            Activation::GeluTanh => gate.gelu_tanh()?,
            Activation::Relu => gate.relu()?,
        };
        self.checkpoint.linear(&name("down_proj"), [hidden, inner], false)?.of(
            graph,
            &gate.mul(&up)?,
            form,
        )
    }

    /// The logits of the last token, and the choice of the next one.
    fn end(
        &self,
        states: &Value,
        positions: &Value,
        last: Option<&Value>,
        embeddings: HostTensor,
    ) -> Result<()> {
        let (config, graph) = (self.config, &self.graph);
        let states = of_last(states, positions, last)?;
        let normed =
            self.norm(&states, &format!("{}.norm.weight", config.prefix), config.hidden)?;
        // The text part of a larger model has its last layer beside the other layers.
        let beside = format!("{}lm_head", config.prefix.trim_end_matches("model"));
        let has = self.checkpoint.weights.has(&format!("{beside}.weight"));
        let name = if has { &beside } else { "lm_head" };
        let embeddings = config.tied_embeddings.then_some(embeddings);
        let head = self.checkpoint.head(name, [config.vocabulary, config.hidden], embeddings)?;
        let logits = head.of(graph, &normed, self.options.form)?.cast(DType::F32)?.squeeze(&[1])?;
        let logits = match config.logit_cap {
            Some(cap) => logits.affine(1.0 / cap, 0.0)?.tanh()?.affine(cap, 0.0)?,
            None => logits,
        };
        give(&logits, positions, last)
    }

    fn norm(&self, x: &Value, name: &str, size: usize) -> Result<Value> {
        let numbers = [self.config.norm_epsilon, self.config.norm_offset];
        self.checkpoint.root_mean_square_norm(&self.graph, x, name, size, numbers)
    }
}
