//! Which address leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::fail::{Failure, Result};
use crate::models::Model;
use crate::server::Server;
use crate::{admission, describe, infer, metrics, statistics, text};

type Shared = State<Arc<Server>>;

/// A question about a model, and its answer.
type Question = fn(&Server, &Model) -> Result<Response>;

/// What follows the address of a model, or of its version.
const QUESTIONS: [(&str, Question); 4] = [
    ("", describe::metadata),
    ("/ready", describe::model_ready),
    ("/config", describe::config),
    ("/stats", statistics::of_model),
];

pub(crate) fn routes(server: Arc<Server>) -> Router {
    let mut routes = Router::new()
        .route("/v2", get(describe::server))
        .route("/v2/", get(describe::server))
        .route("/v2/health/live", get(describe::live))
        .route("/v2/health/ready", get(describe::ready))
        .route("/v2/repository/index", post(describe::index))
        .route("/v2/models/stats", get(statistics::all))
        .route("/v2/models/{name}/infer", post(infer::infer))
        .route("/v2/models/{name}/versions/{version}/infer", post(infer::infer_version))
        .route("/metrics", get(metrics::metrics))
        .merge(text::routes());
    for (end, question) in QUESTIONS {
        routes = routes
            .route(&format!("/v2/models/{{name}}{end}"), of_model(question))
            .route(&format!("/v2/models/{{name}}/versions/{{version}}{end}"), of_version(question));
    }
    routes
        .fallback(no_such_address)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(server.clone(), admission::admit))
        .with_state(server)
}

fn of_model(question: Question) -> MethodRouter<Arc<Server>> {
    get(async move |State(server): Shared, Path(name): Path<String>| {
        question(&server, server.model(&name, None)?)
    })
}

fn of_version(question: Question) -> MethodRouter<Arc<Server>> {
    get(async move |State(server): Shared, Path((name, version)): Path<(String, String)>| {
        question(&server, server.model(&name, Some(&version))?)
    })
}

async fn no_such_address(uri: Uri) -> Response {
    let text = format!("there is nothing at {}", uri.path());
    refuse(&uri, Failure::new(StatusCode::NOT_FOUND, text))
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let text = format!("{} does not take {method}", uri.path());
    refuse(&uri, Failure::new(StatusCode::METHOD_NOT_ALLOWED, text))
}

/// Whether an address is text. A part of one that is not names no model.
pub(crate) fn is_text(uri: &Uri) -> bool {
    let mut rest = uri.path().as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (byte, behind) = match escaped.filter(|_| byte == b'%') {
            Some(escaped) => (escaped, &behind[2..]),
            None => (byte, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
    String::from_utf8(decoded).is_ok()
}

/// In the form of the API that the address belongs to.
pub(crate) fn refuse(uri: &Uri, failure: Failure) -> Response {
    match uri.path().starts_with("/v1/") {
        true => text::Refusal::from(failure).into_response(),
        false => failure.into_response(),
    }
}
