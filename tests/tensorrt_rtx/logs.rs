//! What the library says, through `tracing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use accelerant::DType;
use accelerant::backend::Backend;
use accelerant::export::{GraphBuilder, Target};

use crate::common::logs::with_subscriber;
use crate::{Mlp, rtx};

/// Counts what TensorRT logs, and panics on it.
struct Noisy(Arc<AtomicUsize>);

impl tracing::Subscriber for Noisy {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "accelerant::tensorrt"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            panic!("a subscriber of the test");
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn logs_reach_tracing_and_a_panicking_subscriber_stops_nothing() {
    let count = Arc::new(AtomicUsize::new(0));
    let graph = GraphBuilder::for_target("cast", Target::tensorrt());
    let x = graph.input("x", DType::U16, [4usize]).unwrap();
    graph.output("y", &x.cast(DType::F32).unwrap()).unwrap();
    let unknown_type = graph.finish().unwrap();
    let (engine, refused) = with_subscriber(Noisy(count.clone()), || {
        // Where there are many cores, a build logs from the library's own threads alone; the parser does not.
        (rtx().build(&Mlp::new(1).export(4)), rtx().build(&unknown_type))
    });
    assert!(engine.is_ok() && refused.is_err());
    assert!(count.load(Ordering::Relaxed) > 0);
}
