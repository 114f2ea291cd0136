//! Layers in the forms that are faster on compute capability 9.0, from files.

use accelerant::DType;
use accelerant::export::{OnnxModel, Target};

use crate::file::{File, Stated};
use crate::{changed, hopper, operators, tensor, unchanged};

const WIDTH: usize = 384;

pub(crate) fn count(model: &OnnxModel, operator: &str) -> usize {
    operators(model).iter().filter(|found| **found == operator).count()
}

pub(crate) fn size(size: usize) -> String {
    size.to_string()
}

/// A layer as torch writes it for sequences: a weight `[in, out]`, and a sum.
fn layer(
    file: &mut File,
    dtype: DType,
    name: &str,
    x: &str,
    [inputs, outputs]: [usize; 2],
) -> String {
    let seed = name.bytes().map(u64::from).sum();
    let scale = (3.0 / inputs as f32).sqrt();
    let weight = tensor(dtype, &[inputs, outputs], scale, seed);
    let weight = file.weight(&format!("{name}.weight"), weight);
    let bias = file.weight(&format!("{name}.bias"), tensor(dtype, &[outputs], 0.1, seed + 1));
    let product = file.node("MatMul", &[x, &weight]);
    file.node("Add", &[&product, &bias])
}

fn gelu(file: &mut File, dtype: DType, x: &str) -> String {
    let root = file.scalar(dtype, std::f32::consts::SQRT_2);
    let inner = file.node("Div", &[x, &root]);
    let curve = file.node("Erf", &[&inner]);
    let one = file.scalar(dtype, 1.0);
    let gate = file.node("Add", &[&curve, &one]);
    let gated = file.node("Mul", &[x, &gate]);
    let half = file.scalar(dtype, 0.5);
    file.node("Mul", &[&half, &gated])
}

/// Query, key and value of the same, with heads; attention over `rows` keys.
fn attention(rows: usize) -> OnnxModel {
    let dtype = DType::F32;
    let mut file = File::new(18);
    let x = file.input("x", dtype, &["1", &size(rows), &size(WIDTH)]);
    let shape = file.ints(&[1, rows as i64, 6, 64]);
    let heads = |file: &mut File, name: &str, order: &[i64]| {
        let y = layer(file, dtype, name, &x, [WIDTH, WIDTH]);
        let y = file.node("Reshape", &[&y, &shape]);
        file.node_with("Transpose", &[&y], &[("perm", Stated::Ints(order))])
    };
    let query = heads(&mut file, "query", &[0, 2, 1, 3]);
    let key = heads(&mut file, "key", &[0, 2, 3, 1]);
    let value = heads(&mut file, "value", &[0, 2, 1, 3]);
    let scores = file.node("MatMul", &[&query, &key]);
    let scale = file.scalar(dtype, 0.125);
    let scores = file.node("Mul", &[&scores, &scale]);
    let weights = file.node_with("Softmax", &[&scores], &[("axis", Stated::Int(-1))]);
    let weighed = file.node("MatMul", &[&weights, &value]);
    let together =
        file.node_with("Transpose", &[&weighed], &[("perm", Stated::Ints(&[0, 2, 1, 3]))]);
    let flat = file.ints(&[1, rows as i64, WIDTH as i64]);
    let together = file.node("Reshape", &[&together, &flat]);
    file.read(&together, dtype, &["1", &size(rows), &size(WIDTH)])
}

#[test]
fn query_key_and_value_are_one_product() {
    let model = attention(64);
    let x = [tensor(DType::F32, &[1, 64, WIDTH], 1.0, 9)];
    let written = changed("attention", &model, hopper(), &x);
    assert_eq!((count(&model, "MatMul"), count(&written, "MatMul")), (5, 3), "{written}");
    assert_eq!(count(&written, "Split"), 1, "{written}");
    let few = attention(8);
    unchanged("few rows", &few);
    let plain = model.for_target(Target::tensorrt()).unwrap();
    assert_eq!(plain.to_bytes(), model.to_bytes(), "for any GPU");
}

#[test]
fn keys_of_attention_are_padded() {
    let model = attention(50);
    let x = [tensor(DType::F32, &[1, 50, WIDTH], 1.0, 9)];
    let written = changed("keys", &model, hopper(), &x);
    assert_eq!(count(&written, "Pad"), 2, "{written}");
}

/// A norm, and a feed-forward network beside it.
fn network(dtype: DType, [batch, rows, width]: [usize; 3]) -> OnnxModel {
    let mut file = File::new(18);
    let dims = [size(batch), size(rows), size(width)];
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let x = file.input("x", dtype, &dims);
    let scale = file.weight("norm.weight", tensor(dtype, &[width], 1.0, 5));
    let bias = file.weight("norm.bias", tensor(dtype, &[width], 1.0, 6));
    let normed = file.node("LayerNormalization", &[&x, &scale, &bias]);
    let up = layer(&mut file, dtype, "up", &normed, [width, 4 * width]);
    let active = gelu(&mut file, dtype, &up);
    let down = layer(&mut file, dtype, "down", &active, [4 * width, width]);
    let y = file.node("Add", &[&x, &down]);
    file.read(&y, dtype, &dims)
}

#[test]
fn a_feed_forward_network_is_in_parts() {
    let model = network(DType::F32, [2, 32, WIDTH]);
    let x = [tensor(DType::F32, &[2, 32, WIDTH], 1.0, 9)];
    let written = changed("network", &model, hopper(), &x);
    assert_eq!(count(&written, "ReduceSum"), 1, "{written}");
    unchanged("too narrow", &network(DType::F32, [2, 32, 128]));
}

#[test]
fn the_rows_of_one_picture_are_padded() {
    let model = network(DType::F32, [1, 50, WIDTH]);
    let x = [tensor(DType::F32, &[1, 50, WIDTH], 1.0, 9)];
    let written = changed("rows", &model, hopper(), &x);
    assert_eq!((count(&written, "Pad"), count(&written, "Slice")), (1, 1), "{written}");
}

#[test]
fn a_written_gelu_of_many_rows_is_in_halves() {
    let model = network(DType::F16, [1, 2048, WIDTH]);
    let x = [tensor(DType::F16, &[1, 2048, WIDTH], 1.0, 9)];
    let written = changed("halves", &model, hopper(), &x);
    assert_eq!((count(&written, "Erf"), count(&written, "Split")), (2, 1), "{written}");
}

/// A convolution with a batch norm, as torch leaves it where it does not fold one.
fn conv(file: &mut File, name: &str, x: &str, shape: [usize; 4], stride: i64) -> String {
    let [outputs, inputs, kernel, _] = shape;
    let seed = name.bytes().map(u64::from).sum();
    let scale = (3.0 / (inputs * kernel * kernel) as f32).sqrt();
    let weight = file.weight(&format!("{name}.weight"), tensor(DType::F32, &shape, scale, seed));
    let side = kernel as i64 / 2;
    let attributes = [
        ("dilations", Stated::Ints(&[1, 1])),
        ("group", Stated::Int(1)),
        ("pads", Stated::Ints(&[side; 4])),
        ("strides", Stated::Ints(&[stride; 2])),
    ];
    let y = file.node_with("Conv", &[x, &weight], &attributes);
    let numbers = |low: f32| {
        let values = crate::random(&[outputs], seed + 1);
        accelerant::HostTensor::from(values.mapv(|v| low + v * 0.3))
    };
    let names = ["scale", "shift", "mean", "variance"].map(|part| format!("{name}.{part}"));
    let lows = [1.0, 0.0, 0.0, 1.0];
    for (name, low) in names.iter().zip(lows) {
        file.weight(name, numbers(low));
    }
    let [scale, shift, mean, variance] = names.each_ref().map(String::as_str);
    file.node_with(
        "BatchNormalization",
        &[&y, scale, shift, mean, variance],
        &[("epsilon", Stated::Float(1e-5)), ("momentum", Stated::Float(0.9))],
    )
}

#[test]
fn convolutions_have_other_forms() {
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "3", "56", "56"]);
    let stem = conv(&mut file, "stem", &x, [16, 3, 7, 7], 2);
    let stem = file.node("Relu", &[&stem]);
    let model = file.read(&stem, DType::F32, &["1", "16", "28", "28"]);
    let x = [tensor(DType::F32, &[1, 3, 56, 56], 1.0, 9)];
    let written = changed("squares", &model, hopper(), &x);
    assert_eq!((count(&written, "Transpose"), count(&written, "Reshape")), (1, 2), "{written}");

    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "256", "7", "7"]);
    let y = conv(&mut file, "last", &x, [32, 256, 3, 3], 1);
    let model = file.read(&y, DType::F32, &["1", "32", "7", "7"]);
    let x = [tensor(DType::F32, &[1, 256, 7, 7], 1.0, 9)];
    let written = changed("groups", &model, hopper(), &x);
    assert_eq!(count(&written, "ReduceSum"), 1, "{written}");

    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "24", "16", "16"]);
    let inner = conv(&mut file, "inner", &x, [20, 24, 3, 3], 2);
    let inner = file.node("Relu", &[&inner]);
    let inner = conv(&mut file, "expand", &inner, [40, 20, 1, 1], 1);
    let shortcut = conv(&mut file, "shortcut", &x, [40, 24, 1, 1], 2);
    let sum = file.node("Add", &[&inner, &shortcut]);
    let model = file.read(&sum, DType::F32, &["1", "40", "8", "8"]);
    let x = [tensor(DType::F32, &[1, 24, 16, 16], 1.0, 9)];
    let written = changed("a sum", &model, hopper(), &x);
    assert_eq!(
        (count(&written, "Conv"), count(&written, "BatchNormalization")),
        (2, 1),
        "{written}"
    );

    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "16", "14", "14"]);
    let y = conv(&mut file, "small", &x, [16, 16, 3, 3], 1);
    unchanged("few channels, a small window", &file.read(&y, DType::F32, &["1", "16", "14", "14"]));
}

/// What a form would take apart may be read by others, or be an output.
#[test]
fn what_others_read_stays() {
    let dtype = DType::F32;
    let mut file = File::new(18);
    let x = file.input("x", dtype, &["2", "32", &size(WIDTH)]);
    let up = layer(&mut file, dtype, "up", &x, [WIDTH, 4 * WIDTH]);
    let active = gelu(&mut file, dtype, &up);
    let down = layer(&mut file, dtype, "down", &active, [4 * WIDTH, WIDTH]);
    let more = file.node_with("ReduceMax", &[&active], &[("keepdims", Stated::Int(0))]);
    let y = file.node("Add", &[&down, &more]);
    unchanged("read by others", &file.read(&y, dtype, &["2", "32", &size(WIDTH)]));
}
