//! What no consumer can compute is refused with a reason, and what looks like it and is right is not. Each
//! line is one node.

use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use accelerant::{Error, ErrorKind};

use crate::opening::{model, named, node};

/// An input of the node.
enum In<'a> {
    /// Of the graph, f32; a size is a number or a name.
    X(&'a [&'a str]),
    /// A constant of integers.
    I(&'a [i64], &'a [i64]),
    /// A constant of floats.
    F(&'a [i64], &'a [f32]),
    /// Left out.
    No,
}
use In::{F, I, No, X};

enum At<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}
use At::{Int, Ints, Text};

fn attribute(attribute: &At<'_>) -> AttributeProto {
    let named = |name: &str, kind: i32| AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind),
        ..Default::default()
    };
    match attribute {
        Int(name, value) => AttributeProto { i: Some(*value), ..named(name, 2) },
        Ints(name, values) => AttributeProto { ints: values.to_vec(), ..named(name, 7) },
        Text(name, text) => {
            AttributeProto { s: Some(text.as_bytes().to_vec().into()), ..named(name, 3) }
        }
    }
}

fn open(
    operator: &str,
    opset: i64,
    inputs: &[In<'_>],
    attributes: &[At<'_>],
) -> Result<OnnxModel, Error> {
    let mut graph = GraphProto::default();
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("i{i}")).collect();
    let constant = |name: &str, kind: i32, dims: &[i64], raw: Vec<u8>| TensorProto {
        name: Some(name.into()),
        data_type: Some(kind),
        dims: dims.to_vec(),
        raw_data: Some(raw.into()),
        ..Default::default()
    };
    let mut read = Vec::new();
    for (name, input) in names.iter().zip(inputs) {
        match input {
            X(dims) => graph.input.push(named(name, dims)),
            I(dims, values) => {
                let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                graph.initializer.push(constant(name, 7, dims, raw));
            }
            F(dims, values) => {
                let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                graph.initializer.push(constant(name, 1, dims, raw));
            }
            No => {}
        }
        read.push(if matches!(input, No) { "" } else { name.as_str() });
    }
    let second = matches!(operator, "TopK");
    let outputs: &[&str] = if second { &["y", "z"] } else { &["y"] };
    graph.node = vec![NodeProto {
        attribute: attributes.iter().map(attribute).collect(),
        ..node(operator, &read, outputs)
    }];
    graph.output = vec![ValueInfoProto {
        name: Some("y".into()),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: None,
                shape: Some(TensorShapeProto::default()),
            })),
            ..Default::default()
        }),
        ..Default::default()
    }];
    let mut whole = model(graph);
    whole.opset_import[0].version = Some(opset);
    OnnxModel::from_proto(whole)
}

#[track_caller]
fn refused(operator: &str, opset: i64, inputs: &[In<'_>], attributes: &[At<'_>], part: &str) {
    match open(operator, opset, inputs, attributes) {
        Ok(model) => panic!("{operator} was taken: {}", model.signature()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error}");
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.operation().unwrap().starts_with(operator), "{error}");
        }
    }
}

/// Opens, and gives the shape of the output.
#[track_caller]
fn taken(operator: &str, opset: i64, inputs: &[In<'_>], attributes: &[At<'_>], shape: &str) {
    match open(operator, opset, inputs, attributes) {
        Ok(model) => assert_eq!(model.signature().outputs[0].shape.to_string(), shape),
        Err(error) => panic!("{error}"),
    }
}

const PICTURE: In<'static> = X(&["n", "4", "8", "8"]);
const MATRIX: In<'static> = X(&["2", "3"]);

#[test]
fn axes_are_there_and_come_once() {
    for axis in [2, -3, 9, i64::MIN, i64::MAX] {
        refused("ArgMax", 17, &[MATRIX], &[Int("axis", axis)], "there is no axis");
        refused("Concat", 17, &[MATRIX, MATRIX], &[Int("axis", axis)], "there is no axis");
        refused("Softmax", 17, &[MATRIX], &[Int("axis", axis)], "there is no axis");
        refused(
            "LayerNormalization",
            17,
            &[MATRIX, F(&[3], &[1.; 3])],
            &[Int("axis", axis)],
            "no axis",
        );
        refused("ReduceSum", 17, &[MATRIX, I(&[1], &[axis])], &[], "there is no axis");
        refused("ReduceMax", 17, &[MATRIX], &[Ints("axes", &[axis])], "there is no axis");
        refused("Squeeze", 17, &[MATRIX, I(&[1], &[axis])], &[], "there is no axis");
        refused("Gather", 17, &[MATRIX, I(&[1], &[0])], &[Int("axis", axis)], "there is no axis");
        refused("TopK", 17, &[MATRIX, I(&[1], &[1])], &[Int("axis", axis)], "there is no axis");
        refused("CumSum", 17, &[MATRIX, I(&[], &[axis])], &[], "there is no axis");
    }
    taken("ArgMax", 17, &[MATRIX], &[Int("axis", -2)], "[1, 3]");
    taken("ReduceSum", 17, &[PICTURE, I(&[2], &[-1, 2])], &[Int("keepdims", 0)], "[n, 4]");
    refused("ReduceSum", 17, &[MATRIX, I(&[2], &[1, -1])], &[], "comes twice");
    refused("Transpose", 17, &[MATRIX], &[Ints("perm", &[0, 0])], "comes twice");
    refused("Transpose", 17, &[MATRIX], &[Ints("perm", &[0])], "`perm`");
    taken("Transpose", 17, &[PICTURE], &[Ints("perm", &[3, 1, 2, 0])], "[8, 4, 8, n]");
    refused("Unsqueeze", 17, &[MATRIX, I(&[2], &[0, -4])], &[], "comes twice");
    taken("Unsqueeze", 17, &[MATRIX, I(&[2], &[0, -1])], &[], "[1, 2, 3, 1]");
}

#[test]
fn windows_fit() {
    let weight = || F(&[4, 4, 3, 3], &[0.; 144]);
    for (name, part) in [("strides", "strides"), ("dilations", "dilations")] {
        for value in [0, -1, i64::MIN, 1 << 40] {
            refused("Conv", 17, &[PICTURE, weight()], &[Ints(name, &[1, value])], part);
            refused(
                "MaxPool",
                17,
                &[PICTURE],
                &[Ints("kernel_shape", &[2, 2]), Ints(name, &[1, value])],
                part,
            );
        }
        refused("Conv", 17, &[PICTURE, weight()], &[Ints(name, &[1])], part);
    }
    for pads in [&[1][..], &[1; 3], &[i64::MAX; 4], &[1 << 31; 4]] {
        refused("Conv", 17, &[PICTURE, weight()], &[Ints("pads", pads)], "pads");
        refused("ConvTranspose", 17, &[PICTURE, weight()], &[Ints("pads", pads)], "pads");
        refused(
            "AveragePool",
            17,
            &[PICTURE],
            &[Ints("kernel_shape", &[2, 2]), Ints("pads", pads)],
            "pads",
        );
    }
    for group in [0, -1, 3] {
        refused("Conv", 17, &[PICTURE, weight()], &[Int("group", group)], "group");
        refused("ConvTranspose", 17, &[PICTURE, weight()], &[Int("group", group)], "group");
    }
    refused("MaxPool", 17, &[PICTURE], &[Ints("kernel_shape", &[9, 1])], "a window of 9");
    refused("MaxPool", 17, &[PICTURE], &[], "`kernel_shape` is missing");
    refused("MaxPool", 17, &[MATRIX], &[Ints("kernel_shape", &[1])], "rank 2");
    refused("Conv", 17, &[PICTURE, F(&[4, 3, 3, 3], &[0.; 108])], &[], "4 channels");
    refused("Conv", 17, &[PICTURE, weight(), F(&[3], &[0.; 3])], &[], "a bias of 3");
    taken("Conv", 17, &[PICTURE, weight()], &[Ints("strides", &[2, 1])], "[n, 4, 3, 6]");
    taken("Conv", 17, &[PICTURE, weight()], &[Text("auto_pad", "SAME_UPPER")], "[n, 4, 8, 8]");
    let bigger =
        [Ints("strides", &[2, 2]), Ints("output_padding", &[1, 1]), Ints("pads", &[1, 1, 1, 1])];
    taken("ConvTranspose", 17, &[PICTURE, weight()], &bigger, "[n, 4, 16, 16]");
}

#[test]
fn numbers_that_must_be_positive_are() {
    for value in [0, -1, i64::MIN] {
        let fixed = X(&["1", "4", "8", "8"]);
        refused("DepthToSpace", 17, &[fixed], &[Int("blocksize", value)], "`blocksize`");
        refused("SpaceToDepth", 17, &[PICTURE], &[Int("blocksize", value)], "`blocksize`");
        let scale = || F(&[4], &[1.; 4]);
        refused(
            "GroupNormalization",
            18,
            &[PICTURE, scale(), scale()],
            &[Int("num_groups", value)],
            "`num_groups`",
        );
        refused(
            "GroupNormalization",
            21,
            &[PICTURE, scale(), scale()],
            &[Int("num_groups", value)],
            "`num_groups`",
        );
        let heads = [Int("q_num_heads", 2), Int("kv_num_heads", value)];
        let x = || X(&["1", "4", "8"]);
        refused("Attention", 23, &[x(), x(), x()], &heads, "`kv_num_heads`");
        refused("LRN", 17, &[PICTURE], &[Int("size", value)], "`size`");
        refused("OneHot", 17, &[I(&[1], &[0]), I(&[], &[value]), F(&[2], &[0., 1.])], &[], "depth");
        refused(
            "Slice",
            17,
            &[MATRIX, I(&[1], &[0]), I(&[1], &[1]), I(&[1], &[0]), I(&[1], &[0])],
            &[],
            "step is 0",
        );
        refused(
            "STFT",
            17,
            &[X(&["1", "64", "1"]), I(&[], &[value]), F(&[16], &[1.; 16])],
            &[],
            "positive",
        );
    }
    refused("TopK", 17, &[MATRIX, I(&[1], &[-1])], &[], "`k` is -1");
    refused("TopK", 17, &[MATRIX, I(&[1], &[4])], &[], "the 4 largest of 3");
    refused("TopK", 17, &[MATRIX, I(&[0], &[])], &[], "0 elements");
    refused("TopK", 17, &[MATRIX, F(&[1], &[1.])], &[], "does not take");
    taken("TopK", 17, &[MATRIX, I(&[1], &[3])], &[], "[2, 3]");
    taken("TopK", 17, &[MATRIX, I(&[1], &[0])], &[], "[2, 0]");
    refused("Range", 17, &[I(&[], &[0]), I(&[], &[5]), I(&[], &[0])], &[], "step is 0");
    taken("Range", 17, &[I(&[], &[5]), I(&[], &[0]), I(&[], &[-2])], &[], "[3]");
    refused("Div", 17, &[I(&[2], &[1, 2]), I(&[2], &[1, 0])], &[], "holds a 0");
    refused("Mod", 17, &[I(&[2], &[1, 2]), I(&[], &[0])], &[], "holds a 0");
    refused("Div", 17, &[I(&[1], &[i64::MIN]), I(&[1], &[-1])], &[], "divided by -1");
    taken("Div", 17, &[MATRIX, F(&[], &[0.])], &[], "[2, 3]");
}

#[test]
fn results_fit_into_memory() {
    let huge = 1 << 40;
    refused("Expand", 17, &[MATRIX, I(&[3], &[huge, 2, 3])], &[], "bytes that a value may have");
    refused("Tile", 17, &[MATRIX, I(&[2], &[huge, 1])], &[], "bytes that a value may have");
    refused("ConstantOfShape", 17, &[I(&[2], &[huge, huge])], &[], "bytes that a value may have");
    refused(
        "OneHot",
        17,
        &[I(&[1], &[0]), I(&[], &[huge]), F(&[2], &[0., 1.])],
        &[],
        "bytes that a value may have",
    );
    refused(
        "Range",
        17,
        &[I(&[], &[0]), I(&[], &[huge]), I(&[], &[1])],
        &[],
        "bytes that a value may have",
    );
    refused("Pad", 17, &[MATRIX, I(&[4], &[0, 0, huge, 0])], &[], "bytes that a value may have");
    refused("RandomNormal", 17, &[], &[Ints("shape", &[huge])], "bytes that a value may have");
    let scales = F(&[4], &[1., 1., 1e9, 1e9]);
    refused(
        "Resize",
        17,
        &[X(&["1", "4", "8", "8"]), No, scales],
        &[],
        "bytes that a value may have",
    );
    // Whatever the batch is.
    refused(
        "Expand",
        17,
        &[X(&["n", "1"]), I(&[2], &[1, huge])],
        &[],
        "bytes that a value may have",
    );
    refused("Expand", 17, &[MATRIX, I(&[100], &[1; 100])], &[], "rank 100");
    taken("Expand", 17, &[X(&["n", "1"]), I(&[2], &[1, 1 << 20])], &[], "[n, 1048576]");
    taken("Tile", 17, &[MATRIX, I(&[2], &[0, 2])], &[], "[0, 6]");
    taken("Pad", 17, &[X(&["n", "5"]), I(&[4], &[0, -2, 0, 1])], &[], "[n, 4]");
    refused("Pad", 17, &[MATRIX, I(&[4], &[0, -2, 0, -2])], &[], "cut by more");
    let reflected = [Text("mode", "reflect")];
    for pads in [[0, 3, 0, 0], [0, 0, 0, 3], [2, 0, 0, 0], [0, 2, 0, -1]] {
        refused("Pad", 17, &[MATRIX, I(&[4], &pads)], &reflected, "by reflect");
    }
    taken("Pad", 17, &[MATRIX, I(&[4], &[1, 2, 0, 2])], &reflected, "[3, 7]");
    let edge = [Text("mode", "edge")];
    refused("Pad", 17, &[X(&["0", "3"]), I(&[4], &[1, 0, 0, 0])], &edge, "by edge");
    taken("Pad", 17, &[X(&["0", "3"]), I(&[4], &[0, 9, 0, 0])], &edge, "[0, 12]");
}

#[test]
fn shapes_and_types_fit() {
    refused("MatMul", 17, &[MATRIX, F(&[], &[1.])], &[], "rank 0");
    refused("MatMul", 17, &[MATRIX, F(&[2, 2], &[0.; 4])], &[], "rows of 3");
    taken("MatMul", 17, &[X(&["b", "1", "n", "3"]), F(&[5, 3, 2], &[0.; 30])], &[], "[b, 5, n, 2]");
    refused("Gemm", 17, &[MATRIX, F(&[3], &[0.; 3])], &[], "rank 1");
    refused("Add", 17, &[MATRIX, F(&[2], &[0.; 2])], &[], "does not fit");
    refused("Add", 17, &[MATRIX, I(&[3], &[0; 3])], &[], "one type");
    refused("Sqrt", 17, &[I(&[3], &[0; 3])], &[], "does not take");
    refused("Relu", 13, &[I(&[3], &[0; 3])], &[], "does not take");
    refused("Add", 17, &[MATRIX], &[], "the operator has 2 inputs, and the node 1");
    refused("Reshape", 17, &[MATRIX, I(&[2], &[-1, -1])], &[], "two sizes");
    refused("Reshape", 17, &[MATRIX, I(&[2], &[4, 2])], &[], "6 elements cannot become");
    refused("Reshape", 17, &[MATRIX, I(&[2], &[-1, 4])], &[], "6 elements cannot become");
    refused("Reshape", 17, &[MATRIX, I(&[3], &[1, 6, 0])], &[], "copies axis 2");
    refused("Reshape", 17, &[MATRIX, I(&[1], &[-2])], &[], "size -2");
    taken("Reshape", 17, &[PICTURE, I(&[2], &[0, -1])], &[], "[n, 256]");
    taken("Reshape", 17, &[PICTURE, I(&[2], &[-1, 256])], &[], "[n, 256]");
    taken("Reshape", 17, &[PICTURE, I(&[2], &[-1, 128])], &[], "[y_0, 128]");
    refused("Gather", 17, &[MATRIX, I(&[1], &[2])], &[], "index 2 along axis 0 of size 2");
    refused("Gather", 17, &[MATRIX, I(&[1], &[-3])], &[], "index -3");
    taken("Gather", 17, &[MATRIX, I(&[2, 2], &[0, 1, -1, -2])], &[], "[2, 2, 3]");
    refused("GatherND", 17, &[MATRIX, I(&[1, 2], &[1, 3])], &[], "index 3 along axis 1");
    refused("ScatterElements", 17, &[MATRIX, I(&[1, 1], &[9]), F(&[1, 1], &[1.])], &[], "index 9");
    refused("ScatterND", 17, &[MATRIX, I(&[], &[0]), F(&[], &[1.])], &[], "rank 0");
    let [one, two, three] =
        [&[2, 1], &[2, 2], &[2, 3]].map(|dims| move || F(dims, &[1.; 6][..2 * dims[1] as usize]));
    refused("ScatterND", 17, &[MATRIX, I(&[2, 1], &[0, 1]), one()], &[], "must have size 3");
    taken("ScatterND", 17, &[MATRIX, I(&[2, 1], &[0, 1]), three()], &[], "[2, 3]");
    let places = || I(&[2, 2], &[0; 4]);
    refused("ScatterElements", 17, &[MATRIX, places(), one()], &[], "must have size 2");
    taken("ScatterElements", 17, &[MATRIX, places(), two()], &[], "[2, 3]");
    refused("GatherElements", 17, &[MATRIX, I(&[1, 4], &[0; 4])], &[], "more than the 3");
    taken("GatherElements", 17, &[MATRIX, I(&[4, 1], &[0; 4])], &[], "[4, 1]");
    let batch = [Int("batch_dims", 1)];
    refused("GatherND", 17, &[MATRIX, I(&[1, 1], &[0])], &batch, "must have size 2");
    taken("GatherND", 17, &[MATRIX, I(&[2, 1], &[0, 2])], &batch, "[2]");
    refused("ArgMax", 17, &[X(&["0", "3"])], &[], "among no elements");
    taken("ArgMax", 17, &[X(&["0", "3"])], &[Int("axis", 1)], "[0, 1]");
    refused("GlobalMaxPool", 17, &[X(&["1", "2", "0"])], &[], "of no elements");
    refused("Clip", 17, &[MATRIX, F(&[0], &[])], &[], "0 elements");
    refused("Split", 17, &[MATRIX, I(&[1], &[3])], &[], "axis 0 is split");
    refused("Tile", 17, &[MATRIX, I(&[3], &[1, 1, 1])], &[], "3 numbers");
    refused("Cast", 17, &[MATRIX], &[], "`to` is missing");
    refused("Cast", 17, &[MATRIX], &[Text("to", "float")], "of type 3, not 2");
    refused("Slice", 17, &[MATRIX, I(&[1, 1], &[0]), I(&[1], &[1])], &[], "rank 2");
    let backwards = [MATRIX, I(&[1], &[-1]), I(&[1], &[i64::MIN]), I(&[1], &[1]), I(&[1], &[-2])];
    taken("Slice", 17, &backwards, &[], "[2, 2]");
    let largest = [MATRIX, I(&[1], &[2]), I(&[1], &[i64::MAX]), I(&[1], &[1]), I(&[1], &[-1])];
    taken("Slice", 17, &largest, &[], "[2, 3]");
    let x = || X(&["5", "b", "3"]);
    let (w, r) = (|| F(&[1, 16, 3], &[0.; 48]), || F(&[1, 16, 4], &[0.; 64]));
    taken("LSTM", 17, &[x(), w(), r()], &[Int("hidden_size", 4)], "[5, 1, b, 4]");
    refused("LSTM", 17, &[x(), w(), r()], &[Int("hidden_size", 5)], "must have 20");
    refused("GRU", 17, &[x(), w(), r()], &[Int("hidden_size", 4)], "must have 12");
    refused("LSTM", 17, &[x(), w(), r()], &[Text("direction", "bidirectional")], "must have 2");
}
