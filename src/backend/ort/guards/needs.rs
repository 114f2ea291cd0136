//! Which operators of ONNX Runtime 1.24 to 1.29 end the process, and by what: found by giving each of ONNX's node cases
//! inputs of every size of 0 and integers at the ends of their types (`docs/measured/2026-11-untrusted-bytes.md`).

use super::scan;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{self, NodeProto, TensorProto};
use crate::export::{KnownInput, KnownSize};
use crate::spec::DType;

/// What must hold of an input when its node runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Need {
    /// Sizes of an input are not below this.
    Sizes { input: usize, axes: Axes, least: i64 },
    /// The elements of an input of integers are at least 1.
    Positive { input: usize },
    /// A number of diagonals is taken for the farthest that any matrix has.
    Near { input: usize },
    /// A divisor is not 0.
    NotZero,
    /// A divisor is not -1 where the least integer is divided.
    NoOverflow { dtype: DType },
    /// No size is 0 of what the body of a `Scan` gives in each turn as this output of the body.
    Given { output: usize },
}

/// Axes of an input, from the end where they are negative.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Axes {
    Each(Vec<i64>),
    /// From one up to another, without it.
    Span(i64, i64),
    /// The one that an input of the node names when it runs.
    Named(usize),
}

/// The needs of a node that nothing shows to be met, and the symbols of inputs that meet the others.
#[derive(Default)]
pub(super) struct Found {
    pub(super) needs: Vec<Need>,
    pub(super) symbols: Vec<String>,
}

/// The operator set in which the axis of a `DFT` became an input, and the last one if it is left out.
const DFT_AXIS_IS_AN_INPUT: i64 = 20;

/// Behind the last axis of any tensor.
pub(super) const END: i64 = i64::MAX;

pub(in crate::backend::ort) fn is_of_interest(node: &NodeProto) -> bool {
    matches!(
        node.op_type(),
        "Attention"
            | "Conv"
            | "ConvTranspose"
            | "DFT"
            | "Div"
            | "GRU"
            | "InstanceNormalization"
            | "LSTM"
            | "LpNormalization"
            | "Mod"
            | "QuantizeLinear"
            | "STFT"
            | "Scan"
            | "TopK"
            | "Trilu"
            | "Unique"
    ) || is_foreign_and_fragile(node)
}

/// Whether a weight as second input is all that a node needs.
pub(super) fn is_met_by(node: &NodeProto, weight: &TensorProto) -> bool {
    match node.op_type() {
        "Conv" => weight.dims.iter().all(|&size| size > 0),
        "Div" | "Mod" => onnx::from_onnx(weight.data_type()).is_ok_and(DType::is_float),
        _ => false,
    }
}

/// Attention and recurrent layers that ONNX does not define. Their sizes are not known here.
pub(super) fn is_foreign_and_fragile(node: &NodeProto) -> bool {
    const FRAGILE: [&str; 5] = [
        "Attention",
        "DynamicQuantizeLSTM",
        "GroupQueryAttention",
        "MultiHeadAttention",
        "QAttention",
    ];
    !super::is_standard(node.domain()) && FRAGILE.contains(&node.op_type())
}

/// What is not known to hold of a node.
///
/// # Errors
/// [`ErrorKind::ShapeMismatch`] for a size that is always too small.
pub(super) fn of(
    node: &NodeProto,
    opset: i64,
    known: &[KnownInput],
    divides_by_zero: bool,
) -> Result<Found> {
    let mut found = Found::default();
    if !super::is_standard(node.domain()) {
        return Ok(found);
    }
    let nothing = KnownInput::default();
    let input = |i: usize| known.get(i).unwrap_or(&nothing);
    for need in wanted(node, opset, &input, divides_by_zero) {
        let is_met = match &need {
            Need::Sizes { input: i, axes, least } => {
                sizes(node, *i, input(*i), axes, *least, &mut found.symbols)?
            }
            Need::Positive { input: i } => all(input(*i), |value| value >= 1),
            Need::Near { input: i } => all(input(*i), |value| value.abs_diff(0) <= 1 << 31),
            Need::NotZero => all(input(1), |value| value != 0),
            Need::NoOverflow { dtype } => {
                let least = if *dtype == DType::I32 { i32::MIN.into() } else { i64::MIN };
                all(input(1), |value| value != -1) || all(input(0), |value| value != least)
            }
            Need::Given { .. } => false,
        };
        if !is_met {
            found.needs.push(need);
        }
    }
    Ok(found)
}

fn all(input: &KnownInput, holds: impl Fn(i64) -> bool) -> bool {
    input.integers.as_ref().is_some_and(|values| values.iter().all(|&value| holds(value)))
}

fn wanted<'k>(
    node: &NodeProto,
    opset: i64,
    input: &dyn Fn(usize) -> &'k KnownInput,
    divides_by_zero: bool,
) -> Vec<Need> {
    let has = |i: usize| node.input.get(i).is_some_and(|name| !name.is_empty());
    let int = |name: &str| node.attribute.iter().find(|a| a.name() == name).map(|a| a.i());
    let rank = |i: usize| input(i).sizes.as_ref().map(Vec::len);
    let sizes = |input, axes| Need::Sizes { input, axes, least: 1 };
    match node.op_type() {
        // Heads have an axis of their own among four. Without a rank there is the attribute, or there are four axes.
        "Attention" => {
            let heads = |i: usize| match rank(i) {
                Some(4) => Some(1),
                Some(_) => None,
                None => Some(if int("q_num_heads").is_none() { 1 } else { -3 }),
            };
            let each = (0..3).filter(|&i| has(i));
            each.filter_map(|i| Some(sizes(i, Axes::Each(vec![heads(i)?])))).collect()
        }
        "Conv" => vec![sizes(1, Axes::Span(1, END))],
        "ConvTranspose" if rank(0) != Some(4) => vec![sizes(0, Axes::Span(2, END))],
        "GRU" => vec![sizes(0, Axes::Span(0, END))],
        // The mean of nothing is read from no memory.
        "InstanceNormalization" => vec![sizes(0, Axes::Span(2, END))],
        "LSTM" => vec![sizes(0, Axes::Each(vec![1]))],
        "LpNormalization" => vec![sizes(0, Axes::Each(vec![int("axis").unwrap_or(-1)]))],
        "QuantizeLinear" if int("block_size").is_some_and(|size| size != 0) => {
            vec![sizes(1, Axes::Span(int("axis").unwrap_or(1), END))]
        }
        "TopK" => vec![sizes(0, Axes::Span(0, int("axis").unwrap_or(-1)))],
        "Unique" => match int("axis") {
            None | Some(-1) => Vec::new(),
            Some(axis) => vec![sizes(0, Axes::Span(axis + 1, END))],
        },
        "Trilu" if has(1) => vec![Need::Near { input: 1 }],
        "DFT" => {
            let usual = if opset < DFT_AXIS_IS_AN_INPUT { 1 } else { -2 };
            let axes = match input(2).integers.as_ref().and_then(|axis| axis.first()) {
                Some(&axis) => Axes::Each(vec![axis]),
                None if has(2) => Axes::Named(2),
                None => Axes::Each(vec![int("axis").unwrap_or(usual)]),
            };
            // Its own length then is twice one less.
            let halves = int("inverse") == Some(1) && int("onesided") == Some(1) && !has(1);
            let least = if halves { 2 } else { 1 };
            let mut needs = vec![Need::Sizes { input: 0, axes, least }];
            needs.extend(has(1).then_some(Need::Positive { input: 1 }));
            needs
        }
        "Scan" => scan::needs(node, opset, &rank),
        "STFT" => {
            let mut needs = vec![Need::Positive { input: 1 }];
            needs.extend(has(2).then(|| sizes(2, Axes::Span(0, END))));
            needs.extend(has(3).then_some(Need::Positive { input: 3 }));
            needs
        }
        "Div" | "Mod" => {
            let Some(dtype) = input(0).dtype.or(input(1).dtype) else { return Vec::new() };
            let mut needs = Vec::new();
            if divides_by_zero && !dtype.is_float() {
                needs.push(Need::NotZero);
            }
            if matches!(dtype, DType::I32 | DType::I64) {
                needs.push(Need::NoOverflow { dtype });
            }
            needs
        }
        _ => Vec::new(),
    }
}

/// Whether sizes are known to be large enough, perhaps by symbols of inputs that are not 0.
fn sizes(
    node: &NodeProto,
    input: usize,
    known: &KnownInput,
    axes: &Axes,
    least: i64,
    symbols: &mut Vec<String>,
) -> Result<bool> {
    let Some(sizes) = &known.sizes else { return Ok(false) };
    let rank = sizes.len() as i64;
    let place = |axis: i64| if axis < 0 { axis + rank } else { axis };
    let axes: Vec<i64> = match axes {
        Axes::Each(axes) => axes.iter().map(|&axis| place(axis)).collect(),
        Axes::Span(start, end) => (place(*start).max(0)..place(*end).min(rank)).collect(),
        Axes::Named(_) => {
            let enough =
                |size: &KnownSize| matches!(size, KnownSize::Fixed(size) if *size as i64 >= least);
            return Ok(sizes.iter().all(enough));
        }
    };
    let mut used = Vec::new();
    for axis in axes {
        // An axis that is not there is an error of ONNX Runtime's.
        let Some(size) = usize::try_from(axis).ok().and_then(|axis| sizes.get(axis)) else {
            continue;
        };
        match size {
            KnownSize::Fixed(size) if (*size as i64) < least => {
                let text = format!(
                    "ONNX Runtime would end the process: the size is {size}, and must be {least} or more"
                );
                let name = node.input.get(input).map_or("", String::as_str);
                let error = Error::new(ErrorKind::ShapeMismatch, text);
                return Err(error.on_tensor(name).at_axis(axis as usize));
            }
            KnownSize::Fixed(_) => {}
            KnownSize::Symbol(name) if least == 1 => used.push(name.clone()),
            _ => return Ok(false),
        }
    }
    symbols.append(&mut used);
    Ok(true)
}
