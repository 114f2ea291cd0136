//! Layers in a row and closures as layers, as candle_nn has them, of parts that can be traced.

use std::fmt;
use std::sync::Arc;

use candle_core::{Module, ModuleT, Result, Tensor};

use super::Forward;
use crate::export::candle::tensor_ops::TensorOps;
use crate::export::candle::traced::Traced;

/// A [`Forward`] whose type is forgotten.
trait Part: Send + Sync {
    fn run(&self, xs: &Tensor) -> Result<Tensor>;
    fn trace(&self, xs: &Traced) -> Result<Traced>;
}

impl<M: Forward + Send + Sync> Part for M {
    fn run(&self, xs: &Tensor) -> Result<Tensor> {
        Forward::forward(self, xs)
    }

    fn trace(&self, xs: &Traced) -> Result<Traced> {
        Forward::forward(self, xs)
    }
}

/// Layers that run one after the other, as [`candle_nn::Sequential`].
///
/// ```
/// use accelerant::candle::{Forward, TensorOps, seq};
/// use candle_core::{DType, Device, Tensor};
///
/// let weight = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let net = seq().add(candle_nn::Linear::new(weight, None)).add_fn(|xs| xs.relu());
/// let x = Tensor::new(&[[1f32, 2.0, 3.0]], &Device::Cpu)?;
/// assert_eq!(net.forward(&x)?.to_vec2::<f32>()?, [[6.0, 6.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Sequential {
    layers: Vec<Arc<dyn Part>>,
}

/// A [`Sequential`] without layers, which gives its input back.
pub fn seq() -> Sequential {
    Sequential::default()
}

impl Sequential {
    /// Number of layers.
    pub fn len(&self) -> i64 {
        self.layers.len() as i64
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Appends a layer.
    #[allow(clippy::should_implement_trait, reason = "candle's name")]
    #[must_use]
    pub fn add<M: Forward + Send + Sync + 'static>(mut self, layer: M) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Appends a closure, as [`func`] takes it.
    #[must_use]
    pub fn add_fn<F>(self, f: F) -> Self
    where
        F: Fn(&Traced) -> Result<Traced> + Send + Sync + 'static,
    {
        self.add(func(f))
    }

    /// Runs on `xs` and returns what each layer gave.
    ///
    /// # Errors
    /// Those of the layers.
    pub fn forward_all<T: TensorOps>(&self, xs: &T) -> Result<Vec<T>> {
        let mut outputs: Vec<T> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            outputs.push(apply(&**layer, outputs.last().unwrap_or(xs))?);
        }
        Ok(outputs)
    }
}

fn apply<T: TensorOps>(part: &dyn Part, xs: &T) -> Result<T> {
    T::either(xs, |xs| part.run(xs), |xs| part.trace(xs))
}

impl Forward for Sequential {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.layers.iter().try_fold(xs.clone(), |xs, layer| apply(&**layer, &xs))
    }
}

impl Module for Sequential {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Forward::forward(self, xs)
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequential({} layers)", self.layers.len())
    }
}

type Closure<'a> = dyn Fn(&Traced, bool) -> Result<Traced> + Send + Sync + 'a;

/// A closure as a layer, as [`candle_nn::Func`].
#[derive(Clone)]
pub struct Func<'a>(FuncT<'a>);

/// A closure with an argument for training, as [`candle_nn::FuncT`]. In a forward the argument is false.
#[derive(Clone)]
pub struct FuncT<'a>(Arc<Closure<'a>>);

/// A layer from a closure over a [`Traced`] tensor. If the layer runs on candle's tensors, the traced tensor holds a candle
/// tensor, and each method is candle's.
pub fn func<'a, F>(f: F) -> Func<'a>
where
    F: Fn(&Traced) -> Result<Traced> + Send + Sync + 'a,
{
    Func(func_t(move |xs, _| f(xs)))
}

/// As [`func`], for a closure with an argument for training.
pub fn func_t<'a, F>(f: F) -> FuncT<'a>
where
    F: Fn(&Traced, bool) -> Result<Traced> + Send + Sync + 'a,
{
    FuncT(Arc::new(f))
}

impl<'a> Func<'a> {
    /// As [`func`].
    pub fn new<F>(f: F) -> Self
    where
        F: Fn(&Traced) -> Result<Traced> + Send + Sync + 'a,
    {
        func(f)
    }
}

impl<'a> FuncT<'a> {
    /// As [`func_t`].
    pub fn new<F>(f: F) -> Self
    where
        F: Fn(&Traced, bool) -> Result<Traced> + Send + Sync + 'a,
    {
        func_t(f)
    }
}

impl Forward for Func<'_> {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        Forward::forward(&self.0, xs)
    }
}

impl Forward for FuncT<'_> {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let known = |xs: &Tensor| (self.0)(&Traced::from_tensor(xs.clone()), false)?.into_tensor();
        T::either(xs, known, |xs| (self.0)(xs, false))
    }
}

impl Module for Func<'_> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Forward::forward(self, xs)
    }
}

impl ModuleT for FuncT<'_> {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        (self.0)(&Traced::from_tensor(xs.clone()), train)?.into_tensor()
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
