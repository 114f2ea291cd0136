//! Numbers far from zero, wide integers, and products with what was expanded: forms that the builder writes since a
//! runtime computes the plain operator wrongly.

use accelerant::export::Reduction;
use accelerant::{DType, Dim, HostTensor};

use crate::common::check;
use crate::{GraphBuilder, build};

fn row(values: &[f32]) -> HostTensor {
    HostTensor::from_vec([1, values.len()], values.to_vec()).unwrap()
}

#[test]
fn logarithms_far_from_zero() {
    let x = [1.0f32, 2.0, -1e4, 80.0];
    let dims = || vec![Dim::dynamic("batch", 1..=3).unwrap(), Dim::Fixed(4)];
    let most = 80f64;
    let sum: f64 = x.iter().map(|&x| (f64::from(x) - most).exp()).sum();
    let softmax = x.map(|x| (f64::from(x) - most - sum.ln()) as f32);
    check(
        "log_softmax",
        |consumer| build(consumer, dims(), |_, x| x.log_softmax(-1)),
        &[row(&x)],
        &[row(&softmax)],
    );
    let x = [-100.0f32, -20.0, 0.0, 100.0];
    let softplus = x.map(|x| f64::from(x).max(0.0) + (-f64::from(x).abs()).exp().ln_1p());
    check(
        "softplus",
        |consumer| build(consumer, dims(), |_, x| x.softplus()?.affine(1e6, 0.0)),
        &[row(&x)],
        &[row(&softplus.map(|y| (y * 1e6) as f32))],
    );
}

#[test]
fn squares_and_extremes_of_wide_integers() {
    let values = vec![-3i64, 3_000_000_000, 0xFFFF_FFFF, 7];
    let other = vec![5i64, 1 << 31, 6, -(1 << 40)];
    let zip = |f: fn(i64, i64) -> i64| {
        let values = values.iter().zip(&other).map(|(&x, &y)| f(x, y)).collect();
        HostTensor::from_vec([4], values).unwrap()
    };
    let tensor = |values: &Vec<i64>| HostTensor::from_vec([4], values.clone()).unwrap();
    check(
        "integers",
        |consumer| {
            let graph = GraphBuilder::for_target("integers", consumer);
            let (x, y) = (graph.input("x", DType::I64, [4])?, graph.input("y", DType::I64, [4])?);
            graph.output("square", &x.mul(&x)?)?;
            graph.output("most", &x.maximum(&y)?)?;
            graph.output("least", &x.minimum(&y)?)?;
            graph.finish()
        },
        &[tensor(&values), tensor(&other)],
        &[zip(|x, _| x.wrapping_mul(x)), zip(i64::max), zip(i64::min)],
    );
}

#[test]
fn products_with_what_was_expanded() {
    let weight = || HostTensor::from_vec([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
    let x = HostTensor::from_vec([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let dims = || vec![Dim::dynamic("batch", 1..=4).unwrap(), Dim::Fixed(2)];
    let all = |values: [f32; 6]| HostTensor::from_vec([3, 2], values.to_vec()).unwrap();
    check(
        "a column",
        |consumer| {
            build(consumer, dims(), |graph, x| {
                let column = x.reduce_keepdim(Reduction::Max, &[1])?;
                column.expand(x.dims(), &[x])?.matmul(&graph.weight("w", weight())?)
            })
        },
        std::slice::from_ref(&x),
        &[all([8.0, 12.0, 16.0, 24.0, 24.0, 36.0])],
    );
    check(
        "a number, in a layer",
        |consumer| {
            build(consumer, dims(), |graph, x| {
                let threes = x.scalar_like(3.0)?.expand(x.dims(), &[x])?;
                threes.linear_by_outputs(&graph.weight("w", weight())?, None)
            })
        },
        std::slice::from_ref(&x),
        &[all([9.0, 21.0, 9.0, 21.0, 9.0, 21.0])],
    );
}
