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
include!("pictures.in");
include!("senses.in");
include!("texts.in");

pub(crate) fn all() -> Vec<Case<Tensor>> {
    [decoders(), pictures(), senses(), texts()].into_iter().flatten().collect()
}
