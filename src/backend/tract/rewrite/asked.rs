//! Numbers that say how much is asked for, and mean something else to tract at their ends: no boxes, diagonals far beyond a
//! matrix, and a scale of nothing but zeros.

use super::Made;
use crate::backend::tract::gaps::view::View;
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// No matrix has as many rows or columns.
const FARTHEST: i64 = 1 << 40;

impl Made {
    /// Boxes of which none are asked for. tract takes 0, and a number that is left out, for all, and a number below 0 for none.
    pub(super) fn selected(&mut self, node: &NodeProto, view: &View<'_>) -> Option<()> {
        let most = node.input.get(2).filter(|name| !name.is_empty());
        let none = match (most, view.ints(node, 2)) {
            (None, _) => self.vector(&[-1]),
            (_, Some(most)) if most.iter().all(|&most| most != 0) => return None,
            (_, Some(_)) => self.vector(&[-1]),
            (Some(most), None) => {
                let [zero, less] = [0, -1].map(|number| self.vector(&[number]));
                let is_none = self.op("Equal", &[most, &zero], &[]);
                self.op("Where", &[&is_none, &less, most], &[])
            }
        };
        let mut same = node.clone();
        same.input.resize(node.input.len().max(3), String::new());
        same.input[2] = none;
        self.nodes.push(same);
        Some(())
    }

    /// A triangle whose diagonal is no farther than matrices are. tract adds the number of a row, which wraps around.
    pub(super) fn near_diagonal(&mut self, node: &NodeProto, view: &View<'_>) -> Option<()> {
        let diagonal = node.input.get(1).filter(|name| !name.is_empty())?;
        let near = match view.ints(node, 1) {
            Some(given) => {
                let near = given.first()?.clamp(&-FARTHEST, &FARTHEST);
                if given.first() == Some(near) {
                    return None;
                }
                self.constant(HostTensor::scalar(*near))
            }
            None => {
                let diagonal = match view.follows(diagonal) {
                    true => self.counted(diagonal),
                    false => diagonal.clone(),
                };
                let [least, most] =
                    [-FARTHEST, FARTHEST].map(|end| self.constant(HostTensor::scalar(end)));
                let near = self.op("Max", &[&diagonal, &least], &[]);
                self.op("Min", &[&near, &most], &[])
            }
        };
        let mut same = node.clone();
        same.input[1] = near;
        self.nodes.push(same);
        Some(())
    }

    /// Quantized values with a scale of 1 where all are 0. tract has a scale of 0 there.
    pub(super) fn scaled(&mut self, node: &NodeProto) -> Option<()> {
        let scale = node.output.get(1).filter(|name| !name.is_empty())?;
        let found = format!("{}.scale", self.prefix);
        let mut same = node.clone();
        same.output[1].clone_from(&found);
        self.nodes.push(same);
        let [zero, one] = [0.0, 1.0].map(|number| self.number(number, DType::F32));
        let is_zero = self.op("Equal", &[&found, &zero], &[]);
        self.op("Where", &[&is_zero, &one, &found], &[]);
        self.nodes.last_mut()?.output = vec![scale.clone()];
        Some(())
    }
}
