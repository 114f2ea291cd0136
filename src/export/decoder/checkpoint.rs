//! Weights of a checkpoint as one graph needs them: checked sizes, one type, linear layers and norms.

use super::DecoderWeights;
use super::products::Linear;
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::{GraphBuilder, Value};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// A source of weights, and the type that a graph computes in.
pub(super) struct Checkpoint<'a> {
    pub(super) weights: &'a dyn DecoderWeights,
    pub(super) dtype: DType,
}

impl Checkpoint<'_> {
    /// A weight in the type of its source.
    pub(super) fn source(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let weight = self.weights.weight(name)?;
        if weight.shape() != shape {
            let text = format!("expected {shape:?}, got {:?}", weight.shape());
            return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor(name));
        }
        Ok(weight)
    }

    /// A weight in the type that is computed in.
    pub(super) fn weight(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let weight = self.source(name, shape)?;
        if weight.dtype() == self.dtype {
            return Ok(weight);
        }
        weight.convert(self.dtype).map_err(|e| e.on_tensor(name))
    }

    pub(super) fn linear(
        &self,
        name: &str,
        [out, inputs]: [usize; 2],
        bias: bool,
    ) -> Result<Linear> {
        let weight = self.weight(&format!("{name}.weight"), &[out, inputs])?;
        let bias = bias.then(|| self.weight(&format!("{name}.bias"), &[out])).transpose()?;
        Ok(Linear { name: name.into(), weight, bias })
    }

    /// The last layer: its own weight where the source has one, else that of the embeddings. Files of models that were made
    /// from others say that the two are one, and have two. transformers 5 takes both then.
    pub(super) fn head(
        &self,
        name: &str,
        sizes: [usize; 2],
        embeddings: Option<HostTensor>,
    ) -> Result<Linear> {
        let Some(weight) = embeddings else { return self.linear(name, sizes, false) };
        let tied = Linear { name: name.into(), weight, bias: None };
        if !self.weights.has(&format!("{name}.weight")) {
            return Ok(tied);
        }
        let own = self.linear(name, sizes, false)?;
        Ok(if own.weight.bytes() == tied.weight.bytes() { tied } else { own })
    }

    /// A root mean square norm (Zhang and Sennrich, 2019) over the last axis, in 32 bits: squares are beyond half precision.
    /// `offset` is added to the weight.
    pub(super) fn root_mean_square_norm(
        &self,
        graph: &GraphBuilder,
        x: &Value,
        name: &str,
        size: usize,
        [epsilon, offset]: [f64; 2],
    ) -> Result<Value> {
        let weight = self.source(name, &[size])?.convert(DType::F32)?.to_vec::<f32>()?;
        let weight = weight.into_iter().map(|weight| weight + offset as f32).collect();
        let weight = graph.constant(name, HostTensor::from_vec([size], weight)?);
        let wide = x.cast(DType::F32)?;
        let mean = wide.mul(&wide)?.reduced("ReduceMean", &[-1], true)?;
        let root = mean.affine(1.0, epsilon)?.sqrt()?;
        wide.div(&root)?.mul(&weight)?.cast(x.dtype())
    }

    /// A layer norm (Ba, Kiros and Hinton, 2016) over the last axis.
    pub(super) fn layer_norm(
        &self,
        graph: &GraphBuilder,
        x: &Value,
        name: &str,
        size: usize,
        epsilon: f64,
    ) -> Result<Value> {
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            Ok::<_, Error>(graph.constant(&name, self.weight(&name, &[size])?))
        };
        x.layer_norm(&part("weight")?, Some(&part("bias")?), -1, epsilon)
    }
}
