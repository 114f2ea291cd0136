//! What each case told, written where `cargo xtask tables` asks for it: in the folder named by
//! `ACCELERANT_CASE_RECORDS`. Without it, nothing is written.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use accelerant::candle::Trace;
use accelerant::export::Target;

use crate::common::{Outcome, Runner};

/// A case that passed on runners, or is left out there for a reason. One line for each runner:
/// runner, family, operation, ONNX operators, case, reason.
pub(crate) fn passed(family: &str, case: &str, trace: &Trace, outcomes: &[Outcome]) {
    let operation = case.split(", ").next().unwrap_or(case);
    for (runner, gap) in outcomes {
        let Some(folder) = folder() else { return };
        let target = match runner {
            Runner::Tract => Target::portable(),
            Runner::OnnxRuntime => Target::onnx_runtime(),
            Runner::TensorRtRtx => Target::tensorrt(),
        };
        let model = trace.to_onnx(target).expect("the model was just exported");
        let nodes = model.proto().graph.iter().flat_map(|graph| &graph.node);
        let mut operators: Vec<&str> = nodes.map(|node| node.op_type()).collect();
        // Those at the end name the outputs.
        while operators.last() == Some(&"Identity") {
            operators.pop();
        }
        let (operators, reason) = (operators.join(" "), gap.unwrap_or_default());
        append(
            &folder,
            &format!("{runner:?}\t{family}\t{operation}\t{operators}\t{case}\t{reason}\n"),
        );
    }
}

/// A method, function or layer that Candle has, and why it has no case, if so.
pub(crate) fn listed(family: &str, operation: &str, reason: &str) {
    if let Some(folder) = folder() {
        append(&folder, &format!("All\t{family}\t{operation}\t\t\t{reason}\n"));
    }
}

fn folder() -> Option<String> {
    std::env::var("ACCELERANT_CASE_RECORDS").ok().filter(|folder| !folder.is_empty())
}

fn append(folder: &str, lines: &str) {
    static LOCK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOCK.lock();
    let path = Path::new(folder).join("candle.tsv");
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).expect("a writable folder");
    file.write_all(lines.as_bytes()).expect("the records can be written");
}
