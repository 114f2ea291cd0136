//! Models as ordinary Candle code under `#[accelerant::trace]`. Weights have the names that
//! candle-transformers gives them, so its checkpoints load.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part")]

pub mod bert;
pub mod convnext;
pub mod llama;
pub mod resnet;
pub mod vit;
