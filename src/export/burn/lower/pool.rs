//! Pooling, and the windows of a picture as columns.

use ::burn::backend::ir::{ModuleOperationIr as Op, TensorIr, Unfold4dOpIr};

use super::module::both;
use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::{Pool, Value};
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn pooling(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::MaxPool1d(op) => {
                let sizes: Windows<'_> =
                    (&[op.kernel_size], &[op.stride], &[op.padding], &[op.dilation]);
                (&op.out, self.largest_of(&op.x, &pool(sizes, op.ceil_mode), &op.out)?)
            }
            Op::MaxPool2d(op) => {
                let sizes: Windows<'_> = (&op.kernel_size, &op.stride, &op.padding, &op.dilation);
                (&op.out, self.largest_of(&op.x, &pool(sizes, op.ceil_mode), &op.out)?)
            }
            Op::MaxPool1dWithIndices(op) => {
                let sizes: Windows<'_> =
                    (&[op.kernel_size], &[op.stride], &[op.padding], &[op.dilation]);
                return self.max_with_indices(
                    &op.x,
                    &pool(sizes, op.ceil_mode),
                    &op.out,
                    &op.out_indices,
                );
            }
            Op::MaxPool2dWithIndices(op) => {
                let sizes: Windows<'_> = (&op.kernel_size, &op.stride, &op.padding, &op.dilation);
                return self.max_with_indices(
                    &op.x,
                    &pool(sizes, op.ceil_mode),
                    &op.out,
                    &op.out_indices,
                );
            }
            Op::AvgPool1d(op) => {
                let sizes: Windows<'_> = (&[op.kernel_size], &[op.stride], &[op.padding], &[1]);
                let pool = pool(sizes, op.ceil_mode);
                (&op.out, self.average(&op.x, pool, op.count_include_pad, &op.out)?)
            }
            Op::AvgPool2d(op) => {
                let sizes: Windows<'_> = (&op.kernel_size, &op.stride, &op.padding, &[1, 1]);
                let pool = pool(sizes, op.ceil_mode);
                (&op.out, self.average(&op.x, pool, op.count_include_pad, &op.out)?)
            }
            Op::AdaptiveAvgPool1d(op) => (&op.out, self.adaptive(&op.x, &[op.output_size])?),
            Op::AdaptiveAvgPool2d(op) => (&op.out, self.adaptive(&op.x, &op.output_size)?),
            Op::AdaptiveAvgPool3d(op) => (&op.out, self.adaptive(&op.x, &op.output_size)?),
            _ => return Err(unsupported("this is no pooling")),
        };
        self.bind(out, value)
    }

    /// TensorRT has no dilated windows; their cells are compared one by one there.
    fn largest_of(&mut self, x: &TensorIr, pool: &Pool, out: &TensorIr) -> Result<Value> {
        let value = self.value(x)?;
        let plain = pool.dilations.iter().all(|&dilation| dilation == 1);
        if plain || self.graph.target().has_dilated_max_pool() {
            return value.max_pool(pool);
        }
        if let Some(axis) = value.dims()[2..].iter().position(|dim| dim.fixed().is_none()) {
            let text = "dilated windows over a dynamic axis have no form in TensorRT";
            return Err(unsupported(text).at_axis(axis + 2));
        }
        let cells = self.windows(&value, pool, &out.shape[2..], Some(lowest(value.dtype())))?;
        cells.reduced("ReduceMax", &[2], false)
    }

    /// Runtimes differ in what they divide by where a last window hangs over the end. That is
    /// written out: sums over a picture with explicit zeros, over the number of cells that count.
    fn average(
        &mut self,
        x: &TensorIr,
        pool: Pool,
        include_pad: bool,
        out: &TensorIr,
    ) -> Result<Value> {
        let value = self.value(x)?;
        if !pool.ceil_mode {
            return value.average_pool_of(&pool, include_pad);
        }
        let mut pads = vec![0i64; 2 * value.rank()];
        let mut counts: ndarray::ArrayD<f32> =
            ndarray::ArrayD::from_elem(vec![1; value.rank() - 2], 1.0f32);
        for (i, &kernel) in pool.kernel.iter().enumerate() {
            let axis = i + 2;
            let (Some(size), stride) = (value.dims()[axis].fixed(), pool.strides[i]) else {
                let text = "windows over the end of a dynamic axis have no ONNX form yet";
                return Err(unsupported(text).at_axis(axis));
            };
            let (before, after) = pool.padding[i];
            let reach = (out.shape[axis] - 1) * stride + kernel;
            pads[axis] = before as i64;
            // With gaps between windows the last may end before the picture does.
            pads[value.rank() + axis] = (reach as i64 - (size + before) as i64).max(0);
            let (first, last) = match include_pad {
                true => (0, before + size + after),
                false => (before, before + size),
            };
            let cells = (0..out.shape[axis]).map(|window| {
                let start = window * stride;
                ((start + kernel).min(last).saturating_sub(start.max(first))).max(1) as f32
            });
            let mut shape = vec![1; pool.kernel.len()];
            shape[i] = out.shape[axis];
            let cells = ndarray::ArrayD::from_shape_vec(shape, cells.collect());
            counts = counts * cells.map_err(|e| unsupported(e.to_string()))?;
        }
        let window = pool.kernel.iter().product::<usize>() as f32;
        let factors = self.graph.constant("factors", counts.mapv(|count| window / count));
        let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
        let node = self.graph.node("Pad").input(&value).input(&pads);
        let padded = node.input(&value.scalar_like(0.0)?).build()?;
        let none = vec![(0, 0); pool.kernel.len()];
        let plain = Pool { padding: none, ceil_mode: false, ..pool };
        padded.average_pool_padded(&plain)?.mul(&factors.cast(value.dtype())?)
    }

    /// Windows that divide the input evenly are an ordinary average pool; one window is global.
    /// Others are averaged one by one, axis by axis: window i is `i n / size ..⌈(i + 1) n / size⌉`.
    fn adaptive(&mut self, x: &TensorIr, output: &[usize]) -> Result<Value> {
        let mut value = self.value(x)?;
        if output.iter().all(|&size| size == 1) {
            return value.global_average_pool();
        }
        let mut lengths = Vec::with_capacity(output.len());
        for (i, dim) in value.dims()[2..].iter().enumerate() {
            let Some(length) = dim.fixed() else {
                let text = "adaptive windows over a dynamic axis have no ONNX form yet";
                return Err(unsupported(text).at_axis(i + 2));
            };
            lengths.push(length);
        }
        if output.iter().zip(&lengths).all(|(&size, length)| length % size == 0) {
            let kernel: Vec<usize> = output.iter().zip(&lengths).map(|(o, n)| n / o).collect();
            let (zeros, ones) = (vec![0; kernel.len()], vec![1; kernel.len()]);
            return value.average_pool_padded(&pool((&kernel, &kernel, &zeros, &ones), false));
        }
        for (i, (&size, length)) in output.iter().zip(lengths).enumerate() {
            let axis = i + 2;
            let windows = (0..size).map(|window| {
                let (start, end) = (window * length / size, ((window + 1) * length).div_ceil(size));
                let part = self.part(&value, axis, start, end as i64, 1)?;
                part.reduced("ReduceMean", &[axis as i64], true)
            });
            let windows = windows.collect::<Result<Vec<_>>>()?;
            value = self.graph.concat(&windows.iter().collect::<Vec<_>>(), axis as i64)?;
        }
        Ok(value)
    }

    /// The largest value of each window, and where in the picture it lies, row by row.
    ///
    /// ONNX counts positions through the whole batch, and TensorRT does not give any: the cells of
    /// a window are compared here.
    fn max_with_indices(
        &mut self,
        x: &TensorIr,
        pool: &Pool,
        out: &TensorIr,
        out_indices: &TensorIr,
    ) -> Result<()> {
        let value = self.value(x)?;
        let axes = pool.kernel.len();
        let mut sizes = Vec::with_capacity(axes);
        for (axis, dim) in value.dims().iter().enumerate().skip(2) {
            let Some(size) = dim.fixed() else {
                let text = "positions in a picture of dynamic size have no ONNX form yet";
                return Err(unsupported(text).at_axis(axis));
            };
            sizes.push(size);
        }
        let largest = self.largest_of(x, pool, out)?;
        self.bind(out, largest)?;

        let counts: Vec<usize> = out.shape[2..].to_vec();
        let cells = self.windows(&value, pool, &counts, Some(lowest(value.dtype())))?;
        let which = cells.arg_max(2)?.squeeze(&[2])?;
        // Position of each cell of each window in the picture, `[cells, windows..]`.
        let kernel = pool.kernel.iter().product::<usize>();
        let windows = counts.iter().product::<usize>();
        let mut positions = Vec::with_capacity(kernel * windows);
        for cell in 0..kernel {
            for window in 0..windows {
                let (mut cell, mut window, mut stride, mut position) = (cell, window, 1i64, 0i64);
                for i in (0..axes).rev() {
                    let at = (window % counts[i]) * pool.strides[i]
                        + (cell % pool.kernel[i]) * pool.dilations[i];
                    position += (at as i64 - pool.padding[i].0 as i64) * stride;
                    stride *= sizes[i] as i64;
                    (cell, window) = (cell / pool.kernel[i], window / counts[i]);
                }
                positions.push(position);
            }
        }
        let positions = HostTensor::from_vec([kernel * windows], positions)?;
        let positions = self.graph.constant("positions", positions);
        let offsets =
            HostTensor::from_vec([&[1, 1][..], &counts].concat(), (0..windows as i64).collect())?;
        let offsets = self.graph.constant("windows", offsets);
        let index = which.affine(windows as f64, 0.0)?.add(&offsets)?;
        self.bind(out_indices, positions.gather(&index, 0)?)
    }

    /// `[batch, channels, ..]` to `[batch, channels, cells, windows..]`.
    fn windows(
        &mut self,
        x: &Value,
        pool: &Pool,
        counts: &[usize],
        fill: Option<f64>,
    ) -> Result<Value> {
        let rank = x.rank();
        let mut pads = vec![0i64; 2 * rank];
        for (i, &count) in counts.iter().enumerate() {
            let size = x.dims()[i + 2].fixed().unwrap_or_default();
            let reach =
                (count - 1) * pool.strides[i] + (pool.kernel[i] - 1) * pool.dilations[i] + 1;
            pads[i + 2] = pool.padding[i].0 as i64;
            pads[rank + i + 2] = (reach as i64 - (size + pool.padding[i].0) as i64).max(0);
        }
        let mut padded = x.clone();
        if pads.iter().any(|&pad| pad > 0) {
            let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
            let node = self.graph.node("Pad").input(x).input(&pads);
            padded = node.input(&x.scalar_like(fill.unwrap_or(0.0))?).build()?;
        }
        let kernel = pool.kernel.iter().product::<usize>();
        let mut cells = Vec::with_capacity(kernel);
        for cell in 0..kernel {
            let (mut part, mut cell) = (padded.clone(), cell);
            for i in (0..counts.len()).rev() {
                let start = (cell % pool.kernel[i]) * pool.dilations[i];
                cell /= pool.kernel[i];
                let end = start + (counts[i] - 1) * pool.strides[i] + 1;
                part = self.part(&part, i + 2, start, end as i64, pool.strides[i])?;
            }
            cells.push(part.unsqueeze(&[2])?);
        }
        self.graph.concat(&cells.iter().collect::<Vec<_>>(), 2)
    }

    /// `[batch, channels, height, width]` to `[batch, channels * cells, windows]`.
    pub(super) fn unfold4d(&mut self, op: &Unfold4dOpIr) -> Result<Value> {
        let (x, o) = (self.value(&op.x)?, &op.options);
        let sizes: Windows<'_> = (&op.kernel_size, &o.stride, &o.padding, &o.dilation);
        let pool = pool(sizes, false);
        let mut counts = Vec::new();
        for (i, dim) in x.dims()[2..].iter().enumerate() {
            let Some(size) = dim.fixed() else {
                let text = "columns of a picture of dynamic size have no ONNX form yet";
                return Err(unsupported(text).at_axis(i + 2));
            };
            let reach = (op.kernel_size[i] - 1) * o.dilation[i] + 1;
            counts.push((size + 2 * o.padding[i] - reach) / o.stride[i] + 1);
        }
        let windows = self.windows(&x, &pool, &counts, None)?;
        let fixed = |size: usize| Some(Dim::Fixed(size));
        windows.reshape(&[
            Some(x.dims()[0].clone()),
            fixed(op.out.shape[1]),
            fixed(op.out.shape[2]),
        ])
    }
}

/// What no cell is under.
fn lowest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -65504.0,
        _ => f64::from(f32::MIN),
    }
}

/// Kernel, strides, padding and dilations along each axis.
type Windows<'a> = (&'a [usize], &'a [usize], &'a [usize], &'a [usize]);

fn pool((kernel, strides, padding, dilations): Windows<'_>, ceil_mode: bool) -> Pool {
    Pool {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        padding: both(padding),
        dilations: dilations.to_vec(),
        ceil_mode,
    }
}
