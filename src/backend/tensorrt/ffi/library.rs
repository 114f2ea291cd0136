//! Finds and loads TensorRT's shared libraries, once for each file in a process, and refuses those
//! of another version. Nothing of models or engines.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use accelerant_sdk::Sdk;
use cxx::SharedPtr;

use super::bridge::{self, Flavor, Version};
use crate::backend::BackendKind;
use crate::error::{Error, ErrorKind, Result};

impl Flavor {
    pub(crate) fn kind(self) -> BackendKind {
        match self {
            Self::Enterprise => BackendKind::TensorRt,
            _ => BackendKind::TensorRtRtx,
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Enterprise => "TensorRT",
            _ => "TensorRT-RTX",
        }
    }

    fn sdk(self) -> Sdk {
        match self {
            Self::Enterprise => accelerant_sdk::TENSORRT,
            _ => accelerant_sdk::TENSORRT_RTX,
        }
    }

    /// The environment variable that names the SDK folder.
    fn variable(self) -> &'static str {
        self.sdk().variable
    }

    /// The SDK folder in the cache, as `accelerant sdk install` makes it.
    fn folder(self, version: Version) -> String {
        match self {
            Self::Enterprise => format!("tensorrt-lean-{version}"),
            _ => format!("tensorrt-rtx-{version}"),
        }
    }

    /// File names of a library that may do, with its parser's. The best comes first.
    fn names(self, major: u32) -> Vec<[String; 2]> {
        let parser = |name: &str| format!("lib{name}.so.{major}");
        match self {
            Self::Enterprise => ["nvinfer", "nvinfer_lean"]
                .map(|core| [format!("lib{core}.so.{major}"), parser("nvonnxparser")])
                .to_vec(),
            _ => vec![[format!("libtensorrt_rtx.so.{major}"), parser("tensorrt_onnxparser_rtx")]],
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.patch, self.build)
    }
}

/// A flavor's libraries, of the version that this crate was compiled for.
pub(crate) struct Library {
    inner: SharedPtr<bridge::Library>,
    pub(crate) flavor: Flavor,
    pub(crate) version: Version,
    pub(crate) path: String,
}

impl Library {
    /// The loaded library: from `root` if given, else from the folder in the environment variable,
    /// else from the cache or the system. A folder that was named is the only one tried.
    pub(crate) fn load(flavor: Flavor, root: Option<&Path>) -> Result<Arc<Self>> {
        let compiled = bridge::header_version(flavor).map_err(|e| {
            let text = format!("{}: {}", flavor.title(), e.what());
            Error::new(ErrorKind::LibraryNotFound, text)
        })?;
        let mut kind = ErrorKind::LibraryNotFound;
        let mut tried = String::new();
        for [core, parser] in candidates(flavor, compiled, root) {
            match Self::open(flavor, compiled, &core, &parser) {
                Ok(library) => return Ok(library),
                Err(error) => {
                    if error.kind() == ErrorKind::VersionMismatch {
                        kind = ErrorKind::VersionMismatch;
                    }
                    let _ = write!(tried, "\n  {}: {}", core.display(), error.message());
                }
            }
        }
        let (title, variable) = (flavor.title(), flavor.variable());
        if let Err(refused) = accelerant_sdk::cache_folder() {
            let _ = write!(tried, "\n  the cache folder: {refused}");
        }
        let text = format!(
            "{title} {compiled} cannot be loaded:{tried}\n\
             run `{}`, or set {variable} to the folder of the SDK",
            flavor.sdk().command()
        );
        Err(Error::new(kind, text))
    }

    fn open(flavor: Flavor, compiled: Version, core: &Path, parser: &Path) -> Result<Arc<Self>> {
        type Loaded = Mutex<HashMap<(Flavor, PathBuf), Arc<Library>>>;
        static LOADED: std::sync::LazyLock<Loaded> = std::sync::LazyLock::new(Loaded::default);

        let missing = |text: &str| Error::new(ErrorKind::LibraryNotFound, text);
        let name = |path: &Path| match path.to_str() {
            Some(name) => Ok(name.to_owned()),
            None => Err(missing("the path is not UTF-8")),
        };
        let (core_name, parser_name) = (name(core)?, name(parser)?);
        if core.components().count() > 1 && !core.exists() {
            return Err(missing("no such file"));
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (flavor, core.to_owned());
        if let Some(library) = loaded.get(&key) {
            return Ok(library.clone());
        }
        // SAFETY: the files are named as TensorRT's and come from a folder that the user or the
        // system chose for it; running their initializers is what loading them is for.
        let inner = unsafe { bridge::open_library(flavor, &core_name, &parser_name) }
            .map_err(|e| missing(e.what()))?;
        let version = inner.version();
        if (version.major, version.minor) != (compiled.major, compiled.minor) {
            let text =
                format!("this is version {version}, but the crate was compiled for {compiled}");
            return Err(Error::new(ErrorKind::VersionMismatch, text));
        }
        let path = inner.path().unwrap_or(core_name);
        let library = Arc::new(Self { inner, flavor, version, path });
        loaded.insert(key, library.clone());
        Ok(library)
    }

    /// A builder, with network and parser.
    pub(crate) fn create_builder(&self) -> Result<cxx::UniquePtr<bridge::Builder>> {
        let problem = self.inner.builder_problem().unwrap_or_default();
        if !problem.is_empty() {
            let text = format!("{self} cannot build engines: {problem}");
            return Err(Error::new(ErrorKind::LibraryNotFound, text));
        }
        self.inner.create_builder().map_err(|e| Error::new(ErrorKind::Build, e.what()))
    }

    /// A runtime.
    ///
    /// # Safety
    /// For the Enterprise flavor, the CUDA driver must have been initialized.
    pub(crate) unsafe fn create_runtime(&self) -> Result<SharedPtr<bridge::Runtime>> {
        // SAFETY: the version was checked in `open`; the rest is the caller's promise.
        unsafe { self.inner.create_runtime() }.map_err(|e| Error::new(ErrorKind::Device, e.what()))
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} from {}", self.flavor.title(), self.version, self.path)
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({self})")
    }
}

/// Library and parser files to try, in order.
fn candidates(flavor: Flavor, version: Version, root: Option<&Path>) -> Vec<[PathBuf; 2]> {
    let names = flavor.names(version.major);
    let named = root.map(Path::to_owned).or_else(|| accelerant_sdk::folder_in(flavor.variable()));
    let from_system = named.is_none();
    let cached = || Some(accelerant_sdk::cache_folder().ok()??.join(flavor.folder(version)));
    let root = named.or_else(cached);
    let mut all = Vec::new();
    for folder in root.iter().flat_map(|root| [root.join("lib"), root.join("lib64"), root.clone()])
    {
        all.extend(names.iter().map(|pair| pair.each_ref().map(|name| folder.join(name))));
    }
    if from_system {
        all.extend(names.iter().map(|pair| pair.each_ref().map(PathBuf::from)));
    }
    all
}
