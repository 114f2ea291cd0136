//! `#[accelerant::trace]` on ordinary Candle code: what it was is what it is, and what is exported
//! gives the same values. What the attribute refuses is in the tests of `accelerant-macros`.

#![cfg(all(feature = "candle", feature = "tract"))]

mod common;
#[path = "candle_trace/idioms.rs"]
mod idioms;

use std::sync::Arc;

use accelerant::candle::{CandleModule, OptimizeTrt, export_onnx};
use accelerant::{Dim, ErrorKind, OptimizeOptions};
use candle_core::{D, DType, Device, Module, ModuleT, Result, Tensor};
use candle_nn::{
    Activation, BatchNorm, Conv2d, Conv2dConfig, Dropout, LayerNorm, Linear, Optimizer, SGD,
    VarBuilder, VarMap, ops,
};
use common::random;

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let (values, _) = random(shape, seed).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn linear(inputs: usize, outputs: usize, seed: u64) -> Linear {
    Linear::new(tensor(&[outputs, inputs], seed), Some(tensor(&[outputs], seed + 1)))
}

fn assert_close(got: &Tensor, expected: &Tensor) {
    assert_eq!((got.dtype(), got.dims()), (expected.dtype(), expected.dims()));
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (x, y) in values(got).into_iter().zip(values(expected)) {
        assert!((x - y).abs() <= 5e-3 * (1.0 + y.abs()), "{x} for {y}");
    }
}

fn batch(range: std::ops::RangeInclusive<usize>) -> OptimizeOptions {
    OptimizeOptions::new().dynamic_batch(range)
}

/// A module over any other, with a tensor of its own.
struct Residual<M> {
    inner: M,
    bias: Tensor,
    shared: Arc<Tensor>,
    scale: f64,
}

#[accelerant::trace]
impl<M: Module> Module for Residual<M> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = self.inner.forward(xs)?.broadcast_add(&self.bias)?;
        let ys = self.bias.narrow(0, 0, 1)?.broadcast_mul(&ys)?;
        let ys = ys.broadcast_sub(&self.shared)?;
        let scale = 1.0 / (xs.dim(1)? as f64).sqrt() * self.scale;
        let third: Tensor = (xs * (2.0 * scale))?;
        ((ys * scale)? + (1.0 - third)?)? + xs.affine(0.5, 0.0)
    }
}

fn residual(seed: u64) -> Residual<Linear> {
    Residual {
        inner: linear(6, 6, seed),
        bias: tensor(&[6], seed + 2),
        shared: Arc::new(tensor(&[6], seed + 3)),
        scale: 0.5,
    }
}

struct Block {
    conv: Conv2d,
    norm: BatchNorm,
    dropout: Dropout,
}

#[accelerant::trace]
impl ModuleT for Block {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let ys = xs.apply(&self.conv)?.apply_t(&self.norm, train)?;
        let ys = self.norm.forward_t(&ys, train)?.relu()?;
        self.dropout.forward(&ys, train)
    }
}

struct Cnn {
    blocks: Vec<Block>,
    extra: Option<Conv2d>,
    activation: Activation,
    head: Linear,
}

#[accelerant::trace]
impl Module for Cnn {
    /// Everything that a forward is commonly written with.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = xs.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            let ys = block.forward_t(&xs, false)?;
            xs = if i == 0 { Tensor::cat(&[&xs, &ys], 1)? } else { ys };
        }
        let xs = xs.apply(&self.extra.as_ref())?.apply(&self.activation)?;
        let zeros = Tensor::zeros((1, 4, 1, 1), DType::F32, xs.device())?;
        let xs = Tensor::stack(&[&xs.broadcast_add(&zeros)?, &xs.neg()?], 2)?.max(2)?;
        if xs.rank() != 4 {
            candle_core::bail!("a picture has four axes, not {}", xs.rank())
        }
        let pooled: Vec<Tensor> = vec![xs.mean((2, 3))?, xs.flatten_from(2)?.max(D::Minus1)?];
        let logits = self.head.forward(&Tensor::cat(&pooled, D::Minus1)?)?;
        candle_nn::ops::softmax(&logits, D::Minus1)? + ops::sigmoid(&logits)?
    }
}

fn block(inputs: usize, outputs: usize, seed: u64) -> Block {
    let config = Conv2dConfig { padding: 1, ..Default::default() };
    let variance = tensor(&[outputs], seed).sqr().unwrap().affine(1.0, 0.5).unwrap();
    let norm = BatchNorm::new(
        outputs,
        tensor(&[outputs], seed + 1),
        variance,
        tensor(&[outputs], seed + 2),
        tensor(&[outputs], seed + 3),
        1e-5,
    );
    let conv = Conv2d::new(tensor(&[outputs, inputs, 3, 3], seed + 4), None, config);
    Block { conv, norm: norm.unwrap(), dropout: Dropout::new(0.5) }
}

fn cnn() -> Cnn {
    let extra = Conv2d::new(tensor(&[4, 4, 1, 1], 9), None, Conv2dConfig::default());
    let blocks = vec![block(3, 2, 1), block(5, 4, 2)];
    Cnn { blocks, extra: Some(extra), activation: Activation::Silu, head: linear(8, 5, 3) }
}

#[test]
fn a_module_stays_one_and_is_exported() {
    let (net, x) = (residual(1), tensor(&[4, 6], 7));
    let expected = net.forward(&x).unwrap();
    let fast = net.optimize_trt_with(&x, &batch(1..=8)).unwrap();
    assert_close(&fast.forward(&x).unwrap(), &expected);
    let one = x.narrow(0, 0, 1).unwrap();
    assert_close(&fast.forward(&one).unwrap(), &net.forward(&one).unwrap());
    // The generic form on candle's own tensor.
    assert_close(&accelerant::candle::Forward::forward(&net, &x).unwrap(), &expected);
}

/// Layers behind pointers, which a method call of Candle sees through.
struct Pointed {
    shared: Arc<Linear>,
    boxed: Box<Linear>,
    counted: std::rc::Rc<Linear>,
}

// On one line, as somebody may write it: what the attribute makes of the line is no line of theirs to be warned of.
#[deny(unused_braces)]
#[rustfmt::skip]
#[accelerant::trace]
impl Module for Pointed {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> { self.counted.forward(&self.boxed.forward(&self.shared.forward(xs)?)?) }
}

#[test]
fn layers_behind_pointers_are_exported() {
    let (shared, boxed) = (Arc::new(linear(4, 6, 1)), Box::new(linear(6, 3, 3)));
    let model = Pointed { shared, boxed, counted: linear(3, 2, 5).into() };
    let x = tensor(&[2, 4], 7);
    let fast = model.optimize_trt(&x).unwrap();
    assert_close(&fast.forward(&x).unwrap(), &model.forward(&x).unwrap());
}

#[test]
fn nested_modules_are_exported_under_the_names_of_their_fields() {
    let (net, x) = (cnn(), tensor(&[2, 3, 6, 6], 1));
    let expected = net.forward(&x).unwrap();
    assert_close(&accelerant::candle::Forward::forward(&net, &x).unwrap(), &expected);
    let fast = net.optimize_trt_with(&x, &batch(1..=4)).unwrap();
    assert_close(&fast.forward(&x).unwrap(), &expected);
    // In the place of the original.
    let replaced = Residual {
        inner: fast,
        bias: tensor(&[5], 1),
        shared: Arc::new(tensor(&[5], 2)),
        scale: 1.0,
    };
    let kept = Residual {
        inner: net,
        bias: tensor(&[5], 1),
        shared: Arc::new(tensor(&[5], 2)),
        scale: 1.0,
    };
    let inner = |x: &Tensor| ModuleT::forward_t(&replaced.inner, x, false);
    assert_close(&inner(&x).unwrap(), &kept.inner.forward(&x).unwrap());

    let model = export_onnx(&kept.inner, &x, &OptimizeOptions::new()).unwrap();
    let graph = model.proto().graph.as_ref().unwrap();
    let names: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    for name in ["conv/conv2d.weight", "norm/batch_norm.running_mean", "head/linear.bias"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
}

struct Attention {
    query: Linear,
    key: Linear,
    heads: usize,
    norm: LayerNorm,
    positions: Tensor,
}

#[accelerant::trace]
fn scaled(scores: &Tensor, mask: Option<&Tensor>, size: usize) -> Result<Tensor> {
    let scores = (scores / (size as f64).sqrt())?;
    match mask {
        Some(mask) => scores.broadcast_add(mask),
        None => Ok(scores),
    }
}

#[accelerant::trace]
impl Attention {
    /// No tensor goes in, so it stays as it is.
    fn new(width: usize) -> Self {
        let norm = LayerNorm::new(tensor(&[width], 6), tensor(&[width], 7), 1e-5);
        let (query, key) = (linear(width, width, 1), linear(width, width, 3));
        Self { query, key, heads: 2, norm, positions: tensor(&[1, 5, width], 8) }
    }

    fn split(&self, xs: &Tensor) -> Result<Tensor> {
        let (batch, length, width) = xs.dims3()?;
        xs.reshape((batch, length, self.heads, width / self.heads))?.transpose(1, 2)?.contiguous()
    }

    fn merge(xs: Tensor) -> Result<Tensor> {
        xs.transpose(1, 2)?.flatten_from(D::Minus2)
    }

    fn shifted(&self, xs: &Tensor, table: &Tensor) -> Result<Tensor> {
        self.norm.forward(&xs.broadcast_add(table)?)
    }

    #[trace(skip)]
    fn largest(&self, xs: &Tensor) -> Result<(Tensor, f32)> {
        Ok((xs.clone(), xs.max_all()?.to_scalar()?))
    }

    fn forward(&self, xs: &Tensor, mask: Option<&Tensor>) -> Result<(Tensor, [Tensor; 1])> {
        let xs = self.shifted(xs, &self.positions.detach())?;
        let (query, key) =
            (self.split(&self.query.forward(&xs)?)?, self.split(&xs.apply(&self.key)?)?);
        let scores = scaled(&query.matmul(&key.t()?)?, mask, query.dim(D::Minus1)?)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        Ok((Self::merge(weights.matmul(&key)?)?, [scores]))
    }
}

#[test]
fn helpers_several_inputs_and_outputs() {
    let net = Attention::new(8);
    let (x, mask) = (tensor(&[2, 5, 8], 1), tensor(&[1, 1, 5, 5], 2));
    assert_eq!(net.largest(&mask).unwrap().1, mask.max_all().unwrap().to_scalar::<f32>().unwrap());
    let (merged, [scores]) = net.forward(&x, Some(&mask)).unwrap();
    for fast in [
        net.optimize_trt((&x, &mask)).unwrap(),
        net.optimize_trt([("mask", &mask), ("xs", &x)]).unwrap(),
    ] {
        for outputs in [
            fast.run([("xs", &x), ("mask", &mask)]).unwrap(),
            fast.run([("mask", &mask), ("xs", &x)]).unwrap(),
        ] {
            assert_close(&outputs[0], &merged);
            assert_close(&outputs[1], &scores);
        }
    }
    // Without the input that may be missing.
    let (merged, _) = net.forward(&x, None).unwrap();
    let fast = net.optimize_trt_with(
        &x,
        &OptimizeOptions::new().dynamic_axis("xs", 0, Dim::dynamic("n", 1..=4).unwrap()),
    );
    let fast = fast.unwrap();
    assert_eq!(fast.inference().signature().inputs[0].to_string(), "xs: f32 [n, 5, 8]");
    assert_close(&fast.run(&x).unwrap()[0], &merged);
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let net = Attention::new(8);
    let (x, mask) = (tensor(&[2, 5, 8], 1), tensor(&[1, 1, 5, 5], 2));
    let refused = |result: accelerant::Result<CandleModule>| {
        let error = result.unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(net.optimize_trt((&x, &mask, &mask)));
    assert_eq!(kind, ErrorKind::InputMismatch, "{text}");
    assert!(text.contains("3 inputs were given, but the model takes xs, mask"), "{text}");
    let (kind, text) = refused(net.optimize_trt([("xs", &x), ("masks", &mask)]));
    assert_eq!(kind, ErrorKind::InputMismatch, "{text}");
    assert!(text.contains("no input `masks`; given: xs, masks; known: xs, mask"), "{text}");
    let (_, text) = refused(net.optimize_trt([("mask", &mask)]));
    assert!(text.contains("the input `xs` is missing; given: mask; known so far: xs"), "{text}");
    let (kind, text) = refused(cnn().optimize_trt((&x, &x)));
    assert_eq!(kind, ErrorKind::InputMismatch, "{text}");

    let fast = net.optimize_trt((&x, &mask)).unwrap();
    for (inputs, told) in [
        (vec![("xs", &x), ("masks", &mask)], "no input `masks`; given: xs, masks; known: xs, mask"),
        (vec![("xs", &x), ("xs", &x)], "`xs` is given twice; given: xs, xs; known: xs, mask"),
    ] {
        let error = fast.run(inputs).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputMismatch, "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    let error = fast.run([("mask", &mask)]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InputMismatch, Some("xs")));
    assert!(error.to_string().contains("given: mask; known: xs, mask"), "{error}");
}

/// A decoder step: the cache goes in and comes out.
struct Step {
    layers: Vec<Linear>,
}

#[accelerant::trace]
impl Step {
    fn forward(&self, xs: &Tensor, cache: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (mut xs, mut caches) = (xs.clone(), Vec::new());
        for (layer, past) in self.layers.iter().zip(cache) {
            let now = Tensor::cat(&[past, &layer.forward(&xs)?], 1)?;
            xs = xs.broadcast_add(&now.mean_keepdim(1)?)?;
            caches.push(now);
        }
        Ok((xs, caches))
    }
}

#[test]
fn a_list_of_inputs_takes_what_is_left() {
    let net = Step { layers: vec![linear(4, 4, 1), linear(4, 4, 3)] };
    let past = Dim::dynamic("past", 1..=9).unwrap();
    let options = OptimizeOptions::new()
        .dynamic_axis("cache_0", 1, past.clone())
        .dynamic_axis("cache_1", 1, past)
        .output_names(["xs_out", "cache_0_out", "cache_1_out"]);
    let (x, caches) = (tensor(&[2, 1, 4], 1), [tensor(&[2, 3, 4], 2), tensor(&[2, 3, 4], 3)]);
    let fast = net.optimize_trt_with((&x, &caches[0], &caches[1]), &options).unwrap();
    let names: Vec<&str> =
        fast.inference().signature().inputs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["xs", "cache_0", "cache_1"]);
    let mut fed = caches.to_vec();
    for step in 0..3 {
        let x = tensor(&[2, 1, 4], 10 + step);
        let (expected, expected_caches) = net.forward(&x, &fed).unwrap();
        let outputs = fast.run((&x, &fed[0], &fed[1])).unwrap();
        assert_close(&outputs[0], &expected);
        assert_close(&outputs[1], &expected_caches[0]);
        fed = outputs[1..].to_vec();
    }
}

/// Trained with the very source that is exported.
struct Mlp {
    first: Linear,
    norm: BatchNorm,
    second: Linear,
}

#[accelerant::trace]
impl Mlp {
    fn hidden(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.norm.forward_t(&self.first.forward(xs)?.tanh()?, train)
    }

    fn logits(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.second.forward(&self.hidden(xs, train)?)
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.logits(xs, false)
    }
}

#[test]
fn the_same_source_trains() {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let net = Mlp {
        first: candle_nn::linear(4, 8, vb.pp("first")).unwrap(),
        norm: candle_nn::batch_norm(8, 1e-5, vb.pp("norm")).unwrap(),
        second: candle_nn::linear(8, 1, vb.pp("second")).unwrap(),
    };
    let x = tensor(&[16, 4], 1);
    let target = x.sum_keepdim(1).unwrap();
    let mut sgd = SGD::new(map.all_vars(), 0.05).unwrap();
    let running = || net.norm.running_mean().to_vec1::<f32>().unwrap();
    let before = running();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let loss = candle_nn::loss::mse(&net.logits(&x, true).unwrap(), &target).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        sgd.backward_step(&loss).unwrap();
    }
    assert!(losses[59] < 0.2 * losses[0], "{losses:?}");
    assert_ne!(before, running(), "the layer was told that it is trained");
    let fast = net.optimize_trt(&x).unwrap();
    assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());

    let error = CandleModule::of_fn(&x, &OptimizeOptions::new(), |inputs| {
        Ok(vec![net.logits(&inputs[0], true)?])
    });
    assert!(error.unwrap_err().to_string().contains("a layer in training cannot be exported"));
}

/// Functions of one's own under the names of Candle's.
mod own {
    use candle_core::{Module, Result, Tensor};

    pub(super) mod ops {
        use candle_core::{Result, Tensor};

        #[accelerant::trace]
        pub(crate) fn softmax(xs: &Tensor, half: usize) -> Result<Tensor> {
            xs.narrow(1, half, half)?.neg()
        }

        pub(crate) mod loss {
            use candle_core::{Result, Tensor};

            #[accelerant::trace]
            pub(crate) fn mse(xs: &Tensor) -> Result<Tensor> {
                xs.sqr()
            }
        }
    }

    pub(super) struct Own {
        pub(super) scale: Tensor,
    }

    #[accelerant::trace]
    impl Module for Own {
        fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            let halves = xs.chunk(2, 1)?;
            // Tensors that are owned and used again, and those in a list.
            let sum = halves[0].mul(&halves[1])?;
            let twice = sum.add(&sum)?;
            let less = twice.sub(&sum)?.div(&self.scale)?;
            let all = Tensor::add(&less, &twice)?;
            let own = self::ops::softmax(xs, xs.dim(1)? / 2)?;
            let own = (own + crate::own::ops::loss::mse(&all)?)?;
            candle_nn::ops::softmax(&own.mul(&halves[0])?, 1)
        }
    }
}

#[test]
fn functions_of_ones_own_and_owned_tensors() {
    let net = own::Own { scale: tensor(&[1, 3], 5).exp().unwrap() };
    let x = tensor(&[1, 6], 1);
    let expected = net.forward(&x).unwrap();
    assert_close(&accelerant::candle::Forward::forward(&net, &x).unwrap(), &expected);
    assert_close(&net.optimize_trt(&x).unwrap().forward(&x).unwrap(), &expected);
}
