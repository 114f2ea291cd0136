//! What a command works on: an ONNX model or an engine, told apart by how the file begins.

use std::{fs::File, io::Read, path::Path};

use accelerant::export::OnnxModel;
use accelerant::{Engine, InferenceModule, OptimizeOptions, Signature};

use crate::bar::Bar;
use crate::fail::{Result, io};
use crate::options::{Name, Options};
use crate::shapes::Shapes;

/// How a file of [`Engine::save`] begins.
const ENGINE: &[u8] = b"ACCELENG";

/// A model or an engine.
pub(crate) enum Source {
    Model(Box<OnnxModel>),
    Engine(Box<Engine>),
}

/// Whether a file begins as an engine does.
pub(crate) fn is_engine(path: &Path) -> bool {
    begins_as_engine(path).unwrap_or(false)
}

fn begins_as_engine(path: &Path) -> std::io::Result<bool> {
    // Opening a pipe would wait for a writer, perhaps for ever.
    let found = std::fs::metadata(path)?;
    if found.is_dir() {
        return Err(std::io::Error::other("it is a folder; name the model's file in it"));
    }
    if !found.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut start = Vec::new();
    File::open(path)?.take(ENGINE.len() as u64).read_to_end(&mut start)?;
    Ok(start == ENGINE)
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // The library's errors of an engine name its file.
        if begins_as_engine(path).map_err(|e| io("read", path, e))? {
            return Ok(Self::Engine(Box::new(Engine::open(path)?)));
        }
        let model = OnnxModel::open(path)?;
        Ok(Self::Model(Box::new(model)))
    }
}

/// A module that runs what is in a file.
pub(crate) fn module(
    path: &Path,
    shapes: &Shapes,
    options: &Options,
    backend: Option<Name>,
    runs: usize,
    bar: &Bar,
) -> Result<InferenceModule> {
    module_with(path, shapes, options, backend, runs, bar, |_, stated| Ok(stated))
}

/// The same, with options that a model's signature says more of.
pub(crate) fn module_with(
    path: &Path,
    shapes: &Shapes,
    options: &Options,
    backend: Option<Name>,
    runs: usize,
    bar: &Bar,
    more: impl FnOnce(&Signature, OptimizeOptions) -> Result<OptimizeOptions>,
) -> Result<InferenceModule> {
    bar.say(format!("read {}", path.display()));
    let source = Source::open(path)?;
    let stated = bar.follow(options.options(options.device.registry_for(runs), backend)?);
    Ok(match source {
        Source::Model(model) => {
            let model = shapes.bind(*model)?;
            let stated = more(model.signature(), stated)?;
            InferenceModule::compile(&model, &stated)?
        }
        Source::Engine(engine) => {
            options.expect_none()?;
            shapes.expect_known(engine.signature())?;
            InferenceModule::from_engine(*engine, &stated)?
        }
    })
}
