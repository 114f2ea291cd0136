//! Candle models through `TensorOps` against the same models in plain Candle, both on Candle's
//! tensors: the trait is to cost nothing. The two sides of a pair take turns, each in a measurement
//! of its own, so that what else the machine does falls on both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LSTMConfig, LayerNorm, Linear, VarBuilder, VarMap};
use criterion::{Criterion, criterion_group, criterion_main};

fn weight(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 0.1, shape, &Device::Cpu).expect("random values")
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    Linear::new(weight(&[outputs, inputs]), Some(weight(&[outputs])))
}

const WIDTH: usize = 128;

/// A block of a transformer: attention of 4 heads, and a layer of four times the width.
struct Block {
    norm: LayerNorm,
    qkv: Linear,
    out: Linear,
    up: Linear,
    down: Linear,
}

/// Two convolutions and a classifier.
struct Cnn {
    first: Conv2d,
    second: Conv2d,
    head: Linear,
}

/// The forwards, once over the trait and once over candle's tensor, in the same words: which
/// `forward` is meant is what is imported.
macro_rules! forwards {
    ($tensor:ident $(, $bound:path)?) => {
        pub(crate) fn block$(<$tensor: $bound>)?(block: &Block, xs: &$tensor) -> Result<$tensor> {
            let (batch, length, _) = xs.dims3()?;
            let parts = block.qkv.forward(&block.norm.forward(xs)?)?.chunk(3, 2)?;
            let heads = |part: &$tensor| {
                part.reshape((batch, length, 4, WIDTH / 4))?.transpose(1, 2)?.contiguous()
            };
            let (q, k, v) = (heads(&parts[0])?, heads(&parts[1])?, heads(&parts[2])?);
            let scores = softmax_last_dim(&(q.matmul(&k.t()?)? * 0.176)?)?;
            let mixed = scores.matmul(&v)?.transpose(1, 2)?.reshape((batch, length, WIDTH))?;
            let xs = (block.out.forward(&mixed)? + xs)?;
            let inner = block.up.forward(&block.norm.forward(&xs)?)?.gelu()?;
            block.down.forward(&inner)? + xs
        }

        pub(crate) fn cnn$(<$tensor: $bound>)?(cnn: &Cnn, xs: &$tensor) -> Result<$tensor> {
            let xs = cnn.first.forward(xs)?.relu()?.max_pool2d(2)?;
            let xs = cnn.second.forward(&xs)?.relu()?.max_pool2d(2)?;
            cnn.head.forward(&xs.flatten_from(1)?)
        }

        /// Operations that take less time than a call.
        pub(crate) fn small$(<$tensor: $bound>)?((): &(), xs: &$tensor) -> Result<$tensor> {
            let mut ys = xs.clone();
            for _ in 0..20 {
                ys = ((&ys * 0.5)? + xs)?.relu()?.maximum(0.1)?.narrow(1, 0, 4)?.squeeze(0)?;
                ys = ys.unsqueeze(0)?.broadcast_as((1, 4))?.clamp(-1.0, 1.0)?;
            }
            Ok(ys)
        }
    };
}

mod plain {
    use super::*;
    use candle_core::Module;
    use candle_nn::RNN;
    use candle_nn::ops::softmax_last_dim;

    forwards!(Tensor);

    pub(crate) fn lstm(lstm: &candle_nn::LSTM, xs: &Tensor) -> Result<Tensor> {
        lstm.states_to_tensor(&lstm.seq(xs)?)
    }
}

mod over_the_trait {
    use super::*;
    use accelerant::candle::ops::softmax_last_dim;
    use accelerant::candle::{Forward, LSTM, RNN, TensorOps};

    forwards!(T, TensorOps);

    pub(crate) fn lstm<T: TensorOps>(lstm: &LSTM, xs: &T) -> Result<T> {
        lstm.states_to_tensor(&lstm.seq(xs)?)
    }
}

/// Both sides of a pair, by turns.
fn pair<A, B>(
    c: &mut Criterion,
    name: &str,
    (a, plain): (&A, impl Fn(&A, &Tensor) -> Result<Tensor>),
    (b, traced): (&B, impl Fn(&B, &Tensor) -> Result<Tensor>),
    shape: &[usize],
) {
    let xs = weight(shape);
    let time = |run: &dyn Fn() -> Result<Tensor>| {
        let start = Instant::now();
        black_box(run().expect("the forward runs"));
        start.elapsed()
    };
    let plain = || plain(a, black_box(&xs));
    let traced = || traced(b, black_box(&xs));
    let by_turns =
        |count: u64, ours: &dyn Fn() -> Result<Tensor>, others: &dyn Fn() -> Result<Tensor>| {
            (0..count)
                .map(|_| {
                    time(others);
                    time(ours)
                })
                .sum::<Duration>()
        };
    let mut group = c.benchmark_group(name);
    group.bench_function("Candle", |bench| bench.iter_custom(|n| by_turns(n, &plain, &traced)));
    group.bench_function("TensorOps", |bench| bench.iter_custom(|n| by_turns(n, &traced, &plain)));
    group.finish();

    // The figure that counts: medians of turns within one measurement.
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..3000 {
        times[0].push(time(&plain));
        times[1].push(time(&traced));
    }
    let [plain, traced] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let ratio = traced.as_secs_f64() / plain.as_secs_f64();
    println!("{name}: Candle {plain:?}, TensorOps {traced:?}, ratio {ratio:.4}");
}

fn natives(c: &mut Criterion) {
    let block = Block {
        norm: LayerNorm::new(weight(&[WIDTH]), weight(&[WIDTH]), 1e-5),
        qkv: linear(WIDTH, 3 * WIDTH),
        out: linear(WIDTH, WIDTH),
        up: linear(WIDTH, 4 * WIDTH),
        down: linear(4 * WIDTH, WIDTH),
    };
    let (ours, theirs) = (over_the_trait::block::<Tensor>, plain::block);
    pair(c, "transformer block", (&block, theirs), (&block, ours), &[1, 16, WIDTH]);

    let config = Conv2dConfig { padding: 1, ..Default::default() };
    let cnn = Cnn {
        first: Conv2d::new(weight(&[8, 3, 3, 3]), Some(weight(&[8])), config),
        second: Conv2d::new(weight(&[16, 8, 3, 3]), Some(weight(&[16])), config),
        head: linear(16 * 4 * 4, 10),
    };
    let (ours, theirs) = (over_the_trait::cnn::<Tensor>, plain::cnn);
    pair(c, "convolutional network", (&cnn, theirs), (&cnn, ours), &[1, 3, 16, 16]);

    let (ours, theirs) = (over_the_trait::small::<Tensor>, plain::small);
    pair(c, "small operations", (&(), theirs), (&(), ours), &[1, 4]);

    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let config = LSTMConfig::default();
    let theirs = candle_nn::lstm(32, 64, config, vb.clone()).expect("parameters");
    let ours = accelerant::candle::lstm(32, 64, config, vb).expect("the same parameters");
    let runs = (plain::lstm, over_the_trait::lstm::<Tensor>);
    pair(c, "LSTM", (&theirs, runs.0), (&ours, runs.1), &[1, 20, 32]);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(50).measurement_time(Duration::from_secs(3));
    targets = natives
}
criterion_main!(benches);
