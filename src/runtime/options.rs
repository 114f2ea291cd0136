//! What a user may say about an optimization, the same for every framework.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use crate::backend::{BackendKind, Registry};
use crate::error::Result;
use crate::spec::Dim;
#[cfg(any(feature = "burn", feature = "candle"))]
use crate::{
    error::{Error, ErrorKind},
    spec::{DType, TensorSpec},
};

/// Options of `.optimize_trt_with(…)`.
///
/// ```
/// use accelerant::{BackendKind, OptimizeOptions};
///
/// let options = OptimizeOptions::new()
///     .dynamic_batch(1..=64)?
///     .require(BackendKind::TensorRtRtx)
///     .save_engine("model.engine");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OptimizeOptions {
    registry: Registry,
    name: Option<String>,
    batch: Option<Dim>,
    axes: Vec<(usize, usize, Dim)>,
    input_names: Vec<String>,
    output_names: Vec<String>,
    onnx_path: Option<PathBuf>,
    engine_path: Option<PathBuf>,
}

impl OptimizeOptions {
    /// Static shapes as in the example, backends chosen automatically, nothing written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes axis 0 of every input the symbolic dimension `batch` with the sizes in `range`.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the range is empty.
    pub fn dynamic_batch(mut self, range: RangeInclusive<usize>) -> Result<Self> {
        self.batch = Some(Dim::dynamic("batch", range)?);
        Ok(self)
    }

    /// Makes one axis of one input symbolic. Equal names mean equal sizes.
    #[must_use]
    pub fn dynamic_axis(mut self, input: usize, axis: usize, dim: impl Into<Dim>) -> Self {
        self.axes.push((input, axis, dim.into()));
        self
    }

    /// Forbids any other backend than this one.
    #[must_use]
    pub fn require(mut self, kind: BackendKind) -> Self {
        self.registry = self.registry.require(kind);
        self
    }

    /// Chooses among these backends instead of the [default ones](Registry::default).
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Names the model.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names the inputs, in order, instead of `input_0`, `input_1`, ...
    #[must_use]
    pub fn input_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.input_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names the outputs, in order, instead of `output_0`, `output_1`, ...
    #[must_use]
    pub fn output_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.output_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Writes the exported model to a file, whole or not at all.
    #[must_use]
    pub fn save_onnx(mut self, path: impl AsRef<Path>) -> Self {
        self.onnx_path = Some(path.as_ref().to_owned());
        self
    }

    /// Writes a TensorRT engine to a file, whole or not at all. It is built where the library can
    /// build it, even when there is no device to run it on.
    #[must_use]
    pub fn save_engine(mut self, path: impl AsRef<Path>) -> Self {
        self.engine_path = Some(path.as_ref().to_owned());
        self
    }

    pub(crate) fn backends(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn onnx_path(&self) -> Option<&Path> {
        self.onnx_path.as_deref()
    }

    pub(crate) fn engine_path(&self) -> Option<&Path> {
        self.engine_path.as_deref()
    }
}

/// What the frameworks' exports read.
#[cfg(any(feature = "burn", feature = "candle"))]
impl OptimizeOptions {
    pub(crate) fn model_name(&self) -> &str {
        self.name.as_deref().unwrap_or("model")
    }

    /// The specs of inputs with these types and sizes, with the symbols asked for.
    pub(crate) fn input_specs(&self, inputs: &[(DType, Vec<usize>)]) -> Result<Vec<TensorSpec>> {
        let names = names("input", &self.input_names, inputs.len())?;
        let mut specs = Vec::with_capacity(inputs.len());
        for (name, (dtype, sizes)) in names.into_iter().zip(inputs) {
            let mut dims: Vec<Dim> = sizes.iter().copied().map(Dim::Fixed).collect();
            if let (Some(batch), Some(first)) = (&self.batch, dims.first_mut()) {
                *first = batch.clone();
            }
            specs.push(TensorSpec::new(name, *dtype, dims));
        }
        for (input, axis, dim) in &self.axes {
            let Some(spec) = specs.get_mut(*input) else {
                let text = format!("dynamic axis of input {input}, but there are {}", inputs.len());
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            };
            let mut dims = spec.shape.dims().to_vec();
            let Some(place) = dims.get_mut(*axis) else {
                let error = Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{} has no such axis", spec.shape),
                );
                return Err(error.on_tensor(&spec.name).at_axis(*axis));
            };
            *place = dim.clone();
            spec.shape = dims.into();
        }
        for (spec, (_, sizes)) in specs.iter_mut().zip(inputs) {
            // A symbol of one size is that size.
            let fix = |dim: &Dim| {
                if dim.min() == dim.max() { Dim::Fixed(dim.min()) } else { dim.clone() }
            };
            spec.shape = spec.shape.dims().iter().map(fix).collect::<Vec<_>>().into();
            for (axis, (dim, &size)) in spec.shape.dims().iter().zip(sizes).enumerate() {
                if size < dim.min() || size > dim.max() {
                    let text = format!(
                        "the example has {size}, outside `{dim}` = {}..={}",
                        dim.min(),
                        dim.max()
                    );
                    return Err(Error::new(ErrorKind::OutOfProfile, text)
                        .on_tensor(&spec.name)
                        .at_axis(axis));
                }
            }
        }
        Ok(specs)
    }

    /// The names of `count` outputs.
    pub(crate) fn names_of_outputs(&self, count: usize) -> Result<Vec<String>> {
        names("output", &self.output_names, count)
    }
}

#[cfg(any(feature = "burn", feature = "candle"))]
fn names(what: &str, given: &[String], count: usize) -> Result<Vec<String>> {
    if given.is_empty() {
        return Ok((0..count).map(|i| format!("{what}_{i}")).collect());
    }
    if given.len() != count {
        let text = format!("{} {what} names for {count} {what}s", given.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(given.to_vec())
}
