//! The side of a socket that reads. While an answer is due nobody asks for bytes, and those that come are kept: the end of
//! a client stands behind all that it has sent.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::body::{Room, Share};

/// So many bytes are kept of a connection at most. An end behind more of them is seen only when they are read.
const MOST: usize = 1 << 20;
/// So many are read at once.
const CHUNK: usize = 16 << 10;

pub(crate) struct Inlet {
    stream: OwnedReadHalf,
    kept: Mutex<Kept>,
}

struct Kept {
    bytes: BytesMut,
    /// Of the room that bodies have.
    share: Share,
    /// What stands behind the bytes.
    end: Option<End>,
    /// Somebody waits for bytes.
    is_asked: bool,
}

/// How the bytes of a client end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client sends no more. It may still read.
    Closed,
    /// The connection is no more.
    Broken(ErrorKind),
}

impl Inlet {
    pub(crate) fn new(stream: OwnedReadHalf, room: &Arc<Room>) -> Self {
        let (bytes, share) = (BytesMut::new(), Share::none(room));
        Self { stream, kept: Mutex::new(Kept { bytes, share, end: None, is_asked: false }) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the bytes that were kept, and then those of the stream.
    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut kept = self.kept();
        let stream: &TcpStream = self.stream.as_ref();
        kept.is_asked = false;
        if !kept.bytes.is_empty() {
            kept.give(buffer);
            return Poll::Ready(Ok(()));
        }
        loop {
            match kept.end {
                None => {}
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Broken(kind)) => return Poll::Ready(Err(kind.into())),
            }
            let Poll::Ready(ready) = stream.poll_read_ready(context) else {
                kept.is_asked = true;
                return Poll::Pending;
            };
            ready?;
            match stream.try_read(buffer.initialize_unfilled()) {
                Ok(0) if buffer.remaining() > 0 => kept.end = Some(End::Closed),
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => kept.end = Some(End::Broken(e.kind())),
            }
        }
    }

    /// Keeps what comes while nobody asks for it, until the end of all that the client sends. The task must be that of
    /// [`poll_read`](Self::poll_read), and come here after it: only then is it known whether somebody asks.
    pub(crate) fn poll_end(&self, context: &mut Context<'_>) -> Poll<End> {
        let mut kept = self.kept();
        let stream: &TcpStream = self.stream.as_ref();
        loop {
            if let Some(end) = kept.end {
                return Poll::Ready(end);
            }
            if kept.is_asked || kept.bytes.len() >= MOST {
                return Poll::Pending;
            }
            let read = match ready!(stream.poll_read_ready(context)) {
                Ok(()) => kept.read(stream),
                Err(e) => Err(e),
            };
            kept.end = match read {
                Ok(true) => None,
                Ok(false) => Some(End::Closed),
                Err(e) if e.kind() == ErrorKind::WouldBlock => None,
                // There is no room for more.
                Err(e) if e.kind() == ErrorKind::OutOfMemory => return Poll::Pending,
                Err(e) => Some(End::Broken(e.kind())),
            };
        }
    }
}

impl Kept {
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = buffer.remaining().min(self.bytes.len());
        buffer.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        self.share.shrink(count);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Whether there were bytes.
    fn read(&mut self, stream: &TcpStream) -> io::Result<bool> {
        self.share.grow(CHUNK).map_err(|_| ErrorKind::OutOfMemory)?;
        let mut chunk = [0; CHUNK];
        let read = stream.try_read(&mut chunk);
        let count = *read.as_ref().unwrap_or(&0);
        self.bytes.extend_from_slice(&chunk[..count]);
        self.share.shrink(CHUNK - count);
        read.map(|count| count > 0)
    }
}
