//! The forms themselves, with the operators of the builder.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::sums::{self, Sum};
use super::{Convolution, Form};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Conv, Graph, Value, ints};
use crate::export::passes::rewrite::Rewriter;
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// The same graph with its convolutions in the forms that are faster, and how many those are.
pub(super) fn written(graph: &Graph, target: Target) -> Result<(Graph, usize)> {
    let convolutions = super::by_result(graph);
    let sums = sums::of(graph, &convolutions)?;
    let branches = sums.values().flat_map(|sum| &sum.branches);
    let in_sums: HashSet<usize> = branches.flat_map(|branch| branch.nodes.clone()).collect();
    let mut writer = Writer { new: Rewriter::new(graph, target), graph, weights: HashMap::new() };
    let mut count = 0;
    for (i, node) in graph.nodes.iter().enumerate() {
        if in_sums.contains(&i) {
            continue;
        }
        if let Some(sum) = sums.get(&i) {
            writer.sum(sum)?;
            count += 1;
            continue;
        }
        let known = node.output.first().and_then(|y| convolutions.get(y.as_str()));
        match known.and_then(|convolution| Some((convolution, convolution.form()?))) {
            Some((convolution, Form::Squares(sizes))) => writer.squares(convolution, sizes)?,
            Some((convolution, Form::Groups(groups))) => writer.groups(convolution, groups)?,
            None => {
                writer.new.keep(node);
                continue;
            }
        }
        count += 1;
    }
    Ok((writer.new.finish(), count))
}

struct Writer<'a> {
    new: Rewriter,
    graph: &'a Graph,
    /// Those of the forms, by the convolutions' own, for convolutions that share theirs.
    weights: HashMap<(Arc<str>, [usize; 3]), Value>,
}

/// The value of a parameter of a layer.
pub(super) fn parameter<'a>(graph: &'a Graph, name: &str) -> &'a HostTensor {
    graph.constant(name).expect("a layer's parameters are known")
}

fn fixed(size: usize) -> Option<Dim> {
    Some(Dim::Fixed(size))
}

fn options(strides: [usize; 2], padding: [(usize, usize); 2], groups: usize) -> Conv {
    Conv { strides: strides.to_vec(), padding: padding.to_vec(), dilations: vec![1; 2], groups }
}

impl Writer<'_> {
    fn constant(&self, hint: &str, values: Vec<i64>) -> Result<Value> {
        Ok(self.new.graph.constant(hint, HostTensor::from_vec([values.len()], values)?))
    }

    fn weight(
        &mut self,
        convolution: &Convolution,
        groups: usize,
        make: impl FnOnce(&HostTensor) -> Result<HostTensor>,
    ) -> Result<Value> {
        let [down, right] = convolution.strides();
        let key = (convolution.weight.clone(), [groups, down, right]);
        if let Some(weight) = self.weights.get(&key) {
            return Ok(weight.clone());
        }
        let weight = make(parameter(self.graph, &convolution.weight))?;
        let weight = self.new.graph.constant("weight", weight);
        self.weights.insert(key, weight.clone());
        Ok(weight)
    }

    /// Squares of as many pixels as the window is moved become channels; it then goes from square to square.
    fn squares(&mut self, convolution: &Convolution, sizes: [usize; 2]) -> Result<()> {
        let Convolution { axes: [rows, columns], inputs, bias, y, .. } = convolution;
        let scope = self.new.graph.scope(format!("{}.squares", y.name));
        let weight = self.weight(convolution, 1, |weight| convolution.weight_of_squares(weight))?;
        let mut x = self.new.of(&convolution.x);
        let [below, right] = [(0, rows), (1, columns)].map(|(i, axis)| {
            let pixels = x.dims()[i + 2].fixed().unwrap_or_default();
            sizes[i] * axis.stride - pixels - axis.padding.0
        });
        let padding = [(0, 0), (0, 0), (rows.padding.0, below), (columns.padding.0, right)];
        if padding.iter().any(|&padding| padding != (0, 0)) {
            x = x.pad(&padding)?;
        }
        let [height, width] = sizes.map(fixed);
        let (row, column) = (fixed(rows.stride), fixed(columns.stride));
        let squares = [None, fixed(*inputs), height.clone(), row, width.clone(), column];
        let channels = fixed(inputs * rows.stride * columns.stride);
        let x = x.reshape(&squares)?.transpose(&[0, 1, 3, 5, 2, 4])?;
        let x = x.reshape(&[None, channels, height, width])?;
        let bias = bias.as_ref().map(|bias| self.new.known(bias));
        let result = x.conv(&weight, bias.as_ref(), &options([1, 1], [(0, 0); 2], 1))?;
        drop(scope);
        self.new.named(&result, &y.name);
        Ok(())
    }

    /// Each group makes all outputs of its part of the inputs.
    fn groups(&mut self, convolution: &Convolution, groups: usize) -> Result<()> {
        let Convolution { outputs, y, .. } = convolution;
        let scope = self.new.graph.scope(format!("{}.groups", y.name));
        let make = |weight: &HostTensor| convolution.weight_of_groups(weight, groups);
        let weight = self.weight(convolution, groups, make)?;
        let graph = &self.new.graph;
        let padding = convolution.axes.map(|axis| axis.padding);
        let grouped = options(convolution.strides(), padding, groups);
        let parts = self.new.of(&convolution.x).conv(&weight, None, &grouped)?;
        let mut dims: Vec<Option<Dim>> = y.shape.dims().iter().cloned().map(Some).collect();
        dims.insert(1, fixed(groups));
        debug_assert_eq!(dims[2], fixed(*outputs));
        let mut sum = parts.reshape(&dims)?.reduced("ReduceSum", &[1], false)?;
        if let Some(bias) = &convolution.bias {
            let bias = parameter(self.graph, bias).reshape([*outputs, 1, 1])?;
            sum = sum.add(&graph.constant("bias", bias))?;
        }
        drop(scope);
        self.new.named(&sum, &y.name);
        Ok(())
    }

    fn sum(&self, sum: &Sum<'_>) -> Result<()> {
        let graph = &self.new.graph;
        let scope = graph.scope(format!("{}.sum", sum.y));
        let [first, second] = &sum.branches;
        let inputs = [self.inputs(first.convolution)?, self.inputs(second.convolution)?];
        let x = graph.concat(&[&inputs[0], &inputs[1]], 1)?;
        let (weight, bias) = (sum.weight.clone(), sum.bias.clone());
        let (weight, bias) = (graph.constant("weight", weight), graph.constant("bias", bias));
        let result = x.conv(&weight, Some(&bias), &options([1, 1], [(0, 0); 2], 1))?;
        drop(scope);
        self.new.named(&result, sum.y);
        Ok(())
    }

    /// The pixels that a convolution of one pixel takes.
    fn inputs(&self, convolution: &Convolution) -> Result<Value> {
        let x = self.new.of(&convolution.x);
        let strides = convolution.strides();
        if strides == [1, 1] {
            return Ok(x);
        }
        let mut dims = convolution.y.shape.dims().to_vec();
        dims[1] = Dim::Fixed(convolution.inputs);
        let mut node = self.new.graph.node("Slice").input(&x);
        for (hint, values) in [
            ("starts", vec![0; 2]),
            ("ends", vec![i64::MAX; 2]),
            ("axes", vec![2, 3]),
            ("steps", ints(&strides)),
        ] {
            node = node.input(&self.constant(hint, values)?);
        }
        node.outputs([(x.dtype(), Shape::from(dims))]).build()
    }
}

impl Convolution {
    /// The weight as `[outputs, inputs × strides, …]`, with zeros behind the window.
    fn weight_of_squares(&self, weight: &HostTensor) -> Result<HostTensor> {
        let ([rows, columns], [down, right]) = (self.kernel(), self.strides());
        let window = [rows.div_ceil(down), columns.div_ceil(right)];
        let size = weight.dtype().size();
        let shape = [self.outputs, self.inputs * down * right, window[0], window[1]];
        let mut turned = vec![0; shape.iter().product::<usize>() * size];
        let mut places = turned.chunks_exact_mut(size);
        for plane in weight.bytes().chunks_exact(rows * columns * size) {
            let squares =
                pairs(down, right).flat_map(|at| pairs(window[0], window[1]).map(move |w| (at, w)));
            for (((i, j), (row, column)), place) in squares.zip(&mut places) {
                let (row, column) = (row * down + i, column * right + j);
                if row < rows && column < columns {
                    place.copy_from_slice(&plane[(row * columns + column) * size..][..size]);
                }
            }
        }
        HostTensor::from_bytes(weight.dtype(), shape, turned)
    }

    /// The weight as `[groups × outputs, inputs / groups, …]`.
    fn weight_of_groups(&self, weight: &HostTensor, groups: usize) -> Result<HostTensor> {
        let bytes = weight.bytes();
        let part = bytes.len() / self.outputs / groups;
        let mut parts = Vec::with_capacity(bytes.len());
        for group in 0..groups {
            for output in bytes.chunks_exact(groups * part) {
                parts.extend_from_slice(&output[group * part..][..part]);
            }
        }
        let [rows, columns] = self.kernel();
        let shape = [groups * self.outputs, self.inputs / groups, rows, columns];
        HostTensor::from_bytes(weight.dtype(), shape, parts)
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}
