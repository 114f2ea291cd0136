//! The process in which cases run, one after the other, until one of them ends it: this test binary, asked for one test.

use std::{
    env,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use accelerant::backend::{Backend, ort::Ort, tract::Tract};
use accelerant::export::OnnxModel;

use super::random::Random;
use super::{corpus, memory, mutate, readers};

pub(crate) const READER: &str = "ACCELERANT_FUZZ_READER";
pub(crate) const SEED: &str = "ACCELERANT_FUZZ_SEED";
pub(crate) const FIRST: &str = "ACCELERANT_FUZZ_FIRST";
pub(crate) const END: &str = "ACCELERANT_FUZZ_END";
/// The folder in which the bytes of the case at hand lie.
pub(crate) const FOLDER: &str = "ACCELERANT_FUZZ_FOLDER";
pub(crate) const MARK: &str = "case: ";

/// Each takes bytes that nobody should trust.
pub(crate) const READERS: [&str; 4] = ["tract", "onnxruntime", "engine", "pair"];

/// A reader that has the faults that campaigns look for, to see that they are found.
pub(crate) const FAULTY: &str = "faulty";

/// What reading and checking may take of memory: so much, and so many times the size of the file.
const READING: usize = 256 << 20;
/// What building and running may take besides: one value is 4 GiB at most, in the check's words.
const RUNNING: usize = 6 << 30;
const TIMES: usize = 64;

fn bound(size: usize) -> usize {
    READING + TIMES * size
}

/// Does what a campaign asked for; nothing when none did.
#[test]
fn cases() {
    let (Ok(reader), Some(folder)) = (env::var(READER), env::var_os(FOLDER)) else { return };
    let number = |name: &str| env::var(name).unwrap().parse::<u64>().unwrap();
    let (seed, first, end) = (number(SEED), number(FIRST), number(END));
    // A panic that is caught is told by the case; its text would fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let mut cases = Cases::new(&reader, folder.into());
    for case in first..end {
        // Far from each other, or the cases of two seeds would be the same, shifted.
        let mut random = Random::new(Random::new(seed ^ (case << 20)).next());
        let caught = catch_unwind(AssertUnwindSafe(|| match &*reader {
            FAULTY => faulty(case),
            _ => cases.run(&mut random),
        }));
        memory::limit(usize::MAX / 2);
        let word = caught.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            format!("FOUND a panic: {}", text.replace('\n', " "))
        });
        println!("{MARK}{case} {word}");
        std::io::stdout().flush().unwrap();
        if word.starts_with("FOUND") {
            // The bytes of this case lie in the folder until somebody has looked.
            return;
        }
    }
}

fn faulty(case: u64) -> String {
    memory::limit(bound(0));
    match case {
        2 => std::process::abort(),
        4 => std::thread::sleep(std::time::Duration::from_secs(60)),
        5 => drop(std::hint::black_box(vec![1u8; 512 << 20])),
        7 => panic!("asked to"),
        8 => {
            // A signal, as from a library that does what it must not.
            let _ = std::process::Command::new("sh").args(["-c", "kill -ILL $PPID"]).status();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        _ => {}
    }
    "fine".into()
}

struct Cases {
    reader: String,
    folder: PathBuf,
    backend: Arc<dyn Backend>,
    models: Vec<Vec<u8>>,
    engines: Vec<Vec<u8>>,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Cases {
    fn new(reader: &str, folder: PathBuf) -> Self {
        let backend: Arc<dyn Backend> = match reader {
            "onnxruntime" => Arc::new(Ort),
            _ => Arc::new(Tract),
        };
        let mut models = corpus::models();
        // More often those that are models before they are changed.
        let whole = |bytes: &&Vec<u8>| OnnxModel::from_bytes(bytes.to_vec()).is_ok();
        let again: Vec<_> = models.iter().filter(whole).cloned().collect();
        models.extend([&again[..]; 3].concat());
        let (mut engines, mut pairs) = (Vec::new(), Vec::new());
        if reader == "engine" {
            engines.extend(corpus::networks().iter().map(|model| {
                let model = model.clone().for_target(backend.target()).unwrap();
                backend.build(&model).unwrap().to_bytes()
            }));
        }
        if reader == "pair" {
            pairs.extend(models.iter().filter_map(|bytes| pair_of(bytes)));
        }
        Self { reader: reader.to_owned(), folder, backend, models, engines, pairs }
    }

    fn run(&mut self, random: &mut Random) -> String {
        let is_library = self.reader == "onnxruntime";
        let before = if is_library { memory::touched() } else { 0 };
        let (word, size) = match &*self.reader {
            "engine" => {
                let bytes = mutate::engine(&self.engines, &self.models, random);
                std::fs::write(self.folder.join("case"), &bytes).unwrap();
                memory::limit(bound(bytes.len()));
                let is_read = || memory::limit(RUNNING + bound(bytes.len()));
                (readers::engine(&bytes, &*self.backend, is_read), bytes.len())
            }
            "pair" => {
                let (model, weights) = mutate::pair(&self.pairs, random);
                let path = self.folder.join("model.onnx");
                std::fs::write(&path, &model).unwrap();
                std::fs::write(self.folder.join("weights"), &weights).unwrap();
                let size = model.len() + weights.len();
                memory::limit(bound(size));
                (readers::pair(&path), size)
            }
            _ => {
                let bytes = mutate::model(&self.models, random);
                std::fs::write(self.folder.join("case"), &bytes).unwrap();
                memory::limit(bound(bytes.len()));
                let is_read = || memory::limit(RUNNING + bound(bytes.len()));
                (readers::model(&bytes, &*self.backend, is_read), bytes.len())
            }
        };
        let touched = if is_library { memory::touched() } else { 0 };
        match touched.saturating_sub(before) > RUNNING + bound(size) {
            true => format!("FOUND {} MiB for {size} bytes: {word}", (touched - before) >> 20),
            false => word,
        }
    }
}

/// A model and its weights, as they lie in two files.
fn pair_of(bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    use accelerant::export::onnx::ModelProto;
    use prost::Message as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    OnnxModel::from_bytes(bytes.to_vec()).ok()?.save_external(&path, 1).unwrap();
    let weights = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let weights =
        weights.into_iter().find(|path| path.extension().is_some_and(|end| end == "data"))?;
    let mut model = ModelProto::decode(&*std::fs::read(&path).unwrap()).unwrap();
    // In each case the file has the same name.
    for tensor in &mut model.graph.as_mut()?.initializer {
        for entry in tensor.external_data.iter_mut().filter(|entry| entry.key() == "location") {
            entry.value = Some("weights".into());
        }
    }
    Some((model.encode_to_vec(), std::fs::read(weights).unwrap()))
}
