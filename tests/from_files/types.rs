//! Types that TensorRT does not have: of inputs and outputs, which are refused by name, and of weights that nothing reads,
//! which no reader gets.

use accelerant::backend::{Backend, tensorrt::TensorRt};
use accelerant::export::onnx::{TensorProto, tensor_proto::DataType};
use accelerant::export::{OnnxModel, Target, onnx};
use accelerant::{DType, ErrorKind, HostTensor};
use prost::Message;

use crate::file::{File, Stated};

fn refusal(model: &OnnxModel) -> String {
    let model = model.for_target(Target::tensorrt()).unwrap();
    let refusals = TensorRt::rtx().check(&model).unwrap().unwrap();
    let [refusal] = &refusals[..] else { panic!("{refusals:?}") };
    let error = TensorRt::rtx().build(&model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains(&refusal.reason.to_string()), "{error}, {refusal:?}");
    error.to_string()
}

#[test]
fn inputs_and_outputs_are_refused_by_name() {
    for dtype in [DType::F64, DType::I16, DType::U16, DType::U32, DType::U64] {
        let mut file = File::new(18);
        let x = file.input("x", dtype, &["3"]);
        let y = file.node_with("Cast", &[&x], &[("to", Stated::Int(1))]);
        let text = refusal(&file.read_open(&y, DType::F32, &["3"]));
        assert!(text.contains(&format!("tensor `x`: TensorRT has no {dtype} inputs")), "{text}");

        let mut file = File::new(18);
        let x = file.input("x", DType::F32, &["3"]);
        let to = Stated::Int(onnx::to_onnx(dtype) as i64);
        let y = file.node_with("Cast", &[&x], &[("to", to)]);
        let text = refusal(&file.read_open(&y, dtype, &["3"]));
        let expected = format!("tensor `cast_0`: TensorRT has no {dtype} outputs");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn attention_in_32_bits_is_refused_by_name() {
    let attention = |dtype: DType| {
        let mut file = File::new(23);
        let [q, k, v] = ["q", "k", "v"].map(|name| file.input(name, dtype, &["1", "2", "8", "64"]));
        let y = file.node("Attention", &[&q, &k, &v]);
        file.read_open(&y, dtype, &["1", "2", "8", "64"])
    };
    let text = refusal(&attention(DType::F32));
    assert!(text.contains("node_attention_0") && text.contains("Attention in f32"), "{text}");
    TensorRt::rtx().build(&attention(DType::F16)).unwrap();
}

/// Weights of types that some readers refuse.
fn odd_weights() -> Vec<TensorProto> {
    let of = |dtype: DataType| TensorProto {
        name: Some(format!("odd_{}", dtype as i32)),
        data_type: Some(dtype as i32),
        dims: vec![2],
        ..Default::default()
    };
    let bytes = |dtype: DataType, bytes: &[u8]| TensorProto {
        raw_data: Some(bytes.to_vec().into()),
        ..of(dtype)
    };
    let text = [b"a".to_vec(), b"b".to_vec()].map(Into::into).to_vec();
    vec![
        TensorProto { string_data: text, ..of(DataType::String) },
        bytes(DataType::Uint4, &[0x21]),
        bytes(DataType::Uint16, &[1, 0, 2, 0]),
        bytes(DataType::Complex64, &[0; 16]),
    ]
}

#[test]
fn weights_that_nothing_reads_reach_no_reader() {
    let mut file = File::new(21);
    let which = file.input("which", DType::Bool, &[]);
    let x = file.input("x", DType::F32, &["3"]);
    let branch = |name: &str, operator: &str| {
        let mut body = file.within(name);
        let y = body.node(operator, &[&x]);
        let mut body = body.body(&[&y]);
        for mut weight in odd_weights() {
            weight.name = Some(format!("{name}_{}", weight.name()));
            body.initializer.push(weight);
        }
        Stated::Graph(Box::new(body))
    };
    let (yes, no) = (branch("yes", "Relu"), branch("no", "Neg"));
    let y = file.node_with("If", &[&which], &[("then_branch", yes), ("else_branch", no)]);
    let mut proto = file.read_open(&y, DType::F32, &["3"]).proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    graph.initializer.extend(odd_weights());
    let model = OnnxModel::from_bytes(proto.encode_to_vec()).unwrap();
    let inputs =
        [HostTensor::scalar(false), HostTensor::from_vec([3], vec![1f32, -2.0, 3.0]).unwrap()];
    let expected = HostTensor::from_vec([3], vec![-1f32, 2.0, -3.0]).unwrap();
    assert_eq!(crate::run(&model, &inputs), [expected]);
    TensorRt::rtx().build(&model.for_target(Target::tensorrt()).unwrap()).unwrap();
    assert!(!String::from_utf8_lossy(&model.to_bytes()).contains("odd_"));
    // A file that is saved has all.
    assert_eq!(format!("{:?}", model.proto()).matches("odd_").count(), 12);
}
