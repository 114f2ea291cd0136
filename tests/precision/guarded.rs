//! Attention as torch writes it, with zeros for rows that see no key: `Where(IsNaN(softmax), 0, softmax) v`.

use accelerant::export::{GraphBuilder, OnnxModel, Target, Value};
use accelerant::precision::Precision;
use accelerant::{DType, Dim, HostTensor};

use crate::common::to_f64;
use crate::plan::Plan;
use crate::runs::{has_ort, near, numbers, run};

/// What hides keys.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hides {
    /// A term of 0 or minus infinity.
    Added,
    /// A choice between a score and minus infinity.
    Chosen,
}

fn chosen(condition: &Value, yes: &Value, no: &Value, graph: &GraphBuilder) -> Value {
    graph.node("Where").input(condition).input(yes).input(no).build().unwrap()
}

fn attention(dtype: DType, hides: Hides) -> OnnxModel {
    // As torch writes it: nothing is written anew for ONNX Runtime.
    let graph = GraphBuilder::for_target("model", Target::onnx_runtime());
    let x = graph.input("x", dtype, [2usize, 2, 16, 32]).unwrap();
    let seen = graph.input("seen", DType::Bool, [2usize, 1, 16, 16]).unwrap();
    let number = |value: f64| x.scalar_like(value).unwrap();
    let (zero, hidden) = (number(0.0), number(f64::NEG_INFINITY));
    let scores = x.matmul(&x.transpose(&[0, 1, 3, 2]).unwrap()).unwrap();
    let scores = match hides {
        Hides::Added => scores.add(&chosen(&seen, &zero, &hidden, &graph)).unwrap(),
        Hides::Chosen => chosen(&seen, &scores, &hidden, &graph),
    };
    let weights = scores.softmax(-1).unwrap();
    let none = graph.node("IsNaN").input(&weights).build().unwrap();
    let weights = chosen(&none, &zero, &weights, &graph);
    graph.output("y", &weights.matmul(&x).unwrap()).unwrap();
    graph.finish().unwrap()
}

/// The second text has 9 tokens, and its last rows see none.
fn inputs() -> [HostTensor; 2] {
    let seen = (0..2 * 16 * 16).map(|i| {
        let (text, row, key) = (i / 256, i / 16 % 16, i % 16);
        text == 0 || key < 9 && row < 9
    });
    let seen = HostTensor::from_vec([2, 1, 16, 16], seen.collect::<Vec<_>>()).unwrap();
    [numbers(&[2, 2, 16, 32], 1.0, 40), seen]
}

#[test]
fn rows_without_a_key_are_zeros_and_attention_is_one_kernel() {
    for hides in [Hides::Added, Hides::Chosen] {
        let plain = attention(DType::F32, hides);
        for precision in [Precision::Mixed, Precision::Fp16] {
            let name = format!("{hides:?} in {precision}");
            let model = plain.with_precision(Target::tensorrt(), precision).unwrap();
            let report = model.precision_report().unwrap();
            let products = report.layers.iter().filter(|layer| layer.operator == "MatMul");
            assert!(products.clone().all(|layer| layer.precision == "f16"), "{name}: {report}");
            assert_eq!(Plan::of(&name, &model).attentions(), 1, "{name}");
            if has_ort(&name) {
                let expected = &run(&name, &plain, &inputs())[0];
                let got = &run(&name, &model, &inputs())[0];
                near(&name, got, expected, 5e-3);
                let rows: Vec<f64> = to_f64(got);
                let hidden = |i: usize| i / 1024 == 1 && i / 32 % 16 >= 9;
                let mut all = rows.iter().enumerate().filter(|(i, _)| hidden(*i));
                assert!(all.all(|(_, value)| *value == 0.0), "{name}");
            }
        }
    }
}

/// Attention with its output layer, a residual and a norm, as torch writes a BERT; one text or two.
fn block(texts: usize, rows: usize) -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::onnx_runtime());
    let x = graph.input("x", DType::F32, [texts, rows, 64]).unwrap();
    let seen = graph.input("seen", DType::Bool, [texts, 1, rows, rows]).unwrap();
    let sizes =
        |sizes: &[usize]| -> Vec<_> { sizes.iter().map(|s| Some(Dim::Fixed(*s))).collect() };
    let heads = x.reshape(&sizes(&[texts, rows, 2, 32])).unwrap().transpose(&[0, 2, 1, 3]).unwrap();
    let scores = heads.matmul(&heads.transpose(&[0, 1, 3, 2]).unwrap()).unwrap();
    let (zero, hidden) = (x.scalar_like(0.0).unwrap(), x.scalar_like(f64::NEG_INFINITY).unwrap());
    let weights = scores.add(&chosen(&seen, &zero, &hidden, &graph)).unwrap().softmax(-1).unwrap();
    let none = graph.node("IsNaN").input(&weights).build().unwrap();
    let weights = chosen(&none, &zero, &weights, &graph);
    let context = weights.matmul(&heads).unwrap().transpose(&[0, 2, 1, 3]).unwrap();
    let flat = context.reshape(&sizes(&[texts, rows, 64])).unwrap();
    let weight = graph.constant("weight", numbers(&[64, 64], 0.2, 3));
    let bias = graph.constant("bias", numbers(&[64], 0.5, 4));
    let y = flat.matmul(&weight).unwrap().add(&bias).unwrap().add(&x).unwrap();
    graph.output("y", &y.tanh().unwrap()).unwrap();
    graph.finish().unwrap()
}

/// The guard is where TensorRT computes it with the residual: no kernel stands between attention and the product.
#[test]
fn the_guard_is_behind_the_layer_after_attention() {
    for (texts, rows, late) in [(2, 16, true), (1, 64, true), (1, 50, false)] {
        let plain = block(texts, rows);
        let seen = (0..texts * rows * rows).map(|i| {
            let (text, row, key) = (i / (rows * rows), i / rows % rows, i % rows);
            text + 1 < texts || key < 9 && row < 9
        });
        let seen = HostTensor::from_vec([texts, 1, rows, rows], seen.collect::<Vec<_>>()).unwrap();
        let inputs = [numbers(&[texts, rows, 64], 1.0, 40), seen];
        for precision in [Precision::Fp32, Precision::Mixed, Precision::Fp16] {
            let name = format!("{texts} x {rows} in {precision}");
            let model = plain.with_precision(Target::tensorrt(), precision).unwrap();
            let plan = Plan::of(&name, &model);
            if precision != Precision::Fp32 {
                assert_eq!(plan.attentions(), 1, "{name}");
            }
            if precision == Precision::Fp16 {
                let alone = plan.kernels.iter().map(|kernel| kernel.name.as_str());
                let parts = |name: &&str| ["Sele", "Tran"].iter().all(|part| name.contains(part));
                let alone = alone.filter(|name| parts(name) && !name.contains("Add"));
                assert_eq!(alone.count() == 0, late, "{name}: {:?}", plan.kernels);
            }
            if has_ort(&name) {
                let expected = &run(&name, &plain, &inputs)[0];
                let got = &run(&name, &model, &inputs)[0];
                near(&name, got, expected, 5e-3);
            }
        }
    }
}

/// A model that torch exported in half precision, which TensorRT-RTX builds only without the guard before the product.
#[test]
fn a_model_in_half_precision_is_built() {
    let plain = attention(DType::F16, Hides::Added).for_target(Target::tensorrt()).unwrap();
    assert_eq!(Plan::of("in half", &plain).attentions(), 1);
}

/// Another use of the weights, and a guard that is none, stay as they are.
#[test]
fn what_is_no_guard_stays() {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [2usize, 16, 16]).unwrap();
    let weights = x.softmax(-1).unwrap();
    let none = graph.node("IsNaN").input(&weights).build().unwrap();
    let one = chosen(&none, &x.scalar_like(1.0).unwrap(), &weights, &graph);
    graph.output("y", &one.matmul(&x).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let nodes = &model.proto().graph.as_ref().unwrap().node;
    let operators: Vec<_> = nodes.iter().map(|node| node.op_type()).collect();
    assert_eq!(operators, ["Softmax", "IsNaN", "Where", "MatMul", "Identity"]);
}
