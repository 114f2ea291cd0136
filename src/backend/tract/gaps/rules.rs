//! Operators that tract has and gets wrong, by operator, type and constants. The table beside lists the operators and
//! attributes.

use super::resize;
use super::view::{View, attribute};
use crate::backend::tract::{nan, rewrite};
use crate::export::onnx::NodeProto;
use crate::spec::DType;

/// Tensors whose size the model's own constants say may have as many elements.
const MOST: i64 = 1 << 28;
/// The largest window, stride, dilation or pad.
const WIDEST: i64 = 1 << 16;

/// Why tract does not compute a node right; `None` where it does.
pub(super) fn reason(node: &NodeProto, opset: i64, view: &View<'_>) -> Option<String> {
    if let Some(lost) = nan::lost_constant(node, view) {
        return Some(lost);
    }
    let dtype = view.dtype(node, 0);
    let is = |types: &[DType]| dtype.is_some_and(|dtype| types.contains(&dtype));
    let integers = dtype.is_some_and(DType::is_int);
    let text = |name: &str| {
        attribute(node, name).map(|value| String::from_utf8_lossy(value.s()).into_owned())
    };
    let wrong = match node.op_type() {
        "Erf" | "Gelu" | "GRU" | "HardSwish" | "LeakyRelu" | "LSTM" | "RNN"
            if is(&[DType::F64]) =>
        {
            Some("tract has this operator of 32-bit floats alone")
        }
        "ArgMax" | "ArgMin" | "ReduceMax" | "ReduceMin" | "ReduceProd"
            if is(&[DType::U32, DType::U64]) =>
        {
            Some("tract reduces no such integers")
        }
        "MatMul"
            if rewrite::is_wide_product(node, view)
                && !rewrite::multiplies_integers(node, view) =>
        {
            Some(
                "tract multiplies no matrices of such integers, unless the ranks are known and the matrices are small",
            )
        }
        "Slice"
            if rewrite::is_computed_slice(node, view)
                && rewrite::slices_by_gathering(node, view).is_none() =>
        {
            Some(
                "tract slices between computed places wrongly, unless the axes are constant and the steps are 1",
            )
        }
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMean"
        | "ReduceSumSquare"
            if integers && !rewrite::sums_nothing(node, view) =>
        {
            Some("tract sums integers in 32 bits")
        }
        "ReduceSum"
            if is(&[DType::I64])
                && !rewrite::sums_integers(node, view)
                && !rewrite::sums_nothing(node, view) =>
        {
            Some("tract sums integers in 32 bits, unless the axes are constant")
        }
        "ReduceSum" if is(&[DType::U32, DType::U64]) => Some("tract sums integers in 32 bits"),
        "LogSoftmax" if opset < 13 && !rewrite::gives_nothing(node, view) => {
            Some("tract loses the logarithms of far numbers")
        }
        "Softplus" | "ReduceLogSumExp" if dtype.is_none() => {
            Some("tract loses the exponentials of far numbers, and the type is not known")
        }
        "Shrink" if integers => Some("tract shrinks integers beyond their range"),
        "Mod" if !integers && view.constant(node, 0).is_some() => {
            Some("tract computes the remainders of a constant wrongly")
        }
        "Mod" if is_repeated(view, node) => {
            Some("tract exchanges the two where the first is the smaller tensor")
        }
        "GridSample"
            if text("padding_mode").is_some_and(|mode| mode == "border")
                && text("mode").is_some_and(|mode| ["cubic", "bicubic"].contains(&&*mode)) =>
        {
            Some("tract samples cubic beyond a border wrongly")
        }
        "Einsum" if text("equation").is_none_or(|equation| !has_axes_left(&equation)) => {
            Some("tract does not sum up along all axes")
        }
        "LayerNormalization" | "RMSNormalization"
            if is_empty_from(node, attribute(node, "axis").map_or(-1, |axis| axis.i()), view) =>
        {
            Some("tract normalizes no axes without elements")
        }
        "MaxPool" | "Resize" if is_empty_from(node, 2, view) => {
            Some("tract has no windows on axes without elements")
        }
        "AveragePool" | "MaxPool" => automatic_pads(node),
        "Resize" => resize::reason(node, opset, view),
        "BatchNormalization" if view.sizes(node, 0).is_some_and(|sizes| sizes.len() < 2) => {
            Some("tract reads channels that a vector does not have")
        }
        "ConvTranspose" if attribute(node, "output_shape").is_some() => {
            Some("tract places an output of a stated shape wrongly")
        }
        "ConvTranspose"
            if attribute(node, "auto_pad").is_some_and(|pad| pad.s().starts_with(b"SAME"))
                && attribute(node, "output_padding")
                    .is_some_and(|more| more.ints.iter().any(|&more| more != 0)) =>
        {
            Some("tract takes output_padding off a result with automatic pads")
        }
        "Pad"
            if view
                .ints(node, 1)
                .is_some_and(|pads| pads.iter().any(|&pad| !(0..=MOST).contains(&pad))) =>
        {
            Some("tract takes negative pads for huge ones")
        }
        "Slice" => {
            let (starts, steps) =
                (view.ints(node, 1).unwrap_or_default(), view.ints(node, 4).unwrap_or_default());
            let backwards = starts.iter().zip(&steps).any(|(&start, &step)| step < 0 && start < -1);
            backwards
                .then_some("tract slices backwards from before the first element in another way")
        }
        _ => None,
    };
    wrong.map(str::to_owned).or_else(|| too_large(node, view))
}

/// Why tract places the windows of a pool with automatic pads in another way.
/// Whether a size of the first input is known to be 0, from an axis on.
fn is_empty_from(node: &NodeProto, axis: i64, view: &View<'_>) -> bool {
    view.sizes(node, 0).is_some_and(|sizes| {
        let from = if axis < 0 { axis + sizes.len() as i64 } else { axis };
        sizes.iter().skip(usize::try_from(from).unwrap_or(0)).any(|size| *size == Some(0))
    })
}

fn automatic_pads(node: &NodeProto) -> Option<&'static str> {
    let pads = attribute(node, "auto_pad")?;
    let list = |name: &str| attribute(node, name).map(|list| &list.ints[..]).unwrap_or_default();
    let far = |(i, stride): (usize, &i64)| {
        let dilation = list("dilations").get(i).copied().unwrap_or(1);
        let kernel = list("kernel_shape").get(i).copied().unwrap_or(1);
        stride.saturating_sub(dilation.saturating_mul(kernel - 1).saturating_add(1)) > 1
    };
    match pads.s() {
        b"VALID" if attribute(node, "ceil_mode").is_some_and(|mode| mode.i() == 1) => {
            Some("tract ignores ceil_mode beside auto_pad = VALID")
        }
        b"SAME_LOWER" | b"SAME_UPPER" if list("strides").iter().enumerate().any(far) => {
            Some("tract places windows of larger strides elsewhere with automatic pads")
        }
        _ => None,
    }
}

/// Whether the first of two operands, as far as sizes are known, may be repeated to the sizes of the second.
fn is_repeated(view: &View<'_>, node: &NodeProto) -> bool {
    let (Some(first), Some(second)) = (view.sizes(node, 0), view.sizes(node, 1)) else {
        return false;
    };
    let mut pairs = first.iter().rev().zip(second.iter().rev());
    first.len() < second.len() || pairs.any(|(a, b)| *a == Some(1) && *b != Some(1))
}

/// Whether an equation's result has an axis.
fn has_axes_left(equation: &str) -> bool {
    equation.split_once("->").is_some_and(|(_, result)| !result.trim().is_empty())
}

/// What would take memory or time without bound, by the constants of the model.
fn too_large(node: &NodeProto, view: &View<'_>) -> Option<String> {
    let product = |values: Vec<i64>| values.iter().try_fold(1i64, |n, &v| n.checked_mul(v.max(1)));
    let fits = |size: Option<i64>| size.is_some_and(|size| size <= MOST);
    let constant = |input: usize| view.ints(node, input);
    let fine = match node.op_type() {
        "ConstantOfShape" => constant(0).is_none_or(|shape| fits(product(shape))),
        "Expand" | "Tile" => constant(1).is_none_or(|sizes| fits(product(sizes))),
        "OneHot" => constant(1).is_none_or(|depth| fits(product(depth))),
        "Range" => match [0, 1, 2].map(constant) {
            [Some(first), Some(limit), Some(step)] => match (&first[..], &limit[..], &step[..]) {
                (&[first], &[limit], &[step]) => {
                    step != 0
                        && fits(
                            limit.checked_sub(first).and_then(|length| length.checked_div(step)),
                        )
                }
                _ => true,
            },
            _ => true,
        },
        _ => true,
    };
    if !fine {
        return Some("the result is too large".to_owned());
    }
    let windows = ["kernel_shape", "pads", "strides", "dilations", "output_padding"];
    let wide = windows.iter().filter_map(|name| attribute(node, name)).find(|values| {
        let window = values.name() == "kernel_shape" && !fits(product(values.ints.clone()));
        window || values.ints.iter().any(|value| !(-WIDEST..=WIDEST).contains(value))
    });
    wide.map(|values| format!("the attribute `{}` is too large", values.name()))
}
