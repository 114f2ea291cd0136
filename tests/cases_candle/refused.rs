//! What cannot be exported is refused with an error that names the call.

use accelerant::candle::{CandleModule, OptimizeTrt, Trace, Traced};
use accelerant::export::Target;
use accelerant::{Error, ErrorKind};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};

use crate::common::portable;
use crate::harness::*;

/// The error of tracing or exporting a forward of one input.
macro_rules! refusal {
    ($x:expr, $options:expr, |$xs:ident| $body:expr) => {{
        struct Model;
        impl Forward for Model {
            fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                $body
            }
        }
        error(&Model, &$x, &$options)
    }};
    (|$xs:ident| $body:expr) => {
        refusal!(tensor(&[2, 3, 4], 1), OptimizeOptions::new(), |$xs| $body)
    };
}

fn error(model: &impl Forward, x: &Tensor, options: &OptimizeOptions) -> Error {
    let onnx = Trace::of(model, x, options).and_then(|t| t.to_onnx(Target::portable()));
    onnx.expect_err("the model is refused")
}

fn batch() -> OptimizeOptions {
    OptimizeOptions::new().dynamic_batch(1..=4)
}

/// Refused as an operation that cannot be exported, by name and with a word of why.
fn unsupported(error: &Error, operation: &str, word: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{text}");
    assert!(text.contains(operation) && text.contains(word), "{text}");
}

#[test]
fn reading_values_names_the_call() {
    let sum = |error: Error, operation: &str| {
        unsupported(&error, operation, "reads values");
        assert!(error.to_string().contains("cases_candle/refused.rs:"), "{error}");
    };
    sum(refusal!(|xs| xs.affine(xs.sum_all()?.to_scalar::<f32>()?.into(), 0.0)), "to_scalar");
    sum(refusal!(|xs| xs.affine(xs.sum_all()?.to_vec0::<f32>()?.into(), 0.0)), "to_vec0");
    sum(
        refusal!(|xs| T::new(xs.flatten_all()?.to_vec1::<f32>()?.as_slice(), xs.device())),
        "to_vec1",
    );
    sum(refusal!(|xs| T::new(xs.flatten_to(1)?.to_vec2::<f32>()?, xs.device())), "to_vec2");
    sum(refusal!(|xs| T::new(xs.to_vec3::<f32>()?, xs.device())), "to_vec3");
}

#[test]
fn values_that_do_not_depend_on_the_inputs_can_be_read() {
    struct Model;
    impl Forward for Model {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            let scale = T::constant(&weight(&[3], 1)).abs()?.max(0)?.to_scalar::<f32>()?;
            xs.affine(f64::from(scale), 0.0)
        }
    }
    layer("Func, a constant's value", &Model, &tensor(&[2, 3], 1));
}

#[test]
fn changing_in_place_names_the_call() {
    let place = |error: Error, operation: &str| {
        unsupported(&error, operation, "in place");
        assert!(error.to_string().contains("cases_candle/refused.rs:"), "{error}");
    };
    place(refusal!(|xs| xs.zero_set().and(xs.neg())), "zero_set");
    place(refusal!(|xs| xs.one_set().and(xs.neg())), "one_set");
    place(refusal!(|xs| xs.slice_set(&xs.narrow(0, 0, 1)?, 0, 1).and(xs.neg())), "slice_set");
    place(
        refusal!(|xs| xs.scatter_set(&xs.argmax_keepdim(0)?, xs, 0).and(xs.neg())),
        "scatter_set",
    );
    place(
        refusal!(|xs| xs.scatter_add_set(&xs.argmax_keepdim(0)?, xs, 0).and(xs.neg())),
        "scatter_add_set",
    );
}

#[test]
fn a_change_after_tracing_does_not_reach_the_export() {
    let variable = candle_core::Var::from_tensor(&weight(&[4, 3], 1)).unwrap();
    let net = candle_nn::Linear::new(variable.as_tensor().clone(), None);
    let x = tensor(&[2, 3], 1);
    let before = Forward::forward(&net, &x).unwrap().to_vec2::<f32>().unwrap();
    let trace = Trace::of(&net, &x, &OptimizeOptions::new()).unwrap();
    variable.set(&weight(&[4, 3], 2)).unwrap();
    let require = OptimizeOptions::new().require(portable());
    let fast = CandleModule::compile(&trace, &require).unwrap();
    let got = fast.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    for (got, before) in got.iter().flatten().zip(before.iter().flatten()) {
        assert!((got - before).abs() < 1e-5, "{got} for {before}");
    }
    assert_ne!(before, Forward::forward(&net, &x).unwrap().to_vec2::<f32>().unwrap());
}

#[test]
fn quantized_weights_name_the_layer() {
    struct Model(QMatMul);
    impl Forward for Model {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            xs.scope("decoder", |xs| self.0.forward(xs))
        }
    }
    let quantized = QTensor::quantize(&weight(&[8, 32], 1), GgmlDType::Q8_0).unwrap();
    let net = Model(QMatMul::from_qtensor(quantized).unwrap());
    let x = tensor(&[2, 32], 1);
    assert_eq!(net.forward(&x).unwrap().dims(), [2, 8]);
    let error = error(&net, &x, &OptimizeOptions::new());
    unsupported(&error, "QMatMul", "quantized");
    assert_eq!(error.tensor(), Some("decoder/q_matmul"));
}

#[test]
fn a_tensor_kept_from_another_forward_is_refused() {
    let kept = std::sync::Mutex::new(None::<Traced>);
    let error = Trace::of_fn([&tensor(&[2, 3], 1)], &OptimizeOptions::new(), |xs| {
        let mut kept = kept.lock().unwrap();
        let sum = match &*kept {
            Some(earlier) => xs[0].add(earlier)?,
            None => xs[0].add(&xs[0])?,
        };
        *kept = Some(xs[0].relu()?);
        Ok(vec![sum])
    });
    unsupported(&error.expect_err("refused"), "Binary(Add) uses", "kept from an earlier call");

    // Within a layer, by a closure; and as a result.
    let kept = std::sync::Mutex::new(None::<Traced>);
    let error = Trace::of_fn([&tensor(&[2, 3], 1)], &OptimizeOptions::new(), |xs| {
        let mut kept = kept.lock().unwrap();
        let earlier = kept.get_or_insert_with(|| xs[0].clone());
        let block = |xs: &Traced| xs.mul(earlier);
        Ok(vec![xs[0].scope("block", block)?])
    });
    unsupported(&error.expect_err("refused"), "block/Binary(Mul) uses", "earlier call");
    let kept = std::sync::Mutex::new(None::<Traced>);
    let error = Trace::of_fn([&tensor(&[2, 3], 1)], &OptimizeOptions::new(), |xs| {
        let mut kept = kept.lock().unwrap();
        Ok(vec![kept.get_or_insert_with(|| xs[0].clone()).clone()])
    });
    unsupported(&error.expect_err("refused"), "the forward gives", "earlier call");
}

#[test]
fn a_branch_on_a_symbolic_size_says_so() {
    let error = refusal!(tensor(&[2, 3], 1), batch(), |xs| match xs.dim(0)? {
        1 => xs.relu(),
        _ => xs.exp(),
    });
    unsupported(&error, "Relu", "`batch` = 1");
    let error = refusal!(tensor(&[2, 3], 1), batch(), |xs| xs.affine(xs.dim(0)? as f64, 0.0));
    unsupported(&error, "Affine", "`batch` = 1");
    let error = refusal!(tensor(&[2, 3], 1), batch(), |xs| {
        xs.mean_keepdim(0)?.broadcast_as((xs.dim(0)?.pow(2), 3))
    });
    unsupported(&error, "Expand", "depends on a symbolic dimension");
}

#[test]
fn shapes_that_do_not_fit_have_candles_own_words() {
    macro_rules! as_candle {
        ($([$($size:expr),*] |$xs:ident| $body:expr;)*) => {$({
            struct Model;
            impl Forward for Model {
                fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                    $body
                }
            }
            let x = tensor(&[$($size),*], 1);
            let candle = Model.forward(&x).expect_err(stringify!($body)).to_string();
            let candle = candle.lines().next().unwrap();
            let error = error(&Model, &x, &OptimizeOptions::new());
            assert_eq!(error.to_string().lines().next().unwrap(), format!("trace: {candle}"));
        })*};
    }
    as_candle! {
        [2, 3] |xs| xs.add(&xs.t()?);
        [2, 3] |xs| xs.broadcast_add(&xs.t()?);
        [2, 3] |xs| xs.matmul(xs);
        [2, 3] |xs| xs.reshape((4, 2));
        [2, 3] |xs| xs.reshape(((), 4));
        [2, 3] |xs| xs.narrow(1, 2, 2);
        [2, 3] |xs| xs.transpose(0, 3);
        [2, 3] |xs| xs.permute((0, 0));
        [2, 3] |xs| xs.sum(2);
        [2, 3] |xs| xs.unsqueeze(4);
        [2, 3] |xs| xs.conv1d(&T::constant(&weight(&[1, 1, 1], 1)), 0, 1, 1, 1);
        [1, 2, 3] |xs| xs.conv1d(&T::constant(&weight(&[1, 1, 1], 1)), 0, 1, 1, 1);
        [1, 2, 3, 3] |xs| xs.conv2d(&T::constant(&weight(&[1, 1, 1, 1], 1)), 0, 1, 1, 1);
        [1, 2, 3, 3] |xs| xs.conv_transpose2d(&T::constant(&weight(&[1, 1, 1, 1], 1)), 0, 0, 1, 1);
        [1, 2, 3, 3] |xs| xs.max_pool2d(4);
        [2, 3] |xs| T::cat(&[xs, &xs.t()?], 0);
        [2, 3] |xs| xs.gather(&xs.argmax(1)?, 1);
        [2, 3] |xs| xs.index_select(&xs.argmax_keepdim(1)?, 0);
        [2, 3] |xs| xs.slice_scatter(xs, 0, 1);
        [2, 3] |xs| xs.slice_assign(&[0..1, 0..3], xs);
        [2, 3] |xs| xs.unfold(1, 4, 1);
        [2, 3] |xs| xs.dot(xs);
        [2, 3] |xs| xs.mv(xs);
        [2, 3] |xs| xs.normalize_axis(2).and(xs.neg());
        [2, 3] |xs| xs.t()?.t()?.squeeze(0)?.unsqueeze(0)?.broadcast_as((2, 2));
        [2, 3] |xs| ops::layer_norm(xs, &T::constant(&weight(&[2], 1)), &T::constant(&weight(&[3], 1)), 1e-5);
    }
}

#[test]
fn types_that_do_not_fit_are_refused() {
    let mixed = refusal!(|xs| xs.add(&xs.to_dtype(DType::F64)?));
    assert_eq!(mixed.kind(), ErrorKind::DTypeMismatch, "{mixed}");
    assert!(mixed.to_string().contains("dtype mismatch in add"), "{mixed}");
    let index = refusal!(|xs| xs.gather(xs, 0));
    assert_eq!(index.kind(), ErrorKind::DTypeMismatch, "{index}");
    assert!(index.to_string().contains("gather"), "{index}");
    let product = refusal!(|xs| xs.matmul(&xs.t()?.to_dtype(DType::F16)?));
    assert_eq!(product.kind(), ErrorKind::DTypeMismatch, "{product}");
    assert!(product.to_string().contains("dtype mismatch in matmul"), "{product}");
    let parts = refusal!(|xs| T::cat(&[xs, &xs.to_dtype(DType::BF16)?], 0));
    assert_eq!(parts.kind(), ErrorKind::DTypeMismatch, "{parts}");
    assert!(parts.to_string().contains("dtype mismatch in cat"), "{parts}");
    let layer = candle_nn::Linear::new(weight(&[5, 4], 1), None);
    let wide = tensor(&[2, 4], 1).to_dtype(DType::F64).unwrap();
    let layer = error(&layer, &wide, &OptimizeOptions::new());
    assert_eq!(layer.kind(), ErrorKind::DTypeMismatch, "{layer}");
    assert!(layer.to_string().contains("matmul"), "{layer}");
    let condition = refusal!(|xs| xs.where_cond(xs, xs));
    assert!(condition.to_string().contains("where_cond"), "{condition}");
}

#[test]
fn a_sort_that_tensorrt_cannot_do_says_so() {
    struct Sorted;
    impl Forward for Sorted {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            Ok(xs.sort_last_dim(true)?.0)
        }
    }
    let trace = Trace::of(&Sorted, &tensor(&[1, 3841], 1), &OptimizeOptions::new()).unwrap();
    trace.to_onnx(Target::portable()).unwrap();
    let error = trace.to_onnx(Target::tensorrt()).unwrap_err();
    unsupported(&error, "TopK", "3841");
    assert_eq!(error.axis(), Some(1), "{error}");
}

#[test]
fn inputs_and_outputs_named_as_weights() {
    let net = candle_nn::Linear::new(weight(&[4, 3], 1), Some(weight(&[4], 2)));
    let x = tensor(&[2, 3], 1);
    let options =
        OptimizeOptions::new().input_names(["linear.weight"]).output_names(["linear.bias"]);
    let options = options.require(portable());
    let got = net.optimize_trt_with(&x, &options).unwrap().forward(&x).unwrap();
    let expected = Forward::forward(&net, &x).unwrap();
    let difference = (got - expected).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    let options = OptimizeOptions::new().input_names(["a\0b"]);
    let error = error(&net, &x, &options);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("NUL"), "{error}");
}

#[test]
fn strided_and_empty_tensors() {
    let net = candle_nn::Linear::new(weight(&[4, 3], 1), None);
    let options = OptimizeOptions::new().require(portable());
    // An example and an input that are views.
    let x = tensor(&[3, 2], 1).t().unwrap();
    assert!(!x.is_contiguous());
    let fast = net.optimize_trt_with(&x, &options).unwrap();
    let got = fast.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let expected = Forward::forward(&net, &x.contiguous().unwrap()).unwrap();
    let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (got, expected) in got.iter().zip(&expected) {
        assert!((got - expected).abs() < 1e-5);
    }
    // Nothing in it: refused as an example, where the size is needed, and as an input.
    let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    let error = net.optimize_trt_with(&empty, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch, "{error}");
    assert_eq!((error.tensor(), error.axis()), (Some("input_0"), Some(0)), "{error}");
    assert!(error.to_string().contains("no elements"), "{error}");
    let error = refusal!(|xs| xs.narrow(0, 0, 0)?.reshape((3, 0)));
    unsupported(&error, "Reshape", "without elements");
    let error = refusal!(|xs| xs.narrow(2, 1, 0)?.sort_last_dim(true)?.0.neg());
    unsupported(&error, "TopK", "nothing to sort");
    let error = fast.forward(&empty).unwrap_err();
    assert_eq!(accelerant::candle::error_of(&error).unwrap().kind(), ErrorKind::ShapeMismatch);
}
