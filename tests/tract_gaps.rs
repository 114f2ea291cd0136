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

/// Operators in which tract would lose a NaN. With one, each is an error that says so.
const LOSE_NAN: [&str; 8] =
    ["Relu", "Sigmoid", "Tanh", "Celu", "HardSigmoid", "Max", "Min", "Clip"];

/// A case with a NaN for such an operator.
fn would_lose_nan(name: &str) -> bool {
    let name = name.strip_prefix("grid_").unwrap_or_default();
    let (op, rest) = name.split_once('_').unwrap_or_default();
    // tract has kernels of its own for 64 bits, some of which keep a NaN.
    let wide = rest.contains("float64");
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
            Outcome::Failed(text) if text.contains("would lose here") => {
                ("refused because of a NaN", Some(text))
            }
            outcome if would_lose_nan(&name) => {
                wrong.push(format!("{name}: {outcome:?}, and a NaN is no error"));
                ("a NaN is no error", None)
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

/// tract's sigmoid and hyperbolic tangent are fits. They end before 0 and 1, and are no farther from the right value than
/// this for any finite number.
#[test]
fn sigmoid_and_tanh_are_near_for_all_finite_numbers() {
    const NEAR: f64 = 1e-6;
    // Each sign and exponent, 2,048 fractions of each.
    let values: Vec<f32> = (0..1u32 << 20)
        .map(|i| f32::from_bits((i << 12) | 0x5a5))
        .filter(|x| x.is_finite())
        .collect();
    type Exact = fn(f64) -> f64;
    let exact: [(&str, Exact); 2] =
        [("Sigmoid", |x| 1.0 / (1.0 + (-x).exp())), ("Tanh", f64::tanh)];
    for (operator, exact) in exact {
        let graph = accelerant::export::GraphBuilder::new("edge");
        let x = graph.input("x", accelerant::DType::F32, [values.len()]).unwrap();
        graph.output("y", &graph.node(operator).input(&x).build().unwrap()).unwrap();
        let (_, executable) = Tract.build_and_load(&graph.finish().unwrap()).unwrap();
        let input = accelerant::HostTensor::from_vec([values.len()], values.clone()).unwrap();
        let outputs = executable.run(&[input]).unwrap()[0].to_vec::<f32>().unwrap();
        let far = |(x, y): (&f32, &f32)| ((f64::from(*y) - exact(f64::from(*x))).abs(), *x);
        let worst =
            values.iter().zip(&outputs).map(far).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("{operator}: {:e} at {}", worst.0, worst.1);
        assert!(worst.0 < NEAR, "{operator}: {:e} at {}", worst.0, worst.1);
    }
}
