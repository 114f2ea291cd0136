//! Attention over a cache with fewer key and value heads than queries, without copies of the heads.

use super::DecoderOptions;
use super::options::{AttentionForm, POSITIONS_OF_A_BLOCK};
use super::shaped::shaped;
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{GraphBuilder, Value};
use crate::spec::{DType, Dim, Shape};
use crate::tensor::HostTensor;

/// The heads of one attention.
pub(super) struct Heads {
    /// Heads of keys and values, and query heads for each.
    pub(super) key_value: usize,
    pub(super) group: usize,
    pub(super) size: usize,
    /// The factor of scores.
    pub(super) scale: f64,
    /// Scores become `cap * tanh(score / cap)`.
    pub(super) cap: Option<f64>,
}

/// What tokens see: numbers that are added to scores, `[b, 1, rows, capacity]`, with a row for each token, or for each
/// token of each query head that shares a key.
pub(super) struct Sight(pub(super) Value);

/// Added to the score of what is not seen, so that its exponential is 0.
fn unseen(dtype: DType) -> f32 {
    if dtype == DType::F16 { -3e4 } else { -1e30 }
}

/// The places of the caches that attention reads, from the first one on.
pub(super) struct Seen {
    /// `0, 1, …`, `[places]`
    pub(super) places: Value,
    /// How many there are, `[1]`; none where attention reads all.
    count: Option<Value>,
}

impl Seen {
    /// As many as an input has where the options say that a pass is told, else all.
    pub(super) fn declare(
        graph: &GraphBuilder,
        target: Target,
        options: &DecoderOptions,
    ) -> Result<Self> {
        if !options.reads_a_part(target) {
            return Self::all(graph, options.capacity);
        }
        let size = POSITIONS_OF_A_BLOCK;
        let blocks = Dim::dynamic("blocks", 1..=options.capacity / size)?;
        let places = graph.input("seen", DType::I64, [blocks.clone(), size.into()])?;
        let all = Dim::map(|| format!("{size} * {blocks}"), &[&blocks], |sizes| size * sizes[0]);
        let places = shaped(&places, vec![all])?;
        let count = graph.shape_tensor(places.dims(), &[&places])?;
        Ok(Self { places, count: Some(count) })
    }

    /// All places of a cache.
    pub(super) fn all(graph: &GraphBuilder, capacity: usize) -> Result<Self> {
        let places = HostTensor::from_vec([capacity], (0..capacity as i64).collect())?;
        Ok(Self { places: graph.constant("places", places), count: None })
    }

    /// What is read of a cache, `[b, heads, capacity, head size]`.
    pub(super) fn of(&self, cache: &Value) -> Result<Value> {
        let Some(count) = &self.count else { return Ok(cache.clone()) };
        let graph = cache.graph();
        let number = |value: i64| {
            Ok::<_, crate::Error>(graph.constant("slice", HostTensor::from_vec([1], vec![value])?))
        };
        let mut dims = cache.dims().to_vec();
        dims[2] = self.places.dims()[0].clone();
        let node = graph.node("Slice").input(cache).input(&number(0)?).input(count);
        node.input(&number(2)?).outputs([(cache.dtype(), Shape::from(dims))]).build()
    }
}

impl Sight {
    /// For tokens at `positions`, `[b, t]`, that see so far back, of the places `all`.
    pub(super) fn new(
        positions: &Value,
        all: &Value,
        window: Option<usize>,
        group: usize,
        dtype: DType,
    ) -> Result<Self> {
        let graph = positions.graph();
        let own = positions.unsqueeze(&[1, 3])?;
        let mut seen = all.less_equal(&own)?;
        if let Some(window) = window.filter(|window| *window < all.dims()[0].max()) {
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
/// gives `[b, t, heads * head size]`. `wide` has scores in 32 bits.
pub(super) fn attend(
    heads: &Heads,
    queries: &Value,
    keys: &Value,
    values: &Value,
    sight: Option<&Sight>,
    wide: bool,
    form: AttentionForm,
) -> Result<Value> {
    let dims = queries.dims().to_vec();
    let (kv, group, head) = (heads.key_value, heads.group, heads.size);
    let rows = [Some(dims[0].clone()), Some(kv.into()), None, Some(head.into())];
    // Scaled first: the product of two long vectors may be beyond half precision.
    let queries = queries.affine(heads.scale, 0.0)?.reshape(&rows)?;
    let mixed = match (form, sight) {
        (AttentionForm::Whole, _) | (_, None) => {
            let sight = sight.map(|sight| &sight.0);
            let weights = scores(heads, &queries, keys, sight, wide)?.softmax(-1)?;
            weights.cast(values.dtype())?.matmul(values)?
        }
        (AttentionForm::Parts(parts), Some(sight)) => {
            in_parts(heads, &queries, keys, values, sight, wide, parts)?
        }
        (AttentionForm::Sums(parts), Some(sight)) => {
            let weights = scores(heads, &queries, keys, Some(&sight.0), wide)?.softmax(-1)?;
            // [b, key-value heads, parts, group, positions of a part]
            let weights =
                split(&weights.cast(values.dtype())?, 3, parts)?.transpose(&[0, 1, 3, 2, 4])?;
            let mixed = weights.matmul(&split(values, 2, parts)?)?;
            mixed.cast(DType::F32)?.reduced("ReduceSum", &[2], false)?.cast(values.dtype())?
        }
        (AttentionForm::Columns(parts), Some(sight)) => {
            let (queries, sight) =
                (queries.transpose(&[0, 1, 3, 2])?, sight.0.transpose(&[0, 1, 3, 2])?);
            let weights = seen(heads, &keys.matmul(&queries)?, Some(&sight), wide)?.softmax(2)?;
            // [b, key-value heads, parts, group, positions of a part]
            let weights =
                split(&weights.cast(values.dtype())?, 2, parts)?.transpose(&[0, 1, 2, 4, 3])?;
            let mixed = weights.matmul(&split(values, 2, parts)?)?;
            mixed.cast(DType::F32)?.reduced("ReduceSum", &[2], false)?.cast(values.dtype())?
        }
    };
    let apart = vec![dims[0].clone(), (kv * group).into(), dims[2].clone(), head.into()];
    let mixed = shaped(&mixed, apart)?.transpose(&[0, 2, 1, 3])?;
    shaped(&mixed, vec![dims[0].clone(), dims[2].clone(), (kv * group * head).into()])
}

/// [Scores](seen) of queries and keys, whose last two axes count.
fn scores(
    heads: &Heads,
    queries: &Value,
    keys: &Value,
    sight: Option<&Value>,
    wide: bool,
) -> Result<Value> {
    let mut turned: Vec<usize> = (0..keys.rank()).collect();
    turned.swap(keys.rank() - 2, keys.rank() - 1);
    seen(heads, &queries.matmul(&keys.transpose(&turned)?)?, sight, wide)
}

/// Scores, capped where the model does so, with what is not seen far below the others.
fn seen(heads: &Heads, scores: &Value, sight: Option<&Value>, wide: bool) -> Result<Value> {
    let mut scores = scores.clone();
    if wide {
        scores = scores.cast(DType::F32)?;
    }
    if let Some(cap) = heads.cap {
        scores = scores.affine(1.0 / cap, 0.0)?.tanh()?.affine(cap, 0.0)?;
    }
    let Some(sight) = sight else { return Ok(scores) };
    // Rows that are dynamic have the same number under another name.
    let node = scores.graph().node("Add").input(&scores).input(sight);
    node.outputs([(scores.dtype(), scores.shape().clone())]).build()
}

/// The attention of one token, a softmax for each part of the cache. `o` of a part is relative to its largest score, so that
/// the sum over parts weighs each by how far that score is below the largest of all.
fn in_parts(
    heads: &Heads,
    queries: &Value,
    keys: &Value,
    values: &Value,
    sight: &Sight,
    wide: bool,
    parts: usize,
) -> Result<Value> {
    let [keys, values] = [split(keys, 2, parts)?, split(values, 2, parts)?];
    let sight = split(&sight.0, 3, parts)?.transpose(&[0, 1, 3, 2, 4])?;
    let scores = scores(heads, &queries.unsqueeze(&[2])?, &keys, Some(&sight), wide)?;
    let scores = scores.cast(DType::F32)?;
    let largest = scores.reduced("ReduceMax", &[-1], true)?;
    let weights = scores.sub(&largest)?.exp()?;
    let sums = weights.reduced("ReduceSum", &[-1], true)?;
    let mixed = weights.cast(values.dtype())?.matmul(&values)?.cast(DType::F32)?;
    let share = largest.sub(&largest.reduced("ReduceMax", &[2], true)?)?.exp()?;
    let total = share.mul(&sums)?.reduced("ReduceSum", &[2], false)?;
    share.mul(&mixed)?.reduced("ReduceSum", &[2], false)?.div(&total)?.cast(values.dtype())
}

/// An axis as two: parts, and what each has.
fn split(x: &Value, axis: usize, parts: usize) -> Result<Value> {
    let mut dims = x.dims().to_vec();
    let part =
        Dim::map(|| format!("{} / {parts}", dims[axis]), &[&dims[axis]], |sizes| sizes[0] / parts);
    dims.splice(axis..=axis, [parts.into(), part]);
    shaped(x, dims)
}
