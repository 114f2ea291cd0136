//! One model on several devices, for one profile alone, and for tensors in device memory.

use std::sync::Arc;

use super::{InferenceModule, Inner};
use crate::backend::{DeviceExecutable, Engine, Executable};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::limited::limited;
use crate::runtime::live::Live;

impl InferenceModule {
    /// Loads the same model on several devices, counted from 0.
    ///
    /// A run on host tensors goes to the least busy device. If a device fails, the run goes to the next device, and
    /// the failed device comes last for a second. A run on tensors in device memory goes to the device of the tensors.
    ///
    /// If the model is already loaded on one of the devices, both modules share the loaded model. On the other
    /// devices, the model is loaded with the options of this module's backend.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty list, or a device that is listed twice; else as
    /// [`Backend::load_on`](crate::backend::Backend::load_on).
    pub fn on_devices(&self, ordinals: &[usize]) -> Result<Self> {
        self.replicate(ordinals).map_err(|e| e.in_operation("replicas"))
    }

    /// The same model [on all devices](Self::on_devices) that the backend has.
    ///
    /// # Errors
    /// As [`on_devices`](Self::on_devices).
    pub fn on_all_devices(&self) -> Result<Self> {
        let count = self.0.origin.backend.devices().map_err(|e| e.in_operation("replicas"))?;
        self.on_devices(&(0..count).collect::<Vec<_>>())
    }

    /// A module that uses only one of the engine's [optimization profiles], by its name. Without this call, a run uses
    /// the first profile that matches. The new module shares the loaded model, and has its own contexts.
    ///
    /// [optimization profiles]: crate::backend::Engine::profile_names
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the names of the profiles.
    pub fn for_profile(&self, name: &str) -> Result<Self> {
        let Inner { loaded, origin, .. } = &*self.0;
        let of = |replica: &Arc<Live>| {
            let load = |_: Option<&Engine>| replica.for_profile(name).map(Arc::from);
            origin.places.add(replica.asked_ordinal(), Some(name), load)
        };
        let loaded = loaded.iter().map(of).collect::<Result<_>>()?;
        Ok(Self::of(loaded, origin.clone(), Some(name.to_owned())))
    }

    fn replicate(&self, ordinals: &[usize]) -> Result<Self> {
        let twice = |(i, ordinal): (usize, &usize)| ordinals[..i].contains(ordinal);
        if ordinals.is_empty() || ordinals.iter().enumerate().any(twice) {
            let text = format!("the devices must be some, and each another: {ordinals:?}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let Inner { loaded, origin, profile, .. } = &*self.0;
        let load = |&ordinal: &usize| {
            let there = loaded.iter().find(|replica| replica.device_on(ordinal).is_some());
            if let Some(replica) = there {
                return Ok(replica.clone());
            }
            origin.places.add(Some(ordinal), profile.as_deref(), |engine| {
                let engine = engine.unwrap_or(&origin.engine);
                let executable = origin.backend.load_on(engine, ordinal)?;
                let executable = match profile {
                    Some(name) => executable.for_profile(name)?,
                    None => executable,
                };
                Ok(limited(executable.into(), origin.longest_run))
            })
        };
        let loaded = ordinals.iter().map(load).collect::<Result<_>>()?;
        Ok(Self::of(loaded, origin.clone(), profile.clone()))
    }

    /// The interface for tensors in device memory, if the backend supports such tensors.
    pub fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device()
    }

    /// As [`device`](Self::device), for one of [its devices](Self::on_devices), counted from 0.
    pub fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device_on(ordinal)
    }
}
