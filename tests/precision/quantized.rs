//! Products of weights in 8 and 4 bits: which ones, what the pairs look like to TensorRT-RTX, and the results.

use accelerant::Registry;
use accelerant::backend::{Backend, ort::Ort};
use accelerant::export::{Conv, GraphBuilder, OnnxModel, Reduction, Target, onnx};
use accelerant::precision::{Calibration, Method, Moments, Precision, PrecisionOptions, Ranges};
use accelerant::{DType, HostTensor};

use crate::common::to_f64;
use crate::plan::{Kernel, Plan};
use crate::runs::{cosine, has_ort, near, numbers, run};

/// A convolution, and two layers with attention's product between them.
fn model() -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [4usize, 16, 8, 8]).unwrap();
    let weight =
        |shape: &[usize], scale, seed| graph.constant("weight", numbers(shape, scale, seed));
    let window = Conv::new(2).padding([(1, 1); 2]);
    let x = x.conv(&weight(&[128, 16, 3, 3], 0.2, 1), None, &window).unwrap();
    let x = x.flatten(2, 3).unwrap().transpose(&[0, 2, 1]).unwrap();
    let y = x.matmul(&weight(&[128, 256], 0.15, 2)).unwrap().gelu().unwrap();
    let y = y.matmul(&weight(&[256, 128], 0.1, 3)).unwrap();
    let scores = y.matmul(&y.transpose(&[0, 2, 1]).unwrap()).unwrap().affine(0.1, 0.0).unwrap();
    let y = scores.softmax(-1).unwrap().matmul(&y).unwrap();
    let flat = y.reduce(Reduction::Mean, &[1]).unwrap();
    let y =
        flat.linear_by_outputs(&weight(&[32, 128], 0.3, 4), Some(&weight(&[32], 0.3, 5))).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().unwrap()
}

fn ranges(model: &OnnxModel, method: Method) -> Ranges {
    let batches = (0..3).map(|i| vec![numbers(&[4, 16, 8, 8], 1.0, 20 + i)]);
    Calibration::new(method).run(model, &Registry::empty().with(Ort), batches).unwrap()
}

fn quantized(model: &OnnxModel, precision: Precision, ranges: &Ranges) -> OnnxModel {
    quantized_for(Target::tensorrt(), model, precision, ranges)
}

fn quantized_for(
    target: Target,
    model: &OnnxModel,
    precision: Precision,
    ranges: &Ranges,
) -> OnnxModel {
    let options = PrecisionOptions::new(precision).ranges(ranges.clone());
    model.with_precision(target, options).unwrap()
}

/// For each product of codes, the scales of its two factors, each one number.
fn scales_of_products(model: &OnnxModel) -> Vec<[f32; 2]> {
    let graph = model.proto().graph.as_ref().unwrap();
    let maker = |name: &str| {
        let found = graph.node.iter().find(|node| node.output.iter().any(|own| own == name));
        found.unwrap_or_else(|| panic!("nothing makes {name}"))
    };
    let scale = |name: &str| {
        let mut node = maker(name);
        while node.op_type() == "Transpose" {
            node = maker(&node.input[0]);
        }
        assert_eq!(node.op_type(), "DequantizeLinear", "{name}");
        let mut all = graph.initializer.iter();
        let tensor = all.find(|tensor| tensor.name() == node.input[1]).unwrap();
        let scales = to_f64(&onnx::tensor_from_proto(tensor).unwrap());
        assert_eq!(scales.len(), 1, "the scale of {name}: RTX would scale sums in half precision");
        scales[0] as f32
    };
    let weights: Vec<_> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let quantized = |name: &String| {
        let mut name = name.as_str();
        while let Some(node) = graph.node.iter().find(|node| node.output[0] == *name) {
            match node.op_type() {
                "Transpose" | "DequantizeLinear" => name = &node.input[0],
                _ => return false,
            }
        }
        weights.contains(&name)
    };
    let products = graph.node.iter().filter(|node| matches!(node.op_type(), "MatMul" | "Gemm"));
    let products = products.filter(|node| quantized(&node.input[1]));
    products.map(|node| [scale(&node.input[0]), scale(&node.input[1])]).collect()
}

#[test]
fn layers_of_weights_are_quantized_and_nothing_else() {
    if !has_ort("quantized layers") {
        return;
    }
    let plain = model();
    let ranges = ranges(&plain, Method::MinMax);
    let input = [numbers(&[4, 16, 8, 8], 1.0, 30)];
    let expected = run("in 32 bits", &plain, &input);
    let forms = [
        (Precision::Int8, "int8", 0.9995),
        (Precision::Fp8, "fp8", 0.998),
        (Precision::Int4Weights, "int4", 0.99),
    ];
    for (precision, form, least) in forms {
        let model = quantized(&plain, precision, &ranges);
        assert_eq!(model.signature(), plain.signature());
        let report = model.precision_report().unwrap();
        let few = report.layers.iter().filter(|layer| layer.precision == form);
        let few: Vec<_> = few.map(|layer| layer.operator.as_str()).collect();
        assert_eq!(few, ["MatMul", "MatMul", "Gemm"], "{report}");
        let operators = |operator: &str| {
            let nodes = &model.proto().graph.as_ref().unwrap().node;
            nodes.iter().filter(|node| node.op_type() == operator).count()
        };
        let activations = if precision == Precision::Int4Weights { 0 } else { 3 };
        let pairs = (operators("QuantizeLinear"), operators("DequantizeLinear"));
        assert_eq!(pairs, (activations, activations + 3), "{precision}");
        let plan = Plan::of(form, &model);
        let (small, all) = match precision {
            Precision::Int8 => ("int8", 3),
            Precision::Fp8 => ("fp8_e4m3", 3),
            _ => ("int4", 0),
        };
        if all > 0 {
            assert_scaled_within(form, &model, &plan, all);
        }
        let both = |kinds: &[String]| kinds.iter().filter(|kind| *kind == small).count() >= 2;
        let products = plan.products().filter(|kernel| both(&kernel.types)).count();
        assert_eq!(products, all, "{precision}: {:#?}", plan.kernels);
        // A convolution behind a pair would be in half precision, with its weight dequantized each time.
        for kernel in plan.convolutions() {
            let half = kernel.types.iter().take(2).all(|kind| kind == "half");
            assert!(half && !kernel.layers.contains("quantized"), "{precision}: {kernel:?}");
        }
        assert_eq!(plan.attentions(), 1, "{precision}");
        if precision == Precision::Int4Weights {
            let read =
                |kernel: &&crate::plan::Kernel| kernel.types.iter().any(|kind| kind == small);
            assert!(plan.kernels.iter().filter(read).count() >= 2, "{:#?}", plan.kernels);
        }
        let got = run(form, &model, &input);
        let cosine = cosine(&got[0], &expected[0]);
        assert!(cosine > least, "{precision}: {cosine}");
    }
}

/// The scales of both factors are a part of each product: behind it, sums of codes would be beyond half precision.
fn assert_scaled_within(name: &str, model: &OnnxModel, plan: &Plan, all: usize) {
    let scales = scales_of_products(model);
    assert_eq!(scales.len(), all, "{name}: {model}");
    for [activation, weight] in scales {
        let within = activation * weight;
        assert!(plan.holds(within), "{name}: {within:e} is not in {:#?}", plan.kernels);
        assert!(!plan.holds(within * 1.37), "a number that is in no product is in the plan");
    }
}

/// The forms of compute capability 9.0 leave products of codes as they are.
#[test]
fn layers_are_quantized_for_compute_capability_9() {
    if !has_ort("8 bits for compute capability 9.0") {
        return;
    }
    let hopper = Target::tensorrt().for_compute_capability(Some(90));
    let plain = model();
    let ranges = ranges(&plain, Method::MinMax);
    let input = [numbers(&[4, 16, 8, 8], 1.0, 30)];
    let expected = run("in 32 bits", &plain, &input);
    for (precision, kind, least) in
        [(Precision::Int8, "int8", 0.9995), (Precision::Fp8, "fp8_e4m3", 0.998)]
    {
        let model = quantized_for(hopper, &plain, precision, &ranges);
        let plan = Plan::of(kind, &model);
        let products = plan
            .products()
            .filter(|kernel| kernel.types.iter().take(3).filter(|own| *own == kind).count() == 2);
        assert_eq!(products.count(), 3, "{precision}: {:#?}", plan.kernels);
        assert_scaled_within(kind, &model, &plan, 3);
        let cosine = cosine(&run(kind, &model, &input)[0], &expected[0]);
        assert!(cosine > least, "{precision}: {cosine}");
    }
}

/// A term with a factor of its own would be multiplied with the factors of the outputs.
#[test]
fn what_a_gemm_adds_is_added_behind_the_factors() {
    if !has_ort("a Gemm in 8 bits") {
        return;
    }
    for (beta, form) in [(1.0, "int8"), (0.0, "int8"), (0.5, "f16")] {
        let graph = GraphBuilder::for_target("model", Target::tensorrt());
        let x = graph.input("x", DType::F32, [8usize, 64]).unwrap();
        let [weight, term] = [(&[32usize, 64][..], 1), (&[32], 2)]
            .map(|(shape, seed)| graph.constant("weight", numbers(shape, 0.5, seed)));
        let gemm = graph.node("Gemm").input(&x).input(&weight).input(&term);
        let gemm = gemm.attr("transB", 1i64).attr("alpha", 0.75f32).attr("beta", beta);
        graph.output("y", &gemm.build().unwrap()).unwrap();
        let plain = graph.finish().unwrap();
        let calibration = Calibration::new(Method::MinMax);
        let batches = [vec![numbers(&[8, 64], 1.0, 3)]];
        let ranges = calibration.run(&plain, &Registry::empty().with(Ort), batches).unwrap();
        let model = quantized(&plain, Precision::Int8, &ranges);
        let report = model.precision_report().unwrap();
        assert_eq!(report.layers[0].precision, form, "{report}");
        Plan::of("gemm", &model);
        let input = [numbers(&[8, 64], 1.0, 3)];
        let [got, expected] = [&model, &plain].map(|model| run("gemm", model, &input));
        near("gemm", &got[0], &expected[0], 0.015);
    }
}

/// ONNX Runtime computes it in half precision, as it stands.
#[test]
fn onnx_runtime_takes_a_gemm_in_8_bits() {
    if !has_ort("a Gemm in 8 bits as it stands") {
        return;
    }
    for (target, adds) in [(Target::onnx_runtime(), 3), (Target::tensorrt(), 2)] {
        let graph = GraphBuilder::for_target("model", target);
        let x = graph.input("x", DType::F32, [8usize, 64]).unwrap();
        let [weight, term] = [(&[32usize, 64][..], 1), (&[32], 2)]
            .map(|(shape, seed)| graph.constant("weight", numbers(shape, 0.5, seed)));
        let gemm = graph.node("Gemm").input(&x).input(&weight).input(&term);
        graph.output("y", &gemm.attr("transB", 1i64).build().unwrap()).unwrap();
        let plain = graph.finish().unwrap();
        let batches = [vec![numbers(&[8, 64], 1.0, 3)]];
        let registry = Registry::empty().with(Ort);
        let ranges = Calibration::new(Method::MinMax).run(&plain, &registry, batches).unwrap();
        let options = PrecisionOptions::new(Precision::Int8).ranges(ranges);
        let model = plain.with_precision(target, options).unwrap();
        let layers = &model.precision_report().unwrap().layers;
        assert_eq!(layers[0].precision, "int8");
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        let gemm = nodes.iter().find(|node| node.op_type() == "Gemm").unwrap();
        assert_eq!(gemm.input.len(), adds, "{model}");
        if adds == 2 {
            continue;
        }
        let input = [numbers(&[8, 64], 1.0, 3)];
        let engine = Ort.build(&model).unwrap();
        let got = Ort.load(&engine).unwrap().run(&input).unwrap();
        near("gemm", &got[0], &run("in 32 bits", &plain, &input)[0], 0.02);
    }
}

/// Each method gives a limit that is right for numbers of this kind, and min-max the largest.
#[test]
fn every_method_of_calibration_serves() {
    if !has_ort("methods of calibration") {
        return;
    }
    let plain = model();
    let input = [numbers(&[4, 16, 8, 8], 1.0, 30)];
    let expected = run("in 32 bits", &plain, &input);
    for method in [Method::MinMax, Method::Entropy, Method::Percentile(0.9999), Method::Mse] {
        let ranges = ranges(&plain, method);
        assert!(ranges.iter().all(|(_, range)| range.limit <= range.largest()), "{method}");
        let got = run("int8", &quantized(&plain, Precision::Int8, &ranges), &input);
        let cosine = cosine(&got[0], &expected[0]);
        assert!(cosine > 0.999, "{method}: {cosine}");
    }
}

/// Two columns of an activation are a hundred times as large as all others, and their weights are small: the others have
/// no steps of 8 bits.
#[test]
fn columns_of_large_numbers_are_evened_out() {
    if !has_ort("columns evened out") {
        return;
    }
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [16usize, 64]).unwrap();
    let size = |column: usize| if [7, 40].contains(&column) { 100f32 } else { 1.0 };
    let sizes = HostTensor::from_vec([64], (0..64).map(size).collect::<Vec<_>>()).unwrap();
    let uneven = x.mul(&graph.constant("sizes", sizes)).unwrap();
    // `[in, out]`, and `[out, in]`.
    let [first, second] = [([64usize, 32], 1), ([32, 64], 2)].map(|(shape, seed)| {
        let mut weight = numbers(&shape, 0.2, seed).to_array::<f32>().unwrap();
        let column = |at: &ndarray::IxDyn| if shape[0] == 64 { at[0] } else { at[1] };
        weight.indexed_iter_mut().for_each(|(at, value)| *value /= size(column(&at)));
        graph.constant("weight", HostTensor::from(weight))
    });
    let bias = graph.constant("bias", numbers(&[32], 0.2, 3));
    let one = uneven.matmul(&first).unwrap();
    let other = uneven.linear_by_outputs(&second, Some(&bias)).unwrap();
    graph.output("one", &one).unwrap();
    graph.output("other", &other.tanh().unwrap()).unwrap();
    let plain = graph.finish().unwrap();
    let registry = Registry::empty().with(Ort);
    let batches = || (0..3).map(|seed| vec![numbers(&[16, 64], 1.0, seed)]);
    let ranges = Calibration::new(Method::MinMax).run(&plain, &registry, batches()).unwrap();
    let moments = Moments::measure(&plain, &registry, batches()).unwrap();
    let input = [numbers(&[16, 64], 1.0, 9)];
    let expected = run("in 32 bits", &plain, &input);
    let lost = |model: &OnnxModel| -> f64 {
        let got = run("8 bits", model, &input);
        got.iter().zip(&expected).map(|(got, own)| 1.0 - cosine(got, own)).fold(0.0, f64::max)
    };
    let asked = PrecisionOptions::new(Precision::Int8).ranges(ranges);
    let uneven = plain.with_precision(Target::tensorrt(), asked.clone()).unwrap();
    let asked = asked.moments(moments).smooth(0.5);
    let even = plain.with_precision(Target::tensorrt(), asked).unwrap();
    let report = even.precision_report().unwrap();
    let few = report.layers.iter().filter(|layer| layer.is_quantized()).count();
    assert_eq!(few, 2, "{report}");
    let plan = Plan::of("even", &even);
    assert_scaled_within("even", &even, &plan, 2);
    let codes = |kernel: &&Kernel| kernel.types.iter().filter(|own| *own == "int8").count() >= 2;
    assert_eq!(plan.products().filter(codes).count(), 2, "{:#?}", plan.kernels);
    let [uneven, even] = [&uneven, &even].map(lost);
    assert!(even < 1e-3 && even < 0.05 * uneven, "{even:e}, uneven {uneven:e}");
}

/// A weight that two layers share is quantized once, and an activation that two read.
#[test]
fn what_is_shared_is_quantized_once() {
    if !has_ort("shared weights") {
        return;
    }
    let graph = GraphBuilder::for_target("model", Target::tensorrt());
    let x = graph.input("x", DType::F32, [8usize, 64]).unwrap();
    let weight = graph.constant("weight", numbers(&[64, 64], 0.2, 1));
    let other = graph.constant("other", numbers(&[64, 64], 0.2, 2));
    let y = x.matmul(&weight).unwrap().tanh().unwrap();
    let (one, two) = (y.matmul(&weight).unwrap(), y.matmul(&other).unwrap());
    graph.output("y", &one.add(&two).unwrap()).unwrap();
    let plain = graph.finish().unwrap();
    let calibration = Calibration::new(Method::MinMax);
    let batches = [vec![numbers(&[8, 64], 1.0, 3)]];
    let ranges = calibration.run(&plain, &Registry::empty().with(Ort), batches).unwrap();
    let model = quantized(&plain, Precision::Int8, &ranges);
    let nodes = &model.proto().graph.as_ref().unwrap().node;
    let count = |operator| nodes.iter().filter(|node| node.op_type() == operator).count();
    assert_eq!((count("QuantizeLinear"), count("DequantizeLinear")), (2, 4), "{model}");
    let half = plain.with_precision(Target::tensorrt(), Precision::Fp16).unwrap();
    let weights = &half.proto().graph.as_ref().unwrap().initializer;
    assert_eq!(weights.len(), 2, "one of each: {half}");
    Plan::of("shared", &model);
    let input = [numbers(&[8, 64], 1.0, 3)];
    let cosine = cosine(&run("int8", &model, &input)[0], &run("fp32", &plain, &input)[0]);
    assert!(cosine > 0.9995, "{cosine}");
}
