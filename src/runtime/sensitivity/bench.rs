//! The forward passes of a search, on a backend without a GPU: what a model loses beside what it gives in 32 bits.

use std::cell::{Cell, OnceCell};

use super::{Metric, rounded};
use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::limit::TimeLimit;
use crate::tensor::HostTensor;

/// A model in 32 bits with samples.
pub(super) struct Bench<'a> {
    pub(super) model: &'a OnnxModel,
    registry: &'a Registry,
    batches: &'a [Vec<HostTensor>],
    limit: Option<TimeLimit>,
    expected: OnceCell<Vec<Vec<HostTensor>>>,
    compared: Cell<usize>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        model: &'a OnnxModel,
        registry: &'a Registry,
        batches: &'a [Vec<HostTensor>],
        limit: Option<TimeLimit>,
    ) -> Self {
        let (expected, compared) = (OnceCell::new(), Cell::new(0));
        Self { model, registry, batches, limit, expected, compared }
    }

    /// How many models were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared.get()
    }

    /// Refuses a metric, and samples, that say nothing: before anything else is built, the results of 32 bits are compared
    /// with themselves.
    pub(super) fn check(&self, metric: &Metric, max_drop: f64) -> Result<()> {
        let expected = self.expected()?;
        let drop = Self::worst(metric, expected, expected)?;
        if drop > max_drop {
            let text = format!(
                "the metric {} has a loss of {drop:.3e} between results that are the same, and {max_drop:.3e} may be lost",
                metric.name()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(())
    }

    /// What a model loses.
    pub(super) fn drop(&self, metric: &Metric, model: &OnnxModel) -> Result<f64> {
        let expected = self.expected()?;
        self.compared.set(self.compared() + 1);
        Self::worst(metric, &self.results(model)?, expected)
    }

    fn expected(&self) -> Result<&[Vec<HostTensor>]> {
        if let Some(known) = self.expected.get() {
            return Ok(known);
        }
        let results = self.results(self.model)?;
        Ok(self.expected.get_or_init(|| results))
    }

    fn worst(
        metric: &Metric,
        got: &[Vec<HostTensor>],
        expected: &[Vec<HostTensor>],
    ) -> Result<f64> {
        let mut most = 0f64;
        for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
            let drop = metric.drop(got, expected).map_err(|e| e.at_item(place))?;
            if drop.is_nan() {
                let text = format!("the metric {} gives no number (NaN)", metric.name());
                return Err(Error::new(ErrorKind::InvalidArgument, text).at_item(place));
            }
            most = most.max(drop);
        }
        Ok(most)
    }

    fn results(&self, model: &OnnxModel) -> Result<Vec<Vec<HostTensor>>> {
        let model = rounded::in_32_bits(model)?;
        let compiled = self.registry.compile(|_| Ok(model.clone()))?;
        let run = |batch: &[HostTensor]| match &self.limit {
            Some(limit) => compiled.executable.run_within(batch, limit),
            None => compiled.executable.run(batch),
        };
        let each = self.batches.iter().enumerate();
        each.map(|(place, batch)| run(batch).map_err(|e| e.at_item(place))).collect()
    }
}
