//! The same models, as `traced!` reads them.

use std::rc::Rc;

use accelerant::candle::Traceable;
use accelerant::candle::mirror::Methods as _;
use accelerant::candle::mirror::core::{DType, Device, Module, ModuleT, Result, Tensor};
use accelerant::candle::mirror::nn::VarBuilder;

use crate::harness::{Case, Model, config, ids, image, noise};
use crate::models;

include!("probe.in");
include!("case.in");
include!("few.in");
