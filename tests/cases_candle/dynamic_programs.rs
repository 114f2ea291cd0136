//! Random programs over dynamic sizes: at sizes that no run of the trace had, the exported model gives what
//! Candle gives, or the export is refused; it is never wrong.

use std::ops::RangeInclusive;

use accelerant::candle::{Trace, Traced};
use accelerant::export::Target;
use accelerant::{Dim, ErrorKind, HostTensor};
use proptest::prelude::*;

use crate::common::programs::{Exported, Runs, Step, program, search};
use crate::harness::*;
use crate::programs::interpret;

/// The sizes of the example.
const EXAMPLE: [usize; 3] = [4, 5, 6];

struct Programs {
    options: OptimizeOptions,
    ranges: [RangeInclusive<usize>; 2],
}

impl Programs {
    /// Whether Candle fails at the example, or at one of the sizes that are tried for it: the smallest, and
    /// each along its range with the other at its largest.
    fn fails(&self, program: &[Step]) -> bool {
        let fails = |batch: usize, length: usize| {
            interpret(program, &tensor(&[batch, length, EXAMPLE[2]], 1)).is_err()
        };
        let [batch, length] = &self.ranges;
        fails(EXAMPLE[0], EXAMPLE[1])
            || fails(*batch.start(), *length.start())
            || batch.clone().any(|batch| fails(batch, *length.end()))
            || length.clone().any(|length| fails(*batch.end(), length))
    }
}

impl Runs for Programs {
    fn export(&self, program: &[Step], target: Target) -> std::result::Result<Exported, String> {
        let example = tensor(&EXAMPLE, 1);
        let traced = |inputs: &[Traced]| Ok(vec![interpret(program, &inputs[0])?]);
        let trace = Trace::of_fn(&[&example][..], &self.options, traced);
        match trace.and_then(|trace| trace.to_onnx(target)) {
            Ok(model) => Ok(Exported::Model(Box::new(model))),
            Err(error) if error.kind() == ErrorKind::UnsupportedOperation => Ok(Exported::Refused),
            Err(_) if self.fails(program) => Ok(Exported::Failed),
            Err(error) => Err(format!("{:?}: {error}", error.kind())),
        }
    }

    fn reference(&self, program: &[Step], sizes: [usize; 3], seed: u64) -> Option<[HostTensor; 2]> {
        let x = tensor(&sizes, seed);
        let expected = interpret(program, &x).ok()?;
        Some([host(&x), host(&expected)])
    }
}

/// Over a batch and a length, of programs in which no size decides what is computed.
fn over(batch: RangeInclusive<usize>, length: RangeInclusive<usize>) {
    let dim = |name, range: &RangeInclusive<usize>| Dim::dynamic(name, range.clone());
    let (rows, columns) = (dim("batch", &batch), dim("length", &length));
    let options = OptimizeOptions::new()
        .dynamic_axis(0, 0, rows.expect("a valid range"))
        .dynamic_axis(0, 1, columns.expect("a valid range"));
    let programs = program().prop_map(|mut steps| {
        steps.retain(|step| !step.decides());
        steps
    });
    let sizes = (batch.clone(), length.clone()).prop_map(|(batch, length)| [batch, length, 6]);
    let ranges = [batch, length];
    search(&Programs { options, ranges }, programs, prop::array::uniform4(sizes));
}

#[test]
fn random_programs_over_a_dynamic_batch_and_length() {
    over(1..=40, 3..=50);
}

/// Not all sizes of which are tried.
#[test]
fn random_programs_over_a_long_range() {
    over(1..=4, 3..=700);
}

#[test]
fn random_programs_that_branch_over_a_small_range() {
    let dim = Dim::dynamic("length", 2..=9).expect("a valid range");
    let options = OptimizeOptions::new().dynamic_axis(0, 1, dim);
    let sizes = prop::array::uniform4((2..=9usize).prop_map(|length| [4, length, 6]));
    search(&Programs { options, ranges: [4..=4, 2..=9] }, program(), sizes);
}
