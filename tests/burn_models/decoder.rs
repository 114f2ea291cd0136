//! A decoder of `burn::nn` with a cache as state, against Burn's own attention over the whole text, token by token.

#[cfg(feature = "tensorrt-rtx")]
use accelerant::backend::{Backend, tensorrt::TensorRt};
use accelerant::burn::{DecoderPass, OptimizeDecoder};
use accelerant::cache::EngineCache;
use accelerant::export::onnx::NodeProto;
use accelerant::export::{OnnxModel, Target};
use accelerant::generate::{DecoderOptions, GenerateOptions, Tokens};
use accelerant::{BackendKind, ErrorKind, HostTensor, InferenceModule, OptimizeOptions};
use burn::module::Module;
use burn::nn::attention::{
    MhaInput, MultiHeadAttention, MultiHeadAttentionConfig, generate_autoregressive_mask,
};
use burn::nn::{
    Embedding, EmbeddingConfig, Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};

use crate::device;
use crate::models::weights::randomized;

const CAPACITY: usize = 40;
const WIDTH: usize = 16;
const HEADS: usize = 4;

#[derive(Module, Debug)]
struct Block {
    before: LayerNorm,
    attention: MultiHeadAttention,
    between: LayerNorm,
    up: Linear,
    down: Linear,
}

#[derive(Module, Debug)]
struct Writer {
    tokens: Embedding,
    places: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Block {
    fn new() -> Self {
        let device = device();
        Self {
            before: LayerNormConfig::new(WIDTH).init(&device),
            attention: MultiHeadAttentionConfig::new(WIDTH, HEADS).init(&device),
            between: LayerNormConfig::new(WIDTH).init(&device),
            up: LinearConfig::new(WIDTH, 4 * WIDTH).init(&device),
            down: LinearConfig::new(4 * WIDTH, WIDTH).init(&device),
        }
    }

    fn fed(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = Gelu::new().forward(self.up.forward(self.between.forward(x.clone())));
        x + self.down.forward(inner)
    }

    /// As Burn's users write the block without a cache.
    fn whole(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let mask = generate_autoregressive_mask(batch, length, &x.device());
        let input = MhaInput::self_attn(self.before.forward(x.clone())).mask_attn(mask);
        self.fed(x + self.attention.forward(input).context)
    }

    /// With the caches of a pass, from the one at `first` on.
    fn cached(
        &self,
        x: Tensor<3>,
        pass: &DecoderPass,
        first: usize,
    ) -> (Tensor<3>, [Tensor<4>; 2]) {
        let attention = &self.attention;
        let normed = self.before.forward(x.clone());
        let [batch, length, _] = x.dims();
        let heads = |layer: &Linear| {
            let x = layer.forward(normed.clone());
            x.reshape([batch, length, HEADS, WIDTH / HEADS]).swap_dims(1, 2)
        };
        let keys = pass.written(first, heads(&attention.key));
        let values = pass.written(first + 1, heads(&attention.value));
        let scores = heads(&attention.query).matmul(keys.clone().transpose());
        let scores = scores / ((WIDTH / HEADS) as f32).sqrt();
        let unseen = pass.unseen(CAPACITY).unsqueeze_dim::<4>(1);
        let unseen = unseen.expand([batch, HEADS, length, CAPACITY]);
        let weights = softmax(scores.mask_fill(unseen, attention.min_float), 3);
        let mixed = weights.matmul(values.clone()).swap_dims(1, 2).reshape([batch, length, WIDTH]);
        (self.fed(x + attention.output.forward(mixed)), [keys, values])
    }
}

impl Writer {
    fn new() -> Self {
        let device = device();
        randomized(Self {
            tokens: EmbeddingConfig::new(61, WIDTH).init(&device),
            places: EmbeddingConfig::new(CAPACITY, WIDTH).init(&device),
            blocks: vec![Block::new(), Block::new()],
            norm: LayerNormConfig::new(WIDTH).init(&device),
            head: LinearConfig::new(WIDTH, 61).init(&device),
        })
    }

    fn forward(&self, pass: DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>) {
        let mut states =
            self.tokens.forward(pass.tokens.clone()) + self.places.forward(pass.positions.clone());
        let mut caches = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            let (next, written) = block.cached(states, &pass, 2 * i);
            states = next;
            caches.extend(written);
        }
        (self.head.forward(self.norm.forward(pass.of_last(states))), caches)
    }

    /// The most likely next token of a text, by Burn alone.
    fn next(&self, text: &[u32]) -> u32 {
        let values: Vec<i64> = text.iter().map(|&token| i64::from(token)).collect();
        let tokens =
            Tensor::<2, Int>::from_data(TensorData::new(values, [1, text.len()]), &device());
        let places = Tensor::<1, Int>::arange(0..text.len() as i64, &device()).unsqueeze();
        let mut states = self.tokens.forward(tokens) + self.places.forward(places);
        for block in &self.blocks {
            states = block.whole(states);
        }
        let logits = self.head.forward(self.norm.forward(states));
        let last = logits.slice([0..1, text.len() - 1..text.len(), 0..61]);
        last.argmax(2).into_data().iter::<i64>().next().expect("a token") as u32
    }
}

#[test]
fn a_decoder_with_a_cache_writes_what_burn_writes() {
    let model = Writer::new();
    let sizes = [[HEADS, WIDTH / HEADS]; 4];
    let options = DecoderOptions::new(CAPACITY).tokens(Tokens::UpTo(8));
    let mut different = std::collections::HashSet::new();
    let mut kinds = vec![BackendKind::Tract];
    if std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty()) {
        kinds.push(BackendKind::Ort);
    }
    for kind in kinds {
        let compiling = OptimizeOptions::new().require(kind.clone()).cache(EngineCache::off());
        let fast = model
            .optimize_decoder(&sizes, Writer::forward, &options, &compiling)
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
        for prompt in [vec![5], vec![7, 30, 2, 60], (20..39).collect()] {
            let mut text: Vec<u32> = prompt.clone();
            for _ in 0..20 {
                text.push(model.next(&text));
            }
            let options = GenerateOptions::new().max_tokens(20);
            let got = fast.generate(&prompt, &options).unwrap();
            let got: Vec<u32> = got.collect::<Result<_, _>>().unwrap();
            assert_eq!(got, text[prompt.len()..], "{kind}, a prompt of {}", prompt.len());
            different.extend(got);
        }
        let error = fast.generate(&[61], &GenerateOptions::new()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(fast.score(&[5, 6, 7]).unwrap().len(), 2);
        assert!(fast.config().is_none());
    }
    assert!(different.len() > 8, "texts of few tokens prove little: {different:?}");
}

#[test]
fn a_forward_that_loses_a_cache_is_refused() {
    let lost = |model: &Writer, pass: DecoderPass| {
        let (logits, mut caches) = model.forward(pass);
        caches.pop();
        (logits, caches)
    };
    let options = DecoderOptions::new(CAPACITY).tokens(Tokens::UpTo(4));
    let compiling = OptimizeOptions::new().require(crate::common::portable());
    let error = Writer::new()
        .optimize_decoder(&[[HEADS, WIDTH / HEADS]; 4], lost, &options, &compiling)
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert!(error.to_string().contains("3 caches, and takes 4"), "{error}");
}

/// How many caches a model writes in place: the cache is an input that nothing else reads, and the result is an output.
fn in_place(model: &OnnxModel) -> usize {
    let graph = model.proto().graph.as_ref().unwrap();
    let scatters = graph.node.iter().filter(|node| node.op_type() == "TensorScatter");
    let each = |node: &NodeProto| {
        let cache = &node.input[0];
        assert!(graph.input.iter().any(|input| input.name() == cache), "{cache} is no input");
        assert!(graph.output.iter().any(|output| output.name() == node.output[0]));
        let readers = graph.node.iter().filter(|other| other.input.contains(cache));
        assert_eq!(readers.count(), 1, "{cache}");
    };
    scatters.inspect(|node| each(node)).count()
}

fn model_for(
    target: Target,
    tokens: usize,
    forward: impl Fn(&Writer, DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>),
) -> OnnxModel {
    let options = DecoderOptions::new(CAPACITY).tokens(Tokens::Fixed(tokens));
    let sizes = [[HEADS, WIDTH / HEADS]; 4];
    Writer::new().decoder_model(&sizes, forward, &options, target).unwrap()
}

/// Built without a GPU, for single tokens and for prompts.
#[cfg(feature = "tensorrt-rtx")]
#[test]
fn a_decoder_with_a_cache_is_built_by_tensorrt_rtx() {
    let backend = TensorRt::rtx();
    for tokens in [1, 8] {
        let model = model_for(Target::tensorrt(), tokens, Writer::forward);
        assert_eq!(in_place(&model), 4);
        let engine = backend.build(&model).unwrap();
        let before = if tokens == 1 { 2 } else { 3 };
        assert_eq!(engine.signature().inputs.len(), before + 4);
        assert_eq!(engine.signature().outputs.len(), 3 + 4);
        assert_eq!(in_place(&model_for(Target::portable(), tokens, Writer::forward)), 0);
    }
}

/// ONNX Runtime knows the operator that TensorRT writes caches in place with.
#[test]
fn what_tensorrt_gets_writes_what_burn_writes() {
    if std::env::var_os("ORT_DYLIB_PATH").is_none_or(|path| path.is_empty()) {
        return;
    }
    let compiling = OptimizeOptions::new().require(BackendKind::Ort).cache(EngineCache::off());
    let compiled = |tokens: usize| {
        let model = model_for(Target::tensorrt(), tokens, Writer::forward);
        assert_eq!(in_place(&model), 4);
        InferenceModule::compile(&model, &compiling).unwrap()
    };
    let (chunk, step) = (compiled(8), compiled(1));
    let model = Writer::new();
    let row = |values: Vec<i64>| HostTensor::from_vec([1, values.len()], values).unwrap();
    let prompt: Vec<u32> = vec![7, 30, 2, 60, 11];
    let mut text = prompt.clone();
    for _ in 0..20 {
        text.push(model.next(&text));
    }
    // What stands behind the prompt is overwritten before it is read.
    let mut tokens: Vec<i64> = prompt.iter().map(|&token| i64::from(token)).collect();
    tokens.resize(8, 33);
    let empty = || {
        let sizes = [1, HEADS, CAPACITY, WIDTH / HEADS];
        HostTensor::from_vec(sizes, vec![0f32; sizes.iter().product()]).unwrap()
    };
    let mut inputs = vec![row(tokens), row((0..8).collect()), row(vec![4])];
    inputs.extend((0..4).map(|_| empty()));
    let mut outputs = chunk.run(&inputs).unwrap();
    let mut got = prompt.clone();
    while got.len() < text.len() {
        got.push(outputs[0].to_vec::<i64>().unwrap()[0] as u32);
        let at = got.len() - 1;
        assert_eq!(outputs[1].to_vec::<i64>().unwrap(), [at as i64]);
        let mut inputs = vec![row(vec![i64::from(got[at])]), row(vec![at as i64])];
        inputs.extend(outputs.split_off(3));
        outputs = step.run(&inputs).unwrap();
    }
    assert_eq!(got, text);
}

/// Caches that are read as they were, or given back otherwise than written, are copied.
#[test]
fn caches_are_written_in_place_where_nothing_else_reads_them() {
    let target = Target::tensorrt();
    for tokens in [1, 8] {
        let reads_old = |model: &Writer, pass: DecoderPass| {
            let old = pass.caches[1].clone().mean().reshape([1, 1]);
            let (logits, caches) = model.forward(pass);
            (logits + old, caches)
        };
        assert_eq!(in_place(&model_for(target, tokens, reads_old)), 3);
        let changes = |model: &Writer, pass: DecoderPass| {
            let (logits, mut caches) = model.forward(pass);
            caches[2] = caches[2].clone() * 0.5;
            (logits, caches)
        };
        assert_eq!(in_place(&model_for(target, tokens, changes)), 3);
        let swaps = |model: &Writer, pass: DecoderPass| {
            let (logits, mut caches) = model.forward(pass);
            caches.swap(0, 1);
            (logits, caches)
        };
        assert_eq!(in_place(&model_for(target, tokens, swaps)), 2);
        let twice = |model: &Writer, pass: DecoderPass| {
            let ones = Tensor::ones([1, HEADS, tokens, WIDTH / HEADS], &pass.caches[3].device());
            let again = pass.written(3, ones);
            let (logits, caches) = model.forward(pass);
            (logits + again.mean().reshape([1, 1]), caches)
        };
        assert_eq!(in_place(&model_for(target, tokens, twice)), 3);
        let none = |model: &Writer, pass: DecoderPass| {
            let caches = pass.caches.iter().map(|cache| cache.clone() * 2.0).collect();
            (model.forward(pass).0, caches)
        };
        let model = model_for(target, tokens, none);
        assert_eq!(in_place(&model), 0);
        assert_eq!(model.signature().outputs.len(), 3 + 4);
    }
}
