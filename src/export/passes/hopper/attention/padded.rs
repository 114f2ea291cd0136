//! The padded products themselves, with the operators of the builder.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{ALIGNED, Attention, Change, Search};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Value};
use crate::export::onnx::NodeProto;
use crate::export::passes::rewrite::Rewriter;
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

/// The same graph with keys of attention padded where that is faster, and how many attentions those are.
pub(super) fn written(graph: &Graph, target: Target) -> Result<(Graph, usize)> {
    let search = Search::of(graph, target);
    let mut changes: HashMap<usize, (Change, Rc<Attention>)> = HashMap::new();
    let mut left_out = HashSet::new();
    let mut count = 0;
    for attention in (0..graph.nodes.len()).filter_map(|i| search.attention(i)) {
        let attention = Rc::new(attention);
        let nodes = &attention.changes;
        // A node of two would have to be changed twice.
        if !nodes.iter().any(|(node, _)| changes.contains_key(node)) {
            left_out.extend(attention.turned.iter().map(|(node, _)| *node));
            let each = nodes.iter().map(|&(i, change)| (i, (change, attention.clone())));
            changes.extend(each);
            count += 1;
        }
    }
    let mut writer = Writer {
        new: Rewriter::new(graph, target),
        graph,
        padded: HashMap::new(),
        rows: HashMap::new(),
        sizes: HashMap::new(),
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        match changes.get(&i) {
            Some((change, attention)) => writer.changed(node, *change, attention)?,
            None if left_out.contains(&i) => {}
            None => writer.new.keep(node),
        }
    }
    Ok((writer.new.finish(), count))
}

impl Attention {
    fn aligned(&self) -> Dim {
        let name = || format!("({}+{})/{ALIGNED}*{ALIGNED}", self.keys, ALIGNED - 1);
        Dim::map(name, &[&self.keys], |sizes| sizes[0].next_multiple_of(ALIGNED))
    }
}

struct Writer<'a> {
    new: Rewriter,
    graph: &'a Graph,
    /// Values that were padded, by their name and the axis from the end: all layers add the same mask.
    padded: HashMap<(String, usize), Value>,
    /// What hides the keys that are no keys, by the number of those that are.
    rows: HashMap<Dim, Value>,
    /// How many keys there are, where that is not fixed, and how many are missing.
    sizes: HashMap<Dim, [Value; 2]>,
}

impl Writer<'_> {
    fn changed(&mut self, node: &NodeProto, change: Change, attention: &Attention) -> Result<()> {
        let scope = self.new.graph.scope(format!("{}.aligned", node.output[0]));
        let (input, value) = match change {
            Change::Keys => (1, self.keys(&node.input[1], attention)?),
            Change::Added(i) => (i, self.padded(&node.input[i], 1, attention)?),
            Change::Scores => (0, self.hidden(&node.input[0], attention)?),
            Change::Values => (1, self.padded(&node.input[1], 2, attention)?),
        };
        drop(scope);
        let mut node = node.clone();
        node.input[input] = value.name().to_owned();
        self.new.keep(&node);
        Ok(())
    }

    /// As their product takes them. Where they are turned for it they are padded before, as TensorRT does
    /// both at once then.
    fn keys(&mut self, keys: &str, attention: &Attention) -> Result<Value> {
        let Some((node, order)) = &attention.turned else {
            return self.padded(keys, 1, attention);
        };
        let from_end = order.len() - order.last().expect("keys have axes");
        let turned = &self.graph.nodes[*node].input[0];
        self.padded(turned, from_end, attention)?.transpose(order)
    }

    /// With zeros more along an axis, which is counted from the end.
    fn padded(&mut self, name: &str, from_end: usize, attention: &Attention) -> Result<Value> {
        let key = (name.to_owned(), from_end);
        if let Some(value) = self.padded.get(&key) {
            return Ok(value.clone());
        }
        let value = self.new.known(name);
        let value = self.with_more(&value, from_end, attention, 0.0)?;
        self.padded.insert(key, value.clone());
        Ok(value)
    }

    /// With as many more along an axis as keys are missing: zeros, or what is stated where that is computed.
    fn with_more(
        &mut self,
        value: &Value,
        from_end: usize,
        attention: &Attention,
        filled: f32,
    ) -> Result<Value> {
        let axis = value.rank() - from_end;
        if let (Some(keys), Some(aligned)) = (attention.keys.fixed(), attention.aligned().fixed()) {
            let mut padding = vec![(0, 0); value.rank()];
            padding[axis].1 = aligned - keys;
            return value.pad(&padding);
        }
        let pads = self.pads(value, axis, attention)?;
        let filled = self.new.graph.constant("filled", HostTensor::scalar(filled));
        let mut dims = value.dims().to_vec();
        dims[axis] = attention.aligned();
        let node = self.new.graph.node("Pad").input(value).input(&pads).input(&filled);
        node.outputs([(value.dtype(), dims.into())]).build()
    }

    /// Nothing before an axis, and behind it as much as is missing, which is computed.
    fn pads(&mut self, value: &Value, axis: usize, attention: &Attention) -> Result<Value> {
        let [_, missing] = self.sizes(value, axis, attention)?;
        let graph = &self.new.graph;
        let none = |count| -> Result<Value> {
            Ok(graph.constant("pads", HostTensor::from_vec([count], vec![0i64; count])?))
        };
        let before = none(value.rank() + axis)?;
        match value.rank() - axis - 1 {
            0 => graph.concat(&[&before, &missing], 0),
            behind => graph.concat(&[&before, &missing, &none(behind)?], 0),
        }
    }

    /// How many keys there are and how many are missing, as 1-D i64 tensors of one element, read from a value
    /// that has them as an axis, maybe under another name.
    fn sizes(
        &mut self,
        of: &Value,
        axis: usize,
        Attention { keys, .. }: &Attention,
    ) -> Result<[Value; 2]> {
        if let Some(sizes) = self.sizes.get(keys) {
            return Ok(sizes.clone());
        }
        let graph = &self.new.graph;
        let int = |value: usize| -> Result<Value> {
            Ok(graph.constant("size", HostTensor::from_vec([1], vec![value as i64])?))
        };
        let size = graph.shape_tensor(&of.dims()[axis..=axis], &[of])?;
        let parts = size.add(&int(ALIGNED - 1)?)?.div(&int(ALIGNED)?)?;
        let missing = parts.mul(&int(ALIGNED)?)?.sub(&size)?;
        let sizes = [size, missing];
        self.sizes.insert(keys.clone(), sizes.clone());
        Ok(sizes)
    }

    fn hidden(&mut self, scores: &str, attention: &Attention) -> Result<Value> {
        let mut spec = self.graph.spec(scores).expect("the search found its shape");
        let row = self.row(&self.new.of(&spec), attention)?;
        let mut dims = spec.shape.dims().to_vec();
        *dims.last_mut().expect("scores are of keys") = attention.aligned();
        spec.shape = dims.into();
        self.new.of(&spec).add(&row)
    }

    /// Zero for each key, and minus infinity for what is none.
    fn row(&mut self, scores: &Value, attention: &Attention) -> Result<Value> {
        let keys = &attention.keys;
        if let Some(row) = self.rows.get(keys) {
            return Ok(row.clone());
        }
        let row = match keys.fixed() {
            Some(size) => {
                let mut row = vec![0f32; size];
                row.resize(size.next_multiple_of(ALIGNED), f32::NEG_INFINITY);
                self.new.graph.constant("hidden", HostTensor::from_vec([row.len()], row)?)
            }
            None => {
                let [size, _] = self.sizes(scores, scores.rank() - 1, attention)?;
                let node = self.new.graph.node("ConstantOfShape").input(&size);
                let row = node.outputs([(DType::F32, [keys.clone()].into())]).build()?;
                self.with_more(&row, 1, attention, f32::NEG_INFINITY)?
            }
        };
        self.rows.insert(keys.clone(), row.clone());
        Ok(row)
    }
}
