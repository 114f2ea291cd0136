//! Gather and scatter at computed positions.

use burn::tensor::IndexingUpdateOp as Update;

use crate::harness::*;

const UPDATES: [Update; 5] = [Update::Assign, Update::Add, Update::Mul, Update::Min, Update::Max];

/// Different in each column, as far as replacing asks for.
fn distinct(batch: usize, seed: u64) -> Tensor<2, Int> {
    let row = ints([batch, 1], 0, 3, seed);
    row + Tensor::from_data(
        TensorData::new(vec![0i64, 2], [1, 2]),
        (&device(), burn::tensor::DType::I64),
    )
}

#[test]
fn reads() {
    let inputs = |batch, seed| (input([batch, 5], seed), ints([batch, 3], 0, 5, seed + 1));
    of("gather", BOTH, inputs, |(x, at)| x.gather(1, at));
    let inputs = |batch, seed| (input([batch, 5, 2], seed), ints([4], 0, 5, seed + 1));
    of("select", STATIC, inputs, |(x, at)| x.select(1, at));
    let inputs = |batch, seed| (input([4, 5, 2], seed), ints([batch, 2], 0, 4, seed + 1));
    of("gather nd", STATIC, inputs, |(x, at)| -> Tensor<2> { x.gather_nd(at) });
    of(
        "gather nd, shallow",
        STATIC,
        |batch, seed| (input([4, 5, 2], seed), ints([batch, 1], 0, 4, seed + 1)),
        |(x, at)| -> Tensor<3> { x.gather_nd(at) },
    );
    of(
        "take",
        STATIC,
        |batch, seed| (input([batch, 5], seed), ints([2, 3], 0, 5, seed + 1)),
        |(x, at)| {
            let taken: Tensor<3> = x.take::<2, 3>(1, at);
            taken
        },
    );
}

#[test]
fn writes() {
    for update in UPDATES {
        let inputs = |batch, seed| {
            (input([batch, 5], seed), distinct(batch, seed + 1), input([batch, 2], seed + 2))
        };
        of(&format!("scatter, {update:?}"), BOTH, inputs, |(x, at, y)| x.scatter(1, at, y, update));
        let inputs = |batch, seed| (input([batch, 5, 2], seed), input([batch, 3, 2], seed + 2));
        of(
            &format!("select assign, {update:?}"),
            BOTH,
            inputs,
            |(x, y): (Tensor<3>, Tensor<3>)| {
                let at = Tensor::from_data(TensorData::new(vec![4i64, 0, 3], [3]), &x.device());
                x.select_assign(1, at, y, update)
            },
        );
        let inputs = |batch: usize, seed| {
            let at = distinct(1, seed).reshape([2, 1]).repeat_dim(1, 2);
            (input([5, 5, batch], seed), at, input([2, batch], seed + 2))
        };
        of(&format!("scatter nd, {update:?}"), STATIC, inputs, |(x, at, y)| {
            x.scatter_nd(at, y, update)
        });
    }
    for update in UPDATES {
        let inputs = |batch, seed| (input([batch, 5], seed), input([batch, 5], seed + 2));
        of(&format!("scatter along the batch, {update:?}"), BOTH, inputs, |(x, y)| {
            let at = x.clone().argmax(0);
            let y: Tensor<2> = y;
            x.scatter(0, at, y.slice(0..1), update)
        });
        of(&format!("select assign along the batch, {update:?}"), BOTH, inputs, |(x, y)| {
            let at = x.clone().argmax(0).slice([0..1, 0..1]).reshape([1]);
            let y: Tensor<2> = y;
            x.select_assign(0, at, y.slice(0..1), update)
        });
    }
    let inputs = |batch, seed| {
        let at = ints([batch, 6], 0, 1, seed + 1);
        (input([batch, 6], seed), at, input([batch, 6], seed + 2))
    };
    of("many onto one of the batch", BOTH, inputs, |(x, at, y)| x.scatter(0, at, y, Update::Add));
    let inputs = |batch, seed| {
        (input([batch, 4], seed), ints([batch, 6], 0, 4, seed + 1), input([batch, 6], seed + 2))
    };
    of("many onto one", BOTH, inputs, |(x, at, y)| x.scatter(1, at, y, Update::Add));
}
