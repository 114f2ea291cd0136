//! Requests for inference, as the Open Inference Protocol has them: from a body to the tensors of a model.

use std::time::Duration;

use accelerant::{DType, HostTensor, Signature};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::data::Data;
use crate::fail::{Failure, Result};
use crate::{binary, datatype};

/// No model has more axes.
const MOST_AXES: usize = 64;

#[derive(Deserialize)]
#[serde(expecting = "an object of fields")]
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
pub(crate) struct Wanted {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Vec<HostTensor>,
    /// Outputs by their place, and whether as bytes.
    pub(crate) outputs: Vec<(usize, bool)>,
    /// The longest that the client waits.
    pub(crate) limit: Option<Duration>,
}

/// The tensors of a request.
pub(crate) fn read(signature: &Signature, headers: &HeaderMap, body: &Bytes) -> Result<Wanted> {
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
        .ok_or_else(|| format!("the datatype `{datatype}` is none of {}", datatype::names()))?;
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
