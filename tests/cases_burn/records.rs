//! What each case told about each operation, written where `cargo xtask tables` asks for it: in
//! the folder named by `ACCELERANT_CASE_RECORDS`. Without it, nothing is written.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use accelerant::burn::{BurnGraph, Operation};
use accelerant::export::Target;

use crate::common::Runner;

/// A case that passed on a runner, or is left out there for a reason. One line for each operation
/// of the capture: runner, family, operation, ONNX operators, case, reason.
pub(crate) fn passed(case: &str, graph: &BurnGraph, runner: Runner, gap: Option<&str>) {
    let Some(folder) = folder() else { return };
    let target = match runner {
        Runner::Tract => Target::portable(),
        Runner::OnnxRuntime => Target::onnx_runtime(),
        Runner::TensorRtRtx => Target::tensorrt(),
    };
    let mut lines = String::new();
    let lowered = match (graph.lowered(target), gap) {
        (Ok(lowered), _) => lowered,
        // Refused for this runner: what the others take is what it lacks.
        (Err(_), Some(_)) => graph.lowered(Target::portable()).expect("others take it"),
        (Err(error), None) => panic!("the model was just exported: {error}"),
    };
    for lowered in lowered {
        let Operation { family, name, .. } = lowered.operation;
        let nodes = lowered.nodes.join(" ");
        let reason = gap.unwrap_or_default();
        lines += &format!("{runner:?}\t{family}\t{name}\t{nodes}\t{case}\t{reason}\n");
    }
    append(&folder, &lines);
}

/// An operation that is refused when it is exported.
pub(crate) fn refused(family: &str, operation: &str, reason: &str) {
    if let Some(folder) = folder() {
        append(&folder, &format!("Refused\t{family}\t{operation}\t\t\t{reason}\n"));
    }
}

#[test]
fn the_operations_of_burn_are_recorded() {
    let all: Vec<_> = Operation::all().collect();
    assert!(all.iter().any(|op| op.name == "MaxPool2d" && op.left_out.is_none()));
    let Some(folder) = folder() else { return };
    let line = |Operation { family, name, left_out, .. }| {
        format!("All\t{family}\t{name}\t\t\t{}\n", left_out.unwrap_or_default())
    };
    append(&folder, &all.into_iter().map(line).collect::<String>());
}

fn folder() -> Option<String> {
    std::env::var("ACCELERANT_CASE_RECORDS").ok().filter(|folder| !folder.is_empty())
}

fn append(folder: &str, lines: &str) {
    let path = Path::new(folder).join("burn.tsv");
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).expect("a writable folder");
    file.write_all(lines.as_bytes()).expect("the records can be written");
}
