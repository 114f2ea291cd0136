//! From the steps of a trace to ONNX: one operator where there is one. Values and the dimensions
//! they are known by; operators about shapes are in `lower_shapes`.

use std::collections::HashMap;

use candle_core::{DType as CandleType, TensorId};

use super::sizes::{Size, constant};
use super::tape::{Binary, Compare, Op, Reduce, Unary};
use super::tensors::carried_dtype;
use super::trace::{Step, Trace};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Consumer, Conv, GraphBuilder, OnnxModel, Pool, Value};
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

/// A graph being written from a trace.
pub(super) struct Lowering<'t> {
    pub(super) trace: &'t Trace,
    pub(super) graph: GraphBuilder,
    pub(super) values: Vec<Option<Value>>,
    /// Dimensions that follow symbols, each with the step and axis where it was first seen.
    pub(super) known: Vec<(Size, Dim, (usize, usize))>,
    weights: HashMap<TensorId, Value>,
}

pub(super) fn lower(trace: &Trace, consumer: Consumer) -> Result<OnnxModel> {
    let graph = GraphBuilder::for_consumer(&*trace.name, consumer);
    let values = vec![None; trace.steps.len()];
    let mut lowering =
        Lowering { trace, graph, values, known: Vec::new(), weights: HashMap::new() };
    // All inputs, used or not: the signature is the caller's.
    for (i, step) in trace.steps.iter().enumerate() {
        if let Op::Input(number) = step.op {
            let spec = &trace.inputs[number];
            let value = lowering.graph.input(&spec.name, spec.dtype, spec.shape.clone())?;
            lowering.keep(i, value)?;
        }
    }
    let mut needed = vec![false; trace.steps.len()];
    trace.outputs.iter().for_each(|(_, step)| needed[*step] = true);
    for i in (0..needed.len()).rev() {
        if needed[i] {
            trace.steps[i].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    for (i, step) in trace.steps.iter().enumerate() {
        if !needed[i] || matches!(step.op, Op::Input(_)) {
            continue;
        }
        if !step.scope.is_empty() {
            lowering.graph.enter(&*step.scope);
        }
        let value = lowering.step(i);
        if !step.scope.is_empty() {
            lowering.graph.leave();
        }
        let value = value.and_then(|value| lowering.keep(i, value)).map_err(|e| {
            match step.scope.is_empty() {
                true => e,
                false => {
                    let operation = e.operation().unwrap_or("step").to_owned();
                    Error::new(e.kind(), e.message())
                        .in_operation(format!("{}/{operation}", step.scope))
                        .with_source(e)
                }
            }
        });
        value?;
    }
    for (name, step) in &trace.outputs {
        lowering.graph.output(name, lowering.value(*step))?;
    }
    lowering.graph.finish()
}

impl Lowering<'_> {
    /// The value of an earlier step.
    pub(super) fn value(&self, step: usize) -> &Value {
        self.values[step].as_ref().expect("a step comes after its inputs, and those were lowered")
    }

    /// Keeps a step's value, with its dimensions under the names they were first known by.
    fn keep(&mut self, i: usize, value: Value) -> Result<()> {
        let step = &self.trace.steps[i];
        let expected = carried_dtype(step.dtype)?;
        // Comparisons stay bool: TensorRT has no u8 between operators.
        let same_dtype =
            value.dtype() == expected || (value.dtype() == DType::Bool && expected == DType::U8);
        let same_rank = value.rank() == step.dims.len() && same_dtype;
        let agrees = |(size, dim)| self.trace.cases.agrees(size, dim);
        if !same_rank || !step.dims.iter().zip(value.dims()).all(agrees) {
            let sizes: Vec<usize> = step.dims.iter().map(|size| size[0]).collect();
            let text = format!("candle gives {expected} {sizes:?} where ONNX gives {value:?}");
            return Err(
                Error::new(ErrorKind::InvalidModel, text).in_operation(format!("{:?}", step.op))
            );
        }
        let mut dims = Vec::with_capacity(step.dims.len());
        for (axis, (size, dim)) in step.dims.iter().zip(value.dims()).enumerate() {
            let known = self
                .known
                .iter()
                .find(|(known, _, _)| known == size)
                .map(|(_, dim, _)| dim.clone());
            dims.push(match (constant(size), known) {
                (Some(size), _) => Dim::Fixed(size),
                (None, Some(known)) => known,
                (None, None) => {
                    self.known.push((size.clone(), dim.clone(), (i, axis)));
                    dim.clone()
                }
            });
        }
        self.values[i] = Some(value.with_dims(dims));
        Ok(())
    }

    /// Sizes of an input of a step.
    pub(super) fn dims_of(&self, step: usize) -> &[Size] {
        &self.trace.steps[step].dims
    }

    /// The inputs of a step; bool only where the operator takes it, else as the u8 that it is to
    /// candle.
    fn operands(&self, step: &Step) -> Result<Vec<Value>> {
        let values = || step.inputs.iter().map(|&input| self.value(input));
        let is_bool = |value: &Value| value.dtype() == DType::Bool;
        let keep = match step.op {
            Op::Where
            | Op::Cast
            | Op::Reshape
            | Op::Broadcast
            | Op::Permute { .. }
            | Op::Squeeze { .. }
            | Op::Unsqueeze { .. }
            | Op::Narrow { .. } => true,
            Op::Cat { .. } | Op::Binary(Binary::Mul | Binary::Maximum | Binary::Minimum) => {
                values().all(is_bool)
            }
            _ => false,
        };
        let operand = |value: &Value| {
            if is_bool(value) && !keep { value.cast(DType::U8) } else { Ok(value.clone()) }
        };
        values().map(operand).collect()
    }

    fn step(&mut self, i: usize) -> Result<Value> {
        let trace = self.trace;
        let step = &trace.steps[i];
        if let Op::Constant(constant) = &step.op {
            let id = constant.tensor.id();
            if let Some(value) = self.weights.get(&id) {
                return Ok(value.clone());
            }
            let value = self.graph.constant(&constant.name, trace.weights[&id].clone());
            self.weights.insert(id, value.clone());
            return Ok(value);
        }
        let inputs = self.operands(step)?;
        let x = &inputs[0];
        match &step.op {
            Op::Affine { mul, add } => x.affine(*mul, *add),
            Op::Powf { exponent } => x.powf(*exponent),
            Op::Elu { alpha } => {
                self.graph.node("Elu").input(x).attr("alpha", *alpha as f32).build()
            }
            Op::LeakyRelu { slope } => x.leaky_relu(*slope),
            Op::Unary(op) => unary(*op, x),
            Op::Binary(op) => binary(*op, x, &inputs[1]),
            Op::Compare(op) => compare(*op, x, &inputs[1]),
            Op::Where => {
                let condition = x.cast(DType::Bool)?;
                self.graph
                    .node("Where")
                    .input(&condition)
                    .input(&inputs[1])
                    .input(&inputs[2])
                    .build()
            }
            Op::MatMul => x.matmul(&inputs[1]),
            Op::Linear => x.linear(&inputs[1], inputs.get(2), true),
            Op::Prelu => self.graph.node("PRelu").input(x).input(&inputs[1]).build(),
            Op::Conv { padding, stride, dilation, groups } => {
                let axes = x.rank() - 2;
                let options = Conv {
                    strides: vec![*stride; axes],
                    padding: vec![(*padding, *padding); axes],
                    dilations: vec![*dilation; axes],
                    groups: *groups,
                };
                x.conv(&inputs[1], inputs.get(2), &options)
            }
            Op::Pool { max, kernel, stride } => {
                let options = Pool {
                    kernel: kernel.to_vec(),
                    strides: stride.to_vec(),
                    padding: vec![(0, 0); 2],
                    dilations: vec![1; 2],
                    ceil_mode: false,
                };
                if *max { x.max_pool(&options) } else { x.average_pool(&options, false) }
            }
            Op::Reduce { op, dims, keepdim } => reduce(*op, x, dims, *keepdim),
            Op::ArgReduce { max, dim, keepdim } => {
                let node = self.graph.node(if *max { "ArgMax" } else { "ArgMin" }).input(x);
                node.attr("axis", *dim as i64).attr("keepdims", i64::from(*keepdim)).build()
            }
            Op::Softmax { dim, log: false } => x.softmax(*dim as i64),
            Op::Softmax { dim, log: true } => x.log_softmax(*dim as i64),
            Op::BatchNorm { eps } => {
                x.batch_norm(&inputs[1], &inputs[2], &inputs[3], &inputs[4], *eps)
            }
            Op::LayerNorm { eps } => {
                let node = self.graph.node("LayerNormalization").input(x).input(&inputs[1]);
                node.input_opt(inputs.get(2)).attr("axis", -1).attr("epsilon", *eps as f32).build()
            }
            Op::RmsNorm { eps } => rms_norm(x, &inputs[1], *eps),
            Op::Embedding => {
                let ids = match x.dtype() {
                    DType::I32 | DType::I64 => x.clone(),
                    _ => x.cast(DType::I64)?,
                };
                self.graph.node("Gather").input(&inputs[1]).input(&ids).attr("axis", 0).build()
            }
            Op::Cast => cast(x, trace.steps[step.inputs[0]].dtype, step.dtype),
            Op::Cat { dim } => self.graph.concat(&inputs.iter().collect::<Vec<_>>(), *dim as i64),
            Op::Permute { order } => x.transpose(order),
            Op::Squeeze { dim } => x.squeeze(&[*dim as i64]),
            Op::Unsqueeze { dim } => x.unsqueeze(&[*dim as i64]),
            Op::Pad { dim, left, right } => {
                let mut pads = vec![0i64; 2 * x.rank()];
                (pads[*dim], pads[x.rank() + dim]) = (*left as i64, *right as i64);
                let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
                self.graph.node("Pad").input(x).input(&pads).build()
            }
            Op::Narrow { dim } => self.narrow(step, x, *dim),
            Op::Reshape => self.reshape(step, x),
            Op::Broadcast => self.broadcast(step, x),
            Op::UpsampleNearest2d => self.upsample_nearest2d(step, x),
            Op::Constant(_) | Op::Input(_) => unreachable!("handled before"),
        }
    }

    /// The error for a size that the graph cannot compute.
    pub(super) fn unresolved(&self, step: &Step, what: &str) -> Error {
        let sizes: Vec<usize> = step.dims.iter().map(|size| size[0]).collect();
        let text = format!(
            "{what} of {sizes:?} depends on a symbolic dimension in a way that ONNX cannot follow"
        );
        Error::new(ErrorKind::UnsupportedOperation, text)
    }
}

fn unary(op: Unary, x: &Value) -> Result<Value> {
    let node = |op_type| x.graph().node(op_type).input(x).build();
    match op {
        Unary::Abs => x.abs(),
        Unary::Ceil => x.ceil(),
        Unary::Cos => x.cos(),
        Unary::Erf => x.erf(),
        Unary::Exp => x.exp(),
        Unary::Floor => x.floor(),
        Unary::Gelu => x.gelu(true),
        Unary::GeluErf => x.gelu(false),
        Unary::HardSigmoid => {
            let node = x.graph().node("HardSigmoid").input(x);
            node.attr("alpha", 1.0 / 6.0).attr("beta", 0.5).build()
        }
        Unary::HardSwish => node("HardSwish"),
        Unary::Log => x.log(),
        Unary::Mish => node("Mish"),
        Unary::Neg => x.neg(),
        Unary::Recip => x.reciprocal(),
        Unary::Relu => x.relu(),
        Unary::Round => round(x),
        Unary::Sigmoid => x.sigmoid(),
        Unary::Sign => x.sign(),
        Unary::Silu => x.silu(),
        Unary::Sin => x.sin(),
        Unary::Sqr => x.mul(x),
        Unary::Sqrt => x.sqrt(),
        Unary::Tanh => x.tanh(),
    }
}

/// Candle rounds halves away from zero, ONNX's Round to even. Every step here is exact:
/// sign(x) * (floor|x| + floor(2 (|x| - floor|x|))).
fn round(x: &Value) -> Result<Value> {
    let size = x.abs()?;
    let whole = size.floor()?;
    let up = size.sub(&whole)?.affine(2.0, 0.0)?.floor()?;
    whole.add(&up)?.mul(&x.sign()?)
}

fn binary(op: Binary, x: &Value, y: &Value) -> Result<Value> {
    let logical = |op_type| x.graph().node(op_type).input(x).input(y).build();
    match op {
        Binary::Mul | Binary::Minimum if x.dtype() == DType::Bool => logical("And"),
        Binary::Maximum if x.dtype() == DType::Bool => logical("Or"),
        Binary::Add => x.add(y),
        Binary::Div => x.div(y),
        Binary::Maximum => x.maximum(y),
        Binary::Minimum => x.minimum(y),
        Binary::Mul => x.mul(y),
        Binary::Sub => x.sub(y),
    }
}

/// Candle's comparisons give u8, ONNX's bool, which is kept as long as it can be.
fn compare(op: Compare, x: &Value, y: &Value) -> Result<Value> {
    let node = |op_type| x.graph().node(op_type).input(x).input(y).build();
    match op {
        Compare::Eq => node("Equal"),
        Compare::Ge => node("GreaterOrEqual"),
        Compare::Gt => node("Greater"),
        Compare::Le => node("LessOrEqual"),
        Compare::Lt => node("Less"),
        Compare::Ne => x.graph().node("Not").input(&node("Equal")?).build(),
    }
}

fn reduce(op: Reduce, x: &Value, dims: &[usize], keepdim: bool) -> Result<Value> {
    // No axes mean all of them to ONNX.
    if dims.is_empty() {
        return Ok(x.clone());
    }
    let axes: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    let op_type = match op {
        Reduce::Max => "ReduceMax",
        Reduce::Mean => "ReduceMean",
        Reduce::Min => "ReduceMin",
        Reduce::Sum => "ReduceSum",
    };
    x.reduce(op_type, &axes, keepdim)
}

/// Zhang and Sennrich (2019), in 32 bits for narrower types, as candle has it.
fn rms_norm(x: &Value, weight: &Value, eps: f64) -> Result<Value> {
    let narrow = matches!(x.dtype(), DType::F16 | DType::BF16);
    let wide = if narrow { x.cast(DType::F32)? } else { x.clone() };
    let mean = wide.mul(&wide)?.reduce("ReduceMean", &[-1], true)?;
    let normed = wide.div(&mean.affine(1.0, eps)?.sqrt()?)?;
    normed.cast(x.dtype())?.mul(weight)
}

fn cast(x: &Value, from: CandleType, to: CandleType) -> Result<Value> {
    // u32 travels as i64, and candle's cast of a negative float to it gives 0.
    let negative = from.is_float() && to == CandleType::U32;
    let x = if negative { &x.relu()? } else { x };
    x.cast(carried_dtype(to)?)
}
