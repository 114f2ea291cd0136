//! Text from language models, token by token: a decoder's engines, the caches that they write, and the choice of tokens. The
//! export makes the graphs.

mod continuous;
#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "cuda")]
mod device_encoder;
#[cfg(feature = "cuda")]
mod device_memory;
mod encoder_decoder;
mod engines;
mod generation;
mod host;
mod host_caches;
mod module;
mod options;
mod rule;
mod sampling;
mod score;
mod session;
mod single;
mod spelled;
mod stream;
mod text;
mod whisper;

pub use continuous::{ContinuousBatcher, ContinuousCounters, ContinuousOptions};
pub use encoder_decoder::{EncoderDecoderModule, Source};
pub use generation::{Batch, End};
pub use module::DecoderModule;
pub use options::GenerateOptions;
pub use rule::LogitsRule;
pub use sampling::Sampler;
pub use score::perplexity;
pub use single::Generation;
pub use stream::GenerationStream;
pub use text::TextGeneration;
pub use whisper::{
    SAMPLES_A_SECOND, Segment, TranscribeOptions, Transcription, WhisperRules, WhisperTokens,
    log_mel, segments,
};
