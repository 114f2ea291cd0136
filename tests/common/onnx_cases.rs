//! ONNX's own node tests, as `tests/data/onnx_cases.py` dumps them. Nothing of what runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use accelerant::{DType, HostTensor};

use super::Tolerance;

/// The folder that `ACCELERANT_ONNX_CASES` names, or one that python has just filled.
pub enum Folder {
    Named(PathBuf),
    Made(tempfile::TempDir),
}

impl Folder {
    pub fn new() -> Result<Self, String> {
        if let Some(named) = std::env::var_os("ACCELERANT_ONNX_CASES") {
            return Ok(Self::Named(named.into()));
        }
        let made = tempfile::tempdir().map_err(|e| e.to_string())?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx_cases.py");
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let run = Command::new(&python).arg(script).arg(made.path()).output();
        let run = run.map_err(|e| format!("{}: {e}", python.display()))?;
        match run.status.success() {
            true => Ok(Self::Made(made)),
            false => Err(String::from_utf8_lossy(&run.stderr).lines().last().unwrap_or("").into()),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Made(folder) => folder.path(),
        }
    }
}

pub struct Case {
    pub name: String,
    pub tolerance: Tolerance,
    pub inputs: Vec<HostTensor>,
    pub outputs: Vec<HostTensor>,
}

fn tensors(folder: &Path, field: &str) -> Vec<HostTensor> {
    let tensor = |text: &str| {
        let [dtype, sizes, file] =
            text.splitn(3, ':').collect::<Vec<_>>().try_into().expect("three parts");
        let dtype: DType = dtype.parse().expect("a known type");
        let sizes = sizes.split('x').filter(|size| !size.is_empty());
        let sizes: Vec<usize> = sizes.map(|size| size.parse().expect("a size")).collect();
        let bytes = std::fs::read(folder.join(file)).expect("the tensor's file");
        HostTensor::from_bytes(dtype, sizes, bytes)
            .expect("as many bytes as the type and sizes need")
    };
    field.split_whitespace().map(tensor).collect()
}

/// All cases, in the order in which they were dumped.
pub fn cases(folder: &Path) -> Vec<Case> {
    let table = std::fs::read_to_string(folder.join("cases.tsv")).expect("the table of cases");
    let case = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |text: &str| text.parse::<f64>().expect("a tolerance");
        Case {
            name: fields[0].to_owned(),
            tolerance: Tolerance { relative: number(fields[1]), absolute: number(fields[2]) },
            inputs: tensors(folder, fields[3]),
            outputs: tensors(folder, fields[4]),
        }
    };
    table.lines().map(case).collect()
}
