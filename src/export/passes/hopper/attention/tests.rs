//! Which attention is padded, and what the graph is then. Values are compared in `tests/cases_graph` and
//! with whole models.

use super::*;
use crate::export::passes::testing::operators;
use crate::export::{GraphBuilder, OnnxModel, Value};
use crate::tensor::HostTensor;

type Body<'a> = &'a dyn Fn(&Value) -> Result<Value>;

/// Heads of 8 with queries, keys and values `[2, 4, queries or keys, 8]`; `changed` is what becomes of the
/// scores before they are weights, and `weighed` of these.
fn model(dtype: DType, lengths: [Dim; 2], changed: Body<'_>, weighed: Body<'_>) -> OnnxModel {
    written_for(Target::tensorrt(), dtype, lengths, changed, weighed)
}

fn written_for(
    target: Target,
    dtype: DType,
    [queries, keys]: [Dim; 2],
    changed: Body<'_>,
    weighed: Body<'_>,
) -> OnnxModel {
    let target = target.for_compute_capability(Some(90));
    let graph = GraphBuilder::for_target("model", target);
    let input = |name: &str, length: &Dim| {
        let dims = [Dim::Fixed(2), Dim::Fixed(4), length.clone(), Dim::Fixed(8)];
        graph.input(name, dtype, dims).unwrap()
    };
    let (q, k, v) = (input("q", &queries), input("k", &keys), input("v", &keys));
    let scores = q.matmul(&k.transpose(&[0, 1, 3, 2]).unwrap()).unwrap();
    let weights = weighed(&changed(&scores).unwrap()).unwrap();
    graph.output("y", &weights.matmul(&v).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn of_keys(dtype: DType, keys: usize) -> OnnxModel {
    let lengths = [Dim::Fixed(10), Dim::Fixed(keys)];
    model(dtype, lengths, &|scores| scores.affine(0.5, 0.0), &|scores| scores.softmax(-1))
}

fn is_padded(model: &OnnxModel) -> bool {
    operators(model).contains(&"Pad")
}

fn changed(changed: Body<'_>) -> OnnxModel {
    let lengths = [Dim::Fixed(10), Dim::Fixed(77)];
    model(DType::F32, lengths, changed, &|scores| scores.softmax(-1))
}

/// A constant of ones.
fn ones(x: &Value, shape: &[usize]) -> Value {
    let ones = HostTensor::from_vec(shape, vec![1f32; shape.iter().product()]).unwrap();
    x.graph().constant("ones", ones)
}

#[test]
fn keys_and_values_are_padded_and_what_is_padded_is_hidden() {
    let padded = ["Pad", "Transpose", "MatMul", "Mul", "Add", "Softmax", "Pad", "MatMul"];
    let model = of_keys(DType::F32, 77);
    assert_eq!(operators(&model), padded);
    let weights = &model.proto().graph.as_ref().unwrap().initializer;
    assert!(weights.iter().any(|weight| weight.dims == [80]), "{model}");
}

#[test]
fn what_was_not_measured_to_gain_stays() {
    for (keys, padded) in [(47, false), (49, true), (66, true), (68, false), (197, true)] {
        assert_eq!(is_padded(&of_keys(DType::F32, keys)), padded, "{keys}");
    }
    assert!(!is_padded(&of_keys(DType::F16, 77)), "of f16");
    let softmax: Body<'_> = &|scores| scores.softmax(-1);
    let lengths = [Dim::dynamic("queries", 1..=77).unwrap(), Dim::Fixed(77)];
    assert!(is_padded(&model(DType::F32, lengths, &|s| Ok(s.clone()), softmax)));
}

/// Keys of any number, by as many as are missing when the model runs.
#[test]
fn keys_of_any_number_are_padded_by_what_is_missing() {
    let keys = |most| [Dim::Fixed(10), Dim::dynamic("keys", 1..=most).unwrap()];
    let any = |target, dtype, most| {
        let same: Body<'_> = &|scores| Ok(scores.clone());
        written_for(target, dtype, keys(most), same, &|scores| scores.softmax(-1))
    };
    let model = any(Target::tensorrt(), DType::F32, 77);
    let pads = operators(&model).iter().filter(|operator| **operator == "Pad").count();
    assert_eq!(pads, 3, "keys, values and what hides them: {model}");
    assert!(!is_padded(&any(Target::tensorrt(), DType::F32, 48)), "few at the optimum");
    assert!(!is_padded(&any(Target::tensorrt(), DType::F16, 77)), "of f16");
    assert!(!is_padded(&any(Target::portable(), DType::F32, 77)), "tract pads by constants");
}

/// A framework's export gives sizes that it knows to be equal one name, and the nodes before keep theirs.
#[cfg(any(feature = "burn", feature = "candle"))]
#[test]
fn keys_may_have_another_name_than_what_they_are_turned_from() {
    let target = Target::tensorrt().for_compute_capability(Some(90));
    let graph = GraphBuilder::for_target("model", target);
    let dims = |keys: Dim| [Dim::Fixed(2), Dim::Fixed(4), keys, Dim::Fixed(8)];
    let input = |name, keys| graph.input(name, DType::F32, dims(keys)).unwrap();
    let length = || Dim::dynamic("length", 1..=77).unwrap();
    let (q, x) = (input("q", Dim::Fixed(10)), input("x", length()));
    let joined = graph.concat(&[&x, &x], 2).unwrap();
    let named = dims(Dim::dynamic("2*length", 2..=154).unwrap());
    assert_ne!(joined.dims(), named);
    let past = joined.with_shape(named.clone().into());
    let turned = past.transpose(&[0, 1, 3, 2]).unwrap();
    let weights = q.matmul(&turned).unwrap().softmax(-1).unwrap();
    graph.output("y", &weights.matmul(&past.affine(0.5, 0.0).unwrap()).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let pads = operators(&model).iter().filter(|operator| **operator == "Pad").count();
    assert_eq!(pads, 3, "{model}");
}

#[test]
fn what_is_added_along_the_keys_is_padded() {
    let masked = changed(&|scores| scores.add(&ones(scores, &[2, 1, 1, 77])));
    let operators = operators(&masked);
    assert_eq!(operators.iter().filter(|operator| **operator == "Pad").count(), 3);
    assert!(is_padded(&changed(&|scores| scores.add(&ones(scores, &[2, 4, 10, 1])))));
    assert!(is_padded(&changed(&|scores| ones(scores, &[10, 77])
        .add(scores)?
        .sub(&ones(scores, &[1])))));
}

#[test]
fn scores_that_are_more_than_weights_stay() {
    let along: Body<'_> = &|scores| scores.mul(&ones(scores, &[77]));
    assert!(!is_padded(&changed(along)), "times something along the keys");
    assert!(!is_padded(&changed(&|scores| ones(scores, &[1]).div(scores))), "divided by");
    assert!(!is_padded(&changed(&|scores| scores.add(&ones(scores, &[1, 1, 1, 1, 77])))), "rank");
    assert!(!is_padded(&changed(&|scores| scores.slice(2, 0, Some(5)))), "not each by itself");
    assert!(!is_padded(&changed(&|scores| scores.tanh())), "bounded");
    let twice: Body<'_> = &|scores| scores.softmax(-1)?.add(scores);
    assert!(!is_padded(&changed(twice)), "read twice");
    let lengths = || [Dim::Fixed(77), Dim::Fixed(77)];
    let weighed = |weighed: Body<'_>| model(DType::F32, lengths(), &|s| Ok(s.clone()), weighed);
    assert!(!is_padded(&weighed(&|scores| scores.softmax(-2))), "over queries");
    assert!(!is_padded(&weighed(&|scores| scores.softmax(-1)?.relu())), "weights are changed");
    assert!(!is_padded(&weighed(&|scores| scores.sigmoid())), "no softmax");
    assert!(is_padded(&weighed(&|scores| scores.softmax(3))));
}

/// Scores and weights that are given as well keep their number.
#[test]
fn scores_and_weights_that_others_read_stay() {
    for read in 0..3 {
        let graph =
            GraphBuilder::for_target("model", Target::tensorrt().for_compute_capability(Some(90)));
        let x = graph.input("x", DType::F32, [2, 77, 8]).unwrap();
        let scores = x.matmul(&x.transpose(&[0, 2, 1]).unwrap()).unwrap();
        let scaled = scores.affine(0.5, 0.0).unwrap();
        let weights = scaled.softmax(-1).unwrap();
        graph.output("y", &weights.matmul(&x).unwrap()).unwrap();
        graph.output("read", &[scores, scaled, weights][read]).unwrap();
        assert!(!is_padded(&graph.finish().unwrap()), "{read}");
    }
}

/// A mask that both layers add, and what is keys and values alike.
#[test]
fn one_value_is_padded_once() {
    let graph =
        GraphBuilder::for_target("model", Target::tensorrt().for_compute_capability(Some(90)));
    let mut x = graph.input("x", DType::F32, [2, 77, 8]).unwrap();
    let mask = graph.input("mask", DType::F32, [2, 1, 77]).unwrap();
    for _ in 0..2 {
        let scores = x.matmul(&x.transpose(&[0, 2, 1]).unwrap()).unwrap();
        x = scores.add(&mask).unwrap().softmax(-1).unwrap().matmul(&x).unwrap();
    }
    graph.output("y", &x).unwrap();
    let model = graph.finish().unwrap();
    let pads = operators(&model).iter().filter(|operator| **operator == "Pad").count();
    assert_eq!(pads, 3, "{model}");
}

/// Keys that others read turned are padded as they are.
#[test]
fn turned_keys_may_have_other_readers() {
    let graph =
        GraphBuilder::for_target("model", Target::tensorrt().for_compute_capability(Some(90)));
    let x = graph.input("x", DType::F32, [2, 77, 8]).unwrap();
    let keys = x.transpose(&[0, 2, 1]).unwrap();
    let weights = x.matmul(&keys).unwrap().softmax(-1).unwrap();
    graph.output("y", &weights.matmul(&x).unwrap()).unwrap();
    graph.output("keys", &keys).unwrap();
    let model = graph.finish().unwrap();
    let expected = ["Transpose", "Pad", "MatMul", "Add", "Softmax", "Pad", "MatMul"];
    assert_eq!(operators(&model), expected);
}
