//! `candle_core` and `candle_nn` once more, over one tensor that both computes and traces: against
//! this, [`traced`](crate::traced) compiles modules of a dependency whose source it reads.
//!
//! [`Traced`](super::Traced) stands for candle's tensor here. What is done to weights alone, such as
//! by a constructor, candle computes at once; so it does in a forward on such a tensor, for which the
//! functions of a traced module run like those they were read from.
//!
//! [`nn::VarBuilder`] is made from candle's own with `.into()`, and [`core::Tensor`] too.
//!
//! What is not here is candle's own, in which a tensor is candle's too: its optimizers and losses,
//! quantized weights, readers of files.

mod convert;
pub mod core;
mod methods;
pub mod nn;
pub mod streaming;

pub use methods::Methods;

/// Crates that the source of models uses, for packages that do not depend on them.
#[doc(hidden)]
pub mod others {
    pub use {
        byteorder, fancy_regex, num_traits, rand, rayon, serde, serde_json, serde_plain, tracing,
    };
}
