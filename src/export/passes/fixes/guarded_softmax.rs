//! `Where(IsNaN(weights), 0, weights) v`, as torch writes attention: a row that hides all keys has weights that are NaN, and
//! gives zeros. TensorRT-RTX 1.6 takes the product for attention, and fails to build the attention in half precision
//! (`mha_fusion.cpp: CHECK(is_softmax(…)) failed`). In 32 bits, TensorRT-RTX has no single kernel for all of this. The guard is
//! written behind the product, where the guard gives the same zeros: by the mask of the row, else by the result of the product.
//! Where the rows of all heads go through a linear layer next, the guard is written behind the product of the layer, which is
//! zero for a row of zeros, and before its bias: TensorRT computes guard and bias with what follows there. TensorRT needs a
//! kernel for the guard elsewhere, and behind the bias it writes a kernel of its own for the product.

use std::collections::HashMap;

use crate::error::Result;
use crate::export::graph::{Graph, Wiring, scalar};
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;
use crate::spec::{DType, Shape};
use crate::tensor::HostTensor;

/// The oldest operator set whose `Where` and `Equal` take floats, and in which `MatMul` has its last form.
const OLDEST: i64 = 13;
/// The one whose `ReduceMax` takes axes as an input.
const AXES_AS_INPUT: i64 = 18;

/// So many rows need no padding.
const ROWS: usize = 64;

/// Writes the guard of a softmax behind its product.
pub(in crate::export::passes) struct GuardedSoftmax;

impl Pass for GuardedSoftmax {
    fn name(&self) -> &'static str {
        "guarded softmax"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        if graph.opset() < OLDEST {
            return Ok(0);
        }
        let found = guards(graph);
        let count = found.len();
        let mut hidden = HashMap::new();
        let nodes = std::mem::take(&mut graph.nodes);
        for (at, mut node) in nodes.into_iter().enumerate() {
            let of_layer = |guard: &&Guard| guard.layer == Some(at);
            if let Some(guard) = found.iter().find(|guard| guard.product == at) {
                match guard.layer {
                    Some(_) => {
                        node.input[0].clone_from(&guard.softmax);
                        graph.nodes.push(node);
                    }
                    None => write(graph, node, guard, &mut hidden)?,
                }
            } else if let Some(guard) = found.iter().find(of_layer) {
                behind_layer(graph, node, guard, &mut hidden)?;
            } else if !found.iter().any(|guard| guard.left_out.contains(&at)) {
                graph.nodes.push(node);
            }
        }
        Ok(count)
    }
}

/// A guarded product, by places and names.
struct Guard {
    product: usize,
    /// `IsNaN` and `Where`.
    left_out: [usize; 2],
    softmax: String,
    zero: String,
    /// What is added to the scores.
    mask: Option<String>,
    dtype: DType,
    /// The product of a linear layer over the rows of all heads.
    layer: Option<usize>,
}

fn guards(graph: &Graph) -> Vec<Guard> {
    let wiring = Wiring::of(graph);
    let softmaxes = (0..graph.nodes.len()).filter(|at| graph.nodes[*at].is("Softmax"));
    softmaxes.filter_map(|at| guard(&wiring, at)).collect()
}

fn guard(wiring: &Wiring<'_>, at: usize) -> Option<Guard> {
    let node = wiring.node(at);
    let name = &node.output[0];
    let rank = wiring.graph.spec(name).map(|spec| spec.shape.rank() as i64);
    let axis = node.int("axis", -1);
    if axis != -1 && Some(axis + 1) != rank || wiring.is_output(name) {
        return None;
    }
    let [one, two] = wiring.readers(name) else { return None };
    let (nan, chosen) = match wiring.node(*one).is("IsNaN") {
        true => (*one, *two),
        false => (*two, *one),
    };
    let (is_nan, where_) = (wiring.node(nan), wiring.node(chosen));
    let only = wiring.only_reader_of(is_nan) == Some(chosen);
    let zero = where_.input.get(1)?;
    if !is_nan.is("IsNaN")
        || !where_.is("Where")
        || !only
        || where_.input[0] != is_nan.output[0]
        || where_.input[2] != *name
        || !is_zero(wiring.graph, zero)
    {
        return None;
    }
    let product = wiring.only_reader_of(where_)?;
    let matrix = wiring.node(product);
    if !matrix.is("MatMul") || matrix.input[0] != where_.output[0] {
        return None;
    }
    let dtype = wiring.graph.constant(zero)?.dtype();
    let mask = mask(wiring, &node.input[0]);
    let layer = mask.as_ref().and_then(|mask| layer(wiring, matrix, mask));
    let (softmax, zero) = (name.clone(), zero.clone());
    Some(Guard { product, left_out: [nan, chosen], softmax, zero, mask, dtype, layer })
}

/// The product of the linear layer that alone reads the product, whose heads are put side by side before.
fn layer(wiring: &Wiring<'_>, product: &NodeProto, mask: &str) -> Option<usize> {
    let sizes = |name: &str| wiring.graph.spec(name).map(|spec| spec.shape.dims().to_vec());
    let given = sizes(&product.output[0])?;
    let [texts, _, rows, _] = &given[..] else { return None };
    // Rows of one text are padded from layer to layer, which a guard between them would end.
    if texts.fixed() == Some(1) && rows.fixed().is_none_or(|rows| rows % ROWS != 0) {
        return None;
    }
    let mask = sizes(mask)?;
    if mask.len() != given.len() || mask[1].fixed() != Some(1) {
        return None;
    }
    let next = |node: &NodeProto| Some(wiring.node(wiring.only_reader_of(node)?));
    let mut turned = next(product)?;
    if turned.is("Reshape") && sizes(&turned.output[0])? == given {
        turned = next(turned)?;
    }
    let flat = next(turned)?;
    let perm = turned.stated("perm").map(|perm| &perm.ints[..]);
    let flat_sizes = sizes(&flat.output[0])?;
    let [of_texts, of_rows, _] = &flat_sizes[..] else { return None };
    let side_by_side = turned.is("Transpose") && perm == Some(&[0, 2, 1, 3][..]);
    if !side_by_side || !flat.is("Reshape") || of_texts != texts || of_rows != rows {
        return None;
    }
    let at = wiring.only_reader_of(flat)?;
    let product = wiring.node(at);
    let is_layer = product.is("MatMul") && product.input[0] == flat.output[0];
    let known = sizes(&product.input[1])?.len() == 2 && !wiring.is_output(&product.output[0]);
    (is_layer && known).then_some(at)
}

/// What is added to a product of matrices right before the softmax.
fn mask(wiring: &Wiring<'_>, scores: &str) -> Option<String> {
    let add = wiring.producer(scores).map(|at| wiring.node(at)).filter(|node| node.is("Add"))?;
    let product = |name: &String| {
        let maker = wiring.producer(name).map(|at| wiring.node(at));
        maker.is_some_and(|node| {
            let scaled = matches!(node.op_type(), "Mul" | "Div");
            let from = |name: &String| {
                wiring.producer(name).is_some_and(|at| wiring.node(at).is("MatMul"))
            };
            node.is("MatMul") || scaled && node.input.iter().any(from)
        })
    };
    let mask = match (product(&add.input[0]), product(&add.input[1])) {
        (true, false) => &add.input[1],
        (false, true) => &add.input[0],
        _ => return None,
    };
    let spec = wiring.graph.spec(mask)?;
    (spec.shape.rank() > 0 && spec.dtype.is_float()).then(|| mask.clone())
}

fn is_zero(graph: &Graph, name: &str) -> bool {
    let Some(tensor) = graph.constant(name) else { return false };
    tensor.shape().iter().product::<usize>() == 1 && tensor.bytes().iter().all(|byte| *byte == 0)
}

fn write(
    graph: &mut Graph,
    mut product: NodeProto,
    guard: &Guard,
    hidden: &mut HashMap<String, String>,
) -> Result<()> {
    let given = product.output[0].clone();
    let raw = graph.fresh(&format!("{given}.unguarded"));
    if let Some(spec) = graph.spec(&given) {
        graph.set_spec(&raw, spec.dtype, spec.shape);
    }
    product.input[0].clone_from(&guard.softmax);
    product.output[0].clone_from(&raw);
    graph.nodes.push(product);
    let flag = match &guard.mask {
        Some(mask) => match hidden.get(mask) {
            Some(flag) => flag.clone(),
            None => {
                let flag = hidden_rows(graph, mask, guard.dtype)?;
                hidden.insert(mask.clone(), flag.clone());
                flag
            }
        },
        None => {
            let flag = graph.fresh(&format!("{given}.none"));
            if let Some(spec) = graph.spec(&given) {
                graph.set_spec(&flag, DType::Bool, spec.shape);
            }
            push(graph, "IsNaN", &[&raw], &flag, &[]);
            flag
        }
    };
    push(graph, "Where", &[&flag, &guard.zero, &raw], &given, &[]);
    Ok(())
}

/// The product of a linear layer, with the guard behind.
fn behind_layer(
    graph: &mut Graph,
    mut node: NodeProto,
    guard: &Guard,
    hidden: &mut HashMap<String, String>,
) -> Result<()> {
    let Guard { mask: Some(mask), .. } = guard else {
        graph.nodes.push(node);
        return Ok(());
    };
    let key = format!("{mask}.of_rows");
    let flag = match hidden.get(&key) {
        Some(flag) => flag.clone(),
        None => {
            let of_heads = hidden_rows(graph, mask, guard.dtype)?;
            let flag = graph.fresh(&key);
            if let Some(spec) = graph.spec(&of_heads) {
                let mut dims = spec.shape.dims().to_vec();
                dims.remove(1);
                graph.set_spec(&flag, DType::Bool, Shape::from(dims));
            }
            let axes = HostTensor::from_vec([1], vec![1i64])?;
            let axes = graph.add_constant(&format!("{mask}.heads"), axes);
            push(graph, "Squeeze", &[&of_heads, &axes], &flag, &[]);
            hidden.insert(key, flag.clone());
            flag
        }
    };
    let given = node.output[0].clone();
    let raw = graph.fresh(&format!("{given}.unguarded"));
    if let Some(spec) = graph.spec(&given) {
        graph.set_spec(&raw, spec.dtype, spec.shape);
    }
    node.output[0].clone_from(&raw);
    graph.nodes.push(node);
    push(graph, "Where", &[&flag, &guard.zero, &raw], &given, &[]);
    Ok(())
}

/// Whether each row of a mask hides all keys.
fn hidden_rows(graph: &mut Graph, mask: &str, dtype: DType) -> Result<String> {
    let most = graph.fresh(&format!("{mask}.most"));
    let flag = graph.fresh(&format!("{mask}.hides_all"));
    if let Some(spec) = graph.spec(mask) {
        let mut dims = spec.shape.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = 1.into();
        }
        let shape = Shape::from(dims);
        graph.set_spec(&most, spec.dtype, shape.clone());
        graph.set_spec(&flag, DType::Bool, shape);
    }
    let mut inputs = vec![mask.to_owned()];
    let mut attributes = vec![Attribute::Int(1).to_proto("keepdims")];
    if graph.opset() >= AXES_AS_INPUT {
        inputs.push(
            graph.add_constant(&format!("{mask}.axis"), HostTensor::from_vec([1], vec![-1i64])?),
        );
    } else {
        attributes.push(Attribute::Ints(vec![-1]).to_proto("axes"));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    push(graph, "ReduceMax", &inputs, &most, &attributes);
    let least = graph.add_constant(&format!("{mask}.least"), scalar(dtype, f64::NEG_INFINITY)?);
    push(graph, "Equal", &[&most, &least], &flag, &[]);
    Ok(flag)
}

fn push(
    graph: &mut Graph,
    operator: &str,
    inputs: &[&str],
    output: &str,
    attributes: &[crate::export::onnx::AttributeProto],
) {
    graph.nodes.push(NodeProto {
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute: attributes.to_vec(),
        ..Default::default()
    });
}
