//! What the server and its models are, as the Open Inference Protocol and Triton tell it.

use std::sync::Arc;

use accelerant::{Dim, TensorSpec};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fail::{Failure, Result};
use crate::models::{Model, VERSION};
use crate::server::Server;
use crate::{datatype, respond};

pub(crate) async fn live() -> StatusCode {
    StatusCode::OK
}

pub(crate) async fn ready(State(server): State<Arc<Server>>) -> Response {
    match server.is_ready() {
        true => StatusCode::OK.into_response(),
        false => Failure::busy("the server is about to end").into_response(),
    }
}

pub(crate) async fn server() -> Response {
    let extensions =
        ["binary_tensor_data", "model_configuration", "model_repository", "statistics"];
    let version = env!("CARGO_PKG_VERSION");
    respond::json(&json!({ "name": "accelerant", "version": version, "extensions": extensions }))
}

pub(crate) async fn index(State(server): State<Arc<Server>>) -> Response {
    let entry = |name| json!({ "name": name, "version": VERSION, "state": "READY", "reason": "" });
    respond::json(&server.models.keys().map(entry).collect::<Vec<_>>())
}

pub(crate) fn metadata(_: &Server, model: &Model) -> Result<Response> {
    Ok(respond::json(&metadata_of(model)))
}

pub(crate) fn config(_: &Server, model: &Model) -> Result<Response> {
    Ok(respond::json(&config_of(model)))
}

pub(crate) fn model_ready(server: &Server, model: &Model) -> Result<Response> {
    match server.is_ready() {
        true => Ok(StatusCode::OK.into_response()),
        false => {
            Err(Failure::busy(format!("model `{}`: the server is about to end", model.name())))
        }
    }
}

fn metadata_of(model: &Model) -> Value {
    let tensor = |spec: &TensorSpec| {
        let shape: Vec<i64> = spec.shape.dims().iter().map(size).collect();
        json!({ "name": spec.name, "datatype": datatype::name(spec.dtype), "shape": shape })
    };
    let signature = model.signature();
    json!({
        "name": model.name(),
        "versions": [VERSION],
        "platform": platform(model),
        "inputs": signature.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}

/// As `ModelConfig` of Triton has it.
fn config_of(model: &Model) -> Value {
    let most = model.max_batch();
    let tensor = |spec: &TensorSpec| {
        // The size of the batch is told apart.
        let dims = spec.shape.dims().iter().skip(usize::from(most > 0));
        let dims: Vec<i64> = dims.map(size).collect();
        let kind = datatype::name(spec.dtype);
        json!({ "name": spec.name, "data_type": format!("TYPE_{kind}"), "dims": dims })
    };
    let signature = model.signature();
    let mut config = json!({
        "name": model.name(),
        "platform": platform(model),
        "backend": model.backend(),
        "max_batch_size": most,
        "version_policy": { "latest": { "num_versions": 1 } },
        "input": signature.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "output": signature.outputs.iter().map(tensor).collect::<Vec<_>>(),
    });
    if most > 0 {
        let micros = model.options.max_delay.as_micros() as u64;
        config["dynamic_batching"] = json!({ "max_queue_delay_microseconds": micros });
    }
    config
}

/// Sizes that vary are -1.
fn size(dim: &Dim) -> i64 {
    dim.fixed().and_then(|size| i64::try_from(size).ok()).unwrap_or(-1)
}

fn platform(model: &Model) -> &'static str {
    if model.options.is_engine { "accelerant_engine" } else { "accelerant_onnx" }
}
