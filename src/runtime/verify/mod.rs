//! A module against the model that it was made of, on another runtime: how far the results are off, and on request where
//! the difference begins. `difference` compares two tensors, and `layers` has extra outputs.

mod difference;
mod layers;

use std::fmt;

use serde::Serialize;

pub use difference::{Difference, Tolerance};
pub use layers::LayerDifference;

use super::InferenceModule;
use crate::backend::{Backend, Executable, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::tensor::HostTensor;

/// Options of a [verification](InferenceModule::verify_with).
///
/// ```
/// use accelerant::{BackendKind, Registry, verify::VerifyOptions};
///
/// let options = VerifyOptions::new()
///     .reference(Registry::default().require(BackendKind::Tract))
///     .tolerance(1e-3, 1e-2)
///     .layer_by_layer(true);
/// ```
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    reference: Option<Registry>,
    tolerance: Option<Tolerance>,
    layers: bool,
}

impl VerifyOptions {
    /// The defaults: the first backend other than the module's own, the tolerance of each type, and only outputs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the backends to compare with, best first. The default order is ONNX Runtime, tract, and then all others.
    #[must_use]
    pub fn reference(mut self, registry: Registry) -> Self {
        self.reference = Some(registry);
        self
    }

    /// Sets the tolerance of each value: `absolute` plus `relative` times the expected value. The default is
    /// [`Tolerance::of`] the type.
    #[must_use]
    pub fn tolerance(mut self, absolute: f64, relative: f64) -> Self {
        self.tolerance = Some(Tolerance { absolute, relative });
        self
    }

    /// Sets whether to compare the values between layers too. The model is then built again on both backends, with
    /// each value as an output. Such a build fuses fewer layers, and takes the memory of all values.
    #[must_use]
    pub fn layer_by_layer(mut self, compared: bool) -> Self {
        self.layers = compared;
        self
    }
}

/// The differences between a module and its source model.
///
/// The report prints as a table. [`Serialize`] writes the same data for programs.
///
/// ```no_run
/// use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("double");
/// let x = graph.input("x", DType::F32, [3])?;
/// graph.output("y", &x.affine(2.0, 0.0)?)?;
/// let options = OptimizeOptions::new().keep_source(true);
/// let module = InferenceModule::compile(&graph.finish()?, &options)?;
///
/// let sample = vec![HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])];
/// let verification = module.verify(&[sample])?;
/// assert!(verification.passed());
/// println!("{verification}");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// The reference backend: library and version.
    pub reference: String,
    /// The number of samples.
    pub samples: usize,
    /// The difference of each output, over all samples.
    pub outputs: Vec<OutputDifference>,
    /// The difference of each value between layers, in the order of the graph, if requested.
    pub layers: Vec<LayerDifference>,
}

/// The difference of an output.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct OutputDifference {
    /// The output.
    pub name: String,
    /// The difference.
    pub difference: Difference,
}

impl Verification {
    /// Whether all outputs are within their tolerance.
    pub fn passed(&self) -> bool {
        self.outputs.iter().all(|output| output.difference.is_within())
    }

    /// The first value between layers that exceeds its tolerance.
    pub fn first_off(&self) -> Option<&LayerDifference> {
        self.layers.iter().find(|layer| !layer.difference.is_within())
    }

    /// Returns an error if an output exceeds its tolerance.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] naming the output, and the layer if that is known.
    pub fn expect(&self) -> Result<()> {
        let off = self.outputs.iter().find(|output| !output.difference.is_within());
        let Some(OutputDifference { name, difference }) = off else { return Ok(()) };
        let first = self.first_off().map(|layer| format!("; {layer} is the first that is off"));
        let text = format!("{difference} from {}{}", self.reference, first.unwrap_or_default());
        Err(Error::new(ErrorKind::Execution, text).in_operation("verify").on_tensor(name))
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.samples == 1 { "" } else { "s" };
        writeln!(f, "{} sample{s} against {}", self.samples, self.reference)?;
        for OutputDifference { name, difference } in &self.outputs {
            writeln!(f, "output `{name}`: {difference}")?;
        }
        match (self.first_off(), self.layers.len()) {
            (_, 0) => Ok(()),
            (None, count) => {
                writeln!(f, "{count} values between layers are within their tolerance")
            }
            (Some(first), _) => writeln!(f, "the first that is off: {first}"),
        }
    }
}

impl InferenceModule {
    /// Compares this module with its source model. Both run the samples, the source model on another backend. Each
    /// sample has a tensor for each input, in order.
    ///
    /// The module needs its source model: compile with
    /// [`OptimizeOptions::keep_source`](crate::OptimizeOptions::keep_source).
    ///
    /// ```no_run
    /// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, export::OnnxModel};
    ///
    /// let options = OptimizeOptions::new().keep_source(true);
    /// let module = InferenceModule::compile(&OnnxModel::open("model.onnx")?, &options)?;
    /// let sample = vec![HostTensor::from(ndarray::Array2::<f32>::ones((1, 64)))];
    /// let verification = module.verify(&[sample])?;
    /// println!("{verification}");
    /// verification.expect()?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without the source model or a sample, [`ErrorKind::NoBackend`] if no other
    /// backend can run the model, and the errors of [`run`](Self::run). A difference is no error here;
    /// [`Verification::expect`] returns it as an error.
    pub fn verify(&self, samples: &[Vec<HostTensor>]) -> Result<Verification> {
        self.verify_with(samples, &VerifyOptions::new())
    }

    /// As [`verify`](Self::verify), with options.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        samples: &[Vec<HostTensor>],
        options: &VerifyOptions,
    ) -> Result<Verification> {
        let Some(source) = self.source() else {
            let text = "the module does not keep its source; `OptimizeOptions::keep_source` has it \
                        do so, and `verify_against` takes the source";
            return Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("verify"));
        };
        self.verify_against(source, samples, options)
    }

    /// As [`verify`](Self::verify), with a source model of the caller.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), and [`ErrorKind::InputMismatch`] if the source model has other inputs or outputs.
    pub fn verify_against(
        &self,
        source: &OnnxModel,
        samples: &[Vec<HostTensor>],
        options: &VerifyOptions,
    ) -> Result<Verification> {
        verify(self, source, samples, options).map_err(|e| e.in_operation("verify"))
    }
}

fn verify(
    module: &InferenceModule,
    source: &OnnxModel,
    samples: &[Vec<HostTensor>],
    options: &VerifyOptions,
) -> Result<Verification> {
    if samples.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "no samples to run"));
    }
    expect_same(module, source)?;
    let Reference { backend, executable } = Reference::of(module, source, options)?;
    let mut outputs: Vec<OutputDifference> = Vec::new();
    for sample in samples {
        let (got, expected) = (module.run(sample)?, run(executable.as_ref(), sample)?);
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let name = &source.signature().outputs[i].name;
            let tolerance = options.tolerance.unwrap_or_else(|| Tolerance::of(got.dtype()));
            let found = Difference::between(got, expected, tolerance);
            let found = found.map_err(|e| e.on_tensor(name))?;
            match outputs.get_mut(i) {
                Some(output) => output.difference.add(&found),
                None => outputs.push(OutputDifference { name: name.clone(), difference: found }),
            }
        }
    }
    let layers = match options.layers {
        true => layers::compare(module, source, backend.as_ref(), samples, options)?,
        false => Vec::new(),
    };
    let reference = backend.description();
    Ok(Verification { reference, samples: samples.len(), outputs, layers })
}

/// A runtime to compare with, with the model.
struct Reference {
    backend: std::sync::Arc<dyn Backend>,
    executable: Box<dyn Executable>,
}

impl Reference {
    /// The first that takes the model.
    fn of(module: &InferenceModule, source: &OnnxModel, options: &VerifyOptions) -> Result<Self> {
        let usual;
        let registry = match &options.reference {
            Some(registry) => registry,
            None => {
                usual = Registry::default();
                &usual
            }
        };
        let required = registry.required();
        let is_other = |backend: &&std::sync::Arc<dyn Backend>| match required {
            Some(only) => *only == backend.kind(),
            None => backend.kind() != module.backend(),
        };
        let (on_cpu, others): (Vec<_>, Vec<_>) = registry
            .backends()
            .iter()
            .filter(is_other)
            .partition(|backend| backend.fingerprint().is_ok_and(|print| print.is_none()));
        let mut reasons = Vec::new();
        for backend in on_cpu.into_iter().chain(others) {
            let made = backend.probe().and_then(|()| built(backend.as_ref(), source));
            match made {
                Ok(executable) => return Ok(Self { backend: backend.clone(), executable }),
                Err(e) => reasons.push(format!("{}: {e}", backend.kind())),
            }
        }
        let text = match reasons.is_empty() {
            true => format!("there is no other runtime than {}", module.backend()),
            false => format!("no other runtime takes the model: {}", reasons.join("; ")),
        };
        Err(Error::new(ErrorKind::NoBackend, text))
    }
}

/// A model ready to run on a backend.
fn built(backend: &dyn Backend, model: &OnnxModel) -> Result<Box<dyn Executable>> {
    let model = model.for_target(backend.target())?;
    backend.build_and_load(&model).map(|(_, executable)| executable)
}

/// Runs a sample on an executable whose inputs may be of wider or narrower types than those of the module.
fn run(executable: &dyn Executable, sample: &[HostTensor]) -> Result<Vec<HostTensor>> {
    let specs = &executable.signature().inputs;
    if sample.len() != specs.len() {
        let text = format!("{} tensors for {} inputs", sample.len(), specs.len());
        return Err(Error::new(ErrorKind::InputMismatch, text));
    }
    let inputs = specs.iter().zip(sample).map(|(spec, tensor)| {
        difference::in_type(tensor, spec.dtype).map_err(|e| e.on_tensor(&spec.name))
    });
    executable.run(&inputs.collect::<Result<Vec<_>>>()?)
}

/// The source must have as many inputs and outputs as the module: in which types is the exporter's choice.
fn expect_same(module: &InferenceModule, source: &OnnxModel) -> Result<()> {
    let (ours, theirs) = (module.signature(), source.signature());
    let sides = [
        ("inputs", ours.inputs.len(), theirs.inputs.len()),
        ("outputs", ours.outputs.len(), theirs.outputs.len()),
    ];
    match sides.into_iter().find(|(_, ours, theirs)| ours != theirs) {
        Some((what, ours, theirs)) => {
            let text = format!("the module has {ours} {what}, the source {theirs}");
            Err(Error::new(ErrorKind::InputMismatch, text))
        }
        None => Ok(()),
    }
}
