//! Nodes that tract computes wrongly, written in operators that tract computes right. `gaps` refuses nodes that cannot be
//! written in another way.

mod asked;
mod bools;
mod casts;
mod doubles;
mod far;
mod half;
mod integers;
mod places;
mod ranges;
mod scalars;
mod sizes;
mod slices;
mod sums;

use std::collections::HashSet;

use super::gaps::view::{View, attribute};
use crate::export::onnx::{self, Attribute, GraphProto, NodeProto};
use crate::spec::DType;
use crate::tensor::HostTensor;
use sizes::divides_signed;

pub(super) use half::widen;
pub(super) use places::{is_computed_slice, slices_by_gathering};
pub(super) use sizes::count_outputs;
pub(super) use sums::{
    gives_nothing, is_wide_product, multiplies_integers, sums_integers, sums_nothing,
};

/// The largest size that an axis of a slice may have: tract loses its way with the ends of 64-bit integers.
const FAR: i64 = i32::MAX as i64;

/// Writes a graph, and those inside, so that tract computes the same as ONNX says.
pub(super) fn rewrite(graph: &mut GraphProto, opset: i64, outer: &View<'_>) {
    let known = graph.clone();
    let view = outer.with(&known);
    let mut nodes = Vec::with_capacity(known.node.len());
    for (i, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let mut made = Made {
            prefix: format!("{}.{i}", node.output.first().map_or("", String::as_str)),
            nodes: Vec::new(),
        };
        let written = made.range(&node, &view).or_else(|| {
            let backwards = sizes::counted_backwards(&node, &view);
            made.scalars(&mut node, &view);
            for input in backwards {
                node.input[input] = made.counted(&node.input[input]);
            }
            made.numbers(&mut node, &view);
            made.write(&node, opset, &view)
        });
        made.name(&node, i);
        nodes.append(&mut made.nodes);
        if written.is_none() {
            nodes.push(node);
        }
    }
    for node in &mut nodes {
        for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            rewrite(body, opset, &view);
        }
    }
    graph.node = nodes;
}

/// Whether writing needs the sizes of values.
pub(super) fn needs_sizes(graph: &GraphProto, view: &View<'_>) -> bool {
    let view = view.with(graph);
    graph.node.iter().any(|node| {
        sums::is_wide_product(node, &view)
            || sums::is_sum(node)
            || sums::GIVE_THE_SIZES.contains(&node.op_type())
            || !scalars::taken(node).is_empty()
            || places::is_computed_slice(node, &view)
    })
}

/// Stands in a name between that of a node of the model and the number of a node that was written for it.
pub(super) const WRITTEN: char = '#';

/// The node of the model that a node of tract was made for, by the name of that and the names that tract was given.
pub(super) fn origin<'n>(name: &'n str, given: &HashSet<&str>) -> &'n str {
    let ends = name.rmatch_indices('.').map(|(end, _)| end);
    let known = std::iter::once(name.len()).chain(ends).map(|end| &name[..end]);
    let name = known.into_iter().find(|name| given.contains(name)).unwrap_or(name);
    match name.rsplit_once(WRITTEN) {
        Some((own, _)) if given.contains(name) && given.contains(own) => own,
        _ => name,
    }
}

struct Made {
    prefix: String,
    nodes: Vec<NodeProto>,
}

impl Made {
    /// Writes a node in other operators; `None` where tract has the node right.
    fn write(&mut self, node: &NodeProto, opset: i64, view: &View<'_>) -> Option<()> {
        node.input.first()?;
        let dtype = view.dtype(node, 0);
        match node.op_type() {
            _ if sums_nothing(node, view) => self.nothing(node, dtype?, opset, view)?,
            // The same number of elements, which is none.
            _ if sums::gives_nothing(node, view) => self.last(node, "Identity", &[&node.input[0]]),
            "Softplus" => self.softplus(node, dtype?),
            "LogSoftmax" if opset >= 13 => self.log_softmax(node, opset),
            "ReduceLogSumExp" => {
                let result = self.log_sum_exp(&node.input, &node.attribute, dtype?, opset);
                self.last(node, "Identity", &[&result]);
            }
            "ReduceMax" | "ReduceMin" if matches!(dtype, Some(DType::F32 | DType::F64)) => {
                self.extreme(node, dtype?);
            }
            "Pad" | "ReduceMax" | "ReduceMin" if dtype == Some(DType::Bool) => self.as_bytes(node),
            "ReduceSum" if dtype == Some(DType::I64) => {
                self.sum(node, &sums::axes_of(node, view)?, opset);
            }
            "Equal" if dtype == Some(DType::Bool) => {
                let other = self.op("Xor", &[&node.input[0], &node.input[1]], &[]);
                self.last(node, "Not", &[&other]);
            }
            "Equal" if dtype == Some(DType::I64) => return self.equal_sizes(node, view),
            "MatMul" if is_wide_product(node, view) && multiplies_integers(node, view) => {
                self.product(node, dtype?, opset);
            }
            "IsInf" | "IsNaN" | "Round" | "Sigmoid" if dtype == Some(DType::F64) => {
                self.double(node);
            }
            "Cast" => {
                let to = onnx::from_onnx(attribute(node, "to")?.i() as i32).ok()?;
                return self.cast(node, dtype?, to);
            }
            "CastLike" => return self.cast(node, dtype?, view.dtype(node, 1)?),
            "Div" | "Mod" if divides_signed(node, view) => self.divided(node),
            "GatherND" | "ScatterND" if has_negative(view, node) => self.count_from_the_start(node),
            "OneHot" => return self.one_hot(node, dtype?, opset, view),
            "Slice" if slices_by_gathering(node, view).is_some() => {
                self.gathered(node, &slices_by_gathering(node, view)?);
            }
            "Slice" if node.input.len() > 2 => return self.near_slice(node, view),
            "Pow" if matches!(dtype, Some(DType::I32 | DType::I64)) => {
                return self.power(node, dtype?, view);
            }
            "BitShift" => return self.shift(node, dtype?, view),
            "NonMaxSuppression" => return self.selected(node, view),
            "Trilu" => return self.near_diagonal(node, view),
            "DynamicQuantizeLinear" => return self.scaled(node),
            _ => return None,
        }
        Some(())
    }

    /// Names what was made after the node that it was made for, so that errors name a node of the model.
    fn name(&mut self, node: &NodeProto, place: usize) {
        let own = match node.name() {
            "" => format!("{}_{place}", node.op_type()),
            name => name.to_owned(),
        };
        for (i, made) in
            self.nodes.iter_mut().enumerate().filter(|(_, made)| made.name().is_empty())
        {
            made.name = Some(format!("{own}{WRITTEN}{i}"));
        }
    }

    fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = format!("{}.{}", self.prefix, self.nodes.len());
        self.nodes.push(NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.clone()],
            attribute: attributes.iter().map(|(name, value)| value.to_proto(name)).collect(),
            ..Default::default()
        });
        output
    }

    /// The node that makes what `node` made.
    fn last(&mut self, node: &NodeProto, op: &str, inputs: &[&str]) {
        self.last_with(node, op, inputs, &[]);
    }

    fn last_with(
        &mut self,
        node: &NodeProto,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) {
        self.op(op, inputs, attributes);
        if let Some(last) = self.nodes.last_mut() {
            last.output.clone_from(&node.output);
            last.name.clone_from(&node.name);
        }
    }

    fn last_cast(&mut self, node: &NodeProto, x: &str, to: DType) {
        self.last_with(node, "Cast", &[x], &[("to", (onnx::to_onnx(to) as i64).into())]);
    }

    fn cast_to(&mut self, x: &str, to: DType) -> String {
        self.op("Cast", &[x], &[("to", (onnx::to_onnx(to) as i64).into())])
    }

    /// As 64-bit integers. tract takes a Cast to these for one to sizes of axes.
    fn counted(&mut self, x: &str) -> String {
        let like = self.constant(HostTensor::scalar(0i64));
        self.op("CastLike", &[x, &like], &[])
    }

    fn constant(&mut self, value: HostTensor) -> String {
        self.op("Constant", &[], &[("value", value.into())])
    }

    fn vector(&mut self, values: &[i64]) -> String {
        let vector = HostTensor::from_vec([values.len()], values.to_vec());
        self.constant(vector.unwrap_or_else(|_| HostTensor::scalar(0i64)))
    }

    fn number(&mut self, value: f64, dtype: DType) -> String {
        self.constant(match dtype {
            DType::F64 => HostTensor::scalar(value),
            DType::I64 => HostTensor::scalar(value as i64),
            DType::U32 => HostTensor::scalar(value as u32),
            DType::U64 => HostTensor::scalar(value as u64),
            DType::I32 => HostTensor::scalar(value as i32),
            _ => HostTensor::scalar(value as f32),
        })
    }
}

/// Whether a place that a node takes may be counted from the end.
fn has_negative(view: &View<'_>, node: &NodeProto) -> bool {
    view.ints(node, 1).is_none_or(|places| places.iter().any(|&place| place < 0))
}
