//! Weights in 4 bits that ONNX Runtime multiplies as they are, and does not write out in 32 bits in each run.

use std::time::{Duration, Instant};

use accelerant::backend::{Backend, ort::Ort};
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::precision::{Precision, PrecisionOptions};
use accelerant::{DType, Dim, HostTensor};

use crate::runs::{cosine, has_ort, near, numbers};

const SIZE: usize = 768;

/// Weights in each layout that files have, and one that two products read.
fn model(dtype: DType) -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::onnx_runtime());
    let x = graph.input("x", dtype, [Dim::dynamic("rows", 1..=8).unwrap(), SIZE.into()]);
    let x = x.unwrap();
    let weight =
        |seed| graph.constant("weight", of_type(dtype, numbers(&[SIZE, SIZE], 0.06, seed)));
    let bias = graph.constant("bias", of_type(dtype, numbers(&[SIZE], 0.3, 9)));
    let (by_inputs, by_outputs, turned) = (weight(1), weight(2), weight(3));
    let y = x.matmul(&by_inputs).unwrap();
    let y = y.linear_by_outputs(&by_outputs, Some(&bias)).unwrap();
    let y = y.matmul(&turned.transpose(&[1, 0]).unwrap()).unwrap();
    let y = y.linear_by_outputs(&by_outputs, None).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn of_type(dtype: DType, numbers: HostTensor) -> HostTensor {
    match dtype {
        DType::F16 => {
            let halves = numbers.to_vec::<f32>().unwrap().into_iter().map(half::f16::from_f32);
            HostTensor::from_vec(numbers.shape().to_vec(), halves.collect::<Vec<_>>()).unwrap()
        }
        _ => numbers,
    }
}

fn in_4_bits(model: &OnnxModel, target: Target) -> OnnxModel {
    let model =
        model.with_precision(target, PrecisionOptions::new(Precision::Int4Weights)).unwrap();
    let report = model.precision_report().unwrap();
    let few = report.layers.iter().filter(|layer| layer.precision == "int4").count();
    assert_eq!(few, 4, "{report}");
    model
}

/// The results, and the shortest of some runs.
fn run(model: &OnnxModel, input: &HostTensor) -> (HostTensor, Duration) {
    let executable = Ort.load(&Ort.build(model).unwrap()).unwrap();
    let inputs = std::slice::from_ref(input);
    let result = executable.run(inputs).unwrap().remove(0);
    let times = (0..10).map(|_| {
        let start = Instant::now();
        executable.run(inputs).unwrap();
        start.elapsed()
    });
    let least = times.min().unwrap();
    (result, least)
}

#[test]
fn weights_in_4_bits_are_multiplied_as_they_are() {
    if !has_ort("weights in 4 bits") {
        return;
    }
    for dtype in [DType::F32, DType::F16] {
        let plain = model(dtype);
        let written_out = in_4_bits(&plain, Target::tensorrt());
        let whole = in_4_bits(&plain, Target::onnx_runtime());
        let graph = whole.proto().graph.as_ref().unwrap();
        let weights: Vec<_> =
            graph.node.iter().filter(|node| node.op_type() == "DequantizeLinear").collect();
        assert_eq!(weights.len(), 4, "{whole}");
        for node in weights {
            let axis = node.attribute.iter().find(|attribute| attribute.name() == "axis").unwrap();
            assert_eq!(axis.i(), 0, "{whole}");
            let readers = graph.node.iter().filter(|reader| reader.input.contains(&node.output[0]));
            assert_eq!(readers.count(), 1, "{whole}");
        }
        assert!(graph.node.iter().all(|node| node.op_type() != "Transpose"), "{whole}");
        for rows in [1, 5] {
            let input = of_type(dtype, numbers(&[rows, SIZE], 1.0, 30 + rows as u64));
            let (expected, slow) = run(&written_out, &input);
            let (got, fast) = run(&whole, &input);
            near(&format!("{dtype}, {rows} rows"), &got, &expected, 2e-2);
            let (of_all, _) = run(&plain, &input);
            let cosine = cosine(&got, &of_all);
            assert!(cosine > 0.98, "{dtype}, {rows} rows: {cosine}");
            // 20 to 100 times on an idle machine.
            assert!(fast * 3 < slow, "{dtype}, {rows} rows: {fast:?}, and {slow:?} written out");
        }
    }
}
