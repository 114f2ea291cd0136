//! Encoders that pair texts with pictures, and hear.

use accelerant::{Dim, OptimizeOptions};
use candle_core::{Module, Tensor};
use candle_transformers::models as reference;
use reference::clip::text_model::{Activation, ClipTextConfig};
use reference::clip::vision_model::ClipVisionConfig;
use reference::clip::{ClipConfig, ClipModel};

use crate::harness::{agree, exported, length, pictures, tensor, tokens, weights};
use crate::models::clip::{Config, TextEncoder, VisionEncoder};
use crate::models::whisper::{self, Whisper};

#[test]
fn clip_agrees_with_candle_transformers() {
    let text = Config { hidden: 48, layers: 3, heads: 4, intermediate: 80, projection: 24 };
    let vision = Config { hidden: 64, layers: 2, ..text };
    let (vocabulary, positions, image, patch) = (100, 32, 32, 8);
    let theirs = ClipConfig {
        text_config: ClipTextConfig {
            vocab_size: vocabulary,
            embed_dim: text.hidden,
            activation: Activation::QuickGelu,
            intermediate_size: text.intermediate,
            max_position_embeddings: positions,
            pad_with: None,
            num_hidden_layers: text.layers,
            num_attention_heads: text.heads,
            projection_dim: text.projection,
        },
        vision_config: ClipVisionConfig {
            embed_dim: vision.hidden,
            activation: Activation::QuickGelu,
            intermediate_size: vision.intermediate,
            num_hidden_layers: vision.layers,
            num_attention_heads: vision.heads,
            projection_dim: vision.projection,
            num_channels: 3,
            image_size: image,
            patch_size: patch,
        },
        logit_scale_init_value: 2.6592,
        image_size: image,
    };
    let theirs = ClipModel::new(weights(), &theirs).unwrap();

    let ours = VisionEncoder::new(&vision, image, patch, weights()).unwrap();
    let reference = candle_nn::func(|xs| theirs.get_image_features(xs));
    pictures("CLIP's pictures", &ours, &reference, image);

    let ours = TextEncoder::new(&text, vocabulary, positions, weights()).unwrap();
    // The text ends with the largest number, and padding follows.
    let ids = |batch, length: usize, seed| {
        let ids = tokens(&[batch, length], vocabulary - 1, seed);
        let end = Tensor::full(vocabulary as u32 - 1, (batch, 1), ids.device()).unwrap();
        vec![ids.slice_scatter(&end, 1, length / 2).unwrap()]
    };
    let native = |x: &[Tensor]| vec![ours.forward(&x[0]).unwrap()];
    let x = ids(2, 9, 1);
    agree("CLIP's texts", &native(&x)[0], &theirs.get_text_features(&x[0]).unwrap());
    exported("CLIP's texts", &ours, native, &OptimizeOptions::new(), &[x]);
    let options = OptimizeOptions::new().dynamic_batch(1..=4).dynamic_axis(0, 1, length(1..=32));
    let inputs = [ids(2, 9, 2), ids(1, 1, 3), ids(4, 32, 4), ids(3, 17, 5)];
    exported("CLIP's texts, dynamic batch and length", &ours, native, &options, &inputs);
}

#[test]
fn whispers_encoder_agrees_with_candle_transformers() {
    let config = whisper::Config { bins: 20, positions: 50, hidden: 48, layers: 3, heads: 4 };
    let ours = Whisper::new(&config, weights()).unwrap();
    let theirs = reference::whisper::Config {
        num_mel_bins: config.bins,
        max_source_positions: config.positions,
        d_model: config.hidden,
        encoder_attention_heads: config.heads,
        encoder_layers: config.layers,
        vocab_size: 11,
        max_target_positions: 8,
        decoder_attention_heads: 2,
        decoder_layers: 1,
        suppress_tokens: Vec::new(),
    };
    let mut theirs = reference::whisper::model::Whisper::load(&weights(), theirs).unwrap();
    let sound = |batch, frames| vec![tensor(&[batch, config.bins, frames], frames as u64)];
    let native = |x: &[Tensor]| vec![ours.forward(&x[0]).unwrap()];
    for x in [sound(2, 100), sound(1, 60)] {
        let expected = theirs.encoder.forward(&x[0], true).unwrap();
        agree("Whisper's encoder", &native(&x)[0], &expected);
    }
    exported("Whisper's encoder", &ours, native, &OptimizeOptions::new(), &[sound(2, 100)]);
    let options = OptimizeOptions::new().dynamic_batch(1..=3);
    let inputs = [sound(2, 100), sound(1, 100), sound(3, 100)];
    exported("Whisper's encoder, dynamic batch", &ours, native, &options, &inputs);
    let options = options.dynamic_axis(0, 2, Dim::dynamic("frames", 2..=100).unwrap());
    let inputs = [sound(2, 100), sound(1, 7), sound(3, 32)];
    exported("Whisper's encoder, dynamic batch and length", &ours, native, &options, &inputs);
}
