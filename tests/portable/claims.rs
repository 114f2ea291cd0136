//! Files that state a size of an output wrongly, where no rule knows better: ONNX Runtime alone warns and gives the result.
//! The result is right here too, and the report says what the file has wrong.

use accelerant::backend::{Backend, ort::Ort, tract::Tract};
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{GraphProto, tensor_proto::DataType, tensor_to_proto};
use accelerant::{Engine, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Registry};

use super::guards::built;
use super::{backends, node, value};

/// The places of the elements of `x` that are not 0, said to be so many.
fn places(stated: i64) -> OnnxModel {
    built(
        17,
        GraphProto {
            name: Some("g".into()),
            node: vec![node("NonZero", &["x"], "y")],
            input: vec![value("x", DataType::Float, &[None, Some(3)])],
            output: vec![value("y", DataType::Int64, &[Some(2), Some(stated)])],
            ..GraphProto::default()
        },
    )
}

fn x() -> HostTensor {
    HostTensor::from(ndarray::array![[1.0f32, 0.0, 2.0], [0.0, 3.0, 0.0]])
}

fn compiled(model: &OnnxModel, kind: &accelerant::BackendKind) -> InferenceModule {
    let backend = if *kind == Tract.kind() {
        Registry::empty().with(Tract)
    } else {
        Registry::empty().with(Ort)
    };
    InferenceModule::compile(model, &OptimizeOptions::new().registry(backend)).unwrap()
}

#[test]
fn a_run_is_believed_where_a_file_alone_states_a_size() {
    let right = HostTensor::from(ndarray::array![[0i64, 0, 1], [0, 2, 1]]);
    for backend in backends("a_run_is_believed_where_a_file_alone_states_a_size") {
        let kind = backend.kind();
        let module = compiled(&places(1), &kind);
        assert!(module.report().warnings.is_empty());
        for _ in 0..2 {
            assert_eq!(module.run(&[x()]).unwrap(), std::slice::from_ref(&right), "{kind}");
        }
        let said =
            "output `y`, axis 1: a run gave size 3, and the file says 1, which nothing shows";
        assert_eq!(module.report().warnings, [said], "{kind}");
        // As another process reads it.
        let engine = backend.build(&places(1)).unwrap();
        let read = Engine::from_bytes(engine.to_bytes()).unwrap();
        let executable = backend.load(&read).unwrap();
        assert_eq!(executable.run(&[x()]).unwrap(), std::slice::from_ref(&right), "{kind}");
        // What a file has right is no warning.
        let module = compiled(&places(3), &kind);
        assert_eq!(module.run(&[x()]).unwrap(), std::slice::from_ref(&right), "{kind}");
        assert!(module.report().warnings.is_empty());
    }
}

/// Who reads the elements in place counts them by the signature.
#[test]
fn what_is_looked_at_has_the_sizes_of_the_signature() {
    let model = built(
        17,
        GraphProto {
            name: Some("g".into()),
            node: vec![node("Compress", &["x", "kept"], "y")],
            input: vec![
                value("x", DataType::Float, &[None, Some(3)]),
                value("kept", DataType::Bool, &[None]),
            ],
            output: vec![value("y", DataType::Float, &[Some(1)])],
            ..GraphProto::default()
        },
    );
    let test = "what_is_looked_at_has_the_sizes_of_the_signature";
    for backend in backends(test) {
        // tract has no Compress.
        let Ok((_, executable)) = backend.build_and_load(&model) else { continue };
        let kept = HostTensor::from_vec([2], vec![true, true]).unwrap();
        let given = executable.run(&[x(), kept.clone()]).unwrap();
        assert_eq!(given[0].to_vec::<f32>().unwrap(), [1.0, 0.0]);
        let error = executable.look(&[x(), kept], &mut |_| Ok(())).unwrap_err();
        assert_eq!((error.kind(), error.axis()), (ErrorKind::Execution, Some(0)), "{error}");
    }
}

/// What is left for -1 has the name of an input's size, whatever the file says of the result.
#[test]
fn a_reshape_keeps_the_name_of_a_size() {
    let sized = |x: &[Option<i64>], target: &[i64], stated: &[i64]| {
        let stated: Vec<_> = stated.iter().map(|&size| Some(size)).collect();
        let shape = HostTensor::from_vec([target.len()], target.to_vec()).unwrap();
        let model = built(
            17,
            GraphProto {
                name: Some("g".into()),
                node: vec![node("Reshape", &["x", "shape"], "y")],
                input: vec![value("x", DataType::Float, x)],
                output: vec![value("y", DataType::Float, &stated)],
                initializer: vec![tensor_to_proto("shape", &shape)],
                ..GraphProto::default()
            },
        );
        model.signature().outputs[0].shape.to_string()
    };
    let (a, b) = (None, Some(3));
    type Row<'a> = (&'a [Option<i64>], &'a [i64], &'a str);
    let rows: [Row<'_>; 10] = [
        (&[a, b], &[-1, 3], "[n0, 3]"),
        (&[a, b, Some(4)], &[-1, 12], "[n0, 12]"),
        (&[a, b, Some(4)], &[0, -1], "[n0, 12]"),
        (&[a, b, Some(4)], &[-1, 2, 6], "[n0, 2, 6]"),
        (&[b, a, Some(4)], &[3, 4, -1], "[3, 4, n1]"),
        (&[a, b, None], &[0, -1, 3], "[n0, n2, 3]"),
        // Twice or half as many have no name, and the file is believed.
        (&[a, b, Some(4)], &[-1, 6], "[7, 6]"),
        (&[a, b], &[-1, 6], "[7, 6]"),
        (&[a, None], &[-1], "[7]"),
        (&[a, None, b], &[-1, 3], "[7, 3]"),
    ];
    for (x, target, expected) in rows {
        let stated: Vec<i64> = target.iter().map(|&s| if s > 0 { s } else { 7 }).collect();
        assert_eq!(sized(x, target, &stated), expected, "{x:?} to {target:?}");
    }
}
