//! What became of each layer, as JSON and for people.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::Precision;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// What a layer is computed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Layer {
    /// The node's name, or that of what it gives.
    pub name: String,
    /// The ONNX operator.
    pub operator: String,
    /// The type, such as `f16`, `f32` or `int8`.
    pub precision: String,
    /// Whether it was [asked for](super::PrecisionOptions::ask) in fewer bits by name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// Why it has more bits than the precision says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Decibels of signal to noise that its factors keep in 8 or 4 bits: those of its weight, and in `int8` those of its
    /// activation by the measured range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_to_noise: Option<f32>,
    /// Least and greatest value of what it gives, in the samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f32; 2]>,
}

impl Layer {
    /// Whether it has fewer than 16 bits.
    pub fn is_quantized(&self) -> bool {
        matches!(self.precision.as_str(), "int8" | "fp8" | "int4")
    }

    /// Whether it was asked for in fewer bits and is not.
    pub fn is_refused(&self) -> bool {
        self.asked && self.precision == "f32"
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, operator, precision, .. } = self;
        write!(f, "{precision:5} {operator} `{name}`")?;
        if let Some([min, max]) = self.range {
            write!(f, " in {min:.3e}..={max:.3e}")?;
        }
        if let Some(decibels) = self.signal_to_noise {
            write!(f, ", keeps {decibels:.1} dB")?;
        }
        match (&self.reason, self.is_refused()) {
            (Some(reason), true) => write!(f, ", ASKED FOR IN FEWER BITS: {reason}"),
            (Some(reason), false) => write!(f, ": {reason}"),
            (None, _) => Ok(()),
        }
    }
}

/// What became of a model's layers, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrecisionReport {
    /// What was asked.
    pub precision: Precision,
    /// Why nothing was changed, where something was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The layers that compute with floats. Without any, all are as the model has them.
    pub layers: Vec<Layer>,
}

impl PrecisionReport {
    pub(in crate::export::passes) fn new(precision: Precision) -> Self {
        Self { precision, note: None, layers: Vec::new() }
    }

    /// The layer of a name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }

    /// The layers that were asked for in fewer bits and are not.
    pub fn refused(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.is_refused())
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the text cannot be made.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| {
            let error = Error::new(ErrorKind::InvalidArgument, e.to_string());
            error.in_operation("precision report").with_source(e)
        })
    }

    /// Writes it as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.to_json()?;
        write_atomic(path.as_ref(), |file| std::io::Write::write_all(file, text.as_bytes()))
    }
}

impl fmt::Display for PrecisionReport {
    /// How many layers have which type, and a line for each that has another than asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.precision)?;
        if let Some(note) = &self.note {
            return writeln!(f, ": unchanged, {note}");
        }
        let mut counts = std::collections::BTreeMap::new();
        for layer in &self.layers {
            *counts.entry(layer.precision.as_str()).or_insert(0) += 1;
        }
        for (precision, count) in counts {
            write!(f, ", {count} in {precision}")?;
        }
        writeln!(f)?;
        for layer in self.layers.iter().filter(|layer| layer.reason.is_some()) {
            writeln!(f, "  {layer}")?;
        }
        Ok(())
    }
}
