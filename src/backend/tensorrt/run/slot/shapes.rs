//! The shapes that a context knows.

use std::{collections::HashSet, ops::Range};

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

/// Shapes and values of inputs that were met before, as far as they are remembered.
#[derive(Default)]
pub(super) struct Met(HashSet<(Vec<usize>, Vec<i64>)>);

/// So many are remembered.
const MOST_MET: usize = 256;

impl Met {
    pub(super) fn has(&self, shapes: &Shapes) -> bool {
        self.0.contains(&(shapes.inputs.clone(), shapes.values.clone()))
    }

    /// Remembers them, and says whether they are new.
    pub(super) fn add(&mut self, shapes: &Shapes) -> bool {
        if self.0.len() >= MOST_MET {
            self.0.clear();
        }
        self.0.insert((shapes.inputs.clone(), shapes.values.clone()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_come_back_are_not_new_and_few_are_remembered() {
        let mut shapes = Shapes::new(&Signature::default());
        let mut met = Met::default();
        for size in [1, 2, 1, 2] {
            let first = !met.has(shapes_of(&mut shapes, size));
            assert_eq!(met.add(&shapes), first);
        }
        assert!(!met.add(&shapes));
        shapes.values = vec![1];
        assert!(met.add(&shapes), "other values are other shapes");
        (0..2 * MOST_MET).for_each(|size| assert!(met.add(shapes_of(&mut shapes, 10 + size))));
        assert!(met.0.len() <= MOST_MET);
    }

    fn shapes_of(shapes: &mut Shapes, size: usize) -> &Shapes {
        shapes.inputs = vec![size];
        shapes
    }
}
