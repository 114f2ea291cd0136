//! Numbers in tensors of one element where tract wants scalars, parts of shapes, and sizes that decide a branch.

use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::on_tract::{gives, node, of, vector};

#[test]
fn numbers_in_tensors_of_one_element() {
    let mut file = File::new(20);
    let x = file.input("x", DType::I64, &["1"]);
    let [zero, one] =
        [0i64, 1].map(|number| file.weight(&format!("at{number}"), HostTensor::scalar(number)));
    let y = file.node("Range", &[&zero, &x, &one]);
    let model = file.read_open(&y, DType::I64, &["n"]);
    gives("a limit", &model, &[vector(&[3i64])], &vector(&[0i64, 1, 2]));

    let x = of(&[1, 2], &[1f32, 2.0]);
    let padding = [vector(&[0i64, 1, 0, 0]), vector(&[7f32])];
    node("Pad", &[x], &padding, &[], &of(&[1, 3], &[7f32, 1.0, 2.0]));
    let x = of(&[1, 2], &[true, false]);
    let padding = [vector(&[0i64, 1, 0, 0]), vector(&[true])];
    node("Pad", &[x], &padding, &[], &of(&[1, 3], &[true, true, false]));
}

#[test]
fn one_size_of_a_shape_that_has_as_many() {
    // Of a matrix the part of the shape has another size than the shape.
    for (start, end, count) in [(-2, Some(-1), 3), (0, Some(1), 3), (1, None, 2), (-1, None, 2)] {
        for sizes in [["3", "2"], ["rows", "columns"]] {
            let mut file = File::new(20);
            let x = file.input("x", DType::F32, &sizes);
            let mut span = vec![("start", Stated::Int(start))];
            span.extend(end.map(|end| ("end", Stated::Int(end))));
            let size = file.node_with("Shape", &[&x], &span);
            let size = file.node("Squeeze", &[&size]);
            let [zero, one] = [0i64, 1]
                .map(|number| file.weight(&format!("at{number}"), HostTensor::scalar(number)));
            let y = file.node("Range", &[&zero, &size, &one]);
            let model = file.read_open(&y, DType::I64, &["n"]);
            let expected: Vec<i64> = (0..count).collect();
            let name = format!("{start}..{end:?} of {sizes:?}");
            gives(&name, &model, &[of(&[3, 2], &[0f32; 6])], &vector(&expected));
        }
    }
}

#[test]
fn constants_in_steps() {
    let all = vector(&[0i64, 1, 2, 3]);
    for (start, end, step, expected) in [
        (-1, i64::MIN + 1, -1, vec![3i64, 2, 1, 0]),
        (-9, i64::MIN, -1, vec![0]),
        (9, 0, -2, vec![3, 1]),
        (0, 9, 3, vec![0, 3]),
        (1, 3, -1, vec![]),
        (2, -9, i64::MIN + 1, vec![2]),
    ] {
        let places = [start, end, 0, step].map(|place| vector(&[place]));
        let name = format!("{start}..{end} by {step}");
        let count = expected.len().to_string();
        // Of a constant, and of an input.
        for of_input in [false, true] {
            let mut file = File::new(20);
            let zeros = file.input("zeros", DType::I64, &["4"]);
            let [starts, ends, axes, steps] = ["starts", "ends", "axes", "steps"].map(String::from);
            for (name, place) in [&starts, &ends, &axes, &steps].into_iter().zip(&places) {
                file.weight(name, place.clone());
            }
            let x = file.weight("x", all.clone());
            let x = if of_input { file.node("Add", &[&zeros, &x]) } else { x };
            let taken = file.node("Slice", &[&x, &starts, &ends, &axes, &steps]);
            let at = file.weight("at", HostTensor::scalar(0i64));
            let first = file.node("Gather", &[&zeros, &at]);
            let y = file.node("Add", &[&taken, &first]);
            let model = file.read_open(&y, DType::I64, &[&count]);
            gives(&name, &model, &[vector(&[0i64; 4])], &vector(&expected));
        }
    }
}

#[test]
fn sizes_behind_pads_of_torch_decide_a_branch() {
    // `F.pad` writes its pads from the last axis to the first, and turns them.
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["2", "3"]);
    let pads = file.ints(&[0, 2, 0, 0]);
    let rows = file.ints(&[-1, 2]);
    let pads = file.node("Reshape", &[&pads, &rows]);
    let [axis, last, far, back] = [0, -1, -i64::MAX, -1].map(|place| file.ints(&[place]));
    let pads = file.node("Slice", &[&pads, &last, &far, &axis, &back]);
    let pads = file.node_with("Transpose", &[&pads], &[("perm", Stated::Ints(&[1, 0]))]);
    let flat = file.ints(&[-1]);
    let pads = file.node("Reshape", &[&pads, &flat]);
    let padded = file.node("Pad", &[&x, &pads]);
    let sizes = file.node("Shape", &[&padded]);
    let at = file.weight("at", HostTensor::scalar(1i64));
    let size = file.node("Gather", &[&sizes, &at]);
    let five = file.weight("five", HostTensor::scalar(5i64));
    let same = file.node("Equal", &[&size, &five]);
    let branch = |name: &str, operator: &str, axes: &[i64]| {
        let mut body = file.within(name);
        let mut inputs = vec![padded.clone()];
        inputs.extend((!axes.is_empty()).then(|| body.ints(axes)));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = body.node(operator, &inputs);
        Stated::Graph(Box::new(body.body(&[&y])))
    };
    let (yes, no) = (branch("yes", "Neg", &[]), branch("no", "Unsqueeze", &[0]));
    let y = file.node_with("If", &[&same], &[("then_branch", yes), ("else_branch", no)]);
    let model = file.read_open(&y, DType::F32, &["2", "5"]);
    let inputs = [of(&[2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0])];
    let expected = [-1f32, -2.0, -3.0, 0.0, 0.0, -4.0, -5.0, -6.0, 0.0, 0.0];
    gives("a branch", &model, &inputs, &of(&[2, 5], &expected));
}
