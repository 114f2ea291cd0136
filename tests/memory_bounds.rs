//! What the values of a run may take of memory in sum, on the portable backends. No single value is too large here.
#![cfg(any(feature = "ort", feature = "tract"))]

mod common;

use std::sync::Arc;

use accelerant::backend::Backend;
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::{DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions};

fn backends() -> Vec<Arc<dyn Backend>> {
    common::portable_backends("bounds of memory")
}

fn options(backend: &Arc<dyn Backend>) -> OptimizeOptions {
    OptimizeOptions::new().require(backend.kind())
}

fn ones(n: usize) -> HostTensor {
    HostTensor::from_vec([n, 1], vec![1.0f32; n]).unwrap()
}

/// `count` squares of `x` of `[n, 1]` by its columns, which are all alive when they are summed up.
fn squares(n: Dim, count: usize) -> OnnxModel {
    let graph = GraphBuilder::new("squares");
    let x = graph.input("x", DType::F32, [n, 1.into()]).unwrap();
    let across = x.transpose(&[1, 0]).unwrap();
    let square = |i: usize| {
        let part = x.affine(1.0, i as f64).unwrap();
        graph.node("Mul").name(format!("square_{i}")).input(&part).input(&across).build().unwrap()
    };
    let squares: Vec<_> = (0..count).map(square).collect();
    let sums: Vec<_> = squares
        .iter()
        .map(|s| s.reduce(accelerant::export::Reduction::Max, &[0, 1]).unwrap())
        .collect();
    // The first is needed to the end.
    let last =
        sums.iter().rev().chain([&sums[0]]).cloned().reduce(|a, b| a.add(&b).unwrap()).unwrap();
    let tail =
        squares.iter().map(|s| s.reduce(accelerant::export::Reduction::Min, &[0, 1]).unwrap());
    let tail = tail.reduce(|a, b| a.add(&b).unwrap()).unwrap();
    graph.output("y", &last.add(&tail).unwrap()).unwrap();
    graph.finish().unwrap()
}

#[test]
fn values_that_are_too_much_together_are_refused_before_anything_is_built() {
    // 2 GiB each, and four at a time.
    let model = squares(Dim::from(23170), 4);
    for backend in backends() {
        let error = InferenceModule::compile(&model, &options(&backend)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{}: {error}", backend.kind());
        let text = error.to_string();
        assert!(text.contains("square_") && text.contains("memory_limit"), "{text}");
        // The caller may allow it.
        let options = options(&backend).memory_limit(u64::MAX);
        InferenceModule::compile(&model, &options).unwrap();
    }
}

#[test]
fn sizes_of_a_run_that_are_too_much_are_an_error_of_the_run() {
    let model = squares(Dim::dynamic("n", 1..=1 << 20).unwrap(), 3);
    for backend in backends() {
        let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
        let engine = InferenceModule::from_engine(module.engine().clone(), &options(&backend));
        for module in [module, engine.unwrap()] {
            module.run(&[ones(3)]).unwrap();
            for n in [1 << 15, (1 << 15) + 5, 1 << 20] {
                let error = module.run(&[ones(n)]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Execution, "{}: {error}", backend.kind());
                assert!(error.to_string().contains("memory_limit"), "{error}");
            }
            for n in [1, 2, 3, 900, 1000] {
                module.run(&[ones(n)]).unwrap();
            }
        }
        let small = options(&backend).memory_limit(6 << 20);
        let module = InferenceModule::compile(&model, &small).unwrap();
        module.run(&[ones(300)]).unwrap();
        // Between two powers of 2, of which the upper is too much.
        module.run(&[ones(550)]).unwrap();
        assert_eq!(module.run(&[ones(900)]).unwrap_err().kind(), ErrorKind::Execution);
    }
}

#[test]
fn what_only_the_run_shows_is_counted_during_the_run() {
    for backend in backends() {
        counted(&backend);
    }
}

fn counted(backend: &Arc<dyn Backend>) {
    let graph = GraphBuilder::new("chosen");
    let x = graph.input("x", DType::F32, [4096]).unwrap();
    // Nothing tells before how many there are.
    let places = graph
        .node("NonZero")
        .input(&x)
        .outputs([(DType::I64, [Dim::from(1), Dim::dynamic("k", 0..=4096).unwrap()].into())])
        .build()
        .unwrap();
    let floats = places.cast(DType::F32).unwrap();
    let across = floats.transpose(&[1, 0]).unwrap();
    let square = floats.mul(&across).unwrap();
    let y = square.reduce(accelerant::export::Reduction::Max, &[0, 1]).unwrap();
    graph.output("y", &y).unwrap();
    let model = graph.finish().unwrap();
    let options = options(backend).memory_limit(1 << 20);
    let module = InferenceModule::compile(&model, &options).unwrap();
    let engine = InferenceModule::from_engine(module.engine().clone(), &options).unwrap();
    let chosen = |count: usize| {
        let values = (0..4096).map(|i| if i < count { 1.0f32 } else { 0.0 });
        HostTensor::from_vec([4096], values.collect::<Vec<_>>()).unwrap()
    };
    for module in [module, engine] {
        let few = module.run(&[chosen(300)]).unwrap();
        assert_eq!(few[0].to_vec::<f32>().unwrap(), [299.0 * 299.0]);
        let error = module.run(&[chosen(1500)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Execution, "{error}");
        assert!(error.to_string().contains("memory_limit"), "{error}");
        let named = error.operation().is_some_and(|node| node.starts_with("Mul"));
        assert!(named || backend.kind().name() == "tract", "{error}");
        assert_eq!(module.run(&[chosen(300)]).unwrap()[0].bytes(), few[0].bytes());
    }
}

/// Without a word of the caller's, on ONNX Runtime: 24 GB by a request of 16 bytes.
#[test]
#[cfg(feature = "ort")]
fn sizes_that_the_graph_computes_have_a_bound_by_default() {
    let backends = backends();
    let Some(backend) = backends.iter().find(|backend| backend.kind().name() == "ort") else {
        return;
    };
    for operator in ["ConstantOfShape", "Expand", "Tile", "Range"] {
        let graph = GraphBuilder::new("computed");
        let k = |most: usize| Dim::dynamic("k", 0..=most).unwrap();
        let x = graph.input("x", DType::F32, [4]).unwrap();
        let places = graph.node("NonZero").input(&x);
        let places = places.outputs([(DType::I64, [Dim::from(1), k(4)].into())]).build().unwrap();
        let integers = |values: Vec<i64>| {
            graph.constant("c", HostTensor::from_vec([values.len()], values).unwrap())
        };
        let count =
            graph.node("Shape").input(&places).outputs([(DType::I64, [Dim::from(2)].into())]);
        let count = count.build().unwrap().gather(&integers(vec![1]), 0).unwrap();
        let sizes = count.mul(&integers(vec![1_500_000_000])).unwrap();
        let one = graph.weight("one", HostTensor::from_vec([1], vec![1.0f32]).unwrap()).unwrap();
        let scalar = |value: i64| graph.constant("c", HostTensor::scalar(value));
        let node = graph.node(operator).name("bomb");
        let node = match operator {
            "ConstantOfShape" => node.input(&sizes),
            "Range" => {
                let end = sizes.squeeze(&[0]).unwrap();
                node.input(&scalar(0)).input(&end).input(&scalar(1))
            }
            _ => node.input(&one).input(&sizes),
        };
        let dtype = if operator == "Range" { DType::I64 } else { DType::F32 };
        let made = node.outputs([(dtype, [k((1 << 31) - 1)].into())]).build().unwrap();
        let most = made.cast(DType::F32).unwrap();
        let most = most.reduce_keepdim(accelerant::export::Reduction::Max, &[0]).unwrap();
        graph.output("y", &most).unwrap();
        let module = InferenceModule::compile(&graph.finish().unwrap(), &options(backend)).unwrap();
        let error = module.run(&[ones(4).reshape([4]).unwrap()]).unwrap_err();
        println!("{operator}: {error}");
        assert_eq!(error.kind(), ErrorKind::Execution, "{operator}: {error}");
        assert!(error.to_string().contains("bomb"), "{operator}: {error}");
    }
}

#[test]
fn sizes_that_a_request_states_are_refused_before_memory_is_taken() {
    for backend in backends() {
        stated_sizes(&backend);
    }
}

fn stated_sizes(backend: &Arc<dyn Backend>) {
    let kind = backend.kind();
    let k = || Dim::dynamic("k", 1..=(1 << 31) - 1).unwrap();
    for operator in ["ConstantOfShape", "Expand", "Tile", "Range"] {
        let graph = GraphBuilder::new("stated");
        let sizes = match operator {
            "Range" => graph.input("n", DType::I64, [0usize; 0]).unwrap(),
            _ => graph.input("n", DType::I64, [1]).unwrap(),
        };
        let x = || graph.weight("x", HostTensor::from_vec([1], vec![1.0f32]).unwrap()).unwrap();
        let scalar = |value: i64| graph.constant("c", HostTensor::scalar(value));
        let node = graph.node(operator);
        let node = match operator {
            "ConstantOfShape" => node.input(&sizes),
            "Range" => node.input(&scalar(0)).input(&sizes).input(&scalar(1)),
            _ => node.input(&x()).input(&sizes),
        };
        let dtype = if operator == "Range" { DType::I64 } else { DType::F32 };
        let made = node.outputs([(dtype, [k()].into())]).build().unwrap();
        let made = made.cast(DType::F32).unwrap();
        graph
            .output("y", &made.reduce_keepdim(accelerant::export::Reduction::Max, &[0]).unwrap())
            .unwrap();
        let model = graph.finish().unwrap();
        let module = match InferenceModule::compile(&model, &options(backend)) {
            Ok(module) => module,
            Err(error) => {
                println!("{kind}, {operator}: {error}");
                continue;
            }
        };
        let of = |n: i64| match operator {
            "Range" => HostTensor::scalar(n),
            _ => HostTensor::from_vec([1], vec![n]).unwrap(),
        };
        module.run(&[of(5)]).unwrap();
        for n in [1 << 31, 1 << 40, 1 << 62, i64::MAX] {
            let error = module.run(&[of(n)]).unwrap_err();
            println!("{kind}, {operator} of {n}: {error}");
            assert_eq!(error.kind(), ErrorKind::Execution, "{operator} of {n}: {error}");
        }
        module.run(&[of(6)]).unwrap();
    }
}
