//! Sizes that follow the dynamic axis into positions, masks, slices and attention.

use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

use crate::harness::*;

/// The dynamic axis is the length of a sequence, which is axis 0 here.
#[test]
fn positions_follow_the_length() {
    function_with("positions", DYNAMIC, [3, 2], |x| {
        let [length, _] = x.dims();
        let positions = Tensor::<1, Int>::arange(0..length as i64, &x.device());
        x + positions.float().reshape([length, 1])
    });
    function_with("positions in steps", DYNAMIC, [3, 2], |x| {
        let [length, _] = x.dims();
        let positions = Tensor::<1, Int>::arange_step(0..2 * length as i64, 2, &x.device());
        x + positions.float().reshape([length, 1])
    });
    function_with("rows of a table", DYNAMIC, [3, 2], |x| {
        let [length, width] = x.dims();
        let table = Tensor::<1, Int>::arange(0..16, &x.device()).float().reshape([8, width]);
        x + table.slice(0..length)
    });
}

#[test]
fn slices_follow_the_length() {
    function_with("all but the last row", DYNAMIC, [3, 2], |x| {
        let [length, _] = x.dims();
        x.slice(0..length)
    });
    let wide = |batch: usize, seed| input([batch, 7], seed);
    of("as many columns as rows", DYNAMIC, wide, |x| {
        let [length, _] = x.dims();
        (x.clone().slice([0..length, 0..length]), x.slice([0..length, length..length + 2]))
    });
    of("the last row", DYNAMIC, wide, |x| {
        let [length, _] = x.dims();
        x.slice(length - 1..length)
    });
}

#[test]
fn masks_follow_the_length() {
    function_with("a triangle", DYNAMIC, [3, 2], |x| {
        let [length, _] = x.dims();
        let mask = Tensor::<2, Bool>::tril_mask([length, length], 0, &x.device());
        let scores = x.clone().matmul(x.transpose());
        scores.mask_fill(mask, f32::NEG_INFINITY)
    });
    function_with("triu of scores", DYNAMIC, [3, 2], |x| x.clone().matmul(x.transpose()).triu(0));
}

fn heads(length: usize, seed: u64) -> Tensor<4> {
    input([length, 2, 2, 4], seed).permute([1, 2, 0, 3])
}

#[test]
fn attention_follows_the_length() {
    let causal = AttentionModuleOptions { is_causal: true, ..Default::default() };
    let lengths = |length, seed| input([length, 2, 2, 4], seed);
    of("causal attention", DYNAMIC, lengths, |x: Tensor<4>| {
        let x = x.permute([1, 2, 0, 3]);
        attention(x.clone(), x.clone() * 0.5, x, None, None, causal)
    });
    let lengths = |length, seed| input([length, 2, 2, 4], seed);
    of("attention to another length", DYNAMIC, lengths, |x: Tensor<4>| {
        let x = x.permute([1, 2, 0, 3]);
        let past = Tensor::cat(vec![x.clone() * 0.5, x.clone()], 2);
        attention(x, past.clone(), past, None, None, causal)
    });
}

#[test]
fn attention_with_a_bias() {
    let inputs = |batch, seed| {
        (heads(3, seed), heads(5, seed + 1), input([batch, 1, 3, 5], seed + 2).slice(0..1))
    };
    for is_causal in [false, true] {
        let options = AttentionModuleOptions { is_causal, ..Default::default() };
        of(
            &format!("attention with a bias, causal {is_causal}"),
            STATIC,
            inputs,
            |(q, k, bias): (Tensor<4>, Tensor<4>, Tensor<4>)| {
                attention(q, k.clone(), k, None, Some(bias), options)
            },
        );
    }
}

/// Numbers that follow from two sizes: how far the diagonal of a mask is from the corner.
#[test]
fn masks_of_two_lengths() {
    let dim = |name: &str| accelerant::Dim::dynamic(name, 1..=6).unwrap();
    let options = OptimizeOptions::new().dynamic_axis(0, 0, dim("queries"));
    let options = options.dynamic_axis(1, 0, dim("keys"));
    let forward = |_: &Nothing, (x, y): (Tensor<2>, Tensor<2>)| {
        let (queries, keys) = (x.dims()[0] as i64, y.dims()[0] as i64);
        let size = [queries as usize, keys as usize];
        let mask = Tensor::<2, Bool>::tril_mask(size, keys - queries, &x.device());
        let upper = Tensor::<2, Bool>::triu_mask(size, 2 * keys + 1, &x.device());
        let scores = x.matmul(y.transpose());
        (scores.clone().mask_fill(mask, -9.0), scores.mask_fill(upper, 9.0))
    };
    let inputs = |queries, keys| (input([queries, 3], queries as u64), input([keys, 3], 9));
    let graph = BurnGraph::capture(&Nothing::default(), &inputs(2, 5), forward, &options).unwrap();
    let sample = |(queries, keys): (usize, usize)| Sample {
        name: format!("{queries} and {keys}"),
        inputs: host(inputs(queries, keys)),
        expected: host(forward(&Nothing::default(), inputs(queries, keys))),
    };
    let samples: Vec<_> = [(2, 5), (5, 2), (1, 1), (6, 6), (3, 4)].map(sample).into();
    check_all("a mask of two lengths", |c| graph.to_onnx(c), &samples);
}
