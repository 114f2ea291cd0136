//! Answers to requests for inference: JSON, and tensors as bytes behind it.

use accelerant::HostTensor;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use crate::fail::{Failure, Result};
use crate::models::{Model, VERSION};
use crate::written::Written;
use crate::{binary, datatype, respond};

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

/// The answer: JSON, and behind it the bytes of those outputs that are wanted so.
pub(crate) fn write(
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
