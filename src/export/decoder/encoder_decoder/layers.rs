//! What the graphs of both families share: the inputs of a decoder, attention, and what an encoder gives.

use super::super::attention::{Heads, Sight, attend};
use super::super::beginning::Inputs;
use super::super::cache::{Places, give_directly};
use super::super::checkpoint::Checkpoint;
use super::super::products::Linear;
use super::super::{AttentionForm, DecoderOptions, DecoderWeights};
use super::EncoderDecoderConfig;
use crate::error::Result;
use crate::export::graph::{GraphBuilder, Value};
use crate::export::{OnnxModel, Target};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// One graph of a model while it is made.
pub(super) struct Layers<'a> {
    pub(super) config: &'a EncoderDecoderConfig,
    pub(super) checkpoint: Checkpoint<'a>,
    pub(super) target: Target,
    pub(super) options: &'a DecoderOptions,
    pub(super) graph: GraphBuilder,
}

/// The inputs of a pass of the decoder.
pub(super) struct PassInputs {
    pub(super) tokens: Value,
    pub(super) positions: Value,
    pub(super) last: Option<Value>,
    pub(super) places: Places,
    /// Keys and values of the tokens so far, by layer.
    pub(super) caches: Vec<[Value; 2]>,
    /// What is added to the scores of the source, where a part of the source is not seen.
    pub(super) source_sight: Option<Sight>,
    /// Keys and values of the source, by layer.
    pub(super) sources: Vec<[Value; 2]>,
}

/// The names of the linear layers of one attention, and which of them have biases: query, key, value and output.
pub(super) struct Names {
    pub(super) names: [String; 4],
    pub(super) biases: [bool; 4],
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        name: &str,
        config: &'a EncoderDecoderConfig,
        weights: &'a dyn DecoderWeights,
        target: Target,
        options: &'a DecoderOptions,
    ) -> Self {
        let target = target.with_caches_in_place();
        let graph = GraphBuilder::for_target(name, target);
        let checkpoint = Checkpoint { weights, dtype: options.dtype };
        Self { config, checkpoint, target, options, graph }
    }

    /// The type of scores.
    pub(super) fn scores(&self) -> DType {
        if self.options.wide_scores { DType::F32 } else { self.options.dtype }
    }

    pub(super) fn linear(
        &self,
        x: &Value,
        name: &str,
        sizes: [usize; 2],
        bias: bool,
    ) -> Result<Value> {
        self.checkpoint.linear(name, sizes, bias)?.of(&self.graph, x, self.options.form)
    }

    /// Declares the inputs of the decoder. `seen` says whether the encoder tells what of the source is seen.
    pub(super) fn pass(&self, seen: bool) -> Result<PassInputs> {
        let (config, options, graph) = (self.config, self.options, &self.graph);
        let Inputs { tokens, positions, last } = Inputs::declare(graph, options)?;
        let (heads, size, source) =
            (config.decoder_heads, config.head_size, config.source(options.source));
        let pair = |names: [&str; 2], layer: usize, length: usize| {
            let sizes = [options.batch, heads, length, size];
            let input = |name: &str| graph.input(&format!("{name}.{layer}"), options.dtype, sizes);
            Ok::<_, crate::Error>([input(names[0])?, input(names[1])?])
        };
        let layers = 0..config.decoder_layers;
        let own = layers.clone().map(|layer| pair(["key", "value"], layer, options.capacity));
        let caches = own.collect::<Result<_>>()?;
        let source_sight = match seen {
            true => {
                let sizes = [options.batch, 1, 1, source];
                Some(Sight(graph.input("source_sight", self.scores(), sizes)?))
            }
            false => None,
        };
        let of_source = layers.map(|layer| pair(["cross_key", "cross_value"], layer, source));
        let sources = of_source.collect::<Result<_>>()?;
        let places = Places::new(graph, self.target, &positions, options.capacity)?;
        Ok(PassInputs { tokens, positions, last, places, caches, source_sight, sources })
    }

    /// Gives the written caches, after the results.
    pub(super) fn give_caches(&self, written: &[[Value; 2]]) -> Result<()> {
        for (layer, [key, value]) in written.iter().enumerate() {
            self.graph.output(&format!("new_key.{layer}"), key)?;
            self.graph.output(&format!("new_value.{layer}"), value)?;
        }
        Ok(())
    }

    /// Gives the keys and values of the encoder's states for each layer of the decoder.
    pub(super) fn give_sources(
        &self,
        states: &Value,
        names: impl Fn(usize) -> Names,
    ) -> Result<()> {
        for layer in 0..self.config.decoder_layers {
            let names = names(layer);
            for (i, part) in [(1, "cross_key"), (2, "cross_value")] {
                let x = self.projected(states, &names, i, self.config.decoder_heads)?;
                self.graph.output(&format!("{part}.{layer}"), &x)?;
            }
        }
        Ok(())
    }

    /// One of query, key and value, `[b, heads, t, head size]`.
    pub(super) fn projected(
        &self,
        states: &Value,
        names: &Names,
        which: usize,
        heads: usize,
    ) -> Result<Value> {
        let sizes = [heads * self.head_size(heads), self.config.hidden];
        let x = self.linear(states, &names.names[which], sizes, names.biases[which])?;
        self.split(&x, heads)
    }

    /// Query, key and value of one attention, as one product where the options say so.
    pub(super) fn all_projected(
        &self,
        states: &Value,
        names: &Names,
        heads: usize,
    ) -> Result<[Value; 3]> {
        if !self.options.joined {
            let of = |which| self.projected(states, names, which, heads);
            return Ok([of(0)?, of(1)?, of(2)?]);
        }
        let width = heads * self.head_size(heads);
        let any = names.biases[..3].contains(&true);
        let parts = (0..3).map(|i| {
            let sizes = [width, self.config.hidden];
            let mut part = self.checkpoint.linear(&names.names[i], sizes, names.biases[i])?;
            if any && part.bias.is_none() {
                part.bias = Some(
                    HostTensor::from_vec([width], vec![0f32; width])?
                        .convert(self.options.dtype)?,
                );
            }
            Ok(part)
        });
        let name = format!("{}.joined", names.names[0]);
        let all = Linear::joined(name, parts.collect::<Result<_>>()?)?;
        let all = all.of(&self.graph, states, self.options.form)?;
        let part = |i: usize| {
            let part = all.slice(2, (i * width) as i64, Some(((i + 1) * width) as i64))?;
            self.split(&part, heads)
        };
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// The attention of queries over keys and values, behind its output layer: `[b, t, hidden]`.
    pub(super) fn mixed(
        &self,
        [queries, keys, values]: [&Value; 3],
        sight: Option<&Sight>,
        names: &Names,
        scale: f64,
        form: AttentionForm,
    ) -> Result<Value> {
        let heads = keys.dims()[1].fixed().unwrap_or(1);
        let size = self.head_size(heads);
        let form_of = Heads { key_value: heads, group: 1, size, scale, cap: None };
        let wide = self.options.wide_scores;
        let mixed = attend(&form_of, queries, keys, values, sight, wide, form)?;
        let sizes = [self.config.hidden, heads * size];
        self.linear(&mixed, &names.names[3], sizes, names.biases[3])
    }

    /// The width of a head: the encoder of Whisper may have another number of heads.
    pub(super) fn head_size(&self, heads: usize) -> usize {
        self.config.decoder_heads * self.config.head_size / heads
    }

    fn split(&self, x: &Value, heads: usize) -> Result<Value> {
        let size = self.head_size(heads);
        let dims = [
            Some(x.dims()[0].clone()),
            Some(x.dims()[1].clone()),
            Some(heads.into()),
            Some(size.into()),
        ];
        x.reshape(&dims)?.transpose(&[0, 2, 1, 3])
    }

    pub(super) fn finish(&self) -> Result<OnnxModel> {
        if self.target.writes_caches_in_place() {
            self.graph.with_graph(give_directly);
        }
        self.graph.finish()
    }
}
