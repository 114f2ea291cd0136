//! The text of a `config.pbtxt`, as `ModelConfig` of Triton's `model_config.proto` has it. Reads and writes no file.

use std::fmt::Write as _;

use accelerant::{DType, Dim, Signature, Symbol, TensorSpec};

use crate::fail::{Failure, Result};
use crate::shapes::symbol;

/// What Triton is told of a model.
pub(crate) struct Config<'a> {
    pub(crate) name: &'a str,
    /// `onnxruntime` or `tensorrt`.
    pub(crate) backend: &'a str,
    /// The file in the folder of a version.
    pub(crate) file: &'a str,
    pub(crate) signature: &'a Signature,
    /// The most rows of a batch; 0 where the model takes no batches.
    pub(crate) max_batch: usize,
    /// Sizes of batches that are waited for.
    pub(crate) preferred: &'a [usize],
    /// The longest that a request waits for others, in microseconds.
    pub(crate) delay: u64,
    pub(crate) instances: Instances<'a>,
    pub(crate) warm_up: bool,
    /// Has ONNX Runtime run TensorRT, in this precision.
    pub(crate) accelerated: Option<&'a str>,
}

/// How many executions at once, and where.
#[derive(Clone, Copy)]
pub(crate) struct Instances<'a> {
    pub(crate) count: usize,
    /// The GPUs; empty for all of them.
    pub(crate) gpus: &'a [u32],
    pub(crate) cpu: bool,
}

/// The symbol of the batch: the first size of every input, and of every output under some name.
///
/// # Errors
/// Tells which tensor keeps the model from taking batches.
pub(crate) fn batch(signature: &Signature) -> Result<&Symbol, String> {
    let first = |spec: &'_ TensorSpec| spec.shape.dims().first().cloned();
    let mut found: Option<&Symbol> = None;
    for spec in &signature.inputs {
        let Some(size) = spec.shape.dims().first().and_then(symbol) else {
            return Err(format!("the first size of the input `{}` is none that varies", spec.name));
        };
        match found {
            Some(known) if known.name() != size.name() => {
                let (known, size) = (known.name(), size.name());
                return Err(format!(
                    "the input `{}` begins with `{size}`, and another one with `{known}`",
                    spec.name
                ));
            }
            _ => found = Some(size),
        }
    }
    for spec in &signature.outputs {
        if !matches!(first(spec), Some(Dim::Symbol(_))) {
            return Err(format!(
                "the first size of the output `{}` is none that varies",
                spec.name
            ));
        }
    }
    found.ok_or_else(|| "it has no inputs".into())
}

impl Config<'_> {
    /// The whole file.
    ///
    /// # Errors
    /// For a type that Triton does not have.
    pub(crate) fn text(&self) -> Result<String> {
        let mut text = String::from("# Written by `accelerant serve-export`.\n");
        let _ = writeln!(text, "name: {}", quoted(self.name));
        let _ = writeln!(text, "backend: {}", quoted(self.backend));
        let _ = writeln!(text, "default_model_filename: {}", quoted(self.file));
        let _ = writeln!(text, "max_batch_size: {}", self.max_batch);
        for (field, specs) in
            [("input", &self.signature.inputs), ("output", &self.signature.outputs)]
        {
            for spec in specs {
                let _ = writeln!(text, "{field} {{");
                let _ = writeln!(text, "  name: {}", quoted(&spec.name));
                let _ = writeln!(text, "  data_type: TYPE_{}", data_type(spec)?);
                text += &sizes(&self.dims(spec));
                text += "}\n";
            }
        }
        if self.max_batch > 0 {
            text += "dynamic_batching {\n";
            for size in self.preferred {
                let _ = writeln!(text, "  preferred_batch_size: {size}");
            }
            let _ = writeln!(text, "  max_queue_delay_microseconds: {}\n}}", self.delay);
        }
        let Instances { count, gpus, cpu } = self.instances;
        let kind = match (cpu, gpus) {
            (true, _) => "KIND_CPU",
            (false, []) => "KIND_AUTO",
            (false, _) => "KIND_GPU",
        };
        let _ = writeln!(text, "instance_group {{\n  count: {count}\n  kind: {kind}");
        for gpu in gpus {
            let _ = writeln!(text, "  gpus: {gpu}");
        }
        text += "}\n";
        if let Some(precision) = self.accelerated {
            let _ = writeln!(
                text,
                "optimization {{\n  execution_accelerators {{\n    gpu_execution_accelerator {{\n      \
                 name: \"tensorrt\"\n      parameters {{ key: \"precision_mode\" value: {} }}\n    }}\n  }}\n}}",
                quoted(precision)
            );
        }
        if self.warm_up {
            text += &self.warm_up()?;
        }
        Ok(text)
    }

    /// Without the size that Triton sets.
    fn dims<'s>(&self, spec: &'s TensorSpec) -> Vec<&'s Dim> {
        let skipped = usize::from(self.max_batch > 0);
        spec.shape.dims().iter().skip(skipped).collect()
    }

    /// One request of the largest batch, and one of a single row.
    fn warm_up(&self) -> Result<String> {
        let mut text = String::new();
        let batches = match self.max_batch {
            0 | 1 => vec![self.max_batch],
            most => vec![1, most],
        };
        for batch in batches {
            let _ =
                writeln!(text, "model_warmup {{\n  name: \"batch {batch}\"\n  batch_size: {batch}");
            for spec in &self.signature.inputs {
                let _ = writeln!(text, "  inputs {{\n    key: {}", quoted(&spec.name));
                let _ = writeln!(text, "    value {{\n      data_type: TYPE_{}", data_type(spec)?);
                let mut dims: Vec<usize> = self.dims(spec).into_iter().map(usual).collect();
                if dims.is_empty() && self.max_batch == 0 {
                    dims.push(1);
                }
                for size in dims {
                    let _ = writeln!(text, "      dims: {size}");
                }
                // Whole numbers are places in tables, of which each has the first.
                let values = if spec.dtype.is_float() { "random_data" } else { "zero_data" };
                let _ = writeln!(text, "      {values}: true\n    }}\n  }}");
            }
            text += "}\n";
        }
        Ok(text)
    }
}

/// The sizes of a tensor. One without axes has one value, which Triton calls a vector of one.
fn sizes(dims: &[&Dim]) -> String {
    if dims.is_empty() {
        return "  dims: 1\n  reshape {}\n".into();
    }
    let size = |dim: &&Dim| dim.fixed().map_or_else(|| "-1".into(), |size| size.to_string());
    dims.iter().map(|dim| format!("  dims: {}\n", size(dim))).collect()
}

fn usual(dim: &Dim) -> usize {
    match symbol(dim) {
        Some(symbol) if symbol.max() == Symbol::UNBOUNDED => symbol.min().max(1),
        _ => dim.opt(),
    }
}

fn data_type(spec: &TensorSpec) -> Result<&'static str> {
    Ok(match spec.dtype {
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
        other => {
            let text = format!("`{}` is of type {other}, which Triton does not have", spec.name);
            return Err(Failure::usage(text));
        }
    })
}

/// A string of protobuf's text format.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03o}");
            }
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_one_whatever_is_in_it() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(quoted("ö\n"), r#""\303\266\012""#);
    }
}
