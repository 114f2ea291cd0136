//! Models on which tract or ONNX Runtime was seen to end the process, or never to end: each gives an error or a result in
//! bounded time, and the process goes on.
#![cfg(all(feature = "ort", feature = "tract"))]

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use accelerant::HostTensor;
use accelerant::backend::{Backend, ort::Ort, tract::Tract};
use accelerant::export::OnnxModel;

/// For a compile and a run of a model of a few kilobytes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Small sizes for all that is open, and ones for values.
fn inputs(model: &OnnxModel) -> Vec<HostTensor> {
    let specs = &model.signature().inputs;
    let tensor = |spec: &accelerant::TensorSpec| {
        let sizes: Vec<usize> = spec.shape.dims().iter().map(|dim| dim.min().min(64)).collect();
        let count = sizes.iter().product::<usize>() * spec.dtype.size();
        HostTensor::from_bytes(spec.dtype, sizes, vec![0u8; count]).unwrap()
    };
    specs.iter().map(tensor).collect()
}

fn attempt(backend: &dyn Backend, path: &Path) -> String {
    let model = match OnnxModel::open(path) {
        Ok(model) => model,
        Err(error) => return format!("not read: {error}"),
    };
    match backend.build_and_load(&model) {
        Ok((_, executable)) => match executable.run(&inputs(&model)) {
            Ok(outputs) => format!("{} outputs", outputs.len()),
            Err(error) => format!("not run: {error}"),
        },
        Err(error) => format!("not built: {error}"),
    }
}

#[test]
fn nothing_ends_the_process() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hostile");
    let folder = std::env::var_os("ACCELERANT_HOSTILE").map_or(folder, PathBuf::from);
    let entries = folder.read_dir().expect("the folder of models").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut backends: Vec<Arc<dyn Backend>> = vec![Arc::new(Tract)];
    match Ort.probe() {
        Ok(()) => backends.push(Arc::new(Ort)),
        Err(reason) => common::skipped("nothing_ends_the_process on ONNX Runtime", reason),
    }
    let told = std::env::var_os("ACCELERANT_HOSTILE_TOLD").is_some();
    for path in paths {
        for backend in &backends {
            let place = format!("{}, {}", path.file_name().unwrap().display(), backend.kind());
            if told {
                eprintln!("{place}");
            }
            let (sender, receiver) = mpsc::channel();
            let (start, path, backend) = (Instant::now(), path.clone(), backend.clone());
            thread::spawn(move || sender.send(attempt(&*backend, &path)));
            let outcome = receiver.recv_timeout(LIMIT);
            let outcome = outcome.unwrap_or_else(|e| panic!("{place}: after {LIMIT:?}: {e}"));
            if told {
                let short: String = outcome.chars().take(160).collect();
                eprintln!("  {:.2} s: {short}", start.elapsed().as_secs_f64());
            }
        }
    }
}
