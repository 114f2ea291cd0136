//! From a model to an engine: what a user asks, the profiles it is tuned for, and the builder. Nothing of running.

mod builder;
mod options;
mod profiles;
mod timings;
pub(crate) mod values;

pub use options::{LayerRanges, TensorRtOptions};
pub use profiles::Profiles;

pub(crate) use builder::{Plan, build, check, parser_error};
pub(crate) use profiles::place_of;
pub(crate) use timings::Timings;
