//! Attention alone in half precision: one kernel on TensorRT-RTX, however its model writes it, and all else in 32 bits.

use accelerant::export::{GraphBuilder, OnnxModel, Target, Value};
use accelerant::precision::{Precision, PrecisionOptions};
use accelerant::{DType, HostTensor, Result};

use crate::plan::Plan;
use crate::runs::{cosine, has_ort, near, numbers, run};

type Changed = fn(&GraphBuilder, &Value) -> Result<Value>;

/// As [`layer`], behind a normalization; queries, keys and values are one product, or three. `read` gives what attention is fed
/// with to another node too.
fn normed(joined: bool, read: bool) -> OnnxModel {
    let graph = GraphBuilder::for_target("layer", Target::tensorrt());
    let x = graph.input("x", DType::F32, [2usize, 64, 128]).unwrap();
    let constant = |sizes: &[usize], seed| graph.constant("weight", numbers(sizes, 0.2, seed));
    let (factor, shift) = (constant(&[128], 6), constant(&[128], 7));
    let states = x.layer_norm(&factor, Some(&shift), -1, 1e-5).unwrap();
    let product = |sizes: &[usize], seed| {
        let product = states.matmul(&constant(sizes, seed)).unwrap();
        product.add(&constant(&sizes[1..], seed + 10)).unwrap()
    };
    let all = joined.then(|| product(&[128, 384], 1));
    let heads = |i: i64, order: &[usize]| {
        let part = match &all {
            Some(all) => all.slice(2, 128 * i, Some(128 * (i + 1))).unwrap(),
            None => product(&[128, 128], i as u64 + 1),
        };
        let parts = [None, Some(64.into()), Some(2.into()), Some(64.into())];
        part.reshape(&parts).unwrap().transpose(order).unwrap()
    };
    let (q, k, v) = (heads(0, &[0, 2, 1, 3]), heads(1, &[0, 2, 3, 1]), heads(2, &[0, 2, 1, 3]));
    if read {
        graph.output("keys", &k.relu().unwrap()).unwrap();
    }
    let weights = q.matmul(&k).unwrap().affine(0.125, 0.0).unwrap().softmax(-1).unwrap();
    let mixed =
        weights.matmul(&v).unwrap().transpose(&[0, 2, 1, 3]).unwrap().flatten(2, 3).unwrap();
    let output = mixed.matmul(&constant(&[128, 128], 4)).unwrap().add(&x).unwrap();
    graph.output("y", &output).unwrap();
    graph.finish().unwrap()
}

/// A layer with attention: heads are cut from three products of weights, and joined for another.
fn layer(scores: Changed, weights: Changed) -> OnnxModel {
    let graph = GraphBuilder::for_target("layer", Target::tensorrt());
    let x = graph.input("x", DType::F32, [2usize, 64, 128]).unwrap();
    let weight = |seed| graph.constant("weight", numbers(&[128, 128], 0.2, seed));
    let heads = |seed, order: &[usize]| {
        let parts = [None, Some(64.into()), Some(2.into()), Some(64.into())];
        x.matmul(&weight(seed)).unwrap().reshape(&parts).unwrap().transpose(order).unwrap()
    };
    let (q, k, v) = (heads(1, &[0, 2, 1, 3]), heads(2, &[0, 2, 3, 1]), heads(3, &[0, 2, 1, 3]));
    let product = q.matmul(&k).unwrap().affine(0.125, 0.0).unwrap();
    let scores = scores(&graph, &product).unwrap().softmax(-1).unwrap();
    let weighted = weights(&graph, &scores).unwrap().matmul(&v).unwrap();
    let joined = weighted.transpose(&[0, 2, 1, 3]).unwrap().flatten(2, 3).unwrap();
    graph.output("y", &joined.matmul(&weight(4)).unwrap().add(&x).unwrap()).unwrap();
    graph.finish().unwrap()
}

/// Hides the last keys of the first text, and all of the second.
fn masked(graph: &GraphBuilder, scores: &Value, hidden: f32) -> Result<Value> {
    let mask = (0..128).map(|i| if i < 40 { 0.0 } else { hidden }).collect();
    scores.add(&graph.constant("mask", HostTensor::from_vec([2, 1, 1, 64], mask)?))
}

const PLAIN: Changed = |_, scores| Ok(scores.clone());
const FORMS: [(&str, Changed, Changed); 4] = [
    ("plain", PLAIN, PLAIN),
    ("masked", |graph, scores| masked(graph, scores, -1e9), PLAIN),
    ("masked by the least number", |graph, scores| masked(graph, scores, f32::MIN), PLAIN),
    ("with a layer that does nothing", PLAIN, |g, w| g.node("Identity").input(w).build()),
];

#[test]
fn attention_is_one_kernel_and_all_else_is_in_32_bits() {
    let ort = has_ort("attention in mixed precision");
    for (name, scores, weights) in FORMS {
        let plain = layer(scores, weights);
        assert_eq!(Plan::of(name, &plain).attentions(), 0, "{name} in 32 bits");
        let mixed = plain.with_precision(Target::tensorrt(), Precision::Mixed).unwrap();
        let report = mixed.precision_report().unwrap();
        let half = report.layers.iter().filter(|layer| layer.precision == "f16");
        assert_eq!(half.map(|layer| &*layer.operator).collect::<Vec<_>>(), ["MatMul"; 2], "{name}");
        let plan = Plan::of(name, &mixed);
        assert_eq!(plan.attentions(), 1, "{name}: {:#?}", plan.kernels);
        if ort {
            let inputs = [numbers(&[2, 64, 128], 1.0, 9)];
            let expected = run(name, &plain, &inputs);
            let got = run(name, &mixed, &inputs);
            near(name, &got[0], &expected[0], 2e-3);
            assert!(cosine(&got[0], &expected[0]) > 0.999999, "{name}");
        }
    }
}

/// What feeds attention is in half precision where it reads a normalization and nothing else reads it.
#[test]
fn products_that_feed_attention_are_in_half_precision() {
    let ort = has_ort("what feeds attention");
    for (joined, read, expected) in
        [(false, false, 5), (true, false, 3), (false, true, 4), (true, true, 2)]
    {
        let name = &format!("joined {joined}, read {read}");
        let plain = normed(joined, read);
        let mixed = plain.with_precision(Target::tensorrt(), Precision::Mixed).unwrap();
        let report = mixed.precision_report().unwrap();
        let half = report.layers.iter().filter(|layer| layer.precision == "f16");
        assert_eq!(half.filter(|layer| layer.operator == "MatMul").count(), expected, "{name}");
        let plan = Plan::of(name, &mixed);
        assert_eq!(plan.attentions(), 1, "{name}: {:#?}", plan.kernels);
        if ort {
            let inputs = [numbers(&[2, 64, 128], 1.0, 9)];
            let (expected, got) = (run(name, &plain, &inputs), run(name, &mixed, &inputs));
            for (got, expected) in got.iter().zip(&expected) {
                near(name, got, expected, 4e-3);
                assert!(cosine(got, expected) > 0.99999, "{name}");
            }
        }
    }
}

/// The same in half precision throughout: the softmax between the products stays in 32 bits, and is in their kernel.
#[test]
fn attention_is_one_kernel_in_fp16_and_bf16_too() {
    let ort = has_ort("attention in half precision");
    for (name, scores, weights) in FORMS {
        for (precision, part) in [(Precision::Fp16, 5e-3), (Precision::Bf16, 4e-2)] {
            let name = &format!("{name} in {precision}");
            let plain = layer(scores, weights);
            let half = plain.with_precision(Target::tensorrt(), precision).unwrap();
            let plan = Plan::of(name, &half);
            assert_eq!(plan.attentions(), 1, "{name}: {:#?}", plan.kernels);
            let narrow = if precision == Precision::Fp16 { "half" } else { "bf16" };
            let attention = plan.kernels.iter().find(|kernel| kernel.name.contains("mha")).unwrap();
            // What is added to the scores stays in 32 bits.
            let mut kinds = attention.types.iter().filter(|kind| *kind != "float");
            assert!(kinds.all(|kind| kind == narrow), "{name}: {attention:?}");
            if ort {
                let inputs = [numbers(&[2, 64, 128], 1.0, 9)];
                let expected = run(name, &plain, &inputs);
                near(name, &run(name, &half, &inputs)[0], &expected[0], part);
            }
        }
    }
}

/// What is no attention stays, and what is excluded.
#[test]
fn other_products_stay() {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [2usize, 16, 32]).unwrap();
    let y = x.matmul(&graph.constant("weight", numbers(&[32, 32], 0.5, 1))).unwrap();
    graph.output("y", &y.softmax(-1).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let mixed = model.with_precision(Target::tensorrt(), Precision::Mixed).unwrap();
    assert_eq!(mixed.to_bytes(), model.to_bytes());

    let layer = layer(PLAIN, PLAIN);
    let options = PrecisionOptions::new(Precision::Mixed).keep(["MatMul"]);
    let kept = layer.with_precision(Target::tensorrt(), options).unwrap();
    assert_eq!(kept.to_bytes(), layer.to_bytes());
}

/// The forms for Hopper are chosen by type, and come after the precision: linear layers have the same ones.
#[test]
fn forms_for_hopper_come_after_the_precision() {
    let graph = GraphBuilder::for_target("layer", Target::tensorrt());
    let x = graph.input("x", DType::F32, [8usize, 128, 768]).unwrap();
    let weight = |seed| graph.constant("weight", numbers(&[768, 768], 0.05, seed));
    let bias = |seed| graph.constant("bias", numbers(&[768], 0.05, seed));
    let heads = |seed, order: &[usize]| {
        let parts = [None, Some(128.into()), Some(12.into()), Some(64.into())];
        let y = x.linear(&weight(seed), Some(&bias(seed))).unwrap();
        y.reshape(&parts).unwrap().transpose(order).unwrap()
    };
    let (q, k, v) = (heads(1, &[0, 2, 1, 3]), heads(2, &[0, 2, 3, 1]), heads(3, &[0, 2, 1, 3]));
    let weights = q.matmul(&k).unwrap().affine(0.125, 0.0).unwrap().softmax(-1).unwrap();
    let joined = weights.matmul(&v).unwrap().transpose(&[0, 2, 1, 3]).unwrap();
    graph.output("y", &joined.flatten(2, 3).unwrap()).unwrap();
    let plain = graph.finish().unwrap();
    let hopper = Target::tensorrt().for_compute_capability(Some(90));
    let products = |model: &OnnxModel| {
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        nodes.iter().filter(|node| node.op_type() == "MatMul").count()
    };
    let forms = plain.for_target(hopper).unwrap();
    assert_eq!((products(&plain), products(&forms)), (5, 3), "{forms}");
    for precision in [Precision::Mixed, Precision::Fp16] {
        let half = plain.with_precision(hopper, precision).unwrap();
        assert_eq!(products(&half), 3, "{precision}: {half}");
        assert_eq!(Plan::of("forms", &half).attentions(), 1, "{precision}");
        if has_ort("forms after the precision") {
            let inputs = [numbers(&[8, 128, 768], 1.0, 9)];
            let expected = run("forms", &plain, &inputs);
            near("forms", &run("forms", &half, &inputs)[0], &expected[0], 1e-2);
        }
    }
}
