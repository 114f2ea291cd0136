//! Small random programs of operations on shapes, over tensors of rank 3: how they look, and how Burn runs
//! them. What is checked with them is in `dynamic_programs`.

use burn::tensor::activation::softmax;
use burn::tensor::ops::PadMode;
use proptest::prelude::*;

use crate::harness::*;

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

/// Not wrapping, as it would in an optimized build.
fn less(size: usize, by: usize) -> usize {
    size.checked_sub(by).expect("a size below zero")
}

impl Size {
    fn of(self, input: [usize; 3], own: [usize; 3]) -> usize {
        match self {
            Self::Fixed(size) => size,
            Self::Input(axis) => input[axis],
            Self::Own(axis) => own[axis],
            Self::Less(axis, by) => less(own[axis], by),
            Self::More(axis, by) => own[axis] + by,
            Self::Part(axis, divisor) => own[axis] / divisor,
            Self::RoundedUp(axis, divisor) => own[axis].div_ceil(divisor),
            Self::Times(axis, factor) => own[axis] * factor,
            Self::Product(a, b) => own[a] * own[b],
            Self::Sum(a, b) => own[a] + own[b],
        }
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

/// What a program makes of a tensor. Panics where Burn does.
pub(crate) fn interpret(program: &[Step], input: Tensor<3>) -> Tensor<3> {
    let (sizes, mut before, mut x) = (input.dims(), input.clone(), input);
    for &step in program {
        let next = apply(step, sizes, &before, x.clone());
        let elements = next.dims().into_iter().product::<usize>();
        assert!((1..1 << 20).contains(&elements), "sizes {:?}", next.dims());
        (before, x) = (x, next);
    }
    x
}

fn apply(step: Step, input: [usize; 3], before: &Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    let (own, device) = (x.dims(), x.device());
    let of = |size: Size| size.of(input, own);
    let with = |axis: usize, size: usize| {
        let mut sizes = own;
        sizes[axis] = size;
        sizes
    };
    let range = |axis: usize, from: usize, to: usize| {
        let mut ranges = own.map(|size| 0..size);
        ranges[axis] = from..to;
        ranges
    };
    match step {
        Step::SwapDims(a, b) => x.swap_dims(a, b),
        Step::Permute(order) => x.permute(order),
        Step::Flip(axis) => x.flip([axis]),
        Step::Merge { at: 0, front: true } => x.reshape([1, own[0] * own[1], own[2]]),
        Step::Merge { at: 0, front: false } => x.flatten::<2>(0, 1).unsqueeze_dim(2),
        Step::Merge { front: true, .. } => x.flatten::<2>(1, 2).unsqueeze(),
        Step::Merge { front: false, .. } => x.reshape([own[0], own[1] * own[2], 1]),
        Step::Split { axis, into } => {
            let parts = of(into);
            let rest = own[(axis + 1) % 3] * own[(axis + 2) % 3];
            match axis {
                0 => x.reshape([parts, own[0] / parts, rest]),
                _ => x.reshape([rest, parts, own[axis] / parts]),
            }
        }
        Step::Infer(size) => x.reshape([of(size) as i64, -1, 1]),
        Step::AsInput => x.reshape(input),
        Step::Narrow { axis, start, length } => x.narrow(axis, of(start), of(length)),
        Step::Last { axis, count } => x.slice(range(axis, less(own[axis], count), own[axis])),
        Step::Every { axis, start, step } => {
            let slice = burn::tensor::Slice::new(start as isize, None, step as isize);
            x.slice_dim(axis, slice)
        }
        Step::Chunk { axis, chunks, take } => x.chunk(chunks, axis).swap_remove(take),
        Step::Assign { axis, start, length } => {
            let (start, length) = (of(start), of(length));
            let new = x.clone().narrow(axis, 0, length) * 2;
            x.slice_assign(range(axis, start, start + length), new)
        }
        Step::Cat(axis) => {
            let fits = (0..3).all(|i| i == axis || before.dims()[i] == own[i]);
            let other = if fits { before.clone() } else { x.clone() * 0.5 };
            Tensor::cat(vec![other, x], axis)
        }
        Step::CatOnes(axis, size) => {
            Tensor::cat(vec![x, Tensor::ones(with(axis, of(size)), &device)], axis)
        }
        Step::Pad([left, right, top, bottom]) => {
            x.pad((left, right, top, bottom), PadMode::Constant(0.5))
        }
        Step::PadTo(size) => {
            let more = less(of(size), own[2]);
            x.pad((0, more, 0, 0), PadMode::Constant(0.5))
        }
        Step::Expand(axis, size) => x.mean_dim(axis).expand(with(axis, of(size))),
        Step::Repeat(axis, size) => x.repeat_dim(axis, of(size)),
        Step::Products => x.clone().matmul(x.swap_dims(1, 2)).tanh(),
        Step::Triangle { upper: true, diagonal } => x.triu(diagonal),
        Step::Triangle { upper: false, diagonal } => x.tril(diagonal),
        Step::Mask(size) => {
            let mask = Tensor::<2, Bool>::tril_mask([own[1], own[2]], 0, &device);
            let ahead = Tensor::<1, Int>::arange(0..own[2] as i64, &device);
            let ahead = ahead.greater_equal_elem(of(size) as i64).unsqueeze::<2>();
            let mask = mask.bool_or(ahead.expand([own[1], own[2]]));
            x.mask_fill(mask.unsqueeze::<3>().expand(own), -0.5)
        }
        Step::Positions(axis) => {
            let positions = Tensor::<1, Int>::arange(0..own[axis] as i64, &device).float();
            let mut sizes = [1; 3];
            sizes[axis] = own[axis];
            x + (positions * 0.1).reshape(sizes)
        }
        Step::Rows(axis, size) => {
            x.select(axis, Tensor::<1, Int>::arange(0..of(size) as i64, &device))
        }
        Step::Unfold { axis, size, step } => {
            let windows: Tensor<4> = x.unfold(axis, size, step);
            let [a, b, c, d] = windows.dims();
            windows.reshape([a, b, c * d])
        }
        Step::Mean(axis) => x.mean_dim(axis),
        Step::CumSum(axis) => x.cumsum(axis).tanh(),
        Step::Softmax(axis) => softmax(x, axis),
        Step::Add => {
            let fits = (0..3).all(|i| before.dims()[i] == own[i] || before.dims()[i] == 1);
            if fits { x + before.clone() } else { x * 2 }
        }
        Step::Scale(size) => x / of(size) as f32,
        Step::Branch(size, limit) => {
            if of(size) > limit {
                x.exp()
            } else {
                x.tanh()
            }
        }
        Step::Cut(axis, limit) => x.narrow(axis, 0, own[axis].min(limit)),
    }
}
