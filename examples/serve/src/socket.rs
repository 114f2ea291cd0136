//! The socket of a connection, with patience of two kinds: for a client that does not read, and for one that has closed
//! its sending side and may still read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::gauge::{Gauge, One};

/// A client that closes its sending side looks as one that is gone. It gets an answer that comes within this time.
const HALF_CLOSED: Duration = Duration::from_millis(500);

/// Breaks the connection when nothing could be written for a time. Tells that the client has ended only when no answer is
/// due, or none came for a time.
pub(crate) struct Socket {
    stream: TcpStream,
    /// Answers that are due on this connection.
    due: Gauge,
    /// Runs since the client has ended.
    ended: Option<Pin<Box<Sleep>>>,
    limit: Duration,
    /// Runs, and is counted, while the client takes nothing.
    since: Option<(Pin<Box<Sleep>>, One)>,
    unsent: Gauge,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, due: Gauge, limit: Duration, unsent: Gauge) -> Self {
        Self { stream, due, ended: None, limit, since: None, unsent }
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
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ended.is_none() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if self.due.count() == 0 {
            return Poll::Ready(Ok(()));
        }
        let ended = self.ended.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED)));
        ended.as_mut().poll(context).map(Ok)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
