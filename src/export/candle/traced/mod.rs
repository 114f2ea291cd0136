//! The traced tensor: sizes and type without values, and a place on the tape. A file has a family of operations. An operation
//! on constants alone is candle's own.

mod creation;
mod elementwise;
mod host;
mod indexing;
mod ops;
mod reductions;
mod shapes;
mod windows;

pub(super) use host::refused;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Error, Result, Shape, Tensor};

use super::tape::{Op, Tape, Unary};
use super::tensor_ops::TensorOps;

/// Computes at once where all tensors are known.
macro_rules! known {
    ($f:expr; $($tensor:ident),+) => {
        if let ($(Some($tensor),)+) = ($($tensor.known(),)+) {
            return $f.map($crate::export::candle::Traced::from_tensor);
        }
    };
}
use known;

/// The tensor that stands in for candle's while a forward is traced: type and sizes, no values.
///
/// Operations on constants alone are computed at once, by candle.
#[derive(Clone)]
pub struct Traced(Repr);

#[derive(Clone)]
enum Repr {
    Constant(Tensor),
    /// Boxed behind an `Arc`, as candle's tensors are: clones are cheap.
    Step(Arc<TracedStep>),
}

struct TracedStep {
    tape: SharedTape,
    index: usize,
    shape: Shape,
    dtype: DType,
    device: Device,
}

/// A shared tape.
#[derive(Clone, Debug)]
pub(super) struct SharedTape(Arc<Mutex<Tape>>);

thread_local! {
    /// The tapes of the traces of symbolic sizes that run on this thread, the innermost last.
    static SYMBOLIC: RefCell<Vec<SharedTape>> = const { RefCell::new(Vec::new()) };

    /// How many traces run on this thread, one inside another.
    static TRACES: Cell<usize> = const { Cell::new(0) };
}

impl SharedTape {
    pub(super) fn new(device: Device) -> Self {
        Self(Arc::new(Mutex::new(Tape::new(device))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a forward whose sizes may follow symbols, so that tensors that it makes are steps.
    fn while_symbolic<R>(&self, forward: impl FnOnce() -> R) -> R {
        /// Also when the forward panics.
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                SYMBOLIC.with_borrow_mut(Vec::pop);
            }
        }
        SYMBOLIC.with_borrow_mut(|tapes| tapes.push(self.clone()));
        let _leave = Leave;
        forward()
    }

    /// Runs a forward that is traced, whose sizes are those of examples or of symbols.
    pub(super) fn while_tracing<R>(&self, symbolic: bool, forward: impl FnOnce() -> R) -> R {
        /// Also when the forward panics.
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                TRACES.set(TRACES.get() - 1);
            }
        }
        TRACES.set(TRACES.get() + 1);
        let _leave = Leave;
        match symbolic {
            true => self.while_symbolic(forward),
            false => forward(),
        }
    }

    /// Whether a forward is traced on this thread.
    pub(super) fn is_tracing() -> bool {
        TRACES.get() > 0
    }

    /// The tape of the trace of symbolic sizes on this thread.
    pub(super) fn symbolic() -> Option<Self> {
        SYMBOLIC.with_borrow(|tapes| tapes.last().cloned())
    }

    /// Adds a step without inputs, or from steps already on this tape.
    fn push(
        &self,
        op: Op,
        inputs: Vec<usize>,
        dtype: DType,
        dims: Vec<usize>,
        sizes: Vec<usize>,
    ) -> Traced {
        let mut tape = self.lock();
        let index = tape.push(op, inputs, dtype, dims.clone(), sizes);
        let device = tape.device.clone();
        drop(tape);
        let shape = Shape::from(dims);
        Traced(Repr::Step(Arc::new(TracedStep { tape: self.clone(), index, shape, dtype, device })))
    }

    /// Adds an input of the model.
    pub(super) fn input(&self, number: usize, dtype: DType, dims: Vec<usize>) -> Traced {
        self.push(Op::Input(number), Vec::new(), dtype, dims, Vec::new())
    }

    /// Puts a constant on the tape, so that what is done to it is a step.
    fn place(&self, tensor: &Tensor) -> Traced {
        let index = self.lock().constant(tensor, "constant");
        let (shape, dtype) = (tensor.shape().clone(), tensor.dtype());
        let device = tensor.device().clone();
        Traced(Repr::Step(Arc::new(TracedStep { tape: self.clone(), index, shape, dtype, device })))
    }

    /// The step of a tensor on this tape; a constant is put there.
    pub(super) fn index_of(&self, tensor: &Traced) -> Option<usize> {
        match &tensor.0 {
            Repr::Constant(constant) => Some(self.lock().constant(constant, "constant")),
            Repr::Step(step) => Arc::ptr_eq(&step.tape.0, &self.0).then_some(step.index),
        }
    }
}

impl Traced {
    /// The tensor, where the values are known.
    pub(super) fn known(&self) -> Option<&Tensor> {
        match &self.0 {
            Repr::Constant(tensor) => Some(tensor),
            Repr::Step(_) => None,
        }
    }

    /// For an operation whose result's sizes may follow a symbol though its input's do not: where
    /// there are symbols, it is a step also on a constant.
    fn placed(&self) -> Self {
        match (self.known(), SharedTape::symbolic()) {
            (Some(tensor), Some(tape)) => tape.place(tensor),
            _ => self.clone(),
        }
    }

    pub(super) fn from_tensor(tensor: Tensor) -> Self {
        Self(Repr::Constant(tensor))
    }

    /// The tensor of which this was made without a tape.
    pub(super) fn into_tensor(self) -> Result<Tensor> {
        match self.0 {
            Repr::Constant(tensor) => Ok(tensor),
            Repr::Step(_) => {
                candle_core::bail!("a closure gave a traced tensor that it kept from elsewhere")
            }
        }
    }

    fn tape(&self) -> Option<&SharedTape> {
        match &self.0 {
            Repr::Constant(_) => None,
            Repr::Step(step) => Some(&step.tape),
        }
    }

    /// A step that takes these tensors, one of which at least is on a tape. One kept from another
    /// trace is noted, and the trace refused when it ends.
    pub(super) fn record(op: Op, inputs: &[&Traced], dtype: DType, dims: Vec<usize>) -> Self {
        Self::record_sized(op, inputs, dtype, dims, Vec::new())
    }

    pub(super) fn record_sized(
        op: Op,
        inputs: &[&Traced],
        dtype: DType,
        dims: Vec<usize>,
        sizes: Vec<usize>,
    ) -> Self {
        let tape =
            inputs.iter().find_map(|input| input.tape()).expect("constants are computed at once");
        let indices = inputs.iter().map(|input| tape.index_of(input)).collect::<Option<Vec<_>>>();
        if indices.is_none() {
            let mut tape = tape.lock();
            let name = tape.path(&format!("{op:?}"));
            tape.foreign.get_or_insert(name);
        }
        tape.push(op, indices.unwrap_or_default(), dtype, dims, sizes)
    }

    /// A step whose result has type and sizes of this tensor.
    fn same(&self, op: Op) -> Self {
        Self::record(op, &[self], self.dtype(), self.dims().to_vec())
    }

    /// An elementwise step.
    pub(super) fn unary(&self, op: Unary) -> Self {
        self.same(Op::Unary(op))
    }

    /// A name for one more layer of a kind.
    pub(super) fn layer_name(&self, kind: &str) -> String {
        self.tape().map_or_else(|| kind.to_owned(), |tape| tape.lock().layer(kind))
    }

    /// A name for one more layer of a kind, behind the scopes it is in.
    pub(super) fn layer_path(&self, kind: &str) -> String {
        let name = self.layer_name(kind);
        self.tape().map_or(name.clone(), |tape| tape.lock().path(&name))
    }

    /// A parameter of a layer, named for it when it is seen first.
    pub(super) fn parameter(&self, layer: &str, name: &str, tensor: &Tensor) -> Self {
        if let Some(tape) = self.tape() {
            tape.lock().constant(tensor, &format!("{layer}.{name}"));
        }
        Self::from_tensor(tensor.clone())
    }

    pub(super) fn within<R>(&self, name: &str, f: impl FnOnce(&Self) -> R) -> R {
        /// Leaves the scope also when the forward panics.
        struct Leave<'a>(Option<&'a SharedTape>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                if let Some(tape) = self.0 {
                    tape.lock().leave();
                }
            }
        }
        if let Some(tape) = self.tape() {
            tape.lock().enter(name);
        }
        let _leave = Leave(self.tape());
        f(self)
    }

    pub(super) fn same_dtype(&self, other: &Self, op: &'static str) -> Result<()> {
        if self.dtype() == other.dtype() {
            return Ok(());
        }
        Err(Error::DTypeMismatchBinaryOp { lhs: self.dtype(), rhs: other.dtype(), op }.bt())
    }

    pub(super) fn shape_ref(&self) -> &Shape {
        match &self.0 {
            Repr::Constant(tensor) => tensor.shape(),
            Repr::Step(step) => &step.shape,
        }
    }

    pub(super) fn dtype_of(&self) -> DType {
        match &self.0 {
            Repr::Constant(tensor) => tensor.dtype(),
            Repr::Step(step) => step.dtype,
        }
    }

    pub(super) fn device_ref(&self) -> &Device {
        match &self.0 {
            Repr::Constant(tensor) => tensor.device(),
            Repr::Step(step) => &step.device,
        }
    }
}

impl AsRef<Traced> for Traced {
    fn as_ref(&self) -> &Traced {
        self
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traced({:?} {:?})", self.dtype_of(), self.shape_ref())
    }
}
