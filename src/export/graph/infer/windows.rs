//! Convolutions and pooling: windows that move along spatial axes.

use super::{Output, View, mismatch, same_dim};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Value;
use crate::spec::Dim;

/// Kernel, strides, dilations and pads along each spatial axis.
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: (usize, usize),
}

fn windows(node: &View<'_>, kernel: &[usize]) -> Result<Vec<Window>> {
    let spatial = kernel.len();
    let list = |name: &'static str, default: i64, len: usize| -> Result<Vec<usize>> {
        let values = node.ints(name).map_or_else(|| vec![default; len], <[i64]>::to_vec);
        if values.len() != len || values.iter().any(|&v| v < default) {
            let text = format!("{name} {values:?} do not fit {spatial} spatial axes");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(values.into_iter().map(|v| v as usize).collect())
    };
    let (strides, dilations) = (list("strides", 1, spatial)?, list("dilations", 1, spatial)?);
    let pads = list("pads", 0, 2 * spatial)?;
    Ok((0..spatial)
        .map(|i| Window {
            kernel: kernel[i],
            stride: strides[i],
            dilation: dilations[i],
            pads: (pads[i], pads[spatial + i]),
        })
        .collect())
}

/// `(size + pads - dilation * (kernel - 1) - 1) / stride + 1`, as the ONNX documentation of Conv
/// and the pooling operators has it.
fn window_size(dim: &Dim, window: &Window, ceil: bool) -> Result<Dim> {
    let Window { kernel, stride, dilation, pads: (before, after) } = *window;
    let reach = dilation * (kernel.max(1) - 1) + 1;
    if dim.max() + before + after < reach {
        return Err(mismatch(format!(
            "size {dim} with pads {before} and {after} is under the window of {reach}"
        )));
    }
    let size = |v: &[usize]| {
        let free = (v[0] + before + after).saturating_sub(reach);
        if !ceil {
            return free / stride + 1;
        }
        let count = free.div_ceil(stride) + 1;
        // A window that would begin in the padding behind is left out.
        if (count - 1) * stride >= v[0] + before { count - 1 } else { count }
    };
    if kernel == 1 && stride == 1 && before + after == 0 {
        return Ok(dim.clone());
    }
    let name = || {
        let up = if ceil && stride > 1 { ", up" } else { "" };
        format!("({dim}+{before}+{after}-{reach})/{stride}{up}+1")
    };
    Ok(Dim::map(name, &[dim], size))
}

fn divides(group: usize, channels: &Dim) -> Result<()> {
    match channels.fixed() {
        Some(size) if size % group != 0 => {
            Err(mismatch(format!("{group} groups of {size} channels")))
        }
        _ => Ok(()),
    }
}

fn fixed_sizes(value: &Value, from: usize) -> Result<Vec<usize>> {
    let refuse = |text: &str| mismatch(text.into()).on_tensor(&*value.name);
    let sizes = value.dims()[from..].iter().map(Dim::fixed).collect::<Option<Vec<_>>>();
    let sizes = sizes.ok_or_else(|| refuse("the weight's shape must be fixed"))?;
    match sizes.iter().position(|&size| size == 0) {
        Some(axis) => Err(refuse("a kernel has a size of 0").at_axis(axis + from)),
        None => Ok(sizes),
    }
}

/// Input and weight have one rank, and the bias an element for each channel of the output.
fn check_layer(node: &View<'_>, x: &Value, w: &Value, channels: &Dim) -> Result<()> {
    if x.rank() != w.rank() {
        return Err(mismatch(format!("the input is {}, the weight {}", x.shape, w.shape))
            .on_tensor(&*w.name));
    }
    let Ok(bias) = node.input(2) else { return Ok(()) };
    let [size] = bias.dims() else {
        return Err(
            mismatch(format!("a bias has one axis, not {}", bias.shape)).on_tensor(&*bias.name)
        );
    };
    same_dim(channels, size).map_err(|e| e.on_tensor(&*bias.name).at_axis(0))
}

pub(super) fn conv(node: &View<'_>) -> Result<Output> {
    let (x, w) = (node.rank_at_least(0, 3)?, node.rank_at_least(1, 3)?);
    let dtype = node.one_dtype(0..3)?;
    check_layer(node, x, w, &w.dims()[0])?;
    let group = node.int("group", 1).max(1) as usize;
    divides(group, &w.dims()[0]).map_err(|e| e.on_tensor(&*w.name).at_axis(0))?;
    let per_group = w.dims()[1].clone();
    let expected = Dim::map(|| format!("{per_group}*{group}"), &[&per_group], |v| v[0] * group);
    same_dim(&expected, &x.dims()[1]).map_err(|e| e.on_tensor(&*x.name).at_axis(1))?;
    let mut dims = vec![x.dims()[0].clone(), w.dims()[0].clone()];
    for (i, window) in windows(node, &fixed_sizes(w, 2)?)?.iter().enumerate() {
        let size = window_size(&x.dims()[i + 2], window, false);
        dims.push(size.map_err(|e| e.on_tensor(&*x.name).at_axis(i + 2))?);
    }
    Ok((dtype, dims.into()))
}

pub(super) fn conv_transpose(node: &View<'_>) -> Result<Output> {
    let (x, w) = (node.rank_at_least(0, 3)?, node.rank_at_least(1, 3)?);
    let dtype = node.one_dtype(0..3)?;
    same_dim(&x.dims()[1], &w.dims()[0]).map_err(|e| e.on_tensor(&*w.name).at_axis(0))?;
    let group = node.int("group", 1).max(1) as usize;
    divides(group, &w.dims()[0]).map_err(|e| e.on_tensor(&*w.name).at_axis(0))?;
    let channels = &w.dims()[1];
    let all = Dim::map(|| format!("{channels}*{group}"), &[channels], |v| v[0] * group);
    check_layer(node, x, w, &all)?;
    let mut dims = vec![x.dims()[0].clone(), all];
    let extra = node.ints("output_padding").unwrap_or(&[]);
    for (i, window) in windows(node, &fixed_sizes(w, 2)?)?.iter().enumerate() {
        let Window { kernel, stride, dilation, pads: (before, after) } = *window;
        let extra = extra.get(i).map_or(0, |&v| v as usize);
        let reach = dilation * (kernel - 1) + 1;
        let dim = &x.dims()[i + 2];
        let size = |v: &[usize]| {
            (stride * (v[0].max(1) - 1) + extra + reach).saturating_sub(before + after)
        };
        dims.push(Dim::map(
            || format!("{stride}*({dim}-1)+{extra}+{reach}-{before}-{after}"),
            &[dim],
            size,
        ));
    }
    Ok((dtype, dims.into()))
}

pub(super) fn pool(node: &View<'_>) -> Result<Output> {
    let x = node.rank_at_least(0, 3)?;
    let kernel: Vec<usize> =
        node.ints("kernel_shape").unwrap_or(&[]).iter().map(|&k| k.max(0) as usize).collect();
    if kernel.len() != x.rank() - 2 || kernel.contains(&0) {
        let text = format!("kernel {kernel:?} does not fit {}", x.shape);
        return Err(mismatch(text).on_tensor(&*x.name));
    }
    let ceil = node.int("ceil_mode", 0) != 0;
    let mut dims = x.dims()[..2].to_vec();
    for (i, window) in windows(node, &kernel)?.iter().enumerate() {
        let size = window_size(&x.dims()[i + 2], window, ceil);
        dims.push(size.map_err(|e| e.on_tensor(&*x.name).at_axis(i + 2))?);
    }
    Ok((x.dtype, dims.into()))
}

pub(super) fn global_pool(node: &View<'_>) -> Result<Output> {
    let x = node.rank_at_least(0, 3)?;
    let ones = std::iter::repeat_n(Dim::Fixed(1), x.rank() - 2);
    Ok((x.dtype, x.dims()[..2].iter().cloned().chain(ones).collect::<Vec<_>>().into()))
}
