//! What a device has room for: memory told before it is taken, shared, refused, and given back.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use accelerant::Registry;
use accelerant::backend::Backend;
use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::cuda::CudaRead;
use accelerant::cuda::cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{
    BackendKind, DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
};
use ndarray::Array2;

use crate::common::new_stream;
use crate::{
    CLASSES, FEATURES, LARGEST, Layer, alone, check, context, gpu, module, module_with, numbers,
    shared,
};

#[test]
fn memory_is_told_and_limited() {
    if !gpu("memory_is_told_and_limited") {
        return;
    }
    let _shared = shared();
    let model = Layer::new(11).export();
    let module = module_with(&model, TensorRtOptions::default().max_contexts(3)).unwrap();
    let memory = module.cuda().unwrap().memory();
    println!("{memory:?}");
    let backend = TensorRt::rtx().with_options(TensorRtOptions::default().max_contexts(3));
    assert_eq!(backend.memory(module.engine()).unwrap(), memory, "known before there is a context");
    let of_rows = |width: usize| (LARGEST * width * 4) as u64;
    assert_eq!((memory.inputs, memory.outputs), (of_rows(FEATURES), of_rows(CLASSES)));
    assert_eq!(memory.contexts, 3);
    assert_eq!(memory.total(), memory.weights + 3 * memory.scratch);
    if memory.weights + memory.scratch > 0 {
        let least = memory.weights + memory.scratch;
        let limited = |bytes| module_with(&model, TensorRtOptions::default().memory_limit(bytes));
        let error = limited(least - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        let contexts = limited(least).unwrap().cuda().unwrap().memory().contexts;
        assert_eq!(contexts, if memory.scratch > 0 { 1 } else { 2 });
    }
}

/// Layers in a row, with values between them that must be kept somewhere.
fn deep(layers: &[Layer]) -> OnnxModel {
    let graph = GraphBuilder::for_target("deep", Target::tensorrt());
    let batch = Dim::dynamic("batch", 1..=LARGEST).unwrap();
    let mut x = graph.input("x", DType::F32, [batch, Dim::Fixed(FEATURES)]).unwrap();
    for (i, layer) in layers.iter().enumerate() {
        let weight = graph.weight(&format!("{i}.weight"), layer.weight.clone()).unwrap();
        let bias = graph.weight(&format!("{i}.bias"), layer.bias.clone()).unwrap();
        let y = x.linear(&weight, Some(&bias)).unwrap().relu().unwrap();
        x = y.softmax(-1).unwrap().add(&x).unwrap();
    }
    graph.output("y", &x).unwrap();
    graph.finish().unwrap()
}

/// Kernels for any size and for one size round differently.
fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(difference <= 1e-4 * largest, "{difference} of {largest}");
}

#[test]
fn contexts_share_their_scratch_memory() {
    if !gpu("contexts_share_their_scratch_memory") {
        return;
    }
    let _alone = alone();
    let layers: Vec<_> = (0..6).map(|i| Layer::new(50 + i)).collect();
    let model = deep(&layers);
    let own = module_with(&model, TensorRtOptions::default()).unwrap();
    for graph in [false, true] {
        let options = TensorRtOptions::default().max_contexts(4).cuda_graph(graph);
        let module = module_with(&model, options.shared_scratch(true)).unwrap();
        let memory = module.cuda().unwrap().memory();
        println!("{memory:?}");
        assert_eq!((memory.contexts, memory.total()), (4, memory.weights + memory.scratch));
        let streams: Vec<_> = (0..4).map(|_| new_stream(&context())).collect();
        thread::scope(|scope| {
            for (thread, stream) in streams.iter().enumerate() {
                let (module, own) = (&module, &own);
                scope.spawn(move || {
                    for i in 0..200 {
                        let rows = [LARGEST, 1 + thread][i / 50 % 2];
                        let x = numbers(rows * FEATURES, thread * 1000 + i);
                        let on_device = stream.clone_htod(&x).unwrap();
                        let inputs: &[(&dyn CudaRead, &[usize])] =
                            &[(&on_device, &[rows, FEATURES])];
                        let [y, expected] = [module, own].map(|module| {
                            let y = module.cuda().unwrap().run_alloc(stream, inputs).unwrap();
                            stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap()
                        });
                        assert_near(&y, &expected);
                    }
                });
            }
        });
        let counters = module.cuda().unwrap().counters();
        assert_eq!((counters.executions, counters.host_copies), (800, 0), "{counters:?}");
        // Host tensors take turns as well.
        let x = numbers(FEATURES, 3);
        let x = [Array2::from_shape_vec((1, FEATURES), x).unwrap().into()];
        let [y, expected] = [&module, &own].map(|module| module.run(&x).unwrap());
        assert_near(&y[0].to_vec().unwrap(), &expected[0].to_vec().unwrap());
    }
}

/// All memory of the device but what is left in small pieces, the smallest last.
fn hoard(stream: &Arc<CudaStream>) -> Vec<CudaSlice<u8>> {
    let mut hoard = Vec::new();
    let mut piece = 1usize << 34;
    while piece >= 1 << 10 {
        // SAFETY: never read.
        match unsafe { stream.alloc::<u8>(piece) } {
            Ok(memory) => hoard.push(memory),
            Err(_) => piece /= 2,
        }
    }
    hoard
}

#[test]
fn a_full_device_is_an_error_that_passes() {
    if !gpu("a_full_device_is_an_error_that_passes") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(12);
    let module = module(&layer);
    let context = context();
    let stream = new_stream(&context);
    check(&module, &layer, &stream, LARGEST, 12);
    let x = stream.clone_htod(&numbers(LARGEST * FEATURES, 12)).unwrap();
    stream.synchronize().unwrap();
    let hoard = hoard(&stream);
    let cuda = module.cuda().unwrap();
    let mut kept = Vec::new();
    let error = loop {
        match cuda.run_alloc(&stream, &[(&x, &[LARGEST, FEATURES])]) {
            Ok(outputs) => kept.push(outputs),
            Err(error) => break error,
        }
        assert!(kept.len() < 1 << 20, "the device does not become full");
    };
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Device, Some("y")), "{error}");
    drop((hoard, kept));
    stream.synchronize().unwrap();
    check(&module, &layer, &stream, LARGEST, 12);
}

/// Loading and running fail wherever the memory ends, in one place after the other as it is given back.
#[test]
fn modules_are_refused_until_the_device_has_room() {
    if !gpu("modules_are_refused_until_the_device_has_room") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(14);
    let engine = TensorRt::rtx().build(&layer.export()).unwrap();
    let stream = new_stream(&context());
    let mut hoard = hoard(&stream);
    let x = HostTensor::from_vec([3, FEATURES], numbers(3 * FEATURES, 14)).unwrap();
    let expected = layer.forward(&x.to_vec::<f32>().unwrap());
    let attempt = || {
        let options = OptimizeOptions::new()
            .registry(Registry::empty().with(TensorRt::rtx()))
            .require(BackendKind::TensorRtRtx);
        let module = InferenceModule::from_engine(engine.clone(), &options)?;
        module.run(std::slice::from_ref(&x))
    };
    let (mut refused, mut room) = (0, 0);
    loop {
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(attempt)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut done = true;
        for result in results {
            match result {
                Ok(y) => assert_eq!(y[0].to_vec::<f32>().unwrap(), expected),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Device, "{room} bytes: {error}");
                    (refused, done) = (refused + 1, false);
                }
            }
        }
        if done {
            break;
        }
        let wanted = room + (1 << 20);
        while room < wanted {
            room += hoard.pop().expect("room for a module").len();
        }
        stream.synchronize().unwrap();
    }
    assert!(refused > 0);
    eprintln!("{refused} refused, {room} bytes of room for three");
}

/// Free memory of the device, once all that is pending is over.
fn free_memory(context: &CudaContext) -> usize {
    context.synchronize().unwrap();
    context.mem_get_info().unwrap().0
}

#[test]
#[ignore = "takes minutes"]
fn long_building_and_dropping_a_thousand_times_keeps_the_memory() {
    if !gpu("long_building_and_dropping_a_thousand_times_keeps_the_memory") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(13);
    let backend = TensorRt::rtx();
    let engine = backend.build(&layer.export()).unwrap();
    let context = context();
    let stream = new_stream(&context);
    let mut settled = 0;
    for cycle in 0..1000 {
        let module = InferenceModule::from_engine(engine.clone(), &OptimizeOptions::new()).unwrap();
        check(&module, &layer, &stream, 1 + cycle % LARGEST, cycle);
        drop(module);
        let free = free_memory(&context);
        if cycle == 20 {
            settled = free;
        }
        if cycle % 100 == 0 {
            println!("cycle {cycle}: {free} bytes free");
        }
    }
    let lost = settled.saturating_sub(free_memory(&context));
    assert!(lost < 64 << 20, "{lost} bytes are lost after 1000 cycles");
}

#[test]
#[ignore = "takes minutes"]
fn long_a_million_forwards_keep_the_memory() {
    if !gpu("long_a_million_forwards_keep_the_memory") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(14);
    let module = module(&layer);
    let cuda = module.cuda().unwrap();
    let context = context();
    let stream = new_stream(&context);
    let x = stream.clone_htod(&numbers(4 * FEATURES, 14)).unwrap();
    let run = || cuda.run_alloc(&stream, &[(&x, &[4, FEATURES])]).unwrap();
    for _ in 0..1000 {
        drop(run());
    }
    let settled = free_memory(&context);
    let start = Instant::now();
    for i in 1..=1_000_000 {
        drop(run());
        if i % 10_000 == 0 {
            stream.synchronize().unwrap();
        }
    }
    stream.synchronize().unwrap();
    println!("{:.2} us a forward", start.elapsed().as_secs_f64());
    let lost = settled.saturating_sub(free_memory(&context));
    assert!(lost < 16 << 20, "{lost} bytes are lost after a million forwards");
    check(&module, &layer, &stream, 4, 14);
}
