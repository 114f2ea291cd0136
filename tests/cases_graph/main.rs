//! The graph builder by hand: values against ndarray, errors that name the node.

mod attention;
#[path = "../common/mod.rs"]
mod common;
mod convolutions;
mod far;
mod halves;
mod rows;

use accelerant::export::{Conv, GraphBuilder, OnnxModel, Pool, Reduction, Target, Value};
use accelerant::{DType, Dim, ErrorKind, HostTensor, Result};
use common::{Sample, Tolerance, check, check_within, random, tolerance};
use ndarray::{Array2, ArrayD, Ix2};

fn build(
    target: Target,
    dims: Vec<Dim>,
    body: impl Fn(&GraphBuilder, &Value) -> Result<Value>,
) -> Result<OnnxModel> {
    let graph = GraphBuilder::for_target("case", target);
    let x = graph.input("x", DType::F32, dims)?;
    let y = body(&graph, &x)?;
    graph.output("y", &y)?;
    graph.finish()
}

/// Random numbers as 16-bit floats have them, so that both types compute with the same.
fn values(shape: &[usize], scale: f32, seed: u64) -> ArrayD<f32> {
    random(shape, seed).mapv(|v| half::f16::from_f32(v * scale).to_f32())
}

fn typed(dtype: DType, array: ArrayD<f32>) -> HostTensor {
    match dtype {
        DType::F16 => HostTensor::from(array.mapv(half::f16::from_f32)),
        _ => HostTensor::from(array),
    }
}

fn fixed(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().copied().map(Dim::from).collect()
}

#[test]
fn a_fully_connected_layer_matches_ndarray() {
    let (x, w, b) = (random(&[5, 7], 1), random(&[7, 3], 2), random(&[3], 3));
    let product = x
        .view()
        .into_dimensionality::<Ix2>()
        .unwrap()
        .dot(&w.view().into_dimensionality::<Ix2>().unwrap());
    let expected: Array2<f32> = product + b.view().into_dimensionality::<ndarray::Ix1>().unwrap();
    for dims in [fixed(&[5, 7]), vec![Dim::dynamic("batch", 1..=9).unwrap(), Dim::Fixed(7)]] {
        check(
            "linear",
            |target| {
                build(target, dims.clone(), |graph, x| {
                    x.linear(&graph.weight("w", w.clone())?, Some(&graph.weight("b", b.clone())?))
                })
            },
            &[x.clone().into()],
            &[expected.clone().into()],
        );
    }
}

/// A layer over a weight that is by its outputs, or not.
fn linear_of(
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    by_outputs: bool,
) -> accelerant::Result<Value> {
    match by_outputs {
        true => x.linear_by_outputs(weight, bias),
        false => x.linear(weight, bias),
    }
}

/// `x @ weight + bias` for a weight `[in, out]`, along the last axis.
fn linear(x: &Array2<f32>, weight: &ArrayD<f32>, bias: Option<&ArrayD<f32>>) -> Array2<f32> {
    let y = x.dot(&weight.view().into_dimensionality::<Ix2>().unwrap());
    match bias {
        Some(bias) => y + bias.view().into_dimensionality::<ndarray::Ix1>().unwrap(),
        None => y,
    }
}

/// Over each row.
fn softmax(scores: &mut Array2<f64>) {
    for mut row in scores.rows_mut() {
        let most = row.fold(f64::NEG_INFINITY, |most, &score| most.max(score));
        row.mapv_inplace(|score| (score - most).exp());
        let sum: f64 = row.sum();
        row /= sum;
    }
}

/// `[.., width]` as `[heads, .., size]`.
fn divided(x: &Value) -> Result<Value> {
    let mut dims: Vec<_> = x.dims().iter().cloned().map(Some).collect();
    dims.pop();
    dims.extend([Some(Dim::Fixed(4)), None]);
    let rank = dims.len();
    let order = [&[rank - 2][..], &(0..rank - 2).collect::<Vec<_>>(), &[rank - 1]].concat();
    x.reshape(&dims)?.transpose(&order)
}

/// The other way round.
fn joined(x: &Value) -> Result<Value> {
    let rank = x.rank();
    let order = [&(1..rank - 1).collect::<Vec<_>>()[..], &[0, rank - 1]].concat();
    x.transpose(&order)?.flatten(-2, -1)
}

/// Three layers of one input, and a feed-forward network behind them: wide enough, and of enough rows,
/// to be batched.
#[test]
fn layers_that_can_be_batched_match_ndarray() {
    const WIDTH: usize = 384;
    const HIDDEN: usize = 1536;
    let batch = || Dim::dynamic("batch", 1..=4).unwrap();
    let length = || Dim::dynamic("length", 1..=128).unwrap();
    let width = || Dim::Fixed(WIDTH);
    let layouts = [
        (fixed(&[1, 128, WIDTH]), DType::F32),
        (fixed(&[130, WIDTH]), DType::F16),
        (vec![batch(), Dim::Fixed(64), width()], DType::F16),
        (vec![batch(), length(), width()], DType::F32),
    ];
    let sizes = [[WIDTH, WIDTH], [WIDTH, WIDTH], [WIDTH, WIDTH], [WIDTH, HIDDEN], [HIDDEN, WIDTH]];
    // The last sum is the longest, in as many bits as the others.
    let scales = [0.1, 0.1, 0.1, 0.1, 0.02];
    let weights: Vec<_> =
        sizes.iter().zip(scales).zip(1..).map(|((s, scale), i)| values(s, scale, i)).collect();
    let biases: Vec<_> = sizes.iter().zip(9..).map(|(s, i)| values(&s[1..], 0.2, i)).collect();
    for ((dims, dtype), (transposed, biased)) in
        layouts.iter().flat_map(|l| [(true, true), (false, true), (true, false)].map(|p| (l, p)))
    {
        let typed = |array| typed(*dtype, array);
        let shape: Vec<usize> = dims
            .iter()
            .enumerate()
            .map(|(i, d)| d.fixed().unwrap_or(if i == 0 { 3 } else { 50 }))
            .collect();
        let x = values(&shape, 1.0, 20);
        let rows = x.to_shape((x.len() / WIDTH, WIDTH)).unwrap().to_owned();
        let bias = |i: usize| biased.then(|| &biases[i]);
        let part = |i: usize| linear(&rows, &weights[i], bias(i));
        let mixed = (part(0) + part(1) * part(2)) * 0.25;
        let hidden = linear(&mixed, &weights[3], bias(3)).mapv(f32::tanh);
        let y = linear(&hidden, &weights[4], bias(4));
        let expected = y.into_shape_with_order(shape.clone()).unwrap();
        let export = |target| {
            let graph = GraphBuilder::for_target("case", target);
            let x = graph.input("x", *dtype, dims.clone())?;
            let layer = |x: &Value, i: usize| {
                let weight = &weights[i];
                let weight = if transposed { weight.t().to_owned() } else { weight.clone() };
                let weight = graph.weight(&format!("weight{i}"), typed(weight))?;
                let bias = bias(i).map(|b| graph.weight(&format!("bias{i}"), typed(b.clone())));
                linear_of(x, &weight, bias.transpose()?.as_ref(), transposed)
            };
            let part = |i| layer(&x, i).and_then(|y| if biased { Ok(y) } else { divided(&y) });
            let mixed = part(0)?.add(&part(1)?.mul(&part(2)?)?)?;
            let mixed = if biased { mixed } else { joined(&mixed)? };
            let hidden = layer(&mixed.affine(0.25, 0.0)?, 3)?.tanh()?;
            graph.output("y", &layer(&hidden, 4)?)?;
            graph.finish()
        };
        let name = format!("{dtype} {shape:?}, transposed: {transposed}, biased: {biased}");
        let batched =
            export(Target::portable().for_compute_capability(Some(90))).unwrap().to_string();
        let found = ["Split", "Squeeze", "ReduceSum"].map(|op| batched.contains(op));
        assert_eq!(found, [true, !biased, true], "{batched}");
        let (inputs, expected) = (vec![typed(x)], vec![typed(expected)]);
        let sample = Sample { name: "as it is".into(), inputs, expected };
        check_within(&name, export, &[sample], |backend, expected| match expected.dtype() {
            // ONNX Runtime adds up 1536 products in 16 bits.
            DType::F16 => Tolerance { absolute: 1.5e-2, relative: 0.0 },
            _ => tolerance(backend, expected),
        });
    }
}

/// One layer of what would be three: query, key and value of GPT.
#[test]
fn wide_layers_match_ndarray() {
    const WIDTH: usize = 384;
    let batch = || Dim::dynamic("batch", 1..=4).unwrap();
    let cases = [
        (fixed(&[16, WIDTH]), DType::F32, true, true),
        (vec![batch(), Dim::Fixed(16), Dim::Fixed(WIDTH)], DType::F16, false, true),
        (
            vec![batch(), Dim::dynamic("length", 1..=32).unwrap(), Dim::Fixed(WIDTH)],
            DType::F32,
            true,
            false,
        ),
    ];
    for (dims, dtype, transposed, biased) in cases {
        let typed = |array| typed(dtype, array);
        let shape: Vec<usize> = dims.iter().map(|d| d.fixed().unwrap_or(3)).collect();
        let x = values(&shape, 1.0, 1);
        let weight = values(&[WIDTH, 3 * WIDTH], 0.05, 2);
        let bias = biased.then(|| values(&[3 * WIDTH], 0.5, 3));
        let rows = x.to_shape((x.len() / WIDTH, WIDTH)).unwrap().to_owned();
        let mut wide = shape.clone();
        *wide.last_mut().unwrap() = 3 * WIDTH;
        let expected = linear(&rows, &weight, bias.as_ref()).into_shape_with_order(wide).unwrap();
        let export = |target| {
            let graph = GraphBuilder::for_target("case", target);
            let x = graph.input("x", dtype, dims.clone())?;
            let weight = if transposed { weight.t().to_owned() } else { weight.clone() };
            let weight = graph.weight("weight", typed(weight))?;
            let bias = bias.as_ref().map(|bias| graph.weight("bias", typed(bias.clone())));
            graph.output("y", &linear_of(&x, &weight, bias.transpose()?.as_ref(), transposed)?)?;
            graph.finish()
        };
        let name = format!("a wide layer, {dtype} {shape:?}");
        let model =
            export(Target::portable().for_compute_capability(Some(90))).unwrap().to_string();
        assert!(model.contains("batched"), "{model}");
        let sample = Sample {
            name: "as it is".into(),
            inputs: vec![typed(x)],
            expected: vec![typed(expected)],
        };
        check_within(&name, export, &[sample], |backend, expected| match expected.dtype() {
            DType::F16 => Tolerance { absolute: 1.5e-2, relative: 0.0 },
            _ => tolerance(backend, expected),
        });
    }
}

/// A feed-forward network in half precision whose activation is in halves: with many rows, of which few run.
#[test]
fn activations_in_halves_match_ndarray() {
    const SIZES: [usize; 2] = [384, 1536];
    let dims = vec![Dim::dynamic("batch", 1..=1024).unwrap(), Dim::Fixed(2), Dim::Fixed(SIZES[0])];
    let [up, down] = [values(&SIZES, 0.1, 1), values(&[SIZES[1], SIZES[0]], 0.02, 2)];
    let biases = [values(&SIZES[1..], 0.5, 3), values(&SIZES[..1], 0.5, 4)];
    let x = values(&[3, 2, SIZES[0]], 1.0, 5);
    let rows = x.to_shape((6, SIZES[0])).unwrap().to_owned();
    let hidden = linear(&rows, &up, Some(&biases[0])).mapv(gelu);
    let y = linear(&hidden, &down, Some(&biases[1]));
    let expected = y.into_shape_with_order(x.raw_dim()).unwrap();
    let typed = |array: &ArrayD<f32>| typed(DType::F16, array.clone());
    for transposed in [true, false] {
        let export = |target| {
            let graph = GraphBuilder::for_target("case", target);
            let x = graph.input("x", DType::F16, dims.clone())?;
            let layer = |x: &Value, name: &str, weight: &ArrayD<f32>, bias: usize| {
                let weight = if transposed { weight.t().to_owned() } else { weight.clone() };
                let weight = graph.weight(name, typed(&weight))?;
                let bias = graph.weight(&format!("{name}.bias"), typed(&biases[bias]))?;
                linear_of(x, &weight, Some(&bias), transposed)
            };
            let hidden = layer(&x, "up", &up, 0)?.gelu()?;
            graph.output("y", &layer(&hidden, "down", &down, 1)?)?;
            graph.finish()
        };
        let model =
            export(Target::tensorrt().for_compute_capability(Some(90))).unwrap().to_string();
        assert!(model.contains("Concat"), "{model}");
        let (inputs, expected) = (vec![typed(&x)], vec![typed(&expected)]);
        let sample = Sample { name: "as it is".into(), inputs, expected };
        let within = |_, _: &HostTensor| Tolerance { absolute: 1.5e-2, relative: 0.0 };
        check_within(&format!("halves, transposed: {transposed}"), export, &[sample], within);
    }
}

/// x Φ(x), with the integral from 0 to x by Simpson's rule.
fn gelu(x: f32) -> f32 {
    let (x, steps) = (f64::from(x), 200);
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let step = x / f64::from(steps);
    let weight = |i| if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
    let sum: f64 = (0..=steps).map(|i| weight(i) * density(f64::from(i) * step)).sum();
    (x * (0.5 + sum * step / 3.0)) as f32
}

#[test]
fn elementwise_operators_match_std() {
    type Case = (&'static str, fn(&Value) -> Result<Value>, fn(f32) -> f32);
    let cases: &[Case] = &[
        ("relu", |x| x.relu(), |v| v.max(0.0)),
        ("sigmoid", |x| x.sigmoid(), |v| 1.0 / (1.0 + (-v).exp())),
        ("tanh", |x| x.tanh(), f32::tanh),
        ("exp", |x| x.exp(), f32::exp),
        ("log", |x| x.affine(0.25, 1.5)?.log(), |v| (0.25 * v + 1.5).ln()),
        ("sqrt", |x| x.abs()?.sqrt(), |v| v.abs().sqrt()),
        ("neg", |x| x.neg(), |v| -v),
        ("reciprocal", |x| x.affine(1.0, 3.0)?.reciprocal(), |v| 1.0 / (v + 3.0)),
        ("sin", |x| x.sin(), f32::sin),
        ("cos", |x| x.cos(), f32::cos),
        ("floor", |x| x.affine(5.0, 0.0)?.floor(), |v| (5.0 * v).floor()),
        ("ceil", |x| x.affine(5.0, 0.0)?.ceil(), |v| (5.0 * v).ceil()),
        ("round", |x| x.affine(5.0, 0.0)?.round(), |v| (5.0 * v).round_ties_even()),
        ("powf", |x| x.powf(2.0), |v| v * v),
        ("clamp", |x| x.clamp(Some(-0.5), Some(0.25)), |v| v.clamp(-0.5, 0.25)),
        ("clamp below", |x| x.clamp(Some(-0.5), None), |v| v.max(-0.5)),
        ("leaky_relu", |x| x.leaky_relu(0.1), |v| if v < 0.0 { 0.1 * v } else { v }),
        ("silu", |x| x.silu(), |v| v / (1.0 + (-v).exp())),
        ("add", |x| x.add(x), |v| v + v),
        ("sub", |x| x.sub(&x.relu()?), |v| v - v.max(0.0)),
        ("div", |x| x.div(&x.affine(1.0, 3.0)?), |v| v / (v + 3.0)),
        ("maximum", |x| x.maximum(&x.neg()?), f32::abs),
        (
            "gelu tanh",
            |x| x.gelu_tanh(),
            |v| {
                0.5 * v
                    * (1.0
                        + ((2.0 / std::f32::consts::PI).sqrt() * (v + 0.044_715 * v * v * v))
                            .tanh())
            },
        ),
    ];
    for (i, (name, graph, std)) in cases.iter().enumerate() {
        let x = random(&[3, 4, 5], 10 + i as u64);
        let export = |target| build(target, fixed(&[3, 4, 5]), |_, x| graph(x));
        check(name, export, &[x.clone().into()], &[x.mapv(*std).into()]);
    }
}

#[test]
fn shapes_follow_the_symbol_through_windows_and_reshapes() {
    let batch = Dim::dynamic("batch", 1..=8).unwrap();
    let model = build(Target::portable(), vec![batch, 3.into(), 9.into(), 9.into()], |graph, x| {
        let w = graph.weight("w", random(&[4, 3, 3, 3], 1))?;
        let conv = Conv::new(2).strides([2, 2]).padding([(1, 1); 2]);
        let y = x.conv(&w, None, &conv)?;
        y.max_pool(&Pool::new([2; 2]).ceil_mode(true))?.flatten(1, -1)
    });
    assert_eq!(model.unwrap().signature().outputs[0].to_string(), "y: f32 [batch, 36]");
}

#[test]
fn a_symbol_may_move_in_a_reshape() {
    let x = random(&[2, 3, 4], 5);
    let expected = x
        .view()
        .permuted_axes(vec![1, 0, 2])
        .as_standard_layout()
        .to_owned()
        .into_shape_with_order(vec![12, 2])
        .unwrap();
    let dims = vec![Dim::dynamic("n", 1..=5).unwrap(), 3.into(), 4.into()];
    let export = |target| {
        build(target, dims.clone(), |_, x| {
            let n = x.dims()[0].clone();
            x.transpose(&[1, 0, 2])?.reshape(&[None, Some(n)])
        })
    };
    check("moved symbol", export, &[x.into()], &[expected.into()]);
}

#[test]
fn errors_name_node_tensor_and_axis() {
    let graph = GraphBuilder::new("bad");
    let x = graph.input("x", DType::F32, [2, 3]).unwrap();
    let w = graph.weight("w", Array2::<f32>::zeros((4, 5))).unwrap();
    let error = x.matmul(&w).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
    assert_eq!(error.to_string(), "MatMul: tensor `w`, axis 0: expected 3, got 4");

    let ids = graph.weight("ids", ndarray::array![1i64, 2, 3]).unwrap();
    let error = x.add(&ids).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DTypeMismatch);
    assert_eq!(error.to_string(), "Add: tensor `ids`: is i64, but `x` is f32");

    assert_eq!(x.softmax(2).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(graph.input("x", DType::F32, [1]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        x.reshape(&[Some(Dim::Fixed(4)), None]).unwrap_err().kind(),
        ErrorKind::ShapeMismatch
    );
    assert_eq!(
        graph.node("NoSuchOperator").input(&x).build().unwrap_err().kind(),
        ErrorKind::UnsupportedOperation
    );

    let other = GraphBuilder::new("other").input("z", DType::F32, [2, 3]).unwrap();
    assert_eq!(
        x.add(&other).unwrap_err().to_string(),
        "Add: tensor `z`: the value belongs to another graph"
    );
    assert_eq!(graph.finish().unwrap_err().kind(), ErrorKind::InvalidModel);
}

#[test]
fn layers_are_checked_whole() {
    let graph = GraphBuilder::new("bad");
    let weight = |shape: &[usize]| graph.constant("w", random(shape, 1));
    let x = graph.input("x", DType::F32, [1, 4, 7]).unwrap();
    let m = graph.input("m", DType::F32, [2, 4]).unwrap();
    let options = |axes: usize, groups| Conv::new(axes).groups(groups);
    let conv = |shape: &[usize], bias: Option<&[usize]>, groups| {
        let bias = bias.map(weight);
        x.conv(&weight(shape), bias.as_ref(), &options(shape.len() - 2, groups))
    };
    let turned = |shape: &[usize], bias: Option<&[usize]>, groups| {
        let (bias, axes) = (bias.map(weight), shape.len() - 2);
        x.conv_transpose(&weight(shape), bias.as_ref(), &options(axes, groups), &vec![0; axes])
    };
    let norm = |shape: &[usize]| {
        let p = weight(shape);
        x.batch_norm(&p, &p, &p, &p, 1e-5)
    };
    let product = |a: &Value, bias: &[usize]| {
        graph.node("Gemm").input(a).input(&weight(&[4, 3])).input(&weight(bias)).build()
    };
    conv(&[6, 4, 3], Some(&[6]), 1).unwrap();
    conv(&[6, 2, 3], Some(&[6]), 2).unwrap();
    turned(&[4, 3, 3], Some(&[6]), 2).unwrap();
    norm(&[4]).unwrap();
    product(&m, &[3]).unwrap();
    for (case, result) in [
        ("a bias of another size", conv(&[6, 4, 3], Some(&[5]), 1)),
        ("a bias of two axes", conv(&[6, 4, 3], Some(&[1, 6]), 1)),
        ("groups that do not divide the outputs", conv(&[5, 2, 3], None, 2)),
        ("an empty kernel", conv(&[6, 4, 0], None, 1)),
        ("another rank, turned", turned(&[4, 3, 3, 3], None, 1)),
        ("an empty kernel, turned", turned(&[4, 3, 0], None, 1)),
        ("a bias of another size, turned", turned(&[4, 3, 3], Some(&[3]), 2)),
        ("groups that do not divide the inputs, turned", turned(&[4, 3, 3], None, 3)),
        ("a parameter without axes", norm(&[])),
        ("a matrix of three axes", product(&x, &[3])),
        ("a bias of more rows", product(&graph.input("r", DType::F32, [1, 4]).unwrap(), &[2, 3])),
    ] {
        let error = result.err().unwrap_or_else(|| panic!("{case} was taken"));
        assert_eq!(error.kind(), ErrorKind::ShapeMismatch, "{case}: {error}");
        assert!(error.tensor().is_some(), "{case}: {error}");
    }
    assert_eq!(m.reduce(Reduction::Sum, &[]).unwrap().dims(), m.dims());
}

#[test]
fn sizes_that_are_rounded_otherwise_have_other_names() {
    let graph = GraphBuilder::new("pools");
    let rows = Dim::dynamic("rows", 4..=64).unwrap();
    let x = graph.input("x", DType::F32, [1.into(), 1.into(), rows]).unwrap();
    let pool = |ceil_mode| x.max_pool(&Pool::new([2]).ceil_mode(ceil_mode)).unwrap();
    let error = pool(false).add(&pool(true)).unwrap_err();
    assert_eq!((error.kind(), error.axis()), (ErrorKind::ShapeMismatch, Some(2)), "{error}");
    let w = graph.constant("w", random(&[1, 1, 3], 1));
    let turned = |dilation| {
        let options = Conv::new(1).dilations([dilation]);
        x.conv_transpose(&w, None, &options, &[0]).unwrap()
    };
    assert_eq!(turned(1).add(&turned(2)).unwrap_err().kind(), ErrorKind::ShapeMismatch);
}

#[test]
fn a_symbol_has_one_range() {
    let graph = GraphBuilder::new("symbols");
    graph.input("a", DType::F32, [Dim::dynamic("n", 1..=4).unwrap()]).unwrap();
    let error = graph.input("b", DType::F32, [Dim::dynamic("n", 1..=8).unwrap()]).unwrap_err();
    assert_eq!((error.tensor(), error.axis()), (Some("b"), Some(0)));
}

#[test]
fn weights_are_shared_not_copied() {
    let weight = HostTensor::from(random(&[64, 64], 1));
    let graph = GraphBuilder::new("shared");
    let x = graph.input("x", DType::F32, [1, 64]).unwrap();
    let w = graph.weight("w", weight.clone()).unwrap();
    graph.output("y", &x.matmul(&w).unwrap()).unwrap();
    let split = graph.finish().unwrap().split();
    assert_eq!(split.weights[0].1.bytes().as_ptr(), weight.bytes().as_ptr());
    assert!(split.bytes.len() < 512, "{} bytes", split.bytes.len());
}

#[test]
fn a_model_survives_its_file() {
    let model =
        build(Target::portable(), vec![Dim::dynamic("n", 1..=4).unwrap(), 3.into()], |_, x| {
            x.relu()
        })
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    model.save(&path).unwrap();
    let read = OnnxModel::open(&path).unwrap();
    assert_eq!(read.proto(), model.proto());
    // The file has the symbol's name, not its range.
    assert_eq!(read.bind("n", 1..=4).unwrap().signature(), model.signature());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn a_model_carries_its_metadata_and_its_consumers_versions() {
    for (target, opset, ir) in [(Target::portable(), 18, 8), (Target::tensorrt(), 21, 10)] {
        let graph = GraphBuilder::for_target("tagged", target);
        graph.metadata("licence", "CC0");
        let x = graph.input("x", DType::F32, [2]).unwrap();
        graph.output("y", &x).unwrap();
        let model = OnnxModel::from_bytes(graph.finish().unwrap().to_bytes()).unwrap();
        let proto = model.proto();
        assert_eq!((proto.ir_version(), proto.opset_import[0].version()), (ir, opset));
        assert_eq!(proto.metadata_props[0].key(), "licence");
        assert_eq!(proto.metadata_props[0].value(), "CC0");
    }
}
