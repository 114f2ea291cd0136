//! Tracing: the forward runs for several sizes of each symbolic dimension, and the runs are compared. A value that is the
//! same in all runs is constant, and a value that differs must be a size.

mod growing;

use std::collections::{HashMap, HashSet};

use candle_core::{DType as CandleType, Device, Tensor, TensorId};

use super::error::from_candle;
use super::lower::Outcome;
use super::model::{Examples, Inputs, Traceable};
use super::names;
use super::sizes::{Case, Cases};
use super::tape::{Op, Recorded};
use super::tensors::{carried_dtype, to_host};
use super::traced::{SharedTape, Traced};
use crate::error::{Error, ErrorKind, Result};
use crate::export::sizes::Column;
use crate::export::{ExportOptions, NodeRefusal, OnnxModel, ParserCheck, Refusal, Report, Target};
use crate::parallel;
use crate::progress::{self, Phase};
use crate::spec::TensorSpec;
use crate::tensor::HostTensor;

/// A traced model, ready to be written as ONNX for any target.
///
/// ```
/// use accelerant::{OptimizeOptions, candle::Trace, export::Target};
/// use candle_core::{DType, Device, Tensor};
///
/// let weight = Tensor::ones((10, 64), DType::F32, &Device::Cpu)?;
/// let model = candle_nn::Linear::new(weight, None);
/// let example = Tensor::zeros((1, 64), DType::F32, &Device::Cpu)?;
/// let trace = Trace::of(&model, &example, &OptimizeOptions::new().dynamic_batch(1..=8))?;
/// let onnx = trace.to_onnx(Target::portable())?;
/// assert_eq!(onnx.signature().to_string(), "(input_0: f32 [batch, 64]) -> (output_0: f32 [batch, 10])");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trace {
    pub(super) name: String,
    pub(super) inputs: Vec<TensorSpec>,
    /// Name and step of each output.
    pub(super) outputs: Vec<(String, usize)>,
    pub(super) steps: Vec<Step>,
    pub(super) cases: Cases,
    pub(super) weights: HashMap<TensorId, HostTensor>,
    input_dtypes: Vec<CandleType>,
}

/// A step as all runs of the forward agree on it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) inputs: Vec<usize>,
    pub(super) dtype: CandleType,
    pub(super) dims: Vec<Column>,
    pub(super) sizes: Vec<Column>,
    pub(super) scope: String,
}

/// What one run of the forward left.
struct Run {
    steps: Vec<Recorded>,
    outputs: Vec<usize>,
}

impl Trace {
    /// Traces a model on inputs like the examples. The values of the examples are not read.
    ///
    /// # Errors
    /// Candle's errors from the forward, with their texts; [`ErrorKind::UnsupportedOperation`]
    /// when the forward does something that depends on a symbolic size and cannot be expressed.
    pub fn of<'a, M: Traceable + ?Sized>(
        model: &M,
        examples: impl Into<Examples<'a>>,
        options: &impl AsRef<ExportOptions>,
    ) -> Result<Self> {
        Self::build(&examples.into(), options.as_ref(), |inputs| model.trace(inputs))
            .map_err(|e| e.in_operation("trace"))
    }

    /// Traces a function of several inputs with several outputs.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn of_fn<'a>(
        examples: impl Into<Examples<'a>>,
        options: &impl AsRef<ExportOptions>,
        forward: impl Fn(&[Traced]) -> candle_core::Result<Vec<Traced>>,
    ) -> Result<Self> {
        Self::build(&examples.into(), options.as_ref(), |inputs| forward(inputs.take_all()))
            .map_err(|e| e.in_operation("trace"))
    }

    fn build(
        Examples(examples): &Examples<'_>,
        options: &ExportOptions,
        forward: impl Fn(&mut Inputs<'_>) -> candle_core::Result<Vec<Traced>>,
    ) -> Result<Self> {
        let given = examples
            .iter()
            .map(|(_, example)| Ok((carried_dtype(example.dtype())?, example.dims().to_vec())))
            .collect::<Result<Vec<_>>>()?;
        let device = examples.first().map_or(Device::Cpu, |(_, example)| example.device().clone());
        let model = Forwards { examples, device, forward };
        let inputs = options.named_input_specs(&model.input_names(), &given)?;
        for spec in &inputs {
            if let Some(axis) = spec.shape.dims().iter().position(|dim| dim.fixed() == Some(0)) {
                let text = format!(
                    "the example of shape {} has no elements: use an example with elements",
                    spec.shape
                );
                let error = Error::new(ErrorKind::ShapeMismatch, text);
                return Err(error.on_tensor(&spec.name).at_axis(axis));
            }
        }
        let input_dtypes: Vec<CandleType> =
            examples.iter().map(|(_, example)| example.dtype()).collect();
        let cases = Cases::of(&inputs, options.probes_every_size())?;
        let run = |case: &Case| model.run(&inputs, &cases, case);
        let mut runs = Vec::with_capacity(cases.all().len());
        for (i, case) in cases.all().iter().enumerate() {
            progress::step(Phase::Export, "traces", i, cases.all().len())?;
            runs.push(run(case).map_err(|e| cases.not_at(case, i == 0, e))?);
        }
        let (mut steps, places) = overlay(&runs, &cases)?;
        let outputs: Vec<usize> = runs[0].outputs.iter().map(|&step| places[step]).collect();
        let names = options.names_of_outputs(outputs.len())?;
        let outputs: Vec<_> = names.into_iter().zip(outputs).collect();
        let mut weights = HashMap::new();
        names::give(&mut steps, options);
        let mut known = HashSet::new();
        let mut constants = Vec::new();
        for step in &steps {
            if let Op::Constant(constant) = &step.op
                && known.insert(constant.tensor.id())
            {
                constants.push(constant);
            }
        }
        // Copying from memory is work for all cores, and a device does one copy at a time.
        let on_cpu = constants.iter().all(|constant| constant.tensor.device().is_cpu());
        let copies = match on_cpu {
            true => parallel::map(&constants, |constant| to_host(&constant.tensor)),
            false => constants.iter().map(|constant| to_host(&constant.tensor)).collect(),
        };
        for (constant, copy) in constants.into_iter().zip(copies) {
            let copy = copy.map_err(|e| e.on_tensor(&constant.name))?;
            weights.insert(constant.tensor.id(), copy);
        }
        cut_sorts(&mut steps, &outputs);
        let name = options.model_name().to_owned();
        Ok(Self { name, inputs, outputs, steps, cases, weights, input_dtypes })
    }

    /// The model as ONNX for a target. Weights were copied once, when the trace was made, and all models that are written
    /// from the trace share them.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedOperation`] when a size cannot be expressed in symbols, or the target has no operator for an
    /// operation.
    pub fn to_onnx(&self, target: Target) -> Result<OnnxModel> {
        let Outcome { mut report, model, .. } = self.lower(target)?;
        if let Some(model) = model {
            return Ok(model);
        }
        if report.refusals.len() > 1 {
            return Err(report.into_error().expect("there are refusals"));
        }
        let Refusal { module, reason, .. } = report.refusals.remove(0);
        Err(match module.is_empty() {
            true => reason.in_operation("export"),
            false => {
                let operation = reason.operation().unwrap_or("step").to_owned();
                Error::new(reason.kind(), reason.message())
                    .in_operation(format!("{module}/{operation}"))
                    .with_source(reason)
            }
        })
    }

    /// Finds everything that cannot be exported, without exporting.
    ///
    /// # Errors
    /// Where the names of inputs and outputs clash, or an input has no form for the target.
    pub fn check(&self, target: Target) -> Result<Report> {
        Ok(self.lower(target)?.report)
    }

    /// As [`check`](Self::check), and where all can be exported also what a parser makes of it.
    pub(crate) fn check_parsed(
        &self,
        target: Target,
        parse: impl FnOnce(&OnnxModel) -> (ParserCheck, Vec<NodeRefusal>),
    ) -> Result<Report> {
        let Outcome { report, owners, model } = self.lower(target)?;
        Ok(match model {
            Some(model) => report.parsed(&model, &owners, parse(&model)),
            None => report,
        })
    }

    fn lower(&self, target: Target) -> Result<Outcome> {
        super::lower::lower(self, target).map_err(|e| e.in_operation("export"))
    }

    /// Candle's types of the inputs.
    pub(crate) fn input_dtypes(&self) -> Vec<CandleType> {
        self.input_dtypes.clone()
    }

    /// Candle's types of the outputs.
    pub(crate) fn output_dtypes(&self) -> Vec<CandleType> {
        self.outputs.iter().map(|(_, step)| self.steps[*step].dtype).collect()
    }
}

/// Exports a model to ONNX for every target, traced on inputs like the examples.
///
/// ```
/// use accelerant::{OptimizeOptions, candle::export_onnx};
/// use candle_core::{DType, Device, Tensor};
///
/// let layer = candle_nn::Linear::new(Tensor::ones((4, 8), DType::F32, &Device::Cpu)?, None);
/// let example = Tensor::zeros((1, 8), DType::F32, &Device::Cpu)?;
/// let options = OptimizeOptions::new().input_names(["pixels"]);
/// let onnx = export_onnx(&layer, &example, &options)?;
/// assert_eq!(onnx.signature().to_string(), "(pixels: f32 [1, 8]) -> (output_0: f32 [1, 4])");
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("layer.onnx");
/// onnx.save(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Trace::of`] and [`Trace::to_onnx`].
pub fn export_onnx<'a, M: Traceable + ?Sized>(
    model: &M,
    examples: impl Into<Examples<'a>>,
    options: &impl AsRef<ExportOptions>,
) -> Result<OnnxModel> {
    Trace::of(model, examples, options)?.to_onnx(Target::portable())
}

/// A forward, and what is fed to it.
struct Forwards<'a, F> {
    examples: &'a [(Option<String>, &'a Tensor)],
    device: Device,
    forward: F,
}

impl<F: Fn(&mut Inputs<'_>) -> candle_core::Result<Vec<Traced>>> Forwards<'_, F> {
    /// The names under which the forward takes the inputs, from a run on the sizes of the examples.
    fn input_names(&self) -> Vec<Option<String>> {
        let sizes = self.examples.iter().map(|(_, example)| example.dims().to_vec()).collect();
        // What fails here fails again in the runs, which tell for which sizes.
        self.record(sizes, false).1
    }

    fn run(&self, inputs: &[TensorSpec], cases: &Cases, case: &Case) -> Result<Run> {
        let sizes = |spec: &TensorSpec| {
            spec.shape.dims().iter().map(|dim| cases.size(case, dim)).collect::<Vec<_>>()
        };
        self.record(inputs.iter().map(sizes).collect(), cases.symbolic()).0
    }

    /// Runs the forward; the names under which it took inputs are there also when it fails.
    fn record(&self, sizes: Vec<Vec<usize>>, symbolic: bool) -> (Result<Run>, Vec<Option<String>>) {
        let recorder = SharedTape::new(self.device.clone());
        let traced: Vec<Traced> = sizes
            .into_iter()
            .zip(self.examples)
            .enumerate()
            .map(|(i, (sizes, (_, example)))| recorder.input(i, example.dtype(), sizes))
            .collect();
        let given: Vec<_> = self.examples.iter().map(|(name, _)| name.clone()).collect();
        let mut inputs = Inputs::new(&traced, &given);
        let outputs = recorder.while_tracing(symbolic, || (self.forward)(&mut inputs));
        let names = inputs.into_names();
        (outputs.map_err(from_candle).and_then(|outputs| recorded(&recorder, &outputs)), names)
    }
}

fn recorded(recorder: &SharedTape, outputs: &[Traced]) -> Result<Run> {
    let outputs =
        outputs.iter().map(|output| recorder.index_of(output)).collect::<Option<Vec<_>>>();
    let mut tape = recorder.lock();
    match (outputs, tape.foreign.take()) {
        (Some(outputs), None) => Ok(Run { steps: std::mem::take(&mut tape.steps), outputs }),
        (_, user) => {
            let user = user.map_or("the forward gives".to_owned(), |step| format!("{step} uses"));
            let text = format!(
                "{user} a traced tensor that was kept from an earlier call; give it to the forward \
                 as an input"
            );
            Err(Error::new(ErrorKind::UnsupportedOperation, text))
        }
    }
}

/// Lays the runs over each other: the steps, and where each of a run's is among them.
fn overlay(runs: &[Run], cases: &Cases) -> Result<(Vec<Step>, Vec<usize>)> {
    let first = &runs[0];
    let mut growing: HashMap<usize, usize> = HashMap::new();
    for (run, case) in runs.iter().zip(cases.all()).skip(1) {
        for (i, (a, b)) in first.steps.iter().zip(&run.steps).enumerate() {
            if a.op != b.op && !growing.contains_key(&i) {
                let text =
                    format!("step {i} is {:?}, but {:?} for {}", a.op, b.op, cases.describe(case));
                let Some(largest) = growing::largest(runs, i) else {
                    return Err(match (&a.op, &b.op) {
                        (Op::Constant(_), Op::Constant(_)) => growing::refused(text),
                        _ => depends(text),
                    });
                };
                growing.insert(i, largest);
            }
            let same_kind =
                a.inputs == b.inputs && a.dtype == b.dtype && a.dims.len() == b.dims.len();
            if !same_kind || a.scope != b.scope {
                let text = format!(
                    "step {i}, {:?}, takes or gives something else for {}",
                    a.op,
                    cases.describe(case)
                );
                return Err(depends(text));
            }
        }
        if first.steps.len() != run.steps.len() || first.outputs != run.outputs {
            let (a, b) = (first.steps.len(), run.steps.len());
            return Err(depends(format!(
                "there are {a} steps, but {b} for {}",
                cases.describe(case)
            )));
        }
    }
    let column = |of: &dyn Fn(&Recorded) -> usize, step: usize| -> Column {
        runs.iter().map(|run| of(&run.steps[step])).collect()
    };
    let (mut steps, mut places) = (Vec::new(), Vec::with_capacity(first.steps.len()));
    for (i, step) in first.steps.iter().enumerate() {
        let whole = Step {
            op: step.op.clone(),
            inputs: step.inputs.iter().map(|&input| places[input]).collect(),
            dtype: step.dtype,
            dims: (0..step.dims.len()).map(|axis| column(&|step| step.dims[axis], i)).collect(),
            sizes: (0..step.sizes.len()).map(|k| column(&|step| step.sizes[k], i)).collect(),
            scope: step.scope.clone(),
        };
        match growing.get(&i) {
            Some(&largest) => growing::cut(&mut steps, whole, &runs[largest].steps[i]),
            None => steps.push(whole),
        }
        places.push(steps.len() - 1);
    }
    Ok((steps, places))
}

/// Sorts of which only the first values are taken give only these: consumers select a few faster than they sort, and
/// TensorRT sorts no long axis.
fn cut_sorts(steps: &mut [Step], outputs: &[(String, usize)]) {
    let needed = super::lower::needed(steps, outputs);
    let is_output = |i: usize| outputs.iter().any(|(_, step)| *step == i);
    let sorts = (0..steps.len()).filter(|&i| needed[i] && matches!(steps[i].op, Op::Sort { .. }));
    for i in sorts.collect::<Vec<_>>() {
        let same = |step: &Step| match (&step.op, &steps[i].op) {
            (Op::Sort { ascending, .. }, Op::Sort { ascending: other, .. }) => {
                ascending == other && step.inputs == steps[i].inputs
            }
            _ => false,
        };
        // Values and positions are one sort.
        let pair: Vec<usize> = (0..steps.len()).filter(|&k| needed[k] && same(&steps[k])).collect();
        let axis = steps[i].dims.len() - 1;
        let users = (0..steps.len()).filter(|&k| needed[k]);
        let mut users = users.filter(|&k| steps[k].inputs.iter().any(|from| pair.contains(from)));
        let end = |user: &Step| {
            let (start, len) = (user.sizes.first()?, user.sizes.get(1)?);
            let ends = start.iter().zip(len).map(|(start, len)| start + len);
            (user.op == Op::Narrow { dim: axis }).then(|| ends.collect::<Column>())
        };
        let furthest = users.try_fold(Column::default(), |furthest, user| {
            let end = end(&steps[user])?;
            let all = |a: &Column, b: &Column| a.iter().zip(b).all(|(a, b)| a >= b);
            if furthest.is_empty() || all(&end, &furthest) {
                return Some(end);
            }
            // Of two ends that cross each other neither is enough.
            all(&furthest, &end).then_some(furthest)
        });
        let Some(furthest) = furthest.filter(|end| !end.is_empty() && !end.contains(&0)) else {
            continue;
        };
        if !pair.iter().any(|&k| is_output(k)) {
            pair.into_iter().for_each(|k| steps[k].dims[axis] = furthest.clone());
        }
    }
}

fn depends(text: String) -> Error {
    let text = format!(
        "the forward does different things for different sizes, or in different calls: {text}"
    );
    Error::new(ErrorKind::UnsupportedOperation, text)
}
