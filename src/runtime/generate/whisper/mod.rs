//! What Whisper needs around its model: features of sound, the rules of its timestamps, the stretches that they bound, and
//! windows for sound of any length.

mod language;
mod mel;
mod options;
mod rules;
mod segments;
mod tokens;
mod transcribe;
mod window;

pub use mel::{SAMPLES_A_SECOND, log_mel};
pub use options::TranscribeOptions;
pub use rules::WhisperRules;
pub use segments::{Segment, segments};
pub use tokens::WhisperTokens;
pub use transcribe::Transcription;
