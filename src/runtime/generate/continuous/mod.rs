//! Continuous batching: requests for text that join and leave the passes of one batch at any step.
//!
//! - `batcher`: what a caller has.
//! - `in_flight`: the two ends of one request.
//! - `request`: a text that grows, with its own options.
//! - `queue`: requests that wait, with a bound.
//! - `worker`: the thread that makes the passes.
//! - `choice`: the choice of tokens for several texts at a time.

mod batcher;
mod choice;
mod in_flight;
mod queue;
mod request;
#[cfg(all(test, feature = "tract"))]
mod tests;
mod worker;

pub use batcher::{ContinuousBatcher, ContinuousCounters, ContinuousOptions};
pub(super) use in_flight::InFlight;
