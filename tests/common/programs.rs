//! Small random programs of operations on shapes, over tensors of rank 3, and the search for one whose
//! exported model is wrong at sizes that no trace had. Each framework says how it runs a program.

use accelerant::backend::Backend;
use accelerant::export::{OnnxModel, Target};
use accelerant::{Error, HostTensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Tolerance, compare, to_f64};

/// A size that a program computes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    Fixed(usize),
    /// Of an axis of the input, or of the tensor at hand.
    Input(usize),
    Own(usize),
    Less(usize, usize),
    More(usize, usize),
    Part(usize, usize),
    RoundedUp(usize, usize),
    Times(usize, usize),
    Product(usize, usize),
    Sum(usize, usize),
}

impl Size {
    /// For an input and the tensor at hand of these sizes; `None` where it would be below zero.
    pub(crate) fn of(self, input: [usize; 3], own: [usize; 3]) -> Option<usize> {
        Some(match self {
            Self::Fixed(size) => size,
            Self::Input(axis) => input[axis],
            Self::Own(axis) => own[axis],
            Self::Less(axis, by) => own[axis].checked_sub(by)?,
            Self::More(axis, by) => own[axis] + by,
            Self::Part(axis, divisor) => own[axis] / divisor,
            Self::RoundedUp(axis, divisor) => own[axis].div_ceil(divisor),
            Self::Times(axis, factor) => own[axis] * factor,
            Self::Product(a, b) => own[a] * own[b],
            Self::Sum(a, b) => own[a] + own[b],
        })
    }
}

/// One operation on the tensor at hand, or on that and the one before it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    SwapDims(usize, usize),
    Permute([usize; 3]),
    Flip(usize),
    /// Two axes next to each other become one, and a new one of size 1 goes first or last.
    Merge {
        at: usize,
        front: bool,
    },
    /// An axis is divided; the other two become one.
    Split {
        axis: usize,
        into: Size,
    },
    /// `[size, -1, 1]`
    Infer(Size),
    /// The sizes of the input, if there are as many elements.
    AsInput,
    Narrow {
        axis: usize,
        start: Size,
        length: Size,
    },
    Last {
        axis: usize,
        count: usize,
    },
    Every {
        axis: usize,
        start: usize,
        step: usize,
    },
    Chunk {
        axis: usize,
        chunks: usize,
        take: usize,
    },
    Assign {
        axis: usize,
        start: Size,
        length: Size,
    },
    /// With the tensor before, or with itself where that does not fit.
    Cat(usize),
    CatOnes(usize, Size),
    Pad([usize; 4]),
    PadTo(Size),
    Expand(usize, Size),
    Repeat(usize, Size),
    Products,
    Triangle {
        upper: bool,
        diagonal: i64,
    },
    Mask(Size),
    Positions(usize),
    Rows(usize, Size),
    Unfold {
        axis: usize,
        size: usize,
        step: usize,
    },
    Mean(usize),
    CumSum(usize),
    Softmax(usize),
    /// With the tensor before, where it broadcasts.
    Add,
    /// By a size, as a number.
    Scale(Size),
    /// Another operation where a size is beyond a limit.
    Branch(Size, usize),
    Cut(usize, usize),
}

/// A program is the steps in a row.
pub(crate) fn program() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..6)
}

fn size() -> impl Strategy<Value = Size> {
    let axis = || 0..3usize;
    prop_oneof![
        2 => (1..4usize).prop_map(Size::Fixed),
        2 => axis().prop_map(Size::Input),
        3 => axis().prop_map(Size::Own),
        3 => (axis(), 1..3usize).prop_map(|(axis, by)| Size::Less(axis, by)),
        1 => (axis(), 1..4usize).prop_map(|(axis, by)| Size::More(axis, by)),
        2 => (axis(), 2..4usize).prop_map(|(axis, by)| Size::Part(axis, by)),
        1 => (axis(), 2..4usize).prop_map(|(axis, by)| Size::RoundedUp(axis, by)),
        1 => (axis(), 2..4usize).prop_map(|(axis, by)| Size::Times(axis, by)),
        1 => (axis(), axis()).prop_map(|(a, b)| Size::Product(a, b)),
        1 => (axis(), axis()).prop_map(|(a, b)| Size::Sum(a, b)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let axis = || 0..3usize;
    let order = Just([0, 1, 2]).prop_shuffle();
    prop_oneof![
        (axis(), axis()).prop_map(|(a, b)| Step::SwapDims(a, b)),
        order.prop_map(Step::Permute),
        axis().prop_map(Step::Flip),
        (0..2usize, any::<bool>()).prop_map(|(at, front)| Step::Merge { at, front }),
        (axis(), size()).prop_map(|(axis, into)| Step::Split { axis, into }),
        size().prop_map(Step::Infer),
        Just(Step::AsInput),
        (axis(), 0..2usize, size()).prop_map(|(axis, start, length)| {
            Step::Narrow { axis, start: Size::Fixed(start), length }
        }),
        (axis(), size(), size()).prop_map(|(axis, start, length)| Step::Narrow {
            axis,
            start,
            length
        }),
        (axis(), 1..4usize).prop_map(|(axis, count)| Step::Last { axis, count }),
        (axis(), 0..2usize, 2..4usize).prop_map(|(axis, start, step)| Step::Every {
            axis,
            start,
            step
        }),
        (axis(), 2..4usize, 0..2usize).prop_map(|(axis, chunks, take)| Step::Chunk {
            axis,
            chunks,
            take
        }),
        (axis(), size(), size()).prop_map(|(axis, start, length)| Step::Assign {
            axis,
            start,
            length
        }),
        axis().prop_map(Step::Cat),
        (axis(), size()).prop_map(|(axis, size)| Step::CatOnes(axis, size)),
        prop::array::uniform4(0..3usize).prop_map(Step::Pad),
        size().prop_map(Step::PadTo),
        (axis(), size()).prop_map(|(axis, size)| Step::Expand(axis, size)),
        (axis(), size()).prop_map(|(axis, size)| Step::Repeat(axis, size)),
        Just(Step::Products),
        (any::<bool>(), -2..3i64).prop_map(|(upper, diagonal)| Step::Triangle { upper, diagonal }),
        size().prop_map(Step::Mask),
        axis().prop_map(Step::Positions),
        (axis(), size()).prop_map(|(axis, size)| Step::Rows(axis, size)),
        (axis(), 1..4usize, 1..3usize).prop_map(|(axis, size, step)| Step::Unfold {
            axis,
            size,
            step
        }),
        axis().prop_map(Step::Mean),
        axis().prop_map(Step::CumSum),
        axis().prop_map(Step::Softmax),
        Just(Step::Add),
        size().prop_map(Step::Scale),
        (size(), 2..8usize).prop_map(|(size, limit)| Step::Branch(size, limit)),
        (axis(), 2..8usize).prop_map(|(axis, limit)| Step::Cut(axis, limit)),
    ]
}

impl Step {
    /// Whether a size can decide what is computed, without a trace in the sizes.
    pub(crate) fn decides(&self) -> bool {
        matches!(self, Self::Branch(..) | Self::Cut(..))
    }
}

/// How many programs came to what.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    compared: usize,
    refused: usize,
    /// The framework itself fails at sizes of the range.
    failed: usize,
    /// By tract, which says so when it builds or runs the model.
    not_run: usize,
}

impl Tally {
    fn pass_over(&mut self, program: &[Step], error: &Error) -> Result<(), TestCaseError> {
        self.not_run += 1;
        eprintln!("{program:?}: {error}");
        Ok(())
    }
}

/// Whether tract says that it cannot build a model, or run it.
fn is_of_tract(error: &Error) -> bool {
    let signs = ["tract 0.23.9 refuses the model", "use ONNX Runtime", "Evaluating #"];
    signs.iter().any(|sign| error.to_string().contains(sign))
}

/// What became of an export.
pub(crate) enum Exported {
    Model(Box<OnnxModel>),
    Refused,
    Failed,
}

/// A framework that runs and exports programs.
pub(crate) trait Runs {
    /// An error is none of those that may be.
    fn export(&self, program: &[Step], target: Target) -> Result<Exported, String>;
    /// A random input of these sizes, and what the framework makes of it, where it does not fail.
    fn reference(&self, program: &[Step], sizes: [usize; 3], seed: u64) -> Option<[HostTensor; 2]>;
}

fn verify(
    framework: &dyn Runs,
    program: &[Step],
    sizes: &[[usize; 3]],
    backend: &dyn Backend,
    tally: &mut Tally,
) -> Result<(), TestCaseError> {
    let fail = |text: String| Err(TestCaseError::fail(text));
    let model = match framework.export(program, backend.target()) {
        Ok(Exported::Model(model)) => model,
        Ok(Exported::Refused) => {
            tally.refused += 1;
            return Ok(());
        }
        Ok(Exported::Failed) => {
            tally.failed += 1;
            return Ok(());
        }
        Err(error) => return fail(error),
    };
    let executable = backend.build(&model).and_then(|engine| backend.load(&engine));
    let executable = match executable {
        Ok(executable) => executable,
        Err(error) if is_of_tract(&error) => return tally.pass_over(program, &error),
        // No size lets the framework run, as where an index that is fixed is out of range.
        Err(_) if sizes.iter().all(|&sizes| framework.reference(program, sizes, 7).is_none()) => {
            tally.failed += 1;
            return Ok(());
        }
        Err(error) => return fail(format!("{error}\n{model}")),
    };
    let mut compared = false;
    for (seed, &sizes) in sizes.iter().enumerate() {
        let Some([x, expected]) = framework.reference(program, sizes, seed as u64 + 7) else {
            continue;
        };
        let got = match executable.run(&[x]) {
            Ok(got) => got,
            Err(error) if is_of_tract(&error) => return tally.pass_over(program, &error),
            Err(error) => return fail(format!("{sizes:?}: {error}\n{model}")),
        };
        let largest = to_f64(&expected).into_iter().fold(1.0, |all: f64, x| all.max(x.abs()));
        let close = Tolerance { absolute: 1e-4 * largest, relative: 0.0 };
        if let Err(error) = compare(&got[0], &expected, close) {
            return fail(format!("{sizes:?}: {error}\n{model}"));
        }
        compared = true;
    }
    tally.compared += usize::from(compared);
    Ok(())
}

/// As many as `ACCELERANT_PROGRAMS` asks for. Of very many a few fail in which the sizes of two tensors meet by
/// chance, which decides how they are added, and no size that was tried shows it.
fn cases() -> u32 {
    let asked = std::env::var("ACCELERANT_PROGRAMS").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(3000)
}

/// Looks for a program that goes wrong at one of the sizes drawn for it.
pub(crate) fn search(
    framework: &dyn Runs,
    programs: impl Strategy<Value = Vec<Step>>,
    sizes: impl Strategy<Value = [[usize; 3]; 4]>,
) {
    let cases = cases();
    let backend = super::portable_backend();
    let tally = std::cell::RefCell::new(Tally::default());
    // A framework fails in many programs, which is no news.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let result = runner.run(&(programs, sizes), |(program, sizes)| {
        verify(framework, &program, &sizes, backend.as_ref(), &mut tally.borrow_mut())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let tally = tally.into_inner();
    eprintln!("{tally:?}");
    // Else there is nothing to see.
    assert!(tally.compared > cases as usize / 3, "{tally:?}");
    assert!(tally.not_run <= cases as usize / 100, "{tally:?}");
}
