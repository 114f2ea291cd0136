//! Slices whose places lie beyond any size, which tract loses its way with.

use super::{FAR, Made};
use crate::backend::tract::gaps::view::View;
use crate::export::onnx::NodeProto;

/// The largest step that tract adds a size to in 32 bits.
const LONGEST: i64 = 1 << 30;
const BACK: i64 = -FAR;

/// One axis of a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cut {
    start: i64,
    end: i64,
    step: i64,
}

/// Takes nothing.
const NOTHING: Cut = Cut { start: 0, end: 0, step: 1 };

impl Cut {
    /// The same cut of any axis, with places as tract reads them.
    fn near(self) -> Self {
        let step = self.step.clamp(-LONGEST, LONGEST);
        // ONNX Runtime takes the ends of both integers for the end in the direction of the step.
        let whole = self.end == i64::MAX || self.end == FAR;
        match (step > 0, self.start, self.end) {
            (true, FAR.., _) => NOTHING,
            (true, _, ..=BACK) => NOTHING,
            (true, start, end) => {
                Self { start: start.max(BACK), end: if end >= FAR { i64::MAX } else { end }, step }
            }
            (false, _, end) if end >= FAR && !whole => NOTHING,
            (false, start, end) => {
                // The end of the other direction is the only one that tract takes for it.
                let end = if whole || end <= BACK { i64::MIN } else { end };
                Self { start: if start >= FAR { -1 } else { start }, end, step }
            }
        }
    }
}

impl Made {
    /// A slice between constant places that are far; `None` where all are near.
    pub(super) fn near_slice(&mut self, node: &NodeProto, view: &View<'_>) -> Option<()> {
        let (starts, ends) = (view.ints(node, 1)?, view.ints(node, 2)?);
        let has_steps = node.input.get(4).is_some_and(|name| !name.is_empty());
        let steps = if has_steps { view.ints(node, 4)? } else { vec![1; starts.len()] };
        if ends.len() != starts.len() || steps.len() != starts.len() {
            return None;
        }
        let cuts = starts.iter().zip(&ends).zip(&steps);
        let cuts: Vec<Cut> = cuts.map(|((&start, &end), &step)| Cut { start, end, step }).collect();
        let near: Vec<Cut> = cuts.iter().map(|cut| cut.near()).collect();
        if near == cuts {
            return None;
        }
        let list = |of: fn(&Cut) -> i64| near.iter().map(of).collect::<Vec<_>>();
        let mut inputs = node.input.clone();
        inputs[1] = self.vector(&list(|cut| cut.start));
        inputs[2] = self.vector(&list(|cut| cut.end));
        if near.iter().any(|cut| cut.step != 1) {
            if inputs.len() == 3 {
                let axes: Vec<i64> = (0..near.len() as i64).collect();
                inputs.push(self.vector(&axes));
            }
            inputs.truncate(4);
            if inputs[3].is_empty() {
                let axes: Vec<i64> = (0..near.len() as i64).collect();
                inputs[3] = self.vector(&axes);
            }
            inputs.push(self.vector(&list(|cut| cut.step)));
        } else {
            inputs.truncate(4);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.last(node, "Slice", &inputs);
        Some(())
    }
}
