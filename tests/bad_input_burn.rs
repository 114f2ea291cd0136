//! Burn forward functions that have no place in a graph, and calls that do not fit: a typed error
//! for each, never a panic, never a wrong model.
#![cfg(feature = "burn")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use accelerant::burn::{BurnGraph, BurnTensors, OptimizeTrt};
use accelerant::export::ParserCheck;
use accelerant::{BackendKind, Dim, Error, ErrorKind, OptimizeOptions};
use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Distribution, Int, Tensor};
use common::{portable, random};

#[derive(Module, Debug, Default)]
struct Nothing {
    #[module(skip)]
    nothing: (),
}

fn input<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let values = random(&shape, 1).into_raw_vec_and_offset().0;
    Tensor::from_data(burn::tensor::TensorData::new(values, shape), &Device::flex())
}

fn refused_with<I: BurnTensors, O: BurnTensors>(
    example: I,
    options: &OptimizeOptions,
    f: impl Fn(I) -> O,
) -> Error {
    let forward = |_: &Nothing, x| f(x);
    Nothing::default().optimize_trt_with(example, forward, options).expect_err("it is refused")
}

fn refused<O: BurnTensors>(f: impl Fn(Tensor<2>) -> O) -> Error {
    refused_with(input([2, 3]), &OptimizeOptions::new(), f)
}

#[test]
fn control_flow_on_values() {
    let error =
        refused(|x: Tensor<2>| if x.clone().sum().into_scalar::<f32>() > 0.0 { x } else { -x });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("reads the value of a tensor"), "{error}");
    // A function of Burn's own that reads them is named.
    let error = refused(|x: Tensor<2>| x.int().one_hot::<3>(5));
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("`one_hot`, `argwhere`"), "{error}");
    // The values of inputs are not zeros that happen to be there, either.
    let error = refused(|x: Tensor<2>| {
        let data = x.to_data();
        Tensor::<2>::from_data(data, &x.device())
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("reads the value of a tensor"), "{error}");
}

#[test]
fn random_numbers() {
    let error = refused(|x: Tensor<2>| {
        let noise = x.random_like(Distribution::Default);
        x + noise
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("Random"), "{error}");
}

#[test]
fn state_outside_of_the_module() {
    let calls = AtomicUsize::new(0);
    let error = refused(|x: Tensor<2>| x * (calls.fetch_add(1, Ordering::Relaxed) as f32 + 2.0));
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("MulScalar"), "{error}");
    let calls = AtomicUsize::new(0);
    let error = refused(|x: Tensor<2>| {
        let value = calls.fetch_add(1, Ordering::Relaxed) as f32;
        let constant = Tensor::<2>::from_data([[value, 1.0, 2.0]], &x.device());
        x + constant
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("constant"), "{error}");
    let calls = AtomicUsize::new(0);
    let error = refused(|x: Tensor<2>| vec![x; calls.fetch_add(1, Ordering::Relaxed) + 1]);
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("number of its outputs"), "{error}");
}

#[test]
fn tensors_of_another_device() {
    let outside = input([2, 3]);
    let error = refused(|x: Tensor<2>| x + outside.clone());
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidModel, Some("forward")));
    assert!(error.to_string().contains("`x.device()`"), "{error}");
    let error = refused(|x: Tensor<2>| Tensor::cat(vec![x, outside.clone()], 0));
    assert!(error.to_string().contains("`x.device()`"), "{error}");
    let error = refused(|_: Tensor<2>| outside.clone());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("capture device"), "{error}");
}

#[test]
fn a_tensor_kept_from_an_earlier_capture() {
    let kept = std::sync::Mutex::new(None);
    let error = refused(|x: Tensor<2>| {
        let y = x.clone().tanh();
        match kept.lock().unwrap().replace(y.clone()) {
            Some(before) => x + before,
            None => x + y,
        }
    });
    assert_eq!(error.operation(), Some("forward"), "{error}");
}

#[test]
fn a_panic_in_forward() {
    let error = refused(|x: Tensor<2>| -> Tensor<2> { panic!("no kernel for {:?}", x.dims()) });
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidModel, Some("forward")));
    assert!(error.to_string().contains("no kernel for [2, 3]"), "{error}");
    let error = refused(|x: Tensor<2>| x.matmul(Tensor::ones([2, 2], &Device::flex())));
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidModel, Some("forward")));
    // The device of the capture is as good as new.
    assert!(Nothing::default().optimize_trt(input([2, 3]), |_, x: Tensor<2>| x.tanh()).is_ok());
}

#[test]
fn captures_within_captures_and_from_threads() {
    let nested = |_: &Nothing, x: Tensor<2>| {
        let inner = |_: &Nothing, x: Tensor<2>| x * 2;
        let options = OptimizeOptions::new();
        let graph = BurnGraph::capture(&Nothing::default(), &input([4, 5]), inner, &options);
        graph.expect("the inner capture is on a device of its own");
        x + 1
    };
    let fast = Nothing::default().optimize_trt(input([2, 3]), nested).unwrap();
    let expected: Tensor<2> = input([2, 3]) + 1;
    fast.forward(input([2, 3]))
        .into_data()
        .assert_approx_eq::<f32>(&expected.into_data(), Default::default());
    std::thread::scope(|scope| {
        for factor in 1..=8 {
            scope.spawn(move || {
                let options = OptimizeOptions::new().require(portable());
                let forward = move |_: &Nothing, x: Tensor<2>| x * factor;
                let fast =
                    Nothing::default().optimize_trt_with(input([2, 3]), forward, &options).unwrap();
                let expected: Tensor<2> = input([2, 3]) * factor;
                fast.forward(input([2, 3]))
                    .into_data()
                    .assert_approx_eq::<f32>(&expected.into_data(), Default::default());
            });
        }
    });
}

#[test]
fn many_captures_do_not_use_up_devices() {
    // Burn counts 65,536 capture devices in a process, then panics.
    for _ in 0..200 {
        let options = OptimizeOptions::new();
        let forward = |_: &Nothing, x: Tensor<2>| x + 1;
        BurnGraph::capture(&Nothing::default(), &input([2, 3]), forward, &options).unwrap();
    }
    let text = format!("{:?}", Device::capture());
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    assert!(number.parse::<usize>().unwrap() < 100, "{text}");
}

#[test]
fn a_forward_without_tensors() {
    let error = refused(|_: Tensor<2>| Vec::<Tensor<2>>::new());
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidModel, Some("forward")));
}

#[test]
fn a_symbol_bound_to_two_sizes() {
    let batch = OptimizeOptions::new().dynamic_batch(1..=8);
    let error =
        refused_with((input([2, 3]), input([4, 3])), &batch, |(a, b): (Tensor<2>, Tensor<2>)| {
            (a, b)
        });
    let found = (error.kind(), error.tensor(), error.axis());
    assert_eq!(found, (ErrorKind::ShapeMismatch, Some("input_1"), Some(0)), "{error}");
    assert!(error.to_string().contains("`batch` is 4 here, but 2 in `input_0`"), "{error}");

    let dim = |range| Dim::dynamic("n", range).unwrap();
    let options =
        OptimizeOptions::new().dynamic_axis(0, 0, dim(1..=8)).dynamic_axis(0, 1, dim(1..=9));
    let error = refused_with(input([3, 3]), &options, |x: Tensor<2>| x);
    assert_eq!((error.kind(), error.axis()), (ErrorKind::InvalidArgument, Some(1)), "{error}");

    let options = OptimizeOptions::new().dynamic_axis("pixels", 0, dim(1..=8));
    let error = refused_with(input([3, 3]), &options, |x: Tensor<2>| x);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error.to_string().contains("pixels") && error.to_string().contains("input_0"),
        "{error}"
    );
}

#[test]
fn names_that_clash() {
    let options = OptimizeOptions::new().input_names(["x"]).output_names(["x"]);
    let error = refused_with(input([2, 3]), &options, |x: Tensor<2>| x.tanh());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let options = OptimizeOptions::new().input_names(["x", "y"]);
    let error = refused_with(input([2, 3]), &options, |x: Tensor<2>| x.tanh());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn inputs_that_do_not_fit_at_run_time() {
    let options = OptimizeOptions::new().require(portable()).input_names(["x", "i"]);
    let ids = Tensor::<1, Int>::from_data([0, 1], &Device::flex());
    let gather = |_: &Nothing, (x, i): (Tensor<2>, Tensor<1, Int>)| x.select(0, i);
    let fast = Nothing::default()
        .optimize_trt_with((input([2, 3]), ids.clone()), gather, &options)
        .unwrap();
    assert!(fast.try_forward((input([2, 3]), ids.clone())).is_ok());
    let error = fast.try_forward((input([2, 4]), ids.clone())).unwrap_err();
    assert_eq!((error.tensor(), error.axis()), (Some("x"), Some(1)), "{error}");
    let half = ids.clone().cast(burn::tensor::IntDType::I8);
    let error = fast.try_forward((input([2, 3]), half)).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some("i")), "{error}");
    let twice = input([2, 3]).cast(burn::tensor::FloatDType::F64);
    let error = fast.try_forward((twice, ids)).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some("x")), "{error}");
}

#[derive(Module, Debug)]
struct Scaled {
    factor: Param<Tensor<1>>,
}

#[test]
fn parameters_that_forward_reads() {
    let module = Scaled { factor: Param::from_tensor(input([1])) };
    let forward = |m: &Scaled, x: Tensor<2>| x * m.factor.val().into_scalar::<f32>();
    let error = module.optimize_trt(input([2, 3]), forward).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("reads the value of a tensor"), "{error}");
}

#[test]
fn a_branch_on_a_size_between() {
    let wide = OptimizeOptions::new().dynamic_batch(1..=64);
    let error = refused_with(input([2, 3]), &wide, |x: Tensor<2>| match x.dims()[0] {
        20..=40 => x.exp(),
        _ => x.tanh(),
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    let text = error.to_string();
    assert!(text.contains("Tanh or Exp") && text.contains("`batch` = "), "{text}");
    // What programs ask most of a size.
    let large = || Dim::dynamic("n", 1..=5000).unwrap();
    let branches: [fn(usize) -> bool; 8] = [
        |n| n == 1,
        |n| n == 17,
        |n| n % 2 == 0,
        |n| n % 7 == 3,
        |n| n > 128,
        |n| n >= 1024,
        |n| n >= 5000,
        |n| n.is_power_of_two(),
    ];
    for (i, branch) in branches.into_iter().enumerate() {
        let forward =
            move |x: Tensor<2>| if branch(x.dims()[0]) { x.exp() } else { x.clone().tanh() };
        let options = OptimizeOptions::new().dynamic_axis(0, 0, large());
        let text = refused_with(input([2, 3]), &options, forward).to_string();
        assert!(text.contains("depends on the sizes of the inputs"), "{i}: {text}");
        // Of one of two symbols, too.
        let two = options.dynamic_axis(0, 1, Dim::dynamic("m", 1..=100).unwrap());
        let text = refused_with(input([2, 3]), &two, forward).to_string();
        assert!(text.contains("depends on the sizes of the inputs"), "{i}: {text}");
    }
    // Of a small range no size is left out.
    let small = OptimizeOptions::new().dynamic_batch(1..=8);
    let error =
        refused_with(
            input([2, 3]),
            &small,
            |x: Tensor<2>| {
                if x.dims()[0] == 5 { x * 2.0 } else { x * 3.0 }
            },
        );
    assert!(error.to_string().contains("`batch` = 5"), "{error}");
    // Which tensors are returned counts as well.
    let error = refused_with(input([2, 3]), &small, |x: Tensor<2>| {
        let (a, b) = (x.clone().exp(), x.clone().tanh());
        if x.dims()[0] == 5 { (a, b) } else { (b, a) }
    });
    assert!(error.to_string().contains("which tensors it returns"), "{error}");
    // A mask made on the host is another one for each size.
    let error = refused_with(input([2, 3]), &small, |x: Tensor<2>| {
        let rows = x.dims()[0];
        let weights: Vec<f32> = (0..rows).map(|row| 1.0 / (row + 1) as f32).collect();
        let data = burn::tensor::TensorData::new(weights, [rows, 1]);
        x.clone() * Tensor::<2>::from_data(data, &x.device())
    });
    assert!(error.to_string().contains("a constant of shape"), "{error}");
    // A size that is cut off somewhere.
    let error = refused_with(input([2, 3]), &wide, |x: Tensor<2>| {
        let rows = x.dims()[0].min(30);
        x.narrow(0, 0, rows)
    });
    assert!(error.to_string().contains("follow from no input"), "{error}");
}

#[test]
fn a_branch_on_a_combination_is_seen_where_every_size_is_tried() {
    let forward = |_: &Nothing, x: Tensor<2>| match x.dims() {
        [13, 21] => x.exp(),
        _ => x.tanh(),
    };
    let options = |max: usize| {
        let options =
            OptimizeOptions::new().dynamic_axis(0, 0, Dim::dynamic("n", 1..=max).unwrap());
        options.dynamic_axis(0, 1, Dim::dynamic("m", 2..=30).unwrap()).require(portable())
    };
    // Known not to be seen otherwise; where it is some day, the documents have to say so.
    assert!(Nothing::default().optimize_trt_with(input([2, 3]), forward, &options(20)).is_ok());
    let every = |max| {
        let options = options(max).probe_every_size(true);
        refused_with(input([2, 3]), &options, |x: Tensor<2>| forward(&Nothing::default(), x))
    };
    let error = every(20);
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    let text = error.to_string();
    assert!(text.contains("Tanh or Exp") && text.contains("`n` = 13, `m` = 21"), "{text}");
    assert_eq!(every(1000).kind(), ErrorKind::InvalidArgument);
}

#[test]
fn sizes_at_which_burn_itself_fails_are_left_out() {
    let even = OptimizeOptions::new().dynamic_axis(0, 0, Dim::dynamic("n", 2..=64).unwrap());
    let forward = |_: &Nothing, x: Tensor<2>| {
        assert!(x.dims()[0].is_multiple_of(2), "an even number of rows");
        x.tanh()
    };
    let fast = Nothing::default()
        .optimize_trt_with(input([4, 3]), forward, &even.require(portable()))
        .unwrap();
    let got = fast.forward(input([6, 3]));
    let expected = forward(&Nothing::default(), input([6, 3]));
    got.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
}

#[derive(Module, Debug)]
struct Blocks {
    blocks: Vec<burn::nn::Linear>,
}

#[test]
fn everything_refused_is_reported_at_once() {
    let layer = || burn::nn::LinearConfig::new(3, 3).init(&Device::flex());
    let module = Blocks { blocks: vec![layer(), layer(), layer()] };
    let noisy = |m: &Blocks, x: Tensor<2>| {
        let mut x = m.blocks[0].forward(x);
        for block in &m.blocks[1..] {
            let noise = x.random_like(Distribution::Default);
            x = block.forward(x.tanh() + noise);
        }
        // What follows from a refused operation is looked at, too.
        let last = x.random_like(Distribution::Default);
        x * last
    };
    let report = module.check_trt(input([2, 3]), noisy).unwrap();
    assert!(!report.is_exportable());
    let places: Vec<_> = report
        .refusals
        .iter()
        .map(|r| (r.operation.as_str(), r.module.as_str(), r.position))
        .collect();
    assert_eq!(
        places.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(),
        [("Random", "blocks"), ("Random", "blocks"), ("Random", ""),]
    );
    assert!(places.windows(2).all(|pair| pair[0].2 < pair[1].2), "{places:?}");
    let text = report.to_string();
    assert!(text.starts_with(&format!("3 of {} operations", report.operations)), "{text}");
    assert!(text.contains("3 times, in blocks (operation "), "{text}");
    // The error of the export has them all.
    let error = module.optimize_trt(input([2, 3]), noisy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains(&text), "{error}\n{text}");

    let plain = |m: &Blocks, x: Tensor<2>| m.blocks[0].forward(x);
    let report = module.check_trt(input([2, 3]), plain).unwrap();
    assert!(report.is_exportable());
    let text = report.to_string();
    assert!(text.starts_with(&format!("all {} operations can be", report.operations)), "{text}");
    // A parser is asked only where there is a model to read, and a registry has one.
    let ort = OptimizeOptions::new().require(portable());
    let report = module.check_trt_with(input([2, 3]), plain, &ort).unwrap();
    assert!(matches!(&report.parser, ParserCheck::NotAsked(why) if why.contains("no backend")));
    assert!(report.to_string().contains("TensorRT's parser was not asked"), "{report}");
    // One dynamic size that is refused does not make the rest be.
    let dynamic = OptimizeOptions::new().dynamic_batch(1..=4);
    let report = module.check_trt_with(input([2, 3]), noisy, &dynamic).unwrap();
    assert_eq!(report.refusals.len(), 3, "{report}");
}

/// What every size of a picture is exported with, where the batch is not.
fn heights() -> OptimizeOptions {
    OptimizeOptions::new().dynamic_axis(0, 2, Dim::dynamic("height", 4..=32).unwrap())
}

#[test]
fn windows_that_depend_on_a_dynamic_size() {
    use burn::tensor::module::{adaptive_avg_pool2d, avg_pool2d, interpolate};
    use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions};
    let of = |f: fn(Tensor<4>) -> Tensor<4>| refused_with(input([1, 2, 8, 6]), &heights(), f);
    let error = of(|x| adaptive_avg_pool2d(x, [4, 3]));
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let text = error.to_string();
    assert!(text.contains("AdaptiveAvgPool2d") && text.contains("axis 2"), "{text}");
    // Windows as high as the picture, and as many as it has rows.
    let error = of(|x| {
        let height = x.dims()[2];
        avg_pool2d(
            x,
            AvgPoolOptions {
                kernel_size: [height, 1],
                stride: [1, 1],
                padding: [(0, 0); 2],
                count_include_pad: true,
                ceil_mode: false,
            },
        )
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let error = of(|x| {
        let height = x.dims()[2];
        adaptive_avg_pool2d(x.narrow(2, 0, 4), [height, 3])
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    let error = of(|x| {
        let height = x.dims()[2];
        let lanczos = InterpolateOptions::new(InterpolateMode::Lanczos3);
        interpolate(x, lanczos.with_output_size([2 * height, 6]))
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    assert!(error.to_string().contains("Lanczos"), "{error}");
    // How many are taken of a dynamic axis is a size, too.
    let error = of(|x| {
        let height = x.dims()[2];
        x.topk(height / 2, 2)
    });
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
}

#[test]
fn an_output_that_depends_on_no_input() {
    let forward =
        |_: &Nothing, x: Tensor<2>| Tensor::<2>::from_data([[1.0, 2.0, 3.0]], &x.device()) * 2;
    let options = OptimizeOptions::new().dynamic_batch(1..=8);
    let options = options.require(portable());
    let fast = Nothing::default().optimize_trt_with(input([2, 3]), forward, &options).unwrap();
    let signature = fast.inference().signature().to_string();
    assert_eq!(signature, "(input_0: f32 [batch, 3]) -> (output_0: f32 [1, 3])");
    for batch in [1, 2, 8] {
        let got = fast.forward(input([batch, 3])).into_data();
        got.assert_approx_eq::<f32>(&[[2.0, 4.0, 6.0]].into(), Default::default());
    }
    // It is checked like any other input.
    let error = fast.try_forward(input([9, 3])).unwrap_err();
    assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)), "{error}");
}

/// The types of a module tell kinds apart; behind them, tensors of the host are checked.
#[test]
fn inputs_of_another_kind() {
    use accelerant::HostTensor;
    let options = OptimizeOptions::new().require(portable()).input_names(["x", "i", "m"]);
    let (ids, mask) =
        (Tensor::<1, Int>::from_data([0, 1], &Device::flex()), input([2, 3]).greater_elem(0.0));
    let forward = |_: &Nothing, (x, i, m): (Tensor<2>, Tensor<1, Int>, Tensor<2, Bool>)| {
        x.mask_fill(m, 0.0).select(0, i)
    };
    let fast = Nothing::default()
        .optimize_trt_with((input([2, 3]), ids, mask), forward, &options)
        .unwrap();
    let float = HostTensor::from_vec([2, 3], vec![1f32; 6]).unwrap();
    let floats = HostTensor::from_vec([2], vec![1f32; 2]).unwrap();
    let int = HostTensor::from_vec([2], vec![1i32; 2]).unwrap();
    let ints = HostTensor::from_vec([2, 3], vec![1i64; 6]).unwrap();
    let bools = HostTensor::from_vec([2, 3], vec![false; 6]).unwrap();
    let run = |x: &HostTensor, i: &HostTensor, m: &HostTensor| {
        fast.inference().run(&[x.clone(), i.clone(), m.clone()])
    };
    assert!(run(&float, &int, &bools).is_ok());
    for (name, result) in [
        ("x", run(&ints, &int, &bools)),
        ("x", run(&bools, &int, &bools)),
        ("i", run(&float, &floats, &bools)),
        ("m", run(&float, &int, &float)),
        ("m", run(&float, &int, &ints)),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.tensor()), (ErrorKind::DTypeMismatch, Some(name)));
    }
}

#[test]
fn a_symbol_bound_to_two_sizes_at_run_time() {
    let options = OptimizeOptions::new().dynamic_batch(1..=8).require(portable());
    let forward = |_: &Nothing, (a, b): (Tensor<2>, Tensor<2>)| a + b;
    let fast = Nothing::default()
        .optimize_trt_with((input([2, 3]), input([2, 3])), forward, &options)
        .unwrap();
    assert!(fast.try_forward((input([4, 3]), input([4, 3]))).is_ok());
    // Burn itself would broadcast the first of these.
    for batch in [1, 5] {
        let error = fast.try_forward((input([4, 3]), input([batch, 3]))).unwrap_err();
        let found = (error.kind(), error.tensor(), error.axis());
        assert_eq!(found, (ErrorKind::ShapeMismatch, Some("input_1"), Some(0)), "{error}");
    }
}

/// TensorRT has at most eight axes, which ONNX does not mind.
#[test]
fn what_the_parser_refuses_is_reported_with_its_operation() {
    let layer = || burn::nn::LinearConfig::new(3, 3).init(&Device::flex());
    let module = Blocks { blocks: vec![layer(), layer()] };
    let forward = |m: &Blocks, x: Tensor<2>| {
        let x = m.blocks[0].forward(x).exp();
        let x = x.reshape([1, 1, 1, 1, 1, 1, 1, 2, 3]).tanh().reshape([2, 3]);
        m.blocks[1].forward(x)
    };
    let rtx = OptimizeOptions::new().require(BackendKind::TensorRtRtx);
    let report = module.check_trt_with(input([2, 3]), forward, &rtx).unwrap();
    let ParserCheck::Asked(library) = &report.parser else {
        assert!(report.is_exportable(), "{report}");
        return eprintln!("not run: {report}");
    };
    assert!(!report.is_exportable() && library.contains("TensorRT-RTX"), "{report}");
    let places: Vec<_> = report
        .refusals
        .iter()
        .map(|r| (r.operation.as_str(), r.module.as_str(), r.position))
        .collect();
    assert_eq!(places, [("Reshape", "blocks", 2)], "{report}");
    let text = report.to_string();
    assert!(text.starts_with("1 of 6 operations are refused by TensorRT-RTX"), "{text}");
    assert!(text.contains("dimensions, not 9") && !text.contains("driver"), "{text}");
    let fine = |m: &Blocks, x: Tensor<2>| m.blocks[0].forward(x);
    let report = module.check_trt_with(input([2, 3]), fine, &rtx).unwrap();
    assert!(report.is_exportable() && matches!(report.parser, ParserCheck::Asked(_)), "{report}");
    assert!(report.to_string().ends_with("reads them"), "{report}");
}
