//! A NaN that tract would lose in what follows from constants is an error, as one of a run is. What is right is given.

use accelerant::backend::{Backend, tract::Tract};
use accelerant::export::OnnxModel;
use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::on_tract::{gives, node, of, one, refused, vector};

/// The model is not built, or does not run, and the error names the node.
fn lost(model: &OnnxModel, inputs: &[HostTensor], name: &str) {
    let model = model.for_target(Tract.target()).unwrap();
    let error = match Tract.build_and_load(&model) {
        Ok((_, executable)) => executable.run(inputs).unwrap_err(),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(text.contains("NaN") && text.contains("use ONNX Runtime"), "{text}");
    assert!(text.contains(&format!("`{name}`")), "{text}");
}

/// A node over what another node makes of a constant, added to an input.
fn over_a_chain(operator: &str, made_by: &str, constant: &[f32], more: &[f32]) -> OnnxModel {
    let mut file = File::new(24);
    let x = file.input("x", DType::F32, &["2"]);
    let k = file.weight("k", vector(constant));
    let chain = match made_by {
        "Div" | "Sub" => file.node(made_by, &[&k, &k]),
        _ => file.node(made_by, &[&k]),
    };
    let mut inputs = vec![chain];
    if matches!(operator, "Max" | "Min") {
        inputs.push(file.weight("other", vector(more)));
    }
    let names: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let taken = file.node(operator, &names);
    let y = file.node("Add", &[&x, &taken]);
    file.read_open(&y, DType::F32, &["2"])
}

#[test]
fn a_nan_that_follows_from_constants() {
    let x = [vector(&[0f32, 0.0])];
    for operator in ["Relu", "Max", "Min", "Sigmoid", "Tanh", "Celu", "HardSigmoid", "Clip"] {
        let name = format!("node_{}_1", operator.to_lowercase());
        for (made_by, constant) in
            [("Div", [0f32, 2.0]), ("Log", [-1.0, 1.0]), ("Sub", [f32::INFINITY, 1.0])]
        {
            lost(&over_a_chain(operator, made_by, &constant, &[1.0, 2.0]), &x, &name);
        }
        refused(&over_constants(operator), "node_", "has a NaN");
    }
    gives(
        "no NaN",
        &over_a_chain("Max", "Neg", &[1.0, -2.0], &[0.5, 0.5]),
        &x,
        &vector(&[0.5f32, 2.0]),
    );
    gives("no NaN", &over_a_chain("Relu", "Div", &[1.0, 2.0], &[]), &x, &vector(&[1f32, 1.0]));
}

/// The same node over a NaN itself.
fn over_constants(operator: &str) -> OnnxModel {
    let mut file = File::new(24);
    let x = file.input("x", DType::F32, &["2"]);
    let k = file.weight("k", vector(&[f32::NAN, 1.0]));
    let y = match operator {
        "Max" | "Min" => file.node(operator, &[&x, &k]),
        _ => {
            let taken = file.node(operator, &[&k]);
            file.node("Add", &[&x, &taken])
        }
    };
    file.read_open(&y, DType::F32, &["2"])
}

#[test]
fn a_weight_of_a_product_with_a_limit() {
    let x = of(&[1, 2], &[1f32, 1.0]);
    let nan = [of(&[2, 2], &[1f32, f32::NAN, 2.0, 3.0])];
    let model = one("MatMul", std::slice::from_ref(&x), &nan, &[], &x);
    refused(&model, "node_matmul_0", "has a NaN");
    // What is added is a part of the product to tract.
    let mut file = File::new(20);
    let a = file.input("a", DType::F32, &["n", "2"]);
    let w = file.weight("w", of(&[2, 2], &[1f32, 0.0, 0.0, 1.0]));
    let b = file.weight("b", vector(&[0f32, f32::NAN]));
    let product = file.node("MatMul", &[&a, &w]);
    let sum = file.node("Add", &[&product, &b]);
    let y = file.node("Relu", &[&sum]);
    lost(&file.read_open(&y, DType::F32, &["n", "2"]), &[x], "node_relu_2");
}

#[test]
fn a_nan_in_a_branch() {
    let mut file = File::new(20);
    let x = file.input("x", DType::F32, &["2"]);
    let is = file.input("is", DType::Bool, &[]);
    let [mut first, mut second] = ["first", "second"].map(|name| file.within(name));
    let a = first.node("Relu", &[&x]);
    let b = second.node("Neg", &[&x]);
    let bodies = [("then_branch", first.body(&[&a])), ("else_branch", second.body(&[&b]))];
    let bodies = bodies.map(|(name, body)| (name, Stated::Graph(Box::new(body))));
    let y = file.node_with("If", &[&is], &bodies);
    let model = file.read_open(&y, DType::F32, &["2"]);
    // tract gives branches this name.
    lost(&model, &[vector(&[f32::NAN, 1.0]), HostTensor::scalar(true)], "If");
    let inputs = [vector(&[-1f32, 1.0]), HostTensor::scalar(true)];
    gives("a branch", &model, &inputs, &vector(&[0f32, 1.0]));
}

#[test]
fn values_that_are_quantized_by_themselves() {
    for x in [f32::NAN, f32::INFINITY, -f32::INFINITY, 3e38] {
        let mut file = File::new(20);
        let input = file.input("x", DType::F32, &["3"]);
        file.node_giving("DynamicQuantizeLinear", &[&input], &[], &["q", "s", "z"]);
        let model = file.read_open("q", DType::U8, &["3"]);
        lost(&model, &[vector(&[1f32, x, -1.0])], "node_dynamicquantizelinear_0");
    }
}

#[test]
fn whole_powers_by_fractions() {
    let x = vector(&[-8i32, 4, -1]);
    let exponents = vector(&[0.5f32, 0.5, 1.5]);
    // What is no number is the lowest integer to ONNX Runtime.
    let expected = vector(&[i32::MIN, 2, i32::MIN]);
    node("Pow", &[x.clone(), exponents.clone()], &[], &[], &expected);
    let mut file = File::new(20);
    let zero = file.input("zero", DType::I32, &["3"]);
    let [a, b] = [("a", x), ("b", exponents)].map(|(name, value)| file.weight(name, value));
    let power = file.node("Pow", &[&a, &b]);
    let y = file.node("Add", &[&zero, &power]);
    gives(
        "of constants",
        &file.read_open(&y, DType::I32, &["3"]),
        &[vector(&[0i32; 3])],
        &expected,
    );
}

/// The error of a run names the node of the file, and says what is wrong.
fn wrong(model: &OnnxModel, inputs: &[HostTensor], parts: &[&str]) {
    let model = model.for_target(Tract.target()).unwrap();
    let (_, executable) = Tract.build_and_load(&model).unwrap();
    let text = executable.run(inputs).unwrap_err().to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn places_that_an_axis_does_not_have() {
    let x = of(&[2, 3], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let places = |at: i64| of(&[2, 1], &[0, at]);
    let pairs = |at: i64| of(&[1, 2], &[0, at]);
    let along = [("axis", Stated::Int(1))];
    for at in [3, 9, -4, 1 << 32, i64::MAX, i64::MIN] {
        let says = format!("index {at} is out of range: axis 1 has 3 elements");
        let inputs = [x.clone(), places(at)];
        let taken = of(&[2, 2, 1], &[0f32; 4]);
        wrong(&one("Gather", &inputs, &[], &along, &taken), &inputs, &["`node_gather_0`", &says]);
        let taken = of(&[2, 1], &[0f32; 2]);
        let model = one("GatherElements", &inputs, &[], &along, &taken);
        wrong(&model, &inputs, &["`node_gatherelements_0`", &says]);
        let inputs = [x.clone(), places(at), taken];
        let model = one("ScatterElements", &inputs, &[], &along, &x);
        wrong(&model, &inputs, &["`node_scatterelements_0`", &says]);
    }
    for at in [3, 9, -4, 1 << 32, i64::MAX, i64::MIN] {
        let says = format!("index {at} is out of range: axis 1 has 3 elements");
        let inputs = [x.clone(), pairs(at)];
        let model = one("GatherND", &inputs, &[], &[], &vector(&[0f32]));
        wrong(&model, &inputs, &["`node_gathernd_0`", &says]);
    }
}

#[test]
fn integers_over_zero() {
    let inputs = [vector(&[4i32, 6]), vector(&[2i32, 0])];
    for operator in ["Div", "Mod"] {
        let model = one(operator, &inputs, &[], &[], &inputs[0]);
        let name = format!("`node_{}_0`", operator.to_lowercase());
        wrong(&model, &inputs, &[&name, "divided by 0: element 1"]);
    }
}
