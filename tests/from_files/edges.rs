//! Operators that TensorRT-RTX computes wrongly at their edges, seen on an H200: what is written instead gives what ONNX
//! Runtime gives for the file.

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;
use accelerant::export::{OnnxModel, Target};
use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::{common, operators, tensor};

/// What the file is for TensorRT, which is compared with the file itself on ONNX Runtime, and built.
fn written(name: &str, model: &OnnxModel, x: &HostTensor) -> OnnxModel {
    let written = model.for_target(Target::tensorrt()).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_ne!(written.to_bytes(), model.to_bytes(), "{name} is as it was");
    assert_eq!(written.for_target(Target::tensorrt()).unwrap(), written, "{name}: a second time");
    TensorRt::rtx().build(&written).unwrap_or_else(|e| panic!("{name}: {e}"));
    same(name, model, &written, x);
    written
}

/// Two models give the same on ONNX Runtime.
fn same(name: &str, model: &OnnxModel, written: &OnnxModel, x: &HostTensor) {
    if let Some(expected) = on_onnx_runtime(name, model, x)
        && let Some(got) = on_onnx_runtime(name, written, x)
    {
        are_near(name, &got, &expected);
    }
}

/// What is written gives on tract what the file gives on ONNX Runtime, which would put pads into the windows behind them.
fn same_on_tract(name: &str, model: &OnnxModel, written: &OnnxModel, x: &HostTensor) {
    let Some(expected) = on_onnx_runtime(name, model, x) else { return };
    let tract = accelerant::backend::tract::Tract;
    let (_, executable) = tract.build_and_load(written).unwrap_or_else(|e| panic!("{name}: {e}"));
    let got = executable.run(std::slice::from_ref(x)).unwrap_or_else(|e| panic!("{name}: {e}"));
    are_near(name, &got[0], &expected);
}

#[cfg(feature = "ort")]
fn on_onnx_runtime(name: &str, model: &OnnxModel, x: &HostTensor) -> Option<HostTensor> {
    let ort = accelerant::backend::ort::Ort;
    if let Err(reason) = ort.probe() {
        common::skipped(name, reason);
        return None;
    }
    let (_, executable) = ort.build_and_load(model).unwrap_or_else(|e| panic!("{name}: {e}"));
    Some(executable.run(std::slice::from_ref(x)).expect("it runs").remove(0))
}

#[cfg(not(feature = "ort"))]
fn on_onnx_runtime(_: &str, _: &OnnxModel, _: &HostTensor) -> Option<HostTensor> {
    None
}

fn are_near(name: &str, got: &HostTensor, expected: &HostTensor) {
    assert_eq!(got.shape(), expected.shape(), "{name}");
    let (expected, got) = (common::to_f64(expected), common::to_f64(got));
    let far = got.iter().zip(&expected).find(|(a, b)| (*a - *b).abs() > 1e-5 || a.is_nan());
    assert_eq!(far, None, "{name}");
    assert!(expected.iter().any(|value| value.abs() > 1e-3), "{name}: nothing to compare");
}

#[test]
fn bounds_in_the_wrong_order() {
    let clip = |least: f32, most: f32| {
        let mut file = File::new(18);
        let x = file.input("x", DType::F32, &["2", "3"]);
        let (least, most) = (file.scalar(DType::F32, least), file.scalar(DType::F32, most));
        let y = file.node("Clip", &[&x, &least, &most]);
        file.read(&y, DType::F32, &["2", "3"])
    };
    let x = tensor(DType::F32, &[2, 3], 2.0, 1);
    let model = written("swapped", &clip(0.5, -0.25), &x);
    assert_eq!(operators(&model), ["Max", "Min"]);
    let right = clip(-0.25, 0.5);
    assert_eq!(operators(&right.for_target(Target::tensorrt()).unwrap()), ["Clip"]);
}

#[test]
fn averages_beyond_an_edge() {
    for (size, kernel, stride, pads) in [
        ([11, 12], [2, 2], [5, 5], [0, 0, 0, 0]),
        ([8, 8], [3, 3], [2, 2], [1, 1, 1, 1]),
        ([9, 7], [3, 2], [2, 3], [1, 0, 1, 1]),
    ] {
        let mut file = File::new(18);
        let sizes = size.map(|size: i64| size.to_string());
        let x = file.input("x", DType::F32, &["1", "2", &sizes[0], &sizes[1]]);
        let attributes = [
            ("ceil_mode", Stated::Int(1)),
            ("count_include_pad", Stated::Int(1)),
            ("kernel_shape", Stated::Ints(&kernel)),
            ("pads", Stated::Ints(&pads)),
            ("strides", Stated::Ints(&stride)),
        ];
        let y = file.node_with("AveragePool", &[&x], &attributes);
        let out = [0, 1].map(|i| {
            let reach = size[i] + pads[i] + pads[i + 2] - kernel[i];
            let count = (reach + stride[i] - 1) / stride[i] + 1;
            let beyond = (count - 1) * stride[i] >= size[i] + pads[i];
            (count - i64::from(beyond)).to_string()
        });
        let model = file.read(&y, DType::F32, &["1", "2", &out[0], &out[1]]);
        let x = tensor(DType::F32, &[1, 2, size[0] as usize, size[1] as usize], 1.0, 2);
        let model = written(&format!("{kernel:?} over {size:?}"), &model, &x);
        let expected: &[&str] =
            if pads == [0; 4] { &["AveragePool"] } else { &["Pad", "AveragePool"] };
        assert_eq!(operators(&model), expected);
    }
}

/// A pool with `ceil_mode` over open or fixed sizes.
fn pool(operator: &str, counts: bool, sizes: [&str; 2], window: [i64; 4]) -> OnnxModel {
    let [kernel, stride, before, after] = window;
    let mut file = File::new(18);
    let x = file.input("x", DType::F32, &["1", "2", sizes[0], sizes[1]]);
    let kernel = [kernel; 2];
    let (strides, pads) = ([stride; 2], [before, before, after, after]);
    let mut attributes = vec![
        ("ceil_mode", Stated::Int(1)),
        ("kernel_shape", Stated::Ints(&kernel)),
        ("pads", Stated::Ints(&pads)),
        ("strides", Stated::Ints(&strides)),
    ];
    if operator == "AveragePool" {
        attributes.push(("count_include_pad", Stated::Int(counts.into())));
    }
    let y = file.node_with(operator, &[&x], &attributes);
    file.read_open(&y, DType::F32, &["1", "2", "a", "b"])
}

/// Windows of which ONNX leaves out those that begin behind the input, and TensorRT-RTX does not.
const CUT: [[i64; 4]; 4] = [[2, 2, 1, 1], [3, 3, 2, 2], [2, 3, 1, 1], [2, 5, 0, 0]];

#[test]
fn windows_behind_an_edge() {
    for (operator, counts) in [("MaxPool", false), ("AveragePool", false), ("AveragePool", true)] {
        for (size, window) in [5, 4, 7, 10].into_iter().zip(CUT) {
            let text = size.to_string();
            let model = pool(operator, counts, [&text, &text], window);
            let x = tensor(DType::F32, &[1, 2, size, size], 1.0, 2);
            let name = format!("{operator} {counts} {window:?}");
            let for_tensorrt = model.for_target(Target::tensorrt()).unwrap();
            assert_eq!(operators(&for_tensorrt).last(), Some(&"Slice"), "{name}");
            TensorRt::rtx().build(&for_tensorrt).unwrap_or_else(|e| panic!("{name}: {e}"));
            same_on_tract(&name, &model, &for_tensorrt, &x);
        }
    }
    // A window of a ResNet begins on the input wherever it ends.
    let usual = pool("MaxPool", false, ["h", "w"], [3, 2, 1, 1]);
    let usual = usual.bind("h", 4..=32).unwrap().bind("w", 4..=32).unwrap();
    assert_eq!(operators(&usual.for_target(Target::tensorrt()).unwrap()), ["MaxPool"]);
}

#[test]
fn windows_over_open_sizes() {
    for (operator, counts) in [("MaxPool", false), ("AveragePool", false), ("AveragePool", true)] {
        for window in CUT.into_iter().chain([[3, 2, 1, 1], [3, 2, 0, 1]]) {
            let name = format!("{operator} {counts} {window:?}");
            let model = pool(operator, counts, ["h", "w"], window);
            let model = model.bind("h", 4..=16).unwrap().bind("w", 4..=16).unwrap();
            let for_tensorrt = model.for_target(Target::tensorrt()).unwrap();
            TensorRt::rtx().build(&for_tensorrt).unwrap_or_else(|e| panic!("{name}: {e}"));
            for size in 4..=13 {
                let bound = |model: &OnnxModel| {
                    let model = model.clone().bind("h", size..=size).unwrap();
                    model.bind("w", 17 - size..=17 - size).unwrap()
                };
                let x = tensor(DType::F32, &[1, 2, size, 17 - size], 1.0, 2);
                let name = format!("{name} at {size}");
                same_on_tract(&name, &bound(&model), &bound(&for_tensorrt), &x);
            }
        }
    }
}

#[test]
fn windows_in_a_body() {
    let mut file = File::new(18);
    let which = file.input("which", DType::Bool, &[]);
    let x = file.input("x", DType::F32, &["1", "2", "5", "5"]);
    let branch = |name: &str, operator: &str| {
        let mut body = file.within(name);
        let attributes = [
            ("ceil_mode", Stated::Int(1)),
            ("kernel_shape", Stated::Ints(&[2, 2])),
            ("pads", Stated::Ints(&[1, 1, 1, 1])),
            ("strides", Stated::Ints(&[2, 2])),
        ];
        let y = body.node_with(operator, &[&x], &attributes);
        Stated::Graph(Box::new(body.body(&[&y])))
    };
    let (yes, no) = (branch("yes", "MaxPool"), branch("no", "AveragePool"));
    let y = file.node_with("If", &[&which], &[("then_branch", yes), ("else_branch", no)]);
    let model = file.read_open(&y, DType::F32, &["1", "2", "3", "3"]);
    let written = model.for_target(Target::tensorrt()).unwrap();
    let text = format!("{:?}", written.proto());
    assert_eq!(text.matches("Some(\"Slice\")").count(), 2, "{written}");
    TensorRt::rtx().build(&written).unwrap();
}

#[test]
fn outputs_of_stated_sizes() {
    for (out, upper) in [([10, 9], false), ([9, 10], true), ([11, 11], false)] {
        let mut file = File::new(18);
        let x = file.input("x", DType::F32, &["1", "4", "5", "5"]);
        let weight = file.weight("w", tensor(DType::F32, &[4, 3, 3, 3], 0.5, 3));
        let mut attributes =
            vec![("output_shape", Stated::Ints(&out)), ("strides", Stated::Ints(&[2, 2]))];
        if upper {
            attributes.push(("auto_pad", Stated::Text("SAME_UPPER")));
        }
        let y = file.node_with("ConvTranspose", &[&x, &weight], &attributes);
        let sizes = out.map(|size| size.to_string());
        let model = file.read(&y, DType::F32, &["1", "3", &sizes[0], &sizes[1]]);
        let x = tensor(DType::F32, &[1, 4, 5, 5], 1.0, 4);
        written(&format!("{out:?}"), &model, &x);
    }
}
