//! One model in a process of its own: this test binary, asked for one test, with the model in an
//! environment variable.

use std::{
    env,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use accelerant::backend::{Backend, Executable};
use accelerant::export::OnnxModel;
use accelerant::{BackendKind, DType, Error, HostTensor, Registry};
use serde_json::Value;

const MODEL: &str = "ACCELERANT_IMPORT_MODEL";
const BACKEND: &str = "ACCELERANT_IMPORT_BACKEND";
const MARK: &str = "outcome: ";

/// What became of a model on a backend.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Built; and, where samples are, run with the right values.
    Right,
    /// An error, when it was opened or built or run.
    Refused(String),
    Wrong(String),
    /// The process ended, or had to be ended.
    Ended(String),
}

/// The backends here, by a name that says what stands behind them.
pub(crate) fn backends() -> Vec<(&'static str, std::sync::Arc<dyn Backend>)> {
    let registry = Registry::default();
    let named = registry.backends().iter().filter_map(|backend| {
        let name = match backend.kind() {
            BackendKind::TensorRt => return None,
            BackendKind::TensorRtRtx => "tensorrt-rtx",
            BackendKind::Tract => "tract",
            _ => "onnxruntime",
        };
        // Its library may not be here.
        let there = match name {
            "onnxruntime" => backend.probe().is_ok(),
            _ => !backend.description().contains("cannot be loaded"),
        };
        there.then(|| (name, backend.clone()))
    });
    named.collect()
}

pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import")
}

/// The models of `index.json`.
pub(crate) fn index() -> Vec<Value> {
    let text = std::fs::read_to_string(data().join("cases/index.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Runs a model, given by its place under `tests/data/import`, in a process of its own.
pub(crate) fn in_child(model: &str, backend: &str, limit: Duration) -> Outcome {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child::one_model", "--nocapture", "--test-threads=1"]);
    command.env(MODEL, model).env(BACKEND, backend);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = reader.join().unwrap();
    let Some(line) = text.lines().find_map(|line| line.split_once(MARK)).map(|(_, line)| line)
    else {
        return Outcome::Ended(match status {
            Some(status) => status.to_string(),
            None => format!("not done after {} s", limit.as_secs()),
        });
    };
    let (kind, text) = line.split_once('|').unwrap();
    match kind {
        "right" => Outcome::Right,
        "refused" => Outcome::Refused(text.to_owned()),
        _ => Outcome::Wrong(text.to_owned()),
    }
}

/// Does what [`in_child`] asked for; nothing when no process asked.
#[test]
fn one_model() {
    let (Ok(model), Ok(name)) = (env::var(MODEL), env::var(BACKEND)) else { return };
    let (_, backend) = backends().into_iter().find(|(known, _)| *known == name).unwrap();
    let (kind, text) = match outcome(&model, &name, &*backend) {
        Ok(None) => ("right", String::new()),
        Ok(Some(wrong)) => ("wrong", wrong),
        Err(error) => ("refused", error.to_string()),
    };
    println!("{MARK}{kind}|{}", text.replace('\n', " "));
}

/// `None` when all is right.
fn outcome(model: &str, name: &str, backend: &dyn Backend) -> Result<Option<String>, Error> {
    let case = index().into_iter().find(|case| case["name"] == *model);
    let path = match &case {
        Some(case) => data().join("cases").join(case["model"].as_str().unwrap()),
        None => data().join(model),
    };
    let mut opened = OnnxModel::open(path)?;
    let binds = case.as_ref().and_then(|case| case["bind"].as_object()).into_iter().flatten();
    for (symbol, range) in binds {
        // Not every case has all symbols that are stated for all.
        let [low, high] = [0, 1].map(|i| range[i].as_u64().unwrap() as usize);
        match opened.clone().bind(symbol, low..=high) {
            Ok(bound) => opened = bound,
            Err(error) => assert!(error.to_string().contains("no input has"), "{error}"),
        }
    }
    if name == "tensorrt-rtx" {
        if case.is_none() {
            opened = with_every_size(opened);
        }
        return backend.build(&opened).map(|_| None);
    }
    let (_, executable) = backend.build_and_load(&opened)?;
    let Some(case) = case else {
        return executable.run(&zeros(&*executable)).map(|_| None);
    };
    for sample in case["samples"].as_array().unwrap() {
        let [inputs, expected] = ["inputs", "outputs"].map(|side| tensors(&sample[side]));
        let found = executable.run(&inputs)?;
        // Where ONNX Runtime gives nothing, anything but an end will do.
        if !expected.is_empty()
            && let Some(wrong) = differs(&found, &expected)
        {
            return Ok(Some(wrong));
        }
    }
    Ok(None)
}

fn with_every_size(mut model: OnnxModel) -> OnnxModel {
    let dims: Vec<_> =
        model.signature().inputs.iter().flat_map(|i| i.shape.dims()).cloned().collect();
    for dim in dims.iter().filter(|dim| dim.fixed().is_none()) {
        model = model.bind(&dim.to_string(), 1..=4).unwrap();
    }
    model
}

fn zeros(executable: &dyn Executable) -> Vec<HostTensor> {
    let inputs = executable.signature().inputs.iter().map(|spec| {
        let sizes: Vec<usize> =
            spec.shape.dims().iter().map(|dim| dim.min().max(2).min(dim.max())).collect();
        let bytes = vec![0u8; sizes.iter().product::<usize>() * spec.dtype.size()];
        HostTensor::from_bytes(spec.dtype, sizes, bytes).unwrap()
    });
    inputs.collect()
}

fn tensors(list: &Value) -> Vec<HostTensor> {
    let tensors = list.as_array().unwrap().iter().map(|tensor| {
        let sizes = tensor["shape"].as_array().unwrap().iter();
        let sizes: Vec<usize> = sizes.map(|size| size.as_u64().unwrap() as usize).collect();
        let bytes =
            std::fs::read(data().join("cases").join(tensor["file"].as_str().unwrap())).unwrap();
        HostTensor::from_bytes(dtype(tensor["dtype"].as_str().unwrap()), sizes, bytes).unwrap()
    });
    tensors.collect()
}

fn dtype(name: &str) -> DType {
    let all = [DType::F32, DType::F64, DType::I32, DType::I64, DType::U8, DType::Bool];
    all.into_iter().find(|dtype| dtype.to_string() == name).unwrap()
}

fn differs(found: &[HostTensor], expected: &[HostTensor]) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} outputs, not {}", found.len(), expected.len()));
    }
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (shape, dtype) = (found.shape(), found.dtype());
        if (shape, dtype) != (expected.shape(), expected.dtype()) {
            let (right, kind) = (expected.shape(), expected.dtype());
            return Some(format!("output {i}: {dtype} {shape:?}, not {kind} {right:?}"));
        }
        let (found, expected) = (numbers(found), numbers(expected));
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-5 + 2e-5 * b.abs() || a == b;
        if !found.iter().zip(&expected).all(near) {
            return Some(format!("output {i}: {found:?}, not {expected:?}"));
        }
    }
    None
}

fn numbers(tensor: &HostTensor) -> Vec<f64> {
    macro_rules! of {
        ($type:ty) => {
            tensor.to_vec::<$type>().unwrap().into_iter().map(|value| value as f64).collect()
        };
    }
    match tensor.dtype() {
        DType::F32 => of!(f32),
        DType::F64 => of!(f64),
        DType::I32 => of!(i32),
        DType::I64 => of!(i64),
        DType::Bool => {
            tensor.to_vec::<bool>().unwrap().into_iter().map(|b| b as u8 as f64).collect()
        }
        _ => of!(u8),
    }
}
