//! Convolutions, pools and resized pictures.

use super::{Shapes, one, same, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

/// Kernels, strides and dilations that make sense are far smaller.
const MOST: i64 = 1 << 24;
/// The most of a pad, each of which makes rows of memory: a kernel of this reach is nobody's.
const MOST_PAD: i64 = 1 << 16;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "Conv" => one(convolution(call, 0, 1)?),
        "ConvInteger" => one(convolution(call, 0, 1)?),
        "QLinearConv" => one(convolution(call, 0, 3)?),
        "ConvTranspose" => one(transposed(call)?),
        "MaxPool" | "AveragePool" | "LpPool" => {
            let pooled = pool(call)?;
            Ok(Some(vec![pooled.clone(), pooled]))
        }
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            call.expect_rank(0, 3..=usize::MAX)?;
            let no_elements = |shape: &[Size]| shape[2..].contains(&Size::Known(0));
            if call.node.op_type() == "GlobalMaxPool" && call.shape(0).is_some_and(no_elements) {
                return call.wrong(0, "the largest of no elements");
            }
            one(call.shape(0).map(|shape| {
                let ones = std::iter::repeat_n(Size::Known(1), shape.len() - 2);
                shape[..2].iter().cloned().chain(ones).collect()
            }))
        }
        "Resize" => one(resize(call)?),
        "Upsample" => one(upsample(call)?),
        "GridSample" => {
            let (Some(x), Some(grid)) = (call.shape(0), call.shape(1)) else { return one(None) };
            call.expect_rank(1, x.len()..=x.len())?;
            if x.len() < 3 {
                return call.wrong(0, "it has no axes to sample");
            }
            one(Some([&x[..2], &grid[1..grid.len() - 1]].concat()))
        }
        "MaxUnpool" | "Col2Im" => one(None),
        "MaxRoiPool" | "RoiAlign" => {
            for name in ["output_height", "output_width"] {
                call.expect_positive(name)?;
            }
            one(call.shape(0).map(|shape| unknown(shape.len())))
        }
        "AffineGrid" | "CenterCropPad" => same(call).map(|_| Some(vec![None])),
        _ => Ok(None),
    }
}

/// The attributes of a window over `axes` spatial axes.
struct Window<'c> {
    strides: Option<&'c [i64]>,
    dilations: Option<&'c [i64]>,
    pads: Option<&'c [i64]>,
    auto: &'c [u8],
}

impl<'c> Window<'c> {
    fn of(call: &Call<'c>, axes: Option<usize>) -> Result<Self> {
        let list = |name: &str, least: i64, most: i64, each: usize| {
            let Some(values) = call.list(name).filter(|values| !values.is_empty()) else {
                return Ok(None);
            };
            if let Some(axes) = axes.filter(|axes| axes * each != values.len()) {
                let text = format!("`{name}` is {values:?}, for {axes} axes with {each} each");
                return call.fail(text);
            }
            match values.iter().find(|&&value| value < least || value > most) {
                Some(value) => call.fail(format!("`{name}` holds {value}")),
                None => Ok(Some(values)),
            }
        };
        list("kernel_shape", 1, MOST, 1)?;
        list("output_padding", 0, MOST_PAD, 1)?;
        Ok(Self {
            strides: list("strides", 1, MOST, 1)?,
            dilations: list("dilations", 1, MOST, 1)?,
            pads: list("pads", -MOST_PAD, MOST_PAD, 2)?,
            auto: call.text("auto_pad").unwrap_or(b"NOTSET"),
        })
    }

    fn stride(&self, axis: usize) -> i64 {
        self.strides.map_or(1, |strides| strides[axis])
    }

    fn extent(&self, axis: usize, kernel: i64) -> i64 {
        let dilation = self.dilations.map_or(1, |dilations| dilations[axis]);
        dilation.saturating_mul(kernel - 1).saturating_add(1)
    }

    fn padding(&self, axis: usize, axes: usize) -> i64 {
        self.pads.map_or(0, |pads| pads[axis] + pads[axes + axis])
    }

    /// The size after a window went over an axis.
    fn slid(
        &self,
        call: &Call<'_>,
        axis: usize,
        axes: usize,
        size: &Size,
        kernel: i64,
    ) -> Result<Size> {
        let Some(size) = size.known() else { return Ok(Size::Unknown) };
        let (stride, extent) = (self.stride(axis), self.extent(axis, kernel));
        if self.auto.starts_with(b"SAME") {
            return Ok(Size::Known((size - 1).max(-1).div_euclid(stride) + 1));
        }
        let padded = match self.auto {
            b"VALID" => size,
            _ => size.saturating_add(self.padding(axis, axes)),
        };
        let room = padded.saturating_sub(extent);
        if room < 0 && size > 0 {
            let text =
                format!("a window of {extent} over {padded} elements of spatial axis {axis}");
            return call.wrong(0, text);
        }
        if room < 0 {
            return Ok(Size::Unknown);
        }
        if size == 0 {
            return call.wrong(0, format!("a window over no elements of spatial axis {axis}"));
        }
        let up = call.int("ceil_mode").unwrap_or(0) != 0;
        // Whether the last window of `ceil_mode` may begin in the padding differs by version.
        Ok(match up && room % stride != 0 {
            true => Size::Unknown,
            false => Size::Known(room / stride + 1),
        })
    }
}

fn positive_group(call: &Call<'_>) -> Result<i64> {
    call.expect_positive("group")?;
    Ok(call.int("group").unwrap_or(1))
}

fn convolution(call: &Call<'_>, input: usize, weight: usize) -> Result<Option<Dims>> {
    let group = positive_group(call)?;
    call.expect_rank(input, 3..=usize::MAX)?;
    let axes = call.rank(input).or(call.rank(weight)).map(|rank| rank.saturating_sub(2));
    let window = Window::of(call, axes)?;
    let (Some(x), Some(w)) = (call.shape(input), call.shape(weight)) else {
        return Ok(call.shape(input).map(|shape| unknown(shape.len())));
    };
    call.expect_rank(weight, x.len()..=x.len())?;
    if let (Some(channels), Some(each)) = (x[1].known(), w[1].known())
        && each.checked_mul(group) != Some(channels)
    {
        return call.wrong(weight, format!("{channels} channels in {group} groups"));
    }
    if w[0].known().is_some_and(|outputs| outputs % group != 0) {
        return call.wrong(weight, format!("its outputs are in {group} groups"));
    }
    kernel_agrees(call, weight)?;
    bias(call, if call.node.op_type() == "Conv" { 2 } else { usize::MAX }, w[0].known())?;
    let mut result = vec![x[0].clone(), w[0].clone()];
    let axes = x.len() - 2;
    for axis in 0..axes {
        result.push(match w[2 + axis].known() {
            Some(kernel) => window.slid(call, axis, axes, &x[2 + axis], kernel)?,
            None => Size::Unknown,
        });
    }
    Ok(Some(result))
}

fn bias(call: &Call<'_>, i: usize, outputs: Option<i64>) -> Result<()> {
    if i == usize::MAX || !call.has(i) {
        return Ok(());
    }
    call.expect_rank(i, 1..=1)?;
    let found = call.shape(i).and_then(|shape| shape[0].known());
    match (found, outputs) {
        (Some(found), Some(outputs)) if found != outputs => {
            call.wrong(i, format!("a bias of {found} for {outputs} outputs"))
        }
        _ => Ok(()),
    }
}

/// What `kernel_shape` says must be what the weight is.
fn kernel_agrees(call: &Call<'_>, weight: usize) -> Result<()> {
    let (Some(stated), Some(w)) = (call.list("kernel_shape"), call.shape(weight)) else {
        return Ok(());
    };
    for (stated, found) in stated.iter().zip(&w[2..]) {
        if found.known().is_some_and(|found| found != *stated) {
            return call.wrong(weight, format!("`kernel_shape` is {stated} there"));
        }
    }
    Ok(())
}

fn transposed(call: &Call<'_>) -> Result<Option<Dims>> {
    let group = positive_group(call)?;
    call.expect_rank(0, 3..=usize::MAX)?;
    let axes = call.rank(0).or(call.rank(1)).map(|rank| rank.saturating_sub(2));
    let window = Window::of(call, axes)?;
    let (Some(x), Some(w)) = (call.shape(0), call.shape(1)) else { return Ok(None) };
    call.expect_rank(1, x.len()..=x.len())?;
    if let (Some(a), Some(b)) = (x[1].known(), w[0].known())
        && (a != b || a % group != 0)
    {
        return call.wrong(1, format!("{a} channels in {group} groups"));
    }
    kernel_agrees(call, 1)?;
    let outputs = w[1].known().map(|each| each.saturating_mul(group));
    bias(call, 2, outputs)?;
    let axes = x.len() - 2;
    let mut result = vec![x[0].clone(), outputs.map_or(Size::Unknown, Size::Known)];
    let stated = call.list("output_shape").filter(|shape| !shape.is_empty());
    for axis in 0..axes {
        if let Some(stated) = stated {
            let size = stated.get(stated.len().saturating_sub(axes) + axis).copied();
            result.push(size.map_or(Size::Unknown, Size::Known));
            continue;
        }
        let (Some(size), Some(kernel)) = (x[2 + axis].known(), w[2 + axis].known()) else {
            result.push(Size::Unknown);
            continue;
        };
        let stride = window.stride(axis);
        let more =
            call.list("output_padding").and_then(|more| more.get(axis).copied()).unwrap_or(0);
        let full = (size - 1)
            .saturating_mul(stride)
            .saturating_add(window.extent(axis, kernel))
            .saturating_add(more);
        result.push(match window.auto {
            // No pads are added where a kernel leaves gaps.
            auto if auto.starts_with(b"SAME") => Size::Known(size.saturating_mul(stride).min(full)),
            b"VALID" => Size::Known(full),
            _ => Size::Known(full.saturating_sub(window.padding(axis, axes))),
        });
        if let Some(Size::Known(..=0)) = result.last() {
            return call
                .wrong(0, format!("pads of spatial axis {axis} take off more than there is"));
        }
    }
    Ok(Some(result))
}

fn pool(call: &Call<'_>) -> Result<Option<Dims>> {
    call.expect_rank(0, 3..=usize::MAX)?;
    let axes = call.rank(0).map(|rank| rank - 2);
    let window = Window::of(call, axes)?;
    let (Some(x), Some(kernel)) = (call.shape(0), call.list("kernel_shape")) else {
        return Ok(None);
    };
    let axes = x.len() - 2;
    if kernel.len() != axes {
        return call.wrong(0, format!("`kernel_shape` is {kernel:?}"));
    }
    let mut result = x[..2].to_vec();
    for axis in 0..axes {
        result.push(window.slid(call, axis, axes, &x[2 + axis], kernel[axis])?);
    }
    Ok(Some(result))
}

fn scaled(call: &Call<'_>, size: &Size, scale: f64) -> Result<Size> {
    if !(scale > 0.0 && scale.is_finite()) {
        return call.fail(format!("a scale is {scale}"));
    }
    Ok(match size {
        size if scale == 1.0 => size.clone(),
        Size::Known(size) => {
            // In 32-bit floats, as ONNX's own inference and every consumer do.
            Size::Known((*size as f32 * scale as f32).floor() as i64)
        }
        _ => Size::Unknown,
    })
}

fn resize(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let (scales, sizes) = if call.opset < 11 { (1, usize::MAX) } else { (2, 3) };
    let axes = match call.list("axes") {
        Some(axes) => call.axes(axes, shape.len())?,
        None => (0..shape.len()).collect(),
    };
    // ONNX Runtime writes as many as there are to a list of fixed length.
    for i in [scales, sizes].into_iter().filter(|&i| i < call.node.input.len() && call.has(i)) {
        call.expect_rank(i, 1..=1)?;
        if let Some([Size::Known(count)]) = call.shape(i)
            && *count != 0
            && *count != axes.len() as i64
        {
            return call.wrong(0, format!("{count} scales or sizes for {} axes", axes.len()));
        }
    }
    let plain = call.text("keep_aspect_ratio_policy").is_none_or(|policy| policy == b"stretch");
    let mut result = shape.to_vec();
    let given = |count: usize| {
        if count == axes.len() {
            return Ok(());
        }
        call.wrong(0, format!("{count} scales or sizes for {} axes", axes.len()))
    };
    if sizes < call.node.input.len() && call.has(sizes) {
        match call.ints(sizes) {
            Some(sizes) => {
                given(sizes.len())?;
                for (&axis, &size) in axes.iter().zip(sizes) {
                    if size < 0 {
                        return call.fail(format!("size {size} along axis {axis}"));
                    }
                    result[axis] = if plain { Size::Known(size) } else { Size::Unknown };
                }
            }
            None => axes.iter().for_each(|&axis| result[axis] = Size::Unknown),
        }
        return Ok(Some(result));
    }
    match call.input(scales).and_then(|fact| fact.floats()) {
        Some([]) => Ok(Some(unknown(shape.len()))),
        Some(scales) => {
            given(scales.len())?;
            for (&axis, &scale) in axes.iter().zip(scales) {
                result[axis] = scaled(call, &shape[axis], scale)?;
            }
            Ok(Some(result))
        }
        None => Ok(Some(unknown(shape.len()))),
    }
}

fn upsample(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(shape) = call.shape(0) else { return Ok(None) };
    if call.opset >= 9 {
        call.expect_rank(1, 1..=1)?;
    }
    let scales: Vec<f64> = match call.opset {
        ..7 => return Ok(Some(unknown(shape.len()))),
        7..9 => call.floats("scales").unwrap_or_default().iter().map(|&s| f64::from(s)).collect(),
        _ => match call.input(1).and_then(|fact| fact.floats()) {
            Some(scales) => scales.to_vec(),
            None => return Ok(Some(unknown(shape.len()))),
        },
    };
    if scales.len() != shape.len() {
        return call.wrong(0, format!("{} scales", scales.len()));
    }
    let sizes = shape.iter().zip(&scales).map(|(size, &scale)| scaled(call, size, scale));
    sizes.collect::<Result<Dims>>().map(Some)
}
