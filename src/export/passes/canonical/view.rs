//! A tensor that is another one with its elements in another order: what reshapes, transpositions and cuts along axes
//! come to. Sizes are known; nothing is moved here.

use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;

/// A step along an axis: `size` elements of the root, `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    pub(super) size: usize,
    pub(super) stride: usize,
}

/// Elements of a root, whose strides are those of row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) root: String,
    /// Each axis by its factors, the outermost first; an axis of size 1 has none.
    pub(super) axes: Vec<Vec<Factor>>,
    /// Where the first element is.
    pub(super) offset: usize,
}

/// Whether an operator moves elements and changes none.
pub(super) fn is_layout(node: &NodeProto) -> bool {
    let operators =
        ["Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Gather", "Slice", "Split"];
    node.is_default() && operators.contains(&node.op_type())
}

/// The strides of a shape in row-major order.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

impl View {
    /// All of a tensor, as it is.
    pub(super) fn whole(root: &str, dims: &[usize]) -> Self {
        let factor = |(&size, stride)| match size {
            1 => Vec::new(),
            size => vec![Factor { size, stride }],
        };
        let axes = dims.iter().zip(strides(dims)).map(factor).collect();
        Self { root: root.to_owned(), axes, offset: 0 }
    }

    pub(super) fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.iter().map(|factor| factor.size).product()).collect()
    }

    /// What a layout operator makes of this, for each of its outputs.
    pub(super) fn after(&self, graph: &Graph, node: &NodeProto) -> Option<Vec<Self>> {
        let dims = node.output.iter().map(|name| graph.spec(name)?.shape.fixed());
        let dims: Vec<Vec<usize>> = dims.collect::<Option<_>>()?;
        let [first, ..] = &dims[..] else { return None };
        let rank = self.axes.len();
        let counted = |axis: i64| {
            let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
            (axis < rank).then_some(axis)
        };
        Some(match node.op_type() {
            "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => vec![self.reshaped(first)?],
            "Transpose" => {
                let reversed = || Some((0..rank).rev().collect());
                let order =
                    node.stated("perm").map_or_else(reversed, |_| node.permutation(rank))?;
                let axes = order.into_iter().map(|axis| self.axes[axis].clone()).collect();
                vec![Self { axes, ..self.clone() }]
            }
            "Gather" => {
                let axis = counted(node.int("axis", 0))?;
                let index = graph.constant(node.input.get(1)?)?;
                let &[at] = &index.to_vec::<i64>().ok()?[..] else { return None };
                let size = self.dims()[axis] as i64;
                let at = usize::try_from(if at < 0 { at + size } else { at }).ok()?;
                vec![self.cut(axis, at, 1)?.reshaped(first)?]
            }
            "Slice" => {
                let ints =
                    |input: usize| graph.constant(node.input.get(input)?)?.to_vec::<i64>().ok();
                let (&[start], &[axis]) = (&ints(1)?[..], &ints(3)?[..]) else { return None };
                let plain = node.input.len() < 5 || ints(4)? == [1];
                let axis = counted(axis).filter(|_| plain)?;
                let size = self.dims()[axis] as i64;
                let start = usize::try_from(if start < 0 { start + size } else { start }).ok()?;
                vec![self.cut(axis, start, first[axis])?]
            }
            "Split" => {
                let axis = counted(node.int("axis", 0))?;
                let mut start = 0;
                let parts = dims.iter().map(|dims| {
                    let part = self.cut(axis, start, dims[axis]);
                    start += dims[axis];
                    part
                });
                parts.collect::<Option<_>>()?
            }
            _ => return None,
        })
    }

    /// The same elements in the same order under other sizes.
    fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        let mut factors = self.axes.iter().flatten().copied();
        let mut rest: Option<Factor> = None;
        let mut axes = Vec::with_capacity(dims.len());
        for &dim in dims {
            let (mut axis, mut open) = (Vec::new(), dim);
            while open > 1 {
                let Factor { size, stride } = rest.take().or_else(|| factors.next())?;
                if open.is_multiple_of(size) {
                    axis.push(Factor { size, stride });
                    open /= size;
                } else if size.is_multiple_of(open) {
                    let inner = size / open;
                    axis.push(Factor { size: open, stride: stride * inner });
                    rest = Some(Factor { size: inner, stride });
                    open = 1;
                } else {
                    return None;
                }
            }
            axes.push(joined(axis));
        }
        let all = rest.is_none() && factors.next().is_none() && !dims.contains(&0);
        all.then(|| Self { axes, ..self.clone() })
    }

    /// `size` places along an axis, from `start` on.
    fn cut(&self, axis: usize, start: usize, size: usize) -> Option<Self> {
        let mut cut = self.clone();
        match &self.axes[axis][..] {
            [] if (start, size) == (0, 1) => {}
            &[Factor { size: all, stride }] if start + size <= all && size > 0 => {
                cut.offset += start * stride;
                cut.axes[axis] = if size == 1 { Vec::new() } else { vec![Factor { size, stride }] };
            }
            _ => return None,
        }
        Some(cut)
    }
}

/// Neighbours that are one step in the root are one factor.
fn joined(factors: Vec<Factor>) -> Vec<Factor> {
    let mut joined: Vec<Factor> = Vec::with_capacity(factors.len());
    for factor in factors {
        match joined.last_mut() {
            Some(last) if last.stride == factor.size * factor.stride => {
                *last = Factor { size: last.size * factor.size, stride: factor.stride };
            }
            _ => joined.push(factor),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_follows_heads_and_back() {
        // [batch, rows, heads * size] to [batch * heads, rows, size], by way of rows first.
        let x = View::whole("x", &[2, 5, 12]);
        let turned =
            View { axes: vec![x.axes[1].clone(), x.axes[0].clone(), x.axes[2].clone()], ..x };
        assert_eq!(turned.dims(), [5, 2, 12]);
        let heads = turned.reshaped(&[5, 6, 4]).unwrap();
        let [batch, head] = [Factor { size: 2, stride: 60 }, Factor { size: 3, stride: 4 }];
        assert_eq!(heads.axes[1], [batch, head]);
        assert_eq!(heads.reshaped(&[5, 2, 12]).unwrap(), turned);
        // A head of one batch is no run of places.
        assert_eq!(heads.cut(1, 1, 2), None);
        assert_eq!(heads.reshaped(&[5, 4, 6]), None);
        assert_eq!(turned.cut(2, 4, 4).unwrap().offset, 4);
    }
}
