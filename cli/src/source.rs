//! What a command works on: an ONNX model or an engine, told apart by how the file begins.

use std::{fs::File, io::Read, path::Path};

use accelerant::export::OnnxModel;
use accelerant::{Engine, InferenceModule};

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

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(|e| io("read", path, e))?;
        file.take(ENGINE.len() as u64).read_to_end(&mut start).map_err(|e| io("read", path, e))?;
        match start == ENGINE {
            true => Ok(Self::Engine(Box::new(Engine::open(path)?))),
            false => Ok(Self::Model(Box::new(OnnxModel::open(path)?))),
        }
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
    bar.say(format!("read {}", path.display()));
    let source = Source::open(path)?;
    let stated = bar.follow(options.options(options.device.registry_for(runs), backend)?);
    Ok(match source {
        Source::Model(model) => InferenceModule::compile(&shapes.bind(*model)?, &stated)?,
        Source::Engine(engine) => {
            options.expect_none()?;
            InferenceModule::from_engine(*engine, &stated)?
        }
    })
}
