//! Inference requests of the Open Inference Protocol: from a body to tensors, and from tensors to an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accelerant::{DType, HostTensor, Signature};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::data::{Data, Written};
use crate::fail::{Failure, Result};
use crate::models::{Model, VERSION};
use crate::server::Server;
use crate::{binary, body, datatype, respond};

/// No model has more axes.
const MOST_AXES: usize = 64;
/// More bytes than this are not read or written on a thread that serves connections.
const HEAVY: usize = 64 << 10;

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: AskedParameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Option<Vec<Output>>,
}

#[derive(Default, Deserialize)]
struct AskedParameters {
    #[serde(default)]
    binary_data_output: bool,
    sequence_id: Option<IgnoredAny>,
    /// Microseconds.
    timeout: Option<u64>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: TensorParameters,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: TensorParameters,
}

#[derive(Default, Deserialize)]
struct TensorParameters {
    binary_data_size: Option<i64>,
    binary_data: Option<bool>,
    classification: Option<IgnoredAny>,
    shared_memory_region: Option<IgnoredAny>,
}

/// What a request comes to.
struct Wanted {
    id: Option<String>,
    inputs: Vec<HostTensor>,
    /// Outputs by their place, and whether as bytes.
    outputs: Vec<(usize, bool)>,
    /// The longest that the client waits.
    limit: Option<Duration>,
}

#[derive(Serialize)]
struct Answer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<Given<'a>>,
}

#[derive(Serialize)]
struct Given<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Written>,
}

#[derive(Serialize)]
struct Size {
    binary_data_size: usize,
}

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
    let start = Instant::now();
    let model = match server.model(name, version) {
        Ok(model) => model,
        Err(failure) => return failure.into_response(),
    };
    let about = |failure: Failure| failure.about(format_args!("model `{name}`")).into_response();
    let response = answer(server, model, request).await.unwrap_or_else(about);
    model.outcomes.count(response.status(), start.elapsed());
    response
}

async fn answer(server: &Server, model: &Arc<Model>, request: Request) -> Result<Response> {
    let headers = request.headers().clone();
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|value| *value != "identity") {
        let text = format!("the body is encoded as {encoding:?}; send it as it is");
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let held = body::read(request, &server.room, server.read_limit).await?;
    let (of, bytes) = (model.clone(), held.bytes.clone());
    let read = move || read(of.signature(), &headers, &bytes);
    let Wanted { id, inputs, outputs, limit } = heavy(held.bytes.len(), read).await??;
    let tensors = within(limit, model.run(&inputs)).await?;
    drop((inputs, held));
    let size = tensors.iter().map(|tensor| tensor.bytes().len()).sum();
    let of = model.clone();
    heavy(size, move || write(&of, id, &tensors, &outputs)).await?
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

/// Does work, beside the threads that serve connections if it may take long.
async fn heavy<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if bytes <= HEAVY {
        return Ok(work());
    }
    let failed = |e: tokio::task::JoinError| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the request was given up: {e}"))
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

/// The tensors of a request.
fn read(signature: &Signature, headers: &HeaderMap, body: &Bytes) -> Result<Wanted> {
    let (json, mut parts) = binary::split(headers, body)?;
    let asked: Asked = serde_json::from_slice(&json)
        .map_err(|e| Failure::bad(format!("the request is not valid: {e}")))?;
    if asked.parameters.sequence_id.is_some() {
        return Err(Failure::bad("sequences are not supported"));
    }
    let mut given: Vec<Option<HostTensor>> = vec![None; signature.inputs.len()];
    for input in asked.inputs {
        let Some(place) = signature.inputs.iter().position(|spec| spec.name == input.name) else {
            let names: Vec<_> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let names = names.join("`, `");
            return Err(Failure::bad(format!(
                "there is no input `{}`; there are `{names}`",
                input.name
            )));
        };
        let name = &signature.inputs[place].name;
        if given[place].is_some() {
            return Err(Failure::bad(format!("the input `{name}` is there twice")));
        }
        let tensor = tensor(input, &mut parts);
        let tensor = tensor.map_err(|text| Failure::bad(format!("tensor `{name}`: {text}")))?;
        given[place] = Some(tensor);
    }
    parts.end()?;
    let inputs = given.into_iter().zip(&signature.inputs).map(|(tensor, spec)| {
        tensor.ok_or_else(|| Failure::bad(format!("the input `{}` is missing", spec.name)))
    });
    let inputs = inputs.collect::<Result<_>>()?;
    let outputs = outputs(signature, asked.outputs, asked.parameters.binary_data_output)?;
    // As Triton has it, 0 is no limit.
    let limit = asked.parameters.timeout.filter(|micros| *micros > 0).map(Duration::from_micros);
    Ok(Wanted { id: asked.id, inputs, outputs, limit })
}

fn tensor(input: Input, parts: &mut binary::Parts) -> Result<HostTensor, String> {
    let Input { datatype, shape, parameters, data, .. } = input;
    if parameters.shared_memory_region.is_some() {
        return Err("shared memory is not supported".into());
    }
    let dtype: DType = datatype::of_name(&datatype)
        .ok_or_else(|| format!("the datatype `{datatype}` is not supported"))?;
    if shape.len() > MOST_AXES {
        return Err(format!("the shape has {} axes", shape.len()));
    }
    let size = |(axis, size): (usize, i64)| {
        usize::try_from(size).map_err(|_| format!("axis {axis}: the size is {size}"))
    };
    let shape: Vec<usize> = shape.into_iter().enumerate().map(size).collect::<Result<_, _>>()?;
    match (data, parameters.binary_data_size) {
        (Some(_), Some(_)) => Err("there are both data and binary_data_size".into()),
        (Some(data), None) => data.tensor(dtype, &shape),
        (None, Some(size)) => parts.tensor(size, dtype, &shape),
        (None, None) => Err("there is neither data nor binary_data_size".into()),
    }
}

/// Which outputs are wanted, and whether as bytes.
fn outputs(
    signature: &Signature,
    asked: Option<Vec<Output>>,
    binary: bool,
) -> Result<Vec<(usize, bool)>> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok((0..signature.outputs.len()).map(|place| (place, binary)).collect());
    };
    let mut wanted: Vec<(usize, bool)> = Vec::new();
    for Output { name, parameters } in asked {
        let Some(place) = signature.outputs.iter().position(|spec| spec.name == name) else {
            let names: Vec<_> = signature.outputs.iter().map(|spec| spec.name.as_str()).collect();
            let names = names.join("`, `");
            return Err(Failure::bad(format!("there is no output `{name}`; there are `{names}`")));
        };
        let refuse = |text: &str| Err(Failure::bad(format!("tensor `{name}`: {text}")));
        if wanted.iter().any(|(known, _)| *known == place) {
            return Err(Failure::bad(format!("the output `{name}` is there twice")));
        }
        if parameters.classification.is_some() {
            return refuse("classification is not supported");
        }
        if parameters.shared_memory_region.is_some() {
            return refuse("shared memory is not supported");
        }
        wanted.push((place, parameters.binary_data.unwrap_or(binary)));
    }
    Ok(wanted)
}

/// The answer: JSON, and behind it the bytes of those outputs that are wanted so.
fn write(
    model: &Model,
    id: Option<String>,
    tensors: &[HostTensor],
    wanted: &[(usize, bool)],
) -> Result<Response> {
    let mut outputs = Vec::with_capacity(wanted.len());
    for &(place, binary) in wanted {
        let (spec, tensor) = (&model.signature().outputs[place], &tensors[place]);
        let failed = |text| Failure::bad(format!("tensor `{}`: {text}", spec.name));
        let (parameters, data) = match binary {
            true => (Some(Size { binary_data_size: tensor.bytes().len() }), None),
            false => (None, Some(Written::of(tensor).map_err(failed)?)),
        };
        let (name, datatype) = (spec.name.as_str(), datatype::name(tensor.dtype()));
        outputs.push(Given { name, datatype, shape: tensor.shape(), parameters, data });
    }
    let answer = Answer { model_name: model.name(), model_version: VERSION, id, outputs };
    if !wanted.iter().any(|(_, binary)| *binary) {
        return Ok(respond::json(&answer));
    }
    let failed = |e: serde_json::Error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no answer can be written: {e}"))
    };
    let mut bytes = serde_json::to_vec(&answer).map_err(failed)?;
    let length = bytes.len();
    for (place, _) in wanted.iter().filter(|(_, binary)| *binary) {
        bytes.extend_from_slice(tensors[*place].bytes());
    }
    let kind = HeaderValue::from_static("application/octet-stream");
    let mut response = respond::of(kind, Body::from(bytes));
    response.headers_mut().insert(binary::JSON_LENGTH, HeaderValue::from(length));
    Ok(response)
}
