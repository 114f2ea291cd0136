//! Models, pairs and engines that carry a number in all of their parts, so that a mixture of two is seen.

use std::path::Path;
use std::time::Duration;

use accelerant::Engine;
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::precision::{Range, Ranges};
use accelerant::{BackendKind, DType, HostTensor, InferenceModule, OptimizeOptions};
use ndarray::{Array1, Array2};

/// Rows of the square weight: 64 KiB, and so some pages.
const ROWS: usize = 128;

/// What is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    Pair,
    Engine,
    /// What a compiled module saves: a pair, from options.
    Module,
    /// Ranges of values, as JSON, as all reports are written.
    Ranges,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Model, Kind::Pair, Kind::Engine, Kind::Module, Kind::Ranges];

pub(crate) fn model(version: u32) -> OnnxModel {
    let graph = GraphBuilder::new(format!("version {version}"));
    let x = graph.input("x", DType::F32, [1, ROWS]).unwrap();
    let value = version as f32;
    let w = graph.weight("w", HostTensor::from(Array2::from_elem((ROWS, ROWS), value))).unwrap();
    let b = graph.weight("b", HostTensor::from(Array1::from_elem(ROWS, value))).unwrap();
    graph.output("y", &x.matmul(&w).unwrap().add(&b).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn engine(version: u32) -> Engine {
    let model = model(version);
    let (kind, took) = (BackendKind::Tract, Duration::ZERO);
    Engine::new(kind, version.to_string(), "cpu", model.signature().clone(), took, model.to_bytes())
}

/// As many values as make a file of about 74 KiB.
fn ranges(version: u32) -> Ranges {
    let value = version as f32;
    let range = Range::new(-value, value, value, value, value);
    Ranges::new("max", version as usize, (0..600).map(|i| (format!("value {i:03}"), range)))
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Pair => "pair",
            Self::Engine => "engine",
            Self::Module => "module",
            Self::Ranges => "ranges",
        }
    }

    pub(crate) fn save(self, version: u32, path: &Path) -> accelerant::Result<()> {
        match self {
            Self::Model => model(version).save(path),
            Self::Pair => model(version).save_external(path, 256),
            Self::Engine => engine(version).save(path),
            Self::Ranges => ranges(version).save(path),
            Self::Module => {
                let options = OptimizeOptions::new().require(BackendKind::Tract);
                let options = options.save_onnx(path).external_weights(256);
                InferenceModule::compile(&model(version), &options).map(drop)
            }
        }
    }

    /// The version of what lies at a path, all parts of which must agree.
    pub(crate) fn version(self, path: &Path) -> u32 {
        let model = match self {
            Self::Ranges => {
                let found = Ranges::open(path).unwrap();
                let version = found.samples() as u32;
                assert_eq!(found, ranges(version));
                return version;
            }
            Self::Engine => {
                let engine = Engine::open(path).unwrap();
                let model = OnnxModel::from_bytes(engine.plan().clone()).unwrap();
                assert_eq!(engine.library(), version_in(&model).to_string());
                model
            }
            _ => OnnxModel::open(path).unwrap(),
        };
        version_in(&model)
    }

    /// The files that one save leaves in a folder.
    pub(crate) fn files(self) -> usize {
        match self {
            Self::Pair | Self::Module => 2,
            Self::Model | Self::Engine | Self::Ranges => 1,
        }
    }
}

fn version_in(model: &OnnxModel) -> u32 {
    let graph = model.proto().graph.as_ref().unwrap();
    let version: u32 = graph.name().strip_prefix("version ").unwrap().parse().unwrap();
    assert_eq!(graph.initializer.len(), 2);
    for tensor in &graph.initializer {
        let bytes = tensor.raw_data.as_ref().unwrap();
        let value = (version as f32).to_le_bytes();
        assert!(bytes.chunks(4).all(|four| four == value), "{} is of another save", tensor.name());
    }
    version
}
