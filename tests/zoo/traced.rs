//! The same models, as `traced!` reads them.

use std::cell::RefCell;
use std::sync::Arc;

use crate::harness::{Case, Model, codes, config, ids, image, mask, noise, two_texts};
use crate::models::models;

include!("../candle_transformers/traced.in");
include!("../candle_transformers/case.in");
include!("decoders.in");
include!("diffusion.in");
include!("pictures.in");
include!("senses.in");
include!("sounds.in");
include!("texts.in");

pub(crate) fn all() -> Vec<Case<Tensor>> {
    let all = [decoders(), diffusion(), pictures(), senses(), sounds(), texts()];
    all.into_iter().flatten().collect()
}
