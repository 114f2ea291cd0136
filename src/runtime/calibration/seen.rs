//! What was seen of all values of a model, by some of the batches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::histogram::Histogram;
use super::threshold::Method;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

/// A histogram for each value.
pub(super) struct Seen {
    method: Method,
    /// Threads that look at values.
    threads: usize,
    pub(super) histograms: BTreeMap<String, Histogram>,
}

impl Seen {
    pub(super) const fn new(method: Method, threads: usize) -> Self {
        Self { method, threads, histograms: BTreeMap::new() }
    }

    /// Adds the inputs of one batch.
    pub(super) fn add_inputs(
        &mut self,
        specs: &[TensorSpec],
        tensors: &[HostTensor],
    ) -> Result<()> {
        let floats = specs.iter().zip(tensors).filter(|(spec, _)| spec.dtype == DType::F32);
        let views = floats.map(|(spec, tensor)| Ok((&*spec.name, tensor.view::<f32>()?)));
        let views = views.collect::<Result<Vec<_>>>()?;
        let values = views.iter().filter_map(|(name, view)| Some((*name, view.as_slice()?)));
        self.add(&values.collect())
    }

    /// Adds the values of one batch, the large ones first, on several threads.
    pub(super) fn add(&mut self, tensors: &BTreeMap<&str, &[f32]>) -> Result<()> {
        for name in tensors.keys().copied() {
            if !self.histograms.contains_key(name) {
                let new = Histogram::new(self.method.wants_counts());
                self.histograms.insert(name.to_owned(), new);
            }
        }
        let mut work = Vec::new();
        for (name, histogram) in &mut self.histograms {
            if let Some(values) = tensors.get(name.as_str()).copied() {
                work.push((name.as_str(), values, histogram));
            }
        }
        work.sort_by_key(|(_, values, _)| std::cmp::Reverse(values.len()));
        let threads = self.threads.min(work.len());
        let left = Mutex::new(work.into_iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let worker = || -> Result<()> {
            while let Some((name, values, histogram)) = next() {
                let wrong = |text| Error::new(ErrorKind::InvalidArgument, text).on_tensor(name);
                histogram.add(values).map_err(wrong)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
            let own = worker();
            let others = workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            own.and(others)
        })
    }

    /// Adds what other batches have shown.
    pub(super) fn merge(&mut self, other: Self) {
        for (name, histogram) in other.histograms {
            match self.histograms.get_mut(&name) {
                Some(own) => own.merge(histogram),
                None => drop(self.histograms.insert(name, histogram)),
            }
        }
    }
}
