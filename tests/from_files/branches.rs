//! Branches of an `If` that is decided before a run, of which the other does not fit the model, on ONNX Runtime.

use accelerant::backend::{Backend, ort::Ort};
use accelerant::export::{OnnxModel, Target};
use accelerant::{DType, HostTensor};

use crate::common;
use crate::file::{File, Stated};

/// `-x`, or `x` without two axes, which must be of size 1.
fn branches(file: &File, x: &str) -> [(&'static str, Stated<'static>); 2] {
    let fits = file.within("fits").body_of("Neg", x, &[]);
    let other = file.within("other").body_of("Squeeze", x, &[0, 1]);
    [("then_branch", fits), ("else_branch", other)]
}

impl File {
    fn body_of(mut self, operator: &str, x: &str, axes: &[i64]) -> Stated<'static> {
        let mut inputs = vec![x.to_owned()];
        if !axes.is_empty() {
            inputs.push(self.ints(axes));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let y = self.node(operator, &inputs);
        Stated::Graph(Box::new(self.body(&[&y])))
    }
}

fn runs(name: &str, model: &OnnxModel, inputs: &[HostTensor]) -> Option<HostTensor> {
    if let Err(reason) = Ort.probe() {
        common::skipped(name, reason);
        return None;
    }
    let model = model.for_target(Target::onnx_runtime()).unwrap();
    let (engine, executable) = Ort.build_and_load(&model).unwrap();
    let output = executable.run(inputs).unwrap().remove(0);
    let again = Ort.load(&engine).unwrap().run(inputs).unwrap().remove(0);
    assert_eq!(again, output, "{name}: the engine");
    Some(output)
}

fn x() -> (HostTensor, HostTensor) {
    let of = |values: Vec<f32>| HostTensor::from_vec([2, 3], values).unwrap();
    (of(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), of(vec![-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]))
}

#[test]
fn a_constant_decides() {
    let mut file = File::new(18);
    let input = file.input("x", DType::F32, &["2", "3"]);
    let yes = file.weight("yes", HostTensor::scalar(true));
    let fits = file.within("fits").body_of("Neg", &input, &[]);
    let other = file.within("other").body_of("Unsqueeze", &input, &[0]);
    let branches = [("then_branch", fits), ("else_branch", other)];
    let y = file.node_with("If", &[&yes], &branches);
    let model = file.read_open(&y, DType::F32, &["2", "3"]);
    let (x, expected) = x();
    if let Some(got) = runs("a constant", &model, &[x]) {
        assert_eq!(got, expected);
    }
}

#[test]
fn a_bound_size_decides() {
    let mut file = File::new(18);
    let input = file.input("x", DType::F32, &["n", "m"]);
    let shape = file.node("Shape", &[&input]);
    let first = file.weight("first", HostTensor::scalar(0i64));
    let size = file.node("Gather", &[&shape, &first]);
    let two = file.weight("two", HostTensor::scalar(2i64));
    let is_two = file.node("Equal", &[&size, &two]);
    let branches = branches(&file, &input);
    let chosen = file.node_with("If", &[&is_two], &branches);
    let y = file.node("Identity", &[&chosen]);
    let model = file.read_open(&y, DType::F32, &["n", "m"]);
    let model = model.bind("n", 2..=2).unwrap().bind("m", 3..=3).unwrap();
    let (x, expected) = x();
    if let Some(got) = runs("a size", &model, &[x]) {
        assert_eq!(got, expected);
    }
}

/// The value of an input decides, and the sizes that are bound do not fit one of the branches.
#[test]
fn a_run_decides_and_sizes_fit_one_branch() {
    let mut file = File::new(18);
    let which = file.input("which", DType::Bool, &[]);
    let input = file.input("x", DType::F32, &["n", "m"]);
    let branches = branches(&file, &input);
    let y = file.node_with("If", &[&which], &branches);
    let model = file.read_open(&y, DType::F32, &["n", "m"]);
    let model = model.bind("n", 2..=2).unwrap().bind("m", 3..=3).unwrap();
    let (x, expected) = x();
    if let Some(got) = runs("a run", &model, &[HostTensor::scalar(true), x]) {
        assert_eq!(got, expected);
    }
}

/// Within the branch that is not taken, a bound size decides for a rank that does not fit.
#[test]
fn sizes_decide_within_a_branch_that_is_not_taken() {
    let mut file = File::new(18);
    let which = file.input("which", DType::Bool, &[]);
    let input = file.input("x", DType::F32, &["n", "m"]);
    let weight = HostTensor::from_vec([3, 3], vec![1f32; 9]).unwrap();
    let weight = file.weight("w", weight);
    let fits = file.within("fits").body_of("Neg", &input, &[]);
    let mut other = file.within("other");
    let shape = other.node("Shape", &[&input]);
    let first = other.weight("first", HostTensor::scalar(0i64));
    let size = other.node("Gather", &[&shape, &first]);
    let two = other.weight("two", HostTensor::scalar(2i64));
    let is_two = other.node("Equal", &[&size, &two]);
    let higher = other.within("higher").body_of("Unsqueeze", &input, &[0]);
    let same = other.within("same").body_of("Identity", &input, &[]);
    let inner = [("then_branch", higher), ("else_branch", same)];
    let chosen = other.node_with("If", &[&is_two], &inner);
    let product = other.node("Gemm", &[&chosen, &weight]);
    let other = Stated::Graph(Box::new(other.body(&[&product])));
    let branches = [("then_branch", fits), ("else_branch", other)];
    let y = file.node_with("If", &[&which], &branches);
    let model = file.read_open(&y, DType::F32, &["n", "m"]);
    let model = model.bind("n", 2..=2).unwrap().bind("m", 3..=3).unwrap();
    let (x, expected) = x();
    if let Some(got) = runs("within a branch", &model, &[HostTensor::scalar(true), x]) {
        assert_eq!(got, expected);
    }
}
