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
    #[cfg(feature = "ort")]
    {
        let ort = accelerant::backend::ort::Ort;
        if let Err(reason) = ort.probe() {
            common::skipped(name, reason);
            return written;
        }
        let run = |model: &OnnxModel| {
            let (_, executable) = ort.build_and_load(model).expect("it loads");
            common::to_f64(&executable.run(std::slice::from_ref(x)).expect("it runs")[0])
        };
        let (expected, got) = (run(model), run(&written));
        assert_eq!(got.len(), expected.len(), "{name}");
        let far = got.iter().zip(&expected).find(|(a, b)| (*a - *b).abs() > 1e-5);
        assert_eq!(far, None, "{name}");
        assert!(expected.iter().any(|value| value.abs() > 1e-3), "{name}: nothing to compare");
    }
    written
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
