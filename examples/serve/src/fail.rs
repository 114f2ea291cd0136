//! Why a request gets no result: a status and a text. Knows no protocol but HTTP.

use accelerant::{Error, ErrorKind};
use axum::http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::respond;

/// Texts may repeat what a client sent. So much of them is given back.
const LONGEST: usize = 600;

/// After so many seconds a client may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The client has gone before its request was through. The status has no name in HTTP; nginx has brought it up.
pub(crate) const CLIENT_GONE: u16 = 499;

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A status with its text.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(LONGEST) {
            text.truncate(end);
            text.push('…');
        }
        Self { status, text }
    }

    /// The client's fault.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The client has gone. The answer is for one that has closed its sending side alone.
    pub(crate) fn gone(text: impl Into<String>) -> Self {
        Self::new(StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST), text)
    }

    /// Too much is going on.
    pub(crate) fn busy(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// Names what the failure is about in front.
    #[must_use]
    pub(crate) fn about(self, what: impl std::fmt::Display) -> Self {
        Self::new(self.status, format!("{what}: {}", self.text))
    }

    /// A header that tells when to try again, where that helps.
    pub(crate) fn finish(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let status = match e.kind() {
            ErrorKind::InvalidArgument
            | ErrorKind::ShapeMismatch
            | ErrorKind::DTypeMismatch
            | ErrorKind::InputMismatch
            | ErrorKind::OutOfProfile => StatusCode::BAD_REQUEST,
            ErrorKind::QueueFull | ErrorKind::ShutDown | ErrorKind::Cancelled => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, e.to_string())
    }
}

/// As the Open Inference Protocol has it.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.finish(respond::json(&json!({ "error": self.text })))
    }
}
