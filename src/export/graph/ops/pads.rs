//! Cells around a tensor, as frameworks ask for them.

use super::pads;
use crate::error::Result;
use crate::export::graph::Value;
use crate::tensor::HostTensor;

/// What the cells around a tensor hold.
#[derive(Clone, Copy)]
#[cfg_attr(not(all(feature = "burn", feature = "candle")), allow(dead_code))]
pub(in crate::export) enum Around<'a> {
    Zeros,
    /// A scalar of the tensor's type.
    Of(&'a Value),
    /// The cell at the border once more.
    Edge,
    /// The tensor backwards, without the cell at the border.
    Reflected,
}

impl Value {
    /// With other cells before and behind each axis.
    pub(in crate::export) fn pad_with(
        &self,
        padding: &[(usize, usize)],
        around: Around<'_>,
    ) -> Result<Value> {
        let pads = pads(padding);
        let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
        let node = self.graph.node("Pad").input(self).input(&pads);
        match around {
            Around::Zeros => node.attr("mode", "constant").build(),
            Around::Of(value) => node.input(value).build(),
            Around::Edge => node.attr("mode", "edge").build(),
            Around::Reflected => node.attr("mode", "reflect").build(),
        }
    }

    /// With other cells before and behind one axis.
    pub(in crate::export) fn pad_axis(
        &self,
        axis: usize,
        padding: (usize, usize),
        around: Around<'_>,
    ) -> Result<Value> {
        let mut all = vec![(0, 0); self.rank()];
        all[axis] = padding;
        self.pad_with(&all, around)
    }
}
