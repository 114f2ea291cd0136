//! Caches that a forward gets and gives back, with new rows written into them: which of them a target may write in place.

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::OperationIr;

use super::BurnGraph;
use super::trace::CapturedPass;

/// Where caches and the numbers of their rows are among the inputs and outputs of a forward.
pub(crate) struct CachePlaces<'a> {
    /// The input with the numbers of the rows, `[b, t]`, ascending by 1.
    pub(crate) positions: usize,
    /// The inputs before the first cache.
    pub(crate) inputs_before: usize,
    /// The outputs before the first cache.
    pub(crate) outputs_before: usize,
    /// The caches that are written, in the order of the writes.
    pub(crate) written: &'a [usize],
}

/// Rows that are written into a cache, which nothing else reads.
#[derive(Clone, Debug)]
pub(super) struct CacheWrite {
    pub(super) positions: TensorId,
    pub(super) cache: TensorId,
    /// `[b, heads, t, size]`
    pub(super) rows: TensorId,
    /// The cache with the rows, which is the output in the place of the cache.
    pub(super) result: TensorId,
}

impl BurnGraph {
    /// Takes the last outputs for what is written into caches: the rows of each write, and then the cache of each.
    pub(crate) fn with_caches(mut self, places: &CachePlaces<'_>) -> Self {
        let count = places.written.len();
        let outputs = self.trace.outputs.len() - 2 * count;
        let writes = self.trace.outputs.split_off(outputs);
        self.others.iter_mut().for_each(|other| other.outputs.truncate(outputs));
        self.output_names.truncate(outputs);
        self.layout.output_types.truncate(outputs);
        let (rows, results) = writes.split_at(count);
        let trace = &self.trace;
        let write = |((cache, rows), result): ((&usize, &TensorId), &TensorId)| {
            let (input, output) = (places.inputs_before + cache, places.outputs_before + cache);
            let write = CacheWrite {
                positions: *trace.inputs.get(places.positions)?,
                cache: *trace.inputs.get(input)?,
                rows: *rows,
                result: *result,
            };
            let given = trace.outputs.get(output) == Some(result);
            (given && write.is_alone(trace)).then_some(write)
        };
        self.writes = places.written.iter().zip(rows).zip(results).filter_map(write).collect();
        self
    }

    /// Whether a cache can be written in place.
    pub(crate) fn writes_caches(&self) -> bool {
        !self.writes.is_empty()
    }
}

impl CacheWrite {
    /// Whether nothing else reads the cache as it was: its memory has other rows then.
    fn is_alone(&self, trace: &CapturedPass) -> bool {
        let reads = |op: &&OperationIr| op.inputs().any(|tensor| tensor.id == self.cache);
        let mut readers = trace.operations.iter().filter(reads);
        let writes = |op: &OperationIr| op.outputs().any(|tensor| tensor.id == self.result);
        let once = trace.outputs.iter().filter(|id| **id == self.result).count() == 1;
        once && !trace.outputs.contains(&self.cache)
            && readers.next().is_some_and(writes)
            && readers.next().is_none()
    }
}
