//! Group normalization with parameters that can be read, which candle_nn's own keeps to itself.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// Group normalization, as [`candle_nn::GroupNorm`], of `[batch, channels, …]`.
///
/// This type holds candle's layer, which runs, and shares the parameters of that layer.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    candle: candle_nn::GroupNorm,
    weight: Tensor,
    bias: Tensor,
    num_channels: usize,
    num_groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// From parameters of size `num_channels`; as [`candle_nn::GroupNorm::new`].
    ///
    /// # Errors
    /// When `num_groups` does not divide `num_channels`.
    pub fn new(
        weight: Tensor,
        bias: Tensor,
        num_channels: usize,
        num_groups: usize,
        eps: f64,
    ) -> Result<Self> {
        if num_groups == 0 {
            candle_core::bail!("GroupNorm: there are no groups")
        }
        let candle =
            candle_nn::GroupNorm::new(weight.clone(), bias.clone(), num_channels, num_groups, eps)?;
        Ok(Self { candle, weight, bias, num_channels, num_groups, eps })
    }

    /// The factors, one a channel.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The summands, one a channel.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// Number of channels.
    pub fn num_channels(&self) -> usize {
        self.num_channels
    }

    /// Number of groups that the channels are divided into.
    pub fn num_groups(&self) -> usize {
        self.num_groups
    }

    /// The number that is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }
}

impl Module for GroupNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.candle.forward(xs)
    }
}

/// From a [`VarBuilder`]'s `weight` and `bias`; as [`candle_nn::group_norm()`].
///
/// # Errors
/// Those of the builder and of [`GroupNorm::new`].
pub fn group_norm(
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    vb: VarBuilder<'_>,
) -> Result<GroupNorm> {
    let weight = vb.get_with_hints(num_channels, "weight", Init::Const(1.0))?;
    let bias = vb.get_with_hints(num_channels, "bias", Init::Const(0.0))?;
    GroupNorm::new(weight, bias, num_channels, num_groups, eps)
}
