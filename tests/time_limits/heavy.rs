//! Models of one node that takes long, by its sizes or its turns alone.

use accelerant::BackendKind;
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    attribute_proto::AttributeType,
};
use accelerant::{DType, HostTensor, TensorSpec};

use crate::common::random;

type Case = (&'static str, OnnxModel, Vec<HostTensor>);

enum Value {
    Int(i64),
    Ints(Vec<i64>),
    Text(&'static str),
}

impl Value {
    fn named(&self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: Some(name.into()), ..Default::default() };
        let kind = match self {
            Self::Int(value) => {
                proto.i = Some(*value);
                AttributeType::Int
            }
            Self::Ints(values) => {
                proto.ints = values.clone();
                AttributeType::Ints
            }
            Self::Text(text) => {
                proto.s = Some(text.as_bytes().to_vec().into());
                AttributeType::String
            }
        };
        proto.r#type = Some(kind as i32);
        proto
    }
}

/// What each takes is a second or a few, on one processor.
pub(crate) fn all(kind: &BackendKind) -> Vec<Case> {
    // A product takes more with each processor, so that all of them are busy as long as two are.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let side = (3072.0 * (processors as f64 / 2.0).cbrt()) as usize;
    let square = || HostTensor::from(random(&[side, side], 3));
    let image = || HostTensor::from(random(&[1, 8, 768, 768], 5));
    let mut cases = vec![
        one("MatMul", &[], vec![square(), square()]),
        one("Einsum", &[("equation", Value::Text("ij,jk->ik"))], vec![square(), square()]),
        one(
            "Conv",
            &[("pads", Value::Ints(vec![5; 4]))],
            vec![image(), HostTensor::from(random(&[16, 8, 11, 11], 6))],
        ),
    ];
    if *kind == BackendKind::Tract {
        // ONNX Runtime has it in no time.
        cases.push(one(
            "MaxPool",
            &[("kernel_shape", Value::Ints(vec![31, 31])), ("pads", Value::Ints(vec![15; 4]))],
            vec![image()],
        ));
    }
    if *kind == BackendKind::Ort {
        for empty in [false, true] {
            let name = if empty { "Loop in Loop, without nodes" } else { "Loop in Loop" };
            cases.push((name, loops(if empty { 1500 } else { 700 }, empty), vec![few()]));
        }
        cases.push(("Scan", scan(), vec![few(), HostTensor::from(random(&[300_000, 1], 7))]));
    }
    cases
}

fn few() -> HostTensor {
    HostTensor::from(random(&[2], 8))
}

/// A product of constants, which a compiler computes.
pub(crate) fn constant() -> OnnxModel {
    let [a, b] = [11, 12].map(|seed| HostTensor::from(random(&[1536, 1536], seed)));
    let product = node("MatMul", &["a", "b"], &["p"]);
    let scaled = node("Mul", &["p", "x"], &["y"]);
    let mut graph = graph(vec![product, scaled], vec![], vec!["y"]);
    graph.input = vec![spec("x", DType::F32, Some(&[]))];
    graph.output = vec![spec("y", DType::F32, Some(&[1536, 1536]))];
    graph.initializer = vec![onnx::tensor_to_proto("a", &a), onnx::tensor_to_proto("b", &b)];
    model(graph)
}

fn one(operator: &'static str, attributes: &[(&str, Value)], inputs: Vec<HostTensor>) -> Case {
    let names = ["a", "b"];
    let mut node = node(operator, &names[..inputs.len()], &["y"]);
    node.attribute = attributes.iter().map(|(name, value)| value.named(name)).collect();
    let mut graph = graph(vec![node], vec![], vec!["y"]);
    let given = names.iter().zip(&inputs);
    graph.input =
        given.map(|(name, tensor)| spec(name, tensor.dtype(), Some(tensor.shape()))).collect();
    (operator, model(graph), inputs)
}

/// Turns within turns, whose inner body has one node or none.
fn loops(turns: i64, empty: bool) -> OnnxModel {
    let body = |nodes: Vec<NodeProto>, [go, state, next]: [&str; 3]| {
        let counter = format!("i_{go}");
        let inputs = vec![(&*counter, DType::I64), (go, DType::Bool), (state, DType::F32)];
        let mut body = graph(nodes, inputs, vec![go, next]);
        body.input[0] = spec(&counter, DType::I64, Some(&[]));
        body.input[1] = spec(go, DType::Bool, Some(&[]));
        body.output[0] = spec(go, DType::Bool, Some(&[]));
        body
    };
    let inner = match empty {
        true => body(vec![], ["go2", "s2", "s2"]),
        false => body(vec![node("Neg", &["s2"], &["n2"])], ["go2", "s2", "n2"]),
    };
    let mut within = node("Loop", &["turns", "", "s1"], &["n1"]);
    within.attribute = vec![body_of(inner)];
    let mut around = node("Loop", &["turns", "", "x"], &["y"]);
    around.attribute = vec![body_of(body(vec![within], ["go1", "s1", "n1"]))];
    let mut graph = graph(vec![around], vec![("x", DType::F32)], vec!["y"]);
    graph.input = vec![spec("x", DType::F32, Some(&[2]))];
    graph.output = vec![spec("y", DType::F32, Some(&[2]))];
    graph.initializer = vec![onnx::tensor_to_proto("turns", &HostTensor::scalar(turns))];
    model(graph)
}

fn scan() -> OnnxModel {
    let mut body = graph(vec![node("Add", &["s", "e"], &["n"])], vec![], vec!["n"]);
    body.input = vec![spec("s", DType::F32, Some(&[2])), spec("e", DType::F32, Some(&[1]))];
    body.output = vec![spec("n", DType::F32, Some(&[2]))];
    let mut steps = node("Scan", &["x", "all"], &["y"]);
    steps.attribute = vec![body_of(body), Value::Int(1).named("num_scan_inputs")];
    let mut graph = graph(vec![steps], vec![], vec!["y"]);
    graph.input =
        vec![spec("x", DType::F32, Some(&[2])), spec("all", DType::F32, Some(&[300_000, 1]))];
    graph.output = vec![spec("y", DType::F32, Some(&[2]))];
    model(graph)
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        name: Some(format!("{operator}_{}", outputs[0])),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        ..Default::default()
    }
}

fn spec(name: &str, dtype: DType, sizes: Option<&[usize]>) -> onnx::ValueInfoProto {
    let mut spec = onnx::spec_to_proto(&TensorSpec::new(
        name,
        dtype,
        sizes.unwrap_or_default().iter().copied(),
    ));
    if sizes.is_none()
        && let Some(onnx::type_proto::Value::TensorType(tensor)) =
            spec.r#type.as_mut().and_then(|kind| kind.value.as_mut())
    {
        tensor.shape = None;
    }
    spec
}

fn graph(nodes: Vec<NodeProto>, inputs: Vec<(&str, DType)>, outputs: Vec<&str>) -> GraphProto {
    GraphProto {
        name: Some("graph".into()),
        node: nodes,
        input: inputs.iter().map(|(name, dtype)| spec(name, *dtype, None)).collect(),
        output: outputs.iter().map(|name| spec(name, DType::F32, None)).collect(),
        ..Default::default()
    }
}

fn body_of(graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some("body".into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph),
        ..Default::default()
    }
}

fn model(graph: GraphProto) -> OnnxModel {
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    };
    OnnxModel::from_proto(proto).unwrap()
}
