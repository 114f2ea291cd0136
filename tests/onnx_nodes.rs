//! ONNX's own node tests on every backend: how many are right, and why the others are not taken. What ONNX Runtime runs
//! by itself, this crate may refuse for a type alone that it does not have. `tests/data/onnx_cases.py` dumps the cases.
//!
//! `ACCELERANT_ONNX_TABLE` names a file that the counts are written to: `docs/onnx-node-cases.md` is one.

#![cfg(all(feature = "tract", feature = "ort"))]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use accelerant::Registry;
use accelerant::backend::Backend;
use accelerant::export::{OnnxModel, Reader};
use accelerant::{BackendKind, DType, Error, ErrorKind, HostTensor};
use common::onnx_cases::{Case, Folder, cases};
use common::{Tolerance, compare};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

/// What became of a case.
#[derive(Clone, Debug)]
enum Outcome {
    Right,
    /// TensorRT's parser takes it, which has no values without a GPU.
    Read,
    Refused(String),
    Wrong(String, Vec<HostTensor>),
}

/// A text without the names and numbers of one case.
fn reason(stage: &str, error: &Error) -> String {
    let quoted = error.message().split('`').enumerate();
    let parts = quoted.map(|(i, part)| if i % 2 == 1 { "…" } else { part });
    let text = parts.collect::<Vec<_>>().join("`").replace(|c: char| c.is_ascii_digit(), "#");
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(110).collect();
    format!("{stage}: {short}")
}

fn outcome(model: &Result<OnnxModel, String>, case: &Case, backend: &dyn Backend) -> Outcome {
    let model = match model {
        Ok(model) => model,
        Err(reason) => return Outcome::Refused(reason.clone()),
    };
    let model = match model.for_target(backend.target()) {
        Ok(model) => model,
        Err(error) => return Outcome::Refused(reason("by a pass", &error)),
    };
    match backend.check(&model) {
        Ok(Some(refusals)) => {
            if let Some(refusal) = refusals.first() {
                return Outcome::Refused(reason("before building", &refusal.reason));
            }
        }
        Ok(None) => {}
        Err(error) => return Outcome::Refused(reason("before building", &error)),
    }
    if backend.target().reader() == Reader::TensorRt {
        return Outcome::Read;
    }
    let outputs = match backend.build_and_load(&model) {
        Ok((_, executable)) => executable.run(&case.inputs),
        Err(error) => return Outcome::Refused(reason("by the runtime", &error)),
    };
    let outputs = match outputs {
        Ok(outputs) => outputs,
        Err(error) => return Outcome::Refused(reason("when it runs", &error)),
    };
    if outputs.len() != case.outputs.len() {
        return Outcome::Wrong(format!("{} outputs", outputs.len()), outputs);
    }
    let pairs = outputs.iter().zip(&case.outputs);
    let difference = pairs.enumerate().find_map(|(i, (got, expected))| {
        compare(got, expected, case.tolerance).err().map(|e| format!("output {i}: {e}"))
    });
    match difference {
        Some(text) => Outcome::Wrong(text, outputs),
        None => Outcome::Right,
    }
}

/// What ONNX Runtime makes of the file and these inputs, without this crate.
fn directly(path: &Path, case: &Case) -> Option<Vec<HostTensor>> {
    let environment = accelerant::backend::ort::environment().ok()?;
    let mut session = Session::builder(environment).ok()?.commit_from_file(path).ok()?;
    let given: Option<Vec<_>> = case.inputs.iter().map(given).collect();
    let inputs = session.inputs().iter().map(|input| input.name().to_owned());
    let named: Vec<_> = inputs.zip(given?).collect();
    let names: Vec<String> =
        session.outputs().iter().map(|output| output.name().to_owned()).collect();
    let outputs = session.run(named).ok()?;
    let types = case.outputs.iter().map(HostTensor::dtype);
    names.iter().zip(types).map(|(name, dtype)| taken(outputs.get(name)?, dtype)).collect()
}

macro_rules! of_types {
    ($($dtype:ident $type:ty;)*) => {
        fn given(tensor: &HostTensor) -> Option<SessionInputValue<'static>> {
            let shape = tensor.shape().to_vec();
            Some(match tensor.dtype() {
                $(DType::$dtype => {
                    let values = tensor.to_vec::<$type>().ok()?;
                    Tensor::from_array((shape, values)).ok()?.into_dyn().into()
                })*
                _ => return None,
            })
        }

        fn taken(value: &DynValue, dtype: DType) -> Option<HostTensor> {
            match dtype {
                $(DType::$dtype => {
                    let (shape, values) = value.try_extract_tensor::<$type>().ok()?;
                    let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
                    HostTensor::from_vec(shape, values.to_vec()).ok()
                })*
                _ => None,
            }
        }
    };
}

of_types! {
    F32 f32; F64 f64; F16 half::f16; Bool bool; I8 i8; I16 i16; I32 i32; I64 i64; U8 u8; U16 u16; U32 u32; U64 u64;
}

/// Cases whose results are random on a runtime that is not numpy.
const RANDOM: &str = "training_dropout";

/// Whether ONNX Runtime gives the same by itself, whatever ONNX says.
fn as_onnx_runtime(path: &Path, case: &Case, outputs: &[HostTensor]) -> bool {
    let near = Tolerance { absolute: 1e-6, relative: 1e-6 };
    let same = |(a, b): (&HostTensor, &HostTensor)| compare(a, b, near).is_ok();
    directly(path, case).is_some_and(|own| {
        case.name.contains(RANDOM)
            || own.len() == outputs.len() && own.iter().zip(outputs).all(same)
    })
}

/// How many cases came to what on one backend.
#[derive(Default)]
struct Column {
    name: String,
    right: usize,
    read: usize,
    /// The operators of the cases that are refused for a reason.
    refused: BTreeMap<String, Vec<String>>,
    /// Those in which ONNX Runtime itself differs from ONNX.
    differs: Vec<String>,
    wrong: Vec<String>,
}

/// A case's operator, by its name.
fn family(name: &str) -> String {
    let name = name.trim_start_matches("test_");
    let name = name.strip_prefix("ai_onnx_ml_").unwrap_or(name);
    name.split(['_', '.']).next().unwrap_or(name).to_owned()
}

#[test]
fn cases_of_onnx_on_every_backend() {
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(reason) => {
            common::skipped("cases_of_onnx_on_every_backend", format!("no cases: {reason}"));
            return;
        }
    };
    let plain = |case: &Case| case.name.starts_with("test_") && !case.name.contains(".o");
    let only = std::env::var("ACCELERANT_ONNX_CASE").unwrap_or_default();
    let cases: Vec<Case> = cases(folder.path()).into_iter().filter(plain).collect();
    let backends = Registry::default();
    let backends: Vec<_> = backends
        .backends()
        .iter()
        .filter(|backend| backend.kind() != BackendKind::TensorRt)
        .cloned()
        .collect();
    let name = |backend: &dyn Backend| match backend.target().reader() {
        Reader::TensorRt => format!("{}, its parser", backend.kind()),
        // Without the place of the library.
        _ => backend.description().split(" from ").next().unwrap_or_default().to_owned(),
    };
    let mut columns: Vec<Column> = backends
        .iter()
        .map(|backend| Column { name: name(&**backend), ..Column::default() })
        .collect();
    let mut refused_alone = Vec::new();
    let count = cases.len();
    for case in cases.into_iter().filter(|case| case.name.contains(&only)) {
        let case = std::sync::Arc::new(case);
        let path = folder.path().join(format!("{}.onnx", case.name));
        let opened = OnnxModel::open(&path);
        let typed = opened.as_ref().err().is_some_and(|error| {
            error.kind() == ErrorKind::UnsupportedOperation && error.message().contains("ONNX type")
        });
        let model = opened.map_err(|error| reason("when it is opened", &error));
        for (backend, column) in backends.iter().zip(&mut columns) {
            let (sender, receiver) = mpsc::channel();
            let (here, copy, backend) = (case.clone(), model.clone(), backend.clone());
            let kind = backend.kind();
            thread::spawn(move || sender.send(outcome(&copy, &here, &*backend)));
            let outcome = receiver.recv_timeout(Duration::from_secs(60)).unwrap_or(Outcome::Wrong(
                "it has not ended after a minute, or panicked".into(),
                vec![],
            ));
            match outcome {
                Outcome::Right => {
                    // The other way is known to work.
                    if kind == BackendKind::Ort && column.right == 0 {
                        assert!(directly(&path, &case).is_some(), "{} directly", case.name);
                    }
                    column.right += 1;
                }
                Outcome::Read => column.read += 1,
                Outcome::Wrong(_, outputs)
                    if kind == BackendKind::Ort && as_onnx_runtime(&path, &case, &outputs) =>
                {
                    column.differs.push(case.name.trim_start_matches("test_").to_owned());
                }
                Outcome::Wrong(text, _) => column.wrong.push(format!("{}: {text}", case.name)),
                Outcome::Refused(text) => {
                    if kind == BackendKind::Ort && !typed && directly(&path, &case).is_some() {
                        refused_alone.push(format!("{}: {text}", case.name));
                    }
                    column.refused.entry(text).or_default().push(family(&case.name));
                }
            }
        }
    }
    if let Some(path) = std::env::var_os("ACCELERANT_ONNX_TABLE") {
        std::fs::write(path, table(folder.path(), count, &columns)).expect("the table is written");
    }
    for column in &columns {
        let refused: usize = column.refused.values().map(Vec::len).sum();
        eprintln!(
            "{}: {} right, {} read, {refused} refused, {} as ONNX Runtime alone, {} wrong",
            column.name,
            column.right,
            column.read,
            column.differs.len(),
            column.wrong.len()
        );
    }
    assert!(refused_alone.is_empty(), "ONNX Runtime runs these:\n{}", refused_alone.join("\n"));
    for column in &columns {
        assert!(column.wrong.is_empty(), "wrong on {}:\n{}", column.name, column.wrong.join("\n"));
    }
    let ort = backends.iter().position(|backend| backend.kind() == BackendKind::Ort);
    if let Some(ort) = ort.filter(|&ort| only.is_empty() && backends[ort].probe().is_ok()) {
        assert!(columns[ort].right > 1000, "only {} are right", columns[ort].right);
    }
}

/// The counts as a document.
fn table(folder: &Path, count: usize, columns: &[Column]) -> String {
    let mut text = String::from(HEAD);
    let version = std::fs::read_to_string(folder.join("version")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{count} cases of onnx {version} have inputs and outputs of types that this crate has.\n"
    );
    let _ = writeln!(
        text,
        "| backend | right | read by the parser | refused | differs from ONNX as ONNX Runtime itself does | wrong |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|");
    for Column { name, right, read, refused, differs, wrong } in columns {
        let refused: usize = refused.values().map(Vec::len).sum();
        let number = |n: &usize| if *n == 0 { String::new() } else { n.to_string() };
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {refused} | {} | {} |",
            number(right),
            number(read),
            number(&differs.len()),
            wrong.len()
        );
    }
    for column in columns {
        let _ = writeln!(
            text,
            "\n## Refused: {}\n\n| reason | cases | of |\n|---|---|---|",
            column.name
        );
        let mut reasons: Vec<_> = column.refused.iter().collect();
        reasons.sort_by_key(|(reason, cases)| (std::cmp::Reverse(cases.len()), *reason));
        for (reason, cases) in reasons {
            let mut families = cases.clone();
            families.dedup();
            let more = families.len().saturating_sub(6);
            families.truncate(6);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let reason = reason.replace('|', "\\|");
            let _ =
                writeln!(text, "| {reason} | {} | {}{more} |", cases.len(), families.join(", "));
        }
    }
    let others = std::fs::read_to_string(folder.join("others.tsv")).unwrap_or_default();
    let mut kinds: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (name, kind) in others.lines().filter_map(|line| line.split_once('\t')) {
        let opened = match OnnxModel::open(folder.join(format!("{name}.onnx"))) {
            Ok(_) => "it is opened, and was not compared".to_owned(),
            Err(error) => reason("when it is opened", &error),
        };
        *kinds.entry((kind, opened)).or_default() += 1;
    }
    let _ = writeln!(
        text,
        "\n## Cases of other types\n\n| type | what becomes of them | cases |\n|---|---|---|"
    );
    for ((kind, opened), count) in kinds {
        let _ = writeln!(text, "| {kind} | {opened} | {count} |");
    }
    text
}

const HEAD: &str = "# ONNX's own node cases

The `onnx` package generates a small model for each operator, with inputs and outputs.
`tests/onnx_nodes.rs` runs all models.
The test fails if a backend gives a wrong result, or if this crate refuses a model that ONNX Runtime runs by itself.
The test writes this page to the file that `ACCELERANT_ONNX_TABLE` names, and is skipped if Python has no `onnx`:

```sh
python3 -m venv venv && venv/bin/pip install onnx numpy onnxruntime
PYTHON=venv/bin/python ACCELERANT_ONNX_TABLE=docs/onnx-node-cases.md cargo xtask test -- --test onnx_nodes
```

Without a GPU, TensorRT computes no values: its parser reads the model in the form that the passes of this crate write.
In a reason, `#` stands for digits, and `…` for a name.

";
