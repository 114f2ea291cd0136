//! Which layers are written in another form, and what the graph is then. Values are compared in
//! `tests/cases_graph` and with whole models.

use super::*;
use crate::export::passes::testing::{model, operators};
use crate::export::{GraphBuilder, OnnxModel, Value};
use crate::spec::{DType, Dim};

const WIDTH: usize = 384;
const HIDDEN: usize = 1536;

fn zeros(graph: &GraphBuilder, name: &str, dtype: DType, shape: &[usize]) -> Value {
    let bytes = vec![0u8; shape.iter().product::<usize>() * dtype.size()];
    graph.weight(name, HostTensor::from_bytes(dtype, shape, bytes).unwrap()).unwrap()
}

/// A layer of weights `[outputs, inputs]`, with a bias.
fn layer(x: &Value, name: &str, inputs: usize, outputs: usize) -> Value {
    let (graph, dtype) = (x.graph(), x.dtype());
    let weight = zeros(graph, &format!("{name}.weight"), dtype, &[outputs, inputs]);
    let bias = zeros(graph, &format!("{name}.bias"), dtype, &[outputs]);
    x.linear_by_outputs(&weight, Some(&bias)).unwrap()
}

fn weight_of(x: &Value, i: usize) -> Value {
    zeros(x.graph(), &format!("weight{i}"), DType::F32, &[WIDTH, WIDTH])
}

fn shapes(model: &OnnxModel) -> Vec<Vec<i64>> {
    let weights = &model.proto().graph.as_ref().unwrap().initializer;
    weights.iter().filter(|w| w.dims.len() > 1).map(|w| w.dims.clone()).collect()
}

fn several(dtype: DType, dims: &[usize], outputs: &[usize]) -> OnnxModel {
    model(dtype, dims, |x| {
        let layer = |(i, &outputs)| layer(x, &format!("layer{i}"), WIDTH, outputs);
        Ok(outputs.iter().enumerate().map(layer).collect())
    })
}

fn network(dtype: DType, rows: usize, hidden: usize) -> OnnxModel {
    model(dtype, &[1, rows, WIDTH], |x| {
        Ok(vec![layer(&layer(x, "up", WIDTH, hidden).gelu()?, "down", hidden, WIDTH)])
    })
}

fn is_batched(model: &OnnxModel) -> bool {
    shapes(model).iter().any(|shape| shape.len() == 3)
}

#[test]
fn layers_of_one_input_become_one_product() {
    let model = several(DType::F32, &[2, 64, WIDTH], &[WIDTH; 3]);
    let one = ["Transpose", "Reshape", "MatMul", "Add", "Split", "Reshape", "Reshape", "Reshape"];
    assert_eq!(operators(&model), one);
    assert_eq!(shapes(&model), [vec![3, 384, 384], vec![3, 1, 384]]);
    // A batch of one has nothing to reshape, nor has a matrix to become several dimensions.
    let model = several(DType::F16, &[1, 128, WIDTH], &[WIDTH; 3]);
    assert_eq!(operators(&model), ["Transpose", "MatMul", "Add", "Split"]);
    assert!(is_batched(&several(DType::F32, &[128, WIDTH], &[WIDTH; 3])));
}

#[test]
fn layers_that_were_not_measured_to_gain_stay() {
    let f32 = |dims: &[usize], outputs: &[usize]| several(DType::F32, dims, outputs);
    assert!(is_batched(&f32(&[1, 16, WIDTH], &[WIDTH; 3])));
    assert!(!is_batched(&f32(&[1, 15, WIDTH], &[WIDTH; 3])), "few rows");
    assert!(!is_batched(&f32(&[1, 128, WIDTH], &[WIDTH; 2])), "two layers");
    assert!(!is_batched(&f32(&[1, 128, WIDTH], &[WIDTH; 4])), "four layers");
    assert!(!is_batched(&f32(&[1, 128, WIDTH], &[WIDTH, 128, 128])), "of different sizes");
    assert!(!is_batched(&f32(&[1, 128, WIDTH], &[512; 3])), "wide layers");
    assert!(!is_batched(&several(DType::F64, &[1, 128, WIDTH], &[WIDTH; 3])), "of f64");
    assert!(is_batched(&several(DType::F16, &[8, 128, WIDTH], &[WIDTH; 3])));
    assert!(!is_batched(&several(DType::F16, &[9, 128, WIDTH], &[WIDTH; 3])), "many rows of f16");
    assert!(is_batched(&several(DType::F32, &[9, 128, WIDTH], &[WIDTH; 3])));
    // The layer of another size stays beside the product of the others.
    let model = f32(&[1, 128, WIDTH], &[WIDTH, 512, WIDTH, WIDTH]);
    assert_eq!(shapes(&model), [vec![512, 384], vec![3, 384, 384], vec![3, 1, 384]]);
}

#[test]
fn a_layer_three_times_as_wide_is_in_three_parts() {
    let wide = |dtype, rows, outputs| several(dtype, &[1, rows, WIDTH], &[outputs]);
    let model = wide(DType::F32, 128, 3 * WIDTH);
    assert_eq!(operators(&model), ["Transpose", "MatMul", "Add", "Transpose", "Reshape"]);
    assert_eq!(shapes(&model), [vec![3, 384, 384], vec![3, 1, 384]]);
    assert!(!is_batched(&wide(DType::F32, 128, 2 * WIDTH)), "twice as wide");
    assert!(!is_batched(&wide(DType::F32, 15, 3 * WIDTH)), "few rows");
    assert!(is_batched(&wide(DType::F32, 2048, 3 * WIDTH)));
    assert!(!is_batched(&wide(DType::F16, 2048, 3 * WIDTH)), "many rows of f16");
    // A feed-forward network of that size is in four parts.
    assert!(shapes(&network(DType::F32, 128, 3 * WIDTH)).contains(&vec![4, 288, 384]));
}

#[test]
fn heads_are_divided_and_turned_for_all_layers_at_once() {
    fn turned(x: &Value, order: &[usize], heads: usize) -> Result<Value> {
        let mut dims: Vec<Option<Dim>> = x.dims().iter().cloned().map(Some).collect();
        dims.pop();
        dims.extend([Some(Dim::Fixed(heads)), None]);
        x.reshape(&dims)?.transpose(order)
    }
    fn parts(x: &Value) -> impl Iterator<Item = Value> {
        (0..3).map(move |i| layer(x, &format!("layer{i}"), WIDTH, WIDTH))
    }
    let alike = |x: &Value| parts(x).map(|y| turned(&y, &[0, 2, 1, 3], 4)).collect();
    let once = ["MatMul", "Add", "Reshape", "Transpose", "Split", "Squeeze", "Squeeze", "Squeeze"];
    let batched = model(DType::F32, &[2, 64, WIDTH], alike);
    assert_eq!(operators(&batched), [&["Transpose", "Reshape"], &once[..]].concat());
    let one = model(DType::F32, &[1, 128, WIDTH], alike);
    assert_eq!(operators(&one), [&["Transpose"], &once[..]].concat());

    let apart = |body: &dyn Fn(&Value) -> Result<Vec<Value>>| {
        let model = model(DType::F32, &[1, 128, WIDTH], body);
        let count = |op| operators(&model).iter().filter(|other| **other == op).count();
        assert!(is_batched(&model));
        [count("Reshape"), count("Transpose"), count("Squeeze")]
    };
    let unlike = |x: &Value| {
        let orders = [[0, 2, 1, 3], [0, 2, 1, 3], [0, 2, 3, 1]];
        parts(x).zip(orders).map(|(y, order)| turned(&y, &order, 4)).collect()
    };
    assert_eq!(apart(&unlike), [3, 4, 0]);
    let of_other_sizes =
        |x: &Value| parts(x).zip([4, 4, 8]).map(|(y, n)| turned(&y, &[0, 2, 1, 3], n)).collect();
    assert_eq!(apart(&of_other_sizes), [3, 4, 0]);
    let read_twice = |x: &Value| {
        let parts: Vec<Value> = parts(x).collect();
        let turned = parts.iter().map(|y| turned(y, &[0, 2, 1, 3], 4));
        let mut all = turned.collect::<Result<Vec<_>>>()?;
        all.push(parts[0].clone());
        Ok(all)
    };
    assert_eq!(apart(&read_twice), [3, 4, 0]);
}

#[test]
fn an_exact_gelu_of_many_halves_is_in_halves() {
    let of = |dtype, rows, [width, hidden]: [usize; 2], tanh| {
        model(dtype, &[1, rows, width], |x| {
            let up = layer(x, "up", width, hidden);
            let hidden_values = if tanh { up.gelu_tanh()? } else { up.gelu()? };
            Ok(vec![layer(&hidden_values, "down", hidden, width)])
        })
    };
    let model = of(DType::F16, 1024, [768, 3072], false);
    let halves = ["Add", "Gelu"].repeat(2);
    let whole = ["Transpose", "MatMul", "Split"].into_iter().chain(halves).chain(["Concat"]);
    assert_eq!(operators(&model)[..8], whole.collect::<Vec<_>>());
    assert_eq!(operators(&model)[8..], ["Transpose", "MatMul", "Add"]);
    let in_halves = |model: &OnnxModel| operators(model).contains(&"Concat");
    assert!(in_halves(&of(DType::F16, 2048, [WIDTH, HIDDEN], false)));
    assert!(!in_halves(&of(DType::F16, 2047, [WIDTH, HIDDEN], false)), "few elements");
    assert!(!in_halves(&of(DType::F16, 512, [WIDTH, 2 * 3072], false)), "few rows");
    assert!(!in_halves(&of(DType::F16, 1024, [768, 3072], true)), "by tanh");
    assert!(!in_halves(&of(DType::F32, 1024, [768, 3072], false)), "of f32");
    assert!(!in_halves(&of(DType::F16, 4096, [768, 768], false)), "a layer that does not widen");
    let three = of(DType::F16, 1024, [1024, 3072], false);
    assert!(in_halves(&three) && !is_batched(&three), "as wide as query, key and value");
}

#[test]
fn a_feed_forward_network_is_in_parts() {
    let model = network(DType::F32, 128, HIDDEN);
    let parts = ["Transpose", "MatMul", "Add", "Gelu", "Transpose", "MatMul", "ReduceSum"];
    assert_eq!(operators(&model), [&parts[..], &["Reshape", "Add"]].concat());
    assert_eq!(shapes(&model), [vec![4, 384, 384], vec![4, 1, 384], vec![4, 384, 384]]);
    assert!(is_batched(&network(DType::F16, 197, HIDDEN)));
    assert!(is_batched(&network(DType::F32, 512, HIDDEN)));

    assert!(!is_batched(&network(DType::F16, 513, HIDDEN)), "many rows");
    assert!(!is_batched(&network(DType::F16, 15, HIDDEN)), "few rows");
    assert!(!is_batched(&network(DType::F32, 576, HIDDEN)), "many rows of f32");
    assert!(!is_batched(&network(DType::F32, 40, HIDDEN)), "few rows that 64 does not divide");
    assert!(is_batched(&network(DType::F32, 200, HIDDEN)), "with more rows");
    assert!(!is_batched(&network(DType::F32, 128, 764)), "little wider");
    assert!(!is_batched(&network(DType::F32, 128, 770)), "not in four parts");
}

#[test]
fn a_network_whose_hidden_values_are_used_elsewhere_stays() {
    type Body = fn(&Value, &Value) -> Result<Vec<Value>>;
    let down = |x: &Value| layer(x, "down", HIDDEN, WIDTH);
    let bodies: &[(&str, Body)] = &[
        ("an output", |x, h| Ok(vec![x.clone(), h.clone()])),
        ("a sum", |x, h| Ok(vec![x.clone(), h.reduced("ReduceSum", &[-1], false)?])),
        ("another layer", |x, h| Ok(vec![x.clone(), layer(h, "other", HIDDEN, WIDTH)])),
    ];
    for (name, body) in bodies {
        let model = model(DType::F32, &[1, 128, WIDTH], |x| {
            let hidden = layer(x, "up", WIDTH, HIDDEN).relu()?;
            body(&down(&hidden), &hidden)
        });
        assert!(!is_batched(&model), "{name}");
    }
    // What is between the layers must be of each element by itself.
    type Between = fn(&Value) -> Result<Value>;
    let between: &[(&str, Between, bool)] = &[
        ("a scaled sigmoid", |h| h.mul(&h.affine(1.702, 0.0)?.sigmoid()?), true),
        ("a softmax", |h| h.softmax(-1), false),
        ("a vector", |h| h.mul(&zeros(h.graph(), "scale", DType::F32, &[HIDDEN])), false),
        ("its own layer", |h| h.mul(&layer(h, "gate", HIDDEN, HIDDEN)), false),
    ];
    for (name, between, expected) in between {
        let model = model(DType::F32, &[1, 128, WIDTH], |x| {
            Ok(vec![down(&between(&layer(x, "up", WIDTH, HIDDEN))?)])
        });
        assert_eq!(is_batched(&model), *expected, "{name}");
    }
}

#[test]
fn names_of_values_stay_and_shared_weights_are_stacked_once() {
    let body = |x: &Value| {
        let graph = x.graph();
        let weight = |name: String| zeros(graph, &name, DType::F32, &[WIDTH, WIDTH]);
        let weights: Vec<Value> = (0..3).map(|i| weight(format!("weight{i}"))).collect();
        let mut x = x.clone();
        for _ in 0..2 {
            let parts = weights.iter().map(|w| x.linear_by_outputs(w, None));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            x = parts[0].add(&parts[1])?.mul(&parts[2])?;
        }
        Ok(vec![x])
    };
    let batched = model(DType::F32, &[1, 128, WIDTH], body);
    assert_eq!(shapes(&batched), [[3, 384, 384]]);
    let count = |op| operators(&batched).iter().filter(|other| **other == op).count();
    assert_eq!([count("MatMul"), count("Transpose")], [2, 1]);

    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [1, 128, WIDTH]).unwrap();
    graph.output("y0", &body(&x).unwrap()[0]).unwrap();
    let plain = graph.finish().unwrap();
    let adds = |model: &OnnxModel| {
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        let adds = nodes.iter().filter(|n| n.op_type() == "Add");
        adds.map(|n| (n.input.clone(), n.output.clone())).collect::<Vec<_>>()
    };
    assert_eq!(adds(&batched), adds(&plain));
}

#[test]
fn layers_of_unlike_or_unknown_parameters_stay() {
    type Body = fn(&Value, usize) -> Result<Value>;
    let bodies: [(&str, Body, bool); 5] = [
        ("alike", |x, i| x.linear_by_outputs(&weight_of(x, i), None), true),
        ("one of them by inputs", |x, i| x.linear_of(&weight_of(x, i), None, i > 0), true),
        (
            "a bias for one of them",
            |x, i| {
                let bias = zeros(x.graph(), &format!("bias{i}"), DType::F32, &[WIDTH]);
                x.linear_by_outputs(&weight_of(x, i), (i > 0).then_some(&bias))
            },
            false,
        ),
        (
            "a bias that is computed, and added to the product",
            |x, i| {
                let bias = zeros(x.graph(), &format!("bias{i}"), DType::F32, &[WIDTH]);
                x.linear_by_outputs(&weight_of(x, i), Some(&bias.neg()?))
            },
            true,
        ),
        (
            "a weight that is computed",
            |x, i| x.linear_by_outputs(&weight_of(x, i).neg()?, None),
            false,
        ),
    ];
    for (name, body, expected) in bodies {
        let model = model(DType::F32, &[1, 128, WIDTH], |x| (0..3).map(|i| body(x, i)).collect());
        assert_eq!(is_batched(&model), expected, "{name}");
    }
}

#[test]
fn sizes_to_tune_for_decide() {
    for (opt, expected) in [(3, false), (4, true)] {
        let target = Target::tensorrt().for_compute_capability(Some(90));
        let graph = GraphBuilder::for_target("model", target);
        let batch = crate::spec::Symbol::new("batch", 1, opt, 8).unwrap();
        let dims = [Dim::from(batch), Dim::Fixed(4), Dim::Fixed(WIDTH)];
        let x = graph.input("x", DType::F32, dims).unwrap();
        for i in 0..3 {
            let y = layer(&x, &format!("layer{i}"), WIDTH, WIDTH);
            graph.output(&format!("y{i}"), &y).unwrap();
        }
        assert_eq!(is_batched(&graph.finish().unwrap()), expected);
    }
}
