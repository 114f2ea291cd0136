//! Which convolutions are written in another form. Values are compared in `tests/cases_graph` and with
//! whole models.

use super::*;
use crate::export::passes::testing;
use crate::export::{Conv, GraphBuilder, Value};
use crate::tensor::HostTensor;

/// The shape of the weight that a convolution of `dims` gets.
fn weight(
    dtype: DType,
    dims: [usize; 4],
    outputs: usize,
    kernel: usize,
    options: &Conv,
) -> Vec<i64> {
    let graph =
        GraphBuilder::for_target("model", Target::tensorrt().for_compute_capability(Some(90)));
    let x = graph.input("x", dtype, dims).unwrap();
    let shape = [outputs, dims[1] / options.groups, kernel, kernel];
    let bytes = vec![0u8; shape.iter().product::<usize>() * dtype.size()];
    let weight = graph.weight("weight", HostTensor::from_bytes(dtype, shape, bytes).unwrap());
    graph.output("y", &x.conv(&weight.unwrap(), None, options).unwrap()).unwrap();
    let model = graph.finish().unwrap();
    let weights = &model.proto().graph.as_ref().unwrap().initializer;
    weights.iter().find(|weight| weight.dims.len() == 4).unwrap().dims.clone()
}

fn options(stride: usize, padding: usize) -> Conv {
    Conv {
        strides: vec![stride; 2],
        padding: vec![(padding, padding); 2],
        dilations: vec![1; 2],
        groups: 1,
    }
}

#[test]
fn a_first_convolution_is_over_squares() {
    let first = |dims, kernel, stride, padding| {
        weight(DType::F32, dims, 64, kernel, &options(stride, padding))
    };
    assert_eq!(first([1, 3, 224, 224], 7, 2, 3), [64, 12, 4, 4]);
    assert_eq!(first([1, 3, 224, 224], 16, 16, 0), [64, 768, 1, 1]);
    assert_eq!(first([8, 4, 128, 128], 5, 2, 2), [64, 16, 3, 3]);
    assert_eq!(first([1, 3, 224, 224], 3, 2, 1), [64, 3, 3, 3], "a small window");
    assert_eq!(first([1, 3, 224, 224], 5, 1, 2), [64, 3, 5, 5], "every pixel");
    assert_eq!(first([1, 8, 224, 224], 7, 2, 3), [64, 8, 7, 7], "many channels");
    assert_eq!(first([1, 3, 230, 230], 16, 16, 0), [64, 3, 16, 16], "pixels are left out");
}

/// Those of a ResNet-50 by the batch and the stage, as measured.
#[test]
fn a_convolution_of_few_pixels_is_in_groups() {
    let groups = |dtype, batch, [inputs, outputs, size]: [usize; 3], kernel| {
        let options = options(1, kernel / 2);
        let shape = weight(dtype, [batch, inputs, size, size], outputs, kernel, &options);
        shape[0] as usize / outputs
    };
    let (second, third, fourth) = ([128, 128, 28], [256, 256, 14], [512, 512, 7]);
    let batches = [1, 2, 4, 8, 16];
    let f32 = |sizes, kernel| batches.map(|batch| groups(DType::F32, batch, sizes, kernel));
    assert_eq!(f32(second, 3), [2, 2, 2, 1, 1]);
    assert_eq!(f32(third, 3), [4, 4, 4, 2, 1]);
    assert_eq!(f32(fourth, 3), [4, 4, 4, 4, 2]);
    assert_eq!(f32([1024, 256, 14], 1), [4, 4, 4, 1, 1]);
    assert_eq!(f32([2048, 512, 7], 1), [4, 4, 4, 4, 2]);
    assert_eq!(f32([512, 128, 28], 1), [1; 5], "short sums");
    let f16 = |sizes, kernel| batches.map(|batch| groups(DType::F16, batch, sizes, kernel));
    assert_eq!(f16(second, 3), [1; 5], "short sums");
    assert_eq!(f16(third, 3), [1, 1, 4, 2, 1]);
    assert_eq!(f16(fourth, 3), [4, 4, 4, 4, 2]);
    assert_eq!(f16([2048, 512, 7], 1), [1, 1, 1, 4, 2]);
    assert_eq!(groups(DType::F32, 1, [2048, 512, 6], 1), 1, "few pixels");
    assert_eq!(groups(DType::F64, 1, fourth, 3), 1, "of f64");
}

#[test]
fn what_was_not_measured_stays() {
    let dims = [1, 512, 7, 7];
    let dilated = Conv { dilations: vec![2; 2], ..options(1, 2) };
    assert_eq!(weight(DType::F32, dims, 512, 3, &dilated), [512, 512, 3, 3]);
    let grouped = Conv { groups: 2, ..options(1, 1) };
    assert_eq!(weight(DType::F32, dims, 512, 3, &grouped), [512, 256, 3, 3]);
}

fn conv(x: &Value, name: &str, outputs: usize, kernel: usize, options: &Conv) -> Value {
    let shape = [outputs, x.dims()[1].fixed().unwrap(), kernel, kernel];
    let weight = HostTensor::from_vec(shape, vec![1f32; shape.iter().product()]).unwrap();
    x.conv(&x.graph().weight(name, weight).unwrap(), None, options).unwrap()
}

fn norm(x: &Value, channels: usize) -> Value {
    let numbers = |value: f32| {
        x.graph().constant("norm", HostTensor::from_vec([channels], vec![value; channels]).unwrap())
    };
    let [one, zero] = [1.0, 0.0].map(numbers);
    x.batch_norm(&one, &zero, &zero, &one, 1e-5).unwrap()
}

/// The operators of a model of one picture, of 16 channels and 16 × 16 pixels.
fn operators(body: impl Fn(&Value) -> Vec<Value>) -> Vec<String> {
    let model = testing::model(DType::F32, &[1, 16, 16, 16], |x| Ok(body(x)));
    testing::operators(&model).into_iter().map(str::to_owned).collect()
}

#[test]
fn two_convolutions_of_one_pixel_that_are_added_are_one() {
    let both = |x: &Value| ["one", "other"].map(|name| conv(x, name, 8, 1, &options(1, 0)));
    let plain = operators(|x| {
        let [one, other] = both(x);
        vec![one.add(&other).unwrap()]
    });
    assert_eq!(plain, ["Concat", "Conv"]);
    let normed = operators(|x| {
        let [one, other] = both(x).map(|y| norm(&y, 8));
        vec![one.add(&other).unwrap().relu().unwrap()]
    });
    assert_eq!(normed, ["Concat", "Conv", "Relu"]);
    let strided = operators(|x| {
        let narrow = conv(&x.relu().unwrap(), "narrow", 16, 3, &options(2, 1));
        let one = conv(&narrow, "one", 8, 1, &options(1, 0));
        let y = norm(&one, 8).add(&conv(x, "other", 8, 1, &options(2, 0))).unwrap();
        vec![y]
    });
    assert_eq!(strided.len(), 5, "{strided:?}");
    assert!(["Relu", "Slice", "Concat"].iter().all(|op| strided.iter().any(|found| found == op)));
}

#[test]
fn sums_that_are_not_of_two_such_convolutions_stay() {
    let one = |x: &Value| conv(x, "one", 16, 1, &options(1, 0));
    let sums = |body: &dyn Fn(&Value) -> Vec<Value>| {
        operators(body).iter().filter(|op| *op == "Add").count()
    };
    assert_eq!(sums(&|x| vec![one(x).add(x).unwrap()]), 1, "of one");
    let activated = |x: &Value| {
        let other = conv(x, "other", 16, 1, &options(1, 0));
        vec![one(x).add(&other.relu().unwrap()).unwrap()]
    };
    assert_eq!(sums(&activated), 1, "of an activation");
    let wide = |x: &Value| conv(x, "wide", 16, 3, &options(1, 1));
    assert_eq!(sums(&|x| vec![one(x).add(&wide(x)).unwrap()]), 1, "of several pixels");
    let single = |x: &Value| vec![one(x).add(&conv(x, "single", 1, 1, &options(1, 0))).unwrap()];
    assert_eq!(sums(&single), 1, "of different sizes");
    let normed = |x: &Value| {
        let y = norm(&one(x), 16);
        vec![y.add(&conv(x, "other", 16, 1, &options(1, 0))).unwrap(), y]
    };
    assert_eq!(sums(&normed), 1, "a norm that others read");
    let computed = |x: &Value| {
        let (y, number) = (
            one(x),
            x.graph().constant("one", HostTensor::from_vec([16], vec![1f32; 16]).unwrap()),
        );
        let y = y.batch_norm(&number.relu().unwrap(), &number, &number, &number, 1e-5).unwrap();
        vec![y.add(&conv(x, "other", 16, 1, &options(1, 0))).unwrap()]
    };
    assert_eq!(sums(&computed), 1, "a norm that is computed");
    let read_twice = |x: &Value| {
        let (y, other) = (one(x), conv(x, "other", 16, 1, &options(1, 0)));
        vec![y.add(&other).unwrap(), y]
    };
    assert_eq!(sums(&read_twice), 1, "a result that others read");
    let twice = |x: &Value| {
        let y = one(x);
        vec![y.add(&y).unwrap()]
    };
    assert_eq!(sums(&twice), 1, "twice the same");
}

#[test]
fn a_norm_that_16_bits_cannot_hold_stays() {
    let operators = |variance: f32| {
        let graph =
            GraphBuilder::for_target("model", Target::tensorrt().for_compute_capability(Some(90)));
        let x = graph.input("x", DType::F16, [1, 1, 8, 8]).unwrap();
        let half = |shape: Vec<usize>, value: f32| {
            let values = vec![half::f16::from_f32(value); shape.iter().product()];
            graph.constant("half", HostTensor::from_vec(shape, values).unwrap())
        };
        let of = |weight: f32| {
            let y = x.conv(&half(vec![1, 1, 1, 1], weight), None, &options(1, 0)).unwrap();
            let [one, zero, variance] = [1.0, 0.0, variance].map(|value| half(vec![1], value));
            y.batch_norm(&one, &zero, &zero, &variance, 1e-5).unwrap()
        };
        graph.output("y", &of(1000.0).add(&of(1.0)).unwrap()).unwrap();
        graph.finish().unwrap().to_string()
    };
    assert!(!operators(1.0).contains("BatchNormalization"));
    assert!(operators(0.0).contains("BatchNormalization"));
}

#[test]
fn sizes_of_zero_stay() {
    let none =
        |dims, outputs, kernel, options: &Conv| weight(DType::F32, dims, outputs, kernel, options);
    assert_eq!(none([1, 256, 14, 14], 0, 3, &options(1, 1)), [0, 256, 3, 3]);
    assert_eq!(none([0, 3, 224, 224], 64, 7, &options(2, 3)), [64, 3, 7, 7]);
    let empty = |x: &Value| {
        let x = x.slice(1, 0, Some(0)).unwrap();
        let [one, other] = ["one", "other"].map(|name| conv(&x, name, 8, 1, &options(1, 0)));
        vec![one.add(&other).unwrap()]
    };
    assert_eq!(operators(empty), ["Slice", "Conv", "Conv", "Add"]);
}

#[test]
fn convolutions_that_share_a_weight_share_it_in_groups() {
    let graph =
        GraphBuilder::for_target("model", Target::tensorrt().for_compute_capability(Some(90)));
    let weight = HostTensor::from_vec([16, 256, 3, 3], vec![1f32; 16 * 256 * 9]).unwrap();
    let weight = graph.weight("weight", weight).unwrap();
    for (i, size) in [14, 7].into_iter().enumerate() {
        let x = graph.input(&format!("x{i}"), DType::F32, [1, 256, size, size]).unwrap();
        graph.output(&format!("y{i}"), &x.conv(&weight, None, &options(1, 1)).unwrap()).unwrap();
    }
    let model = graph.finish().unwrap();
    let weights = &model.proto().graph.as_ref().unwrap().initializer;
    let shapes: Vec<_> = weights.iter().map(|w| &w.dims[..]).filter(|d| d.len() == 4).collect();
    assert_eq!(shapes, [[64, 64, 3, 3]]);
}
