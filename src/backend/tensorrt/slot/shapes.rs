//! The shapes that a context knows.

use std::ops::Range;

use crate::spec::{DType, Signature};

/// The sizes that the context was told last, and what it made of them, one tensor after the other.
pub(super) struct Shapes {
    pub(super) inputs: Vec<usize>,
    /// The values of the inputs that decide shapes.
    pub(super) values: Vec<i64>,
    pub(super) outputs: Vec<usize>,
    /// The profile that they are of.
    pub(super) profile: usize,
    /// Where in `outputs` each output's sizes are.
    pub(super) ranges: Vec<Range<usize>>,
    /// Whether each output's sizes are known only after an execution.
    pub(super) computed: Vec<bool>,
    /// Whether the context knows them.
    pub(super) set: bool,
}

impl Shapes {
    pub(super) fn new(signature: &Signature) -> Self {
        let mut end = 0;
        let ranges = signature.outputs.iter().map(|spec| {
            let start = end;
            end += spec.shape.rank();
            start..end
        });
        let ranges: Vec<_> = ranges.collect();
        Self {
            inputs: Vec::new(),
            values: Vec::new(),
            outputs: vec![0; end],
            profile: 0,
            computed: vec![false; ranges.len()],
            ranges,
            set: false,
        }
    }

    /// Whether the context knows exactly these sizes and values. They were checked when it was told.
    pub(super) fn are<'a>(
        &self,
        signature: &Signature,
        inputs: impl ExactSizeIterator<Item = (DType, &'a [usize])>,
        values: &[i64],
    ) -> bool {
        if !self.set || self.values != values || inputs.len() != signature.inputs.len() {
            return false;
        }
        let mut known = self.inputs.as_slice();
        for (spec, (dtype, sizes)) in signature.inputs.iter().zip(inputs) {
            let Some(rest) = known.strip_prefix(sizes) else { return false };
            if dtype != spec.dtype || sizes.len() != spec.shape.rank() {
                return false;
            }
            known = rest;
        }
        true
    }
}
