//! What a user may say of the precision of a model.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::half::wrong;
use super::quantize::Form;
use super::{Moments, Ranges};
use crate::error::{Error, Result};

/// The precision of a model. Inputs and outputs keep their types.
///
/// ```
/// use accelerant::precision::Precision;
///
/// assert_eq!("int4-weights".parse::<Precision>()?, Precision::Int4Weights);
/// assert_eq!(Precision::Fp16.to_string(), "fp16");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats everywhere, also in matrix multiplications.
    Fp32,
    /// 32-bit floats, with matrix multiplications in TF32 (10 bits of mantissa). This is the default of TensorRT.
    Tf32,
    /// 16-bit floats, except for operations that need the range or the accuracy of 32 bits.
    Fp16,
    /// bfloat16, with the range of 32-bit floats and 8 bits of mantissa.
    Bf16,
    /// 32-bit floats, and attention in 16 bits, which TensorRT-RTX then runs as one kernel. Attention has two matrix
    /// multiplications. The query, key and value projections are also in 16 bits, if they read a normalization.
    Mixed,
    /// As [`Fp16`](Self::Fp16), and layers with weights multiply 8-bit integers. Needs a calibration.
    Int8,
    /// As [`Fp16`](Self::Fp16), and layers with weights multiply 8-bit floats. Needs a calibration, and compute
    /// capability 8.9.
    Fp8,
    /// As [`Fp16`](Self::Fp16), with the weights of layers in 4 bits. The layers multiply in 16 bits.
    Int4Weights,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fp32,
        Self::Tf32,
        Self::Mixed,
        Self::Fp16,
        Self::Bf16,
        Self::Int8,
        Self::Fp8,
        Self::Int4Weights,
    ];

    /// Whether layers have fewer than 16 bits.
    pub const fn is_quantized(self) -> bool {
        self.quantized().is_some()
    }

    /// The name by which users refer to it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Mixed => "mixed",
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Int4Weights => "int4-weights",
        }
    }

    /// How products are quantized.
    pub(super) const fn quantized(self) -> Option<Form> {
        match self {
            Self::Int8 => Some(Form::Int8),
            Self::Fp8 => Some(Form::Fp8),
            Self::Int4Weights => Some(Form::Int4Weights),
            _ => None,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) with the names that there are.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            wrong(format!("no precision is called `{name}`; there are: {names}"))
        })
    }
}

/// Decibels of signal to noise that an activation keeps in 8-bit integers.
const LEAST_SIGNAL: f32 = 25.0;

/// Inputs of a block of 4-bit weights, which have one scale.
const BLOCK: usize = 128;

/// A precision, with exceptions and measurements.
///
/// ```
/// use accelerant::precision::{Precision, PrecisionOptions};
///
/// let options = PrecisionOptions::new(Precision::Fp16).keep(["classifier*", "Softmax"]);
/// ```
#[derive(Clone, Debug)]
pub struct PrecisionOptions {
    precision: Precision,
    ranges: Option<Arc<Ranges>>,
    moments: Option<Arc<Moments>>,
    smoothing: Option<f32>,
    kept: Vec<String>,
    asked: Vec<String>,
    halves: Vec<String>,
    least_signal: f32,
    block: usize,
}

impl PrecisionOptions {
    /// A precision with its default rules.
    pub const fn new(precision: Precision) -> Self {
        Self {
            precision,
            ranges: None,
            moments: None,
            smoothing: None,
            kept: Vec::new(),
            asked: Vec::new(),
            halves: Vec::new(),
            least_signal: LEAST_SIGNAL,
            block: BLOCK,
        }
    }

    /// Uses measured ranges. Values beyond the range of fp16 stay in fp32, and the ranges give the scales of 8-bit
    /// values.
    #[must_use]
    pub fn ranges(mut self, ranges: impl Into<Arc<Ranges>>) -> Self {
        self.ranges = Some(ranges.into());
        self
    }

    /// Uses measured [`Moments`]. 4-bit weights are then rounded with error compensation (GPTQ), and the model loses
    /// less accuracy. In 8 bits, [`smooth`](Self::smooth) uses the moments.
    #[must_use]
    pub fn moments(mut self, moments: impl Into<Arc<Moments>>) -> Self {
        self.moments = Some(moments.into());
        self
    }

    /// Smooths the columns of activations before 8-bit quantization (SmoothQuant), and adapts the weights. Needs
    /// measured [`moments`](Self::moments). With 1, all columns of an activation have the same size. With 0, all
    /// columns of the weights have the same size. The usual value is 0.5.
    #[must_use]
    pub const fn smooth(mut self, strength: f32) -> Self {
        self.smoothing = Some(strength);
        self
    }

    /// Keeps layers in fp32. A name is the name of a node, of its first output or of its operator; `*` at the end
    /// matches any rest.
    #[must_use]
    pub fn keep<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.kept.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Asks for layers in the lower precision, named as in [`keep`](Self::keep). The rules still apply: if a layer
    /// stays in fp32, the [report](super::PrecisionReport) marks the layer and gives the reason.
    #[must_use]
    pub fn ask<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.asked.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Sets the least signal-to-noise ratio of activations in 8-bit integers, in decibels; the default is 25. A layer
    /// stays in fp16 if the range of its activation gives a lower ratio. Such an activation has a few large values,
    /// and the steps of the integers are too wide for the small values.
    #[must_use]
    pub const fn least_signal_to_noise(mut self, decibels: f32) -> Self {
        self.least_signal = decibels;
        self
    }

    /// Keeps layers in fp16 that would otherwise have 8 or 4 bits. A name is the name of a node or of its first
    /// output; `*` at the end matches any rest. A [`Search`](crate::precision::Search) finds such layers.
    #[must_use]
    pub fn in_half<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.halves.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Sets the block size of 4-bit weights: 128 (the default), 64, 32 or 16 inputs share one scale. Smaller blocks
    /// are more accurate, and take more memory.
    #[must_use]
    pub const fn block(mut self, inputs: usize) -> Self {
        self.block = inputs;
        self
    }

    pub(super) fn halves(&self) -> &[String] {
        &self.halves
    }

    pub(super) const fn most_inputs(&self) -> usize {
        self.block
    }

    pub(super) const fn least_signal(&self) -> f32 {
        self.least_signal
    }

    /// The precision.
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn measured(&self) -> Option<&Ranges> {
        self.ranges.as_deref()
    }

    pub(super) const fn smoothing(&self) -> Option<f32> {
        self.smoothing
    }

    pub(super) fn moments_of_layers(&self) -> Option<&Moments> {
        self.moments.as_deref()
    }

    pub(super) fn kept(&self) -> &[String] {
        &self.kept
    }

    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }
}

impl From<Precision> for PrecisionOptions {
    fn from(precision: Precision) -> Self {
        Self::new(precision)
    }
}
