//! Linear layers over rows that were put into another order, as torch's `MultiheadAttention` has them: batch and rows are
//! exchanged before the layer and back after the layer, and the result of one layer is divided into query, key and value. The
//! layer takes its rows in the order in which they were made, and each part is a layer of its own. Then the layers look as those
//! of other exporters.

use std::collections::{BTreeMap, HashMap, HashSet};

use half::{bf16, f16};
use ndarray::{Axis, Slice};

use super::view::{Factor, View, is_layout, strides};
use super::{captured_names, prune};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Value, Wiring};
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::linear::Linear;
use crate::export::passes::rewrite::Rewriter;
use crate::spec::{DType, Dim};
use crate::tensor::{Element, HostTensor};

/// Linear layers whose rows come in order.
pub(in crate::export::passes) struct RowsInOrder(pub(in crate::export::passes) Target);

impl Pass for RowsInOrder {
    fn name(&self) -> &'static str {
        "rows in order"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let plans = plans(graph);
        if plans.is_empty() {
            return Ok(0);
        }
        let replaced: HashSet<usize> =
            plans.values().flat_map(|plan| &plan.nodes).copied().collect();
        let new = Rewriter::new(graph, self.0);
        for (at, node) in graph.nodes.iter().enumerate() {
            if let Some(plan) = plans.get(&at) {
                plan.write(&new)?;
            }
            if !replaced.contains(&at) {
                new.keep(node);
            }
        }
        *graph = new.finish();
        prune(graph);
        Ok(plans.len())
    }
}

/// One layer that is written anew.
struct Plan {
    layer: Linear,
    /// What the rows were made in, and how its axes are put in order: those of rows, then those of inputs.
    root: String,
    order: Vec<usize>,
    /// The sizes of the rows.
    rows: Vec<usize>,
    /// The parts of the results, all as wide.
    parts: Vec<Part>,
    /// All nodes that go.
    nodes: Vec<usize>,
}

/// Some of the results, and what others read of them.
struct Part {
    start: usize,
    width: usize,
    read: Vec<Read>,
}

/// A value that others read: a part, reshaped, then transposed.
struct Read {
    name: String,
    dims: Vec<usize>,
    order: Vec<usize>,
}

fn plans(graph: &Graph) -> BTreeMap<usize, Plan> {
    let wiring = Wiring::of(graph);
    let views = views(graph);
    let captured = captured_names(graph);
    let mut plans: BTreeMap<usize, Plan> = BTreeMap::new();
    let mut made: HashSet<String> = HashSet::new();
    for layer in Linear::all(&wiring) {
        let search = Search { wiring: &wiring, captured: &captured };
        if let Some(plan) = views.get(&layer.x.name).and_then(|view| search.plan(&layer, view))
            && !made.contains(&plan.root)
        {
            made.insert(layer.y.to_string());
            plans.insert(layer.product, plan);
        }
    }
    plans
}

/// The values that are views of others.
fn views(graph: &Graph) -> HashMap<String, View> {
    let mut views: HashMap<String, View> = HashMap::new();
    for node in graph.nodes.iter().filter(|node| is_layout(node)) {
        let Some(x) = node.input.first().filter(|x| graph.constant(x).is_none()) else { continue };
        let of =
            views.get(x).cloned().or_else(|| Some(View::whole(x, &graph.spec(x)?.shape.fixed()?)));
        if let Some(results) = of.and_then(|of| of.after(graph, node)) {
            views.extend(node.output.iter().cloned().zip(results));
        }
    }
    views
}

struct Search<'a> {
    wiring: &'a Wiring<'a>,
    captured: &'a HashSet<String>,
}

impl Search<'_> {
    fn plan(&self, layer: &Linear, x: &View) -> Option<Plan> {
        let graph = self.wiring.graph;
        let of = graph.spec(&x.root)?.shape.fixed()?;
        // The axes of the root that each axis of `x` consists of, whole.
        let steps = strides(&of);
        let axis_of = |factor: &Factor| {
            (0..of.len()).find(|&axis| of[axis] == factor.size && steps[axis] == factor.stride)
        };
        let axes = x.axes.iter().map(|axis| axis.iter().map(axis_of).collect::<Option<Vec<_>>>());
        let axes: Vec<Vec<usize>> = axes.collect::<Option<_>>()?;
        let (inputs, before) = axes.split_last()?;
        let before: Vec<usize> = before.iter().flatten().copied().collect();
        let found: HashSet<usize> = inputs.iter().chain(&before).copied().collect();
        let whole = (0..of.len()).all(|axis| of[axis] == 1 || found.contains(&axis));
        if x.offset != 0 || !whole || found.len() != inputs.len() + before.len() {
            return None;
        }
        let in_order: Vec<usize> = (0..of.len()).filter(|axis| !inputs.contains(axis)).collect();
        let rows: Vec<usize> = in_order.iter().map(|&axis| of[axis]).collect();
        let old = x.dims();
        if old.split_last()?.1 == rows && before.is_sorted() {
            return None;
        }
        // The results as a view of those with the rows in order.
        let steps = strides(&[&rows[..], &[layer.outputs]].concat());
        let step = |axis: &usize| {
            let place = in_order.iter().position(|row| row == axis)?;
            Some(Factor { size: of[*axis], stride: steps[place] })
        };
        let mut result = Vec::with_capacity(axes.len());
        for axis in &axes[..axes.len() - 1] {
            result.push(axis.iter().map(step).collect::<Option<Vec<_>>>()?);
        }
        result.push(vec![Factor { size: layer.outputs, stride: 1 }]);
        let result = View { root: layer.y.to_string(), axes: result, offset: 0 };

        let mut nodes = layer.nodes.clone();
        let mut ends = Vec::new();
        self.follow(&layer.y, result, &mut nodes, &mut ends)?;
        let mut parts: Vec<Part> = Vec::new();
        for (name, view) in ends {
            let (start, width, read) = read(name, &view, &rows, layer.outputs)?;
            match parts.iter_mut().find(|part| part.start == start && part.width == width) {
                Some(part) => part.read.push(read),
                None => parts.push(Part { start, width, read: vec![read] }),
            }
        }
        parts.sort_by_key(|part| part.start);
        let mut end = 0;
        for part in &parts {
            if part.start != end || part.width != parts[0].width {
                return None;
            }
            end += part.width;
        }
        let order = [&in_order[..], inputs].concat();
        let whole = end == layer.outputs;
        whole.then(|| Plan {
            layer: layer.clone(),
            root: x.root.clone(),
            order,
            rows,
            parts,
            nodes,
        })
    }

    /// Goes on through what only moves elements, to the values that others read.
    fn follow(
        &self,
        name: &str,
        view: View,
        nodes: &mut Vec<usize>,
        ends: &mut Vec<(String, View)>,
    ) -> Option<()> {
        let graph = self.wiring.graph;
        let mut is_end = self.wiring.is_output(name) || self.captured.contains(name);
        for &at in self.wiring.readers(name) {
            let node = self.wiring.node(at);
            let moved = is_layout(node) && node.input.first().is_some_and(|x| x == name);
            // Keys are turned for their product; queries and values are not, and all three go one way.
            let moved = moved && !turns_last(node);
            match moved.then(|| view.after(graph, node)).flatten() {
                Some(results) => {
                    nodes.push(at);
                    for (output, result) in node.output.iter().zip(results) {
                        self.follow(output, result, nodes, ends)?;
                    }
                }
                None => is_end = true,
            }
        }
        if is_end {
            ends.push((name.to_owned(), view));
        }
        Some(())
    }
}

/// Whether a node exchanges the last two of several axes.
fn turns_last(node: &NodeProto) -> bool {
    let Some(perm) = node.stated("perm").filter(|_| node.is("Transpose")) else { return false };
    let rank = perm.ints.len() as i64;
    let turned = (0..rank - 2).chain([rank - 1, rank - 2]);
    rank > 2 && perm.ints.iter().copied().eq(turned)
}

/// How a view of `[rows.., outputs]` is read from a part of the outputs: by one reshape that divides the part, and one
/// transposition.
fn read(name: String, view: &View, rows: &[usize], outputs: usize) -> Option<(usize, usize, Read)> {
    let all = view.axes.iter().flatten();
    let mut inner: Vec<Factor> = all.copied().filter(|factor| factor.stride < outputs).collect();
    inner.sort_by_key(|factor| std::cmp::Reverse(factor.stride));
    let width: usize = inner.iter().map(|factor| factor.size).product();
    let sizes: Vec<usize> = inner.iter().map(|factor| factor.size).collect();
    let compact = inner.iter().zip(strides(&sizes)).all(|(factor, step)| factor.stride == step);
    let dims = [rows, &sizes].concat();
    let steps = strides(&[rows, &[outputs]].concat());
    let steps = [&steps[..rows.len()], &strides(&sizes)].concat();
    let mut open: Vec<usize> = (0..dims.len()).collect();
    let mut order = Vec::with_capacity(dims.len());
    for axis in &view.axes {
        let place = match &axis[..] {
            [] => open.iter().position(|&place| dims[place] == 1)?,
            [factor] => open
                .iter()
                .position(|&place| dims[place] == factor.size && steps[place] == factor.stride)?,
            _ => return None,
        };
        order.push(open.remove(place));
    }
    let fits =
        compact && open.is_empty() && view.offset < outputs && view.offset + width <= outputs;
    fits.then_some((view.offset, width, Read { name, dims, order }))
}

impl Plan {
    fn write(&self, new: &Rewriter) -> Result<()> {
        let Self { layer, .. } = self;
        let scope = new.graph.scope(format!("{}.rows", layer.y));
        let fixed =
            |dims: &[usize]| dims.iter().map(|&dim| Some(Dim::Fixed(dim))).collect::<Vec<_>>();
        let x = new.known(&self.root).transpose(&self.order)?;
        let x = shaped(x, &fixed(&[&self.rows[..], &[layer.inputs]].concat()))?;
        let mut read = Vec::new();
        for part in &self.parts {
            let (weight, bias) = self.parameters(new, part);
            let y = x.linear_of(&weight, bias.as_ref(), layer.transposed)?;
            for end in &part.read {
                let value = shaped(y.clone(), &fixed(&end.dims))?.transpose(&end.order)?;
                // Each name is made by a node of its own.
                let alone = *value.name() != *y.name() || part.read.len() == 1;
                let value =
                    if alone { value } else { new.graph.node("Identity").input(&value).build()? };
                read.push((value, &end.name));
            }
        }
        drop(scope);
        for (value, name) in read {
            new.named(&value, name);
        }
        Ok(())
    }

    /// Weight and bias of a part.
    fn parameters(&self, new: &Rewriter, part: &Part) -> (Value, Option<Value>) {
        let Linear { weight, bias, transposed, outputs, .. } = &self.layer;
        if part.width == *outputs {
            return (new.known(weight), bias.as_deref().map(|bias| new.known(bias)));
        }
        let cut = |name: &str, axis: usize| {
            let tensor = new.graph.with_graph(|graph| graph.constant(name).cloned());
            let tensor = tensor.expect("parameters of a layer are known");
            let hint = format!("{name}_{}", part.start / part.width);
            new.graph.constant(&hint, along(&tensor, axis, part.start, part.width))
        };
        (cut(weight, usize::from(!transposed)), bias.as_deref().map(|bias| cut(bias, 0)))
    }
}

fn shaped(x: Value, dims: &[Option<Dim>]) -> Result<Value> {
    let same = x.shape().dims().iter().map(Some).eq(dims.iter().map(Option::as_ref));
    if same { Ok(x) } else { x.reshape(dims) }
}

/// `size` places along an axis of a weight.
fn along(tensor: &HostTensor, axis: usize, start: usize, size: usize) -> HostTensor {
    fn of<T: Element>(tensor: &HostTensor, axis: usize, start: usize, size: usize) -> HostTensor {
        let view = tensor.view::<T>().expect("it has this type");
        let end = Some((start + size) as isize);
        view.slice_axis(Axis(axis), Slice::new(start as isize, end, 1)).into()
    }
    match tensor.dtype() {
        DType::F16 => of::<f16>(tensor, axis, start, size),
        DType::BF16 => of::<bf16>(tensor, axis, start, size),
        DType::F64 => of::<f64>(tensor, axis, start, size),
        DType::I32 => of::<i32>(tensor, axis, start, size),
        DType::I64 => of::<i64>(tensor, axis, start, size),
        _ => of::<f32>(tensor, axis, start, size),
    }
}
