//! Products of 8 bits whose sums of codes are far beyond half precision, against products in 32 bits that no runtime
//! computed. Built everywhere; the results take a GPU.

use accelerant::HostTensor;
use accelerant::backend::Backend;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{Precision, PrecisionOptions, Range, Ranges};
use accelerant::{DType, Error};
use ndarray::Array2;

use super::{gpu, noise, rtx};

const ROWS: usize = 128;
const INPUTS: usize = 768;
const HIDDEN: usize = 3072;

/// Even numbers of -1..1.
fn even(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let values = noise(rows * columns, seed).into_iter();
    let values = values.map(|byte| (f32::from(byte) - 127.5) / 127.5).collect();
    Array2::from_shape_vec((rows, columns), values).unwrap()
}

/// Two layers of a transformer's sizes: one `MatMul`, and one `Gemm` with a bias. Each output has a scale of its own.
struct Layers {
    first: Array2<f32>,
    second: Array2<f32>,
    bias: Array2<f32>,
}

impl Layers {
    fn new() -> Self {
        let mut first = even(INPUTS, HIDDEN, 1) * 0.1;
        for (output, mut column) in first.columns_mut().into_iter().enumerate() {
            column *= 0.1 + (output % 10) as f32 / 10.0;
        }
        Self { first, second: even(HIDDEN, INPUTS, 2) * 0.05, bias: even(1, INPUTS, 3) }
    }

    fn hidden(&self, x: &Array2<f32>) -> Array2<f32> {
        x.dot(&self.first).mapv(|v| v.max(0.0))
    }

    fn forward(&self, x: &Array2<f32>) -> Array2<f32> {
        self.hidden(x).dot(&self.second) + &self.bias
    }

    fn export(&self) -> Result<OnnxModel, Error> {
        let graph = GraphBuilder::for_target("layers", Target::tensorrt());
        let x = graph.input("x", DType::F32, [ROWS, INPUTS])?;
        let hidden = x.matmul(&graph.weight("first", self.first.clone())?)?.relu()?;
        let bias = graph.weight("bias", self.bias.row(0).to_owned())?;
        let second = graph.weight("second", self.second.clone())?;
        graph.output("y", &hidden.linear(&second, Some(&bias))?)?;
        graph.finish()
    }

    /// The ranges of what the products read, by the names that the model has for it.
    fn ranges(&self, model: &OnnxModel, x: &Array2<f32>) -> Ranges {
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        let names = nodes.iter().filter(|node| matches!(node.op_type(), "MatMul" | "Gemm"));
        let names: Vec<_> = names.map(|node| node.input[0].clone()).collect();
        let values = [x.clone(), self.hidden(x)];
        assert_eq!(names.len(), values.len(), "{model}");
        let range = |(name, values): (String, &Array2<f32>)| {
            let [min, max] = [f32::min, f32::max].map(|end| values.iter().copied().fold(0.0, end));
            let largest = min.abs().max(max.abs());
            (name, Range::new(min, max, values.mean().unwrap(), values.std(0.0), largest))
        };
        Ranges::new("min-max", ROWS, names.into_iter().zip(&values).map(range))
    }
}

/// The length of the difference as a part of the length of what is expected.
fn apart(got: &HostTensor, expected: &Array2<f32>) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    let got = got.to_vec::<f32>().unwrap();
    let wrong = got.iter().filter(|value| !value.is_finite()).count();
    assert_eq!(wrong, 0, "of {} results are not finite", got.len());
    let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|value| f64::from(value).powi(2)).sum()
    };
    let noise = squares(&mut got.iter().zip(expected).map(|(a, b)| a - b));
    (noise / squares(&mut expected.iter().copied())).sqrt()
}

#[test]
fn sums_of_codes_beyond_half_precision_are_right() {
    let (layers, x) = (Layers::new(), even(ROWS, INPUTS, 4));
    let expected = layers.forward(&x);
    let plain = layers.export().unwrap();
    // Even numbers in steps of 1/127 of the largest, and floats of 4 bits of mantissa, in two layers.
    for (precision, form, most) in [(Precision::Int8, "int8", 0.02), (Precision::Fp8, "fp8", 0.08)]
    {
        let options = PrecisionOptions::new(precision).ranges(layers.ranges(&plain, &x));
        let model = plain.with_precision(rtx().target(), options).unwrap();
        let report = model.precision_report().unwrap();
        let few = report.layers.iter().filter(|layer| layer.precision == form).count();
        assert_eq!(few, 2, "{report}");
        let engine = rtx().build(&model).unwrap();
        if gpu("sums_of_codes_beyond_half_precision_are_right") {
            let executable = rtx().load(&engine).unwrap();
            let got = executable.run(&[x.clone().into()]).unwrap();
            let apart = apart(&got[0], &expected);
            eprintln!("{precision} is {apart:.5} of the results' length away from 32 bits");
            assert!(apart < most, "{precision}: {apart} of the results' length");
        }
    }
}
