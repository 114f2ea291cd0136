//! The batched products themselves, with the operators of the builder.

use std::{collections::HashMap, sync::Arc};

use super::super::thresholds::batched::{PARTS, STACKED};
use super::{Form, Heads, Linear, Plan};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Value};
use crate::export::passes::rewrite::Rewriter;
use crate::spec::{Dim, Shape, TensorSpec};
use crate::tensor::HostTensor;

/// The same graph with its linear layers in the forms that are faster.
pub(super) fn written(graph: &Graph, plan: &Plan<'_>, target: Target) -> Result<Graph> {
    let mut writer = Writer {
        new: Rewriter::new(graph, target),
        graph,
        weights: HashMap::new(),
        in_parts: HashMap::new(),
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        match plan.forms.get(&i) {
            Some(Form::Stacked(layers, heads)) => writer.stacked(layers, heads.as_ref())?,
            Some(Form::Up(layer)) => writer.up(layer)?,
            Some(Form::Down(layer, up)) => writer.down(layer, up)?,
            Some(Form::Halves(layer, y)) => writer.halves(layer, y)?,
            Some(Form::Wide(layer)) => writer.wide(layer)?,
            None => {}
        }
        if !plan.replaced.contains(&i) {
            writer.new.keep(node);
        }
    }
    Ok(writer.new.finish())
}

struct Writer<'a> {
    new: Rewriter,
    graph: &'a Graph,
    /// Those of the products, by the names of the layers' own, whether they are transposed, and their parts.
    weights: HashMap<(Vec<Arc<str>>, bool, usize), Value>,
    /// The shapes of feed-forward networks' first layers, by the name of their output.
    in_parts: HashMap<Arc<str>, Shape>,
}

impl Writer<'_> {
    fn stacked(&mut self, layers: &[&Linear], heads: Option<&Heads>) -> Result<()> {
        let first = &layers[0];
        let weights: Vec<&Arc<str>> = layers.iter().map(|l| &l.weight).collect();
        let weight = self.weight(&weights, first.transposed, layers.len(), |graph| {
            stack(weights.iter().map(|name| parameter(graph, name)))
        })?;
        let scope = self.new.graph.scope(format!("{}.batched", first.y));
        let x = self.rows(&first.x)?;
        let mut y = x.matmul(&weight)?;
        if first.bias.is_some() {
            let biases =
                layers.iter().flat_map(|l| &l.bias).map(|name| parameter(self.graph, name));
            let bias = stack(biases)?.reshape([layers.len(), 1, first.outputs])?;
            y = y.add(&self.new.graph.constant("bias", bias))?;
        }
        let leading = &first.x.shape.dims()[..first.x.shape.rank() - 1];
        if let Some(Heads { count, size, order, .. }) = heads {
            let sizes = [layers.len(), *count, *size].map(Dim::Fixed);
            let dims = [&sizes[..1], leading, &sizes[1..]].concat();
            let order: Vec<usize> = [0].into_iter().chain(order.iter().map(|i| i + 1)).collect();
            y = self.shaped(&y, dims, &first.x)?.transpose(&order)?;
        }
        let split = self.split(&y, 0, layers.len())?;
        for (i, (y, layer)) in split.iter().zip(layers).enumerate() {
            match heads {
                Some(heads) => self.new.named(&y.squeeze(&[0])?, &heads.outputs[i]),
                None => {
                    let dims = [leading, &[Dim::Fixed(layer.outputs)]].concat();
                    self.new.named(&self.shaped(y, dims, &first.x)?, &layer.y);
                }
            }
        }
        drop(scope);
        Ok(())
    }

    /// What a layer gives, as `[parts, rows, outputs / parts]`.
    fn divided(&mut self, layer: &Linear, parts: usize) -> Result<Value> {
        let outputs = usize::from(!layer.transposed);
        let weight = self.weight(&[&layer.weight], layer.transposed, parts, |graph| {
            in_parts(parameter(graph, &layer.weight), outputs, parts)
        })?;
        let scope = self.new.graph.scope(format!("{}.batched", layer.y));
        let mut y = self.rows(&layer.x)?.matmul(&weight)?;
        if let Some(bias) = &layer.bias {
            let bias = parameter(self.graph, bias).reshape([parts, 1, layer.outputs / parts])?;
            y = y.add(&self.new.graph.constant("bias", bias))?;
        }
        drop(scope);
        Ok(y)
    }

    fn up(&mut self, layer: &Linear) -> Result<()> {
        let y = self.divided(layer, PARTS)?;
        self.new.named(&y, &layer.y);
        self.in_parts.insert(layer.y.clone(), y.shape().clone());
        Ok(())
    }

    /// A product with nothing in it, then bias and activation of one half of the outputs and the other.
    fn halves(&mut self, layer: &Linear, activated: &str) -> Result<()> {
        let weight = self.new.known(&layer.weight);
        let weight = if layer.transposed { weight.transpose(&[1, 0])? } else { weight };
        let scope = self.new.graph.scope(format!("{}.halves", layer.y));
        let y = self.new.of(&layer.x).matmul(&weight)?;
        let bias = layer.bias.as_ref().expect("the layer has a bias");
        let bias = parameter(self.graph, bias);
        let (half, bytes) = (layer.outputs / 2, bias.bytes().len() / 2);
        let mut halves = Vec::with_capacity(2);
        for (i, y) in self.split(&y, y.rank() - 1, 2)?.iter().enumerate() {
            let bias = bias.bytes().slice(i * bytes..(i + 1) * bytes);
            let bias = HostTensor::from_bytes(layer.x.dtype, [half], bias)?;
            halves.push(y.add(&self.new.graph.constant("bias", bias))?.gelu()?);
        }
        let y = self.new.graph.concat(&[&halves[0], &halves[1]], -1)?;
        drop(scope);
        self.new.named(&y, activated);
        Ok(())
    }

    /// The parts are put side by side again, where TensorRT turns them for the heads anyway.
    fn wide(&mut self, layer: &Linear) -> Result<()> {
        let parts = self.divided(layer, STACKED)?;
        let scope = self.new.graph.scope(format!("{}.batched", layer.y));
        let mut dims = layer.x.shape.dims().to_vec();
        *dims.last_mut().expect("the rank is 2 or more") = Dim::Fixed(layer.outputs);
        let y = self.shaped(&parts.transpose(&[1, 0, 2])?, dims, &layer.x)?;
        drop(scope);
        self.new.named(&y, &layer.y);
        Ok(())
    }

    /// The output has the leading sizes of what the network's first layer took.
    fn down(&mut self, layer: &Linear, up: &Linear) -> Result<()> {
        let x = TensorSpec { shape: self.in_parts[&up.y].clone(), ..layer.x.clone() };
        let x = self.new.of(&x);
        let inputs = usize::from(layer.transposed);
        let weight = self.weight(&[&layer.weight], layer.transposed, PARTS, |graph| {
            in_parts(parameter(graph, &layer.weight), inputs, PARTS)
        })?;
        let scope = self.new.graph.scope(format!("{}.batched", layer.y));
        let sum = x.matmul(&weight)?.reduced("ReduceSum", &[0], false)?;
        let mut dims = up.x.shape.dims().to_vec();
        *dims.last_mut().expect("the rank is 2 or more") = Dim::Fixed(layer.outputs);
        let mut y = self.shaped(&sum, dims, &up.x)?;
        if let Some(bias) = &layer.bias {
            y = y.add(&self.new.known(bias))?;
        }
        self.new.named(&y, &layer.y);
        drop(scope);
        Ok(())
    }

    /// `y` in equal parts of an axis of fixed size.
    fn split(&self, y: &Value, axis: usize, parts: usize) -> Result<Vec<Value>> {
        let mut dims = y.dims().to_vec();
        let each = dims[axis].fixed().expect("the axis is of a layer") / parts;
        dims[axis] = Dim::Fixed(each);
        let sizes = HostTensor::from_vec([parts], vec![each as i64; parts])?;
        let sizes = self.new.graph.constant("split", sizes);
        let node = self.new.graph.node("Split").input(y).input(&sizes).attr("axis", axis as i64);
        node.outputs(vec![(y.dtype(), Shape::from(dims)); parts]).build_all()
    }

    /// `x` as `[1, rows, width]`.
    fn rows(&self, x: &TensorSpec) -> Result<Value> {
        let width = x.shape.dims().last().cloned();
        self.new.of(x).reshape(&[Some(Dim::Fixed(1)), None, width])
    }

    /// `y` as `dims`, whose symbols are those of `x`.
    fn shaped(&self, y: &Value, dims: Vec<Dim>, x: &TensorSpec) -> Result<Value> {
        if y.dims() == dims {
            return Ok(y.clone());
        }
        let open = dims.iter().filter(|dim| dim.fixed().is_none()).count();
        let sizes = dims.iter().map(|dim| dim.fixed().map_or(-1, |size| size as i64)).collect();
        let shape = match open {
            ..2 => self.new.graph.constant("shape", HostTensor::from_vec([dims.len()], sizes)?),
            _ => self.new.graph.shape_tensor(&dims, &[&self.new.of(x)])?,
        };
        let output = (y.dtype(), Shape::from(dims));
        self.new.graph.node("Reshape").input(y).input(&shape).outputs([output]).build()
    }

    /// The weight of a product, made once for layers that share theirs.
    fn weight(
        &mut self,
        names: &[&Arc<str>],
        transposed: bool,
        parts: usize,
        make: impl FnOnce(&Graph) -> Result<HostTensor>,
    ) -> Result<Value> {
        let key = (names.iter().map(|&name| name.clone()).collect(), transposed, parts);
        if let Some(weight) = self.weights.get(&key) {
            return Ok(weight.clone());
        }
        let mut weight =
            self.new.graph.constant(&format!("{}.batched", names[0]), make(self.graph)?);
        if transposed {
            weight = weight.transpose(&[0, 2, 1])?;
        }
        self.weights.insert(key, weight.clone());
        Ok(weight)
    }
}

/// The value of a parameter of a layer.
fn parameter<'a>(graph: &'a Graph, name: &str) -> &'a HostTensor {
    graph.constant(name).expect("a layer's parameters are known")
}

/// Tensors of one type and shape along a new first axis.
fn stack<'a>(tensors: impl Iterator<Item = &'a HostTensor>) -> Result<HostTensor> {
    let tensors: Vec<&HostTensor> = tensors.collect();
    let bytes: Vec<&[u8]> = tensors.iter().map(|tensor| &tensor.bytes()[..]).collect();
    let shape = [&[tensors.len()], tensors[0].shape()].concat();
    HostTensor::from_bytes(tensors[0].dtype(), shape, bytes.concat())
}

/// A matrix in equal parts of `axis`, along a new first axis.
fn in_parts(matrix: &HostTensor, axis: usize, count: usize) -> Result<HostTensor> {
    let (rows, columns) = (matrix.shape()[0], matrix.shape()[1]);
    if axis == 0 {
        return matrix.reshape([count, rows / count, columns]);
    }
    let (bytes, each) = (matrix.bytes(), columns / count * matrix.dtype().size());
    let mut parts = Vec::with_capacity(bytes.len());
    for part in 0..count {
        for row in bytes.chunks_exact(count * each) {
            parts.extend_from_slice(&row[part * each..][..each]);
        }
    }
    HostTensor::from_bytes(matrix.dtype(), [count, rows, columns / count], parts)
}
