//! Values whose digits half precision has not: numbers that are compared with one that vanishes, arguments of operators
//! that need their digits, and weights that vanish. The layers stay in 32 bits, and say why; ordinary ones do not.

use accelerant::export::{GraphBuilder, OnnxModel, Target, Value};
use accelerant::precision::{Precision, PrecisionReport};
use accelerant::{DType, HostTensor, Result};

use crate::plan::Plan;
use crate::runs::{has_ort, near, numbers, run};

type Body<'a> = &'a dyn Fn(&GraphBuilder, &Value) -> Result<Value>;

fn model(dims: &[usize], body: Body<'_>) -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, dims.iter().copied()).unwrap();
    graph.output("y", &body(&graph, &x).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn scalar(g: &GraphBuilder, value: f32) -> Value {
    g.constant("scalar", HostTensor::scalar(value))
}

fn weight(g: &GraphBuilder, shape: &[usize], scale: f32, seed: u64) -> Value {
    g.constant("weight", numbers(shape, scale, seed))
}

/// Checks the values in half precision, and that TensorRT-RTX builds the model. Gives what became of the layers.
fn right(name: &str, plain: &OnnxModel, input: HostTensor, part: f64) -> PrecisionReport {
    let half = plain.with_precision(Target::tensorrt(), Precision::Fp16).unwrap();
    let report = half.precision_report().unwrap().clone();
    let name = &format!("{name}: {report}");
    Plan::of(name, &half);
    if has_ort(name) {
        let expected = run(name, plain, std::slice::from_ref(&input));
        near(name, &run(name, &half, &[input])[0], &expected[0], part);
    }
    report
}

/// Whether all layers of an operator have a type, of which there is one at least.
fn are(report: &PrecisionReport, operator: &str, precision: &str) {
    let mut layers = report.layers.iter().filter(|layer| layer.operator == operator).peekable();
    assert!(layers.peek().is_some(), "no {operator}: {report}");
    assert!(layers.all(|layer| layer.precision == precision), "{operator}: {report}");
}

fn says(report: &PrecisionReport, operator: &str, text: &str) {
    let mut layers = report.layers.iter().filter(|layer| layer.operator == operator);
    let reason = |reason: &Option<String>| reason.as_deref().is_some_and(|r| r.contains(text));
    assert!(layers.any(|layer| reason(&layer.reason)), "{operator} has no {text}: {report}");
}

/// The first half of a row is divided by what is made of the second, which has zeros.
fn quotient(bound: Body<'_>, divides: Body<'_>) -> OnnxModel {
    model(&[4, 16], &|g, x| {
        let parts = x.matmul(&weight(g, &[16, 16], 1.0, 3))?;
        let few = parts.slice(1, 8, Some(16))?.relu()?;
        let divisor = bound(g, &few)?;
        let one = divides(g, &divisor)?;
        parts.slice(1, 0, Some(8))?.mul(&one)
    })
}

#[test]
fn numbers_compared_with_one_that_vanishes() {
    let reciprocal: Body<'_> = &|_, x| x.reciprocal();
    let over: Body<'_> = &|g, x| scalar(g, 2.0).div(x);
    let compared = |operator: &'static str, swapped: bool| {
        move |g: &GraphBuilder, x: &Value| {
            let least = scalar(g, 1e-8);
            let small = g.node(operator).input(x).input(&least).build()?;
            match swapped {
                false => small.select(&least, x),
                true => small.select(x, &least),
            }
        }
    };
    let [less, less_or] = ["Less", "LessOrEqual"].map(|operator| compared(operator, false));
    let [more, more_or] = ["Greater", "GreaterOrEqual"].map(|operator| compared(operator, true));
    let cases: [(&str, Body<'_>); 6] = [
        ("Clip", &|_, x| x.clamp(Some(1e-8), None)),
        ("Max", &|g, x| x.maximum(&scalar(g, 1e-8))),
        ("Less", &less),
        ("LessOrEqual", &less_or),
        ("Greater", &more),
        ("GreaterOrEqual", &more_or),
    ];
    for (operator, bound) in cases {
        for (name, divides) in [("reciprocal", reciprocal), ("quotient", over)] {
            let plain = quotient(bound, divides);
            let report =
                right(&format!("{operator}, {name}"), &plain, numbers(&[4, 16], 1.0, 2), 5e-3);
            are(&report, operator, "f32");
            says(&report, operator, "vanishes in f16");
            are(&report, if name == "quotient" { "Div" } else { "Reciprocal" }, "f32");
            are(&report, "MatMul", "f16");
            are(&report, "Mul", "f32");
        }
    }
    // The range of bf16 is that of 32 bits.
    let plain = quotient(&|_, x| x.clamp(Some(1e-8), None), reciprocal);
    let brain = plain.with_precision(Target::tensorrt(), Precision::Bf16).unwrap();
    are(brain.precision_report().unwrap(), "Clip", "bf16");
    // So are bounds that do not vanish.
    let plain = quotient(&|_, x| x.clamp(Some(1e-3), Some(3.4e38)), reciprocal);
    let half = plain.with_precision(Target::tensorrt(), Precision::Fp16).unwrap();
    are(half.precision_report().unwrap(), "Clip", "f16");
}

/// The time of a diffusion model: its products with frequencies are angles of up to a thousand.
#[test]
fn times_of_a_diffusion_model() {
    let plain = model(&[4, 1], &|g, x| {
        let rates = (0..16).map(|i| (-9.2 * i as f32 / 16.0).exp()).collect();
        let rates = g.constant("rates", HostTensor::from_vec([1, 16], rates)?);
        let angles = x.mul(&rates)?;
        g.concat(&[&angles.sin()?, &angles.cos()?], 1)?.matmul(&weight(g, &[32, 32], 0.3, 4))
    });
    let times = HostTensor::from_vec([4, 1], vec![999.5f32, 501.25, 3.25, 77.7]).unwrap();
    let report = right("times", &plain, times, 4e-3);
    are(&report, "Mul", "f32");
    says(&report, "Mul", "digits");
    are(&report, "MatMul", "f16");
}

#[test]
fn arguments_that_need_their_digits() {
    let remainder = model(&[4, 32], &|g, x| {
        let y = x.matmul(&weight(g, &[32, 32], 0.2, 5))?.affine(7000.0, 0.0)?;
        let part = g.node("Mod").input(&y).input(&scalar(g, 1.0)).attr("fmod", 1).build()?;
        part.matmul(&weight(g, &[32, 16], 0.2, 6))
    });
    let report = right("remainder", &remainder, numbers(&[4, 32], 1.0, 5), 5e-2);
    are(&report, "Mul", "f32");
    let products = report.layers.iter().filter(|layer| layer.operator == "MatMul");
    let types: Vec<&str> = products.map(|layer| &*layer.precision).collect();
    assert_eq!(types, ["f32", "f16"], "{report}");

    let rows = model(&[4, 8], &|g, x| {
        let at = x.abs()?.affine(2000.0, 0.0)?.cast(DType::I64)?;
        weight(g, &[2001, 8], 1.0, 7).gather(&at, 0)?.matmul(&weight(g, &[8, 8], 1.0, 8))
    });
    let report = right("rows", &rows, numbers(&[4, 8], 0.99, 9), 4e-3);
    are(&report, "Mul", "f32");
    are(&report, "Abs", "f32");
    are(&report, "MatMul", "f16");

    for operator in ["Floor", "Ceil", "Round", "Tan"] {
        let plain = model(&[4, 8], &|g, x| {
            let y = x.affine(911.0, 0.3)?.neg()?.transpose(&[1, 0])?;
            g.node(operator).input(&y).build()?.affine(1e-3, 0.0)
        });
        let report = right(operator, &plain, numbers(&[4, 8], 1.0, 10), 4e-3);
        are(&report, "Add", "f32");
        are(&report, "Neg", "f32");
        are(&report, "Transpose", "f32");
    }
}

/// Layers of sines, as in networks that draw a picture from positions: no large factor is between, and products have fewer bits.
#[test]
fn products_before_small_angles_have_fewer_bits() {
    let plain = model(&[4, 32], &|g, x| {
        let mut y = x.clone();
        for seed in 0..3 {
            y = y.matmul(&weight(g, &[32, 32], 0.02, seed))?.affine(30.0, 0.0)?.sin()?;
        }
        Ok(y)
    });
    let report = right("sines", &plain, numbers(&[4, 32], 1.0, 11), 1e-2);
    are(&report, "MatMul", "f16");
    are(&report, "Mul", "f32");
}

#[test]
fn weights_that_vanish() {
    let large = |y: &Value| y.affine(1e7, 0.0);
    let plain = model(&[4, 32], &|g, x| {
        let y =
            x.linear_by_outputs(&weight(g, &[32, 32], 1e-7, 1), Some(&weight(g, &[32], 1e-7, 2)));
        large(&y?)?.matmul(&weight(g, &[32, 8], 0.2, 3))
    });
    let report = right("gemm", &plain, numbers(&[4, 32], 1.0, 12), 5e-3);
    says(&report, "Gemm", "the weights `weight");
    says(&report, "Gemm", "vanish in f16");
    // What is computed of them is small too, until it is enlarged or normalized.
    let plain = model(&[2, 4, 32], &|g, x| {
        let y = x.matmul(&weight(g, &[32, 32], 1e-7, 1))?.add(&weight(g, &[32], 1e-7, 2))?;
        let y = y.relu()?.affine(1000.0, 0.0)?.affine(1000.0, 0.0)?;
        y.softmax(-1)?.matmul(&weight(g, &[32, 8], 0.2, 3))
    });
    let report = right("matmul", &plain, numbers(&[2, 4, 32], 1.0, 13), 5e-3);
    are(&report, "Relu", "f32");
    are(&report, "Mul", "f32");
    says(&report, "Relu", "may vanish");
    // In the convolution too.
    let plain = model(&[1, 4, 8, 8], &|g, x| {
        let y =
            x.conv(&weight(g, &[4, 4, 3, 3], 1e-7, 1), None, &accelerant::export::Conv::new(2))?;
        large(&y.relu()?)
    });
    let report = right("conv", &plain, numbers(&[1, 4, 8, 8], 1.0, 14), 5e-3);
    are(&report, "Conv", "f32");
}

/// Small numbers beside ordinary ones are no loss.
#[test]
fn ordinary_weights_with_small_numbers_have_fewer_bits() {
    let plain = model(&[4, 32], &|g, x| {
        let values = (0..32 * 32i32).map(|i| if i % 32 == 0 { 0.1 } else { 1e-9 * i as f32 });
        let sparse = g.constant("sparse", HostTensor::from_vec([32, 32], values.collect())?);
        let bias = weight(g, &[32], 1e-7, 2);
        x.matmul(&sparse)?.add(&bias)?.matmul(&weight(g, &[32, 32], 1e-4, 3))
    });
    let report = right("sparse", &plain, numbers(&[4, 32], 1.0, 15), 5e-3);
    assert!(report.layers.iter().all(|layer| layer.precision == "f16"), "{report}");
}
