//! Normalization by the mean and variance of a training, and convolutions that take it up.

use candle_core::Result;

use super::super::core::ModuleT;
use super::layers::Conv2d;
use crate::export::candle::layers::Forward;
use crate::export::candle::tensor_ops::TensorOps as _;
use crate::export::candle::traced::Traced;

pub use super::make::batch_norm;
#[doc(no_inline)]
pub use candle_nn::batch_norm::*;

/// As [`candle_nn::BatchNorm`], whose parameters are always known.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    candle: candle_nn::BatchNorm,
    running_mean: Traced,
    running_var: Traced,
    weight_and_bias: Option<(Traced, Traced)>,
}

impl From<candle_nn::BatchNorm> for BatchNorm {
    fn from(candle: candle_nn::BatchNorm) -> Self {
        let traced = |tensor: &candle_core::Tensor| Traced::from_tensor(tensor.clone());
        Self {
            running_mean: traced(candle.running_mean()),
            running_var: traced(candle.running_var()),
            weight_and_bias: candle.weight_and_bias().map(|(w, b)| (traced(w), traced(b))),
            candle,
        }
    }
}

impl BatchNorm {
    /// From its parameters.
    ///
    /// # Errors
    /// When their sizes differ, and for parameters that a forward computes.
    pub fn new(
        num_features: usize,
        running_mean: Traced,
        running_var: Traced,
        weight: Traced,
        bias: Traced,
        eps: f64,
    ) -> Result<Self> {
        let (mean, var) = (running_mean.into_tensor()?, running_var.into_tensor()?);
        let (weight, bias) = (weight.into_tensor()?, bias.into_tensor()?);
        candle_nn::BatchNorm::new(num_features, mean, var, weight, bias, eps).map(Self::from)
    }

    /// From a mean and a variance alone.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn new_no_bias(
        num_features: usize,
        running_mean: Traced,
        running_var: Traced,
        eps: f64,
    ) -> Result<Self> {
        let (mean, var) = (running_mean.into_tensor()?, running_var.into_tensor()?);
        candle_nn::BatchNorm::new_no_bias(num_features, mean, var, eps).map(Self::from)
    }

    /// The running mean.
    pub fn running_mean(&self) -> &Traced {
        &self.running_mean
    }

    /// The running variance.
    pub fn running_var(&self) -> &Traced {
        &self.running_var
    }

    /// The factors and the summands, if it has them.
    pub fn weight_and_bias(&self) -> Option<(&Traced, &Traced)> {
        self.weight_and_bias.as_ref().map(|(weight, bias)| (weight, bias))
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.candle.eps()
    }

    /// As candle's in training, which changes the running mean and variance.
    ///
    /// # Errors
    /// Candle's own, and for a tensor that is traced.
    pub fn forward_train(&self, xs: &Traced) -> Result<Traced> {
        match xs.known() {
            Some(xs) => self.candle.forward_train(xs).map(Traced::from_tensor),
            None => candle_core::bail!("a batch normalization in training cannot be exported"),
        }
    }

    /// How much of the newest batch a running mean takes up.
    pub fn momentum(&self) -> f64 {
        self.candle.momentum()
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, xs: &Traced, train: bool) -> Result<Traced> {
        match train {
            true => self.forward_train(xs),
            false => Forward::forward(&self.candle, xs),
        }
    }
}

impl Conv2d {
    /// This convolution and a normalization behind it, as one.
    ///
    /// # Errors
    /// When the normalization has no weight.
    pub fn absorb_bn(&self, bn: &BatchNorm) -> Result<Self> {
        let Some((w_bn, b_bn)) = bn.weight_and_bias() else {
            candle_core::bail!("batch norm does not have weight_and_bias")
        };
        let std = w_bn.div(&(bn.running_var() + bn.eps())?.sqrt()?)?;
        let (outputs, _, _, _) = self.weight().dims4()?;
        let weight = self.weight().broadcast_mul(&std.reshape((outputs, 1, 1, 1))?)?;
        let mean = bn.running_mean();
        let bias = match self.bias() {
            None => b_bn.sub(&std.mul(mean)?)?,
            Some(bias) => b_bn.add(&std.mul(&bias.sub(mean)?)?)?,
        };
        Ok(Self::new(weight, Some(bias), *self.config()))
    }
}
