//! What TensorRT computes wrongly, from files.

use accelerant::export::{OnnxModel, Target};
use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::{changed, operators, tensor, unchanged};

/// What stands before the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Relu,
    /// Torch's decomposition: `0.5 * (x * (1 + erf(x / 1.414)))`.
    Gelu,
    /// As `(x * 0.5) * (1 + erf(x * 0.707))`.
    HalvedGelu,
    TanhGelu,
    Silu,
    Sigmoid,
}

pub(crate) fn activation(file: &mut File, dtype: DType, gate: Gate, x: &str) -> String {
    let number = |file: &mut File, value| file.scalar(dtype, value);
    match gate {
        Gate::Relu => file.node("Relu", &[x]),
        Gate::Sigmoid => file.node("Sigmoid", &[x]),
        Gate::Silu => {
            let gate = file.node("Sigmoid", &[x]);
            file.node("Mul", &[x, &gate])
        }
        Gate::Gelu => {
            let root = number(file, std::f32::consts::SQRT_2);
            let inner = file.node("Div", &[x, &root]);
            let curve = file.node("Erf", &[&inner]);
            let one = number(file, 1.0);
            let gate = file.node("Add", &[&curve, &one]);
            let gated = file.node("Mul", &[x, &gate]);
            let half = number(file, 0.5);
            file.node("Mul", &[&half, &gated])
        }
        Gate::HalvedGelu => {
            let half = number(file, 0.5);
            let halved = file.node("Mul", &[x, &half]);
            let root = number(file, std::f32::consts::FRAC_1_SQRT_2);
            let inner = file.node("Mul", &[x, &root]);
            let curve = file.node("Erf", &[&inner]);
            let one = number(file, 1.0);
            let gate = file.node("Add", &[&one, &curve]);
            file.node("Mul", &[&halved, &gate])
        }
        Gate::TanhGelu => {
            let three = number(file, 3.0);
            let cubed = file.node("Pow", &[x, &three]);
            let factor = number(file, 0.044_715);
            let scaled = file.node("Mul", &[&factor, &cubed]);
            let sum = file.node("Add", &[x, &scaled]);
            let root = number(file, (2.0 / std::f32::consts::PI).sqrt());
            let inner = file.node("Mul", &[&root, &sum]);
            let curve = file.node("Tanh", &[&inner]);
            let one = number(file, 1.0);
            let gate = file.node("Add", &[&curve, &one]);
            let gated = file.node("Mul", &[x, &gate]);
            let half = number(file, 0.5);
            file.node("Mul", &[&half, &gated])
        }
    }
}

/// `gate(x W + b) * y` as torch writes a layer of a matrix: one `Gemm`.
pub(crate) fn gated(opset: i64, dtype: DType, gate: Gate) -> OnnxModel {
    let mut file = File::new(opset);
    let x = file.input("x", dtype, &["batch", "24"]);
    let y = file.input("y", dtype, &["batch", "40"]);
    let weight = file.weight("fc.weight", tensor(dtype, &[40, 24], 0.5, 1));
    let bias = file.weight("fc.bias", tensor(dtype, &[40], 0.5, 2));
    let linear = file.node_with("Gemm", &[&x, &weight, &bias], &[("transB", Stated::Int(1))]);
    let gated = activation(&mut file, dtype, gate, &linear);
    let product = file.node("Mul", &[&gated, &y]);
    file.read(&product, dtype, &["batch", "40"])
}

/// The same of sequences: `MatMul` and `Add`, perhaps without bias, and another step instead of the product.
fn of_sequences(dtype: DType, gate: Gate, biased: bool, step: &str) -> OnnxModel {
    let mut file = File::new(18);
    let x = file.input("x", dtype, &["2", "6", "24"]);
    let y = file.input("y", dtype, &["2", "6", "40"]);
    let weight = file.weight("fc.weight", tensor(dtype, &[24, 40], 0.5, 1));
    let mut linear = file.node("MatMul", &[&x, &weight]);
    if biased {
        let bias = file.weight("fc.bias", tensor(dtype, &[40], 0.5, 2));
        linear = file.node("Add", &[&linear, &bias]);
    }
    let gated = activation(&mut file, dtype, gate, &linear);
    let product = file.node(step, &[&y, &gated]);
    file.read(&product, dtype, &["2", "6", "40"])
}

const GATES: [Gate; 4] = [Gate::Relu, Gate::Gelu, Gate::HalvedGelu, Gate::TanhGelu];

#[test]
fn an_activation_before_a_product_is_kept_apart() {
    for dtype in [DType::F32, DType::F16] {
        for gate in GATES {
            let matrices = (gated(18, dtype, gate), vec![3, 24], vec![3, 40]);
            let sequences =
                (of_sequences(dtype, gate, true, "Mul"), vec![2, 6, 24], vec![2, 6, 40]);
            for (model, x, y) in [matrices, sequences] {
                // tract has `Gemm` of 32-bit floats alone, also in the file as it is.
                if dtype == DType::F16 && x.len() == 2 {
                    continue;
                }
                let inputs = [tensor(dtype, &x, 2.0, 3), tensor(dtype, &y, 1.0, 4)];
                let name = format!("{gate:?} of {dtype}, {x:?}");
                let written = changed(&name, &model, Target::tensorrt(), &inputs);
                let before = operators(&model);
                let [rest @ .., last] = &before[..] else { panic!("{name}: no nodes") };
                assert_eq!(operators(&written), [rest, &["Clip", last]].concat(), "{name}");
                let portable = model.for_target(Target::portable()).unwrap();
                assert_eq!(portable.to_bytes(), model.to_bytes(), "{name}: right elsewhere");
            }
        }
    }
}

#[test]
fn one_bound_is_enough_for_a_square_and_each_product_has_its_own() {
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["2", "24"]);
    let weight = file.weight("fc.weight", tensor(DType::F32, &[24, 40], 0.5, 1));
    let bias = file.weight("fc.bias", tensor(DType::F32, &[40], 0.5, 2));
    let linear = file.node("Gemm", &[&x, &weight, &bias]);
    let gate = file.node("Relu", &[&linear]);
    let same = file.node("Identity", &[&gate]);
    let square = file.node("Mul", &[&same, &same]);
    let cube = file.node("Mul", &[&square, &gate]);
    let model = file.read(&cube, DType::F32, &["2", "40"]);
    let inputs = [tensor(DType::F32, &[2, 24], 2.0, 3)];
    let written = changed("a square", &model, Target::tensorrt(), &inputs);
    let expected = ["Gemm", "Relu", "Clip", "Mul", "Clip", "Mul"];
    assert_eq!(operators(&written), expected);
}

#[test]
fn what_is_computed_right_stays_byte_for_byte() {
    for gate in GATES {
        unchanged("without bias", &of_sequences(DType::F32, gate, false, "Mul"));
        unchanged("a sum", &of_sequences(DType::F32, gate, true, "Add"));
        unchanged("a quotient", &of_sequences(DType::F32, gate, true, "Div"));
    }
    for gate in [Gate::Silu, Gate::Sigmoid] {
        unchanged("another activation", &of_sequences(DType::F16, gate, true, "Mul"));
    }
}

#[test]
fn an_older_file_bounds_by_attributes() {
    let model = gated(10, DType::F32, Gate::Relu);
    let inputs = [tensor(DType::F32, &[3, 24], 2.0, 3), tensor(DType::F32, &[3, 40], 1.0, 4)];
    let written = changed("operator set 10", &model, Target::tensorrt(), &inputs);
    assert_eq!(operators(&written), ["Gemm", "Relu", "Clip", "Mul"]);
}

fn group_norm(groups: i64) -> OnnxModel {
    let mut file = File::new(21);
    let x = file.input("x", DType::F32, &["batch", "6", "5", "4"]);
    let scale = file.weight("norm.weight", tensor(DType::F32, &[6], 1.0, 1));
    let bias = file.weight("norm.bias", tensor(DType::F32, &[6], 1.0, 2));
    let attributes = [("num_groups", Stated::Int(groups)), ("epsilon", Stated::Float(1e-3))];
    let y = file.node_with("GroupNormalization", &[&x, &scale, &bias], &attributes);
    file.read(&y, DType::F32, &["batch", "6", "5", "4"])
}

#[test]
fn a_group_norm_of_one_group_is_an_instance_norm() {
    let written = group_norm(1).for_target(Target::tensorrt()).unwrap();
    assert!(operators(&written).contains(&"InstanceNormalization"), "{written}");
    assert!(!operators(&written).contains(&"GroupNormalization"), "{written}");
    assert_eq!(written.signature(), group_norm(1).signature());
    let x = tensor(DType::F32, &[3, 6, 5, 4], 2.0, 3);
    // By its definition, as not every portable runtime has the operator.
    let values = common_values(&x);
    let (scale, bias) = (
        common_values(&tensor(DType::F32, &[6], 1.0, 1)),
        common_values(&tensor(DType::F32, &[6], 1.0, 2)),
    );
    let mut expected = Vec::new();
    for picture in values.chunks(120) {
        let mean = picture.iter().sum::<f64>() / 120.0;
        let variance = picture.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 120.0;
        for (i, value) in picture.iter().enumerate() {
            let normed = (value - mean) / (variance + 1e-3).sqrt();
            expected.push((normed * scale[i / 20] + bias[i / 20]) as f32);
        }
    }
    let expected = accelerant::HostTensor::from_vec([3, 6, 5, 4], expected).unwrap();
    let sample = crate::Sample { name: "three".into(), inputs: vec![x], expected: vec![expected] };
    crate::check_within("group norm", |_| Ok(written.clone()), &[sample], crate::near);
    unchanged("two groups", &group_norm(2));
}

fn common_values(tensor: &accelerant::HostTensor) -> Vec<f64> {
    crate::common::to_f64(tensor)
}

fn conv_transpose(batch: &str, groups: i64) -> OnnxModel {
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &[batch, "4", "7"]);
    let weight = tensor(DType::F32, &[4, (6 / groups) as usize, 3], 0.5, 1);
    let weight = file.weight("up.weight", weight);
    let bias = file.weight("up.bias", tensor(DType::F32, &[6], 0.5, 2));
    let attributes = [
        ("dilations", Stated::Ints(&[1])),
        ("group", Stated::Int(groups)),
        ("pads", Stated::Ints(&[1, 0])),
        ("strides", Stated::Ints(&[2])),
        ("output_padding", Stated::Ints(&[1])),
    ];
    let y = file.node_with("ConvTranspose", &[&x, &weight, &bias], &attributes);
    file.read(&y, DType::F32, &[batch, "6", "15"])
}

#[test]
fn a_grouped_transposed_convolution_of_any_batch_is_one_a_group() {
    let model = conv_transpose("batch", 2);
    let inputs = [tensor(DType::F32, &[3, 4, 7], 2.0, 3)];
    let written = changed("grouped", &model, Target::tensorrt(), &inputs);
    let count = operators(&written).iter().filter(|op| **op == "ConvTranspose").count();
    assert_eq!(count, 2, "{written}");
    unchanged("a fixed batch", &conv_transpose("2", 2));
    unchanged("one group", &conv_transpose("batch", 1));
}

/// A bias of 32-bit integers, which quantizers write with one scale or one for each channel.
#[test]
fn a_bias_of_integers() {
    for scales in [vec![0.25_f32], vec![0.25, 0.5, 2.0]] {
        let mut file = File::new(18);
        let x = file.input("x", DType::F32, &["batch", "3"]);
        let bias = HostTensor::from_vec([3], vec![4_i32, -100_000, 7]).unwrap();
        let bias = file.weight("bias", bias);
        let (scale, zero) = match &*scales {
            [scale] => (HostTensor::scalar(*scale), HostTensor::scalar(0_i32)),
            all => {
                let zeros = HostTensor::from_vec([3], vec![0_i32; 3]).unwrap();
                (HostTensor::from_vec([3], all.to_vec()).unwrap(), zeros)
            }
        };
        let (scale, zero) = (file.weight("scale", scale), file.weight("zero", zero));
        let axis = [("axis", Stated::Int(0))];
        let bias = file.node_with("DequantizeLinear", &[&bias, &scale, &zero], &axis);
        let y = file.node("Add", &[&x, &bias]);
        let model = file.read(&y, DType::F32, &["batch", "3"]);
        let x = tensor(DType::F32, &[2, 3], 1.0, 4);
        let written = changed("a bias of integers", &model, Target::tensorrt(), &[x]);
        assert_eq!(operators(&written), ["Add"]);
    }
}
