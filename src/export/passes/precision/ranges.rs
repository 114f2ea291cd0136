//! What was measured of a model's values on samples: how far they reach. Saved and read as JSON. How it is measured is
//! in `runtime/calibration`.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Graph;
use crate::files::write_atomic;

const READ: &str = "read ranges";

/// How far a value reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Range {
    /// The least element.
    pub min: f32,
    /// The greatest element. Infinite ones are stated as the largest finite number.
    pub max: f32,
    /// The mean of the finite elements.
    pub mean: f32,
    /// Their standard deviation.
    pub deviation: f32,
    /// The magnitude that 8 bits reach to; what is beyond is cut off.
    pub limit: f32,
}

impl Range {
    /// A range by its numbers.
    pub const fn new(min: f32, max: f32, mean: f32, deviation: f32, limit: f32) -> Self {
        Self { min, max, mean, deviation, limit }
    }

    /// The largest magnitude.
    pub const fn largest(&self) -> f32 {
        self.min.abs().max(self.max.abs())
    }
}

/// The ranges of a model's values, by name.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Ranges {
    method: String,
    samples: usize,
    values: BTreeMap<String, Range>,
}

impl Ranges {
    /// Ranges that were measured elsewhere.
    pub fn new(
        method: impl Into<String>,
        samples: usize,
        values: impl IntoIterator<Item = (String, Range)>,
    ) -> Self {
        let (method, values) = (method.into(), values.into_iter().collect());
        Self { method, samples, values }
    }

    /// How limits were found.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// On how many samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The range of a value.
    pub fn get(&self, name: &str) -> Option<&Range> {
        self.values.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Range)> {
        self.values.iter().map(|(name, range)| (name.as_str(), range))
    }

    /// Writes them as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, e.to_string()).with_source(e))?;
        write_atomic(path.as_ref(), |file| std::io::Write::write_all(file, text.as_bytes()))
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::InvalidArgument`] for another file, and for ranges that are none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let ranges: Self = serde_json::from_str(&text).map_err(|e| {
            let text = format!("{} holds no ranges: {e}", path.display());
            Error::new(ErrorKind::InvalidArgument, text).in_operation(READ).with_source(e)
        })?;
        ranges.check().map_err(|e| e.in_operation(READ))?;
        Ok(ranges)
    }

    /// Refuses ranges that are none.
    fn check(&self) -> Result<()> {
        for (name, range) in &self.values {
            let Range { min, max, mean, deviation, limit } = *range;
            let finite = [min, max, mean, deviation, limit].iter().all(|v| v.is_finite());
            if !finite || min > max || deviation < 0.0 || limit < 0.0 {
                let text = format!("{range:?} is no range");
                return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(name));
            }
        }
        Ok(())
    }

    /// Refuses ranges that are none, and those of another model.
    pub(super) fn expect_of(&self, graph: &Graph) -> Result<()> {
        self.check().map_err(|e| e.in_operation("precision"))?;
        let mut names = graph.nodes.iter().flat_map(|node| &node.output);
        if names.any(|name| self.values.contains_key(name)) {
            return Ok(());
        }
        let text = "the ranges are of another model: none is of a value of this one";
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("precision"))
    }
}
