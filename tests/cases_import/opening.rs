//! Opening alone: files beside a model, pipes and links, names and sizes.

use std::path::Path;

use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use accelerant::{Dim, Error, ErrorKind};
use prost::Message as _;

use crate::child::data;

const FLOAT: i32 = 1;

pub(crate) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension { value: Some(Value::DimValue(size)), ..Default::default() };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(FLOAT), shape: Some(shape) };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..Default::default() }
}

pub(crate) fn named(name: &str, dims: &[&str]) -> ValueInfoProto {
    let mut value = value(name, &vec![1; dims.len()]);
    let Some(type_proto::Value::TensorType(tensor)) = &mut value.r#type.as_mut().unwrap().value
    else {
        unreachable!()
    };
    for (dim, name) in tensor.shape.as_mut().unwrap().dim.iter_mut().zip(dims) {
        dim.value = Some(match name.parse() {
            Ok(size) => Value::DimValue(size),
            Err(_) => Value::DimParam((*name).into()),
        });
    }
    value
}

pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    NodeProto {
        op_type: Some(operator.into()),
        input: names(inputs),
        output: names(outputs),
        ..Default::default()
    }
}

pub(crate) fn weight(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    TensorProto {
        name: Some(name.into()),
        data_type: Some(FLOAT),
        dims: dims.to_vec(),
        raw_data: Some(vec![0u8; 4 * count].into()),
        ..Default::default()
    }
}

pub(crate) fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    }
}

/// `y = x + w`.
fn sum() -> GraphProto {
    GraphProto {
        name: Some("sum".into()),
        node: vec![node("Add", &["x", "w"], &["y"])],
        initializer: vec![weight("w", &[2, 3])],
        input: vec![value("x", &[2, 3])],
        output: vec![value("y", &[2, 3])],
        ..Default::default()
    }
}

fn external(tensor: &mut TensorProto, entries: &[(&str, &str)]) {
    tensor.raw_data = None;
    tensor.data_location = Some(1);
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).into()),
        value: Some((*value).into()),
    };
    tensor.external_data = entries.iter().map(entry).collect();
}

/// Writes `y = x + w` whose weight lies at `location`, and opens it.
fn open_sum_with(path: &Path, location: &str) -> Result<OnnxModel, Error> {
    let mut graph = sum();
    external(&mut graph.initializer[0], &[("location", location)]);
    std::fs::write(path, model(graph).encode_to_vec()).unwrap();
    OnnxModel::open(path)
}

fn refused(result: Result<OnnxModel, Error>, tensor: &str, part: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.tensor(), Some(tensor), "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("model");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("secret.bin"), [7; 24]).unwrap();
    std::os::unix::fs::symlink("../secret.bin", inside.join("link.bin")).unwrap();
    let path = inside.join("model.onnx");
    let opened = open_sum_with(&path, "link.bin");
    refused(opened, "w", "not in the model's folder");
    // A folder on the way may be the link.
    std::os::unix::fs::symlink("..", inside.join("up")).unwrap();
    refused(open_sum_with(&path, "up/secret.bin"), "w", "not in the model's folder");
    // A link within the folder is fine.
    std::fs::write(inside.join("w.bin"), [0; 24]).unwrap();
    std::os::unix::fs::symlink("w.bin", inside.join("alias.bin")).unwrap();
    open_sum_with(&path, "alias.bin").unwrap();
    // The cache of a hub: the model and its weights are links to one other folder.
    let cache = folder.path().join("cache");
    let (blobs, snapshot) = (cache.join("blobs"), cache.join("snapshot"));
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::rename(&path, blobs.join("a")).unwrap();
    std::fs::write(blobs.join("b"), [0; 24]).unwrap();
    std::os::unix::fs::symlink("../blobs/a", snapshot.join("model.onnx")).unwrap();
    std::os::unix::fs::symlink("../blobs/b", snapshot.join("alias.bin")).unwrap();
    OnnxModel::open(snapshot.join("model.onnx")).unwrap();
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(folder.path().join("w.bin"), [0; 24]).unwrap();
    for fine in ["w.bin", "./w.bin", "sub/../w.bin", "a/b/../../w.bin"] {
        open_sum_with(&path, fine).unwrap();
    }
    let outside =
        ["", ".", "..", "../w.bin", "sub/../../w.bin", "/w.bin", "..\\w.bin", "a\\..\\..\\w.bin"];
    for location in outside {
        let error = open_sum_with(&path, location).unwrap_err();
        assert_eq!(
            (error.kind(), error.tensor()),
            (ErrorKind::InvalidModel, Some("w")),
            "{location}"
        );
    }
    let error = open_sum_with(&path, "missing.bin").unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Io, Some("w")));
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    refused(open_sum_with(&folder.path().join("model.onnx"), "pipe"), "w", "not a regular file");
    for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
        let error = OnnxModel::open(path).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn sizes_are_checked_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(folder.path().join("w.bin"), [0; 24]).unwrap();
    let open = |dims: &[i64], entries: &[(&str, &str)]| {
        let mut graph = sum();
        graph.initializer[0].dims = dims.to_vec();
        external(&mut graph.initializer[0], &[&[("location", "w.bin")], entries].concat());
        std::fs::write(&path, model(graph).encode_to_vec()).unwrap();
        OnnxModel::open(&path)
    };
    open(&[2, 3], &[]).unwrap();
    for (dims, entries) in [
        (&[1 << 20, 1 << 20][..], &[][..]),
        (&[1 << 40, 1 << 40], &[]),
        (&[-1, 3], &[]),
        (&[2, 3], &[("offset", "4")]),
        (&[2, 3], &[("offset", "18446744073709551615")]),
        (&[2, 3], &[("offset", "-4")]),
        (&[2, 3], &[("length", "20")]),
    ] {
        let error = open(dims, entries).unwrap_err();
        assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("w")), "{error}");
    }
}

/// Thousands of tensors that overlap in one file take the memory of the file.
#[test]
fn a_shared_file_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let bytes: Vec<u8> = (0..1u32 << 18).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(folder.path().join("w.bin"), &bytes).unwrap();
    let mut graph = sum();
    graph.initializer.clear();
    for i in 0..4000 {
        let mut part = weight(&format!("w{i}"), &[]);
        part.dims = vec![(1 << 18) - 4000];
        let offset = (4 * i).to_string();
        external(&mut part, &[("location", "w.bin"), ("offset", &offset)]);
        graph.initializer.push(part);
    }
    graph.node = vec![node("Relu", &["x"], &["y"])];
    std::fs::write(&path, model(graph).encode_to_vec()).unwrap();
    let opened = OnnxModel::open(&path).unwrap();
    let weights = &opened.proto().graph.as_ref().unwrap().initializer;
    for (i, weight) in weights.iter().enumerate() {
        let data = weight.raw_data.as_ref().unwrap();
        assert_eq!(data.len(), 4 * ((1 << 18) - 4000));
        assert_eq!(data[..4], (i as f32).to_le_bytes());
    }
    let first = weights[0].raw_data.as_ref().unwrap().as_ptr() as usize;
    let second = weights[1].raw_data.as_ref().unwrap().as_ptr() as usize;
    assert_eq!(second - first, 4, "the weights share the bytes of the file");
}

/// Wherever a tensor stands: a branch, an attribute, a function.
#[test]
fn external_data_is_found_everywhere() {
    let path = data().join("files/ext_in_subgraph/model.onnx");
    let opened = OnnxModel::open(&path).unwrap();
    let bytes = std::fs::read(path.with_file_name("w.bin")).unwrap();
    let branch = opened.proto().graph.as_ref().unwrap().node[0]
        .attribute
        .iter()
        .find(|a| a.name() == "then_branch")
        .and_then(|a| a.g.as_ref())
        .unwrap();
    assert_eq!(branch.initializer[0].raw_data.as_ref().unwrap()[..], bytes[..]);
    // Bytes alone have no folder: nothing is read from the working directory.
    let error = OnnxModel::from_bytes(std::fs::read(&path).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidModel, Some("w1")));
    assert!(error.operation().unwrap().contains("If"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.bin"), [0; 24]).unwrap();
    let mut constant = node("Constant", &[], &["w"]);
    let mut tensor = weight("", &[2, 3]);
    external(&mut tensor, &[("location", "w.bin")]);
    constant.attribute = vec![AttributeProto {
        name: Some("value".into()),
        r#type: Some(4),
        t: Some(tensor),
        ..Default::default()
    }];
    let mut whole = model(GraphProto {
        node: vec![NodeProto { domain: Some("own".into()), ..node("F", &["x"], &["y"]) }],
        initializer: Vec::new(),
        ..sum()
    });
    let import = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.into()),
        version: Some(version),
    };
    whole.opset_import.push(import("own", 1));
    whole.functions = vec![FunctionProto {
        name: Some("F".into()),
        domain: Some("own".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![constant, node("Add", &["a", "w"], &["b"])],
        opset_import: vec![import("", 17)],
        ..Default::default()
    }];
    let bytes = whole.encode_to_vec();
    let error = OnnxModel::from_bytes(bytes.clone()).unwrap_err();
    assert!(error.to_string().contains("another file"), "{error}");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    let opened = OnnxModel::open(&path).unwrap();
    let graph = opened.proto().graph.as_ref().unwrap();
    let operators: Vec<&str> = graph.node.iter().map(|node| node.op_type()).collect();
    assert_eq!(operators, ["Constant", "Add"], "the function's nodes");
    assert!(opened.proto().functions.is_empty());
}

#[test]
fn inputs_and_outputs_are_what_callers_need() {
    let names = |file: &str| {
        let opened = OnnxModel::open(data().join(file)).unwrap();
        let list = |specs: &[accelerant::TensorSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let signature = opened.signature();
        format!("{} -> {}", list(&signature.inputs), list(&signature.outputs))
    };
    let cases = [
        ("cases/weights_as_inputs_first", "x: f32 [1, 3, 4, 4] -> y: f32 [1, 2, 4, 4]"),
        ("cases/weight_as_input_too", "x: f32 [n, 3] -> y: f32 [n, 4]"),
        ("cases/output_is_weight", "x: f32 [n, 3] -> y: f32 [n, 3]; w: f32 [2]"),
        ("cases/output_is_only_a_weight", "x: f32 [n, 3] -> w: f32 [2]"),
        ("cases/output_is_input", "x: f32 [n, 3] -> y: f32 [n, 3]; x_output: f32 [n, 3]"),
        ("cases/output_twice", "x: f32 [n, 3] -> y: f32 [n, 3]; y_output: f32 [n, 3]"),
        ("cases/output_without_shape", "x: f32 [n, 3] -> y: f32 [n, 3]"),
        ("cases/output_without_type", "x: f32 [n, 3] -> y: f32 [n, 3]"),
        ("cases/output_rank_lies", "x: f32 [n, 3] -> y: f32 [n, 1, 3]"),
        ("cases/dim_minus_one", "x: f32 [x_0, 3] -> y: f32 [x_0, 3]"),
        ("cases/dim_question", "x: f32 [x_0, 3] -> y: f32 [x_0, 3]"),
        ("cases/names_unicode", "画像/ä:0: f32 [batch größe, 3] -> größe y: f32 [batch größe, 3]"),
        (
            "cases/passes_through_bool",
            "x: bool [4, 3]; z: f32 [2, 3] -> x_output: bool [4, 3]; y: f32 [2, 3]",
        ),
        ("files/in_dim_param_minus1", "x: f32 [x_0, 3] -> y: f32 [2, 3]"),
        ("files/no_nodes_passthrough", "x: f32 [2, 3] -> x_output: f32 [2, 3]"),
        ("files/initializer_is_output_too", "x: f32 [2, 3] -> y: f32 [2, 3]; w: f32 [2, 3]"),
        ("files/out_noshape", "x: f32 [2, 3] -> y: f32 [2, 3]"),
        ("files/empty_io", "x: f32 [0, 3] -> y: f32 [0, 3]"),
    ];
    for (file, expected) in cases {
        assert_eq!(names(&format!("{file}/model.onnx")), expected, "{file}");
    }
    for (file, tensor, part) in [
        ("cases/string_in", "x", "string"),
        ("cases/sequence_out", "y", "a sequence"),
        ("files/in_noshape", "x", "the shape is missing"),
        ("cases/weight_float_data_short", "w", "5 numbers"),
    ] {
        refused(OnnxModel::open(data().join(file).join("model.onnx")), tensor, part);
    }
}

#[test]
fn one_size_is_written_into_the_model() {
    let mut graph = GraphProto {
        name: Some("sizes".into()),
        node: vec![node("Concat", &["a", "b"], &["c"]), node("Relu", &["c"], &["y"])],
        input: vec![named("a", &["n", "2"]), named("b", &["m", "2"])],
        output: vec![named("y", &["n + m", "2"])],
        value_info: vec![named("c", &["DynamicDimension.1", "2"])],
        ..Default::default()
    };
    graph.node[0].attribute = vec![AttributeProto {
        name: Some("axis".into()),
        r#type: Some(2),
        i: Some(0),
        ..Default::default()
    }];
    let opened = OnnxModel::from_proto(model(graph)).unwrap();
    assert_eq!(opened.signature().outputs[0].shape.to_string(), "[n + m, 2]");
    let bound = opened.bind("n", 3..=3).unwrap();
    assert_eq!(bound.signature().inputs[0].shape.fixed(), Some(vec![3, 2]));
    assert_eq!(bound.signature().outputs[0].shape.to_string(), "[n + m, 2]");
    let bound = bound.bind("m", 4..=4).unwrap();
    assert_eq!(bound.signature().outputs[0].shape.fixed(), Some(vec![7, 2]));
    let graph = bound.proto().graph.as_ref().unwrap();
    assert_eq!(graph.input, [value("a", &[3, 2]), value("b", &[4, 2])]);
    assert_eq!(graph.output, [value("y", &[7, 2])]);
    assert!(graph.value_info.is_empty(), "what fits no more is gone");
    // The same once more is no contradiction; another size is.
    let again = bound.bind("n", 3..=3).unwrap().tuned_for("n", [3]).unwrap();
    let error = again.clone().bind("n", 4..=4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(again.tuned_for("n", [4]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_size_that_contradicts_is_an_error_of_bind() {
    // `x` of n rows plus a weight of 2.
    let mut graph = sum();
    graph.input = vec![named("x", &["n", "3"])];
    let opened = OnnxModel::from_proto(model(graph)).unwrap();
    opened.clone().bind("n", 2..=2).unwrap();
    opened.clone().bind("n", 1..=1).unwrap();
    let error = opened.bind("n", 5..=5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert!(error.to_string().contains("Add"), "{error}");
}

#[test]
fn sizes_without_names_are_bound_by_what_the_file_writes() {
    let graph = GraphProto {
        node: vec![node("Relu", &["a"], &["y"]), node("Relu", &["b"], &["z"])],
        input: vec![named("a", &["?", "?"]), named("b", &["-1", ""])],
        output: vec![named("y", &["?", "?"]), named("z", &["?", "?"])],
        ..Default::default()
    };
    let opened = OnnxModel::from_proto(model(graph)).unwrap();
    let signature = opened.signature();
    assert_eq!(signature.inputs[0].shape.to_string(), "[a_0, a_1]");
    assert_eq!(signature.inputs[1].shape.to_string(), "[b_0, b_1]");
    let bound = opened.bind("?", 1..=4).unwrap().bind("b_1", 2..=2).unwrap();
    let sizes = |dims: &[Dim]| dims.iter().map(|dim| (dim.min(), dim.max())).collect::<Vec<_>>();
    assert_eq!(sizes(bound.signature().inputs[0].shape.dims()), [(1, 4), (1, 4)]);
    assert_eq!(sizes(bound.signature().inputs[1].shape.dims())[1], (2, 2));
}

/// A weight with two values that are not 0, with an index for each, or one for each axis.
fn sparse(dims: &[i64], indices: &[i64], by_axis: bool) -> ModelProto {
    let values = TensorProto {
        name: Some("w".into()),
        data_type: Some(FLOAT),
        dims: vec![2],
        float_data: vec![5.0, 7.0],
        ..Default::default()
    };
    let rows = (indices.len() / 2) as i64;
    let places = TensorProto {
        name: Some("places".into()),
        data_type: Some(7),
        dims: if by_axis { vec![2, rows] } else { vec![indices.len() as i64] },
        int64_data: indices.to_vec(),
        ..Default::default()
    };
    let sparse =
        SparseTensorProto { values: Some(values), indices: Some(places), dims: dims.to_vec() };
    model(GraphProto {
        input: vec![value("x", &[1, 3])],
        output: vec![value("y", &[1, 2])],
        node: vec![node("MatMul", &["x", "w"], &["y"])],
        sparse_initializer: vec![sparse],
        ..Default::default()
    })
}

#[test]
fn sparse_weights_are_written_whole() {
    for (indices, by_axis) in [(vec![1, 4], false), (vec![0, 1, 2, 0], true)] {
        let model = OnnxModel::from_proto(sparse(&[3, 2], &indices, by_axis)).unwrap();
        let graph = model.proto().graph.as_ref().unwrap();
        assert!(graph.sparse_initializer.is_empty());
        let raw = graph.initializer[0].raw_data.as_ref().unwrap();
        let floats = raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        assert_eq!(floats.collect::<Vec<_>>(), [0.0, 5.0, 0.0, 0.0, 7.0, 0.0]);
        assert_eq!(graph.initializer[0].name(), "w");
    }
    refused(OnnxModel::from_proto(sparse(&[3, 2], &[1, 6], false)), "w", "index 6");
    refused(OnnxModel::from_proto(sparse(&[3, 2], &[0, -1, 2, 0], true)), "w", "index -1");
    refused(OnnxModel::from_proto(sparse(&[3, 2], &[1, 2, 3], false)), "w", "3 indices");
    // Not out of proportion to the file.
    let huge = OnnxModel::from_proto(sparse(&[3, 1 << 30], &[1, 4], false));
    assert!(huge.is_err() || huge.unwrap().proto().graph.as_ref().unwrap().initializer.is_empty());
}

#[test]
fn nodes_that_need_each_other_are_refused() {
    let mut graph = sum();
    graph.node = vec![
        node("Add", &["x", "b"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Relu", &["b"], &["y"]),
    ];
    let error = OnnxModel::from_proto(model(graph)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert!(error.to_string().contains("needs its own result"), "{error}");
}
