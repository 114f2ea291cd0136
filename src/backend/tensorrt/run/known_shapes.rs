//! Output shapes that a context told before: asking one takes it from executions, and its graphs with
//! other shapes are forgotten.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many are kept.
const KEPT: usize = 64;

type Shapes = Vec<Vec<usize>>;

/// The shapes of all outputs by those of all inputs, for the last few that were asked.
#[derive(Default)]
pub(crate) struct KnownShapes(Mutex<VecDeque<(Shapes, Shapes)>>);

impl KnownShapes {
    pub(crate) fn get(&self, inputs: &[&[usize]]) -> Option<Shapes> {
        let mut known = self.lock();
        let i = known.iter().rposition(|(of, _)| of.iter().eq(inputs))?;
        // The one asked last comes last.
        let found = known.remove(i)?;
        let outputs = found.1.clone();
        known.push_back(found);
        Some(outputs)
    }

    pub(crate) fn keep(&self, inputs: &[&[usize]], outputs: &[Vec<usize>]) {
        let mut known = self.lock();
        if known.len() == KEPT {
            known.pop_front();
        }
        let inputs = inputs.iter().map(|sizes| sizes.to_vec()).collect();
        known.push_back((inputs, outputs.to_vec()));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Shapes, Shapes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_sizes_in_other_tensors_are_other_shapes() {
        let known = KnownShapes::default();
        known.keep(&[&[2, 3], &[4]], &[vec![1]]);
        known.keep(&[&[2], &[3, 4]], &[vec![2]]);
        assert_eq!(known.get(&[&[2, 3], &[4]]), Some(vec![vec![1]]));
        assert_eq!(known.get(&[&[2], &[3, 4]]), Some(vec![vec![2]]));
        for unknown in [&[&[2, 3, 4][..]][..], &[&[2, 3]], &[&[2, 3], &[4], &[]], &[]] {
            assert_eq!(known.get(unknown), None);
        }
    }

    #[test]
    fn the_one_not_asked_for_longest_is_forgotten() {
        let known = KnownShapes::default();
        let get = |n: usize| known.get(&[&[n]]);
        for n in 0..KEPT {
            known.keep(&[&[n]], &[vec![n]]);
        }
        assert_eq!(get(0), Some(vec![vec![0]]));
        known.keep(&[&[KEPT]], &[vec![KEPT]]);
        assert_eq!((get(0), get(1)), (Some(vec![vec![0]]), None));
        assert_eq!(get(KEPT), Some(vec![vec![KEPT]]));
    }
}
