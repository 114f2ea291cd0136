//! candle_nn's layers. One whose parameters are known is candle's own; parameters that a forward
//! computes are operands of the same operation.

use candle_core::{D, DType, Result};
use candle_nn::{Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig};

use super::super::core::Module;
use crate::export::candle::layers::Forward;
use crate::export::candle::tensor_ops::TensorOps as _;
use crate::export::candle::traced::Traced;

/// Layers of a weight and perhaps a bias.
macro_rules! weighted {
    ($($name:ident($($config:ident: $type:ty)?), |$xs:ident, $weight:ident, $with:ident| $computed:expr;)*) => {$(
        #[doc = concat!("As [`candle_nn::", stringify!($name), "`].")]
        #[derive(Clone, Debug)]
        pub struct $name {
            weight: Traced,
            bias: Option<Traced>,
            $($config: $type,)?
            /// Where the parameters are known.
            candle: Option<candle_nn::$name>,
        }

        impl $name {
            /// From its parameters.
            pub fn new(
                weight: impl Into<Traced>,
                bias: Option<Traced>,
                $($config: $type)?
            ) -> Self {
                let weight = weight.into();
                let candle = match (weight.known(), bias.as_ref().map(Traced::known)) {
                    (Some(weight), None) => {
                        Some(candle_nn::$name::new(weight.clone(), None, $($config)?))
                    }
                    (Some(weight), Some(Some(bias))) => {
                        let bias = Some(bias.clone());
                        Some(candle_nn::$name::new(weight.clone(), bias, $($config)?))
                    }
                    _ => None,
                };
                Self { weight, bias, $($config,)? candle }
            }

            /// The weight.
            pub fn weight(&self) -> &Traced {
                &self.weight
            }

            /// The bias, if it has one.
            pub fn bias(&self) -> Option<&Traced> {
                self.bias.as_ref()
            }

            $(
                /// How it goes over its input.
                pub fn config(&self) -> &$type {
                    &self.$config
                }
            )?
        }

        impl From<candle_nn::$name> for $name {
            fn from(candle: candle_nn::$name) -> Self {
                Self {
                    weight: Traced::from_tensor(candle.weight().clone()),
                    bias: candle.bias().cloned().map(Traced::from_tensor),
                    $($config: *candle.config(),)?
                    candle: Some(candle),
                }
            }
        }

        impl Module for $name {
            fn forward(&self, $xs: &Traced) -> Result<Traced> {
                if let Some(candle) = &self.candle {
                    return Forward::forward(candle, $xs);
                }
                let ($weight, $with) = (&self.weight, self);
                let ys = $computed;
                match &self.bias {
                    None => Ok(ys),
                    Some(bias) => {
                        // Behind the channels of a convolution there are places.
                        let places = if stringify!($name) == "Linear" { 0 } else { ys.rank() - 2 };
                        let dims = [&[bias.dim(0)?][..], &[1, 1][..places]].concat();
                        ys.broadcast_add(&bias.reshape(dims)?)
                    }
                }
            }
        }
    )*};
}

weighted! {
    Linear(), |xs, weight, _with| xs.broadcast_matmul(&weight.t()?)?;
    Conv1d(config: Conv1dConfig), |xs, weight, with| {
        let config = with.config;
        xs.conv1d(weight, config.padding, config.stride, config.dilation, config.groups)?
    };
    Conv2d(config: Conv2dConfig), |xs, weight, with| {
        let config = with.config;
        xs.conv2d(weight, config.padding, config.stride, config.dilation, config.groups)?
    };
    ConvTranspose1d(config: ConvTranspose1dConfig), |xs, weight, with| {
        let ConvTranspose1dConfig { padding, output_padding, stride, dilation, groups } = with.config;
        xs.conv_transpose1d(weight, padding, output_padding, stride, dilation, groups)?
    };
    ConvTranspose2d(config: ConvTranspose2dConfig), |xs, weight, with| {
        let ConvTranspose2dConfig { padding, output_padding, stride, dilation } = with.config;
        xs.conv_transpose2d(weight, padding, output_padding, stride, dilation)?
    };
}

/// As [`candle_nn::Embedding`].
#[derive(Clone, Debug)]
pub struct Embedding {
    embeddings: Traced,
    hidden_size: usize,
    candle: Option<candle_nn::Embedding>,
}

impl Embedding {
    /// From its table.
    pub fn new(embeddings: Traced, hidden_size: usize) -> Self {
        let known = embeddings.known().cloned();
        let candle = known.map(|table| candle_nn::Embedding::new(table, hidden_size));
        Self { embeddings, hidden_size, candle }
    }

    /// The table.
    pub fn embeddings(&self) -> &Traced {
        &self.embeddings
    }

    /// The size of a row.
    pub fn hidden_size(&self) -> usize {
        self.hidden_size
    }
}

impl From<candle_nn::Embedding> for Embedding {
    fn from(candle: candle_nn::Embedding) -> Self {
        Self::new(Traced::from_tensor(candle.embeddings().clone()), candle.hidden_size())
    }
}

impl Module for Embedding {
    fn forward(&self, ids: &Traced) -> Result<Traced> {
        if let Some(candle) = &self.candle {
            return Forward::forward(candle, ids);
        }
        let mut dims = ids.dims().to_vec();
        dims.push(self.hidden_size);
        self.embeddings.index_select(&ids.flatten_all()?, 0)?.reshape(dims)
    }
}

/// As [`candle_nn::LayerNorm`].
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Traced,
    bias: Option<Traced>,
    remove_mean: bool,
    eps: f64,
}

impl LayerNorm {
    /// From its parameters.
    pub fn new(weight: Traced, bias: Traced, eps: f64) -> Self {
        Self { weight, bias: Some(bias), remove_mean: true, eps }
    }

    /// From a factor alone.
    pub fn new_no_bias(weight: Traced, eps: f64) -> Self {
        Self { weight, bias: None, remove_mean: true, eps }
    }

    /// From a factor, about zero.
    pub fn rms_norm(weight: Traced, eps: f64) -> Self {
        Self { weight, bias: None, remove_mean: false, eps }
    }

    /// The factors.
    pub fn weight(&self) -> &Traced {
        &self.weight
    }

    /// The summands, if it has them.
    pub fn bias(&self) -> Option<&Traced> {
        self.bias.as_ref()
    }

    /// What is added to the variance.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Whether the mean is taken off.
    pub fn remove_mean(&self) -> bool {
        self.remove_mean
    }

    fn candle(&self) -> Option<candle_nn::LayerNorm> {
        let weight = self.weight.known()?.clone();
        let bias = match &self.bias {
            Some(bias) => Some(bias.known()?.clone()),
            None => None,
        };
        Some(match (bias, self.remove_mean) {
            (Some(bias), true) => candle_nn::LayerNorm::new(weight, bias, self.eps),
            (None, true) => candle_nn::LayerNorm::new_no_bias(weight, self.eps),
            (None, false) => candle_nn::LayerNorm::rms_norm(weight, self.eps),
            // candle makes no such layer from parameters.
            (Some(_), false) => return None,
        })
    }
}

impl From<candle_nn::LayerNorm> for LayerNorm {
    fn from(candle: candle_nn::LayerNorm) -> Self {
        Self {
            weight: Traced::from_tensor(candle.weight().clone()),
            bias: candle.bias().cloned().map(Traced::from_tensor),
            remove_mean: candle.remove_mean(),
            eps: candle.eps(),
        }
    }
}

impl Module for LayerNorm {
    fn forward(&self, xs: &Traced) -> Result<Traced> {
        let width = xs.dim(D::Minus1)?;
        // Candle takes factors of any shape that can be broadcast, where there is no bias.
        if let (Some(candle), [factors]) = (self.candle(), self.weight.dims())
            && *factors == width
        {
            return Forward::forward(&candle, xs);
        }
        let dtype = xs.dtype();
        let xs = match dtype {
            DType::F16 | DType::BF16 => xs.to_dtype(DType::F32)?,
            _ => xs.clone(),
        };
        let xs = match self.remove_mean {
            true => xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?,
            false => xs,
        };
        let variance = (xs.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?;
        let xs = xs.broadcast_div(&variance.sqrt()?)?.to_dtype(dtype)?;
        let xs = xs.broadcast_mul(&self.weight)?;
        self.bias.as_ref().map_or(Ok(xs.clone()), |bias| xs.broadcast_add(bias))
    }
}

/// As [`candle_nn::RmsNorm`].
#[derive(Clone, Debug)]
pub struct RmsNorm(LayerNorm);

impl RmsNorm {
    /// From its factors.
    pub fn new(weight: Traced, eps: f64) -> Self {
        Self(LayerNorm::rms_norm(weight, eps))
    }

    /// As a layer normalization.
    pub fn into_inner(self) -> LayerNorm {
        self.0
    }

    /// The factors.
    pub fn weight(&self) -> &Traced {
        &self.0.weight
    }

    /// What is added to the mean square.
    pub fn eps(&self) -> f64 {
        self.0.eps
    }

    /// As [`forward`](Module::forward).
    ///
    /// # Errors
    /// Candle's own.
    pub fn forward_diff(&self, xs: &Traced) -> Result<Traced> {
        self.0.forward(xs)
    }
}

impl From<candle_nn::RmsNorm> for RmsNorm {
    fn from(candle: candle_nn::RmsNorm) -> Self {
        Self(candle.into_inner().into())
    }
}

impl Module for RmsNorm {
    fn forward(&self, xs: &Traced) -> Result<Traced> {
        match self.0.weight.known() {
            Some(weight) => {
                Forward::forward(&candle_nn::RmsNorm::new(weight.clone(), self.0.eps), xs)
            }
            None => self.0.forward(xs),
        }
    }
}

/// Layers whose parameters are always known.
macro_rules! known {
    ($($name:ident of $candle:ty;)*) => {$(
        #[doc = concat!("As [`candle_nn::", stringify!($name), "`].")]
        #[derive(Clone, Debug)]
        pub struct $name($candle);

        impl From<$candle> for $name {
            fn from(candle: $candle) -> Self {
                Self(candle)
            }
        }
    )*};
}

known! {
    GroupNorm of crate::export::candle::layers::GroupNorm;
    PReLU of candle_nn::PReLU;
}

impl GroupNorm {
    /// From parameters that are known.
    ///
    /// # Errors
    /// When `num_groups` does not divide `num_channels`, and for parameters that a forward computes.
    pub fn new(
        weight: Traced,
        bias: Traced,
        num_channels: usize,
        num_groups: usize,
        eps: f64,
    ) -> Result<Self> {
        let (weight, bias) = (weight.into_tensor()?, bias.into_tensor()?);
        let layer = crate::export::candle::layers::GroupNorm::new(
            weight,
            bias,
            num_channels,
            num_groups,
            eps,
        )?;
        Ok(Self(layer))
    }
}

impl Module for GroupNorm {
    fn forward(&self, xs: &Traced) -> Result<Traced> {
        Forward::forward(&self.0, xs)
    }
}

impl Module for PReLU {
    fn forward(&self, xs: &Traced) -> Result<Traced> {
        Forward::forward(&self.0, xs)
    }
}

impl PReLU {
    /// From its slopes, which are known.
    ///
    /// # Panics
    /// When a forward computes them.
    pub fn new(weight: Traced, is_scalar: bool) -> Self {
        let weight = weight.into_tensor().expect("the slopes are known");
        Self(candle_nn::PReLU::new(weight, is_scalar))
    }
}
