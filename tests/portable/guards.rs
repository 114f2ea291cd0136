//! Sizes and values that only a run shows, and that end the process inside ONNX Runtime: they are errors that name the node,
//! and what is right goes on to be computed.

use accelerant::backend::{Backend, Executable, ort::Ort, tract::Tract};
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_proto::DataType, tensor_to_proto,
};
use accelerant::{DType, ErrorKind, HostTensor};

use super::common::{self, random};
use super::{node, value};

struct Case {
    operator: &'static str,
    opset: i64,
    attributes: &'static [(&'static str, i64)],
    /// Sizes of the inputs, all floats.
    inputs: &'static [&'static [usize]],
    /// Inputs of one integer, behind the others.
    integers: &'static [i64],
    /// Which input is cut to `n` elements, along which axis.
    cut: &'static [(usize, i64)],
    outputs: usize,
    /// The least `n`.
    least: i64,
}

const CASE: Case = Case {
    operator: "",
    opset: 18,
    attributes: &[],
    inputs: &[],
    integers: &[],
    cut: &[],
    outputs: 1,
    least: 1,
};

/// Each ends the process in ONNX Runtime 1.29 where `n` is one less than the least.
const CASES: [Case; 18] = [
    Case {
        operator: "Attention",
        opset: 23,
        inputs: &[&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4]],
        cut: &[(0, 1), (1, 1), (2, 1)],
        ..CASE
    },
    Case {
        operator: "LSTM",
        attributes: &[("hidden_size", 3)],
        inputs: &[&[2, 2, 4], &[1, 12, 4], &[1, 12, 3]],
        cut: &[(0, 1)],
        outputs: 3,
        ..CASE
    },
    Case {
        operator: "GRU",
        attributes: &[("hidden_size", 3)],
        inputs: &[&[2, 2, 4], &[1, 9, 4], &[1, 9, 3]],
        cut: &[(0, 0)],
        outputs: 2,
        ..CASE
    },
    Case {
        operator: "GRU",
        opset: 9,
        attributes: &[("hidden_size", 3)],
        inputs: &[&[2, 2, 4], &[1, 9, 4], &[1, 9, 3]],
        cut: &[(0, 1)],
        outputs: 2,
        ..CASE
    },
    Case { operator: "Conv", inputs: &[&[1, 1, 5], &[1, 1, 2]], cut: &[(1, 2)], ..CASE },
    Case { operator: "ConvTranspose", inputs: &[&[1, 1, 5], &[1, 1, 3]], cut: &[(0, 2)], ..CASE },
    Case {
        operator: "InstanceNormalization",
        inputs: &[&[1, 2, 3, 2], &[2], &[2]],
        cut: &[(0, 2)],
        ..CASE
    },
    Case {
        operator: "InstanceNormalization",
        opset: 10,
        inputs: &[&[1, 2, 3], &[2], &[2]],
        cut: &[(0, 2)],
        ..CASE
    },
    Case { operator: "LpNormalization", inputs: &[&[3, 4]], cut: &[(0, 1)], ..CASE },
    Case {
        operator: "LpNormalization",
        opset: 9,
        attributes: &[("axis", 0)],
        inputs: &[&[3, 4]],
        cut: &[(0, 0)],
        ..CASE
    },
    Case {
        operator: "TopK",
        inputs: &[&[3, 4]],
        integers: &[1],
        cut: &[(0, 0)],
        outputs: 2,
        ..CASE
    },
    Case {
        operator: "Unique",
        attributes: &[("axis", 0)],
        inputs: &[&[3, 4]],
        cut: &[(0, 1)],
        ..CASE
    },
    Case {
        operator: "DFT",
        attributes: &[("axis", 1)],
        inputs: &[&[1, 8, 1]],
        cut: &[(0, 1)],
        ..CASE
    },
    Case { operator: "DFT", opset: 20, inputs: &[&[1, 8, 1]], cut: &[(0, 1)], ..CASE },
    Case {
        operator: "DFT",
        attributes: &[("inverse", 1), ("onesided", 1)],
        inputs: &[&[1, 8, 2]],
        cut: &[(0, 1)],
        least: 2,
        ..CASE
    },
    Case {
        operator: "DFT",
        attributes: &[("inverse", 1)],
        inputs: &[&[1, 8, 2]],
        integers: &[3],
        cut: &[(0, 1)],
        ..CASE
    },
    Case {
        operator: "STFT",
        inputs: &[&[1, 16, 1]],
        integers: &[1, 4],
        // The last integer is the length of a frame, which stands where `n` is read.
        cut: &[(3, 0)],
        ..CASE
    },
    Case {
        operator: "QuantizeLinear",
        opset: 21,
        attributes: &[("axis", 1), ("block_size", 2)],
        inputs: &[&[4, 4], &[4, 2]],
        cut: &[(0, 1), (1, 1)],
        ..CASE
    },
];

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    let r#type = Some(AttributeType::Int as i32);
    AttributeProto { name: Some(name.into()), r#type, i: Some(i), ..AttributeProto::default() }
}

pub(super) fn built(opset: i64, graph: GraphProto) -> OnnxModel {
    let set = OperatorSetIdProto { version: Some(opset), ..OperatorSetIdProto::default() };
    let proto = ModelProto {
        ir_version: Some(10),
        opset_import: vec![set],
        graph: Some(graph),
        ..ModelProto::default()
    };
    OnnxModel::from_proto(proto).expect("a valid model")
}

impl Case {
    /// The operator over weights, cut to `n` where `is_cut`.
    fn model(&self, is_cut: bool) -> OnnxModel {
        let mut graph = GraphProto { name: Some("g".into()), ..GraphProto::default() };
        let mut constant = |name: &str, value: &HostTensor| {
            graph.initializer.push(tensor_to_proto(name, value));
            name.to_owned()
        };
        let mut names: Vec<String> = Vec::new();
        for (i, sizes) in self.inputs.iter().enumerate() {
            let weight = random(sizes, i as u64 + 1).mapv(|x| x.abs() + 0.1);
            names.push(constant(&format!("w{i}"), &weight.into()));
        }
        // The window of STFT comes before the length of a frame.
        for (i, &value) in self.integers.iter().enumerate() {
            if self.operator == "STFT" && i == 1 {
                names.push(String::new());
            }
            match (value, self.operator) {
                (value, "TopK") => {
                    let count = HostTensor::from_vec([1], vec![value]).unwrap();
                    names.push(constant(&format!("i{i}"), &count));
                }
                (value, _) => names.push(constant(&format!("i{i}"), &HostTensor::scalar(value))),
            }
        }
        let zero = constant("zero", &HostTensor::from_vec([1], vec![0i64]).unwrap());
        let mut nodes = Vec::new();
        for (k, &(input, axis)) in self.cut.iter().enumerate().filter(|_| is_cut) {
            if input >= self.inputs.len() {
                // An integer is `n` itself.
                nodes.push(node("Squeeze", &["n"], "number"));
                names[input] = "number".into();
            } else if self.opset < 10 {
                // Slices read no ends there.
                let kept = node("Compress", &[&names[input], "keep"], &format!("cut{k}"));
                nodes.push(NodeProto { attribute: vec![int("axis", axis)], ..kept });
                names[input] = format!("cut{k}");
            } else {
                let axes =
                    constant(&format!("axis{k}"), &HostTensor::from_vec([1], vec![axis]).unwrap());
                let cut = format!("cut{k}");
                nodes.push(node("Slice", &[&names[input], &zero, "n", &axes], &cut));
                names[input] = cut;
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut operation = node(self.operator, &names, "y0");
        operation.output.extend((1..self.outputs).map(|i| format!("y{i}")));
        operation.attribute = self.attributes.iter().map(|(name, i)| int(name, *i)).collect();
        nodes.push(operation);
        let used: Vec<&String> = nodes.iter().flat_map(|node| &node.input).collect();
        let reads = |name: &str| used.iter().any(|input| *input == name);
        graph.initializer.retain(|weight| reads(weight.name()));
        graph.input = match reads("keep") {
            true => vec![value("keep", DataType::Bool, &[Some(self.whole())])],
            false => vec![value("n", DataType::Int64, &[Some(1)])],
        };
        let is_idle = !reads("n") && !reads("keep");
        if is_idle {
            nodes.push(node("Identity", &["n"], "unused"));
        }
        let (dtype, rank) = match self.operator {
            "Attention" | "GRU" | "LSTM" | "STFT" => (DataType::Float, 4),
            "Conv" | "ConvTranspose" | "DFT" => (DataType::Float, 3),
            "QuantizeLinear" => (DataType::Uint8, 2),
            _ => (DataType::Float, 2),
        };
        graph.output = vec![value("y0", dtype, &vec![None; rank])];
        graph.node = nodes;
        built(self.opset, graph)
    }

    /// `n`, or what keeps the first so many.
    fn input(&self, model: &OnnxModel, n: i64) -> HostTensor {
        match &*model.signature().inputs[0].name {
            "keep" => {
                let keep: Vec<bool> = (0..self.whole()).map(|i| i < n).collect();
                HostTensor::from_vec([keep.len()], keep).unwrap()
            }
            _ => HostTensor::from_vec([1], vec![n]).unwrap(),
        }
    }

    fn whole(&self) -> i64 {
        let (input, axis) = self.cut[0];
        match self.inputs.get(input) {
            Some(sizes) => sizes[axis as usize] as i64,
            None => *self.integers.last().unwrap(),
        }
    }
}

fn run(executable: &dyn Executable, input: HostTensor) -> accelerant::Result<Vec<HostTensor>> {
    executable.run(&[input])
}

#[test]
fn sizes_that_only_a_run_shows_are_errors_of_their_node() {
    let onnx_runtime = Ort.probe();
    if let Err(reason) = &onnx_runtime {
        common::skipped("sizes_that_only_a_run_shows_are_errors_of_their_node", reason);
    }
    for (i, case) in CASES.iter().enumerate() {
        let place = format!("{i}, {}", case.operator);
        let cut = case.model(true);
        let (short, whole) = (case.input(&cut, case.least - 1), case.input(&cut, case.whole()));
        // Whatever tract makes of it, the process goes on.
        if let Ok((_, executable)) = Tract.build_and_load(&cut) {
            drop((run(&*executable, short.clone()), run(&*executable, whole.clone())));
        }
        if onnx_runtime.is_err() {
            continue;
        }
        let load = |model: &OnnxModel| {
            let (engine, executable) =
                Ort.build_and_load(model).unwrap_or_else(|e| panic!("{place}: {e}"));
            // As another process reads it.
            let engine = accelerant::Engine::from_bytes(engine.to_bytes()).unwrap();
            (executable, Ort.load(&engine).unwrap_or_else(|e| panic!("{place}: {e}")))
        };
        let (built, read) = load(&cut);
        let all = case.model(false);
        let input = HostTensor::from_vec([1], vec![1i64]).unwrap();
        let expected = run(&*load(&all).0, input);
        let expected = expected.unwrap_or_else(|e| panic!("{place}: {e}"));
        for executable in [built, read] {
            let error = run(&*executable, short.clone()).expect_err(&place);
            assert_eq!(error.kind(), ErrorKind::Execution, "{place}: {error}");
            let named = error.operation().unwrap_or_default();
            assert!(named.starts_with(case.operator), "{place}: {error}");
            assert!(error.to_string().contains("below"), "{place}: {error}");
            // The next run is not harmed.
            let given = run(&*executable, whole.clone()).unwrap_or_else(|e| panic!("{place}: {e}"));
            assert_eq!(given, expected, "{place}");
        }
    }
}

/// `op(a, b)` of integers.
fn of_two(operator: &str, dtype: DataType) -> OnnxModel {
    let list = |name: &str| value(name, dtype, &[Some(3)]);
    let graph = GraphProto {
        name: Some("g".into()),
        input: vec![list("a"), list("b")],
        output: vec![list("y")],
        node: vec![node(operator, &["a", "b"], "y")],
        ..GraphProto::default()
    };
    built(18, graph)
}

#[test]
fn integers_are_divided_without_an_end_of_the_process() {
    let list = |values: [i64; 3], dtype: DType| match dtype {
        DType::I32 => HostTensor::from_vec([3], values.map(|value| value as i32).to_vec()).unwrap(),
        _ => HostTensor::from_vec([3], values.to_vec()).unwrap(),
    };
    for (dtype, onnx, least) in [
        (DType::I32, DataType::Int32, i64::from(i32::MIN)),
        (DType::I64, DataType::Int64, i64::MIN),
    ] {
        for (operator, expected) in [("Div", [least, -3, 3]), ("Mod", [0, 1, 1])] {
            let model = of_two(operator, onnx);
            let right = [list([least, 7, 7], dtype), list([-1, -2, 2], dtype)];
            let plain = [list([8, 7, 7], dtype), list([-1, -2, 2], dtype)];
            let wrong = [list([1, 7, 7], dtype), list([1, 0, 2], dtype)];
            if let Ok((_, executable)) = Tract.build_and_load(&model) {
                let _ = (executable.run(&right), executable.run(&wrong));
            }
            if Ort.probe().is_err() {
                continue;
            }
            let (_, executable) = Ort.build_and_load(&model).unwrap();
            // ONNX rounds a quotient to zero, and gives a rest the divisor's sign.
            let expected = match operator {
                "Mod" => [expected[0], -1, 1],
                _ => expected,
            };
            assert_eq!(executable.run(&right).unwrap(), [list(expected, dtype)], "{operator}");
            let first = if operator == "Div" { -8 } else { 0 };
            let expected = [list([first, expected[1], expected[2]], dtype)];
            assert_eq!(executable.run(&plain).unwrap(), expected, "{operator}");
            let error = executable.run(&wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Execution, "{error}");
            assert!(
                error.to_string().contains("zero") || error.to_string().contains("by 0"),
                "{error}"
            );
        }
    }
}

#[test]
fn diagonals_are_counted_as_far_as_they_go() {
    let graph = GraphProto {
        name: Some("g".into()),
        input: vec![value("x", DataType::Float, &[None, None]), value("k", DataType::Int64, &[])],
        output: vec![value("y", DataType::Float, &[None, None])],
        node: vec![node("Trilu", &["x", "k"], "y")],
        ..GraphProto::default()
    };
    if let Err(reason) = Ort.probe() {
        return common::skipped("diagonals_are_counted_as_far_as_they_go", reason);
    }
    let executable = Ort.build_and_load(&built(18, graph)).unwrap().1;
    let x: HostTensor = random(&[3, 3], 1).into();
    let none = HostTensor::from_vec([3, 3], vec![0f32; 9]).unwrap();
    for (k, expected) in [(i64::MIN, &x), (-2, &x), (i64::MAX, &none), (3, &none)] {
        let y = executable.run(&[x.clone(), HostTensor::scalar(k)]).unwrap();
        assert_eq!(y, std::slice::from_ref(expected), "{k}");
    }
}

/// A batch of an input is told before a run; a body is guarded as the graph around it is.
#[test]
fn an_empty_batch_and_a_body_are_told() {
    if let Err(reason) = Ort.probe() {
        return common::skipped("an_empty_batch_and_a_body_are_told", reason);
    }
    let norm = || {
        let norm = node("LpNormalization", &["x"], "normed");
        NodeProto { attribute: vec![int("axis", 0)], ..norm }
    };
    let y = value("y", DataType::Float, &[None, Some(3)]);
    let graph = GraphProto {
        name: Some("g".into()),
        input: vec![value("x", DataType::Float, &[None, Some(3)])],
        output: vec![y.clone()],
        node: vec![norm(), node("Relu", &["normed"], "y")],
        ..GraphProto::default()
    };
    let executable = Ort.build_and_load(&built(18, graph.clone())).unwrap().1;
    let rows = |n: usize| HostTensor::from_vec([n, 3], vec![1f32; 3 * n]).unwrap();
    let error = executable.run(&[rows(0)]).unwrap_err();
    assert_eq!(
        (error.kind(), error.tensor(), error.axis()),
        (ErrorKind::ShapeMismatch, Some("x"), Some(0)),
        "{error}"
    );
    assert!(executable.run(&[rows(2)]).is_ok());

    let branch = |inner: NodeProto| {
        let output =
            ValueInfoProto { name: inner.output.last().cloned(), ..ValueInfoProto::default() };
        AttributeProto {
            r#type: Some(AttributeType::Graph as i32),
            g: Some(GraphProto {
                name: Some("branch".into()),
                node: vec![inner],
                output: vec![output],
                ..GraphProto::default()
            }),
            ..AttributeProto::default()
        }
    };
    let named = |name: &str, branch| AttributeProto { name: Some(name.into()), ..branch };
    let cut = node("Slice", &["x", "zero", "n"], "cut");
    let inner = NodeProto { input: vec!["cut".into()], ..norm() };
    let choice = NodeProto {
        attribute: vec![
            named("then_branch", branch(inner)),
            named("else_branch", branch(node("Identity", &["cut"], "same"))),
        ],
        ..node("If", &["choice"], "y")
    };
    let zero = HostTensor::from_vec([1], vec![0i64]).unwrap();
    let graph = GraphProto {
        input: vec![
            graph.input[0].clone(),
            value("n", DataType::Int64, &[Some(1)]),
            value("choice", DataType::Bool, &[]),
        ],
        initializer: vec![tensor_to_proto("zero", &zero)],
        output: vec![y],
        node: vec![cut, choice],
        ..graph
    };
    let executable = Ort.build_and_load(&built(18, graph)).unwrap().1;
    let run = |n: i64, choice: bool| {
        let n = HostTensor::from_vec([1], vec![n]).unwrap();
        executable.run(&[rows(2), n, HostTensor::scalar(choice)])
    };
    let error = run(0, true).unwrap_err();
    assert!(error.operation().unwrap().starts_with("LpNormalization"), "{error}");
    assert_eq!(run(0, false).unwrap()[0].shape(), [0, 3]);
    assert_eq!(run(2, true).unwrap()[0].shape(), [2, 3]);
}
