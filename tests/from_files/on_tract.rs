//! What tract computes otherwise than ONNX says, or not at all, when it reads a file. Each case has the right value, and a
//! real ONNX Runtime is asked as well where there is one. What has no other form is refused with the node's name.

use accelerant::backend::{Backend, tract::Tract};
use accelerant::export::{OnnxModel, Target, onnx};
use accelerant::{DType, Element, HostTensor};

use crate::common::{self, Tolerance};
use crate::file::{File, Stated};

const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };

pub(crate) fn vector<T: Element>(values: &[T]) -> HostTensor {
    HostTensor::from_vec([values.len()], values.to_vec()).unwrap()
}

pub(crate) fn of<T: Element>(shape: &[usize], values: &[T]) -> HostTensor {
    HostTensor::from_vec(shape, values.to_vec()).unwrap()
}

fn run(backend: &dyn Backend, model: &OnnxModel, inputs: &[HostTensor]) -> HostTensor {
    let model = model.for_target(backend.target()).unwrap();
    let refused = backend.check(&model).unwrap().unwrap_or_default();
    assert!(refused.is_empty(), "{refused:?}");
    let (_, executable) = backend.build_and_load(&model).unwrap();
    executable.run(inputs).unwrap().remove(0)
}

/// The model gives this on tract, and on ONNX Runtime where it is there.
pub(crate) fn gives(name: &str, model: &OnnxModel, inputs: &[HostTensor], expected: &HostTensor) {
    let near = if expected.dtype().is_float() {
        Tolerance { absolute: 1e-12, relative: 1e-12 }
    } else {
        EXACT
    };
    let got = run(&Tract, model, inputs);
    common::compare(&got, expected, near).unwrap_or_else(|e| panic!("{name} on tract: {e}"));
    #[cfg(feature = "ort")]
    {
        let ort = accelerant::backend::ort::Ort;
        match ort.probe() {
            Ok(()) => {
                let got = run(&ort, model, inputs);
                common::compare(&got, expected, near)
                    .unwrap_or_else(|e| panic!("{name} on ONNX Runtime: {e}"));
            }
            Err(reason) => common::skipped(name, reason),
        }
    }
}

/// tract's own check refuses the model, and names node and reason.
pub(crate) fn refused(model: &OnnxModel, node: &str, reason: &str) {
    let model = model.for_target(Target::portable()).unwrap();
    let refusals = Tract.check(&model).unwrap().unwrap();
    let text: Vec<String> = refusals.iter().map(|refusal| refusal.reason.to_string()).collect();
    let text = text.join("\n");
    assert!(text.contains(node) && text.contains(reason), "{text}");
    assert!(text.contains("use ONNX Runtime"), "{text}");
    assert!(Tract.build(&model).is_err());
}

fn dims(shape: &[usize]) -> Vec<String> {
    shape.iter().map(usize::to_string).collect()
}

/// One node over inputs of fixed sizes, and weights after them.
pub(crate) fn one(
    operator: &str,
    inputs: &[HostTensor],
    weights: &[HostTensor],
    attributes: &[(&str, Stated<'_>)],
    expected: &HostTensor,
) -> OnnxModel {
    let mut file = File::new(20);
    let mut names = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let dims = dims(input.shape());
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        names.push(file.input(&format!("x{i}"), input.dtype(), &dims));
    }
    for (i, weight) in weights.iter().enumerate() {
        names.push(file.weight(&format!("w{i}"), weight.clone()));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let y = file.node_with(operator, &names, attributes);
    let dims = dims(expected.shape());
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    file.read_open(&y, expected.dtype(), &dims)
}

pub(crate) fn node(
    operator: &str,
    inputs: &[HostTensor],
    weights: &[HostTensor],
    attributes: &[(&str, Stated<'_>)],
    expected: &HostTensor,
) {
    let model = one(operator, inputs, weights, attributes, expected);
    gives(operator, &model, inputs, expected);
}

/// From variables, and from constants, which tract computes when it builds.
fn casts(x: &HostTensor, expected: &HostTensor) {
    let to = Stated::Int(onnx::to_onnx(expected.dtype()) as i64);
    node("Cast", std::slice::from_ref(x), &[], &[("to", to)], expected);
    let mut file = File::new(20);
    let x = file.weight("x", x.clone());
    let to = Stated::Int(onnx::to_onnx(expected.dtype()) as i64);
    let cast = file.node_with("Cast", &[&x], &[("to", to)]);
    let shape = file.input("more", expected.dtype(), &["1"]);
    let y = file.node_with("Concat", &[&cast, &shape], &[("axis", Stated::Int(0))]);
    let count = (expected.shape()[0] + 1).to_string();
    let model = file.read_open(&y, expected.dtype(), &[&count]);
    let zero = HostTensor::from_bytes(expected.dtype(), [1], vec![0; expected.dtype().size()]);
    let bytes = [&expected.bytes()[..], &vec![0; expected.dtype().size()]].concat();
    let all = HostTensor::from_bytes(expected.dtype(), [expected.shape()[0] + 1], bytes).unwrap();
    gives("a cast of constants", &model, &[zero.unwrap()], &all);
}

#[test]
fn floats_that_integers_do_not_have() {
    let far = [0.9, -1.5, 127.0, 128.0, 255.0, 300.7, -300.0, 40_000.0, 70_000.0, -70_000.0];
    let end = [2147483648.0, -3e9, 1e30, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let all = [far.as_slice(), &end].concat();
    let zeros = [0; 6];
    let bytes: [i32; 10] = [0, -1, 127, -128, -1, 44, -44, 64, 112, -112];
    let words: [i32; 10] = [0, -1, 127, 128, 255, 300, -300, -25_536, 4464, -4464];
    let least = [i32::MIN; 6];
    let whole: [i32; 10] = [0, -1, 127, 128, 255, 300, -300, 40_000, 70_000, -70_000];
    let joined = |values: &[i32; 10], end: &[i32; 6]| [values.as_slice(), end].concat();
    let narrow: Vec<f32> = all.iter().map(|&x| x as f32).collect();
    for x in [vector(&all), vector(&narrow)] {
        let of_bytes = joined(&bytes, &zeros);
        casts(&x, &vector(&of_bytes.iter().map(|&x| x as i8).collect::<Vec<_>>()));
        casts(&x, &vector(&of_bytes.iter().map(|&x| x as u8).collect::<Vec<_>>()));
        let of_words = joined(&words, &zeros);
        casts(&x, &vector(&of_words.iter().map(|&x| x as i16).collect::<Vec<_>>()));
        casts(&x, &vector(&of_words.iter().map(|&x| x as u16).collect::<Vec<_>>()));
        casts(&x, &vector(&joined(&whole, &least)));
        let mut wide: Vec<i64> = whole.iter().map(|&x| x.into()).collect();
        wide.extend([2_147_483_648, -3_000_000_000]);
        wide.extend([i64::MIN; 4]);
        casts(&x, &vector(&wide));
        let mut large: Vec<u64> = wide.iter().map(|&x| x as u64).collect();
        large[12..14].fill(0);
        casts(&x, &vector(&large));
    }
    // ONNX Runtime 1.29 itself gives several numbers for what 32 unsigned bits do not have.
    let x = vector(&[-1.5f32, 3e9, 4_294_967_040.0, -2_147_483_648.0]);
    casts(&x, &vector(&[u32::MAX, 3_000_000_000, 4_294_967_040, 1 << 31]));
}

#[test]
fn a_cast_of_what_a_branch_gives() {
    let mut file = File::new(20);
    let which = file.input("which", DType::Bool, &[]);
    let x = file.input("x", DType::F32, &["2"]);
    let branch = |name: &str, operator: &str| {
        let mut body = file.within(name);
        let y = body.node(operator, &[&x]);
        Stated::Graph(Box::new(body.body(&[&y])))
    };
    let (yes, no) = (branch("yes", "Neg"), branch("no", "Floor"));
    let chosen = file.node_with("If", &[&which], &[("then_branch", yes), ("else_branch", no)]);
    let to = Stated::Int(onnx::to_onnx(DType::U8) as i64);
    let y = file.node_with("Cast", &[&chosen], &[("to", to)]);
    let model = file.read_open(&y, DType::U8, &["2"]);
    let inputs = [HostTensor::scalar(true), vector(&[1.0f32, -300.0])];
    gives("a cast of a branch", &model, &inputs, &vector(&[255u8, 44]));
}

#[test]
fn places_from_the_end() {
    let x = of(&[3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let rows = of(&[2, 1], &[-1i64, 0]);
    let cells = of(&[2, 2], &[-1i64, -2, 0, 1]);
    let batch = of(&[3, 1], &[-1i64, 0, -2]);
    let taken = of(&[2, 2], &[4f32, 5.0, 0.0, 1.0]);
    node("GatherND", &[x.clone(), rows.clone()], &[], &[], &taken);
    node("GatherND", std::slice::from_ref(&x), std::slice::from_ref(&rows), &[], &taken);
    node("GatherND", &[x.clone(), cells.clone()], &[], &[], &vector(&[4f32, 1.0]));
    let along = [("batch_dims", Stated::Int(1))];
    node("GatherND", &[x.clone(), batch], &[], &along, &vector(&[1f32, 2.0, 4.0]));
    let updates = of(&[2, 2], &[7f32, 7.0, 8.0, 8.0]);
    let scattered = of(&[3, 2], &[8f32, 8.0, 2.0, 3.0, 7.0, 7.0]);
    node("ScatterND", &[x.clone(), rows, updates], &[], &[], &scattered);
    let scattered = of(&[3, 2], &[0f32, 8.0, 2.0, 3.0, 7.0, 5.0]);
    node("ScatterND", &[x, cells, vector(&[7f32, 8.0])], &[], &[], &scattered);

    let mut file = File::new(20);
    let x = file.input("x", DType::F32, &["n", "2"]);
    let at = file.input("at", DType::I64, &["k", "1"]);
    let y = file.node("GatherND", &[&x, &at]);
    let model = file.read_open(&y, DType::F32, &["k", "2"]);
    let inputs = [of(&[2, 2], &[0f32, 1.0, 2.0, 3.0]), of(&[3, 1], &[-1i64, -2, 1])];
    gives("open sizes", &model, &inputs, &of(&[3, 2], &[2f32, 3.0, 0.0, 1.0, 2.0, 3.0]));
}

#[test]
fn classes_that_there_are_not() {
    let values = vector(&[0f32, 1.0]);
    let places = vector(&[3i64, 1, -1, -4, 0]);
    let hot = |place: usize| (0..3).map(move |at| if at == place { 1f32 } else { 0.0 });
    let rows = [9, 1, 2, 9, 0];
    let expected: Vec<f32> = rows.into_iter().flat_map(hot).collect();
    let depth = [HostTensor::scalar(3i64), values.clone()];
    node("OneHot", std::slice::from_ref(&places), &depth, &[], &of(&[5, 3], &expected));
    let turned = (0..3).flat_map(|at| rows.map(|row| if row == at { 1f32 } else { 0.0 }));
    let turned: Vec<f32> = turned.collect();
    let first = [("axis", Stated::Int(0))];
    let depth = [vector(&[3i64]), values];
    node("OneHot", &[places], &depth, &first, &of(&[3, 5], &turned));
}

#[test]
fn slices_between_computed_places() {
    let rows = 5;
    for (start, end, from, to) in
        [(0i64, -1i64, 0, 4), (1, 3, 1, 3), (-2, 9, 3, 5), (-9, 2, 0, 2), (3, 1, 0, 0)]
    {
        let mut file = File::new(20);
        let x = file.input("x", DType::F32, &["n", "2"]);
        let starts = file.input("starts", DType::I64, &["1"]);
        let ends = file.input("ends", DType::I64, &["1"]);
        let axes = file.ints(&[0]);
        let slice = file.node("Slice", &[&x, &starts, &ends, &axes]);
        let model = file.read_open(&slice, DType::F32, &["m", "2"]);
        let values: Vec<f32> = (0..2 * rows).map(|x| x as f32).collect();
        let inputs = [of(&[rows, 2], &values), vector(&[start]), vector(&[end])];
        let expected = of(&[to - from, 2], &values[2 * from..2 * to]);
        gives(&format!("{start}..{end}"), &model, &inputs, &expected);
    }
    let mut file = File::new(20);
    let x = file.input("x", DType::F32, &["4"]);
    let [starts, ends, axes, steps] =
        ["starts", "ends", "axes", "steps"].map(|name| file.input(name, DType::I64, &["1"]));
    let slice = file.node("Slice", &[&x, &starts, &ends, &axes, &steps]);
    let model = file.read_open(&slice, DType::F32, &["m"]);
    refused(&model, "node_slice_0", "computed places");
}

#[test]
fn slices_to_places_that_an_axis_does_not_reach() {
    for (start, end) in [(0, 4), (2, 9), (3, 1), (1, 2)] {
        let mut file = File::new(20);
        let x = file.input("x", DType::F32, &["n", "2"]);
        let [starts, ends, axes] = [start, end, 0].map(|place| file.ints(&[place]));
        let slice = file.node("Slice", &[&x, &starts, &ends, &axes]);
        let model = file.read_open(&slice, DType::F32, &["m", "2"]);
        for rows in 1..=6 {
            let values: Vec<f32> = (0..2 * rows).map(|x| x as f32).collect();
            let [from, to] = [start, end].map(|place| (place as usize).min(rows));
            let expected = of(&[to.max(from) - from, 2], &values[2 * from..2 * to.max(from)]);
            let name = format!("{start}..{end} of {rows}");
            gives(&name, &model, &[of(&[rows, 2], &values)], &expected);
        }
    }
}
