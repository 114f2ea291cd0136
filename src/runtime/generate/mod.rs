//! Text from language models, token by token: a decoder's engines, the caches that they write, and the choice of tokens. The
//! export makes the graphs.

#[cfg(feature = "cuda")]
mod device;
mod generation;
mod host;
mod module;
mod options;
mod sampling;
mod session;
mod text;

pub use generation::{Batch, End, Generation};
pub use module::DecoderModule;
pub use options::GenerateOptions;
pub use sampling::Sampler;
pub use text::TextGeneration;
