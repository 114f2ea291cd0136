//! Slices in steps. tract moves such a slice to before a softmax of the same axis, and takes no such slice of an axis of
//! unknown size. A gather is written instead.

use super::LONGEST;
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

/// Gathers what slices in steps take, where the places are known.
pub(in crate::export::passes) struct SlicesInSteps(pub(in crate::export::passes) Target);

/// What is taken along one axis.
enum Taken {
    /// These places.
    Places(Vec<i64>),
    /// All, from the end to the start.
    Backwards,
}

struct Slice {
    x: TensorSpec,
    taken: Vec<(usize, Taken)>,
}

impl Pass for SlicesInSteps {
    fn name(&self) -> &'static str {
        "slices in steps"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        replace(graph, self.0, Slice::of, |new, node, slice| {
            let mut x = new.of(&slice.x);
            for (axis, taken) in &slice.taken {
                x = match taken {
                    Taken::Backwards => x.backwards(*axis)?,
                    Taken::Places(places) => {
                        let places = HostTensor::from_vec([places.len()], places.clone())?;
                        x.gather(&new.graph.constant("places", places), *axis as i64)?
                    }
                };
            }
            new.named(&x, &node.output[0]);
            Ok(())
        })
    }
}

impl Slice {
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        if !node.is("Slice") || node.output.len() != 1 {
            return None;
        }
        let list = |at: usize| {
            let tensor = graph.constant(node.input.get(at)?)?;
            match tensor.dtype() {
                DType::I64 => tensor.to_vec::<i64>().ok(),
                DType::I32 => {
                    Some(tensor.to_vec::<i32>().ok()?.into_iter().map(i64::from).collect())
                }
                _ => None,
            }
        };
        let (starts, ends, axes, steps) = (list(1)?, list(2)?, list(3)?, list(4)?);
        let same = [ends.len(), axes.len(), steps.len()].iter().all(|len| *len == starts.len());
        if !same || steps.iter().all(|step| *step == 1) || steps.contains(&0) {
            return None;
        }
        let x = graph.spec(node.input.first()?)?;
        let rank = x.shape.rank() as i64;
        let mut taken = Vec::with_capacity(axes.len());
        for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
            let end = if step < 0 { backwards(end) } else { end };
            let whole = start == -1 && step == -1 && end <= -i64::from(i32::MAX);
            taken.push(match x.shape.dims().get(axis)?.fixed() {
                Some(size) if size > LONGEST => return None,
                Some(size) => (axis, Taken::Places(places(size as i64, start, end, step))),
                None if whole => (axis, Taken::Backwards),
                None => return None,
            });
        }
        Some(Self { x, taken })
    }
}

/// The end of a slice backwards. The largest integers are the end in the direction of the step to ONNX Runtime.
fn backwards(end: i64) -> i64 {
    if end == i64::MAX || end == i64::from(i32::MAX) { i64::MIN } else { end }
}

/// The places that a slice of an axis takes.
fn places(size: i64, start: i64, end: i64, step: i64) -> Vec<i64> {
    let from_start = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (first, last) = if step > 0 { (0, size) } else { (-1, size - 1) };
    // A start before the axis is its first place in both directions.
    let start = from_start(start).max(0).min(last);
    let end = from_start(end).clamp(first, last);
    let mut places = Vec::new();
    let mut at = start;
    while if step > 0 { at < end } else { at > end } {
        places.push(at);
        at = at.saturating_add(step);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_integers_end_a_slice_backwards_too() {
        for end in [i64::MAX, i64::from(i32::MAX)] {
            assert_eq!(places(5, 4, backwards(end), -2), [4, 2, 0]);
        }
        assert_eq!(places(5, 4, backwards(1 << 31), -2), Vec::<i64>::new());
    }

    #[test]
    fn places_are_those_of_onnx() {
        for ((size, start, end, step), expected) in [
            ((6, 0, 6, 2), vec![0, 2, 4]),
            ((6, 1, i64::MAX, 2), vec![1, 3, 5]),
            ((6, -1, i64::MIN, -1), vec![5, 4, 3, 2, 1, 0]),
            ((6, 9, -9, -2), vec![5, 3, 1]),
            ((6, 4, 1, -1), vec![4, 3, 2]),
            ((6, -3, -1, 1), vec![3, 4]),
            // NumPy takes none here.
            ((6, -9, i64::MIN, -1), vec![0]),
            ((6, 4, 2, 3), vec![]),
            ((0, 0, 6, 2), vec![]),
            ((0, -1, i64::MIN, -1), vec![]),
            ((5, 0, 5, i64::MAX), vec![0]),
        ] {
            assert_eq!(places(size, start, end, step), expected, "{size} {start}..{end} by {step}");
        }
    }
}
