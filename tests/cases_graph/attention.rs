//! Attention whose keys are padded on Hopper, in both forms, against sums in f64.

use crate::common::{Sample, check_within, random, tolerance};
use crate::softmax;
use accelerant::export::{GraphBuilder, Target, Value};
use accelerant::{DType, Dim, HostTensor, Result};
use ndarray::{Array2, Array4, ArrayD, Axis, Ix4};

const HEADS: usize = 3;
const WIDTH: usize = 16;
const SCALE: f64 = 0.5;

/// How keys come, and what is added to their scores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Keys {
    /// As values do; nothing is added.
    Plain,
    /// As `[batch, keys, heads, width]`, which are divided into heads and turned at once.
    Divided,
    /// With `[batch, 1, 1, keys]`, which hides the last ten.
    Masked,
    /// With a constant `[heads, queries, keys]`, and turned before.
    Biased,
}

fn four(array: ArrayD<f32>) -> Array4<f32> {
    array.into_dimensionality::<Ix4>().expect("four axes")
}

/// `softmax(scale q kᵗ + added) v`.
fn attended([q, k, v]: [&Array4<f32>; 3], added: &Array4<f32>) -> Array4<f32> {
    let mut y = Array4::zeros(q.raw_dim());
    for (b, head) in (0..q.len_of(Axis(0))).flat_map(|b| (0..HEADS).map(move |h| (b, h))) {
        let part = |x: &Array4<f32>| -> Array2<f64> {
            x.index_axis(Axis(0), b).index_axis(Axis(0), head).mapv(f64::from)
        };
        let mut scores = part(q).dot(&part(k).t()) * SCALE + &part(added);
        softmax(&mut scores);
        let result = scores.dot(&part(v)).mapv(|value| value as f32);
        y.index_axis_mut(Axis(0), b).index_axis_mut(Axis(0), head).assign(&result);
    }
    y
}

#[test]
fn attention_over_any_number_of_keys_matches_ndarray() {
    let batch = || Dim::dynamic("batch", 1..=4).unwrap();
    // Symbols of this name are of the size that is stated.
    let any = || Dim::dynamic("keys", 1..=80).unwrap();
    for (batch, queries, keys, count, kind) in [
        (Dim::Fixed(2), 77, 77.into(), 77, Keys::Plain),
        (Dim::Fixed(2), 10, 65.into(), 65, Keys::Plain),
        (Dim::Fixed(2), 10, 67.into(), 67, Keys::Divided),
        (batch(), 66, 66.into(), 66, Keys::Masked),
        (Dim::Fixed(1), 20, 197.into(), 197, Keys::Masked),
        (batch(), 67, 67.into(), 67, Keys::Biased),
        (Dim::Fixed(2), 10, any(), 67, Keys::Plain),
        (batch(), 10, any(), 68, Keys::Divided),
        (batch(), 77, any(), 77, Keys::Masked),
        (batch(), 77, any(), 13, Keys::Masked),
    ] {
        let fixed = keys.fixed().is_some();
        let size = batch.fixed().unwrap_or(3);
        let tensor = |length, seed| four(random(&[size, HEADS, length, WIDTH], seed)) * 2.0;
        let (q, k, v) = (tensor(queries, 1), tensor(count, 2), tensor(count, 3));
        let mask =
            Array4::from_shape_fn(
                (size, 1, 1, count),
                |(_, _, _, key)| {
                    if key + 10 < count { 0.0 } else { -1e4 }
                },
            );
        let bias = four(random(&[1, HEADS, queries, count], 4));
        let added = match kind {
            Keys::Plain | Keys::Divided => Array4::zeros((1, 1, 1, 1)),
            Keys::Masked => mask.clone(),
            Keys::Biased => bias.clone(),
        };
        let whole = added.broadcast((size, HEADS, queries, count)).expect("it is added").to_owned();
        let expected = attended([&q, &k, &v], &whole);
        let k = k.permuted_axes(match kind {
            Keys::Biased => [0, 1, 3, 2],
            Keys::Divided => [0, 2, 1, 3],
            Keys::Plain | Keys::Masked => [0, 1, 2, 3],
        });
        let k = k.as_standard_layout().to_owned();
        let export = |target| -> Result<_> {
            let graph = GraphBuilder::for_target("case", target);
            let input = |name, dims: [&Dim; 3]| -> Result<Value> {
                let dims = [&[batch.clone()][..], &dims.map(Dim::clone)].concat();
                graph.input(name, DType::F32, dims)
            };
            let [one, heads, width, queries] = [1, HEADS, WIDTH, queries].map(Dim::Fixed);
            let q = input("q", [&heads, &queries, &width])?;
            let k = match kind {
                Keys::Biased => input("k", [&heads, &width, &keys])?,
                Keys::Divided => input("k", [&keys, &heads, &width])?.transpose(&[0, 2, 3, 1])?,
                _ => input("k", [&heads, &keys, &width])?.transpose(&[0, 1, 3, 2])?,
            };
            let v = input("v", [&heads, &keys, &width])?;
            let scores = q.matmul(&k)?.affine(SCALE, 0.0)?;
            let scores = match kind {
                Keys::Plain | Keys::Divided => scores,
                Keys::Masked => scores.add(&input("mask", [&one, &one, &keys])?)?,
                Keys::Biased => {
                    let bias = bias.clone().remove_axis(Axis(0)).into_dyn();
                    graph.weight("bias", bias)?.add(&scores)?
                }
            };
            graph.output("y", &scores.softmax(-1)?.matmul(&v)?)?;
            graph.finish()
        };
        let name = format!("{queries} queries, {keys} keys ({count}), {kind:?}");
        let model = export(Target::tensorrt().for_compute_capability(Some(90))).unwrap();
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        let pads = nodes.iter().filter(|node| node.op_type() == "Pad").count();
        let added = matches!(kind, Keys::Masked | Keys::Biased);
        // What hides keys is computed where their number is.
        let expected_pads = 2 + usize::from(added) + usize::from(!fixed);
        assert_eq!(pads, expected_pads, "{name}: {model}");
        let mut inputs: Vec<HostTensor> = [q, k, v].map(|x| x.into_dyn().into()).into();
        if kind == Keys::Masked {
            inputs.push(mask.into_dyn().into());
        }
        let expected = vec![expected.into_dyn().into()];
        let sample = Sample { name: "as it is".into(), inputs, expected };
        check_within(&name, export, &[sample], tolerance);
    }
}
