//! Types and shapes of an operator's outputs from those of its inputs. One function an operator
//! family; rules are those of the ONNX operator documentation.

use super::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{self, Attribute};
use crate::spec::{DType, Dim, Shape, Symbol};

type Output = (DType, Shape);

/// A node as its shape rule sees it.
pub(super) struct View<'a> {
    pub(super) op: &'static str,
    pub(super) inputs: &'a [Option<Value>],
    pub(super) attributes: &'a [(&'static str, Attribute)],
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
        "Conv" => one(conv(node)),
        "ConvTranspose" => one(conv_transpose(node)),
        "MaxPool" | "AveragePool" => one(pool(node)),
        "GlobalAveragePool" | "GlobalMaxPool" => one(global_pool(node)),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceLogSumExp" => one(reduce(node)),
        "ArgMax" | "ArgMin" => one(arg_reduce(node)),
        "Reshape" => one(reshape(node)),
        "Flatten" => one(flatten(node)),
        "Transpose" => one(transpose(node)),
        "Squeeze" => one(squeeze(node)),
        "Unsqueeze" => one(unsqueeze(node)),
        "Concat" => one(concat(node)),
        "Slice" => one(slice(node)),
        "Gather" => one(gather(node)),
        "Pad" => one(pad(node)),
        "Shape" => one(node.input(0).map(|x| (DType::I64, Shape::from([x.rank()])))),
        other => {
            let text = format!("there is no shape rule for {other}; state its outputs");
            Err(Error::new(ErrorKind::UnsupportedOperation, text))
        }
    }
}

fn mismatch(text: String) -> Error {
    Error::new(ErrorKind::ShapeMismatch, text)
}

pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
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
            same_dim(&x.dims()[1], &parameter.dims()[0])
                .map_err(|e| e.on_tensor(&*parameter.name).at_axis(0))?;
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
    let pick = |value: &Value, transposed: &str| {
        let [first, second] = [value.dims()[0].clone(), value.dims()[1].clone()];
        if node.int(transposed, 0) == 0 { (first, second) } else { (second, first) }
    };
    let ((m, k), (other, n)) = (pick(a, "transA"), pick(b, "transB"));
    same_dim(&k, &other).map_err(|e| e.on_tensor(&*b.name))?;
    let shape = Shape::from([m, n]);
    if let Ok(c) = node.input(2) {
        broadcast(&shape, &c.shape).map_err(|e| e.on_tensor(&*c.name))?;
    }
    Ok((dtype, shape))
}

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
    Ok(Dim::map(|| format!("({dim}+{before}+{after}-{reach})/{stride}+1"), &[dim], size))
}

fn fixed_sizes(value: &Value, from: usize) -> Result<Vec<usize>> {
    let sizes = value.dims()[from..].iter().map(Dim::fixed).collect::<Option<Vec<_>>>();
    sizes.ok_or_else(|| mismatch("the weight's shape must be fixed".into()).on_tensor(&*value.name))
}

fn conv(node: &View<'_>) -> Result<Output> {
    let (x, w) = (node.rank_at_least(0, 3)?, node.rank_at_least(1, 3)?);
    let dtype = node.one_dtype(0..3)?;
    if x.rank() != w.rank() {
        return Err(mismatch(format!("the input is {}, the weight {}", x.shape, w.shape))
            .on_tensor(&*w.name));
    }
    let group = node.int("group", 1).max(1) as usize;
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

fn conv_transpose(node: &View<'_>) -> Result<Output> {
    let (x, w) = (node.rank_at_least(0, 3)?, node.rank_at_least(1, 3)?);
    let dtype = node.one_dtype(0..3)?;
    same_dim(&x.dims()[1], &w.dims()[0]).map_err(|e| e.on_tensor(&*w.name).at_axis(0))?;
    let group = node.int("group", 1).max(1) as usize;
    let channels = &w.dims()[1];
    let mut dims = vec![x.dims()[0].clone()];
    dims.push(Dim::map(|| format!("{channels}*{group}"), &[channels], |v| v[0] * group));
    let extra = node.ints("output_padding").unwrap_or(&[]);
    for (i, window) in windows(node, &fixed_sizes(w, 2)?)?.iter().enumerate() {
        let Window { kernel, stride, dilation, pads: (before, after) } = *window;
        let extra = extra.get(i).map_or(0, |&v| v as usize);
        let dim = &x.dims()[i + 2];
        let size = |v: &[usize]| {
            (stride * (v[0].max(1) - 1) + extra + dilation * (kernel - 1) + 1)
                .saturating_sub(before + after)
        };
        dims.push(Dim::map(
            || format!("{stride}*({dim}-1)+{extra}+{kernel}-{before}-{after}"),
            &[dim],
            size,
        ));
    }
    Ok((dtype, dims.into()))
}

fn pool(node: &View<'_>) -> Result<Output> {
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

fn global_pool(node: &View<'_>) -> Result<Output> {
    let x = node.rank_at_least(0, 3)?;
    let ones = std::iter::repeat_n(Dim::Fixed(1), x.rank() - 2);
    Ok((x.dtype, x.dims()[..2].iter().cloned().chain(ones).collect::<Vec<_>>().into()))
}

fn reduced(x: &Value, axes: &[usize], keep: bool) -> Shape {
    let dims = x.dims().iter().enumerate().filter_map(|(i, dim)| match axes.contains(&i) {
        true if keep => Some(Dim::Fixed(1)),
        true => None,
        false => Some(dim.clone()),
    });
    dims.collect::<Vec<_>>().into()
}

fn axes(values: &[i64], rank: usize) -> Result<Vec<usize>> {
    values.iter().map(|&value| axis(value, rank)).collect()
}

fn reduce(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let axes = match node.inputs.get(1) {
        Some(Some(_)) => axes(&node.constant(1)?, x.rank()).map_err(|e| e.on_tensor(&*x.name))?,
        _ => (0..x.rank()).collect(),
    };
    Ok((x.dtype, reduced(x, &axes, node.int("keepdims", 1) != 0)))
}

fn arg_reduce(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let axis = x.axis(node.int("axis", 0))?;
    Ok((DType::I64, reduced(x, &[axis], node.int("keepdims", 1) != 0)))
}

fn reshape(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let target = node.constant(1)?;
    let wrong = |text: String| mismatch(text).on_tensor(&*x.name);
    let mut dims = Vec::with_capacity(target.len());
    for (i, &size) in target.iter().enumerate() {
        dims.push(match size {
            -1 => None,
            0 => Some(
                x.dims()
                    .get(i)
                    .cloned()
                    .ok_or_else(|| wrong(format!("{} has no axis {i}", x.shape)))?,
            ),
            1.. => Some(Dim::Fixed(size as usize)),
            _ => return Err(wrong(format!("{size} is no size"))),
        });
    }
    let known: Vec<Dim> = dims.iter().flatten().cloned().collect();
    let rest = quotient(x.dims(), &known)
        .ok_or_else(|| wrong(format!("{} cannot become {target:?}", x.shape)))?;
    match dims.iter().filter(|dim| dim.is_none()).count() {
        0 if rest == Dim::Fixed(1) => {}
        1 => {}
        0 => return Err(wrong(format!("{} cannot become {target:?}", x.shape))),
        _ => return Err(wrong(format!("{target:?} leaves more than one size open"))),
    }
    let dims: Vec<Dim> = dims.into_iter().map(|dim| dim.unwrap_or_else(|| rest.clone())).collect();
    Ok((x.dtype, dims.into()))
}

/// The product of `dims` over the product of `by`: what a `-1` stands for. `None` when it is no
/// whole number for sure.
pub(super) fn quotient(dims: &[Dim], by: &[Dim]) -> Option<Dim> {
    let mut symbols: Vec<&Symbol> = Vec::new();
    let mut fixed = 1usize;
    for dim in dims {
        match dim {
            Dim::Fixed(size) => fixed = fixed.checked_mul(*size)?,
            Dim::Symbol(symbol) => symbols.push(symbol),
        }
    }
    let mut divisor = 1usize;
    for dim in by {
        match dim {
            Dim::Fixed(size) => divisor = divisor.checked_mul(*size)?,
            Dim::Symbol(symbol) => {
                let at = symbols.iter().position(|known| *known == symbol)?;
                symbols.swap_remove(at);
            }
        }
    }
    if fixed == 0 || divisor == 0 {
        return (fixed == divisor).then_some(Dim::Fixed(1));
    }
    if symbols.is_empty() {
        return fixed.is_multiple_of(divisor).then(|| Dim::Fixed(fixed / divisor));
    }
    let (times, over) =
        if fixed.is_multiple_of(divisor) { (fixed / divisor, 1) } else { (fixed, divisor) };
    let parts: Vec<Dim> = symbols.into_iter().cloned().map(Dim::Symbol).collect();
    if let ([only], 1, 1) = (&parts[..], times, over) {
        return Some(only.clone());
    }
    let formula = || {
        let product = parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("*");
        match (times, over) {
            (1, 1) => product,
            (_, 1) => format!("{product}*{times}"),
            _ => format!("{product}*{times}/{over}"),
        }
    };
    let size = |v: &[usize]| v.iter().fold(times, |n, &size| n.saturating_mul(size)) / over;
    Some(Dim::map(formula, &parts.iter().collect::<Vec<_>>(), size))
}

fn flatten(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let at = match node.int("axis", 1) {
        axis if axis == x.rank() as i64 => x.rank(),
        axis => x.axis(axis)?,
    };
    let (head, tail) = x.dims().split_at(at);
    let product = |dims| quotient(dims, &[]).unwrap_or(Dim::Fixed(0));
    Ok((x.dtype, [product(head), product(tail)].into()))
}

fn transpose(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let perm = match node.ints("perm") {
        Some(perm) => axes(perm, x.rank())?,
        None => (0..x.rank()).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank()) {
        let text = format!("{perm:?} is no permutation of the axes of {}", x.shape);
        return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&*x.name));
    }
    Ok((x.dtype, perm.iter().map(|&i| x.dims()[i].clone()).collect::<Vec<_>>().into()))
}

fn squeeze(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let axes = axes(&node.constant(1)?, x.rank()).map_err(|e| e.on_tensor(&*x.name))?;
    for &i in &axes {
        same_dim(&Dim::Fixed(1), &x.dims()[i]).map_err(|e| e.on_tensor(&*x.name).at_axis(i))?;
    }
    Ok((x.dtype, reduced(x, &axes, false)))
}

fn unsqueeze(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let new = node.constant(1)?;
    let rank = x.rank() + new.len();
    let axes = axes(&new, rank).map_err(|e| e.on_tensor(&*x.name))?;
    let mut rest = x.dims().iter().cloned();
    let dims = (0..rank).map(|i| if axes.contains(&i) { Some(Dim::Fixed(1)) } else { rest.next() });
    let dims = dims
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| mismatch(format!("{new:?} names an axis twice")))?;
    Ok((x.dtype, dims.into()))
}

fn concat(node: &View<'_>) -> Result<Output> {
    let first = node.input(0)?;
    let dtype = node.one_dtype(0..node.inputs.len())?;
    let at = first.axis(node.int("axis", 0))?;
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    for value in &values[1..] {
        if value.rank() != first.rank() {
            let text = format!("expected the rank of {}, got {}", first.shape, value.shape);
            return Err(mismatch(text).on_tensor(&*value.name));
        }
        for (i, (expected, got)) in
            first.dims().iter().zip(value.dims()).enumerate().filter(|(i, _)| *i != at)
        {
            same_dim(expected, got).map_err(|e| e.on_tensor(&*value.name).at_axis(i))?;
        }
    }
    let parts: Vec<&Dim> = values.iter().map(|value| &value.dims()[at]).collect();
    let formula = || parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
    let mut dims = first.dims().to_vec();
    dims[at] = Dim::map(formula, &parts, |v| v.iter().sum());
    Ok((dtype, dims.into()))
}

fn slice(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let (starts, ends) = (node.constant(1)?, node.constant(2)?);
    let which = match node.inputs.get(3) {
        Some(Some(_)) => axes(&node.constant(3)?, x.rank()).map_err(|e| e.on_tensor(&*x.name))?,
        _ => (0..starts.len()).collect(),
    };
    let steps = match node.inputs.get(4) {
        Some(Some(_)) => node.constant(4)?,
        _ => vec![1; starts.len()],
    };
    let mut dims = x.dims().to_vec();
    for (k, &i) in which.iter().enumerate() {
        let (Some(&start), Some(&end), Some(&step)) = (starts.get(k), ends.get(k), steps.get(k))
        else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "starts, ends and steps differ in length",
            ));
        };
        if step == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a step is 0").at_axis(i));
        }
        let whole = step == 1 && start == 0 && end > i64::from(i32::MAX);
        if whole {
            continue;
        }
        let size = |v: &[usize]| {
            let n = v[0] as i64;
            let from_end = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
            let (start, end) = (from_end(start), from_end(end));
            let count = match step > 0 {
                true => (end.clamp(0, n) - start.clamp(0, n)).max(0) + step - 1,
                false => (start.clamp(-1, n - 1) - end.clamp(-1, n - 1)).max(0) - step - 1,
            };
            (count / step.abs()) as usize
        };
        let dim = &x.dims()[i];
        dims[i] = Dim::map(|| format!("{dim}[{start}:{end}:{step}]"), &[dim], size);
    }
    Ok((x.dtype, dims.into()))
}

fn gather(node: &View<'_>) -> Result<Output> {
    let (x, indices) = (node.rank_at_least(0, 1)?, node.input(1)?);
    if !matches!(indices.dtype, DType::I32 | DType::I64) {
        let text = format!("indices are {}, not i32 or i64", indices.dtype);
        return Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&*indices.name));
    }
    let at = x.axis(node.int("axis", 0))?;
    let dims = x.dims()[..at].iter().chain(indices.dims()).chain(&x.dims()[at + 1..]);
    Ok((x.dtype, dims.cloned().collect::<Vec<_>>().into()))
}

fn pad(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let pads = node.constant(1)?;
    if pads.len() != 2 * x.rank() {
        let text = format!("{} pads do not fit {}", pads.len(), x.shape);
        return Err(mismatch(text).on_tensor(&*x.name));
    }
    let mut dims = Vec::with_capacity(x.rank());
    for (i, dim) in x.dims().iter().enumerate() {
        let sum = pads[i] + pads[x.rank() + i];
        if sum == 0 {
            dims.push(dim.clone());
            continue;
        }
        let size = |v: &[usize]| (v[0] as i64 + sum).max(0) as usize;
        dims.push(Dim::map(|| format!("{dim}+{sum}"), &[dim], size));
    }
    Ok((x.dtype, dims.into()))
}
