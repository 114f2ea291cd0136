//! Burn models to ONNX: the forward pass is captured, then lowered operation by operation. Running
//! the result is not done here.
//!
//! A capture has fixed sizes. For dynamic axes the forward pass is captured at several sizes. Two captures tell what depends
//! on which axis, and the ends of the range and some sizes between must agree. A size that cannot be derived from the sizes
//! of the inputs is refused, and never exported as a number. A branch that none of these sizes takes is not seen. `probes`
//! chooses the sizes, and an option tries all sizes.

mod caches;
mod canonical;
mod capture;
mod lower;
mod modules;
mod operation;
mod parameters;
mod probes;
mod recurrent;
mod sequence;
mod tensors;
mod trace;

use ::burn::module::Module;

pub(crate) use super::{ParserCheck, Report};
pub(crate) use caches::CachePlaces;
pub use operation::{Lowered, Operation};
pub(crate) use tensors::{AnyTensor, Lengths, Material, TensorPath};
pub use tensors::{BurnTensors, TensorSource, TensorVisitor};
#[cfg(feature = "burn-cuda")]
pub(crate) use tensors::{burn_dtype, dtype};

use super::{ExportOptions, NodeRefusal, OnnxModel, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{self, Phase};
use crate::spec::{DType, TensorSpec};
use capture::{Captured, Capturer, describe};
use lower::Outcome;
use parameters::Parameters;
use probes::Probe;
use trace::CapturedPass;

/// A captured forward pass, from which a model can be written for any target.
///
/// ```
/// use accelerant::{OptimizeOptions, burn::BurnGraph, export::Target};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let layer = LinearConfig::new(8, 4).init(&device);
/// let example = Tensor::<2>::zeros([1, 8], &device);
/// let options = OptimizeOptions::new().dynamic_batch(1..=16);
///
/// let graph = BurnGraph::capture(&layer, &example, |layer: &Linear, x| layer.forward(x), &options)?;
/// let onnx = graph.to_onnx(Target::portable())?;
/// assert_eq!(onnx.signature().to_string(), "(input_0: f32 [batch, 8]) -> (output_0: f32 [batch, 4])");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Debug)]
pub struct BurnGraph {
    name: String,
    inputs: Vec<TensorSpec>,
    output_names: Vec<String>,
    trace: CapturedPass,
    /// The same with other sizes along the dynamic axes, if there are any.
    others: Vec<CapturedPass>,
    narrow_f64: bool,
    /// Caches that may be written in place.
    writes: Vec<caches::CacheWrite>,
    pub(crate) layout: Layout,
}

/// How the tensors of a model are put together to what its forward function takes and returns.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) inputs: Lengths,
    pub(crate) outputs: Lengths,
    /// The types as Burn has them; a target may be handed others.
    pub(crate) input_types: Vec<DType>,
    pub(crate) output_types: Vec<DType>,
    /// Whether the types are those of a Burn model, and not those of a file.
    pub(crate) exact: bool,
}

impl BurnGraph {
    /// Captures `forward` of `module` in its inference form ([`Module::valid`]), on tensors with the types and sizes of
    /// `example`. The values of `example` do not matter.
    ///
    /// The function is called several times, on tensors without values.
    ///
    /// # Errors
    /// When `forward` panics, reads the value of a tensor, does not do the same each time, or does something else at other
    /// sizes of the dynamic axes.
    pub fn capture<M, I, O>(
        module: &M,
        example: &I,
        forward: impl Fn(&M, I) -> O,
        options: &impl AsRef<ExportOptions>,
    ) -> Result<Self>
    where
        M: Module,
        I: BurnTensors,
        O: BurnTensors,
    {
        let options = options.as_ref();
        let (described, lengths, device) = describe(example)?;
        let device = device.or_else(|| module.devices().into_iter().next()).unwrap_or_default();
        let settings = device.settings();
        let own: Vec<_> = described.iter().map(|input| input.name.clone()).collect();
        let types: Vec<_> =
            described.iter().map(|input| (input.dtype, input.sizes.clone())).collect();
        let inputs = options.named_input_specs(&own, &types)?;
        let probes = probes::probes(&inputs, options.probes_every_size())?;
        let parameters = Parameters::read(module)?;
        let capturer = Capturer {
            module,
            forward: &forward,
            parameters: &parameters,
            inputs: &described,
            lengths: &lengths,
            types: (settings.float_dtype, settings.int_dtype),
        };
        let Captured { trace, output_names, output_types, output_lengths } =
            capturer.capture(&probes[0].sizes)?;
        if trace.outputs.is_empty() {
            let text = "the forward function returns no tensor: return the outputs of the model";
            return Err(Error::new(ErrorKind::InvalidModel, text).in_operation("forward"));
        }
        let dynamic = probes.len() > 1;
        let mut operations = 0;
        let mut others = Vec::new();
        // A static model is captured a second time as it is, which must give the same.
        for (i, probe) in probes.iter().chain(probes.first()).enumerate().skip(1) {
            progress::step(Phase::Export, "captures", i, probes.len())?;
            let other = match capturer.capture(&probe.sizes) {
                Ok(other) => other,
                // Where Burn itself fails there is no result that a model could get wrong.
                Err(error) if dynamic && i > 1 && capture::is_panic(&error) => {
                    tracing::debug!(target: "accelerant::burn", "not captured at {probe}: {error}");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let against = dynamic.then(|| (probe, &probes[0]));
            if other.output_lengths != output_lengths || other.output_names != output_names {
                return Err(differs("forward", "the number of its outputs", against, ""));
            }
            if let Some(found) = trace.difference(&other.trace, dynamic) {
                let place = match found.position {
                    Some(position) => format!("{} (operation {position})", found.operation),
                    None => found.operation.to_owned(),
                };
                let as_long = trace.operations.len() == other.trace.operations.len();
                let hint = if as_long { "" } else { LOOPS };
                return Err(differs(&place, &found.what, against, hint));
            }
            if dynamic {
                operations += other.trace.captured;
                others.push(other.trace);
                let enough = operations > MOST_OPERATIONS && others.len() >= FEWEST_CAPTURES;
                if enough && !options.probes_every_size() {
                    tracing::debug!(target: "accelerant::burn", "no size is tried after {probe}");
                    break;
                }
            }
        }
        let output_names = options.named_outputs(&output_names, &inputs)?;
        Ok(Self {
            name: options.model_name().to_owned(),
            inputs,
            output_names,
            trace,
            others,
            narrow_f64: options.narrows_f64(),
            writes: Vec::new(),
            layout: Layout {
                inputs: lengths,
                outputs: output_lengths,
                input_types: types.into_iter().map(|(dtype, _)| dtype).collect(),
                output_types,
                exact: true,
            },
        })
    }

    /// Writes the model for one target. The weights are shared, not copied.
    ///
    /// # Errors
    /// [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation) naming every operation
    /// that cannot be exported.
    pub fn to_onnx(&self, target: Target) -> Result<OnnxModel> {
        Ok(self.lower(target)?.0)
    }

    /// The captured operations in order, each with its ONNX operators. A layer that Burn takes apart is one operation again.
    /// The list has layers before they get [other forms](Target::for_compute_capability).
    ///
    /// # Errors
    /// As [`to_onnx`](Self::to_onnx).
    pub fn lowered(&self, target: Target) -> Result<Vec<Lowered>> {
        Ok(self.lower(target)?.1)
    }

    /// Finds everything that cannot be exported, without exporting.
    ///
    /// # Errors
    /// Where the names of inputs and outputs clash.
    pub fn check(&self, target: Target) -> Result<Report> {
        Ok(lower::lower(self, target)?.report)
    }

    /// As [`check`](Self::check), and where all can be exported also what a parser makes of it.
    pub(crate) fn check_parsed(
        &self,
        target: Target,
        parse: impl FnOnce(&OnnxModel) -> (ParserCheck, Vec<NodeRefusal>),
    ) -> Result<Report> {
        let Outcome { report, owners, model } = lower::lower(self, target)?;
        Ok(match model {
            Some((model, _)) => report.parsed(&model, &owners, parse(&model)),
            None => report,
        })
    }

    fn lower(&self, target: Target) -> Result<(OnnxModel, Vec<Lowered>)> {
        let Outcome { report, model, .. } = lower::lower(self, target)?;
        model.ok_or_else(|| {
            let nothing = || Error::new(ErrorKind::InvalidModel, "nothing was exported");
            report.into_error().unwrap_or_else(nothing)
        })
    }
}

/// So many operations are captured of a dynamic model before no other size is tried.
const MOST_OPERATIONS: usize = 100_000;

/// Captured besides the first whatever they cost.
const FEWEST_CAPTURES: usize = 7;

const LOOPS: &str = "; where a loop runs as often as a dynamic size, it must be that of an LSTM or \
                     GRU layer of burn::nn with its usual activations, without clipping or \
                     coupled gates";

/// The error for a forward function that does not do the same in two captures.
fn differs(operation: &str, what: &str, probes: Option<(&Probe, &Probe)>, hint: &str) -> Error {
    let text = match probes {
        Some((here, there)) => {
            let hint = match hint {
                "" => "; use the same operations at all sizes, or export with fixed sizes",
                hint => hint,
            };
            format!("{what} depends on the sizes of the inputs: {here} and {there} differ{hint}")
        }
        None => format!(
            "{what} changes between calls of the forward function: keep no state between calls, and pass changing \
             values as inputs"
        ),
    };
    Error::new(ErrorKind::UnsupportedOperation, text).in_operation(operation)
}

/// Exports a module to an ONNX model for every target.
///
/// ```
/// use accelerant::{OptimizeOptions, burn::export_onnx};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let layer = LinearConfig::new(8, 4).init(&device);
/// let example = Tensor::<2>::zeros([1, 8], &device);
/// let options = OptimizeOptions::new().input_names(["pixels"]);
/// let onnx = export_onnx(&layer, &example, |layer: &Linear, x| layer.forward(x), &options)?;
/// assert_eq!(onnx.signature().to_string(), "(pixels: f32 [1, 8]) -> (output_0: f32 [1, 4])");
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("layer.onnx");
/// onnx.save(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`BurnGraph::capture`] and [`BurnGraph::to_onnx`].
pub fn export_onnx<M, I, O>(
    module: &M,
    example: &I,
    forward: impl Fn(&M, I) -> O,
    options: &impl AsRef<ExportOptions>,
) -> Result<OnnxModel>
where
    M: Module,
    I: BurnTensors,
    O: BurnTensors,
{
    BurnGraph::capture(module, example, forward, options)?.to_onnx(Target::portable())
}
