//! Whether the client of a connection is gone, though an answer is due.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use crate::gauge::{Gauge, One};
use crate::inlet::{End, Inlet};

/// A client that closes its sending side looks as one that is gone. It gets an answer that comes within this time.
const HALF_CLOSED: Duration = Duration::from_millis(500);

/// The answers of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    due: Gauge,
    begun: Arc<AtomicU64>,
}

impl Answers {
    /// Another answer, which is due until the result is dropped.
    pub(crate) fn begin(&self) -> One {
        self.begun.fetch_add(1, Relaxed);
        self.due.one()
    }

    fn are_due(&self) -> bool {
        self.due.count() > 0
    }
}

/// Waits until an answer is due whose client is gone: the connection is broken, or the client has closed its sending side
/// and the answer does not come for a time. Polled behind what reads the inlet, by the same task.
pub(crate) async fn gone(inlet: &Inlet, answers: &Answers) {
    let end = poll_fn(|context| match answers.are_due() {
        true => inlet.poll_end(context),
        // Whatever comes is read.
        false => Poll::Pending,
    });
    if end.await != End::Closed {
        return;
    }
    loop {
        let before = answers.begun.load(Relaxed);
        sleep(HALF_CLOSED).await;
        // Each of several requests in a row has the time.
        if answers.are_due() && answers.begun.load(Relaxed) == before {
            return;
        }
    }
}
