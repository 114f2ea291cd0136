//! Requests for inference from their start to their end: read, run, answered, counted.

use std::sync::Arc;
use std::time::Duration;

use accelerant::HostTensor;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::fail::{Failure, Result};
use crate::metrics::Counted;
use crate::models::Model;
use crate::request::{self, Wanted};
use crate::server::Server;
use crate::{answer, body};

pub(crate) async fn infer(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    of_version(&server, &name, None, request).await
}

pub(crate) async fn infer_version(
    State(server): State<Arc<Server>>,
    Path((name, version)): Path<(String, String)>,
    request: Request,
) -> Response {
    of_version(&server, &name, Some(&version), request).await
}

async fn of_version(
    server: &Server,
    name: &str,
    version: Option<&str>,
    request: Request,
) -> Response {
    let model = match server.model(name, version) {
        Ok(model) => model,
        Err(failure) => return failure.into_response(),
    };
    let counted = Counted::new(&model.outcomes);
    let about = |failure: Failure| failure.about(format_args!("model `{name}`")).into_response();
    let response = of_model(server, model, request).await.unwrap_or_else(about);
    counted.end(response.status());
    response
}

async fn of_model(server: &Server, model: &Arc<Model>, request: Request) -> Result<Response> {
    let headers = request.headers().clone();
    let held = body::read(request, &server.room, server.read_limit).await?;
    let (of, bytes) = (model.clone(), held.bytes.clone());
    let read = move || request::read(of.signature(), &headers, &bytes);
    let Wanted { id, inputs, outputs, limit } = server.heavy.run(held.bytes.len(), read).await??;
    let tensors = within(limit, model.run(&inputs)).await?;
    drop((inputs, held));
    let size = tensors.iter().map(|tensor| tensor.bytes().len()).sum();
    let of = model.clone();
    server.heavy.run(size, move || answer::write(&of, id, &tensors, &outputs)).await?
}

/// Waits for a run as long as the client does. A request that is given up leaves the queue.
async fn within(
    limit: Option<Duration>,
    run: impl Future<Output = accelerant::Result<Vec<HostTensor>>>,
) -> Result<Vec<HostTensor>> {
    let Some(limit) = limit else { return Ok(run.await?) };
    let over = |_| {
        let text = format!("there is no result within the request's timeout of {limit:?}");
        Failure::new(StatusCode::GATEWAY_TIMEOUT, text)
    };
    Ok(timeout(limit, run).await.map_err(over)??)
}
