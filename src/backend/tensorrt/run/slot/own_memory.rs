//! Memory of a slot's own, which stands in for tensors of the caller's: for inputs at unaligned addresses, and for all
//! tensors of an execution that must be a graph at addresses that were not captured.

use cudarc::driver::result;

use super::{Model, Slot, byte_len};
use crate::backend::ADDRESS_ALIGNMENT;
use crate::backend::tensorrt::ffi::device_error;
use crate::backend::tensorrt::run::counters::Counters;
use crate::backend::tensorrt::run::queue::Queue;
use crate::error::Result;
use crate::spec::Signature;

/// Tensors stand in for the caller's where all of them together take no more bytes than this. Larger ones are captured
/// where they are: a copy would take longer than a capture.
const MOST_STAGED: usize = 64 << 20;

/// A tensor to be copied to the slot's own memory, or from there.
pub(super) struct Copy {
    /// Its place among inputs and outputs.
    tensor: usize,
    from: u64,
    to: u64,
    len: usize,
    /// Whether it is copied although its address would do.
    staged: bool,
}

impl Slot {
    /// Gives every input an aligned address, and notes what must be copied there.
    pub(super) fn align(&mut self, signature: &Signature) -> Result<()> {
        self.copies.iter_mut().for_each(Vec::clear);
        let mut end = 0;
        for (i, spec) in signature.inputs.iter().enumerate() {
            let start = end;
            end += spec.shape.rank();
            if !self.addresses[i].is_multiple_of(ADDRESS_ALIGNMENT) {
                let len = byte_len(spec, &self.shapes.inputs[start..end])?;
                self.make_room(i, len).map_err(|e| e.on_tensor(&spec.name))?;
                self.copy_in(i, len, false);
            }
        }
        Ok(())
    }

    /// Has the execution work on the slot's own memory, to which inputs are copied and from which outputs are: what is
    /// captured there serves all addresses. Nothing changes where that takes too much memory.
    pub(super) fn stage(&mut self, model: &Model, counters: &Counters) -> Result<()> {
        let Model { signature, deciding, .. } = model;
        if model.aliased.iter().any(Option::is_some) {
            // What is written in place stays where it is: its addresses come back.
            return Ok(());
        }
        let inputs = signature.inputs.len();
        let mut lens = Vec::with_capacity(self.addresses.len());
        let mut end = 0;
        for spec in &signature.inputs {
            let start = end;
            end += spec.shape.rank();
            lens.push(byte_len(spec, &self.shapes.inputs[start..end])?);
        }
        for (spec, range) in signature.outputs.iter().zip(&self.shapes.ranges) {
            lens.push(byte_len(spec, &self.shapes.outputs[range.clone()])?);
        }
        if lens.iter().fold(0usize, |sum, &len| sum.saturating_add(len)) > MOST_STAGED {
            return Ok(());
        }
        let staged = || lens.iter().copied().enumerate().filter(|(i, _)| !deciding.contains(i));
        for (i, len) in staged() {
            if let Err(e) = self.make_room(i, len) {
                tracing::debug!(target: "accelerant::tensorrt", "captured where it is: {e}");
                return Ok(());
            }
        }
        for (i, len) in staged() {
            if i < inputs {
                self.copy_in(i, len, true);
            } else {
                let from = self.buffers[i].address();
                let to = std::mem::replace(&mut self.addresses[i], from);
                self.copies[1].push(Copy { tensor: i, from, to, len, staged: true });
            }
        }
        Counters::count(&counters.staged);
        Ok(())
    }

    /// Makes room for a tensor in the slot's own memory.
    fn make_room(&mut self, tensor: usize, len: usize) -> Result<()> {
        if !self.buffers[tensor].holds(len) {
            // Every work of this slot is in the order of the one before.
            let waited = self.order.done.synchronize();
            waited.map_err(|e| device_error("earlier work failed", e))?;
        }
        self.buffers[tensor].reserve_on_device(len)
    }

    /// Has an input copied to the slot's own memory before the execution, if that was not noted yet.
    fn copy_in(&mut self, tensor: usize, len: usize, staged: bool) {
        let to = self.buffers[tensor].address();
        let from = std::mem::replace(&mut self.addresses[tensor], to);
        if from != to {
            self.copies[0].push(Copy { tensor, from, to, len, staged });
        }
    }

    /// Enqueues copies.
    ///
    /// # Safety
    /// As for the execution that they belong to.
    pub(super) unsafe fn copy(
        &self,
        copies: &[Copy],
        signature: &Signature,
        queue: Queue,
        counters: &Counters,
    ) -> Result<()> {
        for &Copy { tensor, from, to, len, staged } in copies.iter().filter(|copy| copy.len > 0) {
            // SAFETY: `len` bytes on both sides; the copy and whoever uses our side later are in
            // the order of this slot.
            unsafe { result::memcpy_dtod_async(to, from, len, queue.raw()) }.map_err(|e| {
                let error = device_error("the tensor cannot be copied", e);
                let spec = signature.inputs.iter().chain(&signature.outputs).nth(tensor);
                spec.into_iter().fold(error, |error, spec| error.on_tensor(&spec.name))
            })?;
            if !staged {
                Counters::count(&counters.device_copies);
            }
        }
        Ok(())
    }
}
