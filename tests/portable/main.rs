//! The portable backends, tract and ONNX Runtime: what bad requests, threads, empty tensors and odd graphs must not
//! break.
#![cfg(all(feature = "ort", feature = "tract"))]

mod claims;
#[path = "../common/mod.rs"]
mod common;
mod guards;
mod nothing;
mod pools;
mod scans;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use accelerant::backend::{Backend, Executable, ort::Ort, tract::Tract};
use accelerant::export::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{
    BackendKind, DType, Dim, Engine, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
    Registry,
};
use common::random;

/// Both, or tract alone where no library of ONNX Runtime is found.
fn backends(test: &str) -> Vec<Arc<dyn Backend>> {
    let mut backends: Vec<Arc<dyn Backend>> = vec![Arc::new(Tract)];
    match Ort.probe() {
        Ok(()) => backends.push(Arc::new(Ort)),
        Err(reason) => common::skipped(test, reason),
    }
    backends
}

fn load(backend: &dyn Backend, model: &OnnxModel) -> Box<dyn Executable> {
    let built = backend.build_and_load(model);
    built.unwrap_or_else(|e| panic!("{}: {e}", backend.kind())).1
}

fn value(name: &str, dtype: DataType, shape: &[Option<i64>]) -> ValueInfoProto {
    let dim = |(axis, size): (usize, &Option<i64>)| {
        let value = size.map_or_else(|| Value::DimParam(format!("n{axis}")), Value::DimValue);
        Dimension { value: Some(value), ..Default::default() }
    };
    let dims = shape.iter().enumerate().map(dim).collect();
    let tensor = type_proto::Tensor {
        elem_type: Some(dtype as i32),
        shape: Some(TensorShapeProto { dim: dims }),
    };
    let r#type =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(r#type), ..Default::default() }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(format!("{op}_of_{output}")),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn model(
    nodes: Vec<NodeProto>,
    input: Vec<ValueInfoProto>,
    output: Vec<ValueInfoProto>,
) -> OnnxModel {
    let graph =
        GraphProto { name: Some("g".into()), node: nodes, input, output, ..Default::default() };
    let opset = OperatorSetIdProto { version: Some(18), ..Default::default() };
    let proto = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    };
    OnnxModel::from_proto(proto).expect("a valid model")
}

/// `table[index]`, along axis 0, over a batch.
fn lookup() -> OnnxModel {
    let graph = GraphBuilder::new("lookup");
    let batch = Dim::dynamic("batch", 1..=64).unwrap();
    let index = graph.input("index", DType::I64, [batch]).unwrap();
    let table = graph.weight("table", random(&[10, 4], 3)).unwrap();
    graph.output("row", &table.gather(&index, 0).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn index(values: &[i64]) -> [HostTensor; 1] {
    [HostTensor::from_vec([values.len()], values.to_vec()).unwrap()]
}

/// Each of these ended the process in ONNX Runtime.
#[test]
fn inputs_that_are_left_out_by_an_empty_name() {
    let float = |name: &str, shape: &[Option<i64>]| value(name, DataType::Float, shape);
    let row = [Some(1), Some(2)];
    let nodes = vec![node("LayerNormalization", &["x", "w", ""], "y")];
    let inputs = vec![float("x", &row), float("w", &[Some(2)])];
    let layer = model(nodes, inputs, vec![float("y", &row)]);
    let given = [
        HostTensor::from_vec([1, 2], vec![1f32, 3.0]).unwrap(),
        HostTensor::from_vec([2], vec![1f32, 2.0]).unwrap(),
    ];
    for backend in backends("inputs_that_are_left_out_by_an_empty_name") {
        let y = load(backend.as_ref(), &layer).run(&given).unwrap()[0].to_vec::<f32>().unwrap();
        let near = (y[0] + 1.0).abs() < 1e-3 && (y[1] - 2.0).abs() < 1e-3;
        assert!(near, "{}: {y:?}", backend.kind());
    }
    for operator in ["Sum", "Max", "Min", "Mean"] {
        let nodes = vec![node(operator, &["x", "x", "x"], "y")];
        let mut proto =
            model(nodes, vec![float("x", &row)], vec![float("y", &row)]).proto().clone();
        proto.graph.as_mut().unwrap().node[0].input[1] = String::new();
        let error = OnnxModel::from_proto(proto).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{operator}");
        assert!(error.to_string().contains("input 1 is left out"), "{operator}: {error}");
    }
}

/// tract computes `y mod x` where x is repeated, and is refused there.
#[test]
fn remainders_of_an_operand_that_is_repeated() {
    let remainder = |x: i64, y: i64| {
        let whole = |name: &str, size: i64| value(name, DataType::Int64, &[Some(size)]);
        let inputs = vec![whole("x", x), whole("y", y)];
        model(vec![node("Mod", &["x", "y"], "z")], inputs, vec![whole("z", x.max(y))])
    };
    let refusals = Tract.check(&remainder(1, 3)).unwrap().unwrap();
    assert_eq!(refusals.len(), 1);
    assert!(
        refusals[0].reason.to_string().contains("first is the smaller"),
        "{}",
        refusals[0].reason
    );
    let [seven] = index(&[7]);
    let [several] = index(&[2, 4, 9]);
    for backend in backends("remainders_of_an_operand_that_is_repeated") {
        let run = |x: &HostTensor, y: &HostTensor| {
            let model = remainder(x.len() as i64, y.len() as i64);
            let outputs = load(backend.as_ref(), &model).run(&[x.clone(), y.clone()]).unwrap();
            outputs[0].to_vec::<i64>().unwrap()
        };
        assert_eq!(run(&several, &seven), [2, 4, 2], "{}", backend.kind());
        if backend.kind() != BackendKind::Tract {
            assert_eq!(run(&seven, &several), [1, 3, 7], "{}", backend.kind());
        }
    }
}

#[test]
fn a_check_of_tract_has_all_that_its_build_refuses() {
    let terms = vec!["x"; 2000];
    let nodes = vec![
        node("Sum", &terms, "a"),
        node("Relu", &["a"], "b"),
        node("GlobalLpPool", &["b"], "c"),
        node("Max", &terms, "d"),
        node("Add", &["c", "d"], "y"),
    ];
    let sizes = [Some(1), Some(2), Some(3)];
    let [x, y] = ["x", "y"].map(|name| value(name, DataType::Float, &sizes));
    let model = model(nodes, vec![x], vec![y]);
    let refused = Tract.check(&model).unwrap().unwrap();
    let nodes: Vec<_> = refused.iter().map(|refusal| refusal.node).collect();
    assert_eq!(nodes, [Some(0), Some(2), Some(3)], "{refused:?}");
    for refusal in &refused {
        assert!(refusal.reason.to_string().contains("use ONNX Runtime"), "{}", refusal.reason);
    }
    let error = Tract.build(&model).unwrap_err();
    assert_eq!(error.to_string(), refused[0].reason.to_string());
}

#[test]
fn outputs_that_are_inputs_are_right() {
    for backend in backends("outputs_that_are_inputs_are_right") {
        for (dtype, onnx) in [
            (DType::F32, DataType::Float),
            (DType::I64, DataType::Int64),
            (DType::Bool, DataType::Bool),
            (DType::F16, DataType::Float16),
        ] {
            for size in [1usize, 3, 512] {
                let whole = |name: &str| value(name, onnx, &[None, None]);
                let through = node("Identity", &["x"], "y");
                let model = model(
                    vec![through],
                    vec![whole("x")],
                    vec![whole("x"), whole("y"), whole("x")],
                );
                let executable = load(&*backend, &model);
                let ones: Vec<u8> =
                    (0..size * size * dtype.size()).map(|i| u8::from(i % 3 == 0)).collect();
                let x = HostTensor::from_bytes(dtype, [size, size], ones).unwrap();
                // The input's memory is used again, by what is made after it.
                for _ in 0..3 {
                    let outputs = executable.run(std::slice::from_ref(&x)).unwrap();
                    let others = vec![7u8; size * size * dtype.size()];
                    assert!(
                        outputs.iter().all(|output| *output == x),
                        "{}: {dtype}",
                        backend.kind()
                    );
                    drop(others);
                }
            }
        }
    }
}

#[test]
fn a_wrong_index_is_an_error_of_its_request_alone() {
    for backend in backends("a_wrong_index_is_an_error_of_its_request_alone") {
        let kind = backend.kind();
        let executable = load(&*backend, &lookup());
        let good = executable.run(&index(&[1, 9, -1, -10])).unwrap();
        for wrong in [10, -11, 1 << 40, i64::MAX, i64::MIN] {
            let error = executable.run(&index(&[0, wrong])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Execution, "{kind}, {wrong}: {error}");
            assert_eq!(executable.run(&index(&[1, 9, -1, -10])).unwrap(), good, "{kind}");
        }
    }
}

#[test]
fn a_client_of_a_batcher_never_costs_another_its_answer() {
    for backend in backends("a_client_of_a_batcher_never_costs_another_its_answer") {
        let kind = backend.kind();
        let registry = Registry::default().require(kind.clone());
        let options = OptimizeOptions::new().registry(registry);
        let module = InferenceModule::compile(&lookup(), &options).unwrap();
        let expected: Vec<_> = (0..10).map(|i| module.run(&index(&[i])).unwrap()).collect();
        let options = BatcherOptions::new().max_batch(16).max_delay(Duration::from_millis(2));
        let batcher = Batcher::new(module, &options).unwrap();
        thread::scope(|scope| {
            for client in 0..8i64 {
                let (batcher, expected, kind) = (&batcher, &expected, &kind);
                scope.spawn(move || {
                    for round in 0..40i64 {
                        let wanted = (client + round) % 10;
                        // Two of the clients ask for rows that there are not.
                        let wrong = client < 2;
                        let asked = if wrong { 10 + wanted } else { wanted };
                        let answer = batcher.run(&index(&[asked]));
                        match wrong {
                            true => drop(answer.expect_err("there is no such row")),
                            false => {
                                assert_eq!(answer.unwrap(), expected[wanted as usize], "{kind}")
                            }
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn threads_share_one_executable() {
    let graph = GraphBuilder::new("product");
    let x = graph.input("x", DType::F32, [Dim::dynamic("n", 1..=9).unwrap(), 32.into()]).unwrap();
    let w = graph.weight("w", random(&[32, 32], 1)).unwrap();
    graph.output("y", &x.matmul(&w).unwrap().tanh().unwrap()).unwrap();
    let model = graph.finish().unwrap();
    for backend in backends("threads_share_one_executable") {
        let executable = load(&*backend, &model);
        let inputs: Vec<_> =
            (1..=9).map(|n| [HostTensor::from(random(&[n, 32], n as u64))]).collect();
        let expected: Vec<_> = inputs.iter().map(|x| executable.run(x).unwrap()).collect();
        thread::scope(|scope| {
            for start in 0..6 {
                let (executable, inputs, expected) = (&executable, &inputs, &expected);
                scope.spawn(move || {
                    for i in (start..start + 90).map(|i| i % 9) {
                        assert_eq!(executable.run(&inputs[i]).unwrap(), expected[i]);
                    }
                });
            }
        });
    }
}

#[test]
fn a_panic_of_tract_names_the_node() {
    // The mean of no numbers panics inside tract.
    let sized = |name: &str, size| value(name, DataType::Float, &[Some(1), Some(2), Some(size)]);
    let mean = node("GlobalAveragePool", &["r"], "y");
    let nodes = vec![node("Abs", &["x"], "r"), mean, node("Neg", &["y"], "z")];
    let model = model(nodes, vec![sized("x", 0)], vec![sized("z", 1)]);
    let error = Tract.build(&model).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    assert!(error.to_string().contains("GlobalAveragePool_of_y"), "{error}");
}

#[test]
fn what_tract_gets_wrong_is_refused_by_name_and_runs_on_onnx_runtime() {
    let image = |name: &str| value(name, DataType::Float, &[Some(1), Some(2), Some(3), Some(3)]);
    let pooled = value("y", DataType::Float, &[Some(1), Some(2), Some(1), Some(1)]);
    let model = model(
        vec![node("Relu", &["x"], "r"), node("GlobalLpPool", &["r"], "y")],
        vec![image("x")],
        vec![pooled],
    );
    let refused = Tract.check(&model).unwrap().unwrap();
    assert_eq!(refused.iter().map(|refusal| refusal.node).collect::<Vec<_>>(), [Some(1)]);
    let error = Tract.build(&model).unwrap_err();
    assert_eq!(error.to_string(), refused[0].reason.to_string());
    assert!(error.to_string().contains("GlobalLpPool_of_y"), "{error}");
    assert!(error.to_string().contains("use ONNX Runtime"), "{error}");
    if Ort.probe().is_ok() {
        let y = load(&Ort, &model).run(&[HostTensor::from(random(&[1, 2, 3, 3], 1))]).unwrap();
        assert_eq!(y[0].shape(), [1, 2, 1, 1]);
    }
}

#[test]
fn versions_are_versions() {
    let numbers = |text: &str| text.split('.').filter(|part| part.parse::<u32>().is_ok()).count();
    for backend in backends("versions_are_versions") {
        let engine = backend.build(&lookup()).unwrap();
        let version = engine.library().rsplit(' ').next().unwrap();
        assert!(numbers(version) >= 2, "{}: {}", backend.kind(), engine.library());
        assert!(backend.description().contains(version), "{}", backend.description());
    }
}

#[test]
fn an_engine_whose_header_is_of_another_model_is_refused() {
    for backend in backends("an_engine_whose_header_is_of_another_model_is_refused") {
        let engine = backend.build(&lookup()).unwrap();
        assert!(backend.load(&engine).is_ok(), "{}", backend.kind());
        let alter = |change: &dyn Fn(&mut accelerant::Signature)| {
            let mut signature = engine.signature().clone();
            change(&mut signature);
            let (kind, library) = (engine.kind().clone(), engine.library());
            Engine::new(
                kind,
                library,
                engine.target(),
                signature,
                engine.build_time(),
                engine.plan().clone(),
            )
        };
        for altered in [
            alter(&|signature| signature.inputs.clear()),
            alter(&|signature| signature.inputs[0].name = "other".into()),
            alter(&|signature| signature.inputs[0].dtype = DType::I32),
            alter(&|signature| signature.outputs[0].shape = vec![Dim::Fixed(1)].into()),
            alter(&|signature| {
                signature.outputs[0].shape = vec![Dim::Fixed(1), Dim::Fixed(5)].into()
            }),
        ] {
            let error = backend.load(&altered).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "{}: {error}", backend.kind());
        }
        let (kind, library) = (engine.kind().clone(), engine.library());
        let signature = engine.signature().clone();
        let rubbish =
            Engine::new(kind, library, "cpu", signature, engine.build_time(), vec![9u8; 40]);
        let error = backend.load(&rubbish).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineCorrupt, "{}: {error}", backend.kind());
    }
}

/// Who allocates by the header would allocate for a thousand million rows.
#[test]
fn a_header_does_not_widen_an_input() {
    let graph = GraphBuilder::new("fixed");
    let x = graph.input("x", DType::F32, [4usize, 3]).unwrap();
    graph.output("y", &x.affine(2.0, 1.0).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    for backend in backends("a_header_does_not_widen_an_input") {
        let engine = backend.build(&model).unwrap();
        let mut signature = engine.signature().clone();
        let batch = Dim::dynamic("n", 1_000_000_000..=2_000_000_000).unwrap();
        for spec in signature.inputs.iter_mut().chain(&mut signature.outputs) {
            spec.shape = vec![batch.clone(), 3.into()].into();
        }
        let (kind, library) = (engine.kind().clone(), engine.library());
        let plan = engine.plan().clone();
        let wide = Engine::new(kind, library, "cpu", signature, engine.build_time(), plan);
        let error = backend.load(&wide).unwrap_err();
        assert_eq!(
            (error.kind(), error.tensor()),
            (ErrorKind::EngineCorrupt, Some("x")),
            "{error}"
        );
    }
}

/// What lets a backend read an engine of a file as it is.
#[test]
fn a_model_is_written_as_it_was_read() {
    for backend in backends("a_model_is_written_as_it_was_read") {
        let engine = backend.build(&lookup()).unwrap();
        let read = OnnxModel::from_bytes(engine.plan().clone()).unwrap();
        assert!(read.to_bytes() == engine.plan()[..], "{}", backend.kind());
    }
}

#[test]
fn tensors_without_elements_are_tensors() {
    let graph = GraphBuilder::new("empty");
    let x = graph.input("x", DType::F32, [Dim::dynamic("n", 0..=4).unwrap(), 3.into()]).unwrap();
    graph.output("y", &x.affine(2.0, 1.0).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    for backend in backends("tensors_without_elements_are_tensors") {
        let executable = load(&*backend, &model);
        for n in [0usize, 2, 0] {
            let x = HostTensor::from_vec([n, 3], vec![1.0f32; n * 3]).unwrap();
            let y = executable.run(&[x]).unwrap();
            let expected = HostTensor::from_vec([n, 3], vec![3.0f32; n * 3]).unwrap();
            assert_eq!(y, [expected], "{}", backend.kind());
        }
    }
}

#[test]
fn kinds_have_names() {
    for kind in [BackendKind::Tract, BackendKind::Ort] {
        assert_eq!(BackendKind::from_name(kind.name()), kind);
    }
}
