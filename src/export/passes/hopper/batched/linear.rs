//! Which linear layers get another form, by their sizes.

use super::super::rows;
use super::super::thresholds::batched::{
    LEAST_IN_HALVES, LEAST_ROWS, LEAST_WIDTH, MOST_ROWS_IN_PARTS, MOST_ROWS_OF_HALF, PARTS,
    ROWS_OF_F32_IN_PARTS, STACKED,
};
use crate::export::passes::linear::Linear;
use crate::spec::{DType, Dim};

impl Linear {
    /// The rows of its input, at the sizes to tune for.
    pub(super) fn rows(&self) -> usize {
        let (_, rows) = self.x.shape.dims().split_last().expect("the rank is 2 or more");
        rows.iter().map(Dim::opt).fold(1, usize::saturating_mul)
    }

    fn is_measured(&self) -> bool {
        matches!(self.x.dtype, DType::F32 | DType::F16)
            && self.rows() >= LEAST_ROWS
            && self.inputs.min(self.outputs) >= LEAST_WIDTH
    }

    /// Whether it may be one of several that become one product: query, key and value.
    pub(super) fn is_narrow(&self) -> bool {
        let few = self.x.dtype == DType::F32 || self.rows() <= MOST_ROWS_OF_HALF;
        self.is_measured() && few && self.outputs <= self.inputs
    }

    /// Whether it may be query, key and value in one.
    pub(super) fn is_wide(&self) -> bool {
        let few = self.x.dtype == DType::F32 || self.rows() <= MOST_ROWS_OF_HALF;
        self.is_measured() && few && self.outputs == STACKED * self.inputs
    }

    /// Whether it may be the first of a feed-forward network.
    pub(super) fn widens(&self) -> bool {
        let rows = rows::more_rows(&self.x).unwrap_or(self.rows());
        let aligned = self.x.dtype != DType::F32 || rows.is_multiple_of(ROWS_OF_F32_IN_PARTS);
        let few = rows <= MOST_ROWS_IN_PARTS;
        let wide = self.outputs >= 2 * self.inputs && self.outputs.is_multiple_of(PARTS);
        self.is_measured() && few && aligned && wide
    }

    /// Whether it may be the first of a feed-forward network whose activation is in halves.
    pub(super) fn is_halved(&self) -> bool {
        let rows = self.rows();
        let many =
            rows > MOST_ROWS_IN_PARTS && rows.saturating_mul(self.outputs) >= LEAST_IN_HALVES;
        let wide = self.outputs >= 2 * self.inputs && self.outputs.is_multiple_of(2);
        // A `Gemm`, which a matrix gets, may round product and bias at once.
        let apart = self.bias.is_some() && self.x.shape.rank() > 2;
        self.is_measured() && self.x.dtype == DType::F16 && apart && many && wide
    }

    /// Whether both can be stacked into one product.
    pub(super) fn stacks_with(&self, other: &Self) -> bool {
        let sizes = |l: &Self| (l.inputs, l.outputs, l.transposed, l.bias.is_some());
        self.x.name == other.x.name && sizes(self) == sizes(other)
    }

    /// Whether it may be the second layer of the feed-forward network that `up` is the first of.
    pub(super) fn takes_back(&self, up: &Self) -> bool {
        let measured = self.x.dtype == up.x.dtype && self.outputs >= LEAST_WIDTH;
        measured && self.inputs >= 2 * self.outputs
    }
}
