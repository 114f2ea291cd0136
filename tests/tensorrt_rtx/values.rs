//! Inputs whose values decide shapes: what TensorRT wants to know of them before, and that each run
//! follows the values it is given. And outputs whose shape is computed.

use accelerant::Registry;
use accelerant::backend::tensorrt::{Profiles, TensorRt};
use accelerant::backend::{Backend, Executable};
use accelerant::cuda::cudarc::driver::CudaContext;
use accelerant::export::{GraphBuilder, OnnxModel, Target, Value};
use accelerant::{
    BackendKind, DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Result, Shape,
};
use ndarray::{Array1, Array2, ArrayD, Axis};

#[cfg(feature = "ort")]
use super::common;
use super::common::new_stream;
use super::{FEATURES, batch, exact, gpu, input, noise};

const MOST: usize = 8;

fn any<const N: usize>(names: [&'static str; N]) -> Shape {
    let most = MOST * FEATURES;
    Shape::from(names.map(|name| Dim::dynamic(name, 1..=most).unwrap()))
}

/// `y = reshape(relu(x), sizes)`.
fn reshaped(dtype: DType) -> OnnxModel {
    let graph = GraphBuilder::for_target("reshaped", Target::tensorrt());
    let x = graph.input("x", DType::F32, [batch(1, MOST), FEATURES.into()]).unwrap();
    let sizes = graph.input("sizes", dtype, [2usize]).unwrap();
    let sizes = sizes.cast(DType::I64).unwrap();
    let reshape = graph.node("Reshape").input(&x.relu().unwrap()).input(&sizes);
    let y = reshape.outputs([(DType::F32, any(["rows", "columns"]))]).build().unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

/// The largest `k` of each row, and where they are.
fn largest() -> OnnxModel {
    let graph = GraphBuilder::for_target("largest", Target::tensorrt());
    let rows = batch(1, MOST);
    let x = graph.input("x", DType::F32, [rows.clone(), FEATURES.into()]).unwrap();
    let k = graph.input("k", DType::I64, [1usize]).unwrap();
    let found = Shape::from([rows, Dim::dynamic("k", 1..=FEATURES).unwrap()]);
    let node = graph.node("TopK").input(&x).input(&k).attr("axis", 1i64);
    let found = node.outputs([(DType::F32, found.clone()), (DType::I64, found)]);
    for (name, value) in ["values", "places"].into_iter().zip(found.build_all().unwrap()) {
        graph.output(name, &value).unwrap();
    }
    graph.finish().unwrap()
}

fn of_reshaped() -> Profiles {
    let most = (MOST * FEATURES) as i64;
    Profiles::new().values("sizes", [-1, -1], [FEATURES as i64, -1], [most, most])
}

fn of_largest() -> Profiles {
    Profiles::new().values("k", [1], [4], [FEATURES as i64])
}

fn with(profiles: Profiles) -> TensorRt {
    TensorRt::rtx().with_options(exact().profiles(profiles))
}

/// Different numbers in each row.
fn permuted(rows: usize, seed: u64) -> Array2<f32> {
    let mut values: Vec<f32> = (0..rows * FEATURES).map(|i| i as f32 / 8.0).collect();
    for (i, byte) in noise(values.len(), seed).into_iter().enumerate() {
        let other = usize::from(byte) % (i + 1);
        values.swap(i, other);
    }
    Array2::from_shape_vec((rows, FEATURES), values).unwrap()
}

fn assert_equal(got: &HostTensor, expected: ArrayD<f32>) {
    assert_eq!(got.to_array::<f32>().unwrap(), expected);
}

/// Runs with many sizes, forth and back, and with every number of largest values.
fn follows_values(reshape: &dyn Executable, top: &dyn Executable, integer: DType) {
    for i in 0..40u64 {
        let rows = 1 + i as usize % MOST;
        let x = input(rows, i);
        let columns = [1, 2, 16, 32][i as usize % 4];
        let sizes = [(rows * FEATURES / columns) as i64, columns as i64];
        let told = if i % 3 == 0 { [-1, sizes[1]] } else { sizes };
        let told = match integer {
            DType::I32 => Array1::from_vec(told.map(|size| size as i32).to_vec()).into(),
            _ => HostTensor::from(Array1::from_vec(told.to_vec())),
        };
        let y = reshape.run(&[x.clone().into(), told]).unwrap();
        let expected = x.mapv(|v| v.max(0.0)).into_shape_with_order(sizes.map(|s| s as usize));
        assert_equal(&y[0], expected.unwrap().into_dyn());
    }
    for k in (1..=FEATURES).chain([3, 3, 5, 3]) {
        let x = permuted(3, k as u64);
        let y = top.run(&[x.clone().into(), Array1::from_vec(vec![k as i64]).into()]).unwrap();
        let mut sorted = x.clone();
        for mut row in sorted.axis_iter_mut(Axis(0)) {
            row.as_slice_mut().unwrap().sort_by(|a, b| b.total_cmp(a));
        }
        let expected = sorted.slice_axis(Axis(1), (..k).into()).to_owned();
        assert_equal(&y[0], expected.clone().into_dyn());
        let places = y[1].to_array::<i64>().unwrap();
        assert_eq!(places.shape(), [3, k]);
        let found = places.indexed_iter().map(|(at, &place)| x[[at[0], place as usize]]);
        assert!(found.eq(expected.iter().copied()));
    }
}

/// A model on ONNX Runtime; none, and said so, where its library is not found.
#[cfg(feature = "ort")]
fn on_onnx_runtime(test: &str, model: &OnnxModel) -> Option<Box<dyn Executable>> {
    use accelerant::backend::ort::Ort;

    if let Err(reason) = Ort.probe() {
        common::skipped(test, reason);
        return None;
    }
    Some(Ort.load(&Ort.build(model).unwrap()).unwrap())
}

#[test]
#[cfg(feature = "ort")]
fn onnx_runtime_follows_values() {
    let load = |model: &OnnxModel| on_onnx_runtime("onnx_runtime_follows_values", model);
    if let (Some(reshape), Some(top)) = (load(&reshaped(DType::I32)), load(&largest())) {
        follows_values(&*reshape, &*top, DType::I32);
    }
}

#[test]
fn tensorrt_follows_values() {
    if !gpu("tensorrt_follows_values") {
        return;
    }
    for graph in [false, true] {
        for integer in [DType::I32, DType::I64] {
            let load = |model: &OnnxModel, profiles| {
                let options = exact().profiles(profiles).cuda_graph(graph);
                let backend = TensorRt::rtx().with_options(options);
                backend.load(&backend.build(model).unwrap()).unwrap()
            };
            let (reshape, top) =
                (load(&reshaped(integer), of_reshaped()), load(&largest(), of_largest()));
            follows_values(&*reshape, &*top, integer);
        }
    }
}

#[test]
fn values_in_device_memory_are_read() {
    if !gpu("values_in_device_memory_are_read") {
        return;
    }
    for graph in [false, true] {
        let options = exact().profiles(of_reshaped()).cuda_graph(graph);
        let options = OptimizeOptions::new()
            .registry(accelerant::Registry::empty().with(TensorRt::rtx().with_options(options)))
            .require(BackendKind::TensorRtRtx);
        let module = InferenceModule::compile(&reshaped(DType::I64), &options).unwrap();
        let cuda = module.cuda().unwrap();
        let context = CudaContext::new(0).unwrap();
        for stream in [new_stream(&context), context.default_stream()] {
            for (i, columns) in [4, 4, 4, 8, 4, 64, 4, 4].into_iter().enumerate() {
                let x = input(4, i as u64);
                let sizes = [(4 * FEATURES / columns) as i64, columns as i64];
                let on_device = stream.clone_htod(x.as_slice().unwrap()).unwrap();
                let told = stream.clone_htod(&sizes).unwrap();
                let y = cuda
                    .run_alloc(&stream, &[(&on_device, &[4, FEATURES]), (&told, &[2])])
                    .unwrap();
                assert_eq!(y[0].shape(), sizes.map(|size| size as usize));
                let y = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
                assert!(x.iter().map(|v| v.max(0.0)).eq(y), "run {i}");
            }
        }
        // Sizes alone do not tell the output's.
        let error = module.device().unwrap().output_shapes(&[&[4, FEATURES], &[2]]).unwrap_err();
        assert_eq!(
            (error.kind(), error.tensor()),
            (ErrorKind::UnsupportedOperation, Some("sizes"))
        );
        let counters = cuda.counters();
        assert_eq!((counters.host_copies, counters.executions), (16, 16), "{counters:?}");
    }
}

#[test]
fn values_choose_the_profile_and_those_outside_are_refused() {
    if !gpu("values_choose_the_profile_and_those_outside_are_refused") {
        return;
    }
    let few = Profiles::new().named("few").values("k", [1], [2], [4]);
    let profiles = few.another().named("many").values("k", [8], [8], [16]);
    let engine = with(profiles).build(&largest()).unwrap();
    let run = |executable: &dyn Executable, k: i64| -> Result<Vec<usize>> {
        let k = Array1::from_vec(vec![k]);
        Ok(executable.run(&[permuted(2, 1).into(), k.into()])?[0].shape().to_vec())
    };
    let all = TensorRt::rtx().with_options(exact()).load(&engine).unwrap();
    let many = TensorRt::rtx().with_options(exact().profile("many")).load(&engine).unwrap();
    for (k, of_all, of_many) in
        [(1, true, false), (4, true, false), (8, true, true), (16, true, true)]
    {
        for (executable, taken) in [(&all, of_all), (&many, of_many)] {
            match run(&**executable, k) {
                Ok(shape) => assert_eq!((shape, taken), (vec![2, k as usize], true)),
                Err(error) => assert_eq!((error.kind(), taken), (ErrorKind::OutOfProfile, false)),
            }
        }
    }
    for k in [0, 5, 17, -3, i64::MAX] {
        let error = run(&*all, k).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
        assert!(error.to_string().contains(&format!("[{k}] decide shapes")), "{error}");
    }
    assert_eq!(run(&*all, 3).unwrap(), [2, 3]);
}

#[test]
fn a_range_of_values_is_wanted_of_what_decides_and_of_nothing_else() {
    let refused = |profiles: Profiles, model: &OnnxModel| {
        let error = with(profiles).build(model).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        (error.tensor().unwrap_or_default().to_owned(), error.to_string())
    };
    let reshaped = reshaped(DType::I64);
    let (tensor, text) = refused(Profiles::new(), &reshaped);
    assert!(tensor == "sizes" && text.contains("Profiles::values"), "{text}");
    let (_, text) = refused(of_reshaped().another(), &reshaped);
    assert!(text.contains("Profiles::values"), "{text}");
    let three = Profiles::new().values("sizes", [1; 3], [1; 3], [9; 3]);
    let (tensor, text) = refused(three, &reshaped);
    assert!(tensor == "sizes" && text.contains("3 values"), "{text}");
    let (tensor, text) = refused(of_reshaped().values("x", [1], [1], [1]), &reshaped);
    assert!(tensor == "x" && text.contains("there are: sizes"), "{text}");
    let mlp = super::Mlp::new(1).export(batch(1, 8));
    let (tensor, text) = refused(of_largest(), &mlp);
    assert!(tensor == "k" && text.contains("no other"), "{text}");
    let error = with(Profiles::new().values("k", [2], [1], [3])).build(&mlp).unwrap_err();
    assert_eq!((error.tensor(), error.axis()), (Some("k"), Some(0)));
}

#[test]
fn samples_tell_the_values() {
    let model = reshaped(DType::I64);
    let sample = |rows: usize, columns: usize| {
        let sizes = Array1::from_vec(vec![(rows * FEATURES / columns) as i64, columns as i64]);
        [HostTensor::from(input(rows, 1)), sizes.into()]
    };
    let samples = [sample(2, 8), sample(4, 4), sample(2, 8)];
    let profiles = Profiles::from_inputs(model.signature(), &samples).unwrap();
    let text = format!("{profiles:?}");
    assert!(text.contains("min: [8, 4], opt: [8, 8], max: [32, 8]"), "{text}");
    let engine = with(profiles).build(&model).unwrap();
    let rows = &engine.signature().inputs[0].shape.dims()[0];
    assert_eq!([rows.min(), rows.opt(), rows.max()], [2, 2, 4]);
    // A few integers that decide nothing are no matter.
    let graph = GraphBuilder::for_target("sum", Target::tensorrt());
    let x = graph.input("x", DType::I64, [4usize]).unwrap();
    graph.output("y", &x.add(&x).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let samples = [[HostTensor::from(Array1::from_vec(vec![1i64, 2, 3, 4]))]];
    let profiles = Profiles::from_inputs(model.signature(), &samples).unwrap();
    with(profiles).build(&model).unwrap();
}

#[test]
fn what_tensorrt_cannot_take_shapes_from_is_refused() {
    let graph = GraphBuilder::for_target("long", Target::tensorrt());
    let x = graph.input("x", DType::I64, [65usize]).unwrap();
    count_to(&graph, &x);
    let error = with(Profiles::new()).build(&graph.finish().unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::UnsupportedOperation, Some("x")));
    assert!(error.to_string().contains("up to 64 integers"), "{error}");
}

/// `y = 0, 1, …` as far as the largest of `x`.
fn count_to(graph: &GraphBuilder, x: &Value) {
    let number = |name, number: i64| graph.constant(name, HostTensor::scalar(number));
    let end = graph.node("ReduceMax").input(x).attr("keepdims", 0i64);
    let end = end.outputs([(DType::I64, Shape::from([0usize; 0]))]).build().unwrap();
    let range = graph.node("Range").input(&number("zero", 0)).input(&end).input(&number("one", 1));
    let y = range.outputs([(DType::I64, any(["length"]))]).build().unwrap();
    graph.output("y", &y).unwrap();
}

/// The shape of `y` is computed from the values of `x`, that of `z` is not.
fn computed() -> OnnxModel {
    let graph = GraphBuilder::for_target("computed", Target::tensorrt());
    let x = graph.input("x", DType::I64, [batch(1, MOST)]).unwrap();
    count_to(&graph, &x);
    graph.output("z", &x.add(&x).unwrap()).unwrap();
    graph.finish().unwrap()
}

/// Numbers, of which the largest are these.
fn numbers_up_to(most: i64) -> Vec<i64> {
    (0..1 + most % MOST as i64).map(|i| most - i * 3).collect()
}

const LENGTHS: [i64; 9] = [3, 200, 7, 0, 256, 1, 0, 255, 3];

fn computes_shapes(executable: &dyn Executable) {
    for most in LENGTHS {
        let x = Array1::from_vec(numbers_up_to(most));
        let outputs = executable.run(&[x.clone().into()]).unwrap();
        assert_eq!(outputs[0].to_vec::<i64>().unwrap(), (0..most).collect::<Vec<_>>());
        assert_eq!(outputs[0].shape(), [most as usize]);
        assert_eq!(outputs[1].to_array::<i64>().unwrap(), (&x + &x).into_dyn());
    }
}

#[test]
#[cfg(feature = "ort")]
fn onnx_runtime_computes_shapes() {
    if let Some(executable) = on_onnx_runtime("onnx_runtime_computes_shapes", &computed()) {
        computes_shapes(&*executable);
    }
}

#[test]
fn tensorrt_computes_shapes() {
    if !gpu("tensorrt_computes_shapes") {
        return;
    }
    for graph in [false, true] {
        let backend = TensorRt::rtx().with_options(exact().cuda_graph(graph));
        computes_shapes(&*backend.load(&backend.build(&computed()).unwrap()).unwrap());
    }
}

#[test]
fn shapes_are_computed_in_every_profile() {
    if !gpu("shapes_are_computed_in_every_profile") {
        return;
    }
    let profiles = Profiles::new().range("batch", 1, 2, 3);
    let backend = with(profiles.another().range("batch", 4, 8, 8));
    computes_shapes(&*backend.load(&backend.build(&computed()).unwrap()).unwrap());
}

#[test]
fn shapes_are_computed_on_the_device() {
    if !gpu("shapes_are_computed_on_the_device") {
        return;
    }
    let options = OptimizeOptions::new()
        .registry(Registry::empty().with(TensorRt::rtx().with_options(exact().cuda_graph(true))))
        .require(BackendKind::TensorRtRtx);
    let module = InferenceModule::compile(&computed(), &options).unwrap();
    let cuda = module.cuda().unwrap();
    let context = CudaContext::new(0).unwrap();
    let streams = [new_stream(&context), context.default_stream()];
    let mut kept = Vec::new();
    for stream in &streams {
        for most in LENGTHS {
            let x = numbers_up_to(most);
            let on_device = stream.clone_htod(&x).unwrap();
            let outputs = cuda.run_alloc(stream, &[(&on_device, &[x.len()])]).unwrap();
            assert_eq!(outputs[0].shape(), [most as usize]);
            kept.push((stream, x, outputs));
        }
    }
    for (stream, x, outputs) in &kept {
        let values = |i: usize| outputs[i].view::<i64>().map(|y| stream.clone_dtoh(&y).unwrap());
        if let Some(most) = x.iter().max().filter(|&&most| most > 0) {
            assert_eq!(values(0).unwrap(), (0..*most).collect::<Vec<_>>());
        }
        assert_eq!(values(1).unwrap(), x.iter().map(|x| 2 * x).collect::<Vec<_>>());
    }
    let counters = cuda.counters();
    assert_eq!((counters.host_copies, counters.graph_captures), (0, 0), "{counters:?}");
    // Memory of the caller must have just the size that was computed.
    let (stream, x) = (&streams[0], [5i64]);
    let on_device = stream.clone_htod(&x).unwrap();
    let mut z = stream.alloc_zeros::<i64>(1).unwrap();
    for (length, fits) in [(5, true), (6, false), (5, true)] {
        let mut y = stream.alloc_zeros::<i64>(length).unwrap();
        let run = cuda.run_on(stream, &[(&on_device, &[1])], &mut [&mut y, &mut z]);
        match run {
            Ok(()) => {
                assert_eq!((stream.clone_dtoh(&y).unwrap(), fits), (vec![0, 1, 2, 3, 4], true))
            }
            Err(error) => {
                let (kind, tensor) = (error.kind(), error.tensor());
                assert_eq!((kind, tensor, fits), (ErrorKind::ShapeMismatch, Some("y"), false));
            }
        }
    }
    let error = cuda.output_shapes(&[&[1]]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::UnsupportedOperation, Some("y")));
}
