//! Automatic pads beside dilations and long strides, which ONNX Runtime derives in another way than ONNX: the pads are
//! written, or the model is refused. A result that contradicts the signature is an error.

use accelerant::backend::{Backend, ort::Ort};
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    AttributeProto, GraphProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as Dimension, tensor_to_proto, type_proto::Value,
};
use accelerant::{ErrorKind, HostTensor};

use super::common::{self, random};
use super::guards::{built, int};
use super::{backends, node, value};

#[derive(Clone, Copy)]
struct Case {
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    lower: bool,
    is_open: bool,
}

const OPERATORS: [&str; 4] = ["AveragePool", "Conv", "LpPool", "MaxPool"];

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (size, kernel, stride, dilation) in [
        (7, 3, 1, 2),
        (7, 3, 2, 2),
        (8, 3, 3, 2),
        (8, 2, 3, 2),
        (7, 4, 1, 2),
        (9, 1, 1, 3),
        // Long strides alone.
        (8, 1, 3, 1),
        (9, 2, 4, 1),
        // Nothing odd.
        (7, 3, 2, 1),
    ] {
        for lower in [false, true] {
            all.push(Case { size, kernel, stride, dilation, lower, is_open: false });
            all.push(Case { size, kernel, stride, dilation, lower, is_open: true });
        }
    }
    all
}

fn text(name: &str, text: &str) -> AttributeProto {
    let r#type = Some(AttributeType::String as i32);
    let s = Some(text.as_bytes().to_vec().into());
    AttributeProto { name: Some(name.into()), r#type, s, ..AttributeProto::default() }
}

fn list(name: &str, value: usize) -> AttributeProto {
    let (r#type, ints) = (Some(AttributeType::Ints as i32), vec![value as i64]);
    AttributeProto { name: Some(name.into()), r#type, ints, ..AttributeProto::default() }
}

impl Case {
    fn windows(self) -> usize {
        self.size.div_ceil(self.stride)
    }

    fn model(self, operator: &str) -> OnnxModel {
        let Self { size, kernel, stride, dilation, lower, is_open } = self;
        let mut inner = node(operator, &["x"], "y");
        inner.attribute = vec![
            text("auto_pad", if lower { "SAME_LOWER" } else { "SAME_UPPER" }),
            list("kernel_shape", kernel),
            list("strides", stride),
            list("dilations", dilation),
        ];
        let mut graph = GraphProto { name: Some("g".into()), ..GraphProto::default() };
        match operator {
            "Conv" => {
                inner.input.push("w".into());
                let ones = HostTensor::from_vec([1, 1, kernel], vec![1f32; kernel]).unwrap();
                graph.initializer.push(tensor_to_proto("w", &ones));
            }
            // A window that lies on pads alone has no elements to count.
            "AveragePool" => inner.attribute.push(int("count_include_pad", 1)),
            _ => {}
        }
        let sizes = |size: usize| [Some(1), Some(1), (!is_open).then_some(size as i64)];
        graph.input = vec![value("x", DataType::Float, &sizes(size))];
        let mut output = value("y", DataType::Float, &sizes(self.windows()));
        let known = output.r#type.as_mut().and_then(|r#type| r#type.value.as_mut());
        if let Some(Value::TensorType(tensor)) = known.filter(|_| is_open)
            && let Some(shape) = &mut tensor.shape
        {
            // Another size than the input's.
            shape.dim[2].value = Some(Dimension::DimParam("windows".into()));
        }
        graph.output = vec![output];
        graph.node = vec![inner];
        built(19, graph)
    }

    /// As ONNX derives the pads.
    fn expected(self, operator: &str, x: &[f32]) -> Vec<f32> {
        let Self { size, kernel, stride, dilation, lower, .. } = self;
        let reach = (self.windows() - 1) * stride + dilation * (kernel - 1) + 1;
        let total = reach.saturating_sub(size);
        let before = if lower { total - total / 2 } else { total / 2 };
        let window = |i: usize| -> Vec<f32> {
            let places = (0..kernel).map(|k| (i * stride + k * dilation).checked_sub(before));
            places.flatten().filter_map(|place| x.get(place).copied()).collect()
        };
        let of = |cells: Vec<f32>| match operator {
            "MaxPool" => cells.into_iter().fold(f32::NEG_INFINITY, f32::max),
            "LpPool" => cells.iter().map(|x| x * x).sum::<f32>().sqrt(),
            "AveragePool" => cells.iter().sum::<f32>() / kernel as f32,
            _ => cells.iter().sum(),
        };
        (0..self.windows()).map(|i| of(window(i))).collect()
    }

    /// Whether ONNX Runtime needs pads that follow from an open size.
    fn is_refused(self, operator: &str) -> bool {
        let extent = self.dilation * (self.kernel - 1) + 1;
        let odd = self.dilation > 1 || operator == "MaxPool" && self.stride > extent;
        self.is_open && self.stride > 1 && odd
    }
}

#[test]
fn automatic_pads_are_those_of_onnx() {
    for backend in backends("automatic_pads_are_those_of_onnx") {
        let (mut right, mut refused) = (0, 0);
        for case in cases() {
            for operator in OPERATORS {
                let place = format!(
                    "{} {operator} {} {} {} {} lower {} open {}",
                    backend.kind(),
                    case.size,
                    case.kernel,
                    case.stride,
                    case.dilation,
                    case.lower,
                    case.is_open
                );
                let model = case.model(operator);
                let built = model
                    .for_target(backend.target())
                    .and_then(|model| backend.build_and_load(&model));
                let is_ort = backend.kind() == Ort.kind();
                let executable = match built {
                    Ok((_, executable)) => executable,
                    Err(error) => {
                        // tract has its own gaps, which it tells.
                        assert!(!is_ort || case.is_refused(operator), "{place}: {error}");
                        assert!(!is_ort || error.axis() == Some(2), "{place}: {error}");
                        refused += 1;
                        continue;
                    }
                };
                assert!(!is_ort || !case.is_refused(operator), "{place}");
                let x = random(&[1, 1, case.size], 5);
                let expected = case.expected(operator, x.as_slice().unwrap());
                let given = executable.run(&[x.into()]).unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(given[0].shape(), [1, 1, case.windows()], "{place}");
                let given = given[0].to_vec::<f32>().unwrap();
                for (given, expected) in given.iter().zip(&expected) {
                    assert!((given - expected).abs() < 1e-5, "{place}: {given} for {expected}");
                }
                right += 1;
            }
        }
        assert!(right > refused && refused > 0, "{}: {right} {refused}", backend.kind());
    }
}

/// Without the pass, ONNX Runtime gives what contradicts the signature.
#[test]
fn a_result_that_contradicts_the_signature_is_an_error() {
    if let Err(reason) = Ort.probe() {
        let test = "a_result_that_contradicts_the_signature_is_an_error";
        return common::skipped(test, reason);
    }
    let case = Case { size: 7, kernel: 3, stride: 1, dilation: 2, lower: false, is_open: false };
    let executable = Ort.build_and_load(&case.model("MaxPool")).unwrap().1;
    let x: HostTensor = random(&[1, 1, 7], 5).into();
    let mut looked = false;
    let by_look = executable.look(std::slice::from_ref(&x), &mut |_| {
        looked = true;
        Ok(())
    });
    for error in [executable.run(&[x]).unwrap_err(), by_look.unwrap_err()] {
        assert_eq!(
            (error.kind(), error.tensor(), error.axis()),
            (ErrorKind::Execution, Some("y"), Some(2)),
            "{error}"
        );
        assert!(error.to_string().contains("the signature says 7"), "{error}");
    }
    assert!(!looked);
}

/// Automatic pads are none where a kernel leaves gaps, and take up what is added to the result.
#[test]
fn a_transposed_convolution_with_automatic_pads_has_the_size_of_the_signature() {
    let test = "a_transposed_convolution_with_automatic_pads_has_the_size_of_the_signature";
    for backend in backends(test) {
        for (kernel, stride, more, size) in
            [(2, 3, 0, 14), (1, 2, 0, 9), (3, 2, 0, 10), (3, 2, 1, 10)]
        {
            let mut inner = node("ConvTranspose", &["x", "w"], "y");
            inner.attribute = vec![
                text("auto_pad", "SAME_UPPER"),
                list("kernel_shape", kernel),
                list("strides", stride),
                list("output_padding", more),
            ];
            let ones = HostTensor::from_vec([1, 1, kernel], vec![1f32; kernel]).unwrap();
            let sizes = |size: i64| [Some(1), Some(1), Some(size)];
            let graph = GraphProto {
                name: Some("g".into()),
                input: vec![value("x", DataType::Float, &sizes(5))],
                output: vec![value("y", DataType::Float, &sizes(size))],
                node: vec![inner],
                initializer: vec![tensor_to_proto("w", &ones)],
                ..GraphProto::default()
            };
            let place = format!("{} {kernel} {stride} {more}", backend.kind());
            match backend.build_and_load(&built(18, graph)) {
                Ok((_, executable)) => {
                    let x = random(&[1, 1, 5], 5).into();
                    let y = executable.run(&[x]).unwrap_or_else(|e| panic!("{place}: {e}"));
                    assert_eq!(y[0].shape(), [1, 1, size as usize], "{place}");
                }
                Err(error) => {
                    // tract refuses it, and says why.
                    assert!(backend.kind() != Ort.kind(), "{place}: {error}");
                    let named = error.to_string().contains("output_padding");
                    assert_eq!(named, more > 0, "{place}: {error}");
                }
            }
        }
    }
}
