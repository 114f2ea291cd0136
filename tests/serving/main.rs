//! Background runs, batches, replicas on several devices, and pipelines. The portable backend computes, behind a
//! backend that counts and can be held up, so that what happens at the same time is decided here.
#![cfg(feature = "tract")]

mod batcher;
#[path = "../common/mod.rs"]
mod common;
mod counting;
mod locks;
mod pipeline;
mod replicas;
mod scores;
mod submit;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::{DType, Dim, HostTensor};

/// `y = 2 x + 1` of `[batch, length]`, up to 8 rows and 4 columns.
fn model() -> OnnxModel {
    let graph = GraphBuilder::new("line");
    let shape = [Dim::dynamic("batch", 1..=8).unwrap(), Dim::dynamic("length", 1..=4).unwrap()];
    let x = graph.input("x", DType::F32, shape).unwrap();
    graph.output("y", &x.affine(2.0, 1.0).unwrap()).unwrap();
    graph.finish().unwrap()
}

/// Rows that no other number gives.
fn rows(rows: usize, columns: usize, number: usize) -> HostTensor {
    let values = (0..rows * columns).map(|i| (number * 100 + i) as f32).collect();
    HostTensor::from_vec([rows, columns], values).unwrap()
}

fn number(value: f32) -> HostTensor {
    HostTensor::from(ndarray::array![[value]])
}

fn assert_line(x: &HostTensor, outputs: &[HostTensor]) {
    let expected: Vec<f32> = x.to_vec::<f32>().unwrap().iter().map(|x| 2.0 * x + 1.0).collect();
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].shape(), x.shape());
    assert_eq!(outputs[0].to_vec::<f32>().unwrap(), expected);
}

/// The smallest async runtime there is.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
