//! The networks of the soak, with inputs of several sizes and the results that the portable backend gives for them.

use accelerant::export::{Conv, GraphBuilder, OnnxModel, Reduction, Target, Value};
use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions, Result};
use ndarray::{ArrayD, IxDyn};

/// A network, and how its sizes are chosen.
pub(crate) struct Network {
    pub(crate) name: &'static str,
    export: fn(Target) -> Result<OnnxModel>,
    /// The sizes of all inputs for the size of the dynamic axis.
    shapes: fn(usize) -> Vec<Vec<usize>>,
    /// The sizes of the dynamic axis that are run.
    pub(crate) sizes: &'static [usize],
    /// Whether the dynamic axis is a batch that requests can be joined along.
    pub(crate) batches: bool,
}

/// Inputs of one size, and the outputs that belong to them.
pub(crate) struct Sample {
    pub(crate) size: usize,
    pub(crate) inputs: Vec<HostTensor>,
    pub(crate) expected: Vec<HostTensor>,
}

pub(crate) const NETWORKS: [Network; 4] = [
    Network {
        name: "layers",
        export: layers,
        shapes: |batch| vec![vec![batch, 256]],
        sizes: &[1, 3, 8, 17, 32],
        batches: true,
    },
    Network {
        name: "convolutions",
        export: convolutions,
        shapes: |batch| vec![vec![batch, 3, 32, 32]],
        sizes: &[1, 2, 5, 8],
        batches: true,
    },
    Network {
        name: "attention",
        export: attention,
        shapes: |length| vec![vec![1, length, 128]],
        sizes: &[4, 16, 33, 64],
        batches: false,
    },
    Network {
        name: "gated",
        export: gated,
        shapes: |batch| vec![vec![batch, 192], vec![batch, 192]],
        sizes: &[1, 4, 12],
        batches: true,
    },
];

impl Network {
    /// The model, in the dialect of `target`.
    pub(crate) fn export(&self, target: Target) -> Result<OnnxModel> {
        (self.export)(target)
    }

    /// Inputs of each size with the results of the portable backend.
    pub(crate) fn samples(&self) -> Result<Vec<Sample>> {
        let options = OptimizeOptions::new().require(accelerant::BackendKind::Tract);
        let module = InferenceModule::compile(&self.export(Target::portable())?, &options)?;
        let sample = |&size: &usize| {
            let shapes = (self.shapes)(size);
            let inputs = shapes.iter().enumerate().map(|(i, shape)| values(shape, size + i));
            let inputs: Vec<HostTensor> = inputs.map(HostTensor::from).collect();
            let expected = module.run(&inputs)?;
            Ok(Sample { size, inputs, expected })
        };
        self.sizes.iter().map(sample).collect()
    }
}

/// Numbers between -1 and 1 that look random and are the same in every run.
fn values(shape: &[usize], seed: usize) -> ArrayD<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (seed as u64).wrapping_mul(0xd134_2543_de82_ef95);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// Weights of a layer with so many inputs, which keep values as large as they are.
fn weight(shape: &[usize], fan_in: usize, seed: usize) -> ArrayD<f32> {
    values(shape, 1000 + seed) * (3.0 / fan_in as f32).sqrt()
}

fn linear(x: &Value, name: &str, from: usize, to: usize, seed: usize) -> Result<Value> {
    let graph = x.graph();
    let matrix = graph.weight(&format!("{name}.weight"), weight(&[from, to], from, seed))?;
    let bias = graph.weight(&format!("{name}.bias"), weight(&[to], from, seed + 1))?;
    x.linear(&matrix, Some(&bias))
}

/// Fully connected layers.
fn layers(target: Target) -> Result<OnnxModel> {
    let graph = GraphBuilder::for_target("layers", target);
    let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=32)?, Dim::from(256)])?;
    let hidden = linear(&x, "first", 256, 512, 1)?.relu()?;
    let hidden = linear(&hidden, "second", 512, 256, 3)?.gelu()?;
    let sum = hidden.add(&x)?;
    graph.output("y", &linear(&sum, "last", 256, 64, 5)?)?;
    graph.finish()
}

/// Convolutions with a shortcut, and a mean over all pixels.
fn convolutions(target: Target) -> Result<OnnxModel> {
    let graph = GraphBuilder::for_target("convolutions", target);
    let batch = Dim::dynamic("batch", 1..=8)?;
    let x = graph.input("x", DType::F32, [batch, 3.into(), 32.into(), 32.into()])?;
    let conv = |x: &Value, name: &str, from: usize, to: usize, seed| {
        let shape = [to, from, 3, 3];
        let weight = graph.weight(&format!("{name}.weight"), weight(&shape, from * 9, seed))?;
        x.conv(&weight, None, &Conv::new(2).padding([(1, 1); 2]))
    };
    let stem = conv(&x, "stem", 3, 32, 11)?.relu()?;
    let inner = conv(&stem, "first", 32, 32, 12)?.relu()?;
    let outer = conv(&inner, "second", 32, 32, 13)?.add(&stem)?.relu()?;
    let mean = outer.reduce(Reduction::Mean, &[2, 3])?;
    graph.output("y", &linear(&mean, "head", 32, 10, 14)?)?;
    graph.finish()
}

/// Attention of four heads over a text of any length, with a feed-forward network behind it.
fn attention(target: Target) -> Result<OnnxModel> {
    const WIDTH: usize = 128;
    const HEADS: usize = 4;
    let graph = GraphBuilder::for_target("attention", target);
    let length = Dim::dynamic("length", 1..=64)?;
    let x = graph.input("x", DType::F32, [1.into(), length.clone(), WIDTH.into()])?;
    let heads = |name: &str, seed| -> Result<Value> {
        let width = (WIDTH / HEADS).into();
        let split = [Some(1.into()), Some(length.clone()), Some(HEADS.into()), Some(width)];
        linear(&x, name, WIDTH, WIDTH, seed)?.reshape(&split)?.transpose(&[0, 2, 1, 3])
    };
    let (query, key, value) = (heads("query", 21)?, heads("key", 23)?, heads("value", 25)?);
    let scores = query.matmul(&key.transpose(&[0, 1, 3, 2])?)?;
    let scale = 1.0 / ((WIDTH / HEADS) as f64).sqrt();
    let attended = scores.affine(scale, 0.0)?.softmax(-1)?.matmul(&value)?;
    let joined = [Some(1.into()), Some(length.clone()), Some(WIDTH.into())];
    let attended = attended.transpose(&[0, 2, 1, 3])?.reshape(&joined)?;
    let sum = linear(&attended, "output", WIDTH, WIDTH, 27)?.add(&x)?;
    let hidden = linear(&sum, "up", WIDTH, 4 * WIDTH, 29)?.gelu()?;
    graph.output("y", &linear(&hidden, "down", 4 * WIDTH, WIDTH, 31)?.add(&sum)?)?;
    graph.finish()
}

/// A gate on another input, with two outputs.
fn gated(target: Target) -> Result<OnnxModel> {
    let graph = GraphBuilder::for_target("gated", target);
    let batch = Dim::dynamic("batch", 1..=12)?;
    let x = graph.input("x", DType::F32, [batch.clone(), 192.into()])?;
    let other = graph.input("other", DType::F32, [batch, 192.into()])?;
    let gate = linear(&x, "gate", 192, 192, 41)?.silu()?.mul(&other)?;
    graph.output("gated", &gate)?;
    graph.output("y", &linear(&gate, "last", 192, 48, 43)?.tanh()?)?;
    graph.finish()
}
