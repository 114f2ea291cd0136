//! Which nodes go on with more rows, and what the graph is then. Values are compared in `tests/cases_graph`
//! and with whole models.

use super::*;
use crate::export::passes::testing::{model, operators};
use crate::export::{GraphBuilder, OnnxModel, Value};
use crate::tensor::HostTensor;

const WIDTH: usize = 384;

fn weight(graph: &GraphBuilder, dtype: DType, shape: &[usize]) -> Value {
    let bytes = vec![0u8; shape.iter().product::<usize>() * dtype.size()];
    graph.constant("weight", HostTensor::from_bytes(dtype, shape, bytes).unwrap())
}

fn layer(x: &Value, inputs: usize, outputs: usize) -> Result<Value> {
    let weight_of = |shape: &[usize]| weight(x.graph(), x.dtype(), shape);
    x.linear_by_outputs(&weight_of(&[outputs, inputs]), Some(&weight_of(&[outputs])))
}

fn norm(x: &Value) -> Result<Value> {
    x.layer_norm(&weight(x.graph(), x.dtype(), &[WIDTH]), None, -1, 1e-5)
}

fn network(x: &Value) -> Result<Value> {
    layer(&layer(x, WIDTH, 4 * WIDTH)?.gelu()?, 4 * WIDTH, WIDTH)
}

/// What looks at all rows: attention of one head.
fn attention(x: &Value) -> Result<Value> {
    let [q, k, v] = [(); 3].map(|()| layer(x, WIDTH, WIDTH));
    let rank = x.rank();
    let order: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    q?.matmul(&k?.transpose(&order)?)?.softmax(-1)?.matmul(&v?)
}

/// How often rows are added, and cut off again.
fn changes(model: &OnnxModel) -> [usize; 2] {
    ["Pad", "Slice"].map(|op| operators(model).iter().filter(|other| **other == op).count())
}

fn encoder(x: &Value) -> Result<Value> {
    let x = x.add(&layer(&attention(&norm(x)?)?, WIDTH, WIDTH)?)?;
    x.add(&network(&norm(&x)?)?)
}

#[test]
fn rows_are_added_once_and_cut_off_for_attention() {
    let model = model(DType::F32, &[1, 100, WIDTH], |x| Ok(vec![encoder(&encoder(x)?)?]));
    // The model's input and what attention gives, of each layer; query, key and value at once, and the
    // result.
    assert_eq!(changes(&model), [3, 3], "{model}");
    let network = ["Gelu", "Transpose", "MatMul", "ReduceSum", "Reshape", "Add", "Add", "Slice"];
    assert!(operators(&model).ends_with(&network), "{model}");
}

#[test]
fn what_was_not_measured_to_gain_stays() {
    let network =
        |dtype, dims: &[usize]| changes(&model(dtype, dims, |x| Ok(vec![network(x)?]))) == [1, 1];
    for (rows, more) in [(49, false), (50, true), (64, false), (197, true), (449, true)] {
        assert_eq!(network(DType::F32, &[1, rows, WIDTH]), more, "{rows}");
    }
    assert!(!network(DType::F32, &[1, 513, WIDTH]), "many");
    assert!(!network(DType::F32, &[2, 100, WIDTH]), "two texts");
    assert!(!network(DType::F16, &[1, 100, WIDTH]), "of f16");
    assert!(network(DType::F32, &[100, WIDTH]), "a matrix");
    let three = model(DType::F32, &[1, 100, WIDTH], |x| Ok(vec![attention(x)?]));
    assert_eq!(changes(&three), [0, 0], "no feed-forward network");
}

/// What others read is there with the rows that it had, and once.
#[test]
fn what_others_read_is_cut_off() {
    let model = model(DType::F32, &[1, 100, WIDTH], |x| {
        let y = network(&norm(x)?)?;
        let both = y.mul(&x.affine(2.0, 0.0)?)?;
        Ok(vec![y.clone(), both.softmax(1)?, y.transpose(&[0, 2, 1])?])
    });
    assert_eq!(changes(&model), [1, 2], "{model}");
    let signature = model.signature().to_string();
    assert!(signature.contains("(y0: f32 [1, 100, 384], y1: f32 [1, 100, 384]"), "{signature}");
}

/// What is the same for all rows is not padded, and what is of each row is.
#[test]
fn what_is_added_to_each_row_gets_more_of_them() {
    let added = |shape: &[usize]| {
        changes(&model(DType::F32, &[1, 100, WIDTH], |x| {
            Ok(vec![network(&x.add(&weight(x.graph(), DType::F32, shape))?)?])
        }))
    };
    assert_eq!(added(&[WIDTH]), [1, 1]);
    assert_eq!(added(&[1, 1, WIDTH]), [1, 1]);
    assert_eq!(added(&[100, WIDTH]), [2, 1]);
    assert_eq!(added(&[1, 100, 1]), [2, 1]);
}

/// A norm that was written in its parts.
#[test]
fn sums_over_what_a_row_has_go_on() {
    let normed = |axis: i64, kept: bool| {
        changes(&model(DType::F32, &[1, 100, WIDTH], |x| {
            let scale = x.mul(x)?.reduced("ReduceMean", &[axis], kept)?;
            let scale = if kept { scale } else { scale.unsqueeze(&[axis])? };
            let scale = scale.affine(1.0, 1e-5)?;
            let root = x.graph().node("Sqrt").input(&scale).build()?;
            Ok(vec![network(&x.div(&root)?)?])
        }))
    };
    assert_eq!(normed(-1, true), [1, 1]);
    // A mean over the rows is of those that there were.
    assert_eq!(normed(-2, true), [1, 2]);
    assert_eq!(normed(-1, false), [2, 2]);
}
