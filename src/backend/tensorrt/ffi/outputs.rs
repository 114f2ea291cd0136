//! Memory that C++ asks for in the middle of an execution, for outputs with a computed shape.

/// Gives memory to outputs whose shape is computed, and hears their shapes.
pub(crate) trait Outputs {
    /// Memory for an output, at a multiple of `alignment`; 0 when there is none.
    fn reserve(&mut self, output: usize, size: u64, alignment: u64) -> u64;

    /// Hears the sizes that TensorRT computed.
    fn shape_known(&mut self, output: usize, sizes: &[i64]);
}

/// The same as C++ sees it, as long as one call of it lasts.
pub(crate) struct OutputMemory<'a>(pub(crate) &'a mut dyn Outputs);

impl OutputMemory<'_> {
    pub(crate) fn reserve(&mut self, output: usize, size: u64, alignment: u64) -> u64 {
        self.0.reserve(output, size, alignment)
    }

    pub(crate) fn shape_known(&mut self, output: usize, sizes: &[i64]) {
        self.0.shape_known(output, sizes);
    }
}
