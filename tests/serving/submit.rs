//! Background runs: their results, their errors, and handles and modules that go while one is in flight.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::Duration;
use std::{pin::Pin, thread};

use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{ErrorKind, HostTensor, InferenceModule, OptimizeOptions};

use super::counting::Counting;
use super::{assert_line, block_on, model, number, rows};

#[test]
fn handles_give_what_run_gives_to_threads_and_to_futures() {
    let module = InferenceModule::compile(&model(), &OptimizeOptions::new()).unwrap();
    let inputs: Vec<_> = (0..20).map(|i| rows(1 + i % 8, 1 + i % 4, i)).collect();
    let handles: Vec<_> =
        inputs.iter().map(|x| module.submit(std::slice::from_ref(x)).unwrap()).collect();
    for (i, (x, handle)) in inputs.iter().zip(handles).enumerate() {
        let outputs = if i % 2 == 0 { handle.wait() } else { block_on(handle) };
        assert_line(x, &outputs.unwrap());
    }
}

#[test]
fn a_future_that_waits_is_woken() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    backend.close();
    let x = rows(2, 3, 1);
    let (sender, polls) = channel();
    let mut handle = module.submit(std::slice::from_ref(&x)).unwrap();
    let polled = std::future::poll_fn(move |context| {
        let poll = Pin::new(&mut handle).poll(context);
        sender.send(poll.is_ready()).unwrap();
        poll
    });
    let task = thread::spawn(move || block_on(polled));
    assert!(!polls.recv().unwrap(), "the gate is closed");
    backend.open();
    assert_line(&x, &task.join().unwrap().unwrap());
}

#[test]
fn a_limit_of_time_leaves_the_handle_as_it_was() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    backend.close();
    let x = rows(1, 2, 3);
    let mut handle = module.submit(std::slice::from_ref(&x)).unwrap();
    assert!(handle.wait_timeout(Duration::ZERO).is_none());
    assert!(handle.wait_timeout(Duration::from_millis(2)).is_none());
    assert!(!handle.is_done());
    backend.open();
    let outputs = handle.wait_timeout(Duration::from_secs(60)).expect("the gate is open");
    assert_line(&x, &outputs.unwrap());
    let again = handle.wait().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidArgument, "{again}");
}

#[test]
fn what_nobody_waits_for_is_not_begun() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    backend.close();
    let begun = module.submit(&[rows(1, 1, 1)]).unwrap();
    backend.wait_for(1);
    let unwanted = module.submit(&[rows(2, 1, 2)]).unwrap();
    let wanted = module.submit(&[rows(3, 1, 3)]).unwrap();
    drop((begun, unwanted));
    backend.open();
    assert_line(&rows(3, 1, 3), &wanted.wait().unwrap());
    assert_eq!(backend.shapes(), [[1, 1], [3, 1]], "the first had begun, the second had not");
}

#[test]
fn a_module_that_is_dropped_ends_what_it_was_given() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    backend.close();
    let first = module.submit(&[rows(1, 2, 1)]).unwrap();
    let second = module.submit(&[rows(2, 2, 2)]).unwrap();
    backend.wait_for(1);
    let dropping = thread::spawn(move || drop(module));
    backend.open();
    dropping.join().unwrap();
    assert_eq!(backend.dropped(), 1, "the executable goes with the module");
    assert!(first.is_done() && second.is_done());
    assert_line(&rows(1, 2, 1), &first.wait().unwrap());
    assert_line(&rows(2, 2, 2), &second.wait().unwrap());
}

#[test]
fn a_module_may_be_dropped_by_the_task_that_its_own_thread_wakes() {
    struct Last(Mutex<Option<InferenceModule>>, Mutex<std::sync::mpsc::Sender<()>>);
    impl Wake for Last {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
            self.1.lock().unwrap().send(()).unwrap();
        }
    }
    let backend = Counting::default();
    let module = backend.compile(&model());
    backend.close();
    let mut handle = module.submit(&[rows(1, 1, 5)]).unwrap();
    let (sender, dropped) = channel();
    let waker = Arc::new(Last(Mutex::new(Some(module)), Mutex::new(sender))).into();
    assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
    backend.open();
    dropped.recv_timeout(Duration::from_secs(60)).expect("the thread does not wait for itself");
    let outputs = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
    let Poll::Ready(outputs) = outputs else { panic!("woken before it was done") };
    assert_line(&rows(1, 1, 5), &outputs.unwrap());
}

#[test]
fn a_task_that_panics_when_it_is_woken_takes_nothing_from_others() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a waker of the test");
        }
    }
    let backend = Counting::default();
    let options = BatcherOptions::new().max_delay(Duration::ZERO);
    let batcher = Batcher::new(backend.compile(&model()), &options).unwrap();
    backend.close();
    let first = batcher.submit(&[rows(1, 1, 1)]).unwrap();
    backend.wait_for(1);
    let mut woken = batcher.submit(&[rows(1, 1, 2)]).unwrap();
    let other = batcher.submit(&[rows(1, 1, 3)]).unwrap();
    let waker = Arc::new(Bad).into();
    assert!(Pin::new(&mut woken).poll(&mut Context::from_waker(&waker)).is_pending());
    backend.open();
    for (seed, pending) in [(1, first), (2, woken), (3, other)] {
        assert_line(&rows(1, 1, seed), &pending.wait().unwrap());
    }
    assert_eq!(backend.shapes(), [[1, 1], [2, 1]], "both ran in one batch");
}

#[test]
fn errors_and_panics_come_out_of_their_own_handle() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    let runs = [-1.0, -2.0, 3.0].map(|value| module.submit(&[number(value)]).unwrap());
    let [failed, panicked, good] = runs.map(|handle| handle.wait());
    let failed = failed.unwrap_err();
    assert_eq!((failed.kind(), failed.tensor()), (ErrorKind::Execution, Some("x")));
    assert_eq!(failed.to_string(), "run: tensor `x`: asked to fail");
    let panicked = panicked.unwrap_err();
    assert_eq!(panicked.kind(), ErrorKind::Execution);
    assert!(panicked.to_string().contains("asked to panic"), "{panicked}");
    assert_line(&number(3.0), &good.unwrap());
}

#[test]
fn inputs_that_do_not_fit_are_refused_at_once() {
    let backend = Counting::default();
    let module = backend.compile(&model());
    let refusal = |inputs: &[HostTensor]| module.submit(inputs).unwrap_err();
    let missing = refusal(&[]);
    assert_eq!((missing.kind(), missing.operation()), (ErrorKind::InputMismatch, Some("submit")));
    for (x, axis) in [(rows(9, 1, 0), 0), (rows(0, 1, 0), 0), (rows(1, 5, 0), 1)] {
        let error = refusal(&[x]);
        assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
        assert_eq!((error.tensor(), error.axis()), (Some("x"), Some(axis)));
    }
    let ints = HostTensor::from(ndarray::array![[1i64]]);
    assert_eq!(refusal(&[ints]).kind(), ErrorKind::DTypeMismatch);
    assert!(backend.shapes().is_empty());
}
