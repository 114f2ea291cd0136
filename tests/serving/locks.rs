//! Callers' code that runs inside of serving: drops of tensors and wakers, which may come back to the batcher, and
//! batchers that are dropped by threads of batchers. Each would wait for ever if it ran under a lock.

use std::{
    sync::{
        Arc, Barrier, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use accelerant::backend::Executable;
use accelerant::pipeline::Pipeline;
use accelerant::serving::{Batcher, BatcherOptions, Pending};
use accelerant::{DType, Dim, ErrorKind, HostTensor, Result, Signature, TensorSpec};

use super::counting::Counting;
use super::{model, number};

const LIMIT: Duration = Duration::from_secs(30);

fn batcher(backend: &Counting, queue: usize) -> Batcher {
    let options = BatcherOptions::new().max_delay(Duration::ZERO).max_batch(2).max_queue(queue);
    Batcher::new(backend.compile(&model()), &options).unwrap()
}

/// Memory of a caller whose end asks the batcher that held it.
struct Owner {
    value: [u8; 4],
    batcher: Batcher,
    dropped: Sender<u64>,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.batcher.submit(&[number(5.0)]));
        let _ = self.dropped.send(self.batcher.counters().requests);
    }
}

fn submit_owned(batcher: &Batcher, dropped: &Sender<u64>) -> Pending {
    let owner =
        Owner { value: 1f32.to_le_bytes(), batcher: batcher.clone(), dropped: dropped.clone() };
    let bytes = bytes::Bytes::from_owner(owner);
    batcher.submit(&[HostTensor::from_bytes(DType::F32, [1, 1], bytes).unwrap()]).unwrap()
}

#[test]
fn memory_of_withdrawn_requests_is_given_back_without_a_lock() {
    for by_the_next_caller in [true, false] {
        let backend = Counting::default();
        let batcher = batcher(&backend, 2);
        backend.close();
        let mut running = Vec::new();
        for runs in 1..=batcher_threads(&batcher) {
            running.push(batcher.submit(&[number(0.0)]).unwrap());
            backend.wait_for(runs);
        }
        let (dropped, drops) = channel();
        for _ in 0..2 {
            drop(submit_owned(&batcher, &dropped));
        }
        if by_the_next_caller {
            // The queue is full of what nobody wants.
            let batcher = batcher.clone();
            let (done, wait) = channel();
            thread::spawn(move || done.send(batcher.submit(&[number(2.0)]).map(drop)));
            wait.recv_timeout(LIMIT).expect("submit comes back").unwrap();
        } else {
            backend.open();
        }
        for _ in 0..2 {
            drops.recv_timeout(LIMIT).expect("the memory is given back");
        }
        backend.open();
        for pending in running {
            pending.wait().unwrap();
        }
    }
}

fn batcher_threads(batcher: &Batcher) -> usize {
    batcher.concurrency() / 2
}

/// Drops a batcher on the thread that wakes it, when another does the same.
struct Last {
    batcher: Mutex<Option<Batcher>>,
    both: Arc<Barrier>,
    done: Mutex<Sender<()>>,
}

impl Wake for Last {
    fn wake(self: Arc<Self>) {
        self.both.wait();
        drop(self.batcher.lock().unwrap().take());
        let _ = self.done.lock().unwrap().send(());
    }
}

#[test]
fn batchers_that_are_dropped_by_each_others_threads_do_not_wait() {
    let backends = [Counting::default(), Counting::default()];
    let [a, b] = backends.each_ref().map(|backend| batcher(backend, 8));
    backends.iter().for_each(Counting::close);
    let both = Arc::new(Barrier::new(2));
    let (done, dones): (_, Receiver<()>) = channel();
    let mut pendings = [&a, &b].map(|batcher| batcher.submit(&[number(1.0)]).unwrap());
    for (pending, batcher) in pendings.iter_mut().zip([b, a]) {
        let last = Last {
            batcher: Mutex::new(Some(batcher)),
            both: both.clone(),
            done: Mutex::new(done.clone()),
        };
        let waker = Waker::from(Arc::new(last));
        let polled = std::pin::Pin::new(pending).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    backends.iter().for_each(Counting::open);
    for _ in 0..2 {
        dones.recv_timeout(LIMIT).expect("neither waits for the other");
    }
    for pending in pendings {
        assert_eq!(pending.wait().unwrap()[0].to_vec::<f32>().unwrap(), [3.0]);
    }
}

/// Gives back what it gets, whatever its signature says.
#[derive(Debug)]
struct Stated(Signature);

impl Executable for Stated {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        Ok(inputs.to_vec())
    }
}

fn stated(inputs: &[Dim]) -> Stated {
    let spec =
        |name: &str, batch: &Dim| TensorSpec::new(name, DType::F32, [batch.clone(), 4.into()]);
    let outputs = vec![spec("y", inputs.first().unwrap_or(&Dim::dynamic("n", 1..=8).unwrap()))];
    let inputs: Vec<_> = inputs.iter().map(|batch| spec("x", batch)).collect();
    Stated(Signature::new(inputs, outputs))
}

#[test]
fn a_model_without_inputs_has_no_batches() {
    let error = Batcher::new(stated(&[]), &BatcherOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.to_string(), "batcher: the model has no inputs to join");
}

#[test]
fn batches_beyond_all_memory_are_errors() {
    let item = HostTensor::from_vec([4], vec![1.0f32; 4]).unwrap();
    for rows in [100_000_000_000, 1 << 60, usize::MAX] {
        let pipeline =
            Pipeline::new(stated(&[Dim::Fixed(rows)])).pre(|item: &HostTensor| item.clone());
        let error = pipeline.run(&item).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
        assert!(error.to_string().contains(&format!("a batch of {rows} rows")), "{error}");
    }
    let many = Dim::dynamic("n", 1_000_000_000..=2_000_000_000).unwrap();
    let batcher = Batcher::new(stated(&[many]), &BatcherOptions::new()).unwrap();
    let error = batcher.run(&[item.reshape([1, 4]).unwrap()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
    assert!(Dim::dynamic("n", 1..=100_000_000_000).is_err());
}
