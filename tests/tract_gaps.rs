//! ONNX's own node tests and a grid of recurrent layers on tract: each is right, or refused with an error. No result may
//! be wrong without a word. `tests/data/onnx_cases.py` dumps the cases.
#![cfg(feature = "tract")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use accelerant::backend::Backend;
use accelerant::backend::tract::Tract;
use accelerant::export::OnnxModel;
use common::compare;
use common::onnx_cases::{Case, Folder, cases};

#[derive(Debug)]
enum Outcome {
    Right,
    /// By the table of gaps, before tract saw the model.
    Refused,
    /// By this crate when it read the model.
    Unread,
    /// By tract.
    Failed(String),
    Panicked(String),
    Wrong(String),
}

fn outcome(folder: &Path, case: &Case) -> Outcome {
    let model = match OnnxModel::open(folder.join(format!("{}.onnx", case.name))) {
        Ok(model) => model,
        Err(_) => return Outcome::Unread,
    };
    let failed = |error: accelerant::Error| match error.to_string() {
        text if text.contains("panicked") => Outcome::Panicked(text),
        text => Outcome::Failed(text),
    };
    match Tract.check(&model) {
        Ok(Some(refused)) if refused.is_empty() => {}
        _ => return Outcome::Refused,
    }
    let executable = match Tract.build_and_load(&model) {
        Ok((_, executable)) => executable,
        Err(error) => return failed(error),
    };
    let outputs = match executable.run(&case.inputs) {
        Ok(outputs) => outputs,
        Err(error) => return failed(error),
    };
    if outputs.len() != case.outputs.len() {
        return Outcome::Wrong(format!("{} outputs", outputs.len()));
    }
    let differences = outputs.iter().zip(&case.outputs).enumerate();
    let difference = differences.into_iter().find_map(|(i, (got, expected))| {
        compare(got, expected, case.tolerance).err().map(|e| format!("output {i}: {e}"))
    });
    difference.map_or(Outcome::Right, Outcome::Wrong)
}

/// Operators in which tract loses a NaN, as `docs/guide/backends.md` says. Their cases of NaN must stay wrong, or this
/// list and that page are out of date.
const LOSE_NAN: [&str; 8] =
    ["Relu", "Sigmoid", "Tanh", "Celu", "HardSigmoid", "Max", "Min", "Clip"];

fn is_known_gap(name: &str) -> bool {
    let name = name.strip_prefix("grid_").unwrap_or_default();
    let (op, rest) = name.split_once('_').unwrap_or_default();
    // tract has a kernel of its own for 64-bit sigmoids, which keeps a NaN.
    let wide = rest.contains("float64") && matches!(op, "Sigmoid" | "Tanh" | "Celu");
    rest.contains("odd") && !wide && LOSE_NAN.contains(&op)
}

#[test]
fn no_case_of_onnx_is_wrong_without_a_word() {
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(reason) => {
            common::skipped(
                "no_case_of_onnx_is_wrong_without_a_word",
                format!("no cases: {reason}"),
            );
            return;
        }
    };
    let only = std::env::var("ACCELERANT_ONNX_CASE").unwrap_or_default();
    let told = std::env::var_os("ACCELERANT_ONNX_TOLD").is_some();
    let cases: Vec<Case> =
        cases(folder.path()).into_iter().filter(|case| case.name.contains(&only)).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let path = folder.path().to_owned();
    for case in cases {
        let name = case.name.clone();
        if told {
            eprintln!("{name}");
        }
        let (sender, receiver) = mpsc::channel();
        let path = path.clone();
        let worker = thread::spawn(move || drop(sender.send(outcome(&path, &case))));
        let outcome = match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                Outcome::Wrong("it has not ended after a minute".into())
            }
            Err(RecvTimeoutError::Disconnected) => Outcome::Wrong(format!("{:?}", worker.join())),
        };
        let (kind, text) = match outcome {
            Outcome::Wrong(_) if is_known_gap(&name) => ("loses a NaN, as is known", None),
            Outcome::Right if is_known_gap(&name) => {
                wrong.push(format!("{name}: right, though a gap is stated"));
                ("right", None)
            }
            Outcome::Right => ("right", None),
            Outcome::Refused => ("refused by the table", None),
            Outcome::Unread => ("not read", None),
            Outcome::Failed(text) => ("refused by tract", Some(text)),
            Outcome::Panicked(text) => ("panicked", Some(text)),
            Outcome::Wrong(text) => {
                wrong.push(format!("{name}: {text}"));
                ("wrong", Some(text))
            }
        };
        if told {
            eprintln!("  {kind} {}", text.unwrap_or_default());
        }
        *counts.entry(kind).or_default() += 1;
    }
    eprintln!("{counts:?}");
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let right = counts.get("right").copied().unwrap_or_default();
    assert!(!only.is_empty() || right > 800, "only {right} are right");
}
