//! Each operator in half precision between others that are: what it is computed in, that TensorRT-RTX takes its types,
//! and that the result is that of 32 bits.

use accelerant::export::{Conv, GraphBuilder, OnnxModel, Pool, Reduction, Target, Value};
use accelerant::precision::Precision;
use accelerant::{DType, HostTensor, Result};

use crate::plan::Plan;
use crate::runs::{has_ort, near, numbers, run, tolerance};

type Body = fn(&GraphBuilder, &Value) -> Result<Value>;

/// Name, sizes of the input, the operator that is looked at and the type that it has, and the layer.
type Case = (&'static str, &'static [usize], &'static str, &'static str, Body);

const WINDOW: fn() -> Conv = || Conv::new(2).padding([(1, 1); 2]);
const POOL: fn() -> Pool = || Pool::new([2, 2]);

fn weight(g: &GraphBuilder, shape: &[usize], scale: f32) -> Value {
    g.constant("weight", numbers(shape, scale, 7))
}

fn ints(g: &GraphBuilder, values: &[i64]) -> Value {
    g.constant("ints", HostTensor::from_vec([values.len()], values.to_vec()).unwrap())
}

fn scalar(g: &GraphBuilder, value: f32) -> Value {
    g.constant("scalar", HostTensor::scalar(value))
}

const CASES: &[Case] = &[
    ("matmul", &[2, 8, 16], "MatMul", "f16", |g, x| x.matmul(&weight(g, &[16, 12], 0.5))),
    ("gemm", &[8, 16], "Gemm", "f16", |g, x| {
        x.linear_by_outputs(&weight(g, &[12, 16], 0.5), Some(&weight(g, &[12], 1.0)))
    }),
    ("conv", &[1, 4, 8, 8], "Conv", "f16", |g, x| {
        x.conv(&weight(g, &[6, 4, 3, 3], 0.3), Some(&weight(g, &[6], 1.0)), &WINDOW())
    }),
    ("batch norm", &[1, 4, 8, 8], "BatchNormalization", "f16", |g, x| {
        let [a, b] = [weight(g, &[4], 1.0), weight(g, &[4], 0.5)];
        let large = g.constant("variance", HostTensor::from_vec([4], vec![9e4f32, 2e5, 1.0, 4.0])?);
        let x = x.conv(&weight(g, &[4, 4, 3, 3], 0.3), None, &WINDOW())?;
        x.batch_norm(&a, &b, &b, &large, 1e-5)
    }),
    ("max pool", &[1, 4, 8, 8], "MaxPool", "f16", |_, x| x.max_pool(&POOL())),
    ("average pool", &[1, 4, 8, 8], "AveragePool", "f16", |_, x| x.average_pool(&POOL())),
    ("layer norm", &[2, 8, 16], "LayerNormalization", "f16", |g, x| {
        let norm = g.node("LayerNormalization").input(x).input(&weight(g, &[16], 1.0));
        norm.input(&weight(g, &[16], 0.5)).attr("axis", -1).build()
    }),
    ("softmax", &[2, 8, 16], "Softmax", "f32", |_, x| x.softmax(-1)),
    ("log softmax", &[2, 8, 16], "Exp", "f32", |_, x| x.log_softmax(-1)),
    ("gelu", &[2, 8, 16], "Gelu", "f16", |_, x| x.gelu()),
    ("erf", &[2, 8, 16], "Erf", "f16", |_, x| x.erf()),
    ("tanh", &[2, 8, 16], "Tanh", "f16", |_, x| x.tanh()),
    ("sigmoid", &[2, 8, 16], "Sigmoid", "f16", |_, x| x.sigmoid()),
    ("softplus", &[2, 8, 16], "Softplus", "f32", |g, x| g.node("Softplus").input(x).build()),
    ("celu", &[2, 8, 16], "Celu", "f32", |g, x| g.node("Celu").input(x).build()),
    ("hard swish", &[2, 8, 16], "HardSwish", "f16", |g, x| g.node("HardSwish").input(x).build()),
    ("mish", &[2, 8, 16], "Mish", "f16", |g, x| g.node("Mish").input(x).build()),
    ("elu", &[2, 8, 16], "Elu", "f16", |g, x| g.node("Elu").input(x).build()),
    ("selu", &[2, 8, 16], "Selu", "f16", |g, x| g.node("Selu").input(x).build()),
    ("hard sigmoid", &[2, 8], "HardSigmoid", "f16", |g, x| g.node("HardSigmoid").input(x).build()),
    ("softsign", &[2, 8, 16], "Softsign", "f16", |g, x| g.node("Softsign").input(x).build()),
    ("relu", &[2, 8, 16], "Relu", "f16", |_, x| x.relu()),
    ("leaky relu", &[2, 8, 16], "LeakyRelu", "f16", |_, x| x.leaky_relu(0.1)),
    ("clip to what half precision has not", &[2, 8], "Clip", "f16", |_, x| {
        x.clamp(Some(0.1), Some(3.4e38))
    }),
    ("exp", &[2, 8], "Exp", "f32", |_, x| x.exp()?.affine(1e-3, 0.0)),
    ("log", &[2, 8], "Log", "f32", |_, x| x.abs()?.affine(1.0, 1.0)?.log()),
    ("sin", &[2, 8], "Sin", "f32", |_, x| x.sin()),
    ("sqrt", &[2, 8], "Sqrt", "f16", |_, x| x.abs()?.sqrt()),
    ("pow", &[2, 8], "Pow", "f16", |_, x| x.powf(3.0)),
    ("floor", &[2, 8], "Floor", "f32", |_, x| x.affine(1.03, 0.4)?.floor()),
    ("round", &[2, 8], "Round", "f32", |g, x| g.node("Round").input(x).build()),
    ("where", &[2, 8], "Where", "f16", |g, x| {
        let positive = g.node("Greater").input(x).input(&scalar(g, 0.25)).build()?;
        positive.select(x, &scalar(g, 0.5))
    }),
    ("maximum of two", &[2, 8], "Max", "f16", |g, x| x.maximum(&scalar(g, 0.2))),
    ("transpose", &[2, 8, 4], "Transpose", "f16", |_, x| x.transpose(&[0, 2, 1])),
    ("reshape", &[2, 8, 4], "Reshape", "f16", |_, x| x.flatten(1, 2)),
    ("slice", &[2, 8, 4], "Slice", "f16", |_, x| x.slice(1, 2, Some(6))),
    ("concat", &[2, 8], "Concat", "f16", |g, x| g.concat(&[x, &weight(g, &[2, 3], 1.0)], 1)),
    ("gather", &[4, 8], "Gather", "f16", |g, x| x.gather(&ints(g, &[2, 0]), 0)),
    ("expand", &[1, 8], "Expand", "f16", |g, x| {
        let node = g.node("Expand").input(x).input(&ints(g, &[3, 8]));
        node.outputs([(DType::F32, [3usize, 8].into())]).build()
    }),
    ("tile", &[2, 8], "Tile", "f16", |g, x| {
        let node = g.node("Tile").input(x).input(&ints(g, &[1, 2]));
        node.outputs([(DType::F32, [2usize, 16].into())]).build()
    }),
    ("pad", &[2, 8], "Pad", "f16", |g, x| {
        let node = g.node("Pad").input(x).input(&ints(g, &[0, 1, 0, 2]));
        node.outputs([(DType::F32, [2usize, 11].into())]).build()
    }),
    ("split", &[2, 8], "Split", "f16", |g, x| {
        let node = g.node("Split").input(x).attr("axis", 1).attr("num_outputs", 2);
        let half = || (DType::F32, [2usize, 4].into());
        let parts = node.outputs([half(), half()]).build_all()?;
        parts[0].mul(&parts[1])
    }),
    ("resize", &[1, 2, 4, 4], "Resize", "f16", |g, x| {
        let scales = g.constant("scales", HostTensor::from_vec([4], vec![1f32, 1., 2., 2.])?);
        let node = g.node("Resize").input(x).input_opt(None).input(&scales).attr("mode", "linear");
        node.outputs([(DType::F32, [1usize, 2, 8, 8].into())]).build()
    }),
    ("top k", &[2, 8], "TopK", "f32", |g, x| {
        let node = g.node("TopK").input(x).input(&ints(g, &[3])).attr("axis", -1);
        let shape = || [2usize, 3].into();
        Ok(node.outputs([(DType::F32, shape()), (DType::I64, shape())]).build_all()?.remove(0))
    }),
    ("sum", &[2, 8], "ReduceSum", "f32", |_, x| x.reduce_keepdim(Reduction::Sum, &[1])),
    ("mean", &[2, 8], "ReduceMean", "f16", |_, x| x.reduce_keepdim(Reduction::Mean, &[1])),
    ("long mean", &[2, 4096], "ReduceMean", "f32", |_, x| x.reduce_keepdim(Reduction::Mean, &[1])),
    ("maximum", &[2, 8], "ReduceMax", "f16", |_, x| x.reduce_keepdim(Reduction::Max, &[1])),
    ("norm", &[2, 8], "ReduceL2", "f32", |_, x| x.div(&x.reduce_keepdim(Reduction::L2, &[1])?)),
    ("cumulative sum", &[2, 8], "CumSum", "f32", |g, x| {
        let axis = g.constant("axis", HostTensor::scalar(1i64));
        let node = g.node("CumSum").input(x).input(&axis);
        node.outputs([(DType::F32, [2usize, 8].into())]).build()
    }),
    ("root mean square", &[2, 16], "Pow", "f32", |g, x| {
        let mean = x.powf(2.0)?.reduce_keepdim(Reduction::Mean, &[1])?;
        x.mul(&mean.affine(1.0, 1e-8)?.sqrt()?.reciprocal()?)?.mul(&weight(g, &[16], 1.0))
    }),
    ("a product before a sum", &[2, 16], "Mul", "f32", |_, x| {
        x.div(&x.mul(x)?.reduce_keepdim(Reduction::Sum, &[1])?.sqrt()?)
    }),
    ("normalization in its parts", &[2, 16], "Sub", "f32", |_, x| {
        let apart = x.sub(&x.reduce_keepdim(Reduction::Mean, &[1])?)?;
        let variance = apart.powf(2.0)?.reduce_keepdim(Reduction::Mean, &[1])?;
        apart.div(&variance.affine(1.0, 1e-5)?.sqrt()?)
    }),
    ("grid sample", &[1, 2, 4, 4], "GridSample", "f32", |g, x| {
        let grid = g.constant("grid", numbers(&[1, 3, 3, 2], 0.9, 5));
        let node = g.node("GridSample").input(x).input(&grid);
        node.outputs([(DType::F32, [1usize, 2, 3, 3].into())]).build()
    }),
    ("transposed convolution", &[1, 4, 5, 5], "ConvTranspose", "f16", |g, x| {
        x.conv_transpose(&weight(g, &[4, 3, 2, 2], 0.4), None, &WINDOW(), &[0, 0])
    }),
    ("instance norm", &[1, 4, 6, 6], "InstanceNormalization", "f16", |g, x| {
        let node = g.node("InstanceNormalization").input(x).input(&weight(g, &[4], 1.0));
        let node = node.input(&weight(g, &[4], 0.5));
        node.outputs([(DType::F32, [1usize, 4, 6, 6].into())]).build()
    }),
    ("constant of a position", &[2, 3000], "Mul", "f32", |g, x| {
        let size = x.graph().constant("size", HostTensor::scalar(3000i64));
        let [zero, one] = [0i64, 1].map(|v| g.constant("step", HostTensor::scalar(v)));
        let range = g.node("Range").input(&zero).input(&size).input(&one);
        let range = range.outputs([(DType::I64, [3000usize].into())]).build()?;
        x.add(&range.cast(DType::F32)?.affine(1.5, 0.0)?.sin()?)
    }),
];

/// The layer of a case between two in half precision.
fn model(case: &Case) -> OnnxModel {
    let (_, dims, _, _, body) = case;
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, dims.iter().copied()).unwrap();
    let y = body(&graph, &x.affine(0.75, 0.125).unwrap()).unwrap();
    graph.output("y", &y.neg().unwrap()).unwrap();
    graph.finish().unwrap()
}

fn check(precision: Precision, low: DType) {
    let ort = has_ort("operators in half precision");
    let failed: Vec<_> = CASES
        .iter()
        .filter(|case| std::panic::catch_unwind(|| check_one(case, precision, low, ort)).is_err())
        .map(|case| case.0)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn check_one(case: &Case, precision: Precision, low: DType, ort: bool) {
    let (name, dims, operator, expected, _) = case;
    let name = &format!("{name} in {precision}");
    let plain = model(case);
    let half = plain.with_precision(Target::tensorrt(), precision).unwrap();
    assert_eq!(half.signature(), plain.signature(), "{name}");
    let report = half.precision_report().unwrap();
    let of_operator = report.layers.iter().filter(|layer| layer.operator == **operator);
    // TensorRT has none.
    let none = low == DType::BF16 && ["ConvTranspose", "HardSwish", "Mish"].contains(operator);
    let expected = if *expected == "f32" || none { DType::F32 } else { low }.to_string();
    assert!(
        of_operator.clone().any(|layer| layer.precision == expected),
        "{name} is not in {expected}:\n{report}\n{half}"
    );
    for layer in &report.layers {
        assert_eq!(layer.reason.is_some(), layer.precision == "f32", "{name}: {layer}");
    }
    Plan::of(name, &half);
    if ort {
        let inputs = [numbers(dims, 2.0, 3)];
        let expected = run(name, &plain, &inputs);
        near(name, &run(name, &half, &inputs)[0], &expected[0], tolerance(low));
    }
}

#[test]
fn operators_are_right_in_fp16() {
    check(Precision::Fp16, DType::F16);
}

#[test]
fn operators_are_right_in_bf16() {
    check(Precision::Bf16, DType::BF16);
}
