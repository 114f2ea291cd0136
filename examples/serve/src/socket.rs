//! The socket of a connection, with patience for a client that does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Sleep, sleep};

use crate::gauge::{Gauge, One};
use crate::inlet::Inlet;

/// Breaks the connection when nothing could be written for a time.
pub(crate) struct Socket {
    /// Shared with whoever looks for the client's end.
    reads: Arc<Inlet>,
    writes: OwnedWriteHalf,
    limit: Duration,
    /// Runs, and is counted, while the client takes nothing.
    since: Option<(Pin<Box<Sleep>>, One)>,
    unsent: Gauge,
}

impl Socket {
    pub(crate) fn new(
        reads: Arc<Inlet>,
        writes: OwnedWriteHalf,
        limit: Duration,
        unsent: Gauge,
    ) -> Self {
        Self { reads, writes, limit, since: None, unsent }
    }

    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let Self { limit, since, unsent, .. } = self;
        let limit = *limit;
        let (since, _) = since.get_or_insert_with(|| (Box::pin(sleep(limit)), unsent.one()));
        match since.as_mut().poll(context) {
            Poll::Ready(()) => {
                let text = format!("the client read nothing for {limit:?}");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writes).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writes).poll_write_vectored(context, parts);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.writes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writes).poll_shutdown(context)
    }
}
