//! Whole networks defined with `burn::nn`, for the tests and benches that export them. No test's
//! own code.

#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod bert;
pub mod convnext;
pub mod detection;
pub mod digits;
pub mod gpt;
pub mod minilm;
pub mod mobilenet;
pub mod recurrent;
pub mod resnet;
pub mod unet;
pub mod vit;
pub mod weights;
