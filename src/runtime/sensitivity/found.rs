//! What each layer loses, as JSON, as a picture and for people.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::svg;
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::Precision;
use crate::files::write_atomic;

/// What one layer loses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerDrop {
    /// The layer's name in the [report](crate::precision::PrecisionReport).
    pub name: String,
    /// What is lost where it alone is quantized, or its [part](crate::precision::Search::parts) of the model; none where that
    /// was not measured, since all together lose little enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// Whether it stays in half precision.
    pub in_half: bool,
}

impl LayerDrop {
    pub(super) fn new(name: &str, drop: f64, in_half: bool) -> Self {
        Self { name: name.to_owned(), drop: Some(drop), in_half }
    }

    pub(super) const fn unmeasured(name: String) -> Self {
        Self { name, drop: None, in_half: false }
    }
}

/// What a precision costs a model, layer by layer, the worst one first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sensitivity {
    /// What was asked.
    pub precision: Precision,
    /// How what is lost was counted.
    pub metric: String,
    /// How much may be lost.
    pub max_drop: f64,
    /// What is lost where all layers are quantized.
    pub drop_of_all: f64,
    /// What is lost with the layers that stay in half precision.
    pub drop: f64,
    /// The layers that can be quantized.
    pub layers: Vec<LayerDrop>,
}

impl Sensitivity {
    pub(super) fn new(precision: Precision, metric: &str, max_drop: f64, drop_of_all: f64) -> Self {
        let (metric, drop, layers) = (metric.to_owned(), drop_of_all, Vec::new());
        Self { precision, metric, max_drop, drop_of_all, drop, layers }
    }

    /// The layers that stay in half precision.
    pub fn in_half(&self) -> impl Iterator<Item = &LayerDrop> {
        self.layers.iter().filter(|layer| layer.in_half)
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the text cannot be made.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| {
            let error = Error::new(ErrorKind::InvalidArgument, e.to_string());
            error.in_operation("sensitivity").with_source(e)
        })
    }

    /// A picture in SVG: a bar a layer, dark where it stays in half precision.
    pub fn to_svg(&self) -> String {
        svg::bars(self)
    }

    /// Writes it whole or not at all: as a picture to a file that ends in `.svg`, else as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = match path.extension().is_some_and(|extension| extension == "svg") {
            true => self.to_svg(),
            false => self.to_json()?,
        };
        write_atomic(path, |file| std::io::Write::write_all(file, text.as_bytes()))
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { precision, metric, max_drop, drop_of_all, drop, layers } = self;
        let half = self.in_half().count();
        writeln!(
            f,
            "{precision}: {drop:.3e} lost by {metric}, {max_drop:.3e} allowed, {drop_of_all:.3e} with all; {half} of {} layers stay in half precision",
            layers.len()
        )?;
        for layer in layers {
            let form = if layer.in_half { "half" } else { precision.name() };
            match layer.drop {
                Some(drop) => writeln!(f, "  {drop:.3e} `{}`: {form}", layer.name)?,
                None => writeln!(f, "  `{}`: {form}", layer.name)?,
            }
        }
        Ok(())
    }
}
