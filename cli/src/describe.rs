//! Signatures, bytes and tables, for people and as JSON.

use accelerant::{Dim, HostTensor, InferenceModule, Signature, Symbol, TensorSpec};
use serde_json::{Value, json};

use crate::shapes::symbol;
use crate::terminal;

/// Inputs and outputs as JSON.
pub(crate) fn signature(signature: &Signature) -> Value {
    let list = |specs: &[TensorSpec]| specs.iter().map(spec).collect::<Vec<_>>();
    json!({ "inputs": list(&signature.inputs), "outputs": list(&signature.outputs) })
}

fn spec(spec: &TensorSpec) -> Value {
    let shape: Vec<Value> = spec.shape.dims().iter().map(dim).collect();
    json!({ "name": spec.name, "dtype": spec.dtype.to_string(), "shape": shape })
}

fn dim(dim: &Dim) -> Value {
    match dim {
        Dim::Symbol(symbol) if symbol.max() == Symbol::UNBOUNDED => {
            json!({ "symbol": symbol.name() })
        }
        Dim::Symbol(symbol) => json!({
            "symbol": symbol.name(), "min": symbol.min(), "opt": symbol.opt(), "max": symbol.max(),
        }),
        fixed => json!(fixed.max()),
    }
}

/// Inputs and outputs, a line each.
pub(crate) fn lines(signature: &Signature) -> String {
    let line = |what: &str, spec: &TensorSpec| {
        format!("  {what:<6}  {}\n", terminal::name(&spec.to_string()))
    };
    let inputs = signature.inputs.iter().map(|spec| line("input", spec));
    let lines = inputs.chain(signature.outputs.iter().map(|spec| line("output", spec)));
    let mut text: String = lines.collect();
    let mut told = Vec::new();
    for symbol in signature.inputs.iter().flat_map(|spec| spec.shape.dims()).filter_map(symbol) {
        if symbol.max() != Symbol::UNBOUNDED && !told.contains(&symbol.name()) {
            told.push(symbol.name());
            let (name, min, max) = (symbol.name(), symbol.min(), symbol.max());
            text += &format!("  size    {name} in {min}..={max}, tuned for {:?}\n", symbol.sizes());
        }
    }
    text
}

/// A number of bytes.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            let digits = if unit == "bytes" { 0 } else { 1 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    unreachable!("the last unit takes every number")
}

/// Which backend runs, and which were passed over.
pub(crate) fn backend(module: &InferenceModule) -> String {
    let mut text = format!("backend   {}: {}\n", module.backend(), module.description());
    for rejected in module.rejected() {
        text += &format!("  not taken {rejected}\n");
    }
    if let Some(note) = module.precision_report().and_then(|report| report.note.as_ref()) {
        text += &format!("precision {note}\n");
    }
    text
}

/// The values of a tensor as numbers.
pub(crate) fn numbers(tensor: &HostTensor) -> Vec<f64> {
    use accelerant::DType;
    macro_rules! read {
        ($type:ty) => {
            tensor.to_vec::<$type>().unwrap_or_default().into_iter().map(|x| x as f64).collect()
        };
    }
    match tensor.dtype() {
        DType::F32 => read!(f32),
        DType::F64 => read!(f64),
        DType::F16 => {
            let values = tensor.to_vec::<half::f16>().unwrap_or_default();
            values.into_iter().map(f64::from).collect()
        }
        DType::BF16 => {
            let values = tensor.to_vec::<half::bf16>().unwrap_or_default();
            values.into_iter().map(f64::from).collect()
        }
        DType::I8 => read!(i8),
        DType::I16 => read!(i16),
        DType::I32 => read!(i32),
        DType::I64 => read!(i64),
        DType::U16 => read!(u16),
        DType::U32 => read!(u32),
        DType::U64 => read!(u64),
        // Bools are a byte each, 0 or 1.
        _ => tensor.bytes().iter().map(|&byte| f64::from(byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_fits() {
        let rows =
            [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 40, "5120.0 GiB")];
        for (count, expected) in rows {
            assert_eq!(bytes(count), expected);
        }
    }
}
