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
    /// How long it takes in the model's own precision, where [times](PrecisionReport::before) were asked for and the engine
    /// tells of the layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<LayerCost>,
    /// How long it takes in the precision that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<LayerCost>,
    /// The types of what the engine's kernels of this layer read and write, in the backend's words. Within a kernel are
    /// others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine: Vec<String>,
}

/// How long the kernels of a layer take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerCost {
    /// Microseconds of all kernels that compute the layer, whole: they may compute other layers too.
    pub micros: f64,
    /// How many other layers these kernels compute.
    pub shared_with: usize,
}

/// How long all layers of a model take one after the other. Layers that overlap take less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelCost {
    /// Microseconds of all kernels, each counted once.
    pub micros: f64,
    /// Those of kernels that compute no layer of the report, such as kernels for integers.
    pub elsewhere: f64,
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
        if let Some(times) = times(self.before, self.after) {
            write!(f, ", {times}")?;
        }
        if self.asked && !self.engine.is_empty() {
            write!(f, ", its kernels read and write {}", self.engine.join(" and "))?;
        }
        match (&self.reason, self.is_refused()) {
            (Some(reason), true) => write!(f, ", ASKED FOR IN FEWER BITS: {reason}"),
            (Some(reason), false) => write!(f, ": {reason}"),
            (None, _) => Ok(()),
        }
    }
}

/// Both times of a layer, where one is known.
fn times(before: Option<LayerCost>, after: Option<LayerCost>) -> Option<String> {
    let one = |cost: Option<LayerCost>| match cost {
        None => "unknown".to_owned(),
        Some(LayerCost { micros, shared_with: 0 }) => format!("{micros:.1} µs"),
        Some(LayerCost { micros, shared_with: 1 }) => format!("{micros:.1} µs with another layer"),
        Some(LayerCost { micros, shared_with }) => {
            format!("{micros:.1} µs with {shared_with} other layers")
        }
    };
    let known = before.is_some() || after.is_some();
    known.then(|| format!("before {}, after {}", one(before), one(after)))
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
    /// How long all layers take in the model's own precision, where
    /// [times were asked for](crate::OptimizeOptions::time_layers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ModelCost>,
    /// How long all layers take in the precision that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ModelCost>,
    /// Why there are no times, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_timed: Option<String>,
}

impl PrecisionReport {
    pub(in crate::export::passes) fn new(precision: Precision) -> Self {
        Self {
            precision,
            note: None,
            layers: Vec::new(),
            before: None,
            after: None,
            not_timed: None,
        }
    }

    /// The layer of a name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }

    /// The layers that were asked for in fewer bits and are not.
    pub fn refused(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.is_refused())
    }

    fn write_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(before), Some(after)) = (self.before, self.after) {
            writeln!(
                f,
                "  all layers one after the other: before {:.1} µs, after {:.1} µs; {:.1} and {:.1} of these in kernels of no layer below",
                before.micros, after.micros, before.elsewhere, after.elsewhere
            )?;
        }
        match &self.not_timed {
            Some(reason) => writeln!(f, "  layers were not timed: {reason}"),
            None => Ok(()),
        }
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
    /// How many layers have which type, and a line for each that has another than asked, or that was timed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.precision)?;
        if let Some(note) = &self.note {
            writeln!(f, ": unchanged, {note}")?;
            return self.write_times(f);
        }
        let mut counts = std::collections::BTreeMap::new();
        for layer in &self.layers {
            *counts.entry(layer.precision.as_str()).or_insert(0) += 1;
        }
        for (precision, count) in counts {
            write!(f, ", {count} in {precision}")?;
        }
        writeln!(f)?;
        self.write_times(f)?;
        let is_told = |layer: &&Layer| {
            layer.reason.is_some() || layer.before.is_some() || layer.after.is_some()
        };
        for layer in self.layers.iter().filter(is_told) {
            writeln!(f, "  {layer}")?;
        }
        Ok(())
    }
}
