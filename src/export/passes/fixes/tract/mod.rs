//! What tract 0.23 computes wrongly or not at all, and computes right in another form. What has no other form is
//! refused by name in `backend/tract/gaps`.

mod gemm;
mod recurrent;
mod squares;

pub(in crate::export::passes) use gemm::GemmOfOtherTypes;
pub(in crate::export::passes) use recurrent::RecurrentLayers;
pub(in crate::export::passes) use squares::SquaresOfIntegers;
