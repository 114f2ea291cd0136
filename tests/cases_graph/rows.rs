//! An encoder of few rows, which get more of them on Hopper, against sums in f64.

use crate::common::{Sample, check_within, random, tolerance};
use crate::softmax;
use accelerant::export::{GraphBuilder, Target, Value};
use accelerant::{DType, Result};
use ndarray::{Array2, ArrayD, Axis, Ix1, Ix2};

const WIDTH: usize = 384;
const HIDDEN: usize = 1536;
const HEADS: usize = 6;
const HEAD: usize = WIDTH / HEADS;
const EPSILON: f64 = 1e-5;

/// Weights `[in, out]` and biases of query, key, value, output and the two layers of the network.
struct Encoder {
    layers: Vec<[ArrayD<f32>; 2]>,
    scale: ArrayD<f32>,
}

impl Encoder {
    fn new() -> Self {
        let w = WIDTH;
        let sizes = [[w, w], [w, w], [w, w], [w, w], [w, HIDDEN], [HIDDEN, w]];
        let layers = sizes.iter().zip(1..).map(|(&[inputs, outputs], i)| {
            let scale = 1.5 / (inputs as f32).sqrt();
            [random(&[inputs, outputs], i) * scale, random(&[outputs], i + 10) * 0.2]
        });
        Self { layers: layers.collect(), scale: random(&[WIDTH], 30) + 1.5 }
    }

    fn in_fp64(&self, x: &Array2<f64>) -> Array2<f64> {
        let wide = |array: &ArrayD<f32>| array.mapv(f64::from);
        let linear = |i: usize, x: &Array2<f64>| {
            let [weight, bias] = &self.layers[i];
            let weight = wide(weight).into_dimensionality::<Ix2>().expect("a matrix");
            x.dot(&weight) + &wide(bias).into_dimensionality::<Ix1>().expect("a vector")
        };
        let scale = wide(&self.scale).into_dimensionality::<Ix1>().expect("a vector");
        let norm = |x: &Array2<f64>| {
            let mut y = x.clone();
            for mut row in y.rows_mut() {
                let mean = row.mean().expect("a row has values");
                row -= mean;
                let deviation = (row.mapv(|v| v * v).mean().expect("as many") + EPSILON).sqrt();
                row /= deviation;
                row *= &scale;
            }
            y
        };
        let y = norm(x);
        let [q, k, v] = [0, 1, 2].map(|i| linear(i, &y));
        let mut context = Array2::zeros(x.raw_dim());
        for head in 0..HEADS {
            let part = ndarray::s![.., head * HEAD..(head + 1) * HEAD];
            let mut scores = q.slice(part).dot(&k.slice(part).t()) * 0.125;
            softmax(&mut scores);
            context.slice_mut(part).assign(&scores.dot(&v.slice(part)));
        }
        let x = x + &linear(3, &context);
        &x + &linear(5, &linear(4, &norm(&x)).mapv(f64::tanh))
    }

    fn written(&self, x: &Value) -> Result<Value> {
        let graph = x.graph();
        let linear = |i: usize, x: &Value| {
            let [weight, bias] = &self.layers[i];
            let weight = graph.constant("weight", weight.clone());
            x.linear(&weight, Some(&graph.constant("bias", bias.clone())))
        };
        let scale = graph.constant("scale", self.scale.clone());
        let norm = |x: &Value| x.layer_norm(&scale, None, -1, EPSILON);
        let y = norm(x)?;
        let heads = |x: &Value| {
            let dims = [x.dims()[0].clone(), x.dims()[1].clone(), HEADS.into(), HEAD.into()];
            x.reshape(&dims.map(Some))?.transpose(&[0, 2, 1, 3])
        };
        let [q, k, v] = [0, 1, 2].map(|i| heads(&linear(i, &y)?));
        let scores = q?.matmul(&k?.transpose(&[0, 1, 3, 2])?)?.affine(0.125, 0.0)?;
        let context = scores.softmax(-1)?.matmul(&v?)?.transpose(&[0, 2, 1, 3])?;
        let x = x.add(&linear(3, &context.flatten(-2, -1)?)?)?;
        x.add(&linear(5, &linear(4, &norm(&x)?)?.tanh()?)?)
    }
}

#[test]
fn an_encoder_of_few_rows_matches_ndarray() {
    let encoder = Encoder::new();
    // With 52 rows keys are as they were.
    for rows in [50, 52, 77, 197, 300] {
        let x = random(&[rows, WIDTH], rows as u64);
        let matrix = x.mapv(f64::from).into_dimensionality::<Ix2>().expect("a matrix");
        let y = encoder.in_fp64(&encoder.in_fp64(&matrix));
        let y = y.mapv(|value| value as f32).insert_axis(Axis(0)).into_dyn();
        let export = |target| -> Result<_> {
            let graph = GraphBuilder::for_target("case", target);
            let x = graph.input("x", DType::F32, [1, rows, WIDTH])?;
            graph.output("y", &encoder.written(&encoder.written(&x)?)?)?;
            graph.finish()
        };
        let model = export(Target::portable().for_compute_capability(Some(90))).unwrap();
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        let cut = nodes.iter().filter(|node| node.op_type() == "Slice").count();
        assert_eq!(cut, 3, "query, key and value of each layer at once, and the result: {model}");
        let inputs = vec![x.insert_axis(Axis(0)).into()];
        let sample = Sample { name: "as it is".into(), inputs, expected: vec![y.into()] };
        check_within(&format!("{rows} rows"), export, &[sample], tolerance);
    }
}
