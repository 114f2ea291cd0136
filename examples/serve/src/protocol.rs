//! The Open Inference Protocol v2: JSON with or without the raw bytes of tensors behind it, to tensors and back. Knows
//! no HTTP and no models.
//!
//! With Triton's extension `binary_tensor_data` a body is JSON, of a length that a header tells, and then the bytes of
//! the tensors that have a `binary_data_size`, in their order, little-endian.

use accelerant::{DType, Dim, HostTensor, Signature, TensorSpec};
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A refusal that the client reads.
pub(crate) type Refused = String;

#[derive(Deserialize)]
pub(crate) struct Request {
    #[serde(default)]
    id: Option<String>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<WantedOutput>,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    parameters: Map<String, Value>,
}

#[derive(Deserialize)]
struct WantedOutput {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// A body, and the length of its JSON where raw bytes follow.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) json: Option<usize>,
}

fn datatype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "FP32",
        DType::F16 => "FP16",
        DType::BF16 => "BF16",
        DType::F64 => "FP64",
        DType::I8 => "INT8",
        DType::I16 => "INT16",
        DType::I32 => "INT32",
        DType::I64 => "INT64",
        DType::U8 => "UINT8",
        DType::U16 => "UINT16",
        DType::U32 => "UINT32",
        DType::U64 => "UINT64",
        DType::Bool => "BOOL",
        _ => "UNKNOWN",
    }
}

/// Inputs and outputs of a model.
pub(crate) fn metadata(name: &str, platform: &str, signature: &Signature) -> Value {
    let size = |dim: &Dim| dim.fixed().map_or(json!(-1), |size| json!(size));
    let tensor = |spec: &TensorSpec| {
        let shape: Vec<Value> = spec.shape.dims().iter().map(size).collect();
        json!({ "name": spec.name, "datatype": datatype(spec.dtype), "shape": shape })
    };
    json!({
        "name": name,
        "versions": [crate::models::VERSION],
        "platform": platform,
        "inputs": signature.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": signature.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}

impl Request {
    /// Reads a body, and the tensors in the order of the signature. `json` is the length of its JSON where raw bytes
    /// follow.
    pub(crate) fn read(
        body: &[u8],
        json: Option<usize>,
        signature: &Signature,
    ) -> Result<(Self, Vec<HostTensor>), Refused> {
        let length = json.unwrap_or(body.len());
        let (text, mut raw) = body.split_at_checked(length).ok_or_else(|| {
            format!("the body has {} bytes, fewer than its JSON of {length}", body.len())
        })?;
        let request: Self = serde_json::from_slice(text)
            .map_err(|e| format!("no request of this protocol: {e}"))?;
        // In the order of the body, since their bytes are in that order.
        let mut read = Vec::with_capacity(request.inputs.len());
        for input in &request.inputs {
            let spec = signature.inputs.iter().find(|spec| spec.name == input.name);
            let spec = spec.ok_or_else(|| format!("the model has no input `{}`", input.name))?;
            if read.iter().any(|(name, _)| *name == input.name) {
                return Err(format!("the input `{}` is there twice", input.name));
            }
            let tensor =
                input.tensor(spec, &mut raw).map_err(|e| format!("input `{}`: {e}", input.name))?;
            read.push((input.name.as_str(), tensor));
        }
        if !raw.is_empty() {
            return Err(format!("{} bytes follow the last tensor", raw.len()));
        }
        let find = |spec: &TensorSpec| {
            let found = read.iter().find(|(name, _)| *name == spec.name);
            let found = found.map(|(_, tensor)| tensor.clone());
            found.ok_or_else(|| format!("the input `{}` is missing", spec.name))
        };
        let tensors = signature.inputs.iter().map(find).collect::<Result<_, _>>()?;
        if let Some(unknown) = request
            .outputs
            .iter()
            .find(|wanted| signature.outputs.iter().all(|o| o.name != wanted.name))
        {
            return Err(format!("the model has no output `{}`", unknown.name));
        }
        for wanted in &request.outputs {
            if wanted.parameters.keys().any(|key| key.starts_with("shared_memory")) {
                return Err(format!("output `{}`: there is no shared memory here", wanted.name));
            }
            if wanted.parameters.get("classification").is_some_and(|n| n != &json!(0)) {
                return Err(format!("output `{}`: there are no labels here", wanted.name));
            }
        }
        Ok((request, tensors))
    }

    /// The answer, with the outputs that are wanted.
    pub(crate) fn answer(
        &self,
        model: &str,
        signature: &Signature,
        outputs: &[HostTensor],
    ) -> Result<Body, Refused> {
        let flag = |of: &Map<String, Value>, name| of.get(name).and_then(Value::as_bool);
        let all_raw = flag(&self.parameters, "binary_data_output").unwrap_or(false);
        let named = || signature.outputs.iter().map(|spec| spec.name.as_str()).zip(outputs);
        let wanted: Vec<(&str, &HostTensor, bool)> = match &*self.outputs {
            [] => named().map(|(name, tensor)| (name, tensor, all_raw)).collect(),
            list => list
                .iter()
                .filter_map(|wanted| {
                    let (name, tensor) = named().find(|(name, _)| *name == wanted.name)?;
                    let raw = flag(&wanted.parameters, "binary_data").unwrap_or(all_raw);
                    Some((name, tensor, raw))
                })
                .collect(),
        };
        let mut raw_bytes = Vec::new();
        let mut described = Vec::with_capacity(wanted.len());
        for (name, tensor, raw) in wanted {
            let mut output = json!({
                "name": name, "datatype": datatype(tensor.dtype()), "shape": tensor.shape(),
            });
            if raw {
                output["parameters"] = json!({ "binary_data_size": tensor.bytes().len() });
                raw_bytes.extend_from_slice(tensor.bytes());
            } else {
                output["data"] = values(tensor)
                    .map_err(|e| format!("output `{name}`: {e}; ask for it as binary data"))?;
            }
            described.push(output);
        }
        let mut answer = json!({
            "model_name": model, "model_version": crate::models::VERSION, "outputs": described,
        });
        if let Some(id) = &self.id {
            answer["id"] = json!(id);
        }
        let mut bytes = answer.to_string().into_bytes();
        let json = (!raw_bytes.is_empty()).then_some(bytes.len());
        bytes.append(&mut raw_bytes);
        Ok(Body { bytes, json })
    }
}

impl Input {
    fn tensor(&self, spec: &TensorSpec, raw: &mut &[u8]) -> Result<HostTensor, Refused> {
        if self.parameters.keys().any(|key| key.starts_with("shared_memory")) {
            return Err("there is no shared memory here".into());
        }
        let expected = datatype(spec.dtype);
        if self.datatype != expected {
            return Err(format!("its type is {expected}, not {}", self.datatype));
        }
        let overflow = || format!("the shape {:?} is too large", self.shape);
        let count = self.shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
        let count = count.ok_or_else(overflow)?;
        let bytes = match (self.parameters.get("binary_data_size"), &self.data) {
            (Some(_), Some(_)) => return Err("it has both `data` and `binary_data_size`".into()),
            (Some(size), None) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("`binary_data_size` is no number of bytes")?;
                let (own, rest) = raw.split_at_checked(size).ok_or_else(|| {
                    format!("{size} bytes are announced, and {} follow", raw.len())
                })?;
                *raw = rest;
                own.to_vec()
            }
            (None, Some(data)) => {
                let mut flat = Vec::new();
                flatten(data, &mut flat);
                if flat.len() != count {
                    let shape = &self.shape;
                    return Err(format!("{} values for the shape {shape:?}", flat.len()));
                }
                encode(&flat, spec.dtype)?
            }
            (None, None) => return Err("it has no `data`".into()),
        };
        if Some(bytes.len()) != count.checked_mul(spec.dtype.size()) {
            return Err(format!("{} bytes for the shape {:?}", bytes.len(), self.shape));
        }
        HostTensor::from_bytes(spec.dtype, self.shape.clone(), bytes).map_err(|e| e.to_string())
    }
}

/// The values of arrays in arrays.
fn flatten<'a>(data: &'a Value, flat: &mut Vec<&'a Value>) {
    match data {
        Value::Array(inner) => inner.iter().for_each(|value| flatten(value, flat)),
        value => flat.push(value),
    }
}

/// Values of JSON as little-endian bytes. A number that the type does not have is refused.
fn encode(values: &[&Value], dtype: DType) -> Result<Vec<u8>, Refused> {
    let wrong = |value: &Value| format!("{value} is no value of type {}", datatype(dtype));
    let mut bytes = Vec::with_capacity(values.len() * dtype.size());
    macro_rules! whole {
        ($value:ident, $type:ty, $read:ident) => {{
            let number = $value.$read().and_then(|n| <$type>::try_from(n).ok());
            bytes.extend_from_slice(&number.ok_or_else(|| wrong($value))?.to_le_bytes())
        }};
    }
    for value in values {
        let float = || value.as_f64().ok_or_else(|| wrong(value));
        match dtype {
            DType::F32 => bytes.extend_from_slice(&(float()? as f32).to_le_bytes()),
            DType::F64 => bytes.extend_from_slice(&float()?.to_le_bytes()),
            DType::F16 => bytes.extend_from_slice(&f16::from_f64(float()?).to_le_bytes()),
            DType::BF16 => bytes.extend_from_slice(&bf16::from_f64(float()?).to_le_bytes()),
            DType::I8 => whole!(value, i8, as_i64),
            DType::I16 => whole!(value, i16, as_i64),
            DType::I32 => whole!(value, i32, as_i64),
            DType::I64 => whole!(value, i64, as_i64),
            DType::U8 => whole!(value, u8, as_u64),
            DType::U16 => whole!(value, u16, as_u64),
            DType::U32 => whole!(value, u32, as_u64),
            DType::U64 => whole!(value, u64, as_u64),
            DType::Bool => {
                // Some clients write 0 and 1.
                let truth = value.as_bool().or_else(|| match value.as_u64() {
                    Some(0) => Some(false),
                    Some(1) => Some(true),
                    _ => None,
                });
                bytes.push(u8::from(truth.ok_or_else(|| wrong(value))?));
            }
            _ => return Err(wrong(value)),
        }
    }
    Ok(bytes)
}

/// The values of a tensor, flat. JSON has no infinity and nothing for what is no number.
fn values(tensor: &HostTensor) -> Result<Value, Refused> {
    macro_rules! list {
        ($type:ty, $to:expr) => {{
            let values = tensor.to_vec::<$type>().map_err(|e| e.to_string())?;
            values.into_iter().map($to).collect::<Result<Vec<Value>, Refused>>()?
        }};
    }
    fn float(value: f64) -> Result<Value, Refused> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| format!("JSON has no {value}"))
    }
    Ok(Value::Array(match tensor.dtype() {
        DType::F32 => list!(f32, |x| float(short(x))),
        DType::F64 => list!(f64, float),
        DType::F16 => list!(f16, |x| float(x.to_f64())),
        DType::BF16 => list!(bf16, |x| float(x.to_f64())),
        DType::I8 => list!(i8, |x| Ok(json!(x))),
        DType::I16 => list!(i16, |x| Ok(json!(x))),
        DType::I32 => list!(i32, |x| Ok(json!(x))),
        DType::I64 => list!(i64, |x| Ok(json!(x))),
        DType::U8 => list!(u8, |x| Ok(json!(x))),
        DType::U16 => list!(u16, |x| Ok(json!(x))),
        DType::U32 => list!(u32, |x| Ok(json!(x))),
        DType::U64 => list!(u64, |x| Ok(json!(x))),
        DType::Bool => list!(bool, |x| Ok(json!(x))),
        other => return Err(format!("JSON has no values of type {other}")),
    }))
}

/// The double whose shortest decimal is that of the float, so that 0.1 stays 0.1.
fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use accelerant::{Dim, Symbol};

    fn signature() -> Signature {
        let n = Symbol::new("n", 1, 2, 4).unwrap();
        let spec =
            |name, dtype| TensorSpec::new(name, dtype, [Dim::Symbol(n.clone()), Dim::Fixed(2)]);
        Signature {
            inputs: vec![spec("x", DType::F32), spec("k", DType::I32)],
            outputs: vec![spec("y", DType::F32)],
        }
    }

    fn refused(body: &[u8], json: Option<usize>) -> String {
        Request::read(body, json, &signature()).err().unwrap_or_default()
    }

    #[test]
    fn json_and_raw_bytes_give_the_same_tensors_in_the_order_of_the_model() {
        let text = r#"{"inputs": [
            {"name": "k", "datatype": "INT32", "shape": [1, 2], "data": [[3, -4]]},
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2]}]}"#;
        let (_, plain) = Request::read(text.as_bytes(), None, &signature()).unwrap();
        let text = r#"{"inputs": [
            {"name": "k", "datatype": "INT32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]}"#;
        let mut body = text.as_bytes().to_vec();
        body.extend([3_i32.to_le_bytes(), (-4_i32).to_le_bytes()].concat());
        body.extend([0.1_f32.to_le_bytes(), 2_f32.to_le_bytes()].concat());
        let (_, raw) = Request::read(&body, Some(text.len()), &signature()).unwrap();
        for tensors in [plain, raw] {
            assert_eq!(tensors[0].to_vec::<f32>().unwrap(), [0.1, 2.0]);
            assert_eq!(tensors[1].to_vec::<i32>().unwrap(), [3, -4]);
        }
        body.push(0);
        assert!(refused(&body, Some(text.len())).contains("1 bytes follow"));
        body.truncate(body.len() - 9);
        assert!(refused(&body, Some(text.len())).contains("8 bytes are announced, and 0 follow"));
        assert!(refused(&body, Some(body.len() + 1)).contains("fewer than its JSON"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let x = |rest: &str| format!(r#"{{"inputs": [{{"name": "x", {rest}}}]}}"#);
        for (body, words) in [
            ("{".to_owned(), "no request of this protocol"),
            (
                x(r#""datatype": "FP64", "shape": [1, 2], "data": [1, 2]"#),
                "its type is FP32, not FP64",
            ),
            (x(r#""datatype": "FP32", "shape": [1, 2], "data": [1]"#), "1 values for the shape"),
            (x(r#""datatype": "FP32", "shape": [1, 2], "data": ["a", 1]"#), "\"a\" is no value"),
            (x(r#""datatype": "FP32", "shape": [1, 2]"#), "it has no `data`"),
            (
                x(r#""datatype": "FP32", "shape": [9223372036854775807, 4], "data": []"#),
                "too large",
            ),
            (x(r#""datatype": "FP32", "shape": [1, 2], "data": [1, 2]"#), "input `k` is missing"),
            (
                x(
                    r#""datatype": "FP32", "shape": [1, 2], "parameters": {"shared_memory_region": "a"}"#,
                ),
                "no shared memory",
            ),
            (
                r#"{"inputs": [{"name": "q", "datatype": "FP32", "shape": [], "data": 1}]}"#.into(),
                "no input `q`",
            ),
        ] {
            let said = refused(body.as_bytes(), None);
            assert!(said.contains(words), "{body}: {said}");
        }
    }

    #[test]
    fn an_answer_has_what_is_wanted_in_the_form_that_is_wanted() {
        let y = HostTensor::from_vec([1, 2], vec![0.1_f32, f32::INFINITY]).unwrap();
        let ask = |outputs: &str| {
            let text = format!(r#"{{"id": "7", "inputs": [], "outputs": {outputs}}}"#);
            let request: Request = serde_json::from_str(&text).unwrap();
            request.answer("m", &signature(), std::slice::from_ref(&y))
        };
        let raw = ask(r#"[{"name": "y", "parameters": {"binary_data": true}}]"#).unwrap();
        let json = raw.json.unwrap();
        let head: Value = serde_json::from_slice(&raw.bytes[..json]).unwrap();
        assert_eq!((&head["id"], &head["model_name"]), (&json!("7"), &json!("m")));
        assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
        assert_eq!(&raw.bytes[json..], &**y.bytes());
        assert!(ask("[]").err().unwrap().contains("JSON has no inf"));
        let finite = HostTensor::from_vec([1], vec![0.1_f32]).unwrap();
        assert_eq!(values(&finite).unwrap().to_string(), "[0.1]");
    }
}
