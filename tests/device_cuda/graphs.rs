//! CUDA graphs, and the memory of outputs on which they depend. Tests that count captures run alone, since nothing is
//! captured while another test loads an engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use accelerant::backend::tensorrt::TensorRtOptions;
use accelerant::cuda::CudaRead;
use accelerant::{ErrorKind, HostTensor};

use crate::{
    CLASSES, FEATURES, LARGEST, Layer, alone, context, gpu, module, module_with, new_stream,
    numbers, shared,
};

#[test]
fn graphs_give_the_same_results_at_any_address() {
    if !gpu("graphs_give_the_same_results_at_any_address") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(16);
    let options = TensorRtOptions::default().cuda_graph(true).kernel_overlap(true);
    let module = module_with(&layer.export(), options).unwrap();
    let cuda = module.cuda().unwrap();
    let context = context();
    let streams = [new_stream(&context), context.default_stream()];
    // Nothing is freed before the end, so that no address comes back that is not meant to.
    let (mut kept, mut written) = (Vec::new(), Vec::new());
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
        written.push((x, y));
        // Other addresses, and other shapes.
        for i in 0..20 {
            let rows = [8, 3][i / 5 % 2];
            let values = numbers(rows * FEATURES, i);
            let x = stream.clone_htod(&values).unwrap();
            let y = cuda.run_alloc(stream, &[(&x, &[rows, FEATURES])]).unwrap();
            kept.push((x, y, layer.forward(&values)));
        }
        for (i, (_, y, expected)) in kept[kept.len() - 20..].iter().enumerate() {
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
    let stream = new_stream(&context());
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
            thread::scope(|scope| {
                for thread in 0..count {
                    let (module, layer) = (&module, &layer);
                    scope.spawn(move || {
                        let stream = &new_stream(&context());
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

/// Tells threads that it is over, also after a panic.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Threads that wait for the whole device, again and again, neither break a capture nor are refused.
#[test]
fn captures_and_waits_for_the_device_leave_each_other_alone() {
    if !gpu("captures_and_waits_for_the_device_leave_each_other_alone") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(33);
    for overlap in [true, false] {
        let options = TensorRtOptions::default().cuda_graph(true).kernel_overlap(overlap);
        let module = module_with(&layer.export(), options.isolated_captures(true)).unwrap();
        let cuda = module.cuda().unwrap();
        let context = context();
        let stream = new_stream(&context);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        context.synchronize().unwrap();
                        drop(crate::context().new_stream().unwrap());
                    }
                });
            }
            let _told = Told(&done);
            for i in 0..400 {
                // Other sizes forget the graphs of a context, so that there are captures all the time.
                let rows = 1 + i / 4 % 5;
                let values = numbers(rows * FEATURES, i);
                let x = stream.clone_htod(&values).unwrap();
                let y = cuda.run_alloc(&stream, &[(&x, &[rows, FEATURES])]).unwrap();
                let y = y[0].view::<f32>().map(|y| stream.clone_dtoh(&y)).unwrap();
                assert_eq!(y.unwrap(), layer.forward(&values), "run {i}");
            }
        });
        let counters = cuda.counters();
        assert!(counters.graph_captures > 20, "{counters:?}");
        assert_eq!(counters.graph_refusals, 0, "{counters:?}");
    }
}

/// Without overlap everything is a graph, from the first execution on: that one on memory of the context's own.
#[test]
fn kernels_that_must_not_overlap_are_captured_at_once() {
    if !gpu("kernels_that_must_not_overlap_are_captured_at_once") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(35);
    let options = TensorRtOptions::default().kernel_overlap(false);
    let module = module_with(&layer.export(), options).unwrap();
    let cuda = module.cuda().unwrap();
    let context = context();
    for (i, stream) in [new_stream(&context), context.default_stream()].iter().enumerate() {
        let mut y = stream.alloc_zeros::<f32>(8 * CLASSES).unwrap();
        for rows in [8, 3, 8] {
            let mut x = stream.alloc_zeros::<f32>(rows * FEATURES).unwrap();
            for seed in 0..5 {
                let values = numbers(rows * FEATURES, seed);
                stream.memcpy_htod(&values, &mut x).unwrap();
                let mut y = y.slice_mut(..rows * CLASSES);
                cuda.run_on(stream, &[(&x, &[rows, FEATURES])], &mut [&mut y]).unwrap();
                assert_eq!(stream.clone_dtoh(&y).unwrap(), layer.forward(&values), "seed {seed}");
            }
        }
        let counters = cuda.counters();
        let runs = 15 * (i as u64 + 1);
        assert_eq!((counters.executions, counters.graph_launches), (runs, runs), "{counters:?}");
        assert_eq!((counters.host_copies, counters.graph_refusals), (0, 0), "{counters:?}");
    }
    // For each context one graph on its own memory, and one for each pair of addresses that came back.
    let counters = cuda.counters();
    assert!(counters.graph_captures <= 2 + 6 && counters.staged <= 6, "{counters:?}");
    assert_eq!(counters.device_copies, 0, "{counters:?}");
}

/// As long as there are as many contexts as sizes, each size has one, and its graphs.
#[test]
fn sizes_in_turn_keep_their_graphs() {
    if !gpu("sizes_in_turn_keep_their_graphs") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(36);
    let stream = new_stream(&context());
    let sizes = [8, 3];
    let xs = sizes.map(|rows| numbers(rows * FEATURES, rows));
    let on_device = [0, 1].map(|i| stream.clone_htod(&xs[i]).unwrap());
    let mut ys = sizes.map(|rows| stream.alloc_zeros::<f32>(rows * CLASSES).unwrap());
    let too_many = stream.alloc_zeros::<f32>((LARGEST + 1) * FEATURES).unwrap();
    for overlap in [false, true] {
        let options = || TensorRtOptions::default().cuda_graph(true).kernel_overlap(overlap);
        let module = module_with(&layer.export(), options().max_contexts(3)).unwrap();
        let cuda = module.cuda().unwrap();
        for _ in 0..20 {
            for (i, rows) in sizes.into_iter().enumerate() {
                let inputs: &[(&dyn CudaRead, &[usize])] = &[(&on_device[i], &[rows, FEATURES])];
                cuda.run_on(&stream, inputs, &mut [&mut ys[i]]).unwrap();
                assert_eq!(stream.clone_dtoh(&ys[i]).unwrap(), layer.forward(&xs[i]));
                // What is refused is forgotten, and costs nothing.
                let inputs: &[(&dyn CudaRead, &[usize])] = &[(&too_many, &[LARGEST + 1, FEATURES])];
                let error = cuda.run_on(&stream, inputs, &mut [&mut ys[i]]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
            }
        }
        let counters = cuda.counters();
        assert_eq!((counters.contexts, counters.reshapes), (2, 2), "{counters:?}");
        // Where kernels may overlap, the first at new addresses are plain. Else they are on memory of the context's own.
        let (launches, captures) = if overlap { (38, 2) } else { (40, 4) };
        let graphs = (counters.graph_launches, counters.graph_captures, counters.graph_refusals);
        assert_eq!(graphs, (launches, captures, 0), "{counters:?}");
        // So do sizes of host tensors.
        let module = module_with(&layer.export(), options()).unwrap();
        for _ in 0..20 {
            for (x, rows) in xs.iter().zip(sizes) {
                let inputs = [HostTensor::from_vec([rows, FEATURES], x.clone()).unwrap()];
                let y = module.run(&inputs).unwrap()[0].to_vec::<f32>().unwrap();
                assert_eq!(y, layer.forward(x));
            }
        }
        let counters = module.cuda().unwrap().counters();
        let graphs = (counters.contexts, counters.graph_launches, counters.graph_captures);
        assert_eq!(graphs, (2, launches, 2), "{counters:?}");
        // One context has to change.
        let module = module_with(&layer.export(), options().max_contexts(1)).unwrap();
        let cuda = module.cuda().unwrap();
        for (i, rows) in [0, 1, 0, 1].map(|i| (i, sizes[i])) {
            for _ in 0..3 {
                let inputs: &[(&dyn CudaRead, &[usize])] = &[(&on_device[i], &[rows, FEATURES])];
                cuda.run_on(&stream, inputs, &mut [&mut ys[i]]).unwrap();
                assert_eq!(stream.clone_dtoh(&ys[i]).unwrap(), layer.forward(&xs[i]));
            }
        }
        let counters = cuda.counters();
        let counted = (counters.contexts, counters.reshapes, counters.graph_captures);
        assert_eq!(counted, (1, 4, 2 * captures), "{counters:?}");
    }
}

/// What others load, run and drop has no part in a capture, and comes to no harm by it.
#[test]
fn modules_come_and_go_while_another_captures() {
    if !gpu("modules_come_and_go_while_another_captures") {
        return;
    }
    let _alone = alone();
    let layer = Layer::new(34);
    let options = TensorRtOptions::default().cuda_graph(true).max_contexts(1);
    let module = module_with(&layer.export(), options).unwrap();
    let cuda = module.cuda().unwrap();
    let stream = new_stream(&context());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let captures = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                // Other shapes of one context forget its graphs, so each round captures.
                for rows in [4, 3] {
                    let values = numbers(rows * FEATURES, rounds);
                    let x = stream.clone_htod(&values).unwrap();
                    let mut y = stream.alloc_zeros::<f32>(rows * CLASSES).unwrap();
                    for _ in 0..4 {
                        cuda.run_on(&stream, &[(&x, &[rows, FEATURES])], &mut [&mut y]).unwrap();
                    }
                    assert_eq!(stream.clone_dtoh(&y).unwrap(), layer.forward(&values));
                }
                rounds += 1;
            }
            rounds
        });
        let others: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..8 {
                        let layer = Layer::new(50 + 8 * thread + round);
                        let graphs = TensorRtOptions::default().cuda_graph(thread == 0);
                        let module = module_with(&layer.export(), graphs).unwrap();
                        for seed in 0..5 {
                            let x =
                                HostTensor::from_vec([2, FEATURES], numbers(2 * FEATURES, seed));
                            let x = [x.unwrap()];
                            let y = module.run(&x).unwrap()[0].to_vec::<f32>().unwrap();
                            assert_eq!(y, layer.forward(&x[0].to_vec::<f32>().unwrap()));
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = others.into_iter().map(|other| other.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
        eprintln!("{} rounds, {:?}", captures.join().unwrap(), cuda.counters());
    });
    let counters = cuda.counters();
    assert!(counters.graph_captures > 8, "{counters:?}");
}

#[test]
fn outputs_outlive_their_module_and_its_successors() {
    if !gpu("outputs_outlive_their_module_and_its_successors") {
        return;
    }
    let _shared = shared();
    let stream = new_stream(&context());
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
