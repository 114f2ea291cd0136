//! What a user may say of the precision of a model.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::half::wrong;
use super::quantize::Form;
use super::{Moments, Ranges};
use crate::error::{Error, Result};

/// What a model is computed in. Its inputs and outputs keep their types.
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
    /// 32-bit floats, products as well.
    Fp32,
    /// 32-bit floats, whose products may be of 10 bits of mantissa. This is what TensorRT does without a word.
    Tf32,
    /// 16-bit floats, but for what needs the range or the digits of 32 bits.
    Fp16,
    /// bfloat16, which has the range of 32-bit floats and 8 bits of mantissa.
    Bf16,
    /// 32-bit floats, and attention in 16 bits, for which TensorRT-RTX has one kernel then: its two products, and the products
    /// that give its queries, keys and values where they read a normalization.
    Mixed,
    /// As [`Fp16`](Self::Fp16), with products of 8-bit integers where a weight is a factor. Takes a calibration.
    Int8,
    /// As [`Fp16`](Self::Fp16), with products of 8-bit floats where a weight is a factor. Takes a calibration, and
    /// compute capability 8.9.
    Fp8,
    /// As [`Fp16`](Self::Fp16), with weights of products in 4 bits, which are multiplied in 16.
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

/// A precision, and what differs from it.
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
    /// A precision by its rules alone.
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

    /// Uses measured ranges: what exceeds the range of half precision in the samples stays in 32 bits, and 8 bits are
    /// scaled by them.
    #[must_use]
    pub fn ranges(mut self, ranges: impl Into<Arc<Ranges>>) -> Self {
        self.ranges = Some(ranges.into());
        self
    }

    /// Uses measured [`Moments`]: the errors of 4-bit weights make up for each other by them, and the model loses less.
    /// In 8 bits, [`smooth`](Self::smooth) uses them.
    #[must_use]
    pub fn moments(mut self, moments: impl Into<Arc<Moments>>) -> Self {
        self.moments = Some(moments.into());
        self
    }

    /// Brings the columns of activations nearer to each other before they are quantized to 8 bits, and undoes it in the
    /// weights, by measured [`moments`](Self::moments): from 0, which leaves activations as uneven as makes weights even, to
    /// 1, which makes activations even. 0.5 is usual.
    #[must_use]
    pub const fn smooth(mut self, strength: f32) -> Self {
        self.smoothing = Some(strength);
        self
    }

    /// Excludes layers, which stay in 32 bits: by the name of a node, of its first output or of its operator; `*` at
    /// the end stands for any rest.
    #[must_use]
    pub fn keep<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.kept.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Asks for layers in fewer bits, named as in [`keep`](Self::keep). The rules still hold: a layer that they keep
    /// in 32 bits is marked in the [report](super::PrecisionReport), with the reason.
    #[must_use]
    pub fn ask<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.asked.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Leaves layers in half precision whose activation keeps less than so many decibels of signal to noise in 8-bit
    /// integers, by its measured range; 25 otherwise: few large values among many small ones leave no steps for the small ones.
    #[must_use]
    pub const fn least_signal_to_noise(mut self, decibels: f32) -> Self {
        self.least_signal = decibels;
        self
    }

    /// Leaves layers in half precision that would have 8 or 4 bits: by the name of a node or of its first output; `*` at
    /// the end stands for any rest. A [`Search`](crate::precision::Search) finds such layers.
    #[must_use]
    pub fn in_half<S: Into<String>>(mut self, layers: impl IntoIterator<Item = S>) -> Self {
        self.halves.extend(layers.into_iter().map(Into::into));
        self
    }

    /// Gives each block of so many inputs of 4-bit weights a scale: 128, 64, 32 or 16, and 128 otherwise. Less is nearer
    /// to the model, and larger.
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
