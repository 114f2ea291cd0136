//! Addresses and status codes. What a body means is in `protocol`, what runs is in `models`. Another protocol, such as
//! one for text, is another `Router` that is merged in [`app`].

use std::sync::{Arc, atomic::Ordering};

use accelerant::ErrorKind;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request as HttpRequest, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::metrics;
use crate::models::{Model, Models, VERSION};
use crate::protocol::{self, Request};

/// Tells how long the JSON is where raw bytes follow.
const JSON_LENGTH: &str = "inference-header-content-length";

type Shared = State<Arc<Models>>;

/// All that the server answers.
pub(crate) fn app(models: Arc<Models>, max_body: usize) -> Router {
    Router::new()
        .merge(open_inference())
        .route("/metrics", get(page))
        .fallback(|| async { Failed::new(StatusCode::NOT_FOUND, "no such address") })
        .layer(middleware::from_fn_with_state(models.clone(), closing))
        .layer(DefaultBodyLimit::max(max_body))
        .with_state(models)
}

/// The Open Inference Protocol v2.
fn open_inference() -> Router<Arc<Models>> {
    let mut router = Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(|| async { StatusCode::OK }))
        .route("/v2/health/ready", get(ready))
        .route("/v2/repository/index", post(index));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        router = router
            .route(model, get(metadata))
            .route(&format!("{model}/ready"), get(model_ready))
            .route(&format!("{model}/infer"), post(infer));
    }
    router
}

/// A status with a text.
struct Failed {
    status: StatusCode,
    text: String,
}

impl Failed {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.text }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A server that is about to end has clients close their connections.
async fn closing(State(models): Shared, request: HttpRequest, next: Next) -> Response {
    let mut response = next.run(request).await;
    if models.ending.load(Ordering::Acquire) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn server() -> Json<Value> {
    Json(json!({
        "name": "accelerant",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "model_repository(index)"],
    }))
}

async fn ready(State(models): Shared) -> StatusCode {
    match models.ending.load(Ordering::Acquire) {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    }
}

async fn index(State(models): Shared) -> Json<Value> {
    let row = |model: &Model| json!({ "name": model.name, "version": VERSION, "state": "READY" });
    Json(models.all().iter().map(row).collect())
}

async fn page(State(models): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::page(&models))
}

/// The parts of an address that name a model.
#[derive(serde::Deserialize)]
struct Named {
    model: String,
    #[serde(default)]
    version: Option<String>,
}

impl Named {
    fn find<'m>(&self, models: &'m Models) -> Result<&'m Model, Failed> {
        let missing = |text| Failed::new(StatusCode::NOT_FOUND, text);
        let model = models.find(&self.model);
        let model = model.ok_or_else(|| missing(format!("no model is called `{}`", self.model)))?;
        match self.version.as_deref() {
            None | Some(VERSION) => Ok(model),
            Some(other) => {
                Err(missing(format!("`{}` has the version {VERSION}, not {other}", self.model)))
            }
        }
    }
}

async fn metadata(State(models): Shared, Path(named): Path<Named>) -> Result<Json<Value>, Failed> {
    let model = named.find(&models)?;
    Ok(Json(protocol::metadata(&model.name, &model.platform, &model.signature)))
}

async fn model_ready(
    State(models): Shared,
    Path(named): Path<Named>,
) -> Result<StatusCode, Failed> {
    named.find(&models)?;
    Ok(ready(State(models)).await)
}

async fn infer(
    State(models): Shared,
    Path(named): Path<Named>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    let model = named.find(&models)?;
    let bad = |text| Failed::new(StatusCode::BAD_REQUEST, text);
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        let text = "the body is compressed, which this server does not read";
        return Err(Failed::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let json = headers.get(JSON_LENGTH).map(|value| {
        let length = value.to_str().ok().and_then(|value| value.parse().ok());
        length.ok_or_else(|| bad(format!("{JSON_LENGTH} is no number of bytes")))
    });
    let (request, inputs) =
        Request::read(&body, json.transpose()?, &model.signature).map_err(bad)?;
    let outputs = model.infer(&inputs).await.map_err(|e| {
        let status = match e.kind() {
            ErrorKind::InvalidArgument
            | ErrorKind::ShapeMismatch
            | ErrorKind::DTypeMismatch
            | ErrorKind::InputMismatch
            | ErrorKind::OutOfProfile => StatusCode::BAD_REQUEST,
            ErrorKind::QueueFull | ErrorKind::ShutDown => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failed::new(status, e.to_string())
    })?;
    let answer = request.answer(&model.name, &model.signature, &outputs).map_err(bad)?;
    let mut response = answer.bytes.into_response();
    let kind = match answer.json {
        None => "application/json",
        Some(length) => {
            response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
