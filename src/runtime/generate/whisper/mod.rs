//! What Whisper needs around its model: features of sound, the rules of its timestamps, and the stretches that they bound.

mod mel;
mod rules;
mod segments;

pub use mel::{SAMPLES_A_SECOND, log_mel};
pub use rules::WhisperRules;
pub use segments::{Segment, segments};
