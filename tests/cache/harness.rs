//! A backend whose engines are kept, and modules of it. Each build is written down, so that processes can be counted.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use accelerant::Registry;
use accelerant::backend::{Backend, Executable, Fingerprint, TimingFolder, tract::Tract};
use accelerant::cache::{CacheUse, EngineCache, Miss};
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{
    BackendKind, DType, Engine, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions,
    Result,
};

/// tract, as if it built for long.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) driver: String,
    /// A line for each build.
    pub(crate) log: PathBuf,
    pub(crate) build_time: Duration,
    /// Bytes that a plan has beside the model.
    pub(crate) padding: usize,
    /// Loading takes a byte from this file and fails, as long as there is one.
    pub(crate) refusal: Option<PathBuf>,
    /// Its engines add this to every output.
    pub(crate) off_by: f32,
    /// What a build measures: a line, beside those of earlier builds. Nothing is kept of an empty one.
    pub(crate) measured: String,
}

/// An engine with a fault.
#[derive(Debug)]
struct Off(Box<dyn Executable>, f32);

impl Executable for Off {
    fn signature(&self) -> &accelerant::Signature {
        self.0.signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let outputs = self.0.run(inputs)?;
        outputs.iter().map(|y| Ok(HostTensor::from(y.to_array::<f32>()? + self.1))).collect()
    }
}

pub(crate) const KIND: BackendKind = BackendKind::Custom(std::borrow::Cow::Borrowed("kept"));

impl Backend for Kept {
    fn kind(&self) -> BackendKind {
        KIND
    }

    fn description(&self) -> String {
        "kept".into()
    }

    fn target(&self) -> Target {
        Tract.target()
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        let padding = self.padding;
        Ok(Some(Fingerprint::new("1").with("driver", &self.driver).with("padding", padding)))
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        log.write_all(b"built\n").unwrap();
        std::thread::sleep(self.build_time);
        let built = Tract.build(model)?;
        let mut plan = (built.plan().len() as u64).to_le_bytes().to_vec();
        plan.extend_from_slice(built.plan());
        plan.resize(plan.len() + self.padding, 0x5a);
        let signature = built.signature().clone();
        Ok(Engine::new(KIND, "1", "cpu", signature, built.build_time(), plan))
    }

    fn build_timed(&self, model: &OnnxModel, timings: &TimingFolder) -> Result<Engine> {
        if self.measured.is_empty() {
            return self.build(model);
        }
        let file = timings.file("1", &self.driver);
        let known = file.read();
        let engine = self.build(model)?;
        file.add(&known, &with(&known, self.measured.as_bytes()), |there| {
            Ok(with(there, self.measured.as_bytes()))
        });
        Ok(engine)
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        let left = self.refusal.as_ref().map(|path| (path, std::fs::read(path).unwrap()));
        if let Some((path, [_, rest @ ..])) = left.as_ref().map(|(path, bytes)| (path, &bytes[..]))
        {
            std::fs::write(path, rest).unwrap();
            return Err(Error::new(ErrorKind::EngineIncompatible, "refused by the test"));
        }
        let len = u64::from_le_bytes(engine.plan()[..8].try_into().unwrap()) as usize;
        let plan = engine.plan().slice(8..8 + len);
        let of_tract = Tract.build(&OnnxModel::from_bytes(plan)?)?;
        let right = Tract.load(&of_tract)?;
        Ok(if self.off_by == 0.0 { right } else { Box::new(Off(right, self.off_by)) })
    }
}

/// The lines, and another one if they do not have it.
fn with(lines: &[u8], line: &[u8]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
    all.retain(|known| !known.is_empty() && *known != line);
    [all.join(&b'\n'), line.to_vec()].join(&b'\n')
}

/// A cache, its backend, and the builds that it saved.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) backend: Kept,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("builds");
        let (driver, build_time) = ("580.1".into(), Duration::ZERO);
        Self {
            backend: Kept {
                driver,
                log,
                build_time,
                padding: 0,
                refusal: None,
                off_by: 0.0,
                measured: String::new(),
            },
            folder,
        }
    }

    /// The folder of the engines.
    pub(crate) fn engines(&self) -> PathBuf {
        self.folder.path().join("engines")
    }

    pub(crate) fn cache(&self) -> EngineCache {
        EngineCache::at(self.engines())
    }

    pub(crate) fn builds(&self) -> usize {
        std::fs::read_to_string(&self.backend.log).unwrap_or_default().lines().count()
    }

    /// Makes a module with the result that is expected, and tells what the cache did.
    pub(crate) fn used(&self, factor: f32) -> CacheUse {
        self.used_with(factor, self.cache())
    }

    pub(crate) fn used_with(&self, factor: f32, cache: EngineCache) -> CacheUse {
        checked(&self.backend, factor, &OptimizeOptions::new().cache(cache))
    }

    /// The only engine in the folder.
    pub(crate) fn entry(&self) -> PathBuf {
        let entries = self.cache().entries().unwrap();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].path.clone()
    }

    /// A process that does what [`child`] does.
    pub(crate) fn child(&self) -> Command {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "harness::child", "--ignored", "--nocapture", "--quiet"]);
        child.env(FOLDER, self.folder.path());
        child.env("CACHE_TEST_PADDING", self.backend.padding.to_string());
        child.env("CACHE_TEST_BUILD_MS", self.backend.build_time.as_millis().to_string());
        child
    }
}

/// Multiplies by `factor`, and adds a weight that is large enough to be apart from the graph.
pub(crate) fn model(factor: f32) -> OnnxModel {
    named("times", factor)
}

pub(crate) fn named(name: &str, factor: f32) -> OnnxModel {
    let graph = GraphBuilder::new(name);
    let x = graph.input("x", DType::F32, [2usize, 400]).unwrap();
    let weight = HostTensor::from_vec([400], vec![factor; 400]).unwrap();
    let y = x.mul(&graph.weight("factor", weight).unwrap()).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

/// The same in a file, which the passes go over: they take out a node that nothing reads, of this name.
pub(crate) fn in_file(model: &OnnxModel, unread: &str) -> OnnxModel {
    let mut proto = model.proto().clone();
    let graph = proto.graph.as_mut().unwrap();
    let mut node = graph.node[0].clone();
    node.name = Some(unread.into());
    node.output = vec![unread.into()];
    graph.node.push(node);
    OnnxModel::from_proto(proto).unwrap()
}

/// Compiles with one backend, runs, and compares: a wrong engine would have another factor.
pub(crate) fn checked(backend: &Kept, factor: f32, options: &OptimizeOptions) -> CacheUse {
    made(backend, &in_file(&model(factor), "unread"), factor, options).report().cache
}

pub(crate) fn made(
    backend: &Kept,
    model: &OnnxModel,
    factor: f32,
    options: &OptimizeOptions,
) -> InferenceModule {
    let options = options.clone().registry(Registry::empty().with(backend.clone()));
    let module = InferenceModule::compile(model, &options).unwrap();
    let x = HostTensor::from_vec([2, 400], vec![3f32; 800]).unwrap();
    let y = module.run(&[x]).unwrap()[0].to_vec::<f32>().unwrap();
    assert!(y.iter().all(|&y| y == 3.0 * factor), "a wrong engine: {} is not 3 * {factor}", y[0]);
    module
}

pub(crate) fn is_hit(used: &CacheUse) -> bool {
    matches!(used, CacheUse::Hit { .. })
}

/// The reason of a miss whose engine was kept.
#[track_caller]
pub(crate) fn missed(used: CacheUse) -> Miss {
    match used {
        CacheUse::Miss { reason, not_kept: None, .. } => reason,
        other => panic!("no miss that is kept: {other:?}"),
    }
}

/// How often a test tries what chance decides: few times by default.
pub(crate) fn tries(usual: usize) -> usize {
    let stated = std::env::var("ACCELERANT_CACHE_TRIES").ok();
    stated.map_or(usual, |count| count.parse().expect("ACCELERANT_CACHE_TRIES is a number"))
}

const FOLDER: &str = "CACHE_TEST_FOLDER";

/// What another process does: makes a module of factor 2, or of `CACHE_TEST_FACTOR`, in the folder named, and prints what the cache did. Where
/// `CACHE_TEST_USUAL` is set, with the cache that the environment has.
#[test]
#[ignore = "only as another process"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let number = |name: &str| std::env::var(name).map_or(0, |value| value.parse().unwrap());
    let backend = Kept {
        driver: "580.1".into(),
        log: Path::new(&folder).join("builds"),
        build_time: Duration::from_millis(number("CACHE_TEST_BUILD_MS")),
        padding: number("CACHE_TEST_PADDING") as usize,
        refusal: None,
        off_by: 0.0,
        measured: std::env::var("CACHE_TEST_MEASURED").unwrap_or_default(),
    };
    let factor = std::env::var("CACHE_TEST_FACTOR").map_or(2.0, |value| value.parse().unwrap());
    let mut options = OptimizeOptions::new();
    if std::env::var_os("CACHE_TEST_USUAL").is_none() {
        options = options.cache(Path::new(&folder).join("engines"));
    }
    #[cfg(all(feature = "burn", feature = "candle"))]
    if let Ok(framework) = std::env::var("CACHE_TEST_FRAMEWORK")
        && let Some(used) = super::same_key::made(&framework, &backend, &options)
    {
        return println!("{used}");
    }
    let used = checked(&backend, factor, &options);
    println!("{}", serde_json::to_string(&used).unwrap());
}

/// What a child printed.
pub(crate) fn printed(output: &std::process::Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}
