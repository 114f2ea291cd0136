//! The bodies of requests: read within a time, a size, and the room that all of them share.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::time::timeout;

use crate::fail::{Failure, Result};

/// How much bodies may take.
#[derive(Debug)]
pub(crate) struct Room {
    /// One of them.
    most: usize,
    /// All of them.
    all: usize,
    taken: AtomicUsize,
}

impl Room {
    /// Limits in MiB.
    pub(crate) fn new(most: usize, all: usize) -> Self {
        let bytes = |mebibytes: usize| mebibytes.saturating_mul(1 << 20);
        Self { most: bytes(most), all: bytes(all), taken: AtomicUsize::new(0) }
    }

    /// What the bodies take now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A part of the room, given back when it is dropped.
pub(crate) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Share {
    pub(crate) fn none(room: &Arc<Room>) -> Self {
        Self { room: room.clone(), bytes: 0 }
    }

    pub(crate) fn shrink(&mut self, by: usize) {
        let by = by.min(self.bytes);
        self.room.taken.fetch_sub(by, Ordering::Relaxed);
        self.bytes -= by;
    }

    pub(crate) fn grow(&mut self, by: usize) -> Result<()> {
        let Room { all, taken, .. } = &*self.room;
        let fits = |taken: usize| taken.checked_add(by).filter(|sum| sum <= all);
        if taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return Err(Failure::busy("the bodies of other requests take all the memory there is"));
        }
        self.bytes += by;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A whole body, which has its share of the room until it is dropped.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// What is left of a body that is refused is read and thrown away so long, and while it comes. A client that still sends
/// when its connection closes may never see the answer.
const REST: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// Reads a body.
///
/// # Errors
/// The status 415 for a body that is encoded, 413 for one that is too large, 408 for one that takes too long, 503 where
/// there is no room, 499 for one that ends too early, 400 for one that is no body.
pub(crate) async fn read(request: Request, room: &Arc<Room>, limit: Duration) -> Result<Held> {
    // A client that asks before it sends does not send then.
    let asks = request.headers().contains_key(EXPECT);
    let encoded = encoding(request.headers());
    let mut body = request.into_body();
    let failure = match encoded {
        Some(failure) => failure,
        None => match timeout(limit, whole(&mut body, room)).await {
            Ok(Ok(held)) => return Ok(held),
            Ok(Err(failure)) => failure,
            Err(_) => {
                let text = format!("the body did not arrive within {limit:?}");
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, text));
            }
        },
    };
    if !asks {
        let rest = async { while let Ok(Some(Ok(_))) = timeout(PAUSE, next(&mut body)).await {} };
        let _ = timeout(REST, rest).await;
    }
    Err(failure)
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, axum::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// Why a body is not taken as it is encoded, if so.
fn encoding(headers: &HeaderMap) -> Option<Failure> {
    let encoding = headers.get(CONTENT_ENCODING).filter(|value| *value != "identity")?;
    let text = format!("the body is encoded as {encoding:?}; send it as it is");
    Some(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

/// Why a body cannot be read: it is wrong, or its client is gone.
fn unreadable(e: &axum::Error) -> Failure {
    let mut source = e.source();
    let mut ended = false;
    while let Some(e) = source {
        let kind = e.downcast_ref::<io::Error>().map(io::Error::kind);
        ended |= matches!(kind, Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
        source = e.source();
    }
    let text = format!("the body cannot be read: {e}");
    if ended { Failure::gone(text) } else { Failure::bad(text) }
}

async fn whole(body: &mut Body, room: &Arc<Room>) -> Result<Held> {
    let most = room.most;
    let too_large = || {
        let text = format!("the body is larger than {most} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let told = body.size_hint();
    if told.lower() > most as u64 {
        return Err(too_large());
    }
    let mut share = Share::none(room);
    // Memory is taken when it is written to, and so not for a body that is announced and does not come.
    let mut bytes = BytesMut::with_capacity(told.exact().unwrap_or_default() as usize);
    while let Some(frame) = next(body).await {
        let frame = frame.map_err(|e| unreadable(&e))?;
        let Ok(part) = frame.into_data() else { continue };
        if part.len() > most - bytes.len() {
            return Err(too_large());
        }
        share.grow(part.len())?;
        bytes.extend_from_slice(&part);
    }
    Ok(Held { bytes: bytes.freeze(), _share: share })
}
