//! A BERT encoder (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018), and
//! a sentence encoder on top of it (Reimers and Gurevych, "Sentence-BERT", 2019).

use burn::module::Module;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub vocabulary: usize,
    pub positions: usize,
    pub width: usize,
    pub inner: usize,
    pub heads: usize,
    pub layers: usize,
}

/// BERT-base: 109 million parameters without the pooler.
pub const BASE: Sizes =
    Sizes { vocabulary: 30522, positions: 512, width: 768, inner: 3072, heads: 12, layers: 12 };

/// all-MiniLM-L6-v2: 23 million parameters.
pub const MINILM: Sizes = Sizes { width: 384, inner: 1536, layers: 6, ..BASE };

#[derive(Module, Debug)]
pub struct Bert {
    pub words: Embedding,
    pub positions: Embedding,
    pub types: Embedding,
    pub norm: LayerNorm,
    pub encoder: TransformerEncoder,
}

impl Bert {
    pub fn new(sizes: Sizes, device: &Device) -> Self {
        let Sizes { vocabulary, positions, width, inner, heads, layers } = sizes;
        let embedding = |count| EmbeddingConfig::new(count, width).init(device);
        let encoder = TransformerEncoderConfig::new(width, inner, heads, layers);
        Self {
            words: embedding(vocabulary),
            positions: embedding(positions),
            types: embedding(2),
            norm: LayerNormConfig::new(width).with_epsilon(1e-12).init(device),
            encoder: encoder.with_layer_norm_eps(1e-12).init(device),
        }
    }

    /// Tokens and their attention mask (1 where there is a token, 0 where there is padding), both
    /// `[batch, length]`, to `[batch, length, width]`. All tokens are of the first type.
    pub fn forward(&self, tokens: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = tokens.dims();
        let device = tokens.device();
        let positions = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze::<2>();
        let x = self.words.forward(tokens.clone())
            + self.positions.forward(positions)
            + self.types.forward(tokens.zeros_like());
        let padding: Tensor<2, Bool> = mask.equal_elem(0);
        let input = TransformerEncoderInput::new(self.norm.forward(x)).mask_pad(padding);
        self.encoder.forward(input)
    }

    /// One embedding of length 1 a sentence, `[batch, width]`: the mean over its tokens.
    pub fn embed(&self, tokens: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<2> {
        let weights = mask.clone().float().unsqueeze_dim::<3>(2);
        let states = self.forward(tokens, mask);
        let sums = (states * weights.clone()).sum_dim(1).squeeze_dim::<2>(1);
        let means = sums / weights.sum_dim(1).squeeze_dim::<2>(1);
        let length = (means.clone() * means.clone()).sum_dim(1).sqrt();
        means / length
    }
}
