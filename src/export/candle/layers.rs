//! Layers of candle_nn in a forward: the trait they share with models, and how each is recorded as
//! one step. Running them is candle's own work.

use candle_core::{Error, Result, Tensor};
use candle_nn::{
    Activation, BatchNorm, Conv1d, Conv2d, Dropout, Embedding, LayerNorm, Linear, PReLU, RmsNorm,
};

use super::tape::Op;
use super::tensor_ops::TensorOps;
use super::traced::Traced;

/// A model or layer whose forward is written once, for running and for exporting.
///
/// ```
/// use accelerant::candle::{Forward, TensorOps};
/// use candle_core::Result;
/// use candle_nn::{Conv2d, Linear};
///
/// struct Net {
///     conv: Conv2d,
///     head: Linear,
/// }
///
/// impl Forward for Net {
///     fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
///         let xs = self.conv.forward(xs)?.relu()?.max_pool2d(2)?;
///         self.head.forward(&xs.flatten_from(1)?)
///     }
/// }
/// ```
///
/// The layers of candle_nn whose parameters can be read implement it. [`BatchNorm`] and
/// [`Dropout`] do what they do in inference.
pub trait Forward {
    /// Runs on `xs`.
    ///
    /// # Errors
    /// Candle's own, such as shapes that do not fit.
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T>;
}

/// A layer of candle_nn, for [`TensorOps::layer`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Layer<'a> {
    /// An activation function.
    Activation(&'a Activation),
    /// Batch normalization with its running mean and variance.
    BatchNorm(&'a BatchNorm),
    /// A convolution of `[batch, channels, length]`.
    Conv1d(&'a Conv1d),
    /// A convolution of `[batch, channels, height, width]`.
    Conv2d(&'a Conv2d),
    /// Rows of a table by index.
    Embedding(&'a Embedding),
    /// Layer normalization along the last axis.
    LayerNorm(&'a LayerNorm),
    /// A fully connected layer.
    Linear(&'a Linear),
    /// The rectifier with a learned slope.
    PReLU(&'a PReLU),
    /// Root mean square normalization along the last axis.
    RmsNorm(&'a RmsNorm),
}

macro_rules! forward_for {
    ($($layer:ident),*) => {$(
        impl Forward for $layer {
            fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
                T::layer(Layer::$layer(self), xs)
            }
        }
    )*};
}

forward_for!(Activation, BatchNorm, Conv1d, Conv2d, Embedding, LayerNorm, Linear, PReLU, RmsNorm);

impl Forward for Dropout {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        Ok(xs.clone())
    }
}

impl<M: Forward> Forward for &M {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        (**self).forward(xs)
    }
}

impl<M: Forward> Forward for Option<M> {
    /// `None` gives its input back.
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.as_ref().map_or_else(|| Ok(xs.clone()), |layer| layer.forward(xs))
    }
}

/// Records a layer on a traced tensor.
pub(super) fn record(layer: Layer<'_>, xs: &Traced) -> Result<Traced> {
    match layer {
        Layer::Activation(layer) => activation(*layer, xs),
        Layer::BatchNorm(layer) => batch_norm(layer, xs),
        Layer::Conv1d(layer) => {
            let config = layer.config();
            let numbers = [config.padding, config.stride, config.dilation, config.groups];
            conv(xs, "conv1d", (layer.weight(), layer.bias()), numbers)
        }
        Layer::Conv2d(layer) => {
            let config = layer.config();
            let numbers = [config.padding, config.stride, config.dilation, config.groups];
            conv(xs, "conv2d", (layer.weight(), layer.bias()), numbers)
        }
        Layer::Embedding(layer) => embedding(layer, xs),
        Layer::LayerNorm(layer) => layer_norm(layer, xs),
        Layer::Linear(layer) => linear(layer, xs),
        Layer::PReLU(layer) => prelu(layer, xs),
        Layer::RmsNorm(layer) => {
            let weight = xs.parameter(&xs.layer_name("rms_norm"), "weight", layer.weight());
            norm(xs, vec![weight], Op::RmsNorm { eps: layer.eps() })
        }
    }
}

fn activation(activation: Activation, xs: &Traced) -> Result<Traced> {
    use super::tape::Unary;
    match activation {
        Activation::Gelu => xs.gelu_erf(),
        Activation::NewGelu | Activation::GeluPytorchTanh => xs.gelu(),
        Activation::Relu => xs.relu(),
        Activation::Relu2 => xs.relu()?.sqr(),
        Activation::Relu6 => xs.clamp(0f32, 6f32),
        Activation::Silu | Activation::Swish => xs.silu(),
        Activation::Sigmoid => xs.sigmoid(),
        Activation::HardSigmoid => xs.hard_sigmoid(),
        Activation::Swiglu => xs.swiglu(),
        Activation::Mish => xs.mish(),
        Activation::HardSwish => Ok(xs.unary(Unary::HardSwish)),
        Activation::Elu(alpha) => xs.elu(alpha),
        Activation::LeakyRelu(slope) => xs.leaky_relu(slope),
    }
}

fn batch_norm(layer: &BatchNorm, xs: &Traced) -> Result<Traced> {
    let features = layer.running_mean().dim(0)?;
    if xs.rank() < 2 {
        candle_core::bail!(
            "batch-norm input tensor must have at least two dimensions ({:?})",
            xs.shape()
        )
    }
    if xs.dim(1)? != features {
        candle_core::bail!(
            "batch-norm input doesn't have the expected number of features ({:?} <> {features})",
            xs.shape()
        )
    }
    let name = xs.layer_name("batch_norm");
    let (weight, bias) = match layer.weight_and_bias() {
        Some((weight, bias)) => (weight.clone(), bias.clone()),
        None => (layer.running_mean().ones_like()?, layer.running_mean().zeros_like()?),
    };
    let inputs = vec![
        xs.parameter(&name, "weight", &weight),
        xs.parameter(&name, "bias", &bias),
        xs.parameter(&name, "running_mean", layer.running_mean()),
        xs.parameter(&name, "running_var", layer.running_var()),
    ];
    norm(xs, inputs, Op::BatchNorm { eps: layer.eps() })
}

fn layer_norm(layer: &LayerNorm, xs: &Traced) -> Result<Traced> {
    let width = xs.dim(candle_core::D::Minus1)?;
    if layer.weight().dims() != [width] {
        let (lhs, rhs) = (xs.shape().clone(), layer.weight().shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "layer-norm" });
    }
    let name = xs.layer_name("layer_norm");
    let mut inputs = vec![xs.parameter(&name, "weight", layer.weight())];
    inputs.extend(layer.bias().map(|bias| xs.parameter(&name, "bias", bias)));
    if layer.remove_mean() {
        return norm(xs, inputs, Op::LayerNorm { eps: layer.eps() });
    }
    let bias = inputs.split_off(1);
    let normed = norm(xs, inputs, Op::RmsNorm { eps: layer.eps() })?;
    bias.first().map_or(Ok(normed.clone()), |bias| normed.broadcast_add(bias))
}

/// A step whose result has type and sizes of `xs`, with parameters of the same type.
fn norm(xs: &Traced, parameters: Vec<Traced>, op: Op) -> Result<Traced> {
    for parameter in &parameters {
        xs.same_dtype(parameter, "normalization")?;
    }
    let inputs: Vec<&Traced> = std::iter::once(xs).chain(&parameters).collect();
    Ok(Traced::record(op, &inputs, xs.dtype(), xs.dims().to_vec()))
}

fn conv(
    xs: &Traced,
    kind: &str,
    (weight, bias): (&Tensor, Option<&Tensor>),
    [padding, stride, dilation, groups]: [usize; 4],
) -> Result<Traced> {
    let name = xs.layer_name(kind);
    let weight = xs.parameter(&name, "weight", weight);
    let bias = bias.map(|bias| xs.parameter(&name, "bias", bias));
    xs.conv(&weight, bias.as_ref(), [padding, stride, dilation, groups])
}

fn linear(layer: &Linear, xs: &Traced) -> Result<Traced> {
    let weight = layer.weight();
    let (outputs, inputs) = weight.dims2()?;
    let fits = matches!(xs.rank(), 2..=4) && xs.dims().last() == Some(&inputs);
    if !fits {
        let (lhs, rhs) = (xs.shape().clone(), (inputs, outputs).into());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "matmul" });
    }
    let name = xs.layer_name("linear");
    let mut operands = vec![xs.parameter(&name, "weight", weight)];
    operands.extend(layer.bias().map(|bias| xs.parameter(&name, "bias", bias)));
    for operand in &operands {
        xs.same_dtype(operand, "matmul")?;
    }
    let mut dims = xs.dims().to_vec();
    *dims.last_mut().expect("the rank is 2 or more") = outputs;
    let operands: Vec<&Traced> = std::iter::once(xs).chain(&operands).collect();
    Ok(Traced::record(Op::Linear, &operands, xs.dtype(), dims))
}

fn embedding(layer: &Embedding, xs: &Traced) -> Result<Traced> {
    if !xs.dtype().is_int() {
        return Err(Error::UnsupportedDTypeForOp(xs.dtype(), "index-select"));
    }
    let table = xs.parameter(&xs.layer_name("embedding"), "weight", layer.embeddings());
    let dims = [xs.dims(), &[layer.hidden_size()]].concat();
    if table.dims2()?.1 != layer.hidden_size() {
        let (lhs, rhs) = (table.shape().clone(), dims.into());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "reshape" });
    }
    Ok(Traced::record(Op::Embedding, &[xs, &table], table.dtype(), dims))
}

fn prelu(layer: &PReLU, xs: &Traced) -> Result<Traced> {
    let (weight, count) = (layer.weight(), layer.weight().elem_count());
    // The shape with which candle multiplies, so that ONNX broadcasts alike.
    let shape: Vec<usize> = if layer.is_scalar() {
        vec![1]
    } else if xs.shape() == weight.shape() || xs.rank() < 2 {
        weight.dims().to_vec()
    } else if xs.dim(1)? == count {
        std::iter::once(count).chain(xs.dims()[2..].iter().map(|_| 1)).collect()
    } else {
        let channels = xs.dim(1)?;
        candle_core::bail!(
            "error in prelu: unexpected number of channels for the input, got {channels}, weight dim is {count}"
        )
    };
    let name = xs.layer_name("prelu");
    let weight = xs.parameter(&name, "weight", &weight.reshape(shape)?);
    xs.same_dtype(&weight, "prelu")?;
    Ok(Traced::record(Op::Prelu, &[xs, &weight], xs.dtype(), xs.dims().to_vec()))
}
