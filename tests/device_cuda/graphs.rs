//! CUDA graphs, and the memory of outputs on which they depend. Those that capture run alone: meanwhile
//! CUDA refuses others who make a stream, and what they ask for ends the capture.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use accelerant::backend::tensorrt::TensorRtOptions;
use accelerant::cuda::CudaRead;

use crate::{CLASSES, FEATURES, Layer, alone, context, gpu, module, module_with, numbers, shared};

#[test]
fn graphs_give_the_same_results_at_any_address() {
    if !gpu("graphs_give_the_same_results_at_any_address") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(16);
    let module = module_with(&layer.export(), TensorRtOptions::default().cuda_graph(true)).unwrap();
    let cuda = module.cuda().unwrap();
    let context = context();
    let streams = [context.new_stream().unwrap(), context.default_stream()];
    for stream in &streams {
        // The same addresses with other values, as a replayed graph sees them.
        let mut x = stream.alloc_zeros::<f32>(8 * FEATURES).unwrap();
        let mut y = stream.alloc_zeros::<f32>(8 * CLASSES).unwrap();
        for seed in 0..20 {
            let values = numbers(8 * FEATURES, seed);
            stream.memcpy_htod(&values, &mut x).unwrap();
            cuda.run_on(stream, &[(&x, &[8, FEATURES])], &mut [&mut y]).unwrap();
            assert_eq!(stream.clone_dtoh(&y).unwrap(), layer.forward(&values), "seed {seed}");
        }
        // Other addresses, none of which is freed before the end, and other shapes.
        let mut kept = Vec::new();
        for i in 0..20 {
            let rows = [8, 3][i / 5 % 2];
            let values = numbers(rows * FEATURES, i);
            let x = stream.clone_htod(&values).unwrap();
            let y = cuda.run_alloc(stream, &[(&x, &[rows, FEATURES])]).unwrap();
            kept.push((x, y, layer.forward(&values)));
        }
        for (i, (_, y, expected)) in kept.iter().enumerate() {
            let got = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
            assert_eq!(&got, expected, "run {i}");
        }
    }
    let counters = cuda.counters();
    assert_eq!(counters.host_copies, 0);
    // On each stream: plainly, then captured, then the same graph again and again.
    let graphs = (counters.graph_launches, counters.graph_captures, counters.graph_refusals);
    assert_eq!(graphs, (38, 2, 0), "{counters:?}");
}

#[test]
fn outputs_come_back_to_addresses_that_were_captured() {
    if !gpu("outputs_come_back_to_addresses_that_were_captured") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(18);
    let module = module_with(&layer.export(), TensorRtOptions::default().cuda_graph(true)).unwrap();
    let cuda = module.cuda().unwrap();
    let stream = context().new_stream().unwrap();
    let values = numbers(8 * FEATURES, 18);
    let x = stream.clone_htod(&values).unwrap();
    let (mut last, mut other) = (Vec::new(), Vec::new());
    for i in 0..50 {
        // The output before is still there, and other memory comes and goes.
        let y = cuda.run_alloc(&stream, &[(&x, &[8, FEATURES])]).unwrap();
        other.push(stream.alloc_zeros::<f32>(1000 * (1 + i % 7)).unwrap());
        other.truncate(i % 5);
        if i % 10 == 0 {
            stream.synchronize().unwrap();
        }
        let got = stream.clone_dtoh(&y[0].view::<f32>().unwrap()).unwrap();
        assert_eq!(got, layer.forward(&values), "run {i}");
        last = y;
    }
    drop(last);
    let counters = cuda.counters();
    assert!(counters.graph_launches >= 45, "{counters:?}");
    assert!(counters.graph_captures <= 4, "{counters:?}");
}

/// More threads than contexts, which come and go with their streams: addresses and streams of a
/// context change from one call to the next.
#[test]
fn threads_share_graphs() {
    if !gpu("threads_share_graphs") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(31);
    let module = module_with(&layer.export(), TensorRtOptions::default().cuda_graph(true)).unwrap();
    for round in 0..3 {
        for count in [2, 4, 8] {
            // Not while another thread captures: making a stream waits for the device.
            let streams: Vec<_> = (0..count).map(|_| context().new_stream().unwrap()).collect();
            thread::scope(|scope| {
                for (thread, stream) in streams.iter().enumerate() {
                    let (module, layer) = (&module, &layer);
                    scope.spawn(move || {
                        let values = numbers(4 * FEATURES, 8 * round + thread);
                        let x = stream.clone_htod(&values).unwrap();
                        let cuda = module.cuda().unwrap();
                        let mut y = None;
                        for _ in 0..2000 {
                            y = Some(cuda.run_alloc(stream, &[(&x, &[4, FEATURES])]).unwrap());
                        }
                        let y = y.unwrap()[0].view::<f32>().map(|y| stream.clone_dtoh(&y)).unwrap();
                        assert_eq!(y.unwrap(), layer.forward(&values));
                    });
                }
            });
        }
    }
    let counters = module.cuda().unwrap().counters();
    assert!(counters.graph_launches > 1000, "{counters:?}");
    assert_eq!(counters.graph_refusals, 0, "{counters:?}");
}

#[test]
fn captures_that_others_break_are_tried_again() {
    if !gpu("captures_that_others_break_are_tried_again") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(33);
    let module = module_with(&layer.export(), TensorRtOptions::default().cuda_graph(true)).unwrap();
    let cuda = module.cuda().unwrap();
    let context = context();
    let stream = context.new_stream().unwrap();
    let values = numbers(4 * FEATURES, 33);
    let x = stream.clone_htod(&values).unwrap();
    let run = || {
        let y = cuda.run_alloc(&stream, &[(&x, &[4, FEATURES])]).unwrap();
        let y = y[0].view::<f32>().map(|y| stream.clone_dtoh(&y)).unwrap();
        assert_eq!(y.unwrap(), layer.forward(&values));
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut refused = 0;
            while !done.load(Ordering::Relaxed) {
                refused += u32::from(context.synchronize().is_err());
            }
            refused
        });
        (0..200).for_each(|_| run());
        done.store(true, Ordering::Relaxed);
        eprintln!("{} waits refused, {:?}", waits.join().unwrap(), cuda.counters());
    });
    // The longest pause that there may be by now is over.
    (0..600).for_each(|_| run());
    let counters = cuda.counters();
    assert!(counters.graph_captures > 0 && counters.graph_launches > 80, "{counters:?}");
}

#[test]
fn outputs_outlive_their_module_and_its_successors() {
    if !gpu("outputs_outlive_their_module_and_its_successors") {
        return;
    }
    let _shared = shared();
    let stream = context().new_stream().unwrap();
    let x = numbers(4 * FEATURES, 1);
    let on_device = stream.clone_htod(&x).unwrap();
    let mut kept = Vec::new();
    for seed in 0..6 {
        let layer = Layer::new(40 + seed);
        let module = module(&layer);
        for _ in 0..3 {
            let inputs: &[(&dyn CudaRead, &[usize])] = &[(&on_device, &[4, FEATURES])];
            kept.push((
                layer.forward(&x),
                module.cuda().unwrap().run_alloc(&stream, inputs).unwrap(),
            ));
        }
        drop(module);
        // One of each is left for later.
        for (expected, y) in kept.drain(seed..) {
            let y = y[0].view::<f32>().map(|y| stream.clone_dtoh(&y)).unwrap().unwrap();
            assert_eq!(y, expected);
        }
        let module = module_with(&layer.export(), TensorRtOptions::default()).unwrap();
        let inputs: &[(&dyn CudaRead, &[usize])] = &[(&on_device, &[4, FEATURES])];
        kept.push((layer.forward(&x), module.cuda().unwrap().run_alloc(&stream, inputs).unwrap()));
    }
    for (expected, y) in kept {
        let y = y[0].view::<f32>().map(|y| stream.clone_dtoh(&y)).unwrap().unwrap();
        assert_eq!(y, expected);
    }
}
