//! One form for every model that is read: each file here is one thing that files write in several
//! ways. [`open`](super::open) has the order.

pub(super) mod dense;
pub(super) mod functions;
pub(super) mod loops;
pub(super) mod names;
pub(super) mod optional;
pub(super) mod order;
pub(super) mod outputs;
pub(super) mod signature;
pub(super) mod sizes;
pub(super) mod weights;
