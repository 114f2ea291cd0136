//! The same models, as `traced!` reads them.

use std::rc::Rc;

use accelerant::candle::Traceable;
use accelerant::candle::mirror::Methods as _;
use accelerant::candle::mirror::core::{DType, Device, Module, ModuleT, Result, Tensor};
use accelerant::candle::mirror::nn::VarBuilder;

use crate::harness::{Case, Model, config, ids, image, noise};
use crate::models;

/// Whether a model is exported without a closure: the method of a reference less deep is found
/// first.
struct Probe<M>(Rc<M>);

trait AsItStands {
    fn stands(&self) -> Option<Rc<dyn Traceable>>;
}

impl<M: Traceable + 'static> AsItStands for Probe<M> {
    fn stands(&self) -> Option<Rc<dyn Traceable>> {
        Some(self.0.clone())
    }
}

trait WithClosure {
    fn stands(&self) -> Option<Rc<dyn Traceable>>;
}

impl<M> WithClosure for &Probe<M> {
    fn stands(&self) -> Option<Rc<dyn Traceable>> {
        None
    }
}

macro_rules! stands {
    ($model:ident) => {
        (&Probe($model.clone())).stands()
    };
}

include!("case.in");
include!("few.in");
