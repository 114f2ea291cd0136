//! What a user may say of an export, the same for every framework. Nothing of backends or of running.

use std::ops::RangeInclusive;

use super::passes::precision::PrecisionOptions;
use crate::error::Result;
#[cfg(any(feature = "burn", feature = "candle"))]
use crate::error::{Error, ErrorKind};
use crate::spec::Dim;
#[cfg(any(feature = "burn", feature = "candle"))]
use crate::spec::{DType, Symbol, TensorSpec};

/// Options of an export: names and sizes of what a framework's model takes and gives.
///
/// ```
/// use accelerant::export::ExportOptions;
///
/// let options = ExportOptions::new().dynamic_batch(1..=64)?.input_names(["pixels"]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    name: Option<String>,
    batch: Option<Dim>,
    axes: Vec<(InputKey, usize, Dim)>,
    input_names: Vec<String>,
    output_names: Vec<String>,
    #[cfg(feature = "burn")]
    narrow_f64: bool,
    #[cfg(feature = "burn")]
    every_size: bool,
    #[cfg(feature = "candle")]
    weight_names: crate::candle::WeightNames,
    precision: Option<PrecisionOptions>,
}

/// Which input of a model: by position, counted from 0, or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputKey {
    /// The position.
    Position(usize),
    /// The name.
    Name(String),
}

impl From<usize> for InputKey {
    fn from(position: usize) -> Self {
        Self::Position(position)
    }
}

impl From<&str> for InputKey {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl ExportOptions {
    /// Static shapes as in the example, and names of the exporter's choice.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes axis 0 of every input the symbolic dimension `batch` with the sizes in `range`. An ONNX
    /// file has [`OnnxModel::bind`](crate::export::OnnxModel::bind).
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the range is empty.
    pub fn dynamic_batch(mut self, range: RangeInclusive<usize>) -> Result<Self> {
        self.batch = Some(Dim::dynamic("batch", range)?);
        Ok(self)
    }

    /// Makes axis 0 of every input the symbolic dimension `batch` of up to the largest of `sizes`, and tunes for each
    /// of them: TensorRT gets an optimization profile for each alone, and one for all others. TensorRT-RTX is up to
    /// twice as fast with them on compute capability 9.0. It compiles the kernels of each when it is first wanted, that
    /// of the middle one when the module is made. For the middle one are the forms of layers too, of which an engine has
    /// one: [`Dim::with_opt`] chooses another size for them, and a module for each size has the best for all.
    ///
    /// ```
    /// # use accelerant::export::ExportOptions;
    /// let options = ExportOptions::new().batch_sizes([1, 8, 32])?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without sizes, and for one of zero.
    pub fn batch_sizes(mut self, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        let sizes: Vec<usize> = sizes.into_iter().collect();
        let most = sizes.iter().copied().max().unwrap_or(1);
        self.batch = Some(Dim::dynamic("batch", 1..=most)?.tuned_for(sizes)?);
        Ok(self)
    }

    /// Makes one axis of one input symbolic. The input is given by position or by name; equal names
    /// of dimensions mean equal sizes.
    ///
    /// ```
    /// use accelerant::{Dim, export::ExportOptions};
    ///
    /// let length = Dim::dynamic("length", 1..=512)?;
    /// let options = ExportOptions::new()
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
        self.axes.push((input.into(), axis, dim.into()));
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

    /// Lets TensorRT, which has no 64-bit floats, compute those of a Burn model in 32 bits. The
    /// module still takes and gives 64-bit tensors. Without this, such a model is refused for
    /// TensorRT. Other backends compute in 64 bits either way.
    #[cfg(feature = "burn")]
    #[must_use]
    pub fn narrow_f64(mut self, narrow: bool) -> Self {
        self.narrow_f64 = narrow;
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
        self.every_size = every;
        self
    }

    /// Names the weights of a Candle model after the paths that were recorded while it was made.
    #[cfg(feature = "candle")]
    #[must_use]
    pub fn weight_names(mut self, names: &crate::candle::WeightNames) -> Self {
        self.weight_names = names.clone();
        self
    }

    /// The precision that `.optimize_trt_with(…)` computes in where the backend can. Inputs and outputs keep their types.
    /// A model that is exported without being optimized is as it was;
    /// [`OnnxModel::with_precision`](crate::export::OnnxModel::with_precision) gives it another precision.
    #[must_use]
    pub fn precision(mut self, precision: impl Into<PrecisionOptions>) -> Self {
        self.precision = Some(precision.into());
        self
    }

    /// The precision that is asked for.
    pub(crate) fn wanted_precision(&self) -> Option<&PrecisionOptions> {
        self.precision.as_ref()
    }

    /// The first option that is stated, if any is.
    pub(crate) fn stated(&self) -> Option<&'static str> {
        let stated = [
            (self.batch.is_some(), "`dynamic_batch` or `batch_sizes`"),
            (!self.axes.is_empty(), "`dynamic_axis`"),
            (self.name.is_some(), "`name`"),
            (!self.input_names.is_empty(), "`input_names`"),
            (!self.output_names.is_empty(), "`output_names`"),
            #[cfg(feature = "burn")]
            (self.narrow_f64, "`narrow_f64`"),
            #[cfg(feature = "burn")]
            (self.every_size, "`probe_every_size`"),
        ];
        stated.iter().find(|(stated, _)| *stated).map(|(_, option)| *option)
    }
}

impl AsRef<Self> for ExportOptions {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What the frameworks' exports read.
#[cfg(any(feature = "burn", feature = "candle"))]
impl ExportOptions {
    pub(crate) fn model_name(&self) -> &str {
        self.name.as_deref().unwrap_or("model")
    }

    /// The specs of inputs with these types and sizes, with the symbols asked for. Inputs may have
    /// names of their own.
    pub(crate) fn named_input_specs(
        &self,
        own: &[Option<String>],
        inputs: &[(DType, Vec<usize>)],
    ) -> Result<Vec<TensorSpec>> {
        let names = names("input", &self.input_names, own)?;
        let mut specs = Vec::with_capacity(inputs.len());
        for (name, (dtype, sizes)) in names.into_iter().zip(inputs) {
            let mut dims: Vec<Dim> = sizes.iter().copied().map(Dim::Fixed).collect();
            if let (Some(batch), Some(first)) = (&self.batch, dims.first_mut()) {
                *first = batch.clone();
            }
            specs.push(TensorSpec::new(name, *dtype, dims));
        }
        for (input, axis, dim) in &self.axes {
            let found = match input {
                InputKey::Position(position) => specs.get_mut(*position),
                InputKey::Name(name) => specs.iter_mut().find(|spec| spec.name == *name),
            };
            let Some(spec) = found else {
                let known: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
                let text = format!("dynamic axis of {input:?}; there are: {}", known.join(", "));
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
        bind_symbols(&specs, inputs)?;
        for spec in &mut specs {
            // A symbol of one size is that size.
            let fix = |dim: &Dim| {
                if dim.min() == dim.max() { Dim::Fixed(dim.min()) } else { dim.clone() }
            };
            spec.shape = spec.shape.dims().iter().map(fix).collect::<Vec<_>>().into();
        }
        Ok(specs)
    }

    #[cfg(feature = "burn")]
    pub(crate) fn narrows_f64(&self) -> bool {
        self.narrow_f64
    }

    #[cfg(feature = "burn")]
    pub(crate) fn probes_every_size(&self) -> bool {
        self.every_size
    }

    /// The path of a weight.
    #[cfg(feature = "candle")]
    pub(crate) fn weight_name(&self, weight: &candle_core::Tensor) -> Option<String> {
        self.weight_names.get(weight)
    }

    /// The names of `count` outputs.
    #[cfg(feature = "candle")]
    pub(crate) fn names_of_outputs(&self, count: usize) -> Result<Vec<String>> {
        names("output", &self.output_names, &vec![None; count])
    }

    /// The names of outputs that may have names of their own, beside these inputs.
    #[cfg(feature = "burn")]
    pub(crate) fn named_outputs(
        &self,
        own: &[Option<String>],
        inputs: &[TensorSpec],
    ) -> Result<Vec<String>> {
        let mut names = names("output", &self.output_names, own)?;
        if self.output_names.is_empty() {
            // A state that goes in and comes out has the same name twice.
            for name in &mut names {
                if inputs.iter().any(|input| input.name == *name) {
                    name.push_str("_out");
                }
            }
        }
        Ok(names)
    }
}

/// Checks that the example lies in the ranges, and that equal names have one range and one size.
#[cfg(any(feature = "burn", feature = "candle"))]
fn bind_symbols(specs: &[TensorSpec], inputs: &[(DType, Vec<usize>)]) -> Result<()> {
    let mut bound: Vec<(&Symbol, usize, &str)> = Vec::new();
    for (spec, (_, sizes)) in specs.iter().zip(inputs) {
        for (axis, (dim, &size)) in spec.shape.dims().iter().zip(sizes).enumerate() {
            let fail = |kind, text: String| {
                Err(Error::new(kind, text).on_tensor(&spec.name).at_axis(axis))
            };
            let (min, max) = (dim.min(), dim.max());
            if size < min || size > max {
                let text = format!("the example has {size}, outside `{dim}` = {min}..={max}");
                return fail(ErrorKind::OutOfProfile, text);
            }
            let Dim::Symbol(symbol) = dim else { continue };
            match bound.iter().find(|(known, ..)| known.name() == symbol.name()) {
                None => bound.push((symbol, size, &spec.name)),
                Some((known, ..)) if *known != symbol => {
                    let text = format!("symbol {symbol:?} was declared before as {known:?}");
                    return fail(ErrorKind::InvalidArgument, text);
                }
                Some((_, first, tensor)) if *first != size => {
                    let text = format!(
                        "`{}` is {size} here, but {first} in `{tensor}`: equal names mean equal \
                         sizes",
                        symbol.name()
                    );
                    return fail(ErrorKind::ShapeMismatch, text);
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

#[cfg(any(feature = "burn", feature = "candle"))]
fn names(what: &str, given: &[String], own: &[Option<String>]) -> Result<Vec<String>> {
    let count = own.len();
    if given.is_empty() {
        let name = |(i, own): (usize, &Option<String>)| {
            own.clone().unwrap_or_else(|| format!("{what}_{i}"))
        };
        return Ok(own.iter().enumerate().map(name).collect());
    }
    if given.len() != count {
        let text = format!("{} {what} names for {count} {what}s", given.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(given.to_vec())
}
