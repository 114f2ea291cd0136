//! What TensorRT computes wrongly, in branches and loop bodies.

use accelerant::export::onnx::{GraphProto, NodeProto};
use accelerant::export::{OnnxModel, Target};
use accelerant::{BackendKind, DType, HostTensor};

use crate::common::{portable_backend, to_f64};
use crate::file::{File, Stated};
use crate::fixes::{Gate, activation};
use crate::{changed, operators, run, tensor, unchanged};

const F32: DType = DType::F32;

/// The operators of all bodies, those of a body within another after it.
fn inner(model: &OnnxModel) -> Vec<&str> {
    fn bodies<'a>(nodes: &'a [NodeProto], found: &mut Vec<&'a str>) {
        let attributes = nodes.iter().flat_map(|node| &node.attribute);
        for body in attributes.filter_map(|attribute| attribute.g.as_ref()) {
            found.extend(body.node.iter().map(|node| node.op_type()));
            bodies(&body.node, found);
        }
    }
    let mut found = Vec::new();
    bodies(&model.proto().graph.as_ref().unwrap().node, &mut found);
    found
}

/// `gate(x W + b) * y`; the weight is of the body, or one of the graph around it.
fn gated(mut body: File, x: &str, y: &str, weight: Option<&str>) -> (File, String) {
    let own = tensor(F32, &[24, 24], 0.5, 1);
    let weight = weight.map(str::to_owned).unwrap_or_else(|| body.weight("own.weight", own));
    let bias = body.weight("own.bias", tensor(F32, &[24], 0.5, 2));
    let linear = body.node("Gemm", &[x, &weight, &bias]);
    let gate = activation(&mut body, F32, Gate::Gelu, &linear);
    let product = body.node("Mul", &[&gate, y]);
    (body, product)
}

fn as_it_is(file: &File, x: &str) -> GraphProto {
    let mut body = file.within("else");
    let same = body.node("Relu", &[x]);
    body.body(&[&same])
}

fn branches(file: &mut File, x: &str, then: GraphProto, otherwise: GraphProto) -> String {
    let sum = file.node_with("ReduceSum", &[x], &[("keepdims", Stated::Int(0))]);
    let zero = file.scalar(F32, 0.0);
    let condition = file.node("Greater", &[&sum, &zero]);
    let attributes = [
        ("then_branch", Stated::Graph(Box::new(then))),
        ("else_branch", Stated::Graph(Box::new(otherwise))),
    ];
    file.node_with("If", &[&condition], &attributes)
}

fn positive(shape: &[usize], seed: u64) -> HostTensor {
    HostTensor::from(crate::random(shape, seed).mapv(|v: f32| v + 0.5))
}

#[test]
fn an_activation_before_a_product_in_a_branch() {
    for shared in [false, true] {
        let mut file = File::new(18);
        let x = file.input("x", F32, &["batch", "24"]);
        let y = file.input("y", F32, &["batch", "24"]);
        let weight = shared.then(|| file.weight("outer.weight", tensor(F32, &[24, 24], 0.5, 3)));
        let (then, product) = gated(file.within("then"), &x, &y, weight.as_deref());
        let (then, otherwise) = (then.body(&[&product]), as_it_is(&file, &x));
        let result = branches(&mut file, &x, then, otherwise);
        let model = file.read(&result, F32, &["batch", "24"]);
        let inputs = [positive(&[3, 24], 4), tensor(F32, &[3, 24], 1.0, 5)];
        let written = changed("a branch", &model, Target::tensorrt(), &inputs);
        let mut expected = inner(&model);
        let product = expected.iter().rposition(|op| *op == "Mul").unwrap();
        expected.insert(product, "Clip");
        assert_eq!(inner(&written), expected, "shared: {shared}");
    }
}

#[test]
fn an_activation_before_a_product_in_a_branch_within_a_loop() {
    let mut file = File::new(18);
    let x = file.input("x", F32, &["2", "24"]);
    let mut body = file.within("body");
    body.input("iteration", DType::I64, &[]);
    body.input("condition", DType::Bool, &[]);
    let state = body.input("state", F32, &["2", "24"]);
    let (then, product) = gated(body.within("then"), &state, &x, None);
    let (then, otherwise) = (then.body(&[&product]), as_it_is(&body, &state));
    let next = branches(&mut body, &state, then, otherwise);
    let goes_on = body.node("Identity", &["condition"]);
    let body = body.body(&[&goes_on, &next]);
    let trips = file.weight("trips", HostTensor::scalar(3i64));
    let go = file.weight("go", HostTensor::from_vec([], vec![true]).unwrap());
    let result =
        file.node_with("Loop", &[&trips, &go, &x], &[("body", Stated::Graph(Box::new(body)))]);
    let model = file.read(&result, F32, &["2", "24"]);
    // tract has no loops.
    let written = match portable_backend().kind() {
        BackendKind::Ort => changed("a loop", &model, Target::tensorrt(), &[positive(&[2, 24], 4)]),
        _ => model.for_target(Target::tensorrt()).unwrap(),
    };
    assert_eq!(inner(&written).iter().filter(|op| **op == "Clip").count(), 1, "{written}");
}

#[test]
fn layers_of_groups_in_a_branch() {
    let mut file = File::new(21);
    let x = file.input("x", F32, &["batch", "4", "7"]);
    let weight = file.weight("up.weight", tensor(F32, &[4, 2, 3], 0.5, 1));
    let mut then = file.within("then");
    let attributes = [("group", Stated::Int(2)), ("pads", Stated::Ints(&[1, 1]))];
    let up = then.node_with("ConvTranspose", &[&x, &weight], &attributes);
    let scale = then.weight("norm.weight", tensor(F32, &[4], 1.0, 2));
    let bias = then.weight("norm.bias", tensor(F32, &[4], 1.0, 3));
    let attributes = [("num_groups", Stated::Int(1))];
    let y = then.node_with("GroupNormalization", &[&up, &scale, &bias], &attributes);
    let (then, otherwise) = (then.body(&[&y]), as_it_is(&file, &x));
    let result = branches(&mut file, &x, then, otherwise);
    let model = file.read(&result, F32, &["batch", "4", "7"]);
    let written = model.for_target(Target::tensorrt()).unwrap();
    let operators = inner(&written);
    let count = |name: &str| operators.iter().filter(|op| **op == name).count();
    let expected = [("ConvTranspose", 2), ("GroupNormalization", 0), ("InstanceNormalization", 1)];
    for (name, times) in expected {
        assert_eq!(count(name), times, "{name}: {operators:?}");
    }
}

#[test]
fn bodies_of_which_all_is_right_stay_byte_for_byte() {
    let mut file = File::new(18);
    let x = file.input("x", F32, &["batch", "24"]);
    let mut then = file.within("then");
    let two = then.scalar(F32, 2.0);
    let twice = then.node("Mul", &[&x, &two]);
    let (then, otherwise) = (then.body(&[&twice]), as_it_is(&file, &x));
    let result = branches(&mut file, &x, then, otherwise);
    unchanged("branches", &file.read(&result, F32, &["batch", "24"]));
}

/// Twice the values, added along the first axis, where its size is 1, else the positive ones: branches of two ranks.
fn of_two_ranks(opset: i64, batch: &str) -> OnnxModel {
    let mut file = File::new(opset);
    let x = file.input("x", F32, &[batch, "4"]);
    let mut then = file.within("then");
    let (axes, keep) = (("axes", Stated::Ints(&[0])), ("keepdims", Stated::Int(0)));
    let twice = then.node("Add", &[&x, &x]);
    let inner = match opset {
        ..13 => then.node_with("ReduceSum", &[&twice], &[axes, keep]),
        _ => {
            let axes = then.weight("then.axes", HostTensor::from_vec([1], vec![0_i64]).unwrap());
            then.node_with("ReduceSum", &[&twice, &axes], &[keep])
        }
    };
    let then = then.body(&[&inner]);
    let otherwise = as_it_is(&file, &x);
    let shape = file.node("Shape", &[&x]);
    let zero = file.weight("first", HostTensor::scalar(0_i64));
    let one = file.weight("one", HostTensor::scalar(1_i64));
    let size = file.node("Gather", &[&shape, &zero]);
    let condition = file.node("Equal", &[&size, &one]);
    let attributes = [
        ("then_branch", Stated::Graph(Box::new(then))),
        ("else_branch", Stated::Graph(Box::new(otherwise))),
    ];
    let y = file.node_with("If", &[&condition], &attributes);
    let y = file.node("Neg", &[&y]);
    let dims: &[&str] = if batch == "1" { &["4"] } else { &["batch", "4"] };
    file.read(&y, F32, dims)
}

#[test]
fn a_branch_that_is_known_stands_in_the_place_of_its_if() {
    for opset in [11, 18] {
        for (batch, expected) in
            [("1", ["Add", "ReduceSum", "Neg"].as_slice()), ("2", &["Relu", "Neg"])]
        {
            let model = of_two_ranks(opset, batch);
            for target in [Target::tensorrt(), Target::portable()] {
                let written = model.for_target(target).unwrap();
                let kept: Vec<_> = operators(&written);
                let kept: Vec<_> = kept
                    .into_iter()
                    .filter(|op| !["Shape", "Gather", "Equal"].contains(op))
                    .collect();
                assert_eq!(kept, expected, "operator set {opset}, batch {batch}");
            }
            let rows: usize = batch.parse().unwrap();
            let x = tensor(F32, &[rows, 4], 1.0, 6);
            let expected: Vec<f64> = to_f64(&x)
                .into_iter()
                .map(|x| if rows == 1 { -2.0 * x } else { -x.max(0.0) })
                .collect();
            let found = run(&model.for_target(Target::portable()).unwrap(), &[x]);
            assert_eq!(to_f64(&found[0]), expected);
        }
    }
    // A size that varies leaves it open.
    let model = of_two_ranks(18, "batch");
    let written = model.for_target(Target::portable()).unwrap();
    assert!(operators(&written).contains(&"If"));
}
