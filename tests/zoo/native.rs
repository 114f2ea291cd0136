//! The models of candle-transformers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{DType, Device, IndexOp, Module, ModuleT, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models;

use crate::harness::{Case, Model, codes, config, ids, image, mask, noise, two_texts};

macro_rules! stands {
    ($model:ident) => {
        None::<Rc<dyn accelerant::candle::Traceable>>
    };
}

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
