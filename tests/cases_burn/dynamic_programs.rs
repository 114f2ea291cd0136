//! Random programs over dynamic sizes: at sizes that no capture had, the exported model gives what Burn
//! gives, or the export is refused; it is never wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use accelerant::backend::{Backend, Registry};
use accelerant::{BackendKind, Dim, ErrorKind, HostTensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{Tolerance, compare, to_f64};
use crate::harness::*;
use crate::programs::{Step, interpret, program};

/// How many programs came to what.
#[derive(Debug, Default)]
struct Tally {
    compared: usize,
    refused: usize,
    panicked: usize,
    /// By the backend, which says why.
    not_built: usize,
}

/// What Burn makes of it, where it does not panic.
fn reference(program: &[Step], x: &Tensor<3>) -> Option<HostTensor> {
    let run = || host(interpret(program, x.clone())).swap_remove(0);
    catch_unwind(AssertUnwindSafe(run)).ok()
}

fn verify(
    program: &[Step],
    options: &OptimizeOptions,
    sizes: &[[usize; 3]],
    backend: &dyn Backend,
    tally: &mut Tally,
) -> Result<(), TestCaseError> {
    let fail = |text: String| Err(TestCaseError::fail(text));
    let forward = |_: &Nothing, x| interpret(program, x);
    let graph = BurnGraph::capture(&Nothing::default(), &input([4, 5, 6], 1), forward, options);
    let model = match graph.and_then(|graph| graph.to_onnx(backend.consumer())) {
        Ok(model) => model,
        Err(error) => {
            match error.kind() {
                ErrorKind::UnsupportedOperation => tally.refused += 1,
                // Burn itself panics at sizes of the range.
                ErrorKind::InvalidModel if error.to_string().contains("panicked") => {
                    tally.panicked += 1;
                }
                kind => return fail(format!("{kind:?}: {error}")),
            }
            return Ok(());
        }
    };
    let executable = backend.build(&model).and_then(|engine| backend.load(&engine));
    let executable = match executable {
        Ok(executable) => executable,
        Err(error) if error.to_string().contains("tract 0.23 (pure Rust) refuses the model") => {
            tally.not_built += 1;
            eprintln!("{program:?}: {error}");
            return Ok(());
        }
        Err(error) => return fail(format!("{error}\n{model}")),
    };
    tally.compared += 1;
    for (seed, &sizes) in sizes.iter().enumerate() {
        eprintln!("RUN {program:?} {sizes:?}");
        let x = input(sizes, seed as u64 + 7);
        let Some(expected) = reference(program, &x) else { continue };
        let got = match executable.run(&host(x)) {
            Ok(got) => got,
            Err(error) => return fail(format!("{sizes:?}: {error}\n{model}")),
        };
        let largest = to_f64(&expected).into_iter().fold(1.0, |all: f64, x| all.max(x.abs()));
        let close = Tolerance { absolute: 1e-4 * largest, relative: 0.0 };
        if let Err(error) = compare(&got[0], &expected, close) {
            return fail(format!("{sizes:?}: {error}\n{model}"));
        }
    }
    Ok(())
}

/// The real ONNX Runtime does them all. Of the first the pure Rust one does too; in later ones it gets
/// masks over an axis of size 1 wrong.
fn cases() -> u32 {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() { 3000 } else { 300 }
}

fn run(
    options: &OptimizeOptions,
    programs: impl Strategy<Value = Vec<Step>>,
    sizes: impl Strategy<Value = [[usize; 3]; 4]>,
) {
    let backends = Registry::default();
    let backend = backends.backends().iter().find(|backend| backend.kind() == BackendKind::Ort);
    let backend = backend.expect("the portable backend is compiled in");
    let tally = std::cell::RefCell::new(Tally::default());
    // Burn panics in many programs, which is no news.
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let result = runner.run(&(programs, sizes), |(program, sizes)| {
        verify(&program, options, &sizes, backend.as_ref(), &mut tally.borrow_mut())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let tally = tally.into_inner();
    eprintln!("{tally:?}");
    // Else there is nothing to see.
    assert!(tally.compared > cases() as usize / 3, "{tally:?}");
    assert!(tally.not_built <= cases() as usize / 100, "{tally:?}");
}

#[test]
fn random_programs_over_a_dynamic_batch_and_length() {
    let dim = |name, range| Dim::dynamic(name, range).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_axis(0, 0, dim("batch", 1..=40)).dynamic_axis(
        0,
        1,
        dim("length", 3..=50),
    );
    let programs = program().prop_map(|mut steps| {
        steps.retain(|step| !step.decides());
        steps
    });
    let sizes = prop::array::uniform4((1..=40usize, 3..=50usize).prop_map(|(b, l)| [b, l, 6]));
    run(&options, programs, sizes);
}

#[test]
fn random_programs_that_branch_over_a_small_range() {
    let dim = Dim::dynamic("length", 2..=9).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_axis(0, 1, dim);
    let sizes = prop::array::uniform4((2..=9usize).prop_map(|length| [4, length, 6]));
    run(&options, program(), sizes);
}
