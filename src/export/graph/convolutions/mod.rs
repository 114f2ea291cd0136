//! Convolutions in the forms that TensorRT-RTX was measured to be faster with on Hopper
//! (`docs/measured/2026-11-forms-h200.md`), in a model that was built whole: a first one over few
//! channels with squares of pixels as channels, one of few pixels as the sum of those over parts of its
//! inputs, and two that are added as one. Here is which form a convolution gets; the last is found in
//! `sums`, and how each is written is in `write`.
//!
//! Over squares the window grows to whole ones, with zeros as weights: a pixel that is no number, or not
//! finite, reaches a result more than it did.

mod sums;
mod write;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use super::{Conv, GraphBuilder, State, Value};
use crate::spec::{DType, Dim, TensorSpec};

/// Kernels for tensor cores load 16 bytes of channels at once, which three or four have not got.
const FEW_CHANNELS: usize = 4;
/// Of 3 × 3 it is no gain.
const LEAST_WINDOW_OF_FEW: usize = 16;

/// What the kernels compute at once, and how many of these a Hopper GPU does at a time.
const TILE: [usize; 2] = [64, 128];
const MULTIPROCESSORS: usize = 132;
/// Groups, with the least products a result in fp32 from which their sum is not dearer than what they
/// save. Eight groups are hardly ever a gain over four.
const GROUPS: [(usize, usize); 2] = [(4, 1024), (2, 1152)];
const LEAST_INPUTS_OF_A_GROUP: usize = 64;
/// In half precision sums are twice as long before they gain, and longer where there are fewer tiles,
/// for which its kernels are good.
const LEAST_PRODUCTS_OF_HALF: usize = 2048;
const MANY_PRODUCTS_OF_HALF: usize = 4096;
const FEW_TILES_OF_HALF: usize = 16;
/// The last stage of a ResNet, for one picture.
const LEAST_PIXELS: usize = 49;

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
    /// What the graph's rules have found to be right, if its parameters are known and it may have another form.
    fn of(
        [x, y]: [&Value; 2],
        weight: &Value,
        bias: Option<&Value>,
        options: &Conv,
    ) -> Option<Self> {
        let &[outputs, inputs, rows, columns] = weight.as_constant()?.shape() else { return None };
        let (&[s0, s1], &[p0, p1]) = (&options.strides[..], &options.padding[..]) else {
            return None;
        };
        let plain = options.groups == 1 && options.dilations.iter().all(|&d| d == 1);
        let known = |bias: &Value| bias.as_constant().is_some_and(|b| b.shape() == [outputs]);
        let known = bias.is_none_or(known) && ![inputs, outputs, rows, columns].contains(&0);
        let spec = |value: &Value| TensorSpec::new(&*value.name, value.dtype, value.shape.clone());
        (plain && known && matches!(x.dtype, DType::F32 | DType::F16)).then(|| Self {
            x: spec(x),
            weight: weight.name.clone(),
            bias: bias.map(|bias| bias.name.clone()),
            inputs,
            outputs,
            axes: [
                Axis { kernel: rows, stride: s0, padding: p0 },
                Axis { kernel: columns, stride: s1, padding: p1 },
            ],
            y: spec(y),
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

impl State {
    fn convolutions_by_result(&self) -> HashMap<&str, &Convolution> {
        self.convolutions.iter().map(|c| (c.y.name.as_str(), c)).collect()
    }
}

impl GraphBuilder {
    /// Remembers a convolution, if that is of use.
    pub(super) fn record_convolution(
        &self,
        ends: [&Value; 2],
        weight: &Value,
        bias: Option<&Value>,
        options: &Conv,
    ) {
        if self.target.has_forms() {
            let found = Convolution::of(ends, weight, bias, options);
            self.lock().convolutions.extend(found);
        }
    }
}
