//! Heads of layers that are one product: if each layer is divided into heads and turned alike, as attention does, all layers
//! are divided and turned at once.

use super::Linear;
use crate::export::graph::Wiring;

/// A `[.., outputs]` divided into `[.., count, size]`, whose axes are put into another order.
pub(super) struct Heads {
    pub(super) count: usize,
    pub(super) size: usize,
    pub(super) order: Vec<usize>,
    /// The results, one for each layer.
    pub(super) outputs: Vec<String>,
    /// The nodes that do it to one layer after the other.
    pub(super) nodes: Vec<usize>,
}

impl Heads {
    /// Those of `layers`, if nothing else is done to any of them.
    pub(super) fn of(wiring: &Wiring<'_>, layers: &[&Linear]) -> Option<Self> {
        let mut heads: Option<Self> = None;
        for layer in layers {
            let mut next = Self::of_one(wiring, layer)?;
            heads = Some(match heads {
                None => next,
                Some(mut heads) => {
                    if (heads.count, &heads.order) != (next.count, &next.order) {
                        return None;
                    }
                    heads.outputs.append(&mut next.outputs);
                    heads.nodes.append(&mut next.nodes);
                    heads
                }
            });
        }
        heads
    }

    fn of_one(wiring: &Wiring<'_>, layer: &Linear) -> Option<Self> {
        let only = |value: &str, operator: &str| {
            let reader = wiring.only_reader(value).map(|at| (at, wiring.node(at)))?;
            Some(reader).filter(|(_, node)| node.op_type() == operator)
        };
        let (reshape, node) = only(&layer.y, "Reshape")?;
        let sizes = wiring.graph.constant(node.input.get(1)?)?.to_vec::<i64>().ok()?;
        let (leading, &[count, size]) = sizes.split_last_chunk::<2>()?;
        let (_, dims) = layer.x.shape.dims().split_last()?;
        let (count, size) = (usize::try_from(count).ok()?, usize::try_from(size).ok()?);
        let stays = leading.iter().zip(dims).all(|(&size, dim)| {
            // 0 is the size that was there, and -1 what the others leave.
            size <= 0 || dim.fixed().is_some_and(|fixed| fixed as i64 == size)
        });
        // TensorRT has eight axes at most, and one more comes in front.
        if !stays
            || sizes.len() > 7
            || leading.len() != dims.len()
            || count.checked_mul(size) != Some(layer.outputs)
        {
            return None;
        }
        let (transpose, node) = only(node.output.first()?, "Transpose")?;
        let order = node.permutation(sizes.len())?;
        let outputs = node.output.clone();
        Some(Self { count, size, order, outputs, nodes: vec![reshape, transpose] })
    }
}
