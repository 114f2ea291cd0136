//! How each layer of candle_nn is recorded: candle's checks with candle's texts, then one step.

use candle_core::quantized::QMatMul;
use candle_core::{DType, Error as CandleError, Result, Tensor};
use candle_nn::{Activation, BatchNorm, Embedding, LayerNorm, Linear, PReLU, RmsNorm};

use super::recurrent::{Cell, Sequence};
use super::{GroupNorm, NnLayer};
use crate::error::{Error, ErrorKind};
use crate::export::candle::error::to_candle;
use crate::export::candle::tape::{Op, Recurrent, Unary};
use crate::export::candle::tensor_ops::TensorOps;
use crate::export::candle::traced::Traced;
use crate::export::lower::RecurrentKind;

/// Records a layer on a traced tensor.
pub(in crate::export::candle) fn record(layer: NnLayer<'_>, xs: &Traced) -> Result<Traced> {
    match layer {
        NnLayer::Activation(layer) => activation(*layer, xs),
        NnLayer::BatchNorm(layer) => batch_norm(layer, xs),
        NnLayer::Conv1d(layer) => {
            let config = layer.config();
            let numbers = [config.padding, config.stride, config.dilation, config.groups];
            conv(xs, "conv1d", (layer.weight(), layer.bias()), numbers)
        }
        NnLayer::Conv2d(layer) => {
            let config = layer.config();
            let numbers = [config.padding, config.stride, config.dilation, config.groups];
            conv(xs, "conv2d", (layer.weight(), layer.bias()), numbers)
        }
        NnLayer::ConvTranspose1d(layer) => {
            let config = layer.config();
            let (padding, extra) = (config.padding, config.output_padding);
            let numbers = [padding, extra, config.stride, config.dilation, config.groups];
            conv_transpose(xs, "conv_transpose1d", (layer.weight(), layer.bias()), numbers)
        }
        NnLayer::ConvTranspose2d(layer) => {
            let config = layer.config();
            let (padding, extra) = (config.padding, config.output_padding);
            let numbers = [padding, extra, config.stride, config.dilation, 1];
            conv_transpose(xs, "conv_transpose2d", (layer.weight(), layer.bias()), numbers)
        }
        NnLayer::Embedding(layer) => embedding(layer, xs),
        NnLayer::GroupNorm(layer) => group_norm(layer, xs),
        NnLayer::LayerNorm(layer) => layer_norm(layer, xs),
        NnLayer::Linear(layer) => linear(layer, xs),
        NnLayer::PReLU(layer) => prelu(layer, xs),
        NnLayer::QMatMul(layer) => q_matmul(layer, xs),
        NnLayer::RmsNorm(layer) => rms_norm(layer, xs),
    }
}

fn activation(activation: Activation, xs: &Traced) -> Result<Traced> {
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
    normed(xs, &inputs, Op::BatchNorm { eps: layer.eps() })
}

fn layer_norm(layer: &LayerNorm, xs: &Traced) -> Result<Traced> {
    let width = xs.dim(candle_core::D::Minus1)?;
    if layer.weight().dims() != [width] {
        let (lhs, rhs) = (xs.shape().clone(), layer.weight().shape().clone());
        return Err(CandleError::ShapeMismatchBinaryOp { lhs, rhs, op: "layer-norm" });
    }
    let name = xs.layer_name("layer_norm");
    let mut inputs = vec![xs.parameter(&name, "weight", layer.weight())];
    inputs.extend(layer.bias().map(|bias| xs.parameter(&name, "bias", bias)));
    if layer.remove_mean() {
        return normed(xs, &inputs, Op::LayerNorm { eps: layer.eps() });
    }
    let bias = inputs.split_off(1);
    let normed = normed(xs, &inputs, Op::RmsNorm { eps: layer.eps() })?;
    bias.first().map_or(Ok(normed.clone()), |bias| normed.broadcast_add(bias))
}

fn rms_norm(layer: &RmsNorm, xs: &Traced) -> Result<Traced> {
    let width = xs.dim(candle_core::D::Minus1)?;
    if layer.weight().dims() != [width] {
        candle_core::bail!(
            "shape mismatch in rms-norm {:?} {:?}",
            xs.shape(),
            layer.weight().shape()
        )
    }
    let weight = xs.parameter(&xs.layer_name("rms_norm"), "weight", layer.weight());
    xs.normalized(&[&weight], Op::RmsNorm { eps: layer.eps() })
}

/// Candle's checks, with its texts.
fn group_norm(layer: &GroupNorm, xs: &Traced) -> Result<Traced> {
    if xs.rank() <= 2 {
        candle_core::bail!("input rank for GroupNorm should be at least 3");
    }
    let (channels, expected) = (xs.dim(1)?, layer.num_channels());
    if channels != expected {
        candle_core::bail!("unexpected num-channels in GroupNorm ({channels} <> {expected}")
    }
    let name = xs.layer_name("group_norm");
    let weight = xs.parameter(&name, "weight", layer.weight());
    let bias = xs.parameter(&name, "bias", layer.bias());
    let op = Op::GroupNorm { groups: layer.num_groups(), eps: layer.eps() };
    xs.normalized(&[&weight, &bias], op)
}

fn q_matmul(layer: &QMatMul, xs: &Traced) -> Result<Traced> {
    let weight = match layer {
        QMatMul::Tensor(weight) => weight,
        QMatMul::TensorF16(weight) => weight,
        QMatMul::QTensor(weight) => {
            let text = format!(
                "the weight is quantized ({:?} {:?}), which cannot be exported; load the layer \
                 with dequantized weights",
                weight.dtype(),
                weight.shape()
            );
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            let name = xs.layer_path("q_matmul");
            return Err(to_candle(error.in_operation("QMatMul").on_tensor(name), "while tracing"));
        }
    };
    let half = matches!(layer, QMatMul::TensorF16(_));
    let xs16 = if half { xs.to_dtype(DType::F16)? } else { xs.clone() };
    let name = xs.layer_name("q_matmul");
    let weight = xs.parameter(&name, "weight", weight);
    xs16.broadcast_matmul(&weight.t()?)?.to_dtype(xs.dtype())
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

fn conv_transpose(
    xs: &Traced,
    kind: &str,
    (weight, bias): (&Tensor, Option<&Tensor>),
    numbers: [usize; 5],
) -> Result<Traced> {
    let name = xs.layer_name(kind);
    let weight = xs.parameter(&name, "weight", weight);
    let bias = bias.map(|bias| xs.parameter(&name, "bias", bias));
    xs.conv_transpose(&weight, bias.as_ref(), numbers)
}

fn normed(xs: &Traced, parameters: &[Traced], op: Op) -> Result<Traced> {
    xs.normalized(&parameters.iter().collect::<Vec<_>>(), op)
}

fn linear(layer: &Linear, xs: &Traced) -> Result<Traced> {
    let weight = layer.weight();
    let (outputs, inputs) = weight.dims2()?;
    let fits = matches!(xs.rank(), 2..=4) && xs.dims().last() == Some(&inputs);
    if !fits {
        let (lhs, rhs) = (xs.shape().clone(), (inputs, outputs).into());
        return Err(CandleError::ShapeMismatchBinaryOp { lhs, rhs, op: "matmul" });
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
        return Err(CandleError::UnsupportedDTypeForOp(xs.dtype(), "index-select"));
    }
    let table = xs.parameter(&xs.layer_name("embedding"), "weight", layer.embeddings());
    let dims = [xs.dims(), &[layer.hidden_size()]].concat();
    if table.dims2()?.1 != layer.hidden_size() {
        let (lhs, rhs) = (table.shape().clone(), dims.into());
        return Err(CandleError::ShapeMismatchBinaryOp { lhs, rhs, op: "reshape" });
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

/// Records an LSTM or GRU over a whole sequence, checked as each of candle's steps is.
pub(in crate::export::candle) fn record_sequence(
    cell: &Cell,
    xs: &Traced,
    initial: &[&Traced],
) -> Result<Sequence<Traced>> {
    let (batch, length, features) = xs.dims3()?;
    let (_, inputs) = cell.w_ih.dims2()?;
    if features != inputs {
        let (lhs, rhs) = ((batch, features).into(), cell.w_ih.t()?.shape().clone());
        return Err(CandleError::ShapeMismatchBinaryOp { lhs, rhs, op: "matmul" });
    }
    for state in initial {
        if state.dims() != [batch, cell.hidden] {
            let (lhs, rhs) = (state.shape().clone(), (batch, cell.hidden).into());
            return Err(CandleError::ShapeMismatchBinaryOp { lhs, rhs, op: "matmul" });
        }
    }
    let name = xs.layer_name(match cell.kind {
        RecurrentKind::Gru { .. } => "gru",
        RecurrentKind::Lstm => "lstm",
    });
    let mut parameters = vec![
        xs.parameter(&name, "weight_ih", &cell.w_ih),
        xs.parameter(&name, "weight_hh", &cell.w_hh),
    ];
    parameters.extend(cell.b_ih.iter().map(|bias| xs.parameter(&name, "bias_ih", bias)));
    parameters.extend(cell.b_hh.iter().map(|bias| xs.parameter(&name, "bias_hh", bias)));
    let operands: Vec<&Traced> =
        [xs].into_iter().chain(&parameters).chain(initial.iter().copied()).collect();
    for operand in &operands[1..] {
        xs.same_dtype(operand, "matmul")?;
    }
    let biases = [cell.b_ih.is_some(), cell.b_hh.is_some()];
    let layer = Recurrent { kind: cell.kind, hidden: cell.hidden, biases, cell: false };
    let dims = vec![batch, length, cell.hidden];
    let hidden = Traced::record(Op::Recurrent(layer), &operands, xs.dtype(), dims);
    let last = (cell.kind == RecurrentKind::Lstm).then(|| {
        let op = Op::Recurrent(Recurrent { cell: true, ..layer });
        Traced::record(op, &operands, xs.dtype(), vec![batch, cell.hidden])
    });
    Ok(Sequence { hidden, cell: last })
}
