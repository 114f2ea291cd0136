//! MobileNetV4 (Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem", 2024). Pictures
//! `[batch, 3, height, width]` in, class scores `[batch, classes]` out.

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Linear, VarBuilder, batch_norm, conv2d_no_bias, linear,
};

/// What kind a block is of, and its sizes; the functions below make them.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A convolution.
    Conv { kernel: usize, stride: usize },
    /// A convolution to more channels and one back.
    Edge { kernel: usize, stride: usize, expand: usize },
    /// Depthwise convolutions before and within a change to more channels and back; a kernel of 0 is
    /// no convolution.
    Bottleneck { kernels: [usize; 2], stride: usize, expand: usize },
    /// Attention over pixels, whose heads share keys and values.
    Attention { heads: usize, kv_stride: usize },
}

/// The output channels of a block, and its kind.
pub type Row = (usize, Kind);

/// A convolution.
pub const fn conv(outputs: usize, kernel: usize, stride: usize) -> Row {
    (outputs, Kind::Conv { kernel, stride })
}

/// A convolution to `expand` times the channels, and one to `outputs`.
pub const fn edge(outputs: usize, kernel: usize, stride: usize, expand: usize) -> Row {
    (outputs, Kind::Edge { kernel, stride, expand })
}

/// A change to `expand` times the channels and to `outputs`, with depthwise convolutions of these kernels
/// before it and within it; 0 is none.
pub const fn bottleneck(outputs: usize, kernels: [usize; 2], stride: usize, expand: usize) -> Row {
    (outputs, Kind::Bottleneck { kernels, stride, expand })
}

/// Attention over pixels; `kv_stride` is that of keys and values.
pub const fn attention(outputs: usize, heads: usize, kv_stride: usize) -> Row {
    (outputs, Kind::Attention { heads, kv_stride })
}

/// Which MobileNetV4: its stem and its five stages.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Channels of the first convolution.
    pub stem: usize,
    /// The blocks of each stage.
    pub stages: [&'static [Row]; 5],
}

impl Config {
    /// MobileNetV4-conv-small.
    pub const SMALL: Self = Self {
        stem: 32,
        stages: [
            &[conv(32, 3, 2), conv(32, 1, 1)],
            &[conv(96, 3, 2), conv(64, 1, 1)],
            &[
                bottleneck(96, [5, 5], 2, 3),
                bottleneck(96, [0, 3], 1, 2),
                bottleneck(96, [0, 3], 1, 2),
                bottleneck(96, [0, 3], 1, 2),
                bottleneck(96, [0, 3], 1, 2),
                bottleneck(96, [3, 0], 1, 4),
            ],
            &[
                bottleneck(128, [3, 3], 2, 6),
                bottleneck(128, [5, 5], 1, 4),
                bottleneck(128, [0, 5], 1, 4),
                bottleneck(128, [0, 5], 1, 3),
                bottleneck(128, [0, 3], 1, 4),
                bottleneck(128, [0, 3], 1, 4),
            ],
            &[conv(960, 1, 1)],
        ],
    };
    /// MobileNetV4-conv-medium.
    pub const MEDIUM: Self = Self {
        stem: 32,
        stages: [
            &[edge(48, 3, 2, 4)],
            &[bottleneck(80, [3, 5], 2, 4), bottleneck(80, [3, 3], 1, 2)],
            &[
                bottleneck(160, [3, 5], 2, 6),
                bottleneck(160, [3, 3], 1, 4),
                bottleneck(160, [3, 3], 1, 4),
                bottleneck(160, [3, 5], 1, 4),
                bottleneck(160, [3, 3], 1, 4),
                bottleneck(160, [3, 0], 1, 4),
                bottleneck(160, [0, 0], 1, 2),
                bottleneck(160, [3, 0], 1, 4),
            ],
            &[
                bottleneck(256, [5, 5], 2, 6),
                bottleneck(256, [5, 5], 1, 4),
                bottleneck(256, [3, 5], 1, 4),
                bottleneck(256, [3, 5], 1, 4),
                bottleneck(256, [0, 0], 1, 4),
                bottleneck(256, [3, 0], 1, 4),
                bottleneck(256, [3, 5], 1, 2),
                bottleneck(256, [5, 5], 1, 4),
                bottleneck(256, [0, 0], 1, 4),
                bottleneck(256, [0, 0], 1, 4),
                bottleneck(256, [5, 0], 1, 2),
            ],
            &[conv(960, 1, 1)],
        ],
    };
    /// MobileNetV4-hybrid-medium.
    pub const HYBRID_MEDIUM: Self = Self {
        stem: 32,
        stages: [
            &[edge(48, 3, 2, 4)],
            &[bottleneck(80, [3, 5], 2, 4), bottleneck(80, [3, 3], 1, 2)],
            &[
                bottleneck(160, [3, 5], 2, 6),
                bottleneck(160, [0, 0], 1, 2),
                bottleneck(160, [3, 3], 1, 4),
                bottleneck(160, [3, 5], 1, 4),
                attention(160, 4, 2),
                bottleneck(160, [3, 3], 1, 4),
                attention(160, 4, 2),
                bottleneck(160, [3, 0], 1, 4),
                attention(160, 4, 2),
                bottleneck(160, [3, 3], 1, 4),
                attention(160, 4, 2),
                bottleneck(160, [3, 0], 1, 4),
            ],
            &[
                bottleneck(256, [5, 5], 2, 6),
                bottleneck(256, [5, 5], 1, 4),
                bottleneck(256, [3, 5], 1, 4),
                bottleneck(256, [3, 5], 1, 4),
                bottleneck(256, [0, 0], 1, 2),
                bottleneck(256, [3, 5], 1, 2),
                bottleneck(256, [0, 0], 1, 2),
                bottleneck(256, [0, 0], 1, 4),
                attention(256, 4, 1),
                bottleneck(256, [3, 0], 1, 4),
                attention(256, 4, 1),
                bottleneck(256, [5, 5], 1, 4),
                attention(256, 4, 1),
                bottleneck(256, [5, 0], 1, 4),
                attention(256, 4, 1),
                bottleneck(256, [5, 0], 1, 4),
            ],
            &[conv(960, 1, 1)],
        ],
    };
}

/// A convolution without bias, and its normalization.
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    /// `channels` are those of input and output, equal ones of which are convolved each by itself if
    /// `depthwise`.
    fn new(
        channels: [usize; 2],
        [kernel, stride]: [usize; 2],
        depthwise: bool,
        [conv, norm]: [VarBuilder; 2],
    ) -> Result<Self> {
        let groups = if depthwise { channels[0] } else { 1 };
        let config = Conv2dConfig { padding: kernel / 2, stride, groups, ..Default::default() };
        let conv = conv2d_no_bias(channels[0], channels[1], kernel, config, conv)?;
        Ok(Self { conv, norm: batch_norm(channels[1], 1e-5, norm)? })
    }
}

#[accelerant::trace]
impl Module for ConvNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        xs.apply(&self.conv)?.apply_t(&self.norm, false)
    }
}

/// A change of the channels and back, with convolutions around; each but the first and last is
/// rectified.
struct Bottleneck {
    start: Option<ConvNorm>,
    expand: ConvNorm,
    middle: Option<ConvNorm>,
    project: ConvNorm,
}

impl Bottleneck {
    fn new(
        [inputs, outputs]: [usize; 2],
        [start, middle]: [usize; 2],
        stride: usize,
        expand: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let wide = inputs * expand;
        let part = |name: &str| [vb.pp(name).pp("conv"), vb.pp(name).pp("bn")];
        let depthwise = |channels, kernel, stride, name| {
            let new = || ConvNorm::new([channels, channels], [kernel, stride], true, part(name));
            (kernel > 0).then(new).transpose()
        };
        let start_stride = if middle > 0 { 1 } else { stride };
        Ok(Self {
            start: depthwise(inputs, start, start_stride, "dw_start")?,
            expand: ConvNorm::new([inputs, wide], [1, 1], false, part("pw_exp"))?,
            middle: depthwise(wide, middle, stride, "dw_mid")?,
            project: ConvNorm::new([wide, outputs], [1, 1], false, part("pw_proj"))?,
        })
    }
}

#[accelerant::trace]
impl Module for Bottleneck {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = xs.apply(&self.start.as_ref())?.apply(&self.expand)?.relu()?;
        if let Some(middle) = &self.middle {
            xs = middle.forward(&xs)?.relu()?;
        }
        self.project.forward(&xs)
    }
}

/// Attention over pixels. Keys and values have one head, of fewer pixels.
struct Attention {
    norm: BatchNorm,
    query: Conv2d,
    key_down: Option<ConvNorm>,
    key: Conv2d,
    value_down: Option<ConvNorm>,
    value: Conv2d,
    output: Conv2d,
    heads: usize,
}

/// Width of a head.
const HEAD: usize = 64;

impl Attention {
    fn new(channels: usize, heads: usize, kv_stride: usize, vb: &VarBuilder) -> Result<Self> {
        let attention = vb.pp("attn");
        let projection = |inputs, outputs, name: &str| {
            let vb = attention.pp(name).pp("proj");
            conv2d_no_bias(inputs, outputs, 1, Conv2dConfig::default(), vb)
        };
        let down = |name: &str| {
            let vb = attention.pp(name);
            let new = || {
                let parts = [vb.pp("down_conv"), vb.pp("norm")];
                ConvNorm::new([channels, channels], [3, kv_stride], true, parts)
            };
            vb.contains_tensor("down_conv.weight").then(new).transpose()
        };
        Ok(Self {
            norm: batch_norm(channels, 1e-5, vb.pp("norm"))?,
            query: projection(channels, heads * HEAD, "query")?,
            key_down: down("key")?,
            key: projection(channels, HEAD, "key")?,
            value_down: down("value")?,
            value: projection(channels, HEAD, "value")?,
            output: projection(heads * HEAD, channels, "output")?,
            heads,
        })
    }
}

#[accelerant::trace]
impl Attention {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = xs.dims4()?;
        let xs = xs.apply_t(&self.norm, false)?;
        let query = (xs.apply(&self.query)? * (HEAD as f64).powf(-0.5))?;
        let query = query.reshape((batch, self.heads, HEAD, height * width))?.transpose(2, 3)?;
        // Each head has its row of pixels in one long row.
        let query = query.reshape((batch, self.heads * height * width, HEAD))?;
        let key = xs.apply(&self.key_down.as_ref())?.apply(&self.key)?.flatten_from(2)?;
        let value = xs.apply(&self.value_down.as_ref())?.apply(&self.value)?.flatten_from(2)?;
        let weights = candle_nn::ops::softmax(&query.matmul(&key)?, D::Minus1)?;
        let mixed = weights.matmul(&value.transpose(1, 2)?.contiguous()?)?;
        let mixed = mixed.reshape((batch, self.heads, height * width, HEAD))?.transpose(2, 3)?;
        mixed.reshape((batch, self.heads * HEAD, height, width))?.apply(&self.output)
    }
}

enum Body {
    Conv(ConvNorm),
    Edge(ConvNorm, ConvNorm),
    Bottleneck(Bottleneck),
    Attention(Attention),
}

/// A block with its scale, and a way around it where the sizes stay.
struct Block {
    body: Body,
    scale: Option<Tensor>,
    around: bool,
}

impl Block {
    fn new(inputs: usize, (outputs, kind): Row, vb: VarBuilder) -> Result<Self> {
        let (mut stays, mut scale) = (false, None);
        let body = match kind {
            Kind::Conv { kernel, stride } => {
                let parts = [vb.pp("conv"), vb.pp("bn1")];
                Body::Conv(ConvNorm::new([inputs, outputs], [kernel, stride], false, parts)?)
            }
            Kind::Edge { kernel, stride, expand } => {
                let (wide, parts) = (inputs * expand, [vb.pp("conv_exp"), vb.pp("bn1")]);
                let first = ConvNorm::new([inputs, wide], [kernel, stride], false, parts)?;
                let parts = [vb.pp("conv_pwl"), vb.pp("bn2")];
                Body::Edge(first, ConvNorm::new([wide, outputs], [1, 1], false, parts)?)
            }
            Kind::Bottleneck { kernels, stride, expand } => {
                stays = stride == 1;
                Body::Bottleneck(Bottleneck::new([inputs, outputs], kernels, stride, expand, &vb)?)
            }
            Kind::Attention { heads, kv_stride } => {
                stays = true;
                Body::Attention(Attention::new(outputs, heads, kv_stride, &vb)?)
            }
        };
        let scaled = matches!(body, Body::Bottleneck(_) | Body::Attention(_));
        if scaled && vb.contains_tensor("layer_scale.gamma") {
            scale = Some(vb.get(outputs, "layer_scale.gamma")?.reshape((1, outputs, 1, 1))?);
        }
        Ok(Self { body, scale, around: stays && inputs == outputs })
    }
}

#[accelerant::trace]
impl Module for Block {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut ys = match &self.body {
            Body::Conv(conv) => conv.forward(xs)?.relu()?,
            Body::Edge(first, second) => second.forward(&first.forward(xs)?.relu()?)?,
            Body::Bottleneck(bottleneck) => bottleneck.forward(xs)?,
            Body::Attention(attention) => attention.forward(xs)?,
        };
        if let Some(scale) = &self.scale {
            ys = ys.broadcast_mul(scale)?;
        }
        if self.around { ys + xs } else { Ok(ys) }
    }
}

/// A MobileNetV4.
pub struct MobileNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: ConvNorm,
    classifier: Linear,
}

impl MobileNet {
    /// The network for so many classes.
    pub fn new(config: &Config, classes: usize, vb: VarBuilder) -> Result<Self> {
        let stem = [vb.pp("conv_stem"), vb.pp("bn1")];
        let stem = ConvNorm::new([3, config.stem], [3, 2], false, stem)?;
        let (mut blocks, mut inputs) = (Vec::new(), config.stem);
        for (stage, rows) in config.stages.into_iter().enumerate() {
            for (i, &row) in rows.iter().enumerate() {
                blocks.push(Block::new(inputs, row, vb.pp("blocks").pp(stage).pp(i))?);
                inputs = row.0;
            }
        }
        let head = [vb.pp("conv_head"), vb.pp("norm_head")];
        let head = ConvNorm::new([inputs, 1280], [1, 1], false, head)?;
        Ok(Self { stem, blocks, head, classifier: linear(1280, classes, vb.pp("classifier"))? })
    }
}

#[accelerant::trace]
impl Module for MobileNet {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = self.stem.forward(xs)?.relu()?;
        for block in &self.blocks {
            xs = block.forward(&xs)?;
        }
        let xs = xs.mean_keepdim((2, 3))?;
        self.head.forward(&xs)?.relu()?.flatten_from(1)?.apply(&self.classifier)
    }
}
