//! A new engine against the model that it was made of, before a cache or a file has the engine.

use std::sync::Arc;

use super::options::OptimizeOptions;
use super::{InferenceModule, VerifyOptions};
use crate::backend::{Backend, Engine, Fingerprint};
use crate::error::Result;
use crate::export::OnnxModel;
use crate::progress::{Phase, phase};
use crate::tensor::HostTensor;

/// What a new engine is compared on, and how.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) samples: Vec<Vec<HostTensor>>,
    pub(super) options: VerifyOptions,
}

impl Samples {
    /// The same for the same samples and options.
    fn hash(&self) -> String {
        let mut all = blake3::Hasher::new();
        all.update(format!("{:?}", self.options).as_bytes());
        for tensor in self.samples.iter().flatten() {
            let head = format!("{} {:?}", tensor.dtype(), tensor.shape());
            all.update(head.as_bytes()).update(tensor.bytes());
        }
        all.finalize().to_hex().to_string()
    }
}

/// What new engines of one model are compared with.
pub(super) struct Check {
    source: OnnxModel,
    samples: Arc<Samples>,
    options: OptimizeOptions,
}

impl Check {
    /// Where the options ask for it, with the model in the form that every backend reads.
    pub(super) fn of(options: &OptimizeOptions, source: &OnnxModel) -> Option<Self> {
        let samples = options.samples()?.clone();
        Some(Self { source: source.clone(), samples, options: options.clone() })
    }

    /// An engine that was compared has another key than one that was not.
    pub(super) fn in_key(&self, fingerprint: Fingerprint) -> Fingerprint {
        fingerprint.with("verified on", self.samples.hash())
    }

    /// # Errors
    /// [`Execution`](crate::ErrorKind::Execution) where an output leaves its tolerance, and those of loading and running.
    pub(super) fn expect_right(&self, backend: &dyn Backend, engine: &Engine) -> Result<()> {
        phase(Phase::Verify, || {
            let backend = self.options.backends().get(&backend.kind())?.clone();
            let module = InferenceModule::loaded(engine.clone(), backend, &self.options)?;
            let Samples { samples, options } = &*self.samples;
            module.verify_against(&self.source, samples, options)?.expect()
        })
    }
}
