//! What torch's exporter says in a roundabout way: equal weights through an `Identity`, sizes that are known computed,
//! attention with batch and rows exchanged, and its scale in two halves.

use accelerant::export::{OnnxModel, Target};
use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::forms::{count, size};
use crate::{changed, hopper, operators, tensor, unchanged};

const WIDTH: usize = 384;
const HEADS: usize = 6;

#[test]
fn a_weight_may_have_two_names() {
    // The gate's bias has the name of another: TensorRT is off by 5 % where the product is not found.
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["2", "24"]);
    let y = file.input("y", DType::F32, &["2", "40"]);
    let weight = file.weight("fc.weight", tensor(DType::F32, &[40, 24], 0.5, 1));
    let stored = file.weight("norm.bias", tensor(DType::F32, &[40], 0.5, 2));
    let bias = file.node("Identity", &[&stored]);
    let bias = file.node("Identity", &[&bias]);
    let gate = file.node_with("Gemm", &[&x, &weight, &bias], &[("transB", Stated::Int(1))]);
    let gate = file.node("Relu", &[&gate]);
    let product = file.node("Mul", &[&gate, &y]);
    let model = file.read(&product, DType::F32, &["2", "40"]);
    let inputs = [tensor(DType::F32, &[2, 24], 2.0, 3), tensor(DType::F32, &[2, 40], 2.0, 4)];
    let written = changed("a gated layer", &model, Target::tensorrt(), &inputs);
    assert_eq!(operators(&written), ["Gemm", "Relu", "Clip", "Mul"]);

    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "256", "7", "7"]);
    let stored = file.weight("norm.bias", tensor(DType::F32, &[32], 0.5, 2));
    let bias = file.node("Identity", &[&stored]);
    let weight = file.weight("weight", tensor(DType::F32, &[32, 256, 3, 3], 0.1, 1));
    let pads = [("pads", Stated::Ints(&[1, 1, 1, 1]))];
    let y = file.node_with("Conv", &[&x, &weight, &bias], &pads);
    let model = file.read(&y, DType::F32, &["1", "32", "7", "7"]);
    let x = [tensor(DType::F32, &[1, 256, 7, 7], 1.0, 9)];
    let written = changed("a convolution", &model, hopper(), &x);
    assert_eq!(count(&written, "ReduceSum"), 1, "{written}");
}

#[test]
fn an_identity_alone_is_no_reason_to_change_a_file() {
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["2", "24"]);
    let same = file.node("Identity", &[&x]);
    let y = file.node("Relu", &[&same]);
    unchanged("an identity", &file.read(&y, DType::F32, &["2", "24"]));
}

#[test]
fn small_constants_that_are_stretched_to_a_large_value_stay_computed() {
    // Small tensors in a file, 16 million elements each when they are computed; all of them would be 8 GB.
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "4096"]);
    let column = file.weight("column", tensor(DType::F32, &[4096, 1], 0.5, 1));
    let row = file.weight("row", tensor(DType::F32, &[1, 4096], 0.5, 2));
    let places = file.ints(&[0; 4096]);
    let condition = file.node("Equal", &[&column, &column]);
    for _ in 0..40 {
        let stretched = [
            file.node("Add", &[&column, &row]),
            file.node("Where", &[&condition, &row, &row]),
            file.node("Gather", &[&row, &places]),
        ];
        for value in stretched {
            file.output(&value, DType::F32, &[4096.into(), 4096.into()]);
        }
    }
    let table = file.node("Add", &[&column, &row]);
    let product = file.node("MatMul", &[&x, &table]);
    let gate = file.node("Relu", &[&product]);
    let y = file.node("Mul", &[&gate, &x]);
    let model = file.read(&y, DType::F32, &["1", "4096"]);
    let begin = std::time::Instant::now();
    let written = model.for_target(Target::tensorrt()).unwrap();
    assert!(begin.elapsed() < std::time::Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(count(&written, "Add"), count(&model, "Add"));
    assert_eq!(count(&written, "Gather"), count(&model, "Gather"));
}

/// How the sizes of a reshape are stated.
#[derive(Clone, Copy, PartialEq)]
enum Sizes {
    Stated,
    /// From the sizes of what is reshaped.
    Computed,
}

/// `nn.MultiheadAttention` of `[batch, rows, WIDTH]`, as torch 2.11 writes it.
fn multihead(dtype: DType, batch: usize, rows: usize, sizes: Sizes) -> OnnxModel {
    let head = WIDTH / HEADS;
    let ints = |file: &mut File, dims: &[usize]| {
        file.ints(&dims.iter().map(|&dim| dim as i64).collect::<Vec<_>>())
    };
    let turn = |file: &mut File, x: &str, perm: &[i64]| {
        file.node_with("Transpose", &[x], &[("perm", Stated::Ints(perm))])
    };
    let mut file = File::new(18);
    let x = file.input("x", dtype, &[&size(batch), &size(rows), &size(WIDTH)]);
    let rows_first = turn(&mut file, &x, &[1, 0, 2]);
    let weight = file.weight("in_proj.weight", tensor(dtype, &[WIDTH, 3 * WIDTH], 0.05, 1));
    let bias = file.weight("in_proj.bias", tensor(dtype, &[3 * WIDTH], 0.5, 2));
    let packed = file.node("MatMul", &[&rows_first, &weight]);
    let packed = file.node("Add", &[&bias, &packed]);
    let in_parts = match sizes {
        Sizes::Stated => ints(&mut file, &[rows, batch, 3, WIDTH]),
        Sizes::Computed => {
            let shape = file.node("Shape", &[&packed]);
            let [start, end, axis] = [0, 2, 0].map(|at| ints(&mut file, &[at]));
            let leading = file.node("Slice", &[&shape, &start, &end, &axis]);
            let parts = ints(&mut file, &[3, WIDTH]);
            file.node_with("Concat", &[&leading, &parts], &[("axis", Stated::Int(0))])
        }
    };
    let packed = file.node("Reshape", &[&packed, &in_parts]);
    let zero = ints(&mut file, &[0]);
    let packed = file.node("Unsqueeze", &[&packed, &zero]);
    let packed = turn(&mut file, &packed, &[3, 1, 2, 0, 4]);
    let last = ints(&mut file, &[3]);
    let packed = file.node("Squeeze", &[&packed, &last]);
    let mut parts = Vec::new();
    for part in 0..3 {
        let index = file.weight(&format!("index_{part}"), HostTensor::scalar(part as i64));
        let part = file.node_with("Gather", &[&packed, &index], &[("axis", Stated::Int(0))]);
        let heads = ints(&mut file, &[rows, batch * HEADS, head]);
        let part = file.node("Reshape", &[&part, &heads]);
        let part = turn(&mut file, &part, &[1, 0, 2]);
        let heads = ints(&mut file, &[batch, HEADS, rows, head]);
        parts.push(file.node("Reshape", &[&part, &heads]));
    }
    let half_of_scale = file.scalar(dtype, (head as f32).powf(-0.25));
    let query = file.node("Mul", &[&parts[0], &half_of_scale]);
    let key = turn(&mut file, &parts[1], &[0, 1, 3, 2]);
    let key = file.node("Mul", &[&key, &half_of_scale]);
    let scores = file.node("MatMul", &[&query, &key]);
    let weights = file.node_with("Softmax", &[&scores], &[("axis", Stated::Int(-1))]);
    let weighed = file.node("MatMul", &[&weights, &parts[2]]);
    let weighed = turn(&mut file, &weighed, &[2, 0, 1, 3]);
    let flat = ints(&mut file, &[rows * batch, WIDTH]);
    let weighed = file.node("Reshape", &[&weighed, &flat]);
    let weight = file.weight("out_proj.weight", tensor(dtype, &[WIDTH, WIDTH], 0.05, 3));
    let bias = file.weight("out_proj.bias", tensor(dtype, &[WIDTH], 0.5, 4));
    let out = file.node_with("Gemm", &[&weighed, &weight, &bias], &[("transB", Stated::Int(1))]);
    let rows_first = ints(&mut file, &[rows, batch, WIDTH]);
    let out = file.node("Reshape", &[&out, &rows_first]);
    let out = turn(&mut file, &out, &[1, 0, 2]);
    let sum = file.node("Add", &[&out, &x]);
    file.read(&sum, dtype, &[&size(batch), &size(rows), &size(WIDTH)])
}

#[test]
fn attention_of_torch_is_as_that_of_others() {
    for dtype in [DType::F32, DType::F16] {
        for (batch, rows) in [(1, 50), (3, 20)] {
            for sizes in [Sizes::Stated, Sizes::Computed] {
                let name = format!("{dtype}, {batch} of {rows}");
                let model = multihead(dtype, batch, rows, sizes);
                let x = [tensor(dtype, &[batch, rows, WIDTH], 1.0, 9)];
                let written = changed(&name, &model, hopper(), &x);
                // Query, key and value are one product of three, divided into heads and turned as one.
                let found = ["MatMul", "Split", "Gather", "Slice"].map(|op| count(&written, op));
                let cut = usize::from(dtype == DType::F32 && batch == 1);
                assert_eq!(found[..3], [4, 1, 0], "{name}: {written}");
                assert!(found[3] <= cut, "{name}: {written}");
                // The two halves of the scale are one.
                assert_eq!(count(&written, "Mul"), 1, "{name}: {written}");
            }
        }
    }
}
