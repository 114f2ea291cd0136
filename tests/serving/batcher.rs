//! Single requests that run as batches.

use std::thread;
use std::time::{Duration, Instant};

use accelerant::backend::Executable;
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::serving::{Batcher, BatcherOptions, Pending};
use accelerant::{DType, Dim, ErrorKind, HostTensor, Symbol};

use super::counting::Counting;
use super::{assert_line, model, number, rows};

/// Long enough for a test to fail by.
const NEVER: Duration = Duration::from_secs(600);

fn patient() -> BatcherOptions {
    BatcherOptions::new().max_delay(NEVER)
}

fn batcher(backend: &Counting, options: &BatcherOptions) -> Batcher {
    Batcher::new(backend.compile(&model()), options).unwrap()
}

fn submit(batcher: &Batcher, x: &HostTensor) -> Pending {
    batcher.submit(std::slice::from_ref(x)).unwrap()
}

fn submit_all(batcher: &Batcher, inputs: &[HostTensor]) -> Vec<Pending> {
    inputs.iter().map(|x| submit(batcher, x)).collect()
}

fn assert_lines(inputs: &[HostTensor], handles: Vec<Pending>) {
    for (x, handle) in inputs.iter().zip(handles) {
        assert_line(x, &handle.wait().unwrap());
    }
}

#[test]
fn a_batch_runs_when_it_is_whole() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &patient().max_batch(4));
    let inputs: Vec<_> = [1, 2, 1].iter().enumerate().map(|(i, &n)| rows(n, 3, i)).collect();
    assert_lines(&inputs, submit_all(&batcher, &inputs));
    assert_eq!(backend.shapes(), [[4, 3]]);
    let counters = batcher.counters();
    assert_eq!((counters.requests, counters.rows, counters.batches), (3, 4, 1));
}

#[test]
fn a_batch_runs_when_its_first_request_has_waited() {
    let backend = Counting::default();
    let delay = Duration::from_millis(300);
    let batcher = batcher(&backend, &BatcherOptions::new().max_delay(delay));
    let start = Instant::now();
    let inputs = [rows(1, 2, 1), rows(1, 2, 2)];
    let handles = submit_all(&batcher, &inputs);
    assert_lines(&inputs, handles);
    assert!(start.elapsed() >= delay);
    assert_eq!(backend.shapes(), [[2, 2]]);
}

#[test]
fn without_a_delay_a_batch_is_what_waits_meanwhile() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &BatcherOptions::new().max_delay(Duration::ZERO));
    backend.close();
    let inputs: Vec<_> = (0..12).map(|i| rows(1, 1, i)).collect();
    let first = submit(&batcher, &inputs[0]);
    backend.wait_for(1);
    let others = submit_all(&batcher, &inputs[1..]);
    backend.open();
    assert_line(&inputs[0], &first.wait().unwrap());
    assert_lines(&inputs[1..], others);
    assert_eq!(backend.shapes(), [[1, 1], [8, 1], [3, 1]]);
}

#[test]
fn requests_are_not_torn_apart_and_keep_their_order() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &patient().max_batch(4));
    let inputs: Vec<_> = [3, 3, 2, 1].iter().enumerate().map(|(i, &n)| rows(n, 1, i)).collect();
    let handles = submit_all(&batcher, &inputs);
    drop(batcher);
    assert_lines(&inputs, handles);
    assert_eq!(backend.shapes(), [[3, 1], [3, 1], [3, 1]]);
}

#[test]
fn requests_of_other_sizes_do_not_meet() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &patient().max_batch(2));
    let inputs =
        [(1, 4), (1, 3), (1, 2), (1, 3), (1, 4)].map(|(n, length)| rows(n, length, length));
    let handles = submit_all(&batcher, &inputs);
    backend.wait_for(2);
    assert!(!handles[2].is_done());
    drop(batcher);
    assert_lines(&inputs, handles);
    let mut shapes = backend.shapes();
    assert_eq!(shapes.pop().unwrap(), [1, 2], "until the end it waits for others");
    shapes.sort();
    assert_eq!(shapes, [[2, 3], [2, 4]]);
}

#[test]
fn a_bad_request_does_no_harm_to_others() {
    for (bad, text) in [(-1.0, "run: tensor `x`: asked to fail"), (-2.0, "asked to panic")] {
        let backend = Counting::default();
        let batcher = batcher(&backend, &patient().max_batch(5));
        let inputs = [0.0, 1.0, bad, 3.0, 4.0].map(number);
        let handles = submit_all(&batcher, &inputs);
        for (i, (x, handle)) in inputs.iter().zip(handles).enumerate() {
            match handle.wait() {
                Ok(outputs) => assert_line(x, &outputs),
                Err(e) => {
                    assert_eq!((i, e.kind()), (2, ErrorKind::Execution));
                    assert!(e.to_string().contains(text), "{e}");
                }
            }
        }
        assert_eq!(backend.shapes().iter().map(|x| x[0]).collect::<Vec<_>>(), [5, 2, 3, 1, 2]);
    }
}

#[test]
fn a_device_that_fails_is_not_asked_again() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &patient().max_batch(3));
    for handle in submit_all(&batcher, &[0.0, -3.0, 2.0].map(number)) {
        let error = handle.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert_eq!(error.to_string(), "run: the device is gone");
    }
    assert_eq!(backend.shapes().len(), 1);
    let counters = batcher.counters();
    assert_eq!((counters.done, counters.failed, counters.waiting), (3, 3, 0));
}

#[test]
fn the_counters_tell_how_long_requests_took() {
    let backend = Counting::default();
    let delay = Duration::from_millis(40);
    let batcher = batcher(&backend, &BatcherOptions::new().max_delay(delay));
    let start = Instant::now();
    let inputs = [rows(1, 2, 1), rows(1, 2, 2)];
    assert_lines(&inputs, submit_all(&batcher, &inputs));
    let most = start.elapsed();
    let counters = batcher.counters();
    assert_eq!((counters.done, counters.failed), (2, 0));
    let mean = counters.mean_latency().unwrap();
    assert!(mean >= delay / 2 && mean <= counters.longest_latency, "{counters:?}");
    assert!(counters.longest_latency >= delay && counters.longest_latency <= most, "{counters:?}");
}

#[test]
fn a_full_queue_says_so_until_there_is_room() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &patient().max_queue(2));
    let mut handles = submit_all(&batcher, &[rows(1, 1, 1), rows(1, 2, 2)]);
    let refused = batcher.submit(&[rows(1, 1, 3)]).unwrap_err();
    assert_eq!((refused.kind(), refused.operation()), (ErrorKind::QueueFull, Some("submit")));
    drop(handles.remove(0));
    handles.push(submit(&batcher, &rows(1, 2, 4)));
    assert_eq!(batcher.submit(&[rows(1, 1, 5)]).unwrap_err().kind(), ErrorKind::QueueFull);
    let counters = batcher.counters();
    assert_eq!((counters.waiting, counters.refused, counters.withdrawn), (2, 2, 1));
    assert_eq!((counters.done, counters.mean_latency()), (0, None));
    drop(batcher);
    assert_lines(&[rows(1, 2, 2), rows(1, 2, 4)], handles);
    assert_eq!(backend.shapes(), [[2, 2]], "what was withdrawn did not run");
}

#[test]
fn a_least_batch_is_filled_up() {
    let backend = Counting::default();
    let graph = GraphBuilder::new("mean of rows, and of each");
    let batch = Dim::dynamic("batch", 4..=8).unwrap();
    let x = graph.input("x", DType::F32, [batch.clone(), Dim::from(2)]).unwrap();
    let of = graph.input("of", DType::I64, [batch]).unwrap();
    graph.output("y", &x.affine(2.0, 1.0).unwrap()).unwrap();
    graph.output("same", &of.reshape(&[None, Some(Dim::from(1))]).unwrap()).unwrap();
    let module = backend.compile(&graph.finish().unwrap());
    let batcher = Batcher::new(module, &BatcherOptions::new()).unwrap();
    let of = HostTensor::from(ndarray::array![7i64, 9]);
    let outputs = batcher.run(&[rows(2, 2, 1), of.clone()]).unwrap();
    assert_line(&rows(2, 2, 1), &outputs[..1]);
    assert_eq!(outputs[1], of.reshape([2, 1]).unwrap());
    assert_eq!(backend.shapes(), [[4, 2]]);
    let uneven = batcher.submit(&[rows(1, 2, 1), of]).unwrap_err();
    assert_eq!(
        (uneven.kind(), uneven.tensor(), uneven.axis()),
        (ErrorKind::ShapeMismatch, Some("of"), Some(0))
    );
}

#[test]
fn batches_have_only_the_sizes_asked_for() {
    let backend = Counting::default();
    let options = BatcherOptions::new().batch_sizes([6, 1, 3, 6]).max_delay(Duration::ZERO);
    let batcher = batcher(&backend, &options);
    assert_eq!(batcher.signature().inputs[0].shape.dims()[0].max(), 6);
    for (i, count) in [1, 2, 3, 4, 5, 6].into_iter().enumerate() {
        let x = rows(count, 2, i);
        assert_line(&x, &batcher.run(std::slice::from_ref(&x)).unwrap());
    }
    assert_eq!(backend.shapes(), [[1, 2], [3, 2], [3, 2], [6, 2], [6, 2], [6, 2]]);
    let counters = batcher.counters();
    assert_eq!((counters.requests, counters.rows, counters.batches), (6, 21, 6));

    let refused = |options: BatcherOptions| {
        let error = Batcher::new(backend.compile(&model()), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.to_string()
    };
    let most = model().signature().inputs[0].shape.dims()[0].max();
    for options in [
        BatcherOptions::new().batch_sizes([0, 4]),
        BatcherOptions::new().batch_sizes([1, most + 1]),
        BatcherOptions::new().batch_sizes([1, 4]).max_batch(3),
    ] {
        let text = refused(options);
        assert!(text.contains("a batch size of"), "{text}");
    }
}

#[test]
fn many_threads_get_what_they_would_have_alone() {
    let backend = Counting::default();
    let batcher = batcher(&backend, &BatcherOptions::new().max_delay(Duration::from_millis(2)));
    thread::scope(|scope| {
        for caller in 0..8 {
            let batcher = batcher.clone();
            scope.spawn(move || {
                for i in 0..50 {
                    let x = rows(1 + (caller + i) % 5, 1 + (caller * i) % 4, caller * 1000 + i);
                    // As any executable.
                    let executable: &dyn Executable = &batcher;
                    assert_line(&x, &executable.run(std::slice::from_ref(&x)).unwrap());
                }
            });
        }
    });
    let counters = batcher.counters();
    let ran: usize = backend.shapes().iter().map(|shape| shape[0]).sum();
    assert_eq!((counters.requests, counters.rows), (400, ran as u64));
    assert_eq!(counters.batches, backend.shapes().len() as u64);
    assert!(counters.batches < 400, "some met: {counters:?}");
}

#[test]
fn models_without_an_axis_of_their_own_for_batches_are_refused() {
    type Build = fn(&GraphBuilder) -> accelerant::Result<()>;
    let cases: [(&str, Option<&str>, Option<usize>, Build); 6] = [
        ("the first axis is `4`: `OptimizeOptions::dynamic_batch`", Some("x"), Some(0), |graph| {
            let x = graph.input("x", DType::F32, [4])?;
            graph.output("y", &x.affine(1.0, 1.0)?)
        }),
        ("joined along `batch`; the first axis is `2`", Some("z"), Some(0), |graph| {
            let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=4)?, 2.into()])?;
            let z = graph.input("z", DType::F32, [2])?;
            graph.output("y", &x.add(&z)?)
        }),
        ("joined along `batch`; the first axis is `2`", Some("y"), Some(0), |graph| {
            let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=4)?, 2.into()])?;
            graph.output("y", &x.transpose(&[1, 0])?)
        }),
        ("`batch`, which is another axis as well", Some("x"), Some(1), |graph| {
            let batch = Dim::dynamic("batch", 1..=4)?;
            let x = graph.input("x", DType::F32, [batch.clone(), batch])?;
            graph.output("y", &x.affine(1.0, 1.0)?)
        }),
        ("nothing to gather: `batch` is 1 at most", None, None, |graph| {
            let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=1)?])?;
            graph.output("y", &x.affine(1.0, 1.0)?)
        }),
        ("`batch` has no largest size", None, None, |graph| {
            let x =
                graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=Symbol::UNBOUNDED)?])?;
            graph.output("y", &x.affine(1.0, 1.0)?)
        }),
    ];
    for (text, tensor, axis, build) in cases {
        let graph = GraphBuilder::new("refused");
        build(&graph).unwrap();
        let model: OnnxModel = graph.finish().unwrap();
        let error = Batcher::new(Counting::default().compile(&model), &BatcherOptions::new());
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!((error.tensor(), error.axis()), (tensor, axis), "{error}");
    }
}

#[test]
fn a_batch_beyond_the_profile_is_refused() {
    let module = Counting::default().compile(&model());
    for rows in [0, 1, 9] {
        let options = BatcherOptions::new().max_batch(rows);
        let error = Batcher::new(module.clone(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    let batcher = Batcher::new(module, &patient().max_batch(4)).unwrap();
    let error = batcher.submit(&[rows(5, 1, 0)]).unwrap_err();
    assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)));
    assert!(error.to_string().contains("`batch` = 5 is outside the profile 1..=4"), "{error}");
}
