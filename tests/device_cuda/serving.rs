//! Many callers and several devices: background runs, batches and replicas on TensorRT.

use std::thread;
use std::time::Duration;

use accelerant::cuda::cudarc::driver::CudaContext;
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{ErrorKind, HostTensor, InferenceModule};

use crate::{
    CLASSES, FEATURES, LARGEST, Layer, check, context, gpu, module, new_stream, numbers, shared,
};

fn input(rows: usize, seed: usize) -> HostTensor {
    HostTensor::from_vec([rows, FEATURES], numbers(rows * FEATURES, seed)).unwrap()
}

fn assert_layer(layer: &Layer, x: &HostTensor, outputs: &[HostTensor]) {
    assert_eq!(outputs[0].shape(), [x.shape()[0], CLASSES]);
    assert_eq!(outputs[0].to_vec::<f32>().unwrap(), layer.forward(&x.to_vec::<f32>().unwrap()));
}

#[test]
fn background_runs_share_the_contexts() {
    if !gpu("background_runs_share_the_contexts") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(21);
    let module = module(&layer);
    let inputs: Vec<_> = (0..64).map(|i| input(1 + i % LARGEST, i)).collect();
    let submit = |x| module.submit(std::slice::from_ref(x)).unwrap();
    let handles: Vec<_> = inputs.iter().map(submit).collect();
    for (x, handle) in inputs.iter().zip(handles) {
        assert_layer(&layer, x, &handle.wait().unwrap());
    }
    let contexts = module.cuda().unwrap().memory().contexts as u64;
    let counters = module.cuda().unwrap().counters();
    assert_eq!(counters.executions, 64);
    assert!(counters.contexts <= contexts, "{counters:?}");
}

#[test]
fn batches_of_many_threads_equal_single_runs() {
    if !gpu("batches_of_many_threads_equal_single_runs") {
        return;
    }
    let _shared = shared();
    let layer = &Layer::new(22);
    let options = BatcherOptions::new().max_delay(Duration::from_millis(2));
    let batcher = Batcher::new(module(layer), &options).unwrap();
    thread::scope(|scope| {
        for caller in 0..16 {
            let batcher = batcher.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let x = input(1 + (caller + i) % 3, caller * 100 + i);
                    assert_layer(layer, &x, &batcher.run(std::slice::from_ref(&x)).unwrap());
                }
            });
        }
    });
    let counters = batcher.counters();
    assert_eq!(counters.requests, 800);
    assert!(counters.batches < 400, "{counters:?}");
}

#[test]
fn one_device_twice_is_one_engine() {
    if !gpu("one_device_twice_is_one_engine") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(23);
    let module = module(&layer);
    let same = module.on_devices(&[0]).unwrap();
    let stream = new_stream(&context());
    check(&same, &layer, &stream, 3, 1);
    assert_eq!(module.cuda().unwrap().counters().executions, 1, "it is the same executable");
    drop(module);
    check(&same, &layer, &stream, 4, 2);
    let missing = same.cuda_on(77).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Device);
    assert!(missing.to_string().contains("device 77, the engine is on 0"), "{missing}");
    let missing = same.on_devices(&[0, 77]).unwrap_err();
    assert_eq!((missing.kind(), missing.operation()), (ErrorKind::Device, Some("replicas")));
}

/// A replica on every device, where there are several.
fn replicas(test: &str, layer: &Layer) -> Option<InferenceModule> {
    if !gpu(test) {
        return None;
    }
    let count = CudaContext::device_count().unwrap();
    if count < 2 {
        eprintln!("{test}: skipped, there is one GPU");
        return None;
    }
    let module = module(layer).on_all_devices().unwrap();
    assert!(module.device_on(count as usize - 1).is_some());
    Some(module)
}

#[test]
fn tensors_run_on_the_device_where_they_are() {
    let layer = Layer::new(24);
    let _shared = shared();
    let Some(module) = replicas("tensors_run_on_the_device_where_they_are", &layer) else { return };
    // In turn, from one thread.
    for round in 0..20 {
        for ordinal in [0, 1] {
            let stream = new_stream(&CudaContext::new(ordinal).unwrap());
            let x = numbers(3 * FEATURES, round);
            let on_device = stream.clone_htod(&x).unwrap();
            let cuda = module.cuda_on(ordinal).unwrap();
            assert_eq!(cuda.ordinal(), ordinal);
            let y = cuda.run_alloc(&stream, &[(&on_device, &[3, FEATURES])]).unwrap();
            let y = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
            assert_eq!(y, layer.forward(&x));
        }
    }
    let stream = new_stream(&CudaContext::new(1).unwrap());
    let elsewhere = stream.clone_htod(&numbers(FEATURES, 0)).unwrap();
    let first = module.cuda_on(0).unwrap();
    let error = first.run_alloc(&stream, &[(&elsewhere, &[1, FEATURES])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
}

#[test]
fn host_tensors_run_on_all_devices() {
    let layer = Layer::new(25);
    let _shared = shared();
    let Some(module) = replicas("host_tensors_run_on_all_devices", &layer) else { return };
    let inputs: Vec<_> = (0..400).map(|i| input(1 + i % LARGEST, i)).collect();
    let submit = |x| module.submit(std::slice::from_ref(x)).unwrap();
    let handles: Vec<_> = inputs.iter().map(submit).collect();
    for (x, handle) in inputs.iter().zip(handles) {
        assert_layer(&layer, x, &handle.wait().unwrap());
    }
    let runs = |ordinal| module.cuda_on(ordinal).unwrap().counters().executions;
    assert!(runs(0) > 0 && runs(1) > 0 && runs(0) + runs(1) <= 400);
}
