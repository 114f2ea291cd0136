//! Options of an export, the same for every framework. Nothing of backends or of running.

mod builders;
#[cfg(any(feature = "burn", feature = "candle"))]
mod specs;

use super::passes::precision::PrecisionOptions;
use crate::spec::Dim;

pub(crate) use builders::export_builders;

/// Options of an export: names and sizes of the inputs and outputs of a framework's model.
///
/// ```
/// use accelerant::export::ExportOptions;
///
/// let options = ExportOptions::new().dynamic_batch(1..=64)?.input_names(["pixels"]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    pub(crate) name: Option<String>,
    pub(crate) batch: Option<Dim>,
    pub(crate) axes: Vec<(InputKey, usize, Dim)>,
    pub(crate) input_names: Vec<String>,
    pub(crate) output_names: Vec<String>,
    #[cfg(feature = "burn")]
    pub(crate) narrow_f64: bool,
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) every_size: bool,
    #[cfg(feature = "candle")]
    pub(crate) weight_names: crate::candle::WeightNames,
    pub(crate) precision: Option<PrecisionOptions>,
}

/// An input of a model, by position, counted from 0, or by name.
///
/// ```
/// use accelerant::{Dim, OptimizeOptions};
///
/// let length = Dim::dynamic("length", 1..=512)?;
/// let options = OptimizeOptions::new()
///     .dynamic_axis(0, 1, length.clone())           // the first input
///     .dynamic_axis("mask", 1, length);             // the input `mask`
/// # Ok::<(), accelerant::Error>(())
/// ```
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

export_builders!(ExportOptions, "export::ExportOptions");

impl ExportOptions {
    /// Shapes as in the example, and names that the exporter chooses.
    pub fn new() -> Self {
        Self::default()
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
            #[cfg(any(feature = "burn", feature = "candle"))]
            (self.every_size, "`probe_every_size`"),
            #[cfg(feature = "candle")]
            (!self.weight_names.is_empty(), "`weight_names`"),
        ];
        stated.iter().find(|(stated, _)| *stated).map(|(_, option)| *option)
    }
}

impl AsRef<Self> for ExportOptions {
    fn as_ref(&self) -> &Self {
        self
    }
}
