//! Errors as OpenAI's API has them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fail::Failure;
use crate::respond;

/// A failure in OpenAI's form.
pub(crate) struct Refusal(pub(super) Failure);

impl Refusal {
    /// What the field `error` of an answer has.
    pub(super) fn error(&self) -> Value {
        let Self(Failure { status, text }) = self;
        let kind = match *status {
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "message": text, "type": kind, "param": null, "code": null })
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.0.finish(respond::json(&json!({ "error": self.error() })))
    }
}
