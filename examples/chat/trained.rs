//! A Llama of some thousand weights that learns a talk by heart, letter by letter, with Candle.

use std::collections::HashMap;

use accelerant::HostTensor;
use accelerant::generate::DecoderConfig;
use candle_core::{D, Device, Error, IndexOp, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

/// Questions, and what the model learns to answer.
pub(super) const TALK: [(&str, &str); 8] = [
    ("Hello!", "Hello. What do you want to know?"),
    ("Who are you?", "A very small language model."),
    ("Where do you run?", "Where this program runs: on a CPU or on a GPU."),
    ("How large are you?", "Two layers, and 64 numbers for each letter."),
    ("Who trained you?", "This program, some seconds ago."),
    ("What is a cache?", "Keys and values of what was said before."),
    ("Schöne Grüße!", "Danke, ebenso → bis bald."),
    ("Bye!", "Goodbye."),
];

/// A token is a byte. This one ends texts.
const END: u32 = 0;
const VOCABULARY: usize = 256;
const POSITIONS: usize = 96;
const HIDDEN: usize = 64;
const INNER: usize = 128;
const HEADS: usize = 4;
const HEAD: usize = HIDDEN / HEADS;
const LAYERS: usize = 2;
const STEPS: usize = 120;
const RATE: f64 = 6e-3;
const EPSILON: f64 = 1e-5;

/// The tokens that a question becomes.
pub(super) fn prompt(question: &str) -> Vec<u32> {
    let bytes = question.bytes().take(POSITIONS / 2).chain([b'\n']);
    bytes.map(u32::from).collect()
}

/// Tokens as text; part of a letter is the sign for that.
pub(super) fn spelled(tokens: &[u32]) -> std::result::Result<String, std::convert::Infallible> {
    let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Trains from random weights, which are the same each time. Gives the configuration, the weights under a checkpoint's names,
/// and the last loss.
pub(super) fn train() -> Result<(DecoderConfig, HashMap<String, Tensor>, f32)> {
    let config = config()?;
    let random = config.random_weights(7).map_err(Error::wrap)?.into_iter();
    let variable = |(name, weight): (String, HostTensor)| -> Result<(String, Var)> {
        let values = weight.to_vec::<f32>().map_err(Error::wrap)?;
        Ok((name, Var::from_vec(values, weight.shape(), &Device::Cpu)?))
    };
    let variables = random.map(variable).collect::<Result<HashMap<String, Var>>>()?;
    let weights: HashMap<String, Tensor> =
        variables.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let model = Model::new(&weights)?;
    let (inputs, targets, rows) = samples()?;
    let variables = variables.into_values().collect();
    let mut optimizer = AdamW::new(variables, ParamsAdamW { lr: RATE, ..Default::default() })?;
    let mut last = f32::NAN;
    for step in 0..STEPS {
        let left = (STEPS - step) as f64 / STEPS as f64;
        optimizer.set_learning_rate(RATE * left.max(0.1));
        let logits = model.forward(&inputs)?.reshape(((), VOCABULARY))?;
        let loss = candle_nn::loss::cross_entropy(&logits.index_select(&rows, 0)?, &targets)?;
        optimizer.backward_step(&loss)?;
        last = loss.to_scalar()?;
    }
    Ok((config, weights, last))
}

fn config() -> Result<DecoderConfig> {
    let json = format!(
        r#"{{"model_type": "llama", "vocab_size": {VOCABULARY}, "hidden_size": {HIDDEN}, "intermediate_size": {INNER},
            "num_hidden_layers": {LAYERS}, "num_attention_heads": {HEADS}, "num_key_value_heads": {HEADS},
            "rms_norm_eps": {EPSILON}, "rope_theta": 10000.0, "max_position_embeddings": {POSITIONS},
            "eos_token_id": {END}}}"#
    );
    DecoderConfig::from_json(&json).map_err(Error::wrap)
}

/// The talk: tokens, those that follow an answer's, and where these are among all.
fn samples() -> Result<(Tensor, Tensor, Tensor)> {
    let texts = TALK.map(|(question, answer)| {
        let begin = prompt(question);
        let count = begin.len();
        (count, [begin, answer.bytes().map(u32::from).collect(), vec![END]].concat())
    });
    let length = texts.iter().map(|(_, text)| text.len()).max().unwrap_or_default();
    let (mut inputs, mut targets, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (count, text)) in texts.iter().enumerate() {
        for (at, token) in text.iter().enumerate().skip(*count) {
            targets.push(*token);
            rows.push((i * length + at - 1) as u32);
        }
        inputs.extend(text);
        inputs.resize((i + 1) * length, END);
    }
    let cpu = &Device::Cpu;
    Ok((
        Tensor::from_vec(inputs, (TALK.len(), length), cpu)?,
        Tensor::new(targets, cpu)?,
        Tensor::new(rows, cpu)?,
    ))
}

/// Candle's own Llama has operations without gradients, so that the layers are written with plain ones.
struct Model {
    embeddings: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
}

struct Layer {
    norms: [Tensor; 2],
    /// Query, key, value and output.
    attention: [Tensor; 4],
    /// Gate, up and down.
    fed: [Tensor; 3],
}

impl Model {
    fn new(weights: &HashMap<String, Tensor>) -> Result<Self> {
        let weight = |name: String| {
            let missing = || Error::Msg(format!("there is no {name}"));
            weights.get(&name).cloned().ok_or_else(missing)
        };
        let layer = |i: usize| -> Result<Layer> {
            let part = |part: &str| weight(format!("model.layers.{i}.{part}.weight"));
            let attention = |which: &str| part(&format!("self_attn.{which}_proj"));
            let fed = |which: &str| part(&format!("mlp.{which}_proj"));
            Ok(Layer {
                norms: [part("input_layernorm")?, part("post_attention_layernorm")?],
                attention: [attention("q")?, attention("k")?, attention("v")?, attention("o")?],
                fed: [fed("gate")?, fed("up")?, fed("down")?],
            })
        };
        Ok(Self {
            embeddings: weight("model.embed_tokens.weight".into())?,
            layers: (0..LAYERS).map(layer).collect::<Result<_>>()?,
            norm: weight("model.norm.weight".into())?,
            head: weight("lm_head.weight".into())?,
        })
    }

    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (batch, length) = tokens.dims2()?;
        let (angles, mask) = (Angles::new(length)?, mask(length)?);
        let mut states = self.embeddings.index_select(&tokens.flatten_all()?, 0)?;
        states = states.reshape((batch, length, HIDDEN))?;
        for layer in &self.layers {
            let normed = root_mean_square(&states, &layer.norms[0])?;
            let heads = |weight: &Tensor| {
                linear(&normed, weight)?
                    .reshape((batch, length, HEADS, HEAD))?
                    .transpose(1, 2)?
                    .contiguous()
            };
            let [query, key, value, output] = &layer.attention;
            let (query, key) = (angles.rotate(&heads(query)?)?, angles.rotate(&heads(key)?)?);
            let scores = (query.matmul(&key.t()?.contiguous()?)? / (HEAD as f64).sqrt())?;
            let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
            let mixed = weights.matmul(&heads(value)?)?.transpose(1, 2)?.contiguous()?;
            states = (states + linear(&mixed.reshape((batch, length, HIDDEN))?, output)?)?;
            let normed = root_mean_square(&states, &layer.norms[1])?;
            let [gate, up, down] = &layer.fed;
            let fed = (linear(&normed, gate)?.silu()? * linear(&normed, up)?)?;
            states = (states + linear(&fed, down)?)?;
        }
        linear(&root_mean_square(&states, &self.norm)?, &self.head)
    }
}

fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    x.reshape((batch * length, width))?.matmul(&weight.t()?)?.reshape((batch, length, ()))
}

fn root_mean_square(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let mean = (x.sqr()?.mean_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
    x.broadcast_div(&mean)?.broadcast_mul(weight)
}

/// What is added to the scores of tokens that come later.
fn mask(length: usize) -> Result<Tensor> {
    let later = |i: usize| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 };
    let values: Vec<f32> = (0..length * length).map(later).collect();
    Tensor::from_vec(values, (length, length), &Device::Cpu)
}

/// Cosines and sines of rotary positions.
struct Angles {
    cosines: Tensor,
    sines: Tensor,
}

impl Angles {
    fn new(length: usize) -> Result<Self> {
        let angle = |i: usize| {
            let (position, pair) = (i / (HEAD / 2), i % (HEAD / 2));
            position as f32 * 10_000f32.powf(-2.0 * pair as f32 / HEAD as f32)
        };
        let values: Vec<f32> = (0..length * HEAD / 2).map(angle).collect();
        let angles = Tensor::from_vec(values, (length, HEAD / 2), &Device::Cpu)?;
        let angles = Tensor::cat(&[&angles, &angles], 1)?;
        Ok(Self { cosines: angles.cos()?, sines: angles.sin()? })
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (first, second) = (x.i((.., .., .., ..HEAD / 2))?, x.i((.., .., .., HEAD / 2..))?);
        let turned = Tensor::cat(&[&second.neg()?, &first], D::Minus1)?;
        x.broadcast_mul(&self.cosines)? + turned.broadcast_mul(&self.sines)?
    }
}
