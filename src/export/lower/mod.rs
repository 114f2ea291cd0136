//! Operations that the exports of both frameworks write in the same way, with more than one operator.

mod flip;
mod recurrent;
mod scatter;
mod windows;

pub(super) use flip::flip;
pub(super) use recurrent::{Recurrent, RecurrentKind, batch_first};
pub(super) use scatter::{Combined, as_indices, combine, gather_elements, scatter_elements};
pub(super) use windows::windows;
