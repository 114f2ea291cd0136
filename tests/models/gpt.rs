//! A GPT-2 decoder (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019),
//! whose output layer is the token embedding.

use burn::module::Module;
use burn::nn::{
    Embedding, EmbeddingConfig, Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor};

#[derive(Module, Debug)]
pub struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<GptBlock>,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
pub struct GptBlock {
    norm_1: LayerNorm,
    qkv: Linear,
    output: Linear,
    norm_2: LayerNorm,
    widen: Linear,
    narrow: Linear,
    heads: usize,
}

impl Gpt {
    pub fn new(
        vocabulary: usize,
        positions: usize,
        width: usize,
        heads: usize,
        layers: usize,
        device: &Device,
    ) -> Self {
        Self {
            tokens: EmbeddingConfig::new(vocabulary, width).init(device),
            positions: EmbeddingConfig::new(positions, width).init(device),
            blocks: (0..layers).map(|_| GptBlock::new(width, heads, device)).collect(),
            norm: LayerNormConfig::new(width).init(device),
        }
    }

    /// Tokens `[batch, length]` to logits `[batch, length, vocabulary]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = tokens.dims();
        let positions = self.positions.weight.val().narrow(0, 0, length).unsqueeze::<3>();
        let x = self.tokens.forward(tokens) + positions;
        let x = self.norm.forward(self.blocks.iter().fold(x, |x, block| block.forward(x)));
        x.matmul(self.tokens.weight.val().transpose().unsqueeze())
    }
}

impl GptBlock {
    pub fn new(width: usize, heads: usize, device: &Device) -> Self {
        let norm = || LayerNormConfig::new(width).init(device);
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        Self {
            norm_1: norm(),
            qkv: linear(width, 3 * width),
            output: linear(width, width),
            norm_2: norm(),
            widen: linear(width, 4 * width),
            narrow: linear(4 * width, width),
            heads,
        }
    }

    /// `[batch, length, width]` to the same.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let split = |part: Tensor<3>| {
            part.reshape([batch, length, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let [q, k, v] = self
            .qkv
            .forward(self.norm_1.forward(x.clone()))
            .chunk(3, 2)
            .try_into()
            .expect("three parts");
        let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let context = attention(split(q), split(k), split(v), None, None, causal);
        let context = context.swap_dims(1, 2).reshape([batch, length, width]);
        let x = x + self.output.forward(context);
        let inner =
            Gelu::new_approximate().forward(self.widen.forward(self.norm_2.forward(x.clone())));
        x + self.narrow.forward(inner)
    }
}
