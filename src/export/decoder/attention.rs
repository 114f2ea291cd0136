//! Attention over a cache with fewer key and value heads than queries, without copies of the heads.

use super::DecoderConfig;
use super::shaped::shaped;
use crate::error::Result;
use crate::export::graph::{GraphBuilder, Value};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// What tokens see: numbers that are added to scores, `[b, 1, rows, capacity]`, with a row for each token, or for each
/// token of each query head that shares a key.
pub(super) struct Sight(Value);

/// Added to the score of what is not seen, so that its exponential is 0.
fn unseen(dtype: DType) -> f32 {
    if dtype == DType::F16 { -3e4 } else { -1e30 }
}

impl Sight {
    /// For tokens at `positions`, `[b, t]`, that see so far back.
    pub(super) fn new(
        graph: &GraphBuilder,
        positions: &Value,
        capacity: usize,
        window: Option<usize>,
        group: usize,
        dtype: DType,
    ) -> Result<Self> {
        let all: Vec<i64> = (0..capacity as i64).collect();
        let all = graph.constant("places", HostTensor::from_vec([capacity], all)?);
        let own = positions.unsqueeze(&[1, 3])?;
        let mut seen = all.less_equal(&own)?;
        if let Some(window) = window.filter(|window| *window < capacity) {
            let first = own.sub(&own.scalar_like(window as f64)?)?;
            seen = seen.and(&all.greater(&first)?)?;
        }
        let number = |value: f32| {
            Ok::<_, crate::Error>(
                graph.constant("sight", HostTensor::scalar(value).convert(dtype)?),
            )
        };
        let mut added = seen.select(&number(0.0)?, &number(unseen(dtype))?)?;
        if group > 1 && positions.dims()[1].fixed() != Some(1) {
            let copies = vec![&added; group];
            added = graph.concat(&copies, 2)?;
        }
        Ok(Self(added))
    }
}

/// Attention of queries, `[b, heads, t, head size]`, over keys and values, `[b, key-value heads, capacity, head size]`;
/// gives `[b, t, heads * head size]`.
pub(super) fn attend(
    config: &DecoderConfig,
    queries: &Value,
    keys: &Value,
    values: &Value,
    sight: &Sight,
    wide: bool,
) -> Result<Value> {
    let dims = queries.dims().to_vec();
    let (kv, group, head) = (config.key_value_heads, config.group(), config.head_size);
    let rows = [Some(dims[0].clone()), Some(kv.into()), None, Some(head.into())];
    // Scaled first: the product of two long vectors may be beyond half precision.
    let queries = queries.affine(config.attention_scale, 0.0)?.reshape(&rows)?;
    let mut scores = queries.matmul(&keys.transpose(&[0, 1, 3, 2])?)?;
    let dtype = scores.dtype();
    if wide {
        scores = scores.cast(DType::F32)?;
    }
    if let Some(cap) = config.attention_cap {
        scores = scores.affine(1.0 / cap, 0.0)?.tanh()?.affine(cap, 0.0)?;
    }
    // Rows that are dynamic have the same number under another name.
    let node = scores.graph().node("Add").input(&scores).input(&sight.0);
    let scores = node.outputs([(scores.dtype(), scores.shape().clone())]).build()?;
    let weights = scores.softmax(-1)?.cast(dtype)?;
    let mixed = weights.matmul(values)?;
    let heads = vec![dims[0].clone(), (kv * group).into(), dims[2].clone(), head.into()];
    let mixed = shaped(&mixed, heads)?.transpose(&[0, 2, 1, 3])?;
    shaped(&mixed, vec![dims[0].clone(), dims[2].clone(), (kv * group * head).into()])
}
