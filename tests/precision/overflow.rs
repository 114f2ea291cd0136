//! Models that overflow in half precision, or lose all digits. Each is right by rule, or by what samples say, and then
//! the report names the tensor that forbids it.

use accelerant::Registry;
use accelerant::backend::ort::Ort;
use accelerant::export::{GraphBuilder, OnnxModel, Reduction, Target, Value};
use accelerant::precision::{Calibration, Method, Precision, PrecisionOptions};
use accelerant::{DType, HostTensor, Result};

use crate::common::to_f64;
use crate::plan::Plan;
use crate::runs::{has_ort, near, numbers, run};

fn model(dims: &[usize], body: impl Fn(&GraphBuilder, &Value) -> Result<Value>) -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, dims.iter().copied()).unwrap();
    graph.output("y", &body(&graph, &x).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn weight(graph: &GraphBuilder, shape: &[usize], scale: f32, seed: u64) -> Value {
    graph.constant("weight", numbers(shape, scale, seed))
}

/// Checks a model in half precision by rule alone.
fn right(name: &str, plain: &OnnxModel, input: HostTensor, part: f64) {
    let half = plain.with_precision(Target::tensorrt(), Precision::Fp16).unwrap();
    Plan::of(name, &half);
    if has_ort(name) {
        let expected = run(name, plain, std::slice::from_ref(&input));
        assert!(to_f64(&expected[0]).iter().all(|v| v.is_finite()), "{name}");
        near(name, &run(name, &half, &[input])[0], &expected[0], part);
    }
}

/// Checks a model that is wrong in half precision without samples, and right with them; the tensor is named.
fn right_with_samples(name: &str, plain: &OnnxModel, input: HostTensor, part: f64, why: &str) {
    let target = Target::tensorrt();
    if !has_ort(name) {
        return;
    }
    let expected = run(name, plain, std::slice::from_ref(&input));
    let blind = plain.with_precision(target, Precision::Fp16).unwrap();
    let blind = to_f64(&run(name, &blind, std::slice::from_ref(&input))[0]);
    let scale = to_f64(&expected[0]).iter().fold(0f64, |most, v| most.max(v.abs()));
    let pairs = blind.iter().zip(to_f64(&expected[0]));
    let wrong =
        |(got, expected): (&f64, f64)| got.is_nan() || (got - expected).abs() > part * scale;
    assert!(pairs.into_iter().any(wrong), "{name} is right without samples: no case");

    let registry = Registry::empty().with(Ort);
    let batches = [vec![input.clone()]];
    let calibration = Calibration::new(Method::MinMax).least_samples(1);
    let ranges = calibration.run(plain, &registry, batches).unwrap();
    let options = PrecisionOptions::new(Precision::Fp16).ranges(ranges);
    let half = plain.with_precision(target, options).unwrap();
    let report = half.precision_report().unwrap();
    let named = report.layers.iter().filter_map(|layer| layer.reason.as_deref());
    assert!(named.clone().any(|reason| reason.contains(why)), "{name}: {report}");
    Plan::of(name, &half);
    near(name, &run(name, &half, &[input])[0], &expected[0], part);
}

#[test]
fn large_scores_before_a_softmax() {
    let plain = model(&[2, 16, 64], |_, x| {
        let x = x.affine(60.0, 0.0)?;
        let scores = x.matmul(&x.transpose(&[0, 2, 1])?)?;
        scores.affine(1e-5, 0.0)?.softmax(-1)?.matmul(&x)
    });
    right_with_samples("large scores", &plain, numbers(&[2, 16, 64], 1.0, 2), 2e-2, "beyond f16");
}

#[test]
fn sums_that_are_not_divided() {
    let plain = model(&[2, 4096], |_, x| {
        let weights = x.affine(40.0, 50.0)?;
        weights.div(&weights.reduce_keepdim(Reduction::Sum, &[1])?)?.affine(1000.0, 0.0)
    });
    right("sums", &plain, numbers(&[2, 4096], 1.0, 3), 4e-3);
    let counted = model(&[2, 512, 8], |_, x| {
        x.affine(1.0, 200.0)?.reduce(Reduction::Sum, &[1])?.affine(1.0 / 512.0, 0.0)
    });
    right("a mean written as a sum", &counted, numbers(&[2, 512, 8], 1.0, 3), 4e-3);
}

#[test]
fn exponentials() {
    let plain = model(&[2, 64], |_, x| {
        let parts = x.affine(15.0, 0.0)?.exp()?;
        parts.div(&parts.reduce_keepdim(Reduction::Sum, &[1])?)
    });
    right("a softmax without its maximum", &plain, numbers(&[2, 64], 1.0, 4), 2e-2);
}

/// Numbers of about 1e-5, whose squares and whose least number added both vanish in half precision.
#[test]
fn a_tiny_number_in_a_root_mean_square() {
    let plain = model(&[4, 64], |graph, x| {
        let x = x.affine(1e-4, 0.0)?;
        let mean = x.powf(2.0)?.reduce_keepdim(Reduction::Mean, &[1])?.affine(1.0, 1e-8)?;
        x.mul(&mean.powf(-0.5)?)?.mul(&weight(graph, &[64], 1.0, 5))
    });
    right("root mean square", &plain, numbers(&[4, 64], 1.0, 5), 5e-3);
    let large = model(&[4, 64], |graph, x| {
        let x = x.affine(900.0, 0.0)?;
        let mean = x.mul(&x)?.reduce_keepdim(Reduction::Mean, &[1])?.affine(1.0, 1e-6)?;
        x.div(&mean.sqrt()?)?.mul(&weight(graph, &[64], 1.0, 5))
    });
    right("root mean square of large numbers", &large, numbers(&[4, 64], 1.0, 5), 5e-3);
}

/// The feed-forward network of T5: what its last layer gives, and the sum it is added to, exceed half precision.
#[test]
fn the_feed_forward_network_of_t5() {
    let plain = model(&[2, 8, 64], |graph, x| {
        let normed = |x: &Value| -> Result<Value> {
            let mean = x.powf(2.0)?.reduce_keepdim(Reduction::Mean, &[-1])?.affine(1.0, 1e-6)?;
            x.mul(&mean.sqrt()?.reciprocal()?)
        };
        let inner = normed(x)?.matmul(&weight(graph, &[64, 256], 3.0, 6))?.relu()?;
        let outer = inner.matmul(&weight(graph, &[256, 64], 90.0, 7))?;
        normed(&x.add(&outer.affine(30.0, 0.0)?)?)?.matmul(&weight(graph, &[64, 16], 0.5, 8))
    });
    right_with_samples("T5", &plain, numbers(&[2, 8, 64], 1.0, 6), 1e-2, "beyond f16");
}

/// A normalization of numbers that are near to each other and far from 0.
#[test]
fn a_normalization_near_ten_thousand() {
    let norm = |graph: &GraphBuilder, x: &Value| {
        let node = graph.node("LayerNormalization").input(x);
        let node = node.input(&weight(graph, &[64], 1.0, 9)).input(&weight(graph, &[64], 1.0, 10));
        node.attr("axis", -1).build()
    };
    let far = |x: HostTensor| HostTensor::from(x.to_array::<f32>().unwrap().mapv(|v| v + 1e4));
    let first = model(&[2, 8, 64], norm);
    right("of the input", &first, far(numbers(&[2, 8, 64], 1.0, 9)), 5e-3);
    let within = model(&[2, 8, 64], |graph, x| norm(graph, &x.affine(1.0, 1e4)?));
    let (name, why) = ("within", "is normalized");
    right_with_samples(name, &within, numbers(&[2, 8, 64], 1.0, 9), 5e-3, why);
}

/// Every key of a row is hidden: the weights are even in 32 bits, or what the least number leaves.
#[test]
fn rows_that_are_hidden_whole() {
    for hidden in [-1e4f32, -1e9, -1e12, f32::MIN] {
        let plain = model(&[2, 8, 16], |graph, x| {
            let mask = (0..16).map(|i| if i < 8 { 0.0 } else { hidden }).collect();
            let mask = graph.constant("mask", HostTensor::from_vec([2, 1, 8], mask)?);
            let scores = x.matmul(&x.transpose(&[0, 2, 1])?)?.add(&mask)?;
            scores.softmax(-1)?.matmul(x)
        });
        right(&format!("{hidden} everywhere"), &plain, numbers(&[2, 8, 16], 2.0, 11), 5e-3);
    }
    // Minus infinity leaves no number where all are hidden: then as many as there are.
    let some = model(&[2, 8, 16], |graph, x| {
        let mask = (0..16).map(|i| if i % 3 < 2 { 0.0 } else { f32::NEG_INFINITY }).collect();
        let mask = graph.constant("mask", HostTensor::from_vec([2, 1, 8], mask)?);
        x.matmul(&x.transpose(&[0, 2, 1])?)?.add(&mask)?.softmax(-1)?.matmul(x)
    });
    right("minus infinity", &some, numbers(&[2, 8, 16], 2.0, 11), 5e-3);
}

/// A mask that is computed from ones and zeros: (1 - mask) * -1e12.
#[test]
fn a_mask_that_is_computed() {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [2usize, 8, 16]).unwrap();
    let mask = graph.input("mask", DType::I64, [2usize, 1, 8]).unwrap();
    let hidden = mask.cast(DType::F32).unwrap().affine(-1.0, 1.0).unwrap();
    let hidden = hidden.affine(-1e12, 0.0).unwrap();
    let mut y = x.clone();
    for _ in 0..2 {
        let scores = y.matmul(&y.transpose(&[0, 2, 1]).unwrap()).unwrap();
        y = scores.add(&hidden).unwrap().softmax(-1).unwrap().matmul(&y).unwrap();
    }
    graph.output("y", &y).unwrap();
    let plain = graph.finish().unwrap();
    let half = plain.with_precision(Target::tensorrt(), Precision::Fp16).unwrap();
    let report = half.precision_report().unwrap();
    let products = report.layers.iter().filter(|layer| layer.operator == "MatMul");
    assert!(products.clone().all(|layer| layer.precision == "f16"), "{report}");
    assert_eq!(Plan::of("computed mask", &half).attentions(), 2);
    if has_ort("a mask that is computed") {
        let ones = (0..16).map(|i| i64::from(i < 5 || i == 9)).collect();
        let mask = HostTensor::from_vec([2, 1, 8], ones).unwrap();
        let inputs = [numbers(&[2, 8, 16], 1.5, 12), mask];
        let expected = run("computed mask", &plain, &inputs);
        near("computed mask", &run("computed mask", &half, &inputs)[0], &expected[0], 5e-3);
    }
}
