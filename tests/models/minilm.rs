//! The trained sentence encoder all-MiniLM-L6-v2 as a Burn module. Where its files lie is in
//! `common/minilm.rs`.

use std::path::Path;

use burn::module::Param;
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use tokenizers::{PaddingParams, Tokenizer};

use super::bert::{Bert, MINILM};

/// Reads the weights in `folder`.
pub fn load(folder: &Path, device: &Device) -> Bert {
    let bytes = std::fs::read(folder.join("model.safetensors")).expect("the weights can be read");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let weights = Weights { file, device };
    let mut bert = Bert::new(MINILM, device);
    weights.embedding("embeddings.word_embeddings", &mut bert.words);
    weights.embedding("embeddings.position_embeddings", &mut bert.positions);
    weights.embedding("embeddings.token_type_embeddings", &mut bert.types);
    weights.norm("embeddings.LayerNorm", &mut bert.norm);
    for (i, layer) in bert.encoder.layers.iter_mut().enumerate() {
        let at = |name: &str| format!("encoder.layer.{i}.{name}");
        weights.linear(&at("attention.self.query"), &mut layer.mha.query);
        weights.linear(&at("attention.self.key"), &mut layer.mha.key);
        weights.linear(&at("attention.self.value"), &mut layer.mha.value);
        weights.linear(&at("attention.output.dense"), &mut layer.mha.output);
        weights.norm(&at("attention.output.LayerNorm"), &mut layer.norm_1);
        weights.linear(&at("intermediate.dense"), &mut layer.pwff.linear_inner);
        weights.linear(&at("output.dense"), &mut layer.pwff.linear_outer);
        weights.norm(&at("output.LayerNorm"), &mut layer.norm_2);
    }
    bert
}

struct Weights<'a> {
    file: SafeTensors<'a>,
    device: &'a Device,
}

impl Weights<'_> {
    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let view = self.file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
        let word = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
        let values: Vec<f32> = view.data().chunks_exact(4).map(word).collect();
        Tensor::from_data(TensorData::new(values, view.shape().to_vec()), self.device)
    }

    /// PyTorch keeps `[outputs, inputs]`, Burn `[inputs, outputs]`.
    fn linear(&self, name: &str, layer: &mut Linear) {
        let weight: Tensor<2> = self.tensor(&format!("{name}.weight"));
        layer.weight = Param::from_tensor(weight.transpose());
        layer.bias = Some(Param::from_tensor(self.tensor(&format!("{name}.bias"))));
    }

    fn norm(&self, name: &str, layer: &mut LayerNorm) {
        layer.gamma = Param::from_tensor(self.tensor(&format!("{name}.weight")));
        layer.beta = Some(Param::from_tensor(self.tensor(&format!("{name}.bias"))));
    }

    fn embedding(&self, name: &str, layer: &mut Embedding) {
        layer.weight = Param::from_tensor(self.tensor(&format!("{name}.weight")));
    }
}

/// The tokenizer in `folder`; batches are padded to their longest sentence.
pub fn tokenizer(folder: &Path) -> Tokenizer {
    let mut tokenizer =
        Tokenizer::from_file(folder.join("tokenizer.json")).expect("the tokenizer can be read");
    tokenizer.with_padding(Some(PaddingParams::default()));
    tokenizer
}

/// Tokens and attention mask of a batch of sentences, `[batch, length]`.
pub fn encode(
    tokenizer: &Tokenizer,
    sentences: &[&str],
    device: &Device,
) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let batch = tokenizer.encode_batch(sentences.to_vec(), true).expect("sentences are tokenized");
    let shape = [batch.len(), batch[0].get_ids().len()];
    let tensor = |of: fn(&tokenizers::Encoding) -> &[u32]| {
        let values = batch.iter().flat_map(of).map(|&value| i64::from(value)).collect();
        Tensor::from_data(TensorData::new::<i64, _>(values, shape), device)
    };
    (tensor(tokenizers::Encoding::get_ids), tensor(tokenizers::Encoding::get_attention_mask))
}
