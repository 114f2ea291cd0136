//! The value of one node with known inputs: operators on sizes, scales and small tables.

use ndarray::{ArrayD, Axis, IxDyn, Slice, Zip, concatenate};

use crate::export::graph::Graph;
use crate::export::onnx::{self, NodeProto};
use crate::spec::DType;
use crate::tensor::{Element, HostTensor};

/// The most elements of a result. A weight that a model computes stays computed.
const MOST: usize = 1 << 12;

/// The value of what a node gives, where its inputs are known, and the operator is one of those that sizes are
/// computed with.
pub(in crate::export::passes) fn evaluate(graph: &Graph, node: &NodeProto) -> Option<HostTensor> {
    if !node.is_default() {
        return None;
    }
    if matches!(node.op_type(), "Shape" | "Size") {
        return size(graph, node);
    }
    let inputs = node.input.iter().map(|name| graph.constant(name));
    let inputs: Vec<&HostTensor> = inputs.collect::<Option<_>>()?;
    if inputs.is_empty() || inputs.iter().any(|input| input.len() > MOST) {
        return None;
    }
    let call = Call { node, inputs };
    let value = match node.op_type() {
        "ConstantOfShape" => call.filled(),
        "Cast" => call.cast(),
        "Where" => call.chosen(),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Equal" | "Greater" | "Less" | "GreaterOrEqual"
        | "LessOrEqual" | "And" | "Or" => call.binary(),
        "Sqrt" | "Neg" | "Not" => call.unary(),
        _ => match call.inputs[0].dtype() {
            DType::I64 => call.moved::<i64>(),
            DType::I32 => call.moved::<i32>(),
            DType::F32 => call.moved::<f32>(),
            DType::F16 => call.moved::<half::f16>(),
            DType::Bool => call.moved::<bool>(),
            _ => None,
        },
    };
    value.filter(|value| value.len() <= MOST)
}

fn size(graph: &Graph, node: &NodeProto) -> Option<HostTensor> {
    let shape = graph.spec(node.input.first()?)?.shape;
    let rank = shape.rank() as i64;
    let counted = |at: i64| if at < 0 { at + rank } else { at }.clamp(0, rank) as usize;
    let (start, end) = (counted(node.int("start", 0)), counted(node.int("end", i64::MAX)));
    let all = node.op_type() == "Size";
    let dims = if all { shape.dims() } else { shape.dims().get(start..end.max(start))? };
    let sizes = dims.iter().map(|dim| dim.fixed().map(|size| size as i64));
    let sizes: Vec<i64> = sizes.collect::<Option<_>>()?;
    match all {
        true => {
            let count = sizes.iter().try_fold(1i64, |count, &size| count.checked_mul(size));
            count.map(HostTensor::scalar)
        }
        false => HostTensor::from_vec([sizes.len()], sizes).ok(),
    }
}

struct Call<'a> {
    node: &'a NodeProto,
    inputs: Vec<&'a HostTensor>,
}

impl Call<'_> {
    fn array<T: Element>(&self, input: usize) -> Option<ArrayD<T>> {
        self.inputs.get(input)?.to_array().ok()
    }

    /// An attribute, or the input that states it in newer operator sets.
    fn ints(&self, input: usize, attribute: &str) -> Option<Vec<i64>> {
        match self.node.stated(attribute) {
            Some(stated) => Some(stated.ints.clone()),
            None => self.inputs.get(input)?.to_vec().ok(),
        }
    }

    fn filled(&self) -> Option<HostTensor> {
        let sizes: Vec<i64> = self.inputs[0].to_vec().ok()?;
        let sizes = sizes.iter().map(|&size| usize::try_from(size).ok());
        let sizes: Vec<usize> = sizes.collect::<Option<_>>()?;
        let count = few(&sizes)?;
        let value = match self.node.stated("value") {
            Some(stated) => onnx::tensor_from_proto(stated.t.as_ref()?)?,
            None => HostTensor::from_vec([1], vec![0f32]).ok()?,
        };
        let full = |value: HostTensor| {
            let (dtype, bytes) = (value.dtype(), value.bytes().repeat(count));
            HostTensor::from_bytes(dtype, sizes, bytes).ok()
        };
        (value.len() == 1).then_some(value).and_then(full)
    }

    fn cast(&self) -> Option<HostTensor> {
        let (from, to) = (self.inputs[0], self.node.stated("to")?.i());
        let to = onnx::from_onnx(i32::try_from(to).ok()?).ok()?;
        Some(match (from.dtype(), to) {
            (from_type, to) if from_type == to => from.clone(),
            (DType::I64, DType::F32) => self.array::<i64>(0)?.mapv(|x| x as f32).into(),
            (DType::I64, DType::I32) => self.array::<i64>(0)?.mapv(|x| x as i32).into(),
            (DType::I32, DType::I64) => self.array::<i32>(0)?.mapv(i64::from).into(),
            (DType::F32, DType::F16) => self.array::<f32>(0)?.mapv(half::f16::from_f32).into(),
            (DType::F16, DType::F32) => self.array::<half::f16>(0)?.mapv(f32::from).into(),
            (DType::I64, DType::Bool) => self.array::<i64>(0)?.mapv(|x| x != 0).into(),
            (DType::Bool, DType::I64) => self.array::<bool>(0)?.mapv(i64::from).into(),
            _ => return None,
        })
    }

    fn chosen(&self) -> Option<HostTensor> {
        match self.inputs.get(1)?.dtype() {
            DType::I64 => self.chosen_of::<i64>(),
            DType::F32 => self.chosen_of::<f32>(),
            _ => None,
        }
    }

    fn chosen_of<T: Element>(&self) -> Option<HostTensor> {
        let (condition, yes, no) =
            (self.array::<bool>(0)?, self.array::<T>(1)?, self.array::<T>(2)?);
        let shape = broadcast(broadcast(condition.shape(), yes.shape())?.as_slice(), no.shape())?;
        few(&shape)?;
        let shape = IxDyn(&shape);
        let (yes, no) = (yes.broadcast(shape.clone())?, no.broadcast(shape.clone())?);
        let chosen = Zip::from(condition.broadcast(shape)?).and(yes).and(no);
        Some(chosen.map_collect(|&condition, &yes, &no| if condition { yes } else { no }).into())
    }

    fn unary(&self) -> Option<HostTensor> {
        Some(match (self.node.op_type(), self.inputs[0].dtype()) {
            ("Sqrt", DType::F32) => self.array::<f32>(0)?.mapv(f32::sqrt).into(),
            ("Sqrt", DType::F16) => {
                self.array::<half::f16>(0)?.mapv(|x| half::f16::from_f32(x.to_f32().sqrt())).into()
            }
            ("Neg", DType::I64) => self.array::<i64>(0)?.mapv(i64::wrapping_neg).into(),
            ("Not", DType::Bool) => self.array::<bool>(0)?.mapv(|x| !x).into(),
            ("Neg", DType::F32) => self.array::<f32>(0)?.mapv(|x| -x).into(),
            _ => return None,
        })
    }

    fn binary(&self) -> Option<HostTensor> {
        match self.inputs.first()?.dtype() {
            DType::I64 => self.integers(),
            DType::Bool => match self.node.op_type() {
                "And" => self.zipped(|a: bool, b: bool| a & b),
                "Or" => self.zipped(|a: bool, b: bool| a | b),
                "Equal" => self.zipped(|a: bool, b: bool| a == b),
                _ => None,
            },
            DType::F32 => self.floats(|x: f32| x, |x| x),
            // Each operation rounds once, as the operators do.
            DType::F16 => self.floats(half::f16::to_f32, half::f16::from_f32),
            _ => None,
        }
    }

    fn integers(&self) -> Option<HostTensor> {
        let divides = matches!(self.node.op_type(), "Div" | "Mod");
        // What divides by zero is for the runtime to refuse.
        if divides && self.array::<i64>(1)?.iter().any(|&by| by == 0 || by == -1) {
            return None;
        }
        let fmod = self.node.int("fmod", 0) != 0;
        let compute: fn(i64, i64) -> i64 = match self.node.op_type() {
            "Add" => i64::wrapping_add,
            "Sub" => i64::wrapping_sub,
            "Mul" => i64::wrapping_mul,
            "Div" => |a, b| a / b,
            "Mod" if fmod => |a, b| a % b,
            // With the sign of the divisor.
            "Mod" => |a, b| ((a % b) + b) % b,
            "Equal" => return self.zipped(|a: i64, b: i64| a == b),
            "Greater" => return self.zipped(|a: i64, b: i64| a > b),
            "Less" => return self.zipped(|a: i64, b: i64| a < b),
            "GreaterOrEqual" => return self.zipped(|a: i64, b: i64| a >= b),
            "LessOrEqual" => return self.zipped(|a: i64, b: i64| a <= b),
            _ => return None,
        };
        self.zipped(compute)
    }

    fn floats<T: Element>(&self, wide: fn(T) -> f32, narrow: fn(f32) -> T) -> Option<HostTensor> {
        let compute: fn(f32, f32) -> f32 = match self.node.op_type() {
            "Add" => |a, b| a + b,
            "Sub" => |a, b| a - b,
            "Mul" => |a, b| a * b,
            "Div" => |a, b| a / b,
            _ => return None,
        };
        self.zipped(|a: T, b: T| narrow(compute(wide(a), wide(b))))
    }

    fn zipped<T: Element, U: Element>(&self, compute: impl Fn(T, T) -> U) -> Option<HostTensor> {
        let (a, b) = (self.array::<T>(0)?, self.array::<T>(1)?);
        let shape = broadcast(a.shape(), b.shape())?;
        few(&shape)?;
        let shape = IxDyn(&shape);
        let zip = Zip::from(a.broadcast(shape.clone())?).and(b.broadcast(shape)?);
        Some(zip.map_collect(|&a, &b| compute(a, b)).into())
    }

    /// Operators that move elements.
    fn moved<T: Element>(&self) -> Option<HostTensor> {
        let x = self.array::<T>(0)?;
        let rank = x.ndim();
        let counted = |axis: i64, rank: usize| {
            usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()
        };
        Some(match self.node.op_type() {
            "Identity" => self.inputs[0].clone(),
            "Reshape" => self.reshaped()?,
            "Squeeze" => {
                let axes = match (self.node.stated("axes"), self.inputs.len()) {
                    (None, 1) => (0..rank).filter(|&axis| x.shape()[axis] == 1).collect(),
                    _ => {
                        let axes = self.ints(1, "axes")?;
                        axes.iter().map(|&axis| counted(axis, rank)).collect::<Option<Vec<_>>>()?
                    }
                };
                if axes.iter().any(|&axis| x.shape().get(axis) != Some(&1)) {
                    return None;
                }
                let kept = (0..rank).filter(|axis| !axes.contains(axis));
                self.inputs[0].reshape(kept.map(|axis| x.shape()[axis]).collect::<Vec<_>>()).ok()?
            }
            "Unsqueeze" => {
                let axes = self.ints(1, "axes")?;
                let rank = rank + axes.len();
                let axes = axes.iter().map(|&axis| counted(axis, rank));
                let axes: Vec<usize> = axes.collect::<Option<_>>()?;
                let mut own = x.shape().iter();
                let dims = (0..rank).map(|axis| match axes.contains(&axis) {
                    true => Some(1),
                    false => own.next().copied(),
                });
                self.inputs[0].reshape(dims.collect::<Option<Vec<_>>>()?).ok()?
            }
            "Transpose" => {
                let reversed = || (0..rank).rev().collect();
                let order = self
                    .node
                    .stated("perm")
                    .map_or_else(|| Some(reversed()), |_| self.node.permutation(rank))?;
                x.permuted_axes(order).as_standard_layout().into_owned().into()
            }
            "Concat" => {
                let axis = counted(self.node.stated("axis")?.i(), rank)?;
                // One input may stand here many times.
                few(&[self.inputs.iter().map(|input| input.len()).sum()])?;
                let parts = (0..self.inputs.len()).map(|input| self.array::<T>(input));
                let parts: Vec<ArrayD<T>> = parts.collect::<Option<_>>()?;
                let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
                (axis < rank).then(|| concatenate(Axis(axis), &views).ok())??.into()
            }
            "Gather" => {
                let axis = counted(self.node.int("axis", 0), rank)?;
                let indices = self.array::<i64>(1)?;
                let size = *x.shape().get(axis)?;
                let places = indices.iter().map(|&at| counted(at, size).filter(|&at| at < size));
                let places: Vec<usize> = places.collect::<Option<_>>()?;
                let mut shape = x.shape().to_vec();
                shape.splice(axis..=axis, indices.shape().iter().copied());
                few(&shape)?;
                let taken = x.select(Axis(axis), &places);
                HostTensor::from(taken.as_standard_layout().into_owned()).reshape(shape).ok()?
            }
            "Slice" => self.sliced(x)?,
            "Expand" => {
                let sizes: Vec<i64> = self.inputs.get(1)?.to_vec().ok()?;
                let sizes = sizes.iter().map(|&size| usize::try_from(size).ok());
                let shape = broadcast(x.shape(), &sizes.collect::<Option<Vec<_>>>()?)?;
                few(&shape)?;
                x.broadcast(IxDyn(&shape))?.to_owned().into()
            }
            _ => return None,
        })
    }

    fn reshaped(&self) -> Option<HostTensor> {
        let (x, sizes) = (self.inputs[0], self.ints(1, "shape")?);
        let zero_is_zero = self.node.int("allowzero", 0) != 0;
        let mut dims = Vec::with_capacity(sizes.len());
        let mut open = None;
        for (axis, &size) in sizes.iter().enumerate() {
            match size {
                -1 if open.is_none() => {
                    open = Some(axis);
                    dims.push(1);
                }
                0 if !zero_is_zero => dims.push(*x.shape().get(axis)?),
                size => dims.push(usize::try_from(size).ok()?),
            }
        }
        if let Some(axis) = open {
            let others = dims.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
            dims[axis] = x.len().checked_div(others)?;
        }
        x.reshape(dims).ok()
    }

    fn sliced<T: Element>(&self, mut x: ArrayD<T>) -> Option<HostTensor> {
        let rank = x.ndim();
        let (starts, ends) = (self.ints(1, "starts")?, self.ints(2, "ends")?);
        let axes = match (self.node.stated("axes"), self.inputs.len()) {
            (None, ..=3) => (0..starts.len() as i64).collect(),
            _ => self.ints(3, "axes")?,
        };
        let steps = if self.inputs.len() > 4 { self.ints(4, "")? } else { vec![1; starts.len()] };
        let mut cuts = starts.iter().zip(&ends).zip(axes).zip(steps);
        cuts.try_for_each(|(((&start, &end), axis), step)| {
            let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
            let size = *x.shape().get(axis)? as i64;
            let counted = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
            let (start, end) = (counted(start), counted(end));
            // From the end to the start, the slice of `ndarray` has the same bounds as the other way.
            let last = size - 1;
            let (from, to) = match step {
                1.. => (start.clamp(0, size), end.clamp(0, size)),
                0 | i64::MIN => return None,
                _ => (end.clamp(-1, last) + 1, start.clamp(last.min(0), last) + 1),
            };
            let step = isize::try_from(step).ok()?;
            x.slice_axis_inplace(
                Axis(axis),
                Slice::new(from as isize, Some(to.max(from) as isize), step),
            );
            Some(())
        })?;
        Some(x.as_standard_layout().into_owned().into())
    }
}

/// The count of elements of a result, where it is small enough to be computed. Small inputs may be stretched to
/// one of many elements.
fn few(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
    (count <= MOST).then_some(count)
}

/// The shape that both shapes are stretched to.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}
