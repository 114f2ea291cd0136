//! What tract computes wrongly or not at all, from files, and computes right in another form.

use accelerant::export::{OnnxModel, Target};
use accelerant::{DType, Dim, HostTensor};

use crate::common::{F32, Sample, Tolerance, to_f64};
use crate::file::{File, Stated};
use crate::{check_for, operators, run, tensor};

const STEPS: usize = 5;
const HIDDEN: usize = 3;

/// A recurrent layer of two features that gives all steps, and its last states.
fn layer(operator: &str, direction: &str, batch: &str, initial: bool) -> OnnxModel {
    let gates = match operator {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &[&STEPS.to_string(), batch, "2"]);
    let w = file.weight("w", tensor(DType::F32, &[1, gates * HIDDEN, 2], 1.0, 1));
    let r = file.weight("r", tensor(DType::F32, &[1, gates * HIDDEN, HIDDEN], 1.0, 2));
    let b = file.weight("b", tensor(DType::F32, &[1, 2 * gates * HIDDEN], 1.0, 3));
    let mut inputs = vec![x.as_str(), &w, &r, &b];
    let states = if operator == "LSTM" { 2 } else { 1 };
    let state = HostTensor::from_vec([1, 2, HIDDEN], vec![0f32; 2 * HIDDEN]).unwrap();
    let state = file.weight("state", state);
    if initial {
        inputs.push("");
        inputs.extend(vec![state.as_str(); states]);
    }
    let attributes =
        [("hidden_size", Stated::Int(HIDDEN as i64)), ("direction", Stated::Text(direction))];
    let outputs = &["y", "y_h", "y_c"][..1 + states];
    file.node_giving(operator, &inputs, &attributes, outputs);
    let batch = match batch.parse() {
        Ok(size) => Dim::Fixed(size),
        Err(_) => Dim::dynamic(batch, 1..=4).unwrap(),
    };
    for name in &outputs[1..] {
        file.output(name, DType::F32, &[1.into(), batch.clone(), HIDDEN.into()]);
    }
    let size = if batch.fixed().is_some() { "2" } else { "batch" };
    file.read("y", DType::F32, &[&STEPS.to_string(), "1", size, &HIDDEN.to_string()])
}

/// The same along the first axis from the end to the start.
fn turned(tensor: &HostTensor) -> HostTensor {
    let row = tensor.bytes().len() / tensor.shape()[0];
    let bytes: Vec<u8> = tensor.bytes().chunks(row).rev().flatten().copied().collect();
    HostTensor::from_bytes(tensor.dtype(), tensor.shape(), bytes).unwrap()
}

/// What a layer that runs backwards gives is what one that runs forward gives of the steps from the end to the start.
#[test]
fn recurrent_layers_run_backwards_and_over_any_batch() {
    for operator in ["LSTM", "GRU", "RNN"] {
        let x = tensor(DType::F32, &[STEPS, 2, 2], 1.0, 4);
        // Each output alone, of which tract gives all.
        let forward = layer(operator, "forward", "2", true);
        let outputs = |x: &HostTensor| -> Vec<HostTensor> {
            let names = forward.signature().outputs.iter().map(|output| output.name.clone());
            let alone = names.map(|name| {
                let mut proto = forward.proto().clone();
                proto.graph.as_mut().unwrap().output.retain(|output| output.name() == name);
                let model = OnnxModel::from_proto(proto).unwrap();
                run(&model, std::slice::from_ref(x)).remove(0)
            });
            alone.collect()
        };
        for (direction, batch) in
            [("reverse", "2"), ("reverse", "batch"), ("forward", "batch"), ("forward", "2")]
        {
            let back = direction == "reverse";
            let mut expected = outputs(&if back { turned(&x) } else { x.clone() });
            let all = forward.signature().outputs.iter().position(|output| output.name == "y");
            if back {
                expected[all.unwrap()] = turned(&expected[all.unwrap()]);
            }
            let name = format!("{operator}, {direction}, batch {batch}");
            let model = layer(operator, direction, batch, false);
            let sample = Sample { name: name.clone(), inputs: vec![x.clone()], expected };
            check_for(&name, &model, &[sample], |_, _| F32);
        }
    }
}

/// A softmax of every other column, and all rows backwards.
#[test]
fn slices_in_steps() {
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["batch", "6"]);
    let [one, two, ends] = [[1i64].as_slice(), &[2], &[6]].map(|values| file.ints(values));
    let zero = file.ints(&[0]);
    let [last, start] = [[-1i64].as_slice(), &[i64::MIN]].map(|values| file.ints(values));
    let other = file.node("Slice", &[&x, &zero, &ends, &one, &two]);
    let shares = file.node_with("Softmax", &[&other], &[("axis", Stated::Int(1))]);
    let y = file.node("Slice", &[&shares, &last, &start, &zero, &last]);
    let model = file.read(&y, DType::F32, &["batch", "3"]);
    let x = tensor(DType::F32, &[2, 6], 2.0, 1);
    let values = to_f64(&x);
    let mut expected = Vec::new();
    for row in values.chunks(6).rev() {
        let powers: Vec<f64> = row.iter().step_by(2).map(|x| x.exp()).collect();
        let sum: f64 = powers.iter().sum();
        expected.extend(powers.iter().map(|power| (power / sum) as f32));
    }
    let expected = vec![HostTensor::from_vec([2, 3], expected).unwrap()];
    let sample = Sample { name: "two".into(), inputs: vec![x], expected };
    check_for("slices", &model, &[sample], |_, _| F32);
}

#[test]
fn squares_of_integers() {
    let mut file = File::new(18);
    let x = file.input("x", DType::I64, &["2", "3"]);
    let y = file.node("Mul", &[&x, &x]);
    let model = file.read(&y, DType::I64, &["2", "3"]);
    let values = vec![3i64, -4, 0, 70_000, -3_000_000_000, 1];
    let squares: Vec<i64> = values.iter().map(|x| x * x).collect();
    let sample = Sample {
        name: "six".into(),
        inputs: vec![HostTensor::from_vec([2, 3], values).unwrap()],
        expected: vec![HostTensor::from_vec([2, 3], squares).unwrap()],
    };
    let exact = Tolerance { absolute: 0.0, relative: 0.0 };
    check_for("squares", &model, &[sample], move |_, _| exact);
    assert_eq!(operators(&model.for_target(Target::portable()).unwrap()), ["Neg", "Mul", "Neg"]);
}

#[test]
fn products_of_wide_floats_and_integers() {
    for (alpha, transposed) in [(1.0, 0), (0.5, 1)] {
        let mut file = File::new(18);
        let x = file.input("x", DType::F64, &["batch", "3"]);
        let wide =
            |tensor: HostTensor| HostTensor::from_vec(tensor.shape(), to_f64(&tensor)).unwrap();
        let sizes = if transposed == 1 { [4, 3] } else { [3, 4] };
        let weight = wide(tensor(DType::F32, &sizes, 1.0, 1));
        let bias = wide(tensor(DType::F32, &[4], 1.0, 2));
        let (w, b) = (file.weight("w", weight.clone()), file.weight("b", bias.clone()));
        let attributes = [
            ("alpha", Stated::Float(alpha)),
            ("beta", Stated::Float(2.0)),
            ("transB", Stated::Int(transposed)),
        ];
        let y = file.node_with("Gemm", &[&x, &w, &b], &attributes);
        let model = file.read(&y, DType::F64, &["batch", "4"]);
        let x = wide(tensor(DType::F32, &[2, 3], 1.0, 3));
        let [values, weight, bias] = [&x, &weight, &bias].map(to_f64);
        let at = |i: usize, j: usize| {
            if transposed == 1 { weight[j * 3 + i] } else { weight[i * 4 + j] }
        };
        let cell = |row: usize, j: usize| {
            let sum: f64 = (0..3).map(|i| values[row * 3 + i] * at(i, j)).sum();
            f64::from(alpha) * sum + 2.0 * bias[j]
        };
        let expected = (0..8).map(|i| cell(i / 4, i % 4)).collect();
        let expected = vec![HostTensor::from_vec([2, 4], expected).unwrap()];
        let sample = Sample { name: "two".into(), inputs: vec![x], expected };
        let near = Tolerance { absolute: 1e-12, relative: 1e-12 };
        check_for("Gemm of f64", &model, &[sample], move |_, _| near);
    }
}

/// A softmax of integers, between the two operators that say what the integers mean.
#[test]
fn a_softmax_of_quantized_values() {
    for (scale, zero) in [(0.01, 120_u8), (0.05, 0)] {
        let mut file = File::new(18);
        let x = file.input("x", DType::F32, &["batch", "150"]);
        let of = |file: &mut File, x: &str, scale: f32, zero: u8| {
            let zero = file.weight(&format!("{x}.zero"), HostTensor::scalar(zero));
            let scale = file.weight(&format!("{x}.scale"), HostTensor::scalar(scale));
            let q = file.node("QuantizeLinear", &[x, &scale, &zero]);
            file.node("DequantizeLinear", &[&q, &scale, &zero])
        };
        let x = of(&mut file, &x, scale, zero);
        let soft = file.node_with("Softmax", &[&x], &[("axis", Stated::Int(-1))]);
        let y = of(&mut file, &soft, 0.00387, 0);
        let model = file.read(&y, DType::F32, &["batch", "150"]);
        let x = tensor(DType::F32, &[2, 150], 2.0, 7);
        let quantized = |x: f32, scale: f32, zero: f32| {
            (((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero) * scale
        };
        let rows = x.to_vec::<f32>().unwrap();
        let expected: Vec<f32> = rows
            .chunks(150)
            .flat_map(|row| {
                let row: Vec<f32> =
                    row.iter().map(|&x| quantized(x, scale, f32::from(zero)).exp()).collect();
                let sum: f32 = row.iter().sum();
                row.into_iter().map(move |x| quantized(x / sum, 0.00387, 0.0)).collect::<Vec<_>>()
            })
            .collect();
        let expected = HostTensor::from_vec([2, 150], expected).unwrap();
        // A step of the integers at most, where a value lies between two.
        check_steps(&model, &x, &expected, 0.00387);
    }
}

fn check_steps(model: &OnnxModel, x: &HostTensor, expected: &HostTensor, step: f64) {
    let written = model.for_target(Target::portable()).unwrap();
    let found = to_f64(&run(&written, std::slice::from_ref(x))[0]);
    let off = found.iter().zip(to_f64(expected)).map(|(a, b)| (a - b).abs());
    let most = off.fold(0.0, f64::max);
    assert!(most <= 1.01 * step, "off by {most}");
}

#[test]
fn a_squeeze_that_names_no_axes() {
    for opset in [9, 11, 13, 18] {
        let mut file = File::new(opset);
        let x = file.input("x", DType::F32, &["1", "3", "1", "2"]);
        let y = file.node("Squeeze", &[&x]);
        let y = file.node("Relu", &[&y]);
        let model = file.read(&y, DType::F32, &["3", "2"]);
        let written = model.for_target(Target::portable()).unwrap();
        let x = tensor(DType::F32, &[1, 3, 1, 2], 1.0, 8);
        let expected: Vec<f64> = to_f64(&x).into_iter().map(|x| x.max(0.0)).collect();
        let found = &run(&written, &[x])[0];
        assert_eq!((found.shape(), to_f64(found)), (&[3, 2][..], expected), "operator set {opset}");
    }
}
