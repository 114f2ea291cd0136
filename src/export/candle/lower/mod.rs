//! From the steps of a trace to ONNX: one operator where there is one. Values and the dimensions
//! they are known by; what an operator becomes is in a file a family.

mod creation;
mod elementwise;
mod indexing;
mod recurrent;
mod reductions;
mod shapes;
mod types;
mod windows;

use std::collections::HashMap;

use candle_core::{DType as CandleType, TensorId};

use super::tape::{Binary, Op, Recurrent};
use super::trace::{Step, Trace};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Around;
use crate::export::interface::Interface;
use crate::export::lower::batch_first;
use crate::export::report::{Owner, Refusal, Report};
use crate::export::sizes::Column;
use crate::export::{GraphBuilder, OnnxModel, Target, Value};
use crate::spec::{DType, Dim};

/// A graph being written from a trace.
pub(super) struct Lowering<'t> {
    pub(super) trace: &'t Trace,
    pub(super) graph: GraphBuilder,
    pub(super) values: Vec<Option<Value>>,
    /// Dimensions that follow symbols, each with the step and axis where it was first seen.
    pub(super) known: Vec<(Column, Dim, (usize, usize))>,
    weights: HashMap<TensorId, Value>,
    /// All outputs of operators of which a step takes one, with that step's inputs.
    shared: Vec<(Op, Vec<usize>, Vec<Value>)>,
}

/// What lowering came to.
pub(super) struct Outcome {
    pub(super) report: Report,
    /// Which step a node was written for, by the first value that the node gives.
    pub(super) owners: HashMap<String, Owner>,
    /// The model, if there are no refusals.
    pub(super) model: Option<OnnxModel>,
}

/// Lowers all steps, also after one was refused, but for those that follow from it.
pub(super) fn lower(trace: &Trace, target: Target) -> Result<Outcome> {
    let graph = GraphBuilder::for_target(&*trace.name, target);
    graph.reserve(trace.outputs.iter().map(|(name, _)| name));
    let values = vec![None; trace.steps.len()];
    let (known, weights, shared) = (Vec::new(), HashMap::new(), Vec::new());
    let mut lowering = Lowering { trace, graph, values, known, weights, shared };
    let needed = needed(&trace.steps, &trace.outputs);
    let (mut refusals, mut owners) = (Vec::new(), HashMap::new());
    // All inputs, used or not: the signature is the caller's.
    for (i, step) in trace.steps.iter().enumerate() {
        if let Op::Input(number) = step.op {
            let floats = |(k, user): (usize, &Step)| {
                !needed[k]
                    || !user.inputs.contains(&i)
                    || (user.op == Op::Cast && user.dtype.is_float())
            };
            let cast = trace.steps.iter().enumerate().all(floats)
                && trace.outputs.iter().all(|(_, output)| *output != i);
            let value = lowering.input(&trace.inputs[number], step.dtype, cast);
            match value.and_then(|value| lowering.keep(i, value)) {
                Ok(()) => {}
                Err(reason) if reason.kind() == ErrorKind::UnsupportedOperation => {
                    refusals.push(Refusal::of_input(reason));
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut count = 0;
    for (i, step) in trace.steps.iter().enumerate() {
        if !needed[i] || matches!(step.op, Op::Input(_)) {
            continue;
        }
        let position = count;
        count += usize::from(!matches!(step.op, Op::Constant(_)));
        if step.inputs.iter().any(|&input| lowering.values[input].is_none()) {
            continue;
        }
        let before = lowering.graph.node_count();
        let scope = (!step.scope.is_empty()).then(|| lowering.graph.scope(&*step.scope));
        let value = lowering.step(i);
        drop(scope);
        let owner = Owner { operation: step.op.name(), module: step.scope.clone(), position };
        lowering.graph.with_graph(|graph| {
            let made = graph.nodes[before..].iter().filter_map(|node| node.output.first());
            owners.extend(made.map(|name| (name.clone(), owner.clone())));
        });
        if let Err(reason) = value.and_then(|value| lowering.keep(i, value)) {
            refusals.push(Refusal::of(Some(owner), reason));
        }
    }
    for (name, step) in trace.outputs.iter().filter(|_| refusals.is_empty()) {
        lowering.output(name, lowering.value(*step), trace.steps[*step].dtype)?;
    }
    let named = |types: Vec<CandleType>| types.iter().map(|own| own.as_str().to_owned()).collect();
    let (inputs, outputs) = (named(trace.input_dtypes()), named(trace.output_dtypes()));
    let framework = "candle".to_owned();
    Interface { framework, inputs, outputs, ..Interface::default() }.write(&lowering.graph);
    let model = if refusals.is_empty() { Some(lowering.graph.finish()?) } else { None };
    Ok(Outcome { report: Report::new(count, refusals), owners, model })
}

/// Which steps the outputs are made from.
pub(super) fn needed(steps: &[Step], outputs: &[(String, usize)]) -> Vec<bool> {
    let mut needed = vec![false; steps.len()];
    outputs.iter().for_each(|(_, step)| needed[*step] = true);
    for i in (0..needed.len()).rev() {
        if needed[i] {
            steps[i].inputs.iter().for_each(|&input| needed[input] = true);
        }
    }
    needed
}

impl Lowering<'_> {
    /// The value of an earlier step.
    pub(super) fn value(&self, step: usize) -> &Value {
        self.values[step].as_ref().expect("a step comes after its inputs, and those were lowered")
    }

    /// Keeps a step's value, with its dimensions under the names they were first known by.
    fn keep(&mut self, i: usize, value: Value) -> Result<()> {
        let step = &self.trace.steps[i];
        let expected = types::computed(step.dtype)?;
        // Comparisons stay bool, and what is only cast is as it was given.
        let same_dtype = match value.dtype() {
            DType::Bool => step.dtype == CandleType::U8,
            DType::U8 => matches!(step.op, Op::Input(_)),
            dtype => dtype == expected,
        };
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
            dims.push(match (size.fixed(), known) {
                (Some(size), _) => Dim::Fixed(size),
                (None, Some(known)) => known,
                (None, None) => {
                    let dim = match dim {
                        Dim::Symbol(_) if self.trace.cases.is_exact(size, dim) => dim.clone(),
                        _ => size.dim(dim.to_string(), size[0])?,
                    };
                    self.known.push((size.clone(), dim.clone(), (i, axis)));
                    dim
                }
            });
        }
        self.values[i] = Some(value.with_shape(dims.into()));
        Ok(())
    }

    /// Sizes of an input of a step.
    pub(super) fn dims_of(&self, step: usize) -> &[Column] {
        &self.trace.steps[step].dims
    }

    /// The inputs of a step; bool only where the operator takes it, else as the number that it is to
    /// candle.
    fn operands(&self, step: &Step) -> Result<Vec<Value>> {
        let values = || step.inputs.iter().map(|&input| self.value(input));
        let is_bool = |value: &Value| value.dtype() == DType::Bool;
        if let Op::Where = step.op {
            let [mask, yes, no] = [0, 1, 2].map(|i| self.value(step.inputs[i]));
            if is_bool(yes) != is_bool(no) {
                return Ok(vec![mask.clone(), yes.cast(DType::I32)?, no.cast(DType::I32)?]);
            }
        }
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
            if is_bool(value) && !keep { value.cast(DType::I32) } else { Ok(value.clone()) }
        };
        values().map(operand).collect()
    }

    /// All outputs of an operator, which is written once for the steps that take one of them each.
    fn shared(
        &mut self,
        op: Op,
        step: &Step,
        write: impl FnOnce(&Self) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let same =
            |(known, inputs, _): &&(Op, Vec<usize>, _)| *known == op && *inputs == step.inputs;
        if let Some((_, _, outputs)) = self.shared.iter().find(same) {
            return Ok(outputs.clone());
        }
        let outputs = write(self)?;
        self.shared.push((op, step.inputs.clone(), outputs.clone()));
        Ok(outputs)
    }

    fn step(&mut self, i: usize) -> Result<Value> {
        let trace = self.trace;
        let step = &trace.steps[i];
        if let Op::Constant(constant) = &step.op {
            let id = constant.tensor.id();
            if let Some(value) = self.weights.get(&id) {
                return Ok(value.clone());
            }
            let weight = trace.weights[&id].convert(types::computed(step.dtype)?)?;
            let value = match &constant.path {
                // Two builders may have given out the same path, and an input may have it.
                Some(path) => self.graph.parameter(path, weight),
                None => self.graph.constant(&constant.name, weight),
            };
            self.weights.insert(id, value.clone());
            return Ok(value);
        }
        let inputs = self.operands(step)?;
        let value = self.written(step, &inputs)?;
        types::fit(&step.op, value, step.dtype)
    }

    fn written(&mut self, step: &Step, inputs: &[Value]) -> Result<Value> {
        let trace = self.trace;
        match &step.op {
            Op::Full { value } => return self.full(step, *value),
            Op::Range { start, step: by } => return self.range(step, *start, *by),
            Op::Triangle(triangle) => return self.triangle(step, *triangle),
            _ => {}
        }
        let x = &inputs[0];
        match &step.op {
            Op::Affine { mul, add } => {
                x.affine(types::number(step.dtype, *mul), types::number(step.dtype, *add))
            }
            Op::Powf { exponent } => x.powf(*exponent),
            Op::Elu { alpha } => {
                self.graph.node("Elu").input(x).attr("alpha", *alpha as f32).build()
            }
            Op::Selu { alpha, gamma } => {
                let node = self.graph.node("Selu").input(x);
                node.attr("alpha", *alpha).attr("gamma", *gamma).build()
            }
            Op::LeakyRelu { slope } => x.leaky_relu(*slope),
            Op::Unary(op) => elementwise::unary(*op, x, step.dtype),
            Op::Binary(op) => elementwise::binary(*op, x, &inputs[1]),
            Op::Compare(op) => elementwise::compare(*op, x, &inputs[1]),
            Op::Where => x.cast(DType::Bool)?.select(&inputs[1], &inputs[2]),
            Op::Cast => types::cast(x, trace.steps[step.inputs[0]].dtype, step.dtype),
            Op::Prelu => self.graph.node("PRelu").input(x).input(&inputs[1]).build(),
            Op::MatMul => x.matmul(&inputs[1]),
            Op::Linear => x.linear_by_outputs(&inputs[1], inputs.get(2)),
            Op::Conv { padding, stride, dilation, groups } => {
                let options = windows::conv(x, [*padding, *stride, *dilation, *groups]);
                x.conv(&inputs[1], inputs.get(2), &options)
            }
            Op::ConvTranspose { padding, output_padding, stride, dilation, groups } => {
                let options = windows::conv(x, [*padding, *stride, *dilation, *groups]);
                let extra = vec![*output_padding; x.rank() - 2];
                x.conv_transpose(&inputs[1], inputs.get(2), &options, &extra)
            }
            Op::Pool { max, kernel, stride } => {
                windows::pool(x, step.dtype, *max, *kernel, *stride)
            }
            Op::UpsampleNearest => self.upsample_nearest(step, x),
            Op::UpsampleBilinear { align_corners, scales } => {
                self.upsample_bilinear(step, x, *align_corners, *scales)
            }
            Op::Reduce { op, dims, keepdim } => self.reduce(step, *op, x, dims, *keepdim),
            Op::Variance { dim } => self.variance(step, x, *dim),
            Op::ArgReduce { max, dim, keepdim } => {
                let node = self.graph.node(if *max { "ArgMax" } else { "ArgMin" }).input(x);
                node.attr("axis", *dim as i64).attr("keepdims", i64::from(*keepdim)).build()
            }
            Op::Sort { ascending, positions } => {
                let both = Op::Sort { ascending: *ascending, positions: false };
                let mut outputs =
                    self.shared(both, step, |graph| graph.sort(step, x, *ascending))?;
                Ok(outputs.swap_remove(usize::from(*positions)))
            }
            Op::CumSum { dim } => reductions::cumsum(x, *dim),
            Op::Softmax { dim, log: false } => x.softmax(*dim as i64),
            Op::Softmax { dim, log: true } => x.log_softmax(*dim as i64),
            Op::BatchNorm { eps } => {
                x.batch_norm(&inputs[1], &inputs[2], &inputs[3], &inputs[4], *eps)
            }
            Op::LayerNorm { eps } => {
                let node = self.graph.node("LayerNormalization").input(x).input(&inputs[1]);
                node.input_opt(inputs.get(2)).attr("axis", -1).attr("epsilon", *eps as f32).build()
            }
            Op::GroupNorm { groups, eps } => x.group_norm(&inputs[1], &inputs[2], *groups, *eps),
            Op::RmsNorm { eps } => reductions::rms_norm(x, &inputs[1], *eps),
            Op::Embedding => self.index_select(&inputs[1], step.inputs[0], x, 0),
            Op::IndexSelect { dim } => self.index_select(x, step.inputs[1], &inputs[1], *dim),
            Op::Gather { dim } => self.gather_elements(step, x, &inputs[1], *dim),
            Op::Scatter { dim, add } => self.scatter(step, [x, &inputs[1], &inputs[2]], *dim, *add),
            Op::Flip { dim } => self.flip(step, x, *dim),
            Op::Unfold { dim, size, step: by } => self.unfold(step, x, *dim, *size, *by),
            Op::Cat { dim } => self.graph.concat(&inputs.iter().collect::<Vec<_>>(), *dim as i64),
            Op::Permute { order } => x.transpose(order),
            Op::Squeeze { dim } => x.squeeze(&[*dim as i64]),
            Op::Unsqueeze { dim } => x.unsqueeze(&[*dim as i64]),
            Op::Pad { dim, left, right } => x.pad_axis(*dim, (*left, *right), Around::Zeros),
            Op::PadSame { dim, left, right } => x.pad_axis(*dim, (*left, *right), Around::Edge),
            Op::Narrow { dim } => self.narrow(step, x, *dim),
            Op::Reshape => self.reshape(step, x),
            Op::Recurrent(layer) => {
                let all = Op::Recurrent(Recurrent { cell: false, ..*layer });
                let outputs = self.shared(all, step, |graph| graph.recurrent(layer, inputs))?;
                match layer.cell {
                    true => outputs[2].squeeze(&[0]),
                    false => batch_first(&outputs[0]),
                }
            }
            Op::Repeat => self.repeat(step, x),
            Op::Absent { what } => Err(Error::new(
                ErrorKind::UnsupportedOperation,
                format!("{what} cannot be exported"),
            )),
            Op::Broadcast => self.broadcast(step, x),
            Op::Constant(_)
            | Op::Full { .. }
            | Op::Input(_)
            | Op::Range { .. }
            | Op::Triangle(_) => unreachable!("handled before"),
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
