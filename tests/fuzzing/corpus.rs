//! What is changed: the models of `tests/data`, some with the layers of real networks, and those of a folder that
//! `ACCELERANT_FUZZ_CORPUS` names.

use std::path::{Path, PathBuf};

use accelerant::export::{Conv, GraphBuilder, OnnxModel};
use accelerant::{DType, Dim, HostTensor};

const FOLDER: &str = "ACCELERANT_FUZZ_CORPUS";
/// Larger files take too long, one change after the other.
const MOST: u64 = 256 << 10;

/// Serialized models, those of the project first.
pub(crate) fn models() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    list(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"), &mut files);
    if let Some(folder) = std::env::var_os(FOLDER) {
        list(Path::new(&folder), &mut files);
    }
    let mut models: Vec<_> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
    models.extend(networks().into_iter().map(|model| model.to_bytes()));
    models
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|end| end == "onnx")
            && path.metadata().unwrap().len() <= MOST
        {
            files.push(path);
        }
    }
}

fn values(shape: &[usize]) -> HostTensor {
    let value = |i: usize| (i * 31 % 17) as f32 / 17.0 - 0.5;
    HostTensor::from_vec(shape, (0..shape.iter().product()).map(value).collect()).unwrap()
}

/// Small networks of each kind that are built and loaded in a few milliseconds.
pub(crate) fn networks() -> Vec<OnnxModel> {
    let batch = || Dim::dynamic("batch", 1..=8).unwrap();
    let build = |name: &str, make: &dyn Fn(&GraphBuilder) -> accelerant::Result<()>| {
        let graph = GraphBuilder::new(name);
        make(&graph).unwrap();
        graph.finish().unwrap()
    };
    vec![
        build("perceptron", &|graph| {
            let x = graph.input("x", DType::F32, [batch(), 16.into()])?;
            let w = graph.weight("w", values(&[16, 32]))?;
            let b = graph.weight("b", values(&[32]))?;
            let v = graph.weight("v", values(&[32, 4]))?;
            let hidden = x.matmul(&w)?.add(&b)?.relu()?;
            graph.output("y", &hidden.matmul(&v)?.softmax(1)?)
        }),
        build("convolution", &|graph| {
            let x = graph.input("x", DType::F32, [batch(), 3.into(), 16.into(), 16.into()])?;
            let w = graph.weight("w", values(&[8, 3, 3, 3]))?;
            let b = graph.weight("b", values(&[8]))?;
            let conv = Conv::new(2).padding([(1, 1), (1, 1)]);
            graph.output("y", &x.conv(&w, Some(&b), &conv)?.relu()?)
        }),
        build("attention", &|graph| {
            let x = graph.input("x", DType::F32, [batch(), 5.into(), 8.into()])?;
            let w = graph.weight("w", values(&[8, 8]))?;
            let (q, k) = (x.matmul(&w)?, x.matmul(&w)?);
            let scores = q.matmul(&k.transpose(&[0, 2, 1])?)?.affine(0.35, 0.0)?.softmax(2)?;
            graph.output("y", &scores.matmul(&x)?.tanh()?)
        }),
        build("lookup", &|graph| {
            let index = graph.input("index", DType::I64, [batch()])?;
            let table = graph.weight("table", values(&[10, 4]))?;
            graph.output("row", &table.gather(&index, 0)?)
        }),
    ]
}
