//! Operators that tract 0.23 computes wrongly or not at all, and computes right in another form. `backend/tract/gaps` refuses
//! by name what has no other form.

mod gemm;
mod quantized_softmax;
mod recurrent;
mod slices;
mod slices_beyond;
mod squares;
mod squeezes;

/// Places along longer axes are not written out.
const LONGEST: usize = 1 << 24;

pub(in crate::export::passes) use gemm::GemmOfOtherTypes;
pub(in crate::export::passes) use quantized_softmax::SoftmaxOfQuantized;
pub(in crate::export::passes) use recurrent::RecurrentLayers;
pub(in crate::export::passes) use slices::SlicesInSteps;
pub(in crate::export::passes) use slices_beyond::SlicesBeyond;
pub(in crate::export::passes) use squares::SquaresOfIntegers;
pub(in crate::export::passes) use squeezes::SqueezedAxes;
