//! What was measured of a model's values on samples: how far they reach. Saved and read as JSON. How it is measured is
//! in `runtime/calibration`.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Graph;
use crate::files::{open_plain, read_part, write_atomic};

const READ: &str = "read ranges";

/// Of ranges of a model, at least one in so many is of a value of the model: passes take out others.
const FEWEST: usize = 10;

/// Those of a million values have less.
const LARGEST: u64 = 256 << 20;

/// The range of a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Range {
    /// The smallest element.
    pub min: f32,
    /// The largest element. Infinity is stored as the largest finite number.
    pub max: f32,
    /// The mean of the finite elements.
    pub mean: f32,
    /// The standard deviation of the finite elements.
    pub deviation: f32,
    /// The largest magnitude in 8 bits; larger values are clipped.
    pub limit: f32,
}

impl Range {
    /// A range by its numbers.
    pub const fn new(min: f32, max: f32, mean: f32, deviation: f32, limit: f32) -> Self {
        Self { min, max, mean, deviation, limit }
    }

    /// Why it is no range; `None` for one that is.
    fn fault(&self) -> Option<&'static str> {
        let Self { min, max, mean, deviation, limit } = *self;
        // Means are sums of many.
        let slack = 1e-3 * self.largest();
        let least = if min > 0.0 { min } else { (-max).max(0.0) };
        match () {
            () if [min, max, mean, deviation, limit].iter().any(|v| !v.is_finite()) => {
                Some("not all numbers are finite")
            }
            () if min > max => Some("the least element is above the greatest"),
            () if deviation < 0.0 => Some("the deviation is below 0"),
            () if limit < 0.0 => Some("the limit is below 0"),
            // Infinite elements are in no mean.
            () if self.largest() == f32::MAX => None,
            () if mean < min - slack || mean > max + slack => {
                Some("the mean is outside of the elements")
            }
            () if limit < 0.9 * least => Some("the limit is below every element"),
            () => None,
        }
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
    /// Ranges from another measurement.
    pub fn new(
        method: impl Into<String>,
        samples: usize,
        values: impl IntoIterator<Item = (String, Range)>,
    ) -> Self {
        let (method, values) = (method.into(), values.into_iter().collect());
        Self { method, samples, values }
    }

    /// The method that found the limits.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The range of a value.
    pub fn get(&self, name: &str) -> Option<&Range> {
        self.values.get(name)
    }

    /// All ranges, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Range)> {
        self.values.iter().map(|(name, range)| (name.as_str(), range))
    }

    /// Writes the ranges as JSON. The file is either complete or not written.
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
    /// [`ErrorKind::Io`], also if the path is no regular file; [`ErrorKind::InvalidArgument`] for a file of another
    /// format, and for invalid ranges.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, size) = open_plain(path).map_err(|e| Error::io("read", path, e))?;
        if size > LARGEST {
            let text = format!("{} holds no ranges: it has {size} bytes", path.display());
            return Err(Error::new(ErrorKind::InvalidArgument, text).in_operation(READ));
        }
        let bytes = read_part(&file, 0, size as usize).map_err(|e| Error::io("read", path, e))?;
        let ranges: Self = serde_json::from_slice(&bytes).map_err(|e| {
            let text = format!("{} holds no ranges: {e}", path.display());
            Error::new(ErrorKind::InvalidArgument, text).in_operation(READ).with_source(e)
        })?;
        ranges.check().map_err(|e| e.in_operation(READ))?;
        Ok(ranges)
    }

    /// Refuses ranges that are none.
    fn check(&self) -> Result<()> {
        if self.samples == 0 {
            let text = "the ranges were measured on no samples";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        for (name, range) in &self.values {
            if let Some(why) = range.fault() {
                let text = format!("{range:?} is no range: {why}");
                return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(name));
            }
        }
        Ok(())
    }

    /// Refuses ranges that are none, and those of another model.
    pub(super) fn expect_of(&self, graph: &Graph) -> Result<()> {
        self.check().map_err(|e| e.in_operation("precision"))?;
        let ends: HashSet<&str> = graph
            .inputs
            .iter()
            .map(|input| &*input.name)
            .chain(graph.outputs.iter().map(|output| &*output.name))
            .collect();
        let made: HashSet<&str> =
            graph.nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let known = |names: &HashSet<&str>| {
            names.iter().filter(|name| self.values.contains_key(**name)).count()
        };
        let (all, computed) = (self.values.len(), known(&made));
        let of_any = known(&made.union(&ends).copied().collect());
        // Names such as `x` and `y` are of many models.
        let inner = known(&made.difference(&ends).copied().collect());
        let by_ends_alone = inner == 0 && all - of_any > of_any;
        if computed > 0 && !by_ends_alone && of_any * FEWEST >= all {
            return Ok(());
        }
        let which = match computed {
            0 => "none is of a value of this one".to_owned(),
            _ => format!("of {all} values, this one has {of_any}"),
        };
        let text = format!("the ranges are of another model: {which}");
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("precision"))
    }
}
