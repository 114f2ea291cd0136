//! 16-bit floats on the portable backends: about as fast as 32-bit floats, and the same values but for their digits.
//! tract by itself computes 16-bit floats one by one, hundreds of times slower.
#![cfg(all(feature = "ort", feature = "tract"))]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use accelerant::backend::{Backend, Executable, ort::Ort, tract::Tract};
use accelerant::export::{Conv, GraphBuilder, OnnxModel};
use accelerant::{DType, Dim, HostTensor};
use half::f16;

/// How much slower 16-bit floats may be. Computed one by one they are hundreds of times slower; ONNX Runtime's own products
/// are 4 to 13 times slower, by the processor.
const SLOWER: f64 = 40.0;

/// Numbers that 16-bit floats have exactly, so that both types compute with the same.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 257) as f32 / 128.0 - 1.0).collect()
}

fn tensor(dtype: DType, shape: &[usize]) -> HostTensor {
    let numbers = numbers(shape.iter().product());
    match dtype {
        DType::F16 => {
            let halves = numbers.into_iter().map(f16::from_f32).collect();
            HostTensor::from_vec::<f16>(shape, halves).unwrap()
        }
        _ => HostTensor::from_vec(shape, numbers).unwrap(),
    }
}

/// Shapes of an input and of weights.
type Sizes = (&'static str, &'static [usize], &'static [usize]);
const OPERATORS: [Sizes; 2] =
    [("MatMul", &[96, 256], &[256, 256]), ("Conv", &[1, 32, 28, 28], &[32, 32, 3, 3])];

fn model((operator, x, w): Sizes, dtype: DType) -> OnnxModel {
    let graph = GraphBuilder::new(operator);
    let sizes: Vec<Dim> = x.iter().map(|&size| size.into()).collect();
    let x = graph.input("x", dtype, sizes).unwrap();
    let w = graph.weight("w", tensor(dtype, w)).unwrap();
    let y = match operator {
        "Conv" => x.conv(&w, None, &Conv::new(2)),
        _ => x.matmul(&w),
    };
    graph.output("y", &y.unwrap()).unwrap();
    graph.finish().unwrap()
}

/// The shortest of several runs, which the load of the machine disturbs least.
fn shortest(executable: &dyn Executable, inputs: &[HostTensor]) -> Duration {
    let run = || {
        let start = Instant::now();
        executable.run(inputs).unwrap();
        start.elapsed()
    };
    (0..20).map(|_| run()).min().unwrap()
}

#[test]
fn sixteen_bit_floats_are_about_as_fast_and_as_right_as_others() {
    let mut backends: Vec<Arc<dyn Backend>> = vec![Arc::new(Tract)];
    match Ort.probe() {
        Ok(()) => backends.push(Arc::new(Ort)),
        Err(reason) => common::skipped("16-bit floats on ONNX Runtime", reason),
    }
    for sizes in OPERATORS {
        for backend in &backends {
            let measured = [DType::F32, DType::F16].map(|dtype| {
                let (_, executable) = backend.build_and_load(&model(sizes, dtype)).unwrap();
                let inputs = [tensor(dtype, sizes.1)];
                let output = executable.run(&inputs).unwrap().remove(0);
                assert_eq!(output.dtype(), dtype);
                let values: Vec<f32> = match dtype {
                    DType::F16 => {
                        output.to_vec::<f16>().unwrap().into_iter().map(f32::from).collect()
                    }
                    _ => output.to_vec().unwrap(),
                };
                (values, shortest(&*executable, &inputs))
            });
            let [(wide, wide_time), (halves, halves_time)] = measured;
            let what = format!("{} on {}", sizes.0, backend.kind());
            let largest = wide.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let difference = wide.iter().zip(&halves).map(|(a, b)| (a - b).abs());
            let difference = difference.fold(0f32, f32::max);
            assert!(difference <= 0.002 * largest, "{what}: {difference} of {largest}");
            let slower = halves_time.as_secs_f64() / wide_time.as_secs_f64();
            eprintln!("{what}: 32 bits {wide_time:?}, 16 bits {halves_time:?}, {slower:.2} times");
            assert!(slower < SLOWER, "{what}: {slower} times slower");
        }
    }
}
