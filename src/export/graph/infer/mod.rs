//! Types and shapes of an operator's outputs from those of its inputs. One function an operator
//! family; rules are those of the ONNX operator documentation.

mod recurrent;
pub(super) mod shapes;
mod windows;

use super::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{self, Attribute};
use crate::spec::{DType, Dim, Shape};

type Output = (DType, Shape);

/// A node as its shape rule sees it.
pub(super) struct View<'a> {
    pub(super) op: &'a str,
    pub(super) inputs: &'a [Option<Value>],
    pub(super) attributes: &'a [(&'a str, Attribute)],
}

pub(super) fn infer(node: &View<'_>) -> Result<Vec<Output>> {
    let one = |output: Result<Output>| output.map(|output| vec![output]);
    match node.op {
        "Abs"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "Ceil"
        | "Celu"
        | "Cos"
        | "Cosh"
        | "CumSum"
        | "Dropout"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Floor"
        | "Gelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Identity"
        | "LayerNormalization"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "Mish"
        | "Neg"
        | "Not"
        | "Reciprocal"
        | "Relu"
        | "Round"
        | "Selu"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "Tan"
        | "Tanh"
        | "Trilu"
        | "Clip"
        | "PRelu"
        | "BatchNormalization"
        | "GroupNormalization"
        | "InstanceNormalization" => one(same_as_first(node)),
        "IsNaN" | "IsInf" => one(node.input(0).map(|x| (DType::Bool, x.shape.clone()))),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "And" | "Or" | "Xor" | "Min" | "Max"
        | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => one(elementwise(node)),
        "Pow" => one(broadcast_all(node).and_then(|shape| Ok((node.input(0)?.dtype, shape)))),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => {
            one(elementwise(node).map(|(_, shape)| (DType::Bool, shape)))
        }
        "Where" => one(where_(node)),
        "Cast" => one(cast(node)),
        "MatMul" => one(matmul(node)),
        "Gemm" => one(gemm(node)),
        "Conv" => one(windows::conv(node)),
        "ConvTranspose" => one(windows::conv_transpose(node)),
        "MaxPool" | "AveragePool" => one(windows::pool(node)),
        "GlobalAveragePool" | "GlobalMaxPool" => one(windows::global_pool(node)),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceLogSumExp" => one(shapes::reduce(node)),
        "ArgMax" | "ArgMin" => one(shapes::arg_reduce(node)),
        "Reshape" => one(shapes::reshape(node)),
        "Flatten" => one(shapes::flatten(node)),
        "Transpose" => one(shapes::transpose(node)),
        "Squeeze" => one(shapes::squeeze(node)),
        "Unsqueeze" => one(shapes::unsqueeze(node)),
        "Concat" => one(shapes::concat(node)),
        "Slice" => one(shapes::slice(node)),
        "Gather" => one(shapes::gather(node)),
        "Pad" => one(shapes::pad(node)),
        "Split" => shapes::split(node),
        "Expand" => one(shapes::expand(node)),
        "CastLike" => one(cast_like(node)),
        "Shape" => one(shapes::shape(node)),
        "LSTM" | "GRU" | "RNN" => recurrent::recurrent(node),
        other => {
            let text = format!("there is no shape rule for {other}; state its outputs");
            Err(Error::new(ErrorKind::UnsupportedOperation, text))
        }
    }
}

fn mismatch(text: String) -> Error {
    Error::new(ErrorKind::ShapeMismatch, text)
}

pub(in crate::export) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let signed = rank as i64;
    if axis < -signed || axis >= signed {
        let text = format!("axis {axis} does not exist in a tensor of rank {rank}");
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(axis.rem_euclid(signed) as usize)
}

impl<'a> View<'a> {
    fn input(&self, index: usize) -> Result<&'a Value> {
        self.inputs.get(index).and_then(Option::as_ref).ok_or_else(|| {
            Error::new(ErrorKind::InputMismatch, format!("input {index} is missing"))
        })
    }

    fn attribute(&self, name: &str) -> Option<&'a Attribute> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        match self.attribute(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    fn ints(&self, name: &str) -> Option<&'a [i64]> {
        match self.attribute(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// The 64-bit integers of a constant input.
    fn constant(&self, index: usize) -> Result<Vec<i64>> {
        let value = self.input(index)?;
        let constant = value.constant.as_ref().ok_or_else(|| {
            let text = "is computed when the model runs; state the node's outputs";
            Error::new(ErrorKind::InvalidArgument, text).on_tensor(&*value.name)
        })?;
        constant.to_vec().map_err(|e| e.on_tensor(&*value.name))
    }

    /// Axes, as an input or, in older operator sets, as an attribute.
    fn axes(&self, index: usize) -> Result<Option<Vec<i64>>> {
        match (self.inputs.get(index), self.ints("axes")) {
            (Some(Some(_)), _) => self.constant(index).map(Some),
            (_, stated) => Ok(stated.map(<[i64]>::to_vec)),
        }
    }

    fn rank_at_least(&self, index: usize, rank: usize) -> Result<&'a Value> {
        let value = self.input(index)?;
        if value.rank() < rank {
            let text = format!("expected rank {rank} or more, got {}", value.shape);
            return Err(mismatch(text).on_tensor(&*value.name));
        }
        Ok(value)
    }

    /// Checks that all of these inputs have one type, and returns it.
    fn one_dtype(&self, indices: impl IntoIterator<Item = usize>) -> Result<DType> {
        let mut first: Option<&Value> = None;
        for value in indices.into_iter().filter_map(|i| self.inputs.get(i)?.as_ref()) {
            match first {
                Some(first) if first.dtype != value.dtype => {
                    let text =
                        format!("is {}, but `{}` is {}", value.dtype, first.name, first.dtype);
                    return Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&*value.name));
                }
                Some(_) => {}
                None => first = Some(value),
            }
        }
        first
            .map(|value| value.dtype)
            .ok_or_else(|| Error::new(ErrorKind::InputMismatch, "input 0 is missing"))
    }
}

fn same_as_first(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    if matches!(node.op, "LayerNormalization" | "BatchNormalization" | "PRelu" | "Clip") {
        node.one_dtype(0..node.inputs.len())?;
    }
    if matches!(node.op, "Softmax" | "LogSoftmax") {
        axis(node.int("axis", -1), x.rank()).map_err(|e| e.on_tensor(&*x.name))?;
    }
    if node.op == "BatchNormalization" {
        let x = node.rank_at_least(0, 2)?;
        for parameter in node.inputs[1..].iter().flatten() {
            let [size] = parameter.dims() else {
                let text =
                    format!("a parameter of a batch norm has one axis, not {}", parameter.shape);
                return Err(mismatch(text).on_tensor(&*parameter.name));
            };
            same_dim(&x.dims()[1], size).map_err(|e| e.on_tensor(&*parameter.name).at_axis(0))?;
        }
    }
    Ok((x.dtype, x.shape.clone()))
}

fn elementwise(node: &View<'_>) -> Result<Output> {
    Ok((node.one_dtype(0..node.inputs.len())?, broadcast_all(node)?))
}

fn broadcast_all(node: &View<'_>) -> Result<Shape> {
    let mut shape = node.input(0)?.shape.clone();
    for value in node.inputs[1..].iter().flatten() {
        shape = broadcast(&shape, &value.shape).map_err(|e| e.on_tensor(&*value.name))?;
    }
    Ok(shape)
}

/// The shape of an elementwise result, by numpy's rule.
pub(super) fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.rank().max(b.rank());
    let one = Dim::Fixed(1);
    let at = |shape: &Shape, i: usize| -> Dim {
        let missing = rank - shape.rank();
        if i < missing { one.clone() } else { shape.dims()[i - missing].clone() }
    };
    let mut dims = Vec::with_capacity(rank);
    for i in 0..rank {
        let (x, y) = (at(a, i), at(b, i));
        dims.push(match (&x, &y) {
            _ if x == y => x,
            (Dim::Fixed(1), _) => y,
            (_, Dim::Fixed(1)) => x,
            _ => {
                let text = format!("{a} and {b} do not broadcast: {x} against {y}");
                return Err(mismatch(text).at_axis(i));
            }
        });
    }
    Ok(Shape::from(dims))
}

fn same_dim(expected: &Dim, got: &Dim) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(mismatch(format!("expected {expected}, got {got}")))
}

fn where_(node: &View<'_>) -> Result<Output> {
    let condition = node.input(0)?;
    if condition.dtype != DType::Bool {
        let text = format!("the condition is {}, not bool", condition.dtype);
        return Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&*condition.name));
    }
    Ok((node.one_dtype(1..3)?, broadcast_all(node)?))
}

fn cast(node: &View<'_>) -> Result<Output> {
    let dtype = onnx::from_onnx(node.int("to", 0) as i32)?;
    Ok((dtype, node.input(0)?.shape.clone()))
}

fn cast_like(node: &View<'_>) -> Result<Output> {
    Ok((node.input(1)?.dtype, node.input(0)?.shape.clone()))
}

fn matmul(node: &View<'_>) -> Result<Output> {
    let (a, b) = (node.rank_at_least(0, 1)?, node.rank_at_least(1, 1)?);
    let dtype = node.one_dtype(0..2)?;
    let split = |dims: &[Dim], row: bool| -> (Vec<Dim>, Option<Dim>, Dim) {
        match dims {
            [only] => (Vec::new(), None, only.clone()),
            [batch @ .., m, n] if row => (batch.to_vec(), Some(m.clone()), n.clone()),
            [batch @ .., m, n] => (batch.to_vec(), Some(n.clone()), m.clone()),
            [] => unreachable!("rank is at least 1"),
        }
    };
    let (a_batch, rows, inner) = split(a.dims(), true);
    let (b_batch, columns, other) = split(b.dims(), false);
    same_dim(&inner, &other)
        .map_err(|e| e.on_tensor(&*b.name).at_axis(b.rank().saturating_sub(2)))?;
    let batch = broadcast(&a_batch.into(), &b_batch.into()).map_err(|e| e.on_tensor(&*b.name))?;
    let dims: Vec<Dim> = batch.dims().iter().cloned().chain(rows).chain(columns).collect();
    Ok((dtype, dims.into()))
}

fn gemm(node: &View<'_>) -> Result<Output> {
    let (a, b) = (node.rank_at_least(0, 2)?, node.rank_at_least(1, 2)?);
    let dtype = node.one_dtype(0..3)?;
    for value in [a, b] {
        if value.rank() != 2 {
            return Err(mismatch(format!("a matrix has two axes, not {}", value.shape))
                .on_tensor(&*value.name));
        }
    }
    let pick = |value: &Value, transposed: &str| {
        let [first, second] = [value.dims()[0].clone(), value.dims()[1].clone()];
        if node.int(transposed, 0) == 0 { (first, second) } else { (second, first) }
    };
    let ((m, k), (other, n)) = (pick(a, "transA"), pick(b, "transB"));
    let of_b = usize::from(node.int("transB", 0) != 0);
    same_dim(&k, &other).map_err(|e| e.on_tensor(&*b.name).at_axis(of_b))?;
    let shape = Shape::from([m, n]);
    if let Ok(c) = node.input(2) {
        let whole = broadcast(&shape, &c.shape).map_err(|e| e.on_tensor(&*c.name))?;
        if whole != shape {
            return Err(
                mismatch(format!("{} does not expand to {shape}", c.shape)).on_tensor(&*c.name)
            );
        }
    }
    Ok((dtype, shape))
}
