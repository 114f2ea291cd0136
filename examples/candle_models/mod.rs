//! Models as ordinary Candle code under `#[accelerant::trace]`. Weights have the names that
//! candle-transformers gives them, so its checkpoints load.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part")]

pub mod bert;
pub mod clip;
pub mod convnext;
pub mod dinov2;
pub mod distilbert;
pub mod llama;
pub mod mobilenet;
pub mod resnet;
pub mod transformer;
pub mod vit;
pub mod whisper;
