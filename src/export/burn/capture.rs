//! Forward passes recorded on a capture device: what runs, on which parameters, with which outputs.
//!
//! Inputs and parameters have type and sizes but no values while they are captured: a forward
//! function that reads one fails, instead of getting a number that is baked into the model; and a
//! capture costs no memory, whatever the sizes.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashSet,
    error, fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use ::burn::backend::capture::{CaptureError, TensorId};
use ::burn::module::Module;
use ::burn::tensor::{Device, FloatDType, IntDType};

use super::parameters::{Parameters, placeholders};
use super::tensors::{
    AnyTensor, BurnTensors, Lengths, Material, TensorPath, TensorSource, TensorVisitor,
};
use super::trace::CapturedPass;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;

/// A tensor of a value: its type, its sizes, and its name where the value gives one.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) dtype: DType,
    pub(super) sizes: Vec<usize>,
    pub(super) name: Option<String>,
}

/// The tensors of a value, in order, and the device of the first.
pub(super) fn describe(
    value: &impl BurnTensors,
) -> Result<(Vec<Described>, Lengths, Option<Device>)> {
    let (mut found, mut device) = (Vec::new(), None);
    let mut each = |place: &TensorPath<'_>, tensor: &dyn AnyTensor| {
        device.get_or_insert_with(|| tensor.device());
        let name = place.name();
        let dtype = tensor.dtype().map_err(|e| match &name {
            Some(name) => e.on_tensor(name),
            None => e,
        })?;
        found.push(Described { dtype, sizes: tensor.sizes(), name });
        Ok(())
    };
    let mut visitor = TensorVisitor::new(&mut each);
    value.visit(&mut visitor)?;
    let lengths = visitor.into_lengths();
    Ok((found, lengths, device))
}

/// A module and its forward function, to be captured any number of times.
pub(super) struct Capturer<'a, M, F> {
    pub(super) module: &'a M,
    pub(super) forward: &'a F,
    pub(super) parameters: &'a Parameters,
    pub(super) inputs: &'a [Described],
    pub(super) lengths: &'a Lengths,
    pub(super) types: Types,
}

/// What one capture gave: the operations, and what the outputs are called and made of.
pub(super) struct Captured {
    pub(super) trace: CapturedPass,
    pub(super) output_names: Vec<Option<String>>,
    pub(super) output_types: Vec<DType>,
    pub(super) output_lengths: Lengths,
}

/// What the forward function left behind.
#[derive(Default)]
struct Recorded {
    parameters: Vec<TensorId>,
    inputs: Vec<TensorId>,
    outputs: Vec<TensorId>,
    output_names: Vec<Option<String>>,
    output_types: Vec<DType>,
    output_lengths: Lengths,
}

impl<M: Module, F> Capturer<'_, M, F> {
    /// Runs the forward function on inputs of these sizes.
    pub(super) fn capture<I, O>(&self, sizes: &[Vec<usize>]) -> Result<Captured>
    where
        I: BurnTensors,
        O: BurnTensors,
        F: Fn(&M, I) -> O,
    {
        let PooledDevice { device, .. } = &PooledDevice::take(self.types)?;
        let recorded = RefCell::new(Ok(Recorded::default()));
        let scope = || {
            device.capture_scope(|scope| {
                let result = self.record(device, sizes);
                // A tensor may be returned twice; the boundary names it once. The inputs and
                // parameters are made within the scope, so that none is declared.
                let mut seen = HashSet::new();
                let outputs = result.as_ref().map_or(&[][..], |r: &Recorded| &r.outputs);
                let distinct: Vec<_> =
                    outputs.iter().copied().filter(|id| seen.insert(*id)).collect();
                *recorded.borrow_mut() = result;
                scope.complete([], distinct)
            })
        };
        let graph = catch_unwind(AssertUnwindSafe(scope)).map_err(|panic| panicked(&*panic))?;
        let recorded = recorded.into_inner()?;
        let graph = graph.map_err(refused)?;
        let Recorded { parameters, inputs, outputs, output_names, output_types, output_lengths } =
            recorded;
        let known = self.parameters.by_id(&parameters);
        let trace = CapturedPass::new(graph, inputs, sizes.to_vec(), outputs, known)?;
        Ok(Captured { trace, output_names, output_types, output_lengths })
    }

    fn record<I, O>(&self, device: &Device, sizes: &[Vec<usize>]) -> Result<Recorded>
    where
        I: BurnTensors,
        O: BurnTensors,
        F: Fn(&M, I) -> O,
    {
        let mut recorded = Recorded::default();
        let module = placeholders(self.module, self.parameters, device, &mut recorded.parameters)?;
        let described = self.inputs.iter().zip(sizes);
        let mut materials =
            described.map(|(input, sizes)| Material::Empty(input.dtype, sizes.clone()));
        let inputs = I::build(&mut TensorSource::new(device, self.lengths, &mut materials))?;
        let mut each = |_: &TensorPath<'_>, tensor: &dyn AnyTensor| {
            recorded.inputs.push(tensor.capture_id()?);
            Ok(())
        };
        inputs.visit(&mut TensorVisitor::new(&mut each))?;
        let outputs = (self.forward)(&module, inputs);
        let (ids, names) = (&mut recorded.outputs, &mut recorded.output_names);
        let types = &mut recorded.output_types;
        let mut each = |place: &TensorPath<'_>, tensor: &dyn AnyTensor| {
            names.push(place.name());
            ids.push(tensor.capture_id()?);
            types.push(tensor.dtype()?);
            Ok(())
        };
        let mut visitor = TensorVisitor::new(&mut each);
        outputs.visit(&mut visitor)?;
        recorded.output_lengths = visitor.into_lengths();
        Ok(recorded)
    }
}

/// A capture device of its own for the time of one capture, with the same default types as the
/// device of the model. Burn counts at most 65,536 of them in a process, so they are used again.
struct PooledDevice {
    device: Device,
    types: Types,
}

/// The types of floats and integers that a device makes when none is stated.
pub(super) type Types = (FloatDType, IntDType);

static POOL: Mutex<Vec<(Types, Device)>> = Mutex::new(Vec::new());

impl PooledDevice {
    fn take(types: Types) -> Result<Self> {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = pool.iter().position(|(known, _)| *known == types) {
            return Ok(Self { device: pool.swap_remove(free).1, types });
        }
        drop(pool);
        let device = Device::capture();
        let mut configured = Ok(());
        // A device is asked which types it has, which it can tell within a scope alone.
        let scope = device.capture_scope(|scope| {
            configured = device.clone().configure(types).map_err(|e| e.to_string());
            scope.complete([], [])
        });
        configured
            .and(scope.map(drop).map_err(|e| e.to_string()))
            .map_err(|text| Error::new(ErrorKind::DTypeMismatch, text).in_operation("capture"))?;
        Ok(Self { device, types })
    }
}

impl Drop for PooledDevice {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.push((self.types, self.device.clone()));
    }
}

const PANICKED: &str = "the forward panicked during the capture: ";

/// The cause of an error that stands for a panic of the forward function: the panic's own words.
#[derive(Debug)]
struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Panic {}

/// The help for a forward in which tensors of two devices meet.
const ON_ITS_DEVICE: &str =
    "a tensor is on another device; create constants on the device of an input, `x.device()`";

/// Whether an error stands for a panic of the forward function.
pub(super) fn is_panic(error: &Error) -> bool {
    error::Error::source(error).is_some_and(|source| source.is::<Panic>())
}

/// The error for a panic of the forward function.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    let (kind, told) = if text.contains("no concrete value")
        || text.contains("no initialized value")
    {
        let text = "the forward reads the value of a tensor, which is known only when the model runs: a graph \
                    cannot have control flow or sizes that depend on values; use tensor operations (`mask_where` \
                    selects by values), or read the value outside of the forward; Burn's functions `one_hot`, \
                    `argwhere`, `nonzero` and `all_close` read values too (`one_hot_fill` does not)";
        (ErrorKind::UnsupportedOperation, text.to_owned())
    } else {
        let elsewhere = ["not on the same device", "wrong backend", "unsupported dispatch"];
        let told = match elsewhere.iter().any(|told| text.contains(told)) {
            true => format!("{PANICKED}{ON_ITS_DEVICE}: {}", text.trim()),
            false => format!("{PANICKED}{}", text.trim()),
        };
        (ErrorKind::InvalidModel, told)
    };
    let error = Error::new(kind, told).in_operation("forward");
    match kind {
        // It would read the value at every size.
        ErrorKind::UnsupportedOperation => error,
        _ => error.with_source(Panic(text.trim().to_owned())),
    }
}

fn refused(error: CaptureError) -> Error {
    let text = match error {
        CaptureError::UndeclaredInput { .. } => {
            "it uses a tensor that was made outside of it, on another capture".to_owned()
        }
        error => error.to_string(),
    };
    Error::new(ErrorKind::InvalidModel, text).in_operation("forward")
}
