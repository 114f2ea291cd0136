//! An axum server: a model from a file behind a `Batcher`, which joins the requests of many callers.

use std::error::Error;
use std::time::Duration;

use accelerant::export::OnnxModel;
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{ErrorKind, HostTensor, InferenceModule, OptimizeOptions};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};

type Refusal = (StatusCode, String);

/// The digit that 64 pixels show.
async fn digit(State(batcher): State<Batcher>, body: Bytes) -> Result<String, Refusal> {
    let wrong = |text: String| (StatusCode::BAD_REQUEST, text);
    let pixels: Vec<f32> = serde_json::from_slice(&body).map_err(|e| wrong(e.to_string()))?;
    let row = HostTensor::from_vec([1, pixels.len()], pixels).map_err(refused)?;
    let outputs = batcher.submit(&[row]).map_err(refused)?.await.map_err(refused)?;
    let scores = outputs[0].to_vec::<f32>().map_err(refused)?;
    let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(best.map(|(digit, _)| digit.to_string()).unwrap_or_default())
}

fn refused(error: accelerant::Error) -> Refusal {
    let status = match error.kind() {
        ErrorKind::QueueFull => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::ShapeMismatch => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: digits-server MODEL.onnx HOST:PORT".into());
    };
    let model = OnnxModel::open(&file)?.bind("batch", 1..=64)?;
    let module = InferenceModule::compile(&model, &OptimizeOptions::new())?;
    println!("{file} runs on {}", module.backend());

    let options = BatcherOptions::new().batch_sizes([1, 8, 64]).max_delay(Duration::from_millis(2));
    let router =
        Router::new().route("/digit", post(digit)).with_state(Batcher::new(module, &options)?);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
