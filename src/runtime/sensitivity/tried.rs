//! What became of each precision that was tried.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::export::precision::Precision;

/// What became of one precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tried {
    /// The precision.
    pub precision: Precision,
    /// What is lost, as the metric counts it; with layers that stay in half precision, where it has some. None where
    /// that was not measured, since it is not faster.
    pub drop: Option<f64>,
    /// How many layers stay in half precision because of what they lose, or because they are not faster.
    pub in_half: usize,
    /// The median of the milliseconds of a call: on tensors in device memory, where a GPU is.
    pub milliseconds: Option<f64>,
    /// The layers of the same sizes that were timed by themselves, where all together are not faster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<TimedGroup>,
    /// How many engines were built to be timed.
    #[serde(default)]
    pub built: usize,
    /// How many models were compared with 32 bits.
    #[serde(default)]
    pub compared: usize,
    /// Why it cannot be chosen.
    pub error: Option<String>,
    /// Why it was not tried, or not to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// Layers of the same sizes that were timed: they alone had fewer bits than half precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimedGroup {
    /// The operator and the sizes of its weight, such as `MatMul 384 x 1536`.
    pub name: String,
    /// How many layers it has.
    pub layers: usize,
    /// The median of the milliseconds of a call.
    pub milliseconds: f64,
    /// Whether that is faster than the best before.
    pub faster: bool,
}

impl Tried {
    pub(super) const fn new(precision: Precision) -> Self {
        Self {
            precision,
            drop: None,
            in_half: 0,
            milliseconds: None,
            groups: Vec::new(),
            built: 0,
            compared: 0,
            error: None,
            left_out: None,
            chosen: false,
        }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.precision)?;
        if let Some(milliseconds) = self.milliseconds {
            write!(f, ", {milliseconds:.3} ms")?;
        }
        if let Some(drop) = self.drop {
            write!(f, ", loses {drop:.3e}")?;
        }
        if self.in_half > 0 {
            write!(f, ", {} layers in half precision", self.in_half)?;
        }
        if self.chosen {
            f.write_str(", chosen")?;
        }
        if let Some(reason) = &self.left_out {
            write!(f, ", left out: {reason}")?;
        }
        if let Some(error) = &self.error {
            write!(f, ", not possible: {error}")?;
        }
        for TimedGroup { name, layers, milliseconds, .. } in &self.groups {
            write!(f, "\n  {layers} of {name} alone: {milliseconds:.3} ms")?;
        }
        Ok(())
    }
}
