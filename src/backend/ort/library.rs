//! Which library stands behind `ort`: chosen once a process, since its function table is global.

use std::{env, sync::OnceLock};

use ort::environment::Environment;

use crate::error::{Error, ErrorKind, Result};

/// The environment variable that names an ONNX Runtime library.
const DYLIB: &str = "ORT_DYLIB_PATH";

pub(super) struct Library {
    pub(super) environment: Environment,
    /// For people.
    pub(super) description: String,
    /// What an engine has to agree with.
    pub(super) version: String,
    /// A real ONNX Runtime.
    pub(super) native: bool,
}

pub(super) fn load() -> Result<&'static Library> {
    static LIBRARY: OnceLock<Result<Library>> = OnceLock::new();
    LIBRARY.get_or_init(open).as_ref().map_err(|e| Error::new(e.kind(), e.to_string()))
}

fn open() -> Result<Library> {
    let failed =
        |text: String| Error::new(ErrorKind::LibraryNotFound, text).in_operation("load ort");
    let path = env::var(DYLIB).ok().filter(|path| !path.is_empty());
    let builder = match &path {
        Some(path) => ort::init_from(path).map_err(|e| failed(format!("{DYLIB}={path}: {e}")))?,
        None => {
            ort::set_api(ort_tract::api());
            ort::init()
        }
    };
    let environment = builder.build().map_err(|e| failed(e.to_string()))?;
    let (version, description) = match &path {
        Some(path) => {
            let version = version(ort::info());
            (format!("onnxruntime {version}"), format!("ONNX Runtime {version} from {path}"))
        }
        None => ("tract 0.23".to_owned(), "tract 0.23 (pure Rust)".to_owned()),
    };
    Ok(Library { environment, description, version, native: path.is_some() })
}

/// The release that ONNX Runtime's build information names, e.g. `rel-1.24.1`.
fn version(info: &str) -> String {
    let branch = info.split("git-branch=").nth(1).and_then(|rest| rest.split(',').next());
    branch.map_or_else(
        || "of unknown version".to_owned(),
        |name| name.trim_start_matches("rel-").to_owned(),
    )
}
