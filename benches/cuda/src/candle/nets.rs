//! The networks in Candle, with random weights that are the same in every run, written over `TensorOps` so that the
//! same code runs natively and is traced.

use std::cell::Cell;

use accelerant::candle::{Forward, TensorOps};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Embedding, LayerNorm, Linear};

use crate::{Model, Precision};

/// Makes random weights of one type on one device.
pub(crate) struct Weights {
    device: Device,
    dtype: DType,
    state: Cell<u64>,
}

impl Weights {
    pub(crate) fn new(precision: Precision, device: &Device) -> Self {
        let dtype = match precision {
            Precision::F32 => DType::F32,
            Precision::F16 => DType::F16,
        };
        Self { device: device.clone(), dtype, state: Cell::new(0) }
    }

    fn place(&self, tensor: Tensor) -> Result<Tensor> {
        tensor.to_dtype(self.dtype)?.to_device(&self.device)
    }

    /// 64 random bits (splitmix64).
    fn next(&self) -> u64 {
        self.state.set(self.state.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mut z = self.state.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Close to normal: sums of four uniform numbers.
    fn normal(&self, shape: &[usize], deviation: f64) -> Result<Tensor> {
        // Four numbers of 16 bits have a variance of 2^32 / 3 together.
        let unit = deviation as f32 * (3f32.sqrt() / 65536.0);
        let value = |_| {
            let bits = self.next();
            let sum: i64 = (0..4).map(|i| (bits >> (16 * i) & 0xFFFF) as i64 - 32768).sum();
            sum as f32 * unit
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
        self.place(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    fn full(&self, value: f32, len: usize) -> Result<Tensor> {
        self.place(Tensor::full(value, len, &Device::Cpu)?)
    }

    fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = self.normal(&[outputs, inputs], (inputs as f64).powf(-0.5))?;
        Ok(Linear::new(weight, Some(self.full(0.0, outputs)?)))
    }

    fn layer_norm(&self, width: usize, epsilon: f64) -> Result<LayerNorm> {
        Ok(LayerNorm::new(self.full(1.0, width)?, self.full(0.0, width)?, epsilon))
    }

    fn embedding(&self, count: usize, width: usize) -> Result<Embedding> {
        Ok(Embedding::new(self.normal(&[count, width], 0.02)?, width))
    }
}

/// One of the networks.
pub(crate) enum Net {
    Digits(Digits),
    ResNet(ResNet),
    Bert(Bert),
    Vit(Vit),
}

impl Net {
    pub(crate) fn new(model: Model, weights: &Weights) -> Result<Self> {
        Ok(match model {
            Model::Digits => Self::Digits(Digits::new(weights)?),
            Model::ResNet50 => Self::ResNet(ResNet::new_50(weights)?),
            Model::BertBase => Self::Bert(Bert::new(weights, 768, 3072, 12)?),
            Model::MiniLm => Self::Bert(Bert::new(weights, 384, 1536, 6)?),
            Model::VitB16 => Self::Vit(Vit::base_16(weights)?),
        })
    }

    /// Random inputs of the network.
    pub(crate) fn inputs(&self, weights: &Weights, batch: usize) -> Result<Vec<Tensor>> {
        Ok(match self {
            Self::Digits(_) => vec![weights.normal(&[batch, 1, 8, 8], 1.0)?],
            Self::ResNet(_) | Self::Vit(_) => vec![weights.normal(&[batch, 3, 224, 224], 1.0)?],
            Self::Bert(_) => {
                let tokens: Vec<u32> =
                    (0..batch * LENGTH).map(|_| (weights.next() % 30000) as u32).collect();
                let tokens = Tensor::from_vec(tokens, (batch, LENGTH), &Device::Cpu)?;
                let mask = Tensor::ones((batch, LENGTH), DType::U32, &Device::Cpu)?;
                vec![tokens.to_device(&weights.device)?, mask.to_device(&weights.device)?]
            }
        })
    }

    pub(crate) fn forward<T: TensorOps>(&self, inputs: &[T]) -> Result<T> {
        match self {
            Self::Digits(net) => net.forward(&inputs[0]),
            Self::ResNet(net) => net.forward(&inputs[0]),
            Self::Vit(net) => net.forward(&inputs[0]),
            Self::Bert(net) => net.forward(&inputs[0], &inputs[1]),
        }
    }
}

const LENGTH: usize = 128;

/// The network of `examples/digits`.
pub(crate) struct Digits {
    convs: [Conv2d; 2],
    layers: [Linear; 2],
}

impl Digits {
    fn new(weights: &Weights) -> Result<Self> {
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        let conv = |inputs: usize, outputs: usize| {
            let weight = weights.normal(&[outputs, inputs, 3, 3], (inputs as f64 * 9.0).powf(-0.5));
            Ok::<_, candle_core::Error>(Conv2d::new(
                weight?,
                Some(weights.full(0.0, outputs)?),
                config,
            ))
        };
        Ok(Self {
            convs: [conv(1, 16)?, conv(16, 32)?],
            layers: [weights.linear(128, 64)?, weights.linear(64, 10)?],
        })
    }

    fn forward<T: TensorOps>(&self, images: &T) -> Result<T> {
        let x = self.convs[0].forward(images)?.relu()?.max_pool2d(2)?;
        let x = self.convs[1].forward(&x)?.relu()?.max_pool2d(2)?;
        self.layers[1].forward(&self.layers[0].forward(&x.flatten_from(1)?)?.relu()?)
    }
}

struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(
        w: &Weights,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Self> {
        let config = Conv2dConfig { padding: kernel / 2, stride, ..Default::default() };
        // He et al., "Delving Deep into Rectifiers", 2015.
        let deviation = (2.0 / (inputs * kernel * kernel) as f64).sqrt();
        let weight = w.normal(&[outputs, inputs, kernel, kernel], deviation)?;
        let (zeros, ones) = (w.full(0.0, outputs)?, w.full(1.0, outputs)?);
        let norm = BatchNorm::new(outputs, zeros.clone(), ones.clone(), ones, zeros, 1e-5)?;
        Ok(Self { conv: Conv2d::new(weight, None, config), norm })
    }

    /// With a smaller scale, so that values do not grow from block to block until Candle's average of
    /// them overflows in half precision.
    fn last_of_block(w: &Weights, inputs: usize, outputs: usize) -> Result<Self> {
        let Self { conv, .. } = Self::new(w, inputs, outputs, 1, 1)?;
        let (zeros, ones) = (w.full(0.0, outputs)?, w.full(1.0, outputs)?);
        let scale = w.full(0.25, outputs)?;
        let norm = BatchNorm::new(outputs, zeros.clone(), ones, scale, zeros, 1e-5)?;
        Ok(Self { conv, norm })
    }

    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.norm.forward(&self.conv.forward(xs)?)
    }
}

struct Bottleneck {
    convs: [ConvNorm; 3],
    shortcut: Option<ConvNorm>,
}

impl Bottleneck {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let y = self.convs[0].forward(xs)?.relu()?;
        let y = self.convs[2].forward(&self.convs[1].forward(&y)?.relu()?)?;
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(xs)?,
            None => xs.clone(),
        };
        y.add(&shortcut)?.relu()
    }
}

/// He et al., "Deep Residual Learning for Image Recognition", 2015.
pub(crate) struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Bottleneck>,
    head: Linear,
}

impl ResNet {
    fn new_50(w: &Weights) -> Result<Self> {
        let (mut blocks, mut inputs) = (Vec::new(), 64);
        for (stage, count) in [3, 4, 6, 3].into_iter().enumerate() {
            let width = 64 << stage;
            for block in 0..count {
                let stride = if block == 0 && stage > 0 { 2 } else { 1 };
                let shortcut = (block == 0).then(|| ConvNorm::new(w, inputs, width * 4, 1, stride));
                blocks.push(Bottleneck {
                    convs: [
                        ConvNorm::new(w, inputs, width, 1, 1)?,
                        ConvNorm::new(w, width, width, 3, stride)?,
                        ConvNorm::last_of_block(w, width, width * 4)?,
                    ],
                    shortcut: shortcut.transpose()?,
                });
                inputs = width * 4;
            }
        }
        Ok(Self { stem: ConvNorm::new(w, 3, 64, 7, 2)?, blocks, head: w.linear(2048, 1000)? })
    }

    fn forward<T: TensorOps>(&self, images: &T) -> Result<T> {
        let x = self.stem.forward(images)?.relu()?;
        // Not negative, so zeros around it change no maximum.
        let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let x = x.max_pool2d_with_stride(3, 2)?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        self.head.forward(&x.mean((2, 3))?)
    }
}

/// A transformer block, normalized after each part (BERT) or before it (ViT).
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norms: [LayerNorm; 2],
    inner: [Linear; 2],
    heads: usize,
    norm_first: bool,
}

impl Block {
    fn new(
        w: &Weights,
        width: usize,
        inner: usize,
        epsilon: f64,
        norm_first: bool,
    ) -> Result<Self> {
        Ok(Self {
            query: w.linear(width, width)?,
            key: w.linear(width, width)?,
            value: w.linear(width, width)?,
            output: w.linear(width, width)?,
            norms: [w.layer_norm(width, epsilon)?, w.layer_norm(width, epsilon)?],
            inner: [w.linear(width, inner)?, w.linear(inner, width)?],
            heads: 12,
            norm_first,
        })
    }

    fn attention<T: TensorOps>(&self, xs: &T, bias: Option<&T>) -> Result<T> {
        let (batch, length, width) = xs.dims3()?;
        let size = width / self.heads;
        let split = |layer: &Linear| {
            layer
                .forward(xs)?
                .reshape((batch, length, self.heads, size))?
                .transpose(1, 2)?
                .contiguous()
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let scores = query.matmul(&key.transpose(2, 3)?.contiguous()?)?;
        let scores = scores.affine((size as f64).powf(-0.5), 0.0)?;
        let scores = match bias {
            Some(bias) => scores.broadcast_add(bias)?,
            None => scores,
        };
        let mixed = scores.softmax_last_dim()?.matmul(&value)?;
        let mixed = mixed.transpose(1, 2)?.contiguous()?.reshape((batch, length, width))?;
        self.output.forward(&mixed)
    }

    fn feed<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.inner[1].forward(&self.inner[0].forward(xs)?.gelu_erf()?)
    }

    fn forward<T: TensorOps>(&self, xs: &T, bias: Option<&T>) -> Result<T> {
        let [first, second] = &self.norms;
        if self.norm_first {
            let xs = xs.add(&self.attention(&first.forward(xs)?, bias)?)?;
            let fed = self.feed(&second.forward(&xs)?)?;
            xs.add(&fed)
        } else {
            let xs = first.forward(&xs.add(&self.attention(xs, bias)?)?)?;
            let fed = self.feed(&xs)?;
            second.forward(&xs.add(&fed)?)
        }
    }
}

/// Devlin et al., "BERT", 2018: the last hidden states. One type of tokens.
pub(crate) struct Bert {
    words: Embedding,
    /// Those of the positions with that of the type, `[1, length, width]`.
    positions: Tensor,
    norm: LayerNorm,
    blocks: Vec<Block>,
    dtype: DType,
}

impl Bert {
    fn new(w: &Weights, width: usize, inner: usize, layers: usize) -> Result<Self> {
        let blocks = (0..layers).map(|_| Block::new(w, width, inner, 1e-12, false));
        Ok(Self {
            words: w.embedding(30522, width)?,
            positions: w.normal(&[1, LENGTH, width], 0.02)?,
            norm: w.layer_norm(width, 1e-12)?,
            blocks: blocks.collect::<Result<_>>()?,
            dtype: w.dtype,
        })
    }

    fn forward<T: TensorOps>(&self, tokens: &T, mask: &T) -> Result<T> {
        let positions = T::constant(&self.positions).narrow(1, 0, tokens.dim(1)?)?;
        let x = self.words.forward(tokens)?.broadcast_add(&positions)?;
        let x = self.norm.forward(&x)?;
        // 0 where there is a token, a large negative number where there is padding.
        let bias = mask.to_dtype(self.dtype)?.affine(1e4, -1e4)?.unsqueeze(1)?.unsqueeze(1)?;
        self.blocks.iter().try_fold(x, |x, block| block.forward(&x, Some(&bias)))
    }
}

/// Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020.
pub(crate) struct Vit {
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Vit {
    fn base_16(w: &Weights) -> Result<Self> {
        let config = Conv2dConfig { stride: 16, ..Default::default() };
        let patches = w.normal(&[768, 3, 16, 16], (768f64).powf(-0.5))?;
        let blocks = (0..12).map(|_| Block::new(w, 768, 3072, 1e-6, true));
        Ok(Self {
            patches: Conv2d::new(patches, Some(w.full(0.0, 768)?), config),
            class: w.normal(&[1, 1, 768], 0.02)?,
            positions: w.normal(&[1, 197, 768], 0.02)?,
            blocks: blocks.collect::<Result<_>>()?,
            norm: w.layer_norm(768, 1e-6)?,
            head: w.linear(768, 1000)?,
        })
    }

    fn forward<T: TensorOps>(&self, images: &T) -> Result<T> {
        let patches = self.patches.forward(images)?.flatten_from(2)?.transpose(1, 2)?;
        let (batch, _, width) = patches.dims3()?;
        let class = T::constant(&self.class).broadcast_as((batch, 1, width))?;
        let x = T::cat(&[&class.contiguous()?, &patches.contiguous()?], 1)?;
        let x = x.broadcast_add(&T::constant(&self.positions))?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x, None))?;
        let x = self.norm.forward(&x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?;
        self.head.forward(&x)
    }
}
