//! Random programs over dynamic sizes: at sizes that no capture had, the exported model gives what Burn
//! gives, or the export is refused; it is never wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use accelerant::export::Target;
use accelerant::{Dim, ErrorKind, HostTensor};
use proptest::prelude::*;

use crate::common::programs::{Exported, Runs, Step, program, search};
use crate::harness::*;
use crate::programs::interpret;

struct Programs(OptimizeOptions);

impl Runs for Programs {
    fn export(&self, program: &[Step], target: Target) -> Result<Exported, String> {
        let forward = |_: &Nothing, x| interpret(program, x);
        let graph = BurnGraph::capture(&Nothing::default(), &input([4, 5, 6], 1), forward, &self.0);
        match graph.and_then(|graph| graph.to_onnx(target)) {
            Ok(model) => Ok(Exported::Model(Box::new(model))),
            Err(error) => match error.kind() {
                ErrorKind::UnsupportedOperation => Ok(Exported::Refused),
                ErrorKind::InvalidModel if error.to_string().contains("panicked") => {
                    Ok(Exported::Failed)
                }
                kind => Err(format!("{kind:?}: {error}")),
            },
        }
    }

    fn reference(&self, program: &[Step], sizes: [usize; 3], seed: u64) -> Option<[HostTensor; 2]> {
        let x = input(sizes, seed);
        let run = || host(interpret(program, x.clone())).swap_remove(0);
        let expected = catch_unwind(AssertUnwindSafe(run)).ok()?;
        Some([host(x).swap_remove(0), expected])
    }
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
    search(&Programs(options), programs, sizes);
}

#[test]
fn random_programs_that_branch_over_a_small_range() {
    let dim = Dim::dynamic("length", 2..=9).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_axis(0, 1, dim);
    let sizes = prop::array::uniform4((2..=9usize).prop_map(|length| [4, length, 6]));
    search(&Programs(options), program(), sizes);
}
