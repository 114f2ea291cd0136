//! How Burn runs the random programs of `common`. What is checked with them is in `dynamic_programs`.

use burn::tensor::activation::softmax;
use burn::tensor::ops::PadMode;

use crate::common::programs::{Size, Step};
use crate::harness::*;

/// Not wrapping, as it would in an optimized build.
fn less(size: usize, by: usize) -> usize {
    size.checked_sub(by).expect("a size below zero")
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
    let of = |size: Size| size.of(input, own).expect("a size below zero");
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
