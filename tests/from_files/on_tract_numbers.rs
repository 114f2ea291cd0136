//! Numbers that tract computes otherwise than ONNX says: bools, wide floats and integers, and sums of nothing.

use accelerant::HostTensor;
use accelerant::backend::{Backend as _, tract::Tract};

use crate::file::{File, Stated};
use crate::on_tract::{gives, node, of, one, refused, vector};

#[test]
fn bools_as_numbers() {
    let x = of(&[1, 2], &[true, false]);
    let pads = vector(&[0i64, 1, 0, 1]);
    let padded = of(&[1, 4], &[false, true, false, false]);
    node("Pad", std::slice::from_ref(&x), std::slice::from_ref(&pads), &[], &padded);
    let around = of(&[1, 4], &[true, true, false, true]);
    node("Pad", std::slice::from_ref(&x), &[pads, HostTensor::scalar(true)], &[], &around);
    let axes = vector(&[1i64]);
    node(
        "ReduceMax",
        std::slice::from_ref(&x),
        std::slice::from_ref(&axes),
        &[],
        &of(&[1, 1], &[true]),
    );
    node("ReduceMin", std::slice::from_ref(&x), &[axes], &[], &of(&[1, 1], &[false]));
    node("Equal", &[x, of(&[2], &[false, false])], &[], &[], &of(&[1, 2], &[false, true]));
}

#[test]
fn wide_floats() {
    let x = vector(&[0.5f64, 1.5, -0.5, -2.5, 2.4, -7.6, 1e17, 0.499_999_999_999_999_94]);
    let rounded = vector(&[0f64, 2.0, 0.0, -2.0, 2.0, -8.0, 1e17, 0.0]);
    node("Round", std::slice::from_ref(&x), &[], &[], &rounded);
    let steep = vector(&[0f64, 800.0, -800.0, 1.0]);
    let of_one = 1.0 / (1.0 + (-1f64).exp());
    node("Sigmoid", &[steep], &[], &[], &vector(&[0.5, 1.0, 0.0, of_one]));
    let odd = vector(&[1f64, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    let odd = std::slice::from_ref(&odd);
    node("IsNaN", odd, &[], &[], &vector(&[false, true, false, false]));
    node("IsInf", odd, &[], &[], &vector(&[false, false, true, true]));
    let above = [("detect_negative", Stated::Int(0))];
    node("IsInf", odd, &[], &above, &vector(&[false, false, true, false]));
    let numbers = of(&[1, 3], &[1000f64, 1000.0, f64::NEG_INFINITY]);
    let sum = of(&[1, 1], &[1000.0 + 2f64.ln()]);
    node("ReduceLogSumExp", &[numbers], &[vector(&[1i64])], &[], &sum);
    for operator in ["Erf", "Gelu", "HardSwish", "LeakyRelu"] {
        let model = one(operator, std::slice::from_ref(&x), &[], &[], &x);
        refused(&model, operator, "32-bit floats alone");
    }
}

#[test]
fn products_of_wide_integers() {
    let a = of(&[2, 3], &[1i64, 2, 3_000_000_000, -4, 5, 6]);
    let b = of(&[3, 2], &[1i64, 2, 3, -4, 5, 5_000_000_000]);
    let sums = [15_000_000_007i128, 14_999_999_999_999_999_994, 41, 29_999_999_972];
    let product = of(&[2, 2], &sums.map(|sum| sum as i64));
    node("MatMul", &[a.clone(), b.clone()], &[], &[], &product);
    node("MatMul", &[a], &[b], &[], &product);
    let a = of(&[1, 1, 2], &[3_000_000_000u32, 2]);
    let b = of(&[2, 2, 1], &[2u32, 1, 1, 7]);
    let batch = of(&[2, 1, 1], &[1_705_032_706u32, 3_000_000_014]);
    node("MatMul", &[a, b], &[], &[], &batch);
    let large = [of(&[1, 1], &[u64::MAX]), of(&[1, 1], &[3u64])];
    node("MatMul", &large, &[], &[], &of(&[1, 1], &[u64::MAX - 2]));
    let vectors = [vector(&[1i64, 2]), vector(&[3i64, 4])];
    let model = one("MatMul", &vectors, &[], &[], &HostTensor::scalar(11i64));
    refused(&model, "node_matmul_0", "multiplies no matrices");
}

#[test]
fn sums_of_nothing() {
    let none = |shape: &[usize]| HostTensor::from_vec(shape, Vec::<f32>::new()).unwrap();
    let far = f32::NEG_INFINITY;
    for (shape, axis, count) in [(&[2, 0][..], 1, 2), (&[0, 3], 0, 3), (&[2, 0, 3], 1, 6)] {
        let x = none(shape);
        let axes = [vector(&[axis as i64])];
        let mut reduced = shape.to_vec();
        reduced[axis] = 1;
        for (operator, sum) in [
            ("ReduceSum", 0.0),
            ("ReduceL1", 0.0),
            ("ReduceL2", 0.0),
            ("ReduceSumSquare", 0.0),
            ("ReduceMean", 0.0),
            ("ReduceLogSum", far),
            ("ReduceLogSumExp", far),
        ] {
            let expected = of(&reduced, &vec![sum; count]);
            node(operator, std::slice::from_ref(&x), &axes, &[], &expected);
        }
        let whole = HostTensor::from_vec(shape, Vec::<i64>::new()).unwrap();
        node("ReduceSum", &[whole], &axes, &[], &of(&reduced, &vec![0i64; count]));
    }
    node(
        "ReduceSum",
        &[none(&[0])],
        &[],
        &[("keepdims", Stated::Int(0))],
        &HostTensor::scalar(0f32),
    );
    // Another axis than the empty one.
    node("ReduceSum", &[none(&[0, 3])], &[vector(&[1i64])], &[], &none(&[0, 1]));
}

#[test]
fn powers_of_integers() {
    let x = vector(&[1i32, 2, -1, 7, 70_000, -3]);
    let given = std::slice::from_ref(&x);
    let wide = vector(&[1i64, 2, -1, 7, 70_000, -3]);
    let wide = std::slice::from_ref(&wide);
    let scalar = |exponent: i32| [HostTensor::scalar(exponent)];
    // What does not fit wraps around.
    let squares = vector(&[1, 4, 1, 49, 605_032_704, 9]);
    node("Pow", given, &scalar(2), &[], &squares);
    node("Pow", given, &[HostTensor::scalar(2f32)], &[], &squares);
    node("Pow", given, &scalar(3), &[], &vector(&[1, 8, -1, 343, -383_225_856, -27]));
    node("Pow", given, &scalar(-1), &[], &vector(&[1, 0, -1, 0, 0, 0]));
    node("Pow", given, &scalar(0), &[], &vector(&[1; 6]));
    let squares = vector(&[1i64, 4, 1, 49, 4_900_000_000, 9]);
    node("Pow", wide, &[HostTensor::scalar(2i64)], &[], &squares);
    node("Pow", wide, &[HostTensor::scalar(-2i64)], &[], &vector(&[1i64, 0, 1, 0, 0, 0]));
    let exponents = vector(&[-1i32, -2, -3, 4, 1, 3]);
    let powers = [1, 0, -1, 2401, 70_000, -27];
    node("Pow", &[x, exponents.clone()], &[], &[], &vector(&powers));
    let powers = vector(&powers.map(i64::from));
    node("Pow", &[wide[0].clone(), exponents], &[], &[], &powers);
}

#[test]
fn shifts_by_all_bits() {
    fn shifts<T: accelerant::Element>(x: [T; 4], by: [T; 4], left: [T; 4], right: [T; 4]) {
        let inputs = [vector(&x), vector(&by)];
        for (direction, shifted) in [("LEFT", left), ("RIGHT", right)] {
            let direction = [("direction", Stated::Text(direction))];
            node("BitShift", &inputs, &[], &direction, &vector(&shifted));
            node("BitShift", &inputs[..1], &inputs[1..], &direction, &vector(&shifted));
        }
    }
    shifts([1u8, 255, 3, 9], [7, 1, 8, 0], [128, 254, 0, 9], [0, 127, 0, 9]);
    shifts([1u32, 9, 3, 9], [31, 2, 32, 255], [1 << 31, 36, 0, 0], [0, 2, 0, 0]);
    shifts([1u64, 9, 3, 9], [63, 2, 64, 1000], [1 << 63, 36, 0, 0], [0, 2, 0, 0]);
}

#[test]
fn ranges_between_constants() {
    let sums = |ends: [f32; 3], expected: &[f32]| {
        let ends = ends.map(HostTensor::scalar);
        constant_range(&ends, &vector(expected));
    };
    sums([0.0, 1.0, 0.25], &[0.0, 0.25, 0.5, 0.75]);
    sums([1.0, -0.5, -0.5], &[1.0, 0.5, 0.0]);
    sums([0.5, 3.5, 1.25], &[0.5, 1.75, 3.0]);
    let whole = |ends: [i64; 3], expected: &[i64]| {
        constant_range(&ends.map(HostTensor::scalar), &vector(expected));
    };
    whole([5, 0, -1], &[5, 4, 3, 2, 1]);
    whole([10, 4, -3], &[10, 7]);
    whole([0, 5, -1], &[]);
    whole([0, -5, 1], &[]);
}

/// A range whose ends are weights.
fn constant_range(ends: &[HostTensor], expected: &HostTensor) {
    let mut file = File::new(20);
    let x = file.input("x", expected.dtype(), &["1"]);
    let names: Vec<String> = ends
        .iter()
        .enumerate()
        .map(|(i, end)| file.weight(&format!("w{i}"), end.clone()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let range = file.node("Range", &names);
    let y = file.node("Add", &[&range, &x]);
    let count = expected.shape()[0].to_string();
    let model = file.read_open(&y, expected.dtype(), &[&count]);
    let dtype = expected.dtype();
    let zero = HostTensor::from_bytes(dtype, [1], vec![0u8; dtype.size()]).unwrap();
    gives("Range", &model, &[zero], expected);
}

#[test]
fn slices_to_far_places() {
    let x = of(&[5], &[0f32, 1.0, 2.0, 3.0, 4.0]);
    for (start, end, step, expected) in [
        (4, i64::MAX, -2, &[4f32, 2.0, 0.0][..]),
        (4, i64::from(i32::MAX), -2, &[4.0, 2.0, 0.0]),
        (-1, i64::MIN, -1, &[4.0, 3.0, 2.0, 1.0, 0.0]),
        (i64::MAX, i64::MIN, -3, &[4.0, 1.0]),
        (4, 1 << 31, -2, &[]),
        (1, i64::MAX, i64::MAX, &[1.0]),
        (4, 0, i64::MAX, &[]),
        (i64::MIN, 2, 1, &[0.0, 1.0]),
    ] {
        let places = [start, end, 0, step].map(|place| vector(&[place]));
        let expected = of(&[expected.len()], expected);
        node("Slice", std::slice::from_ref(&x), &places, &[], &expected);
    }
}

/// A NaN is the lowest integer to ONNX Runtime.
#[test]
fn far_numbers_are_quantized_or_an_error() {
    let quantized = |zero_point: u8, values: &[f32], expected: &[u8]| {
        let weights = [HostTensor::scalar(0.5f32), HostTensor::scalar(zero_point)];
        let model = one("QuantizeLinear", &[vector(values)], &weights, &[], &vector(expected));
        let model = model.for_target(Tract.target()).unwrap();
        let (_, executable) = Tract.build_and_load(&model).unwrap();
        let outputs = executable.run(&[vector(values)]);
        outputs.map(|outputs| outputs[0].to_vec::<u8>().unwrap())
    };
    assert_eq!(quantized(3, &[1.0, -9.0, 1e6], &[0; 3]).unwrap(), [5, 0, 255]);
    assert_eq!(quantized(0, &[f32::INFINITY, -1e20], &[0; 2]).unwrap(), [255, 0]);
    for (zero_point, lost) in [(3, f32::INFINITY), (3, 3e9), (3, f32::NAN), (0, f32::NAN)] {
        let error = quantized(zero_point, &[1.0, lost], &[0; 2]).unwrap_err().to_string();
        assert!(error.contains("would lose here; use ONNX Runtime"), "{error}");
    }
}
