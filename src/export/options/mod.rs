//! Options of an export, the same for every framework. Nothing of backends or of running.

mod builders;
#[cfg(any(feature = "burn", feature = "candle"))]
mod specs;

use std::ops::RangeInclusive;

use super::passes::precision::PrecisionOptions;
#[cfg(any(feature = "burn", feature = "candle"))]
use crate::error::Result;
use crate::spec::Dim;

pub(crate) use builders::export_builders;

/// Options of an export: the names and the sizes of the inputs and outputs.
///
/// ```
/// use accelerant::export::ExportOptions;
///
/// let options = ExportOptions::new().dynamic_batch(1..=64).input_names(["pixels"]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    pub(crate) name: Option<String>,
    pub(crate) batch: Option<BatchSizes>,
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

/// The sizes that the batch of a framework's model may have, as stated.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BatchSizes {
    Range(RangeInclusive<usize>),
    Each(Vec<usize>),
}

impl BatchSizes {
    /// The symbol of these sizes.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where there are none.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn dim(&self) -> Result<Dim> {
        match self {
            Self::Range(range) => Dim::dynamic("batch", range.clone())
                .map_err(|e| e.in_operation("OptimizeOptions::dynamic_batch")),
            Self::Each(sizes) => {
                let most = sizes.iter().copied().max().unwrap_or(1);
                let dim = Dim::dynamic("batch", 1..=most.max(1));
                dim.and_then(|dim| dim.tuned_for(sizes.iter().copied()))
                    .map_err(|e| e.in_operation("OptimizeOptions::batch_sizes"))
            }
        }
    }
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
#[non_exhaustive]
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
    /// The defaults: the shapes of the example, and names that the exporter chooses.
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
