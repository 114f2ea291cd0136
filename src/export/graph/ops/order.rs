//! Values of an axis in order: the first few, or all.

use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Value;
use crate::spec::{DType, Dim};

impl Value {
    /// The first `count` values of an axis in order, and where each was, as i64. `size` gives the count when the model
    /// runs, as a 1-D tensor.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedOperation`] for a count of 0, and for more values than TensorRT orders.
    pub(crate) fn ordered(
        &self,
        axis: usize,
        count: &Dim,
        descending: bool,
        size: impl FnOnce() -> Result<Value>,
    ) -> Result<[Value; 2]> {
        let refused = |text: String| {
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            Err(error.in_operation("TopK").on_tensor(self.name()).at_axis(axis))
        };
        if count.max() == 0 {
            return refused("there is nothing to sort".into());
        }
        if let Some(most) = self.graph.target().most_sorted()
            && count.max() > most
        {
            return refused(format!(
                "TensorRT sorts no more than the first {most} values of an axis, and these are {}",
                count.max()
            ));
        }
        let mut dims = self.dims().to_vec();
        dims[axis] = count.clone();
        let outputs = [(self.dtype, dims.clone().into()), (DType::I64, dims.into())];
        let node = self.graph.node("TopK").input(self).input(&size()?).attr("axis", axis as i64);
        let node = node.attr("largest", i64::from(descending)).attr("sorted", 1);
        let mut outputs = node.outputs(outputs).build_all()?;
        let places = outputs.swap_remove(1);
        Ok([outputs.swap_remove(0), places])
    }
}
