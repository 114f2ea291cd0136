//! The safe owner of a deserialized engine, bound to a device.

use std::{fmt, sync::Arc};

use cudarc::driver::CudaContext;
use cxx::{SharedPtr, UniquePtr};

use super::captures::loading;
use super::context::Context;
use super::failure::{Invalidity, execution, failure, not_deserialized};
use super::ranges::{Range, Ranges};
use crate::backend::tensorrt::build::values;
use crate::backend::tensorrt::ffi::{self, Library, agrees, bind, dtype_name, sides};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Signature, TensorSpec};

/// Checks what the library reads of a plan without a device: the header that it wrote.
///
/// # Errors
/// As [`LoadedEngine::new`], but for what is of devices.
///
/// # Safety
/// The library must create its runtime without a driver.
pub(crate) unsafe fn check_header(library: &Library, plan: &[u8]) -> Result<()> {
    // SAFETY: the caller's promise.
    let runtime = unsafe { library.create_runtime() }?;
    Invalidity::of(&runtime, plan)?.check_bytes()
}

/// A deserialized engine on its device.
pub(crate) struct LoadedEngine {
    engine: SharedPtr<ffi::Engine>,
    device: Arc<CudaContext>,
}

impl LoadedEngine {
    /// Deserializes a plan.
    ///
    /// # Errors
    /// [`ErrorKind::EngineIncompatible`], [`ErrorKind::EngineCorrupt`] or [`ErrorKind::Device`], as
    /// the library tells.
    ///
    /// # Safety
    /// `plan` must be bytes that the library's flavor built.
    pub(crate) unsafe fn new(
        library: &Library,
        device: Arc<CudaContext>,
        plan: &[u8],
    ) -> Result<Self> {
        bind(&device)?;
        let _loading = loading();
        // SAFETY: the driver was initialized for the device.
        let runtime = unsafe { library.create_runtime() }?;
        let invalidity = Invalidity::of(&runtime, plan)?;
        invalidity.check_bytes()?;
        // SAFETY: the caller's promise.
        let engine = unsafe { runtime.deserialize(plan) };
        let engine = engine.map_err(|e| invalidity.explain(not_deserialized(&e)))?;
        Ok(Self { engine, device })
    }

    /// Checks that the engine has the inputs and outputs of `signature`.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`], naming the tensor.
    pub(crate) fn check(&self, signature: &Signature) -> Result<()> {
        let corrupt = |text: String| Error::new(ErrorKind::EngineCorrupt, text);
        let tensors = self.engine.tensors().map_err(|e| corrupt(e.what().into()))?;
        let (stated, found) = (signature.inputs.len() + signature.outputs.len(), tensors.len());
        if stated != found {
            return Err(corrupt(format!(
                "the engine has {found} inputs and outputs, its header {stated}"
            )));
        }
        for (spec, input) in sides(signature) {
            let Some(tensor) = tensors.iter().find(|t| t.name == spec.name && t.input == input)
            else {
                return Err(
                    corrupt("the engine has no such input or output".into()).on_tensor(&spec.name)
                );
            };
            if !agrees(spec, tensor) {
                let (dtype, dims) = (dtype_name(tensor.dtype), &tensor.dims);
                let text = format!(
                    "the engine has {dtype} {dims:?}, its header {} {}",
                    spec.dtype, spec.shape
                );
                return Err(corrupt(text).on_tensor(&spec.name));
            }
            match (tensor.on_host, input) {
                (true, true) => values::check(spec)?,
                (true, false) => {
                    let text = "TensorRT gives this output in host memory, which is not supported";
                    return Err(
                        Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(&spec.name)
                    );
                }
                (false, _) => {}
            }
        }
        self.ranges(signature, &self.deciding(signature)?).map(drop)
    }

    /// The places of the inputs whose values decide shapes.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`] with the library's words.
    pub(crate) fn deciding(&self, signature: &Signature) -> Result<Vec<usize>> {
        let tensors = self.engine.tensors().map_err(|e| {
            Error::new(ErrorKind::EngineCorrupt, e.what()).in_operation("load engine")
        })?;
        let on_host = |spec: &TensorSpec| {
            tensors.iter().any(|tensor| tensor.input && tensor.on_host && tensor.name == spec.name)
        };
        let inputs = signature.inputs.iter().enumerate();
        Ok(inputs.filter(|(_, spec)| on_host(spec)).map(|(i, _)| i).collect())
    }

    /// For each output the place of the input that it is written over, if it is.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`] with the library's words.
    pub(crate) fn aliased(&self, signature: &Signature) -> Result<Vec<Option<usize>>> {
        let tensors = self.engine.tensors().map_err(|e| {
            Error::new(ErrorKind::EngineCorrupt, e.what()).in_operation("load engine")
        })?;
        let place = |name: &str| signature.inputs.iter().position(|spec| spec.name == name);
        let input = |spec: &TensorSpec| {
            let own = tensors.iter().find(|tensor| !tensor.input && tensor.name == spec.name)?;
            place(&own.aliased)
        };
        Ok(signature.outputs.iter().map(input).collect())
    }

    /// The engine's optimization profiles. The sizes must be the range that the header states or, where
    /// there are several, lie in it.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`], naming the tensor.
    pub(crate) fn ranges(&self, signature: &Signature, deciding: &[usize]) -> Result<Ranges> {
        let mut ranges = Ranges::default();
        let dynamic = signature.inputs.iter().any(|spec| spec.shape.is_dynamic());
        if !dynamic && deciding.is_empty() {
            return Ok(ranges);
        }
        let count = self.profile_count();
        for profile in 0..count {
            let mut all = Range::default();
            let [all_min, all_max] = &mut all.sizes;
            for spec in &signature.inputs {
                let [min, _, max] = spec.shape.profile();
                let (min, max) = match spec.shape.is_dynamic() {
                    true => self.range(spec, profile, (min, max), count == 1)?,
                    false => (min, max),
                };
                all_min.extend(min);
                all_max.extend(max);
            }
            let [all_min, all_max] = &mut all.values;
            for &i in deciding {
                let name = &signature.inputs[i].name;
                let range = self.engine.profile_shape(name, profile as i32, true);
                let range = range
                    .map_err(|e| Error::new(ErrorKind::EngineCorrupt, e.what()).on_tensor(name))?;
                all_min.extend(range.min);
                all_max.extend(range.max);
            }
            ranges.push(all);
        }
        Ok(ranges)
    }

    /// The range of an input in a profile, which must be in the one that is stated, or just that.
    fn range(
        &self,
        spec: &TensorSpec,
        profile: usize,
        (min, max): (Vec<usize>, Vec<usize>),
        exactly: bool,
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        let corrupt =
            |text: String| Error::new(ErrorKind::EngineCorrupt, text).on_tensor(&spec.name);
        let shape = self.engine.profile_shape(&spec.name, profile as i32, false);
        let shape = shape.map_err(|e| corrupt(e.what().into()))?;
        let sizes = |built: &[i64]| -> Vec<usize> {
            built.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect()
        };
        let (least, most) = (sizes(&shape.min), sizes(&shape.max));
        let within = least.len() == min.len()
            && most.len() == max.len()
            && min.iter().zip(&least).all(|(stated, built)| stated <= built)
            && max.iter().zip(&most).all(|(stated, built)| stated >= built);
        if !within || (exactly && (least != min || most != max)) {
            return Err(corrupt(format!(
                "the engine takes {least:?} to {most:?}, its header {min:?} to {max:?}"
            )));
        }
        Ok((least, most))
    }

    /// A new context.
    ///
    /// # Errors
    /// [`ErrorKind::EngineIncompatible`] when this device cannot run the engine,
    /// [`ErrorKind::Device`] when it fails or its memory is full.
    ///
    /// # Safety
    /// Scratch memory that is given must be memory of this device of the size told, which outlives the
    /// context and is used by one execution at a time.
    pub(crate) unsafe fn create_context(&self, options: &ffi::ContextOptions) -> Result<Context> {
        bind(&self.device)?;
        // SAFETY: the caller's promise.
        let context = unsafe { self.engine.create_context(options) }.map_err(|e| {
            failure(&e, ErrorKind::EngineIncompatible).in_operation("create context")
        })?;
        Ok(Context::new(context, self.device.clone()))
    }

    /// Kernels that were kept and those that a context compiled, together; `None` where the first are of another
    /// machine.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn merge_kernels(
        &self,
        kept: &[u8],
        compiled: &[u8],
    ) -> Result<Option<UniquePtr<ffi::HostMemory>>> {
        bind(&self.device)?;
        let _loading = loading();
        let both = self.engine.merge_kernels(kept, compiled).map_err(|e| execution(&e))?;
        Ok((!both.is_null()).then_some(both))
    }

    /// How many optimization profiles it was built with.
    pub(crate) fn profile_count(&self) -> usize {
        self.engine.profile_count().max(0) as usize
    }

    /// Scratch memory of one context in bytes.
    pub(crate) fn scratch_bytes(&self) -> usize {
        self.engine.device_memory_size().max(0) as usize
    }

    /// All weights in bytes; 0 where the library does not tell.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.engine.weights_size().max(0) as usize
    }

    /// Leaves at most so many bytes of the weights that can be streamed on the device.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an engine that was not built for that, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn set_weight_budget(&mut self, bytes: u64) -> Result<()> {
        let streamable = u64::try_from(self.engine.streamable_weights()).unwrap_or(0);
        if streamable == 0 {
            let text = "the engine was built without `weight_streaming`, and all of its weights lie on the device";
            return Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("weight budget"));
        }
        bind(&self.device)?;
        let bytes = i64::try_from(bytes.min(streamable)).unwrap_or(i64::MAX);
        // SAFETY: `&mut self`: contexts are made from a shared engine, later.
        unsafe { self.engine.set_weight_budget(bytes) }.map_err(|e| execution(&e))
    }

    /// What exchanges the weights.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedOperation`] for an engine that was not built for that, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn create_refitter(&self) -> Result<UniquePtr<ffi::Refitter>> {
        if !self.engine.is_refittable() {
            let text = "the engine was built without `refit`";
            return Err(Error::new(ErrorKind::UnsupportedOperation, text));
        }
        bind(&self.device)?;
        self.engine.create_refitter().map_err(|e| execution(&e))
    }

    /// The plan as the engine is now.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn serialize(&self) -> Result<UniquePtr<ffi::HostMemory>> {
        bind(&self.device)?;
        self.engine.serialize().map_err(|e| execution(&e))
    }

    /// What the library tells of its layers, as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn layer_information(&self) -> Result<String> {
        self.engine.layer_information().map_err(|e| execution(&e))
    }
}

impl Drop for LoadedEngine {
    fn drop(&mut self) {
        // The library frees memory of the current device.
        let _ = self.device.bind_to_thread();
        let _loading = loading();
        self.engine = SharedPtr::null();
    }
}

impl fmt::Debug for LoadedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedEngine")
            .field("scratch_bytes", &self.scratch_bytes())
            .finish_non_exhaustive()
    }
}
