//! Convolutions in the forms that TensorRT-RTX was measured to be faster with on Hopper
//! (`docs/measured/2026-11-forms-h200.md`). A first convolution over few channels has squares of pixels as channels. A
//! convolution of few pixels is the sum of convolutions over parts of its inputs. Two convolutions that are added are one. This
//! file chooses the form, `sums` finds the last one, and `write` writes the forms.
//!
//! Over squares, the window grows to whole squares, with zeros as weights. A pixel that is NaN or infinite then reaches more
//! results than before.

mod forms;
mod sums;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use super::thresholds::convolutions::{
    FEW_CHANNELS, FEW_TILES_OF_HALF, GROUPS, LEAST_INPUTS_OF_A_GROUP, LEAST_PIXELS,
    LEAST_PRODUCTS_OF_HALF, LEAST_WINDOW_OF_FEW, MANY_PRODUCTS_OF_HALF, MULTIPROCESSORS, TILE,
};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::spec::{DType, Dim, TensorSpec};

/// Convolutions in other forms.
pub(in crate::export::passes) struct Convolutions(pub(in crate::export::passes) Target);

impl Pass for Convolutions {
    fn name(&self) -> &'static str {
        "convolutions"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let (written, count) = forms::written(graph, self.0)?;
        if count > 0 {
            *graph = written;
        }
        Ok(count)
    }
}

/// A convolution over the two axes of pictures as it was written, of a weight and a bias that are known.
#[derive(Clone)]
pub(super) struct Convolution {
    x: TensorSpec,
    weight: Arc<str>,
    bias: Option<Arc<str>>,
    inputs: usize,
    outputs: usize,
    /// Rows, then columns.
    axes: [Axis; 2],
    y: TensorSpec,
}

#[derive(Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    padding: (usize, usize),
}

/// How a convolution is written instead.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// Over this many rows and columns of squares, as large as the strides.
    Squares([usize; 2]),
    /// As the sum of this many.
    Groups(usize),
}

impl Convolution {
    /// The convolution that a node is, if its parameters are known and it may have another form.
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        let ([x, weight, rest @ ..], [y]) = (&node.input[..], &node.output[..]) else {
            return None;
        };
        let plain = node.is("Conv")
            && node.int("group", 1) == 1
            && node.stated("dilations").is_none_or(|d| d.ints.iter().all(|&d| d == 1))
            && node.stated("auto_pad").is_none_or(|pad| pad.s() == b"NOTSET");
        let &[outputs, inputs, rows, columns] = graph.constant(weight)?.shape() else {
            return None;
        };
        let bias = rest.first().filter(|name| !name.is_empty());
        let known = |bias: &String| graph.constant(bias).is_some_and(|b| b.shape() == [outputs]);
        let known = bias.is_none_or(known) && ![inputs, outputs, rows, columns].contains(&0);
        let (x, y) = (graph.spec(x)?, graph.spec(y)?);
        if !plain || !known || !matches!(x.dtype, DType::F32 | DType::F16) {
            return None;
        }
        let stated = |name: &str, usual: &[i64]| -> Option<Vec<usize>> {
            let values = node.stated(name).map_or(usual, |attribute| &attribute.ints);
            values.iter().map(|&value| usize::try_from(value).ok()).collect()
        };
        let (strides, pads) = (stated("strides", &[1; 2])?, stated("pads", &[0; 4])?);
        let (&[s0, s1], &[top, left, bottom, right]) = (&strides[..], &pads[..]) else {
            return None;
        };
        Some(Self {
            x,
            weight: weight.as_str().into(),
            bias: bias.map(|bias| bias.as_str().into()),
            inputs,
            outputs,
            axes: [
                Axis { kernel: rows, stride: s0, padding: (top, bottom) },
                Axis { kernel: columns, stride: s1, padding: (left, right) },
            ],
            y,
        })
    }

    fn kernel(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.kernel)
    }

    fn strides(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.stride)
    }

    /// Pixels of all results, at the sizes to tune for.
    fn pixels(&self) -> usize {
        let [batch, _, rows, columns] = self.y.shape.dims() else { return 0 };
        [batch, rows, columns].into_iter().map(Dim::opt).fold(1, usize::saturating_mul)
    }

    fn form(&self) -> Option<Form> {
        if self.pixels() == 0 {
            return None;
        }
        self.squares().map(Form::Squares).or_else(|| self.groups().map(Form::Groups))
    }

    fn squares(&self) -> Option<[usize; 2]> {
        let [rows, columns] = self.kernel();
        let strided = self.strides().iter().all(|&stride| stride > 1);
        if self.inputs > FEW_CHANNELS || !strided || rows * columns < LEAST_WINDOW_OF_FEW {
            return None;
        }
        let mut sizes = [0; 2];
        for (i, axis) in self.axes.into_iter().enumerate() {
            let [pixels, results] = [&self.x, &self.y].map(|spec| spec.shape.dims()[i + 2].fixed());
            sizes[i] = results?.checked_sub(1)? + axis.kernel.div_ceil(axis.stride);
            // The last windows may leave pixels out, which would have to be cut off.
            (sizes[i] * axis.stride).checked_sub(pixels? + axis.padding.0)?;
        }
        Some(sizes)
    }

    /// As many groups as fill the GPU, if it is not filled and the sums are long.
    fn groups(&self) -> Option<usize> {
        let [rows, columns] = self.kernel();
        let products = self.inputs * rows * columns;
        let pixels = self.pixels();
        let tiles = pixels.div_ceil(TILE[0]).saturating_mul(self.outputs.div_ceil(TILE[1]));
        let half = self.x.dtype != DType::F32;
        let least_of_half = match tiles {
            ..=FEW_TILES_OF_HALF => MANY_PRODUCTS_OF_HALF,
            _ => LEAST_PRODUCTS_OF_HALF,
        };
        if pixels < LEAST_PIXELS || half && products < least_of_half {
            return None;
        }
        let found = GROUPS.into_iter().find(|&(groups, least)| {
            products >= least
                && tiles.saturating_mul(groups) <= MULTIPROCESSORS
                && self.inputs.is_multiple_of(groups * LEAST_INPUTS_OF_A_GROUP)
        });
        found.map(|(groups, _)| groups)
    }
}

/// The convolutions of a graph, by their results.
fn by_result(graph: &Graph) -> HashMap<&str, Convolution> {
    let found = graph
        .nodes
        .iter()
        .filter_map(|node| Some((node.output.first()?.as_str(), Convolution::of(graph, node)?)));
    found.collect()
}
