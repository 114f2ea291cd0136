//! Modules on Burn's CUDA tensors, in the ways that a program may use them: compared with Burn itself on
//! the CPU. These are tests; they stand here because only this program is built with Burn's CUDA backend.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use accelerant::burn::{BurnModule, OptimizeTrt};
use accelerant::{DType, ErrorKind, OptimizeOptions};
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Bool, Device, Distribution, Int, Tensor};

use crate::burn::{device, difference, values};
use crate::{Precision, Result, Setting};

const FEATURES: usize = 48;

/// Of the largest value: TF32 on the device, and sums of 48.
const TF32: f64 = 5e-3;

#[derive(Module, Debug)]
struct Net {
    layers: [Linear; 2],
}

impl Net {
    fn new(device: &Device) -> Self {
        let layer = || LinearConfig::new(FEATURES, FEATURES).init(device);
        Self { layers: [layer(), layer()] }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers[1].forward(relu(self.layers[0].forward(x)))
    }
}

type Fast = BurnModule<Tensor<2>, Tensor<2>>;

/// A network on the device, itself on the CPU, and as a module.
struct Case {
    device: Device,
    net: Net,
    on_cpu: Net,
    fast: Fast,
    options: OptimizeOptions,
}

impl Case {
    fn new(setting: &Setting, device: &Device, cuda_graph: bool) -> Result<Self> {
        let net = Net::new(device);
        let options = setting.options(cuda_graph).dynamic_batch(1..=64);
        let fast =
            net.optimize_trt_with(Tensor::zeros([2, FEATURES], device), Net::forward, &options)?;
        let on_cpu = net.clone().to_device(&Device::flex());
        Ok(Self { device: device.clone(), net, on_cpu, fast, options })
    }

    fn input(&self, rows: usize) -> Tensor<2> {
        Tensor::random([rows, FEATURES], Distribution::Normal(0.0, 1.0), &self.device)
    }

    fn expected(&self, x: &Tensor<2>) -> Tensor<2> {
        self.on_cpu.forward(x.clone().to_device(&Device::flex()))
    }
}

fn assert_close<const D: usize>(got: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let [got, expected] = [got, expected].map(|tensor| values(tensor).expect("floats"));
    let off = difference(&got, &expected);
    assert!(off <= TF32, "{what}: {off:.1e} of the largest value off");
}

pub(crate) fn check(setting: &Setting) -> Result<()> {
    let device = device(setting.device, Precision::F32)?;
    for cuda_graph in [false, true] {
        let case = Case::new(setting, &device, cuda_graph)?;
        let checks: [(&str, fn(&Case)); 8] = [
            ("layouts", layouts),
            ("shapes in turn", shapes_in_turn),
            ("a chain with Burn's own operations", chain),
            ("threads", threads),
            ("dropped at once", dropped),
            ("refused inputs", refused),
            ("integers and bools", integers_and_bools),
            ("failures are told to the reader", failures),
        ];
        for (name, check) in checks {
            check(&case);
            println!("check, burn, graphs {cuda_graph}: {name}: ok");
        }
        let counters = case.fast.inference().device().map(|device| device.counters());
        println!("{counters:?}");
        assert!(counters.is_some_and(|counters| counters.host_copies == 2), "{counters:?}");
    }
    Ok(())
}

fn layouts(case: &Case) {
    let x = case.input(6);
    let columns = Tensor::<2>::random([FEATURES, 9], Distribution::Default, &case.device);
    let wide = case.input(20);
    let inputs = [
        ("contiguous", x.clone()),
        ("transposed", columns.transpose()),
        ("rows out of the middle", wide.clone().slice([5..14, 0..FEATURES])),
        ("computed just before", wide * 2.0 + 1.0),
    ];
    for (what, x) in inputs {
        let expected = case.expected(&x);
        assert_close(case.fast.forward(x.clone()), expected.clone(), what);
        assert_close(case.fast.try_forward(x.clone()).expect(what), expected.clone(), what);
        // Its last use: the memory may be used again as soon as the execution has read it.
        let got = case.fast.forward(x);
        drop(case.input(64));
        assert_close(got, expected, what);
    }
}

fn shapes_in_turn(case: &Case) {
    let inputs: Vec<_> = [1, 7, 64, 7, 3, 1].iter().map(|&rows| case.input(rows)).collect();
    let all: Vec<_> = (0..60).map(|i| (i % 6, case.fast.forward(inputs[i % 6].clone()))).collect();
    for (i, got) in all {
        assert_close(got, case.expected(&inputs[i]), "shapes in turn");
    }
}

fn chain(case: &Case) {
    let x = case.input(8);
    let (mut fast, mut slow) = (x.clone(), x.to_device(&Device::flex()));
    for _ in 0..5 {
        fast = relu(case.fast.forward(fast * 0.5)) - 0.25;
        slow = relu(case.on_cpu.forward(slow * 0.5)) - 0.25;
    }
    assert_close(fast, slow, "a chain");
    // With the network as Burn runs it on the device between.
    let x = case.input(8);
    let expected = case.on_cpu.forward(case.expected(&x));
    assert_close(case.net.forward(case.fast.forward(x.clone())), expected.clone(), "before Burn's");
    assert_close(case.fast.forward(case.net.forward(x)), expected, "after Burn's");
}

fn threads(case: &Case) {
    // Made by this thread, used by others: Burn has a stream for each.
    let inputs: Vec<_> = (0..8).map(|i| case.input(1 + i)).collect();
    let results: Vec<_> = thread::scope(|scope| {
        let runs = inputs.iter().map(|x| {
            scope.spawn(move || {
                let mut last = None;
                for _ in 0..200 {
                    last = Some(case.fast.forward(x.clone()));
                }
                last.expect("it ran")
            })
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().map(|run| run.join().expect("a thread")).collect()
    });
    for (x, got) in inputs.iter().zip(results) {
        assert_close(got, case.expected(x), "threads");
    }
}

fn dropped(case: &Case) {
    let x = case.input(5);
    let expected = case.expected(&x);
    let example = Tensor::zeros([2, FEATURES], &case.device);
    let module =
        case.net.optimize_trt_with(example, Net::forward, &case.options).expect("a module");
    let got: Vec<_> = (0..20).map(|_| module.forward(x.clone())).collect();
    drop((module, x));
    for got in got {
        assert_close(got, expected.clone(), "dropped at once");
    }
}

fn refused(case: &Case) {
    let error = case.fast.try_forward(case.input(65)).expect_err("too many rows");
    assert_eq!(error.kind(), ErrorKind::OutOfProfile, "{error}");
    let narrow = Tensor::zeros([2, FEATURES - 1], &case.device);
    let error = case.fast.try_forward(narrow.clone()).expect_err("too few columns");
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch, "{error}");
    let panic = catch_unwind(AssertUnwindSafe(|| case.fast.forward(narrow)));
    assert!(panic.is_err(), "forward panics where it is called");
    // A tensor of the CPU goes through the host, which nothing else here does.
    let x = Tensor::random([3, FEATURES], Distribution::Default, &Device::flex());
    assert_close(case.fast.forward(x.clone()), case.on_cpu.forward(x), "on the CPU");
}

fn integers_and_bools(case: &Case) {
    // 64-bit integers in the model, 32-bit ones on the device.
    let tokens = Tensor::<2, Int>::from_ints([[3, 1, 2], [-5, 9, 0]], &case.device);
    let module: BurnModule<Tensor<2, Int>, (Tensor<2, Int>, Tensor<2, Bool>)> = case
        .net
        .optimize_trt_with(
            tokens.clone(),
            |_: &Net, x: Tensor<2, Int>| (x.clone() * 2 + 1, x.greater_elem(1)),
            &case.options,
        )
        .expect("a module");
    for _ in 0..4 {
        let (doubled, greater) = module.forward(tokens.clone());
        // Used by Burn, which knows their types.
        let sum = (doubled.clone() + tokens.clone()).into_data().convert::<i64>();
        assert_eq!(sum.try_to_vec::<i64>().expect("integers"), [10, 4, 7, -14, 28, 1]);
        assert_eq!(doubled.dtype(), tokens.dtype());
        let less = greater.bool_not().into_data().convert::<bool>();
        let expected = [false, true, false, true, false, true];
        assert_eq!(less.try_to_vec::<bool>().expect("bools"), expected);
    }
    let types: Vec<_> = module.inference().signature().outputs.iter().map(|y| y.dtype).collect();
    assert!(types.contains(&DType::Bool), "{types:?}");
}

/// An output that no device has room for.
fn failures(case: &Case) {
    const WIDE: usize = 1 << 20;
    let options = case.options.clone().dynamic_batch(1..=1 << 20);
    let example = Tensor::<2>::zeros([2, 1], &case.device);
    let widen = |_: &Net, x: Tensor<2>| {
        let device = x.device();
        x * Tensor::<2>::ones([1, WIDE], &device)
    };
    let module: Fast = case.net.optimize_trt_with(example, widen, &options).expect("a module");
    let small = Tensor::<2>::ones([2, 1], &case.device);
    let large = Tensor::<2>::ones([1 << 20, 1], &case.device);
    for round in 0..3 {
        let error = module.try_forward(large.clone()).expect_err("4 TiB");
        println!("try_forward: {error}");
        // Where Burn puts nothing off, the call itself fails.
        let told = catch_unwind(AssertUnwindSafe(|| module.forward(large.clone()).try_into_data()));
        if let Ok(read) = told {
            let error = read.expect_err("4 TiB");
            if round == 0 {
                println!("forward, then a reader: {error}");
            }
        }
        let y = module.forward(small.clone()).slice([1..2, WIDE - 2..WIDE]);
        assert_eq!(values(y).expect("floats"), [1.0, 1.0], "the next one succeeds");
    }
}
