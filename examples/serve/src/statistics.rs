//! Triton's statistics of models, as far as they are counted here.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use crate::fail::Result;
use crate::models::{Model, VERSION};
use crate::respond;
use crate::server::Server;

pub(crate) async fn all(State(server): State<Arc<Server>>) -> Response {
    let all: Vec<_> = server.models.values().map(|model| statistics(model)).collect();
    respond::json(&json!({ "model_stats": all }))
}

pub(crate) fn of_model(_: &Server, model: &Model) -> Result<Response> {
    Ok(respond::json(&json!({ "model_stats": [statistics(model)] })))
}

fn statistics(model: &Model) -> Value {
    let (good, nanos) = model.outcomes.good();
    let (bad, bad_nanos) = model.outcomes.bad();
    let counters = model.counters();
    json!({
        "name": model.name(),
        "version": VERSION,
        "inference_count": counters.map_or(good, |counters| counters.rows),
        "execution_count": counters.map_or(good, |counters| counters.batches),
        "inference_stats": {
            "success": { "count": good, "ns": nanos },
            "fail": { "count": bad, "ns": bad_nanos },
        },
    })
}
