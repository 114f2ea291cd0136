//! What became of each layer, as JSON and for people.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::Precision;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// The precision of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Layer {
    /// The name of the node, or of its output.
    pub name: String,
    /// The ONNX operator.
    pub operator: String,
    /// The type, such as `f16`, `f32` or `int8`.
    pub precision: String,
    /// Whether the options [asked](super::PrecisionOptions::ask) for the lower precision by name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// The reason if the layer has a higher precision than requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The signal-to-noise ratio in 8 or 4 bits, in decibels: of the weight, and in `int8` also of the activation by
    /// its measured range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_to_noise: Option<f32>,
    /// The smallest and the largest value of its output in the samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f32; 2]>,
    /// The time in the model's own precision, if [times](PrecisionReport::before) were requested and the engine
    /// reports the layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<LayerCost>,
    /// The time in the requested precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<LayerCost>,
    /// The types that the engine's kernels of this layer read and write, as the backend names them. Within a kernel,
    /// other types are possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine: Vec<String>,
}

/// The time of the kernels of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerCost {
    /// The microseconds of all kernels that compute the layer. These kernels may also compute other layers.
    pub micros: f64,
    /// The number of other layers that these kernels compute.
    pub shared_with: usize,
}

/// The time of all layers of a model one after another. Overlapping layers take less time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelCost {
    /// Microseconds of all kernels, each counted once.
    pub micros: f64,
    /// The microseconds of kernels that compute no layer of the report, such as kernels for integers.
    pub elsewhere: f64,
}

impl Layer {
    /// Whether the layer has fewer than 16 bits.
    pub fn is_quantized(&self) -> bool {
        matches!(self.precision.as_str(), "int8" | "fp8" | "int4")
    }

    /// Whether the lower precision was requested by name but not used.
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

/// The precision of a model's layers, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrecisionReport {
    /// The requested precision.
    pub precision: Precision,
    /// The reason if the model did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The layers that compute with floats. If the list is empty, no layer changed.
    pub layers: Vec<Layer>,
    /// The time of all layers in the model's own precision, if [times were
    /// requested](crate::OptimizeOptions::time_layers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ModelCost>,
    /// The time of all layers in the requested precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<ModelCost>,
    /// The reason if the requested times are missing.
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

    /// The layers for which the lower precision was requested by name but not used.
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
    /// [`ErrorKind::InvalidArgument`] if the report cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| {
            let error = Error::new(ErrorKind::InvalidArgument, e.to_string());
            error.in_operation("precision report").with_source(e)
        })
    }

    /// Writes the report as JSON. The file is either complete or not written.
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
