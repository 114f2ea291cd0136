//! `Scan` over sizes of 0. ONNX Runtime divides by a size where an axis is not the first, and reads a batch of none with
//! operator set 8. Both are errors that name the node, and what is right is computed.

use accelerant::backend::{Backend, ort::Ort, tract::Tract};
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    AttributeProto, GraphProto, NodeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_to_proto, type_proto,
};
use accelerant::{ErrorKind, HostTensor};
use ndarray::{ArrayD, Axis, IxDyn};

use super::common::{self, random};
use super::guards::{built, int};
use super::{node, value};

/// A `Scan` whose body negates the element of its first input.
struct Case {
    opset: i64,
    /// The sizes of each input that is scanned, where nothing ends the process.
    sizes: &'static [&'static [usize]],
    /// The axis of each.
    along: &'static [i64],
    /// The axis of each output.
    given: &'static [i64],
    /// The input, and its axis, whose size becomes 0.
    cut: (usize, usize),
    /// Whether the body cuts what it gives instead, along its first axis.
    in_body: bool,
    /// Whether the body says how many axes its elements have.
    has_ranks: bool,
}

const CASE: Case = Case {
    opset: 17,
    sizes: &[&[2, 3]],
    along: &[1],
    given: &[0],
    cut: (0, 1),
    in_body: false,
    has_ranks: true,
};

/// Each ends the process in ONNX Runtime 1.29 with a size of 0 there, but for the one along axis 0.
const CASES: [Case; 11] = [
    CASE,
    Case { along: &[-1], ..CASE },
    Case { along: &[1], given: &[1], ..CASE },
    Case { sizes: &[&[2, 3, 2]], along: &[1], given: &[2], ..CASE },
    Case { sizes: &[&[2, 3, 2]], along: &[1], cut: (0, 2), ..CASE },
    Case { sizes: &[&[2, 3, 2]], along: &[2], given: &[-1], cut: (0, 2), ..CASE },
    Case { along: &[0], given: &[1], cut: (0, 1), ..CASE },
    Case { along: &[0], given: &[-1], cut: (0, 0), ..CASE },
    Case { sizes: &[&[3, 2], &[2, 3]], along: &[0, 1], given: &[0, 1], cut: (1, 1), ..CASE },
    Case { along: &[0], given: &[1], in_body: true, ..CASE },
    // ONNX Runtime itself says so here.
    Case { along: &[0], given: &[0], cut: (0, 0), ..CASE },
];

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: values.to_vec(),
        r#type: Some(AttributeType::Ints as i32),
        ..named(name)
    }
}

fn named(name: &str) -> AttributeProto {
    AttributeProto { name: Some(name.into()), ..AttributeProto::default() }
}

fn graph(name: &str, body: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(body), r#type: Some(AttributeType::Graph as i32), ..named(name) }
}

/// A value of floats, without a shape.
fn untyped(name: &str) -> ValueInfoProto {
    let mut info = value(name, DataType::Float, &[]);
    let known = info.r#type.as_mut().and_then(|r#type| r#type.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = known {
        tensor.shape = None;
    }
    info
}

impl Case {
    /// The inputs `x0`… and `n`, which cuts one of them where `is_cut`. `in_branch`: within an `If`.
    fn model(&self, is_cut: bool, in_branch: bool) -> OnnxModel {
        let (cut, axis) = self.cut;
        let mut names: Vec<String> = (0..self.sizes.len()).map(|i| format!("x{i}")).collect();
        let number = |name: &str, value: i64| {
            tensor_to_proto(name, &HostTensor::from_vec([1], vec![value]).unwrap())
        };
        let mut nodes = Vec::new();
        if is_cut && !self.in_body {
            nodes.push(node("Slice", &[&names[cut], "zero", "n", "axis"], "cut"));
            names[cut] = "cut".into();
        }
        let elements: Vec<String> = (0..names.len()).map(|i| format!("e{i}")).collect();
        let outputs: Vec<String> = (0..self.given.len()).map(|i| format!("o{i}")).collect();
        let open = vec![None; self.sizes[0].len() - 1];
        let element = |name: &str| match self.has_ranks {
            true => value(name, DataType::Float, &open),
            false => untyped(name),
        };
        let mut inner = vec![node("Neg", &["e0"], "negated")];
        for output in &outputs {
            inner.push(match self.in_body {
                true => node("Slice", &["negated", "zero", "n"], output),
                false => node("Identity", &["negated"], output),
            });
        }
        let body = GraphProto {
            name: Some("body".into()),
            input: elements.iter().map(|name| element(name)).collect(),
            output: outputs.iter().map(|name| element(name)).collect(),
            node: inner,
            ..GraphProto::default()
        };
        let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut scan = node("Scan", &inputs, "y0");
        scan.output = (0..self.given.len()).map(|i| format!("y{i}")).collect();
        scan.attribute = vec![
            graph("body", body),
            int("num_scan_inputs", names.len() as i64),
            ints("scan_input_axes", self.along),
            ints("scan_output_axes", self.given),
        ];
        let given = scan.output.clone();
        if in_branch {
            let branch = |nodes: Vec<NodeProto>, outputs: &[String]| GraphProto {
                name: Some("branch".into()),
                node: nodes,
                output: outputs.iter().map(|name| untyped(name)).collect(),
                ..GraphProto::default()
            };
            let inner: Vec<String> = given.iter().map(|name| format!("{name}_in")).collect();
            scan.output = inner.clone();
            let other: Vec<String> = given.iter().map(|name| format!("{name}_other")).collect();
            let same = other.iter().map(|name| node("Identity", &["x0"], name)).collect();
            let mut choice = node("If", &["choice"], "y0");
            choice.output = given.clone();
            choice.attribute = vec![
                graph("then_branch", branch(vec![scan], &inner)),
                graph("else_branch", branch(same, &other)),
            ];
            nodes.push(choice);
        } else {
            nodes.push(scan);
            nodes.push(node("Not", &["choice"], "unused"));
        }
        if !is_cut {
            nodes.push(node("Neg", &["n"], "unread"));
        }
        let inputs = self.sizes.iter().enumerate().map(|(i, sizes)| {
            let sizes: Vec<_> = sizes.iter().map(|&size| Some(size as i64)).collect();
            value(&format!("x{i}"), DataType::Float, &sizes)
        });
        let rank = self.sizes[0].len();
        built(
            self.opset,
            GraphProto {
                name: Some("g".into()),
                input: inputs
                    .chain([
                        value("n", DataType::Int64, &[Some(1)]),
                        value("choice", DataType::Bool, &[]),
                    ])
                    .collect(),
                output: given
                    .iter()
                    .map(|name| value(name, DataType::Float, &vec![None; rank]))
                    .collect(),
                initializer: vec![number("zero", 0), number("axis", axis as i64)]
                    .into_iter()
                    .filter(|weight| nodes.iter().any(|node| reads(node, weight.name())))
                    .collect(),
                node: nodes,
                ..GraphProto::default()
            },
        )
    }

    fn inputs(&self, n: i64) -> Vec<HostTensor> {
        let all = self.sizes.iter().enumerate();
        let all = all.map(|(i, sizes)| HostTensor::from(random(sizes, i as u64 + 1)));
        let n = HostTensor::from_vec([1], vec![n]).unwrap();
        all.chain([n, HostTensor::scalar(true)]).collect()
    }

    /// What ONNX says.
    fn expected(&self) -> Vec<HostTensor> {
        let x: ArrayD<f32> = random(self.sizes[0], 1).into_dyn().mapv(|x| -x);
        let rank = x.ndim() as i64;
        let along = self.along[0].rem_euclid(rank) as usize;
        let given = self.given.iter().map(|axis| {
            let to = axis.rem_euclid(rank) as usize;
            let mut axes: Vec<usize> = (0..x.ndim()).filter(|&axis| axis != along).collect();
            axes.insert(to, along);
            let turned = x.view().permuted_axes(IxDyn(&axes));
            assert_eq!(turned.len_of(Axis(to)), x.len_of(Axis(along)));
            turned.as_standard_layout().into_owned().into()
        });
        given.collect()
    }
}

fn reads(node: &NodeProto, name: &str) -> bool {
    let bodies = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
    node.input.iter().any(|input| input == name)
        || bodies.flat_map(|body| &body.node).any(|node| reads(node, name))
}

#[test]
fn sizes_of_zero_are_errors_of_their_scan() {
    if let Err(reason) = Ort.probe() {
        return common::skipped("sizes_of_zero_are_errors_of_their_scan", reason);
    }
    // ONNX Runtime wants to know the ranks of a body, from the body or from what a guard gives.
    let forms = [10, 12, 17].map(|opset| [(opset, true), (opset, false)]);
    for (i, (opset, has_ranks)) in forms.into_iter().flatten().enumerate() {
        for (k, case) in CASES.iter().enumerate() {
            // Axes from the end came with operator set 11.
            if opset < 11 && case.along.iter().chain(case.given).any(|&axis| axis < 0) {
                continue;
            }
            let case = &Case { opset, has_ranks, ..*case };
            // Both, for each case in one of the forms at least.
            let in_branch = (i + k) % 2 == 0;
            let place = format!("{k}, set {opset}, ranks {has_ranks}, in a branch {in_branch}");
            let cut = case.model(true, in_branch);
            if let Ok((_, executable)) = Tract.build_and_load(&cut) {
                drop(executable.run(&case.inputs(0)));
            }
            let (engine, built) =
                Ort.build_and_load(&cut).unwrap_or_else(|e| panic!("{place}: {e}"));
            // As another process reads it.
            let engine = accelerant::Engine::from_bytes(engine.to_bytes()).unwrap();
            let read = Ort.load(&engine).unwrap_or_else(|e| panic!("{place}: {e}"));
            for executable in [built, read] {
                let error = executable.run(&case.inputs(0)).expect_err(&place);
                assert_eq!(error.kind(), ErrorKind::Execution, "{place}: {error}");
                assert!(error.to_string().contains("Scan"), "{place}: {error}");
                // The next run is not harmed.
                let given = executable.run(&case.inputs(3));
                let given = given.unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(given, case.expected(), "{place}");
            }
            let whole = Ort.build_and_load(&case.model(false, in_branch)).unwrap().1;
            assert_eq!(whole.run(&case.inputs(3)).unwrap(), case.expected(), "{place}");
        }
    }
}

/// A guard inside of a body, on the way to what the body gives: integers are divided by a number of the run.
#[test]
fn a_guard_in_a_body_leaves_the_ranks_known() {
    if let Err(reason) = Ort.probe() {
        return common::skipped("a_guard_in_a_body_leaves_the_ranks_known", reason);
    }
    let integers = |name: &str, sizes: &[Option<i64>]| value(name, DataType::Int64, sizes);
    let unknown = |name: &str| {
        let mut info = untyped(name);
        let known = info.r#type.as_mut().and_then(|r#type| r#type.value.as_mut());
        if let Some(type_proto::Value::TensorType(tensor)) = known {
            tensor.elem_type = Some(DataType::Int64 as i32);
        }
        info
    };
    for opset in [10, 12, 17] {
        let body = GraphProto {
            name: Some("body".into()),
            input: vec![unknown("e")],
            output: vec![unknown("o")],
            node: vec![node("Div", &["n", "e"], "o")],
            ..GraphProto::default()
        };
        let mut scan = node("Scan", &["x"], "y");
        scan.attribute = vec![
            graph("body", body),
            int("num_scan_inputs", 1),
            ints("scan_input_axes", &[1]),
            ints("scan_output_axes", &[1]),
        ];
        let open = [None, None];
        let model = built(
            opset,
            GraphProto {
                name: Some("g".into()),
                input: vec![integers("x", &open), integers("n", &[Some(1)])],
                output: vec![integers("y", &open)],
                node: vec![scan],
                ..GraphProto::default()
            },
        );
        let executable = Ort.build_and_load(&model).unwrap().1;
        let run = |values: [i64; 6]| {
            let x = HostTensor::from_vec([2, 3], values.to_vec()).unwrap();
            executable.run(&[x, HostTensor::from_vec([1], vec![60i64]).unwrap()])
        };
        let given = run([1, 2, 3, 4, -5, 6]).unwrap_or_else(|e| panic!("{opset}: {e}"));
        assert_eq!(given[0].to_vec::<i64>().unwrap(), [60, 30, 20, 15, -12, 10], "{opset}");
        if let Err(error) = run([1, 2, 3, 4, 0, 6]) {
            assert!(error.to_string().contains("Div"), "{opset}: {error}");
        }
    }
}

/// Elements without elements are right along the first axis.
#[test]
fn empty_elements_are_scanned_along_the_first_axis() {
    if let Err(reason) = Ort.probe() {
        return common::skipped("empty_elements_are_scanned_along_the_first_axis", reason);
    }
    let case = Case { along: &[0], given: &[0], cut: (0, 1), ..CASE };
    let executable = Ort.build_and_load(&case.model(true, false)).unwrap().1;
    assert_eq!(executable.run(&case.inputs(0)).unwrap()[0].shape(), [2, 0]);
    // In front of the axis that is turned, a size of 0 is borne.
    let case = Case { along: &[1], given: &[0], cut: (0, 0), ..CASE };
    let executable = Ort.build_and_load(&case.model(true, false)).unwrap().1;
    assert_eq!(executable.run(&case.inputs(0)).unwrap()[0].shape(), [3, 0]);
}

/// Operator set 8: a batch of sequences, with a state.
#[test]
fn a_batch_of_none_is_an_error_of_the_request() {
    if let Err(reason) = Ort.probe() {
        return common::skipped("a_batch_of_none_is_an_error_of_the_request", reason);
    }
    let body = GraphProto {
        name: Some("body".into()),
        input: vec![untyped("s"), untyped("e")],
        output: vec![untyped("next"), untyped("o")],
        node: vec![node("Add", &["s", "e"], "next"), node("Neg", &["e"], "o")],
        ..GraphProto::default()
    };
    let mut scan = node("Scan", &["", "s0", "x"], "last");
    scan.output.push("y".into());
    scan.attribute = vec![graph("body", body), int("num_scan_inputs", 1)];
    let float = |name: &str, sizes: &[Option<i64>]| value(name, DataType::Float, sizes);
    let model = built(
        8,
        GraphProto {
            name: Some("g".into()),
            input: vec![float("s0", &[None, Some(2)]), float("x", &[None, None, Some(2)])],
            output: vec![float("last", &[None, Some(2)]), float("y", &[None, None, Some(2)])],
            node: vec![scan],
            ..GraphProto::default()
        },
    );
    let executable = Ort.build_and_load(&model).unwrap().1;
    let ones = |sizes: &[usize]| {
        HostTensor::from_vec(sizes.to_vec(), vec![1f32; sizes.iter().product()]).unwrap()
    };
    for (batch, length, axis) in [(0, 3, 0), (0, 0, 0), (2, 0, 1)] {
        let error = executable.run(&[ones(&[batch, 2]), ones(&[batch, length, 2])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShapeMismatch, "{error}");
        assert!(error.to_string().contains("Scan"), "{error}");
        assert_eq!(error.axis(), Some(axis), "{error}");
    }
    let given = executable.run(&[ones(&[2, 2]), ones(&[2, 3, 2])]).unwrap();
    assert_eq!(given[0], HostTensor::from_vec([2, 2], vec![4f32; 4]).unwrap());
    assert_eq!(given[1], HostTensor::from_vec([2, 3, 2], vec![-1f32; 12]).unwrap());
}
