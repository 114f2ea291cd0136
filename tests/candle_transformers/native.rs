//! The models of candle-transformers.

use std::rc::Rc;

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models;

use crate::harness::{Case, Model, config, ids, image, noise};

macro_rules! stands {
    ($model:ident) => {
        None::<Rc<dyn accelerant::candle::Traceable>>
    };
}

include!("case.in");
include!("few.in");
