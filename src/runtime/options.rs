//! What a user may say about an optimization, the same for every framework: what is said of its export, which
//! backends there are to choose from, and which files are written.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use crate::backend::{BackendKind, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::PrecisionOptions;
use crate::export::{ExportOptions, InputKey};
use crate::spec::Dim;

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
    export: ExportOptions,
    registry: Registry,
    onnx_path: Option<PathBuf>,
    external: Option<usize>,
    engine_path: Option<PathBuf>,
}

impl OptimizeOptions {
    /// Static shapes as in the example, backends chosen automatically, nothing written.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is said of the export, all at once.
    #[must_use]
    pub fn export(mut self, options: ExportOptions) -> Self {
        self.export = options;
        self
    }

    /// Makes axis 0 of every input the symbolic dimension `batch` with the sizes in `range`. As all options of names and
    /// axes, this is for models of Burn and Candle; an ONNX file has [`OnnxModel::bind`](crate::export::OnnxModel::bind).
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the range is empty.
    pub fn dynamic_batch(mut self, range: RangeInclusive<usize>) -> Result<Self> {
        self.export = self.export.dynamic_batch(range)?;
        Ok(self)
    }

    /// Makes axis 0 of every input the symbolic dimension `batch` of up to the largest of `sizes`, and tunes for each
    /// of them: TensorRT gets an optimization profile for each alone, and one for all others. TensorRT-RTX is up to
    /// twice as fast with them on compute capability 9.0. It compiles the kernels of each when it is first wanted, that
    /// of the middle one when the module is made. For the middle one are the forms of layers too, of which an engine has
    /// one: [`Dim::with_opt`] chooses another size for them, and a module for each size has the best for all.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// let options = OptimizeOptions::new().batch_sizes([1, 8, 32])?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without sizes, and for one of zero.
    pub fn batch_sizes(mut self, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        self.export = self.export.batch_sizes(sizes)?;
        Ok(self)
    }

    /// Makes one axis of one input symbolic. The input is given by position or by name; equal names
    /// of dimensions mean equal sizes.
    ///
    /// ```
    /// use accelerant::{Dim, OptimizeOptions};
    ///
    /// let length = Dim::dynamic("length", 1..=512)?;
    /// let options = OptimizeOptions::new()
    ///     .dynamic_axis(0, 1, length.clone())
    ///     .dynamic_axis("mask", 1, length);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    #[must_use]
    pub fn dynamic_axis(
        mut self,
        input: impl Into<InputKey>,
        axis: usize,
        dim: impl Into<Dim>,
    ) -> Self {
        self.export = self.export.dynamic_axis(input, axis, dim);
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
        self.export = self.export.name(name);
        self
    }

    /// Names the inputs, in order, instead of `input_0`, `input_1`, ...
    #[must_use]
    pub fn input_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.export = self.export.input_names(names);
        self
    }

    /// Names the outputs, in order, instead of `output_0`, `output_1`, ...
    #[must_use]
    pub fn output_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.export = self.export.output_names(names);
        self
    }

    /// Lets TensorRT, which has no 64-bit floats, compute those of a Burn model in 32 bits. The
    /// module still takes and gives 64-bit tensors. Without this, such a model is refused for
    /// TensorRT. Other backends compute in 64 bits either way.
    #[cfg(feature = "burn")]
    #[must_use]
    pub fn narrow_f64(mut self, narrow: bool) -> Self {
        self.export = self.export.narrow_f64(narrow);
        self
    }

    /// Captures a Burn model at every size of its dynamic axes, and where there are several at every
    /// combination, so that no branch on a size can be missed. Otherwise some sizes are chosen: the
    /// first 64, powers of two and their neighbours, the ends, of one axis at a time, as far as they come to
    /// 100,000 captured operations in all.
    ///
    /// A capture takes about six microseconds and a kilobyte for each operation: 10,000 of 100 operations
    /// took 5.6 seconds and 0.8 GB. Ranges with more than 16,384 combinations are refused.
    #[cfg(feature = "burn")]
    #[must_use]
    pub fn probe_every_size(mut self, every: bool) -> Self {
        self.export = self.export.probe_every_size(every);
        self
    }

    /// Names the weights of a Candle model after the paths that were recorded while it was made.
    #[cfg(feature = "candle")]
    #[must_use]
    pub fn weight_names(mut self, names: &crate::candle::WeightNames) -> Self {
        self.export = self.export.weight_names(names);
        self
    }

    /// Computes in another precision where the backend can; the module still takes and gives the same types. What
    /// became of each layer is in [`InferenceModule::precision_report`](crate::InferenceModule::precision_report).
    ///
    /// ```
    /// use accelerant::{OptimizeOptions, precision::Precision};
    ///
    /// let options = OptimizeOptions::new().precision(Precision::Fp16);
    /// ```
    #[must_use]
    pub fn precision(mut self, precision: impl Into<PrecisionOptions>) -> Self {
        self.export = self.export.precision(precision);
        self
    }

    /// Writes the exported model to a file, whole or not at all.
    #[must_use]
    pub fn save_onnx(mut self, path: impl AsRef<Path>) -> Self {
        self.onnx_path = Some(path.as_ref().to_owned());
        self
    }

    /// Keeps weights of `threshold` bytes and more out of the [model's file](Self::save_onnx), in one
    /// beside it. Otherwise only a model of 2 GiB and more is stored like that.
    #[must_use]
    pub fn external_weights(mut self, threshold: usize) -> Self {
        self.external = Some(threshold);
        self
    }

    /// Writes a TensorRT engine to a file, whole or not at all. It is built where the library can
    /// build it, even when there is no device to run it on: by the flavor that is
    /// [required](Self::require), else by TensorRT-RTX, or where this cannot by TensorRT. Where none
    /// can, the whole optimization is an error, [`NoBackend`](crate::ErrorKind::NoBackend).
    #[must_use]
    pub fn save_engine(mut self, path: impl AsRef<Path>) -> Self {
        self.engine_path = Some(path.as_ref().to_owned());
        self
    }

    pub(crate) fn backends(&self) -> &Registry {
        &self.registry
    }

    /// Refuses what only an export can obey, for a model that is ONNX already.
    pub(crate) fn expect_no_export(&self) -> Result<()> {
        let Some(option) = self.export.stated() else { return Ok(()) };
        let text = format!(
            "{option}: a model that is ONNX has its names and sizes; `OnnxModel::bind` states those \
             of a symbol"
        );
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("compile"))
    }

    pub(crate) fn onnx_path(&self) -> Option<&Path> {
        self.onnx_path.as_deref()
    }

    pub(crate) fn external_threshold(&self) -> Option<usize> {
        self.external
    }

    pub(crate) fn engine_path(&self) -> Option<&Path> {
        self.engine_path.as_deref()
    }
}

/// What an export reads of them.
impl AsRef<ExportOptions> for OptimizeOptions {
    fn as_ref(&self) -> &ExportOptions {
        &self.export
    }
}
