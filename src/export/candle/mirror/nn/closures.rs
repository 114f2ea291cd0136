//! Closures as layers, and layers in order.

use std::fmt;
use std::sync::Arc;

use candle_core::Result;

use super::super::core::{Module, ModuleT};
use crate::export::candle::model::{Inputs, Traceable};
use crate::export::candle::traced::Traced;

/// As [`candle_nn::Func`].
#[derive(Clone)]
#[allow(clippy::type_complexity)]
pub struct Func<'a>(Arc<dyn 'a + Fn(&Traced) -> Result<Traced> + Send + Sync>);

/// As [`candle_nn::FuncT`].
#[derive(Clone)]
#[allow(clippy::type_complexity)]
pub struct FuncT<'a>(Arc<dyn 'a + Fn(&Traced, bool) -> Result<Traced> + Send + Sync>);

/// As [`candle_nn::func`](fn@candle_nn::func).
pub fn func<'a, F: 'a + Fn(&Traced) -> Result<Traced> + Send + Sync>(f: F) -> Func<'a> {
    Func(Arc::new(f))
}

/// As [`candle_nn::func_t`].
pub fn func_t<'a, F: 'a + Fn(&Traced, bool) -> Result<Traced> + Send + Sync>(f: F) -> FuncT<'a> {
    FuncT(Arc::new(f))
}

impl<'a> Func<'a> {
    /// A layer that runs this.
    pub fn new<F: 'a + Fn(&Traced) -> Result<Traced> + Send + Sync>(f: F) -> Self {
        func(f)
    }
}

impl<'a> FuncT<'a> {
    /// A layer that runs this.
    pub fn new<F: 'a + Fn(&Traced, bool) -> Result<Traced> + Send + Sync>(f: F) -> Self {
        func_t(f)
    }
}

impl Module for Func<'_> {
    fn forward(&self, xs: &Traced) -> Result<Traced> {
        (self.0)(xs)
    }
}

impl ModuleT for FuncT<'_> {
    fn forward_t(&self, xs: &Traced, train: bool) -> Result<Traced> {
        (self.0)(xs, train)
    }
}

impl fmt::Debug for Func<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func")
    }
}

impl fmt::Debug for FuncT<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func_t")
    }
}

/// As [`candle_nn::Sequential`].
#[derive(Default)]
pub struct Sequential(Vec<Box<dyn Module>>);

/// As [`candle_nn::seq`].
pub fn seq() -> Sequential {
    Sequential::default()
}

impl Sequential {
    /// Number of layers.
    pub fn len(&self) -> i64 {
        self.0.len() as i64
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With one more layer.
    #[allow(clippy::should_implement_trait, reason = "candle's name")]
    pub fn add<M: Module + 'static>(mut self, layer: M) -> Self {
        self.0.push(Box::new(layer));
        self
    }

    /// With one more closure.
    pub fn add_fn<F>(self, f: F) -> Self
    where
        F: 'static + Fn(&Traced) -> Result<Traced> + Send + Sync,
    {
        self.add(Func::new(f))
    }

    /// What each layer gives.
    ///
    /// # Errors
    /// Those of the layers.
    pub fn forward_all(&self, xs: &Traced) -> Result<Vec<Traced>> {
        let mut all: Vec<Traced> = Vec::with_capacity(self.0.len());
        for layer in &self.0 {
            all.push(layer.forward(all.last().unwrap_or(xs))?);
        }
        Ok(all)
    }
}

impl Module for Sequential {
    fn forward(&self, xs: &Traced) -> Result<Traced> {
        self.0.iter().try_fold(xs.clone(), |xs, layer| layer.forward(&xs))
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequential of {}", self.0.len())
    }
}

macro_rules! exported {
    ($($layer:ty: |$this:ident, $xs:ident| $forward:expr;)*) => {$(
        impl Traceable for $layer {
            fn trace(&self, inputs: &mut Inputs<'_>) -> Result<Vec<Traced>> {
                let ($this, $xs) = (self, inputs.take_only("xs")?);
                inputs.finish()?;
                Ok(vec![$forward?])
            }
        }
    )*};
}

exported! {
    Func<'_>: |this, xs| this.forward(xs);
    FuncT<'_>: |this, xs| this.forward_t(xs, false);
    Sequential: |this, xs| this.forward(xs);
}
