//! A node with what is known of its inputs, as rules ask for it.

use super::fact::{Fact, Size, list};
use crate::error::{Error, ErrorKind, Result};
use crate::export::model::walk::short;
use crate::export::onnx::{AttributeProto, NodeProto, TensorProto};

pub(super) type Dims = Vec<Size>;

pub(super) struct Call<'c> {
    pub(super) node: &'c NodeProto,
    pub(super) opset: i64,
    pub(super) inputs: Vec<Option<&'c Fact>>,
}

impl<'c> Call<'c> {
    pub(super) fn input(&self, i: usize) -> Option<&'c Fact> {
        self.inputs.get(i).copied().flatten()
    }

    pub(super) fn has(&self, i: usize) -> bool {
        self.node.input.get(i).is_some_and(|name| !name.is_empty())
    }

    pub(super) fn shape(&self, i: usize) -> Option<&'c [Size]> {
        self.input(i)?.shape.as_deref()
    }

    pub(super) fn rank(&self, i: usize) -> Option<usize> {
        self.shape(i).map(<[Size]>::len)
    }

    pub(super) fn ints(&self, i: usize) -> Option<&'c [i64]> {
        self.input(i)?.ints()
    }

    fn attribute(&self, name: &str) -> Option<&'c AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub(super) fn has_attribute(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        Some(self.attribute(name)?.i())
    }

    pub(super) fn list(&self, name: &str) -> Option<&'c [i64]> {
        Some(&self.attribute(name)?.ints)
    }

    pub(super) fn floats(&self, name: &str) -> Option<&'c [f32]> {
        Some(&self.attribute(name)?.floats)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'c [u8]> {
        Some(self.attribute(name)?.s())
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'c TensorProto> {
        self.attribute(name)?.t.as_ref()
    }

    /// An error about the node.
    pub(super) fn fail<T>(&self, text: impl Into<String>) -> Result<T> {
        Err(Error::new(ErrorKind::InvalidModel, text))
    }

    /// An error about an input.
    pub(super) fn wrong<T>(&self, i: usize, text: impl Into<String>) -> Result<T> {
        let name = self.node.input.get(i).map_or("", String::as_str);
        let text = text.into();
        let text = match self.shape(i) {
            Some(shape) => format!("{text} (the tensor has shape {})", list(shape)),
            None => text,
        };
        Err(Error::new(ErrorKind::InvalidModel, text).on_tensor(short(name)))
    }

    /// An axis, counted from the end when negative.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        match usize::try_from(counted) {
            Ok(counted) if counted < rank => Ok(counted),
            _ => self.fail(format!("there is no axis {axis} in rank {rank}")),
        }
    }

    /// Axes, each once.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut seen = vec![false; rank];
        let mut all = Vec::with_capacity(axes.len().min(rank));
        for &axis in axes {
            let axis = self.axis(axis, rank)?;
            if std::mem::replace(&mut seen[axis], true) {
                return self.fail(format!("axis {axis} comes twice in {axes:?}"));
            }
            all.push(axis);
        }
        Ok(all)
    }

    /// An axis that an attribute gives, of input `i`.
    pub(super) fn axis_of(&self, name: &str, default: i64, i: usize) -> Result<Option<usize>> {
        let axis = self.int(name).unwrap_or(default);
        self.rank(i).map(|rank| self.axis(axis, rank)).transpose()
    }

    /// Refuses an input of another rank.
    pub(super) fn expect_rank(
        &self,
        i: usize,
        ranks: std::ops::RangeInclusive<usize>,
    ) -> Result<()> {
        match self.rank(i) {
            Some(rank) if !ranks.contains(&rank) => {
                let expected = match (ranks.start(), ranks.end()) {
                    (a, b) if a == b => format!("{a}"),
                    (a, &usize::MAX) => format!("{a} or more"),
                    (a, b) => format!("{a} to {b}"),
                };
                self.wrong(i, format!("input {i} has rank {rank}, and must have {expected}"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an input that is known not to be one element.
    pub(super) fn expect_one(&self, i: usize) -> Result<()> {
        match self.input(i).and_then(Fact::count) {
            Some(count) if count != 1 => {
                self.wrong(i, format!("input {i} has {count} elements, and must have one"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an attribute that is there and not positive.
    pub(super) fn expect_positive(&self, name: &str) -> Result<()> {
        match self.int(name) {
            Some(value) if value < 1 => {
                self.fail(format!("`{name}` is {value}, and must be positive"))
            }
            _ => Ok(()),
        }
    }
}
