//! Candle's CUDA tensors in and out of a module, by address.

use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::candle::{CandleModule, Forward, OptimizeTrt, TensorOps};
use accelerant::cuda::without_captures;
use accelerant::{BackendKind, ErrorKind, OptimizeOptions, Registry};
use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::{Embedding, Linear};

use crate::{gpu, shared};

struct Net {
    first: Linear,
    second: Linear,
}

impl Net {
    fn new(device: &Device) -> Result<Self> {
        let layer = |from: usize, to: usize| -> Result<Linear> {
            let weight = random(0.2, (to, from), device)?;
            Ok(Linear::new(weight, Some(random(1.0, to, device)?)))
        };
        Ok(Self { first: layer(64, 128)?, second: layer(128, 10)? })
    }
}

impl Forward for Net {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.second.forward(&self.first.forward(xs)?.relu()?)
    }
}

fn options() -> OptimizeOptions {
    let backend = TensorRt::rtx().with_options(TensorRtOptions::default().tf32(false));
    let registry = Registry::empty().with(backend);
    OptimizeOptions::new().registry(registry).require(BackendKind::TensorRtRtx)
}

fn dynamic(net: &Net, example: &Tensor) -> CandleModule {
    net.optimize_trt_with(example, &options().dynamic_batch(1..=32)).unwrap()
}

/// Candle's default stream and one of its own.
fn devices() -> [Device; 2] {
    [Device::new_cuda, Device::new_cuda_with_stream]
        .map(|make| without_captures(|| make(0)).unwrap())
}

fn input(rows: usize, device: &Device) -> Tensor {
    random(1.0, (rows, 64), device).unwrap()
}

/// Made on the CPU: CUDA refuses random numbers on the device while an execution is captured.
fn random(std: f32, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    Tensor::randn(0f32, std, shape, &Device::Cpu)?.to_device(device)
}

fn assert_close(got: &Tensor, expected: &Tensor) {
    assert_eq!((got.dims(), got.dtype()), (expected.dims(), expected.dtype()));
    let values = |tensor: &Tensor| {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    for (i, (got, expected)) in values(got).iter().zip(&values(expected)).enumerate() {
        assert!((got - expected).abs() <= 2e-2 * (1.0 + expected.abs()), "{i}: {got} {expected}");
    }
}

#[test]
fn candle_tensors_stay_on_the_device() {
    if !gpu("candle_tensors_stay_on_the_device") {
        return;
    }
    let _shared = shared();
    for device in devices() {
        let net = Net::new(&device).unwrap();
        let fast = dynamic(&net, &input(2, &device));
        let mut results = Vec::new();
        for i in 0..100 {
            let x = input(1 + i % 32, &device);
            let y = fast.forward(&x).unwrap();
            assert!(y.device().same_device(&device));
            // Candle goes on with the output at once; the input is dropped while it is in use.
            let more = (&y + 1.0).unwrap();
            results.push((net.forward(&x).unwrap(), y, more));
        }
        for (expected, got, more) in &results {
            assert_close(got, expected);
            assert_close(more, &(expected + 1.0).unwrap());
        }
        let counters = fast.inference().cuda().unwrap().counters();
        assert_eq!((counters.host_copies, counters.device_copies), (0, 0), "{counters:?}");
        assert_eq!(counters.executions, 100, "{counters:?}");
        // Where executions are graphs, other sizes take a second one.
        assert!(counters.contexts <= 2, "{counters:?}");
    }
}

#[test]
fn candle_views_are_read_where_they_are() {
    if !gpu("candle_views_are_read_where_they_are") {
        return;
    }
    let _shared = shared();
    for device in devices() {
        let net = Net::new(&device).unwrap();
        let fast = dynamic(&net, &input(2, &device));
        let rows = input(40, &device);
        let transposed = random(1.0, (64, 8), &device).unwrap().t().unwrap();
        let wide = random(1.0, (8, 100), &device).unwrap();
        let views = [
            // 256 bytes a row: read in place.
            rows.narrow(0, 3, 8).unwrap(),
            transposed,
            wide.narrow(1, 7, 64).unwrap(),
            rows.get(5).unwrap().unsqueeze(0).unwrap(),
            rows.narrow(0, 0, 1).unwrap().broadcast_as((4, 64)).unwrap(),
        ];
        for view in &views {
            // Candle's own matmul takes contiguous tensors only.
            let expected = net.forward(&view.contiguous().unwrap()).unwrap();
            assert_close(&fast.forward(view).unwrap(), &expected);
        }
        let counters = fast.inference().cuda().unwrap().counters();
        assert_eq!((counters.host_copies, counters.device_copies), (0, 0), "{counters:?}");
        // A flat offset of three numbers is no address for TensorRT.
        let flat = random(1.0, 3 + 64, &device).unwrap();
        let view = flat.narrow(0, 3, 64).unwrap().unsqueeze(0).unwrap();
        assert_close(&fast.forward(&view).unwrap(), &net.forward(&view).unwrap());
        assert_eq!(fast.inference().cuda().unwrap().counters().device_copies, 1);
    }
}

#[test]
fn candle_indices_are_converted_on_the_device() {
    if !gpu("candle_indices_are_converted_on_the_device") {
        return;
    }
    struct Words(Embedding);
    impl Forward for Words {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            self.0.forward(xs)
        }
    }
    let _shared = shared();
    let device = Device::new_cuda(0).unwrap();
    let table = random(1.0, (50, 16), &device).unwrap();
    let net = Words(Embedding::new(table, 16));
    let x = Tensor::new(&[[1u32, 49, 7], [0, 3, 3]], &device).unwrap();
    let fast = net.optimize_trt_with(&x, &options()).unwrap();
    assert_close(&fast.forward(&x).unwrap(), &net.forward(&x).unwrap());
    assert_eq!(fast.inference().cuda().unwrap().counters().host_copies, 0);
}

#[test]
fn candle_tensors_of_elsewhere_are_refused_or_go_through_the_host() {
    if !gpu("candle_tensors_of_elsewhere_are_refused_or_go_through_the_host") {
        return;
    }
    let _shared = shared();
    let [device, other] = devices();
    let two = |inputs: &[&Tensor]| {
        CandleModule::of_fn(inputs, &options(), |inputs| Ok(vec![inputs[0].add(&inputs[1])?]))
    };
    let x = input(2, &device);
    let fast = two(&[&x, &x]).unwrap();
    assert_close(&fast.run(&[&x, &x]).unwrap()[0], &(&x + &x).unwrap());
    for elsewhere in [&Device::Cpu, &other] {
        let error = fast.run(&[&x, &input(2, elsewhere)]).unwrap_err();
        assert_eq!((error.kind(), error.tensor()), (ErrorKind::Device, Some("input_1")), "{error}");
    }
    // All on the CPU: through host memory, and the result is there again.
    let x = input(2, &Device::Cpu);
    let y = fast.run(&[&x, &x]).unwrap();
    assert!(y[0].device().is_cpu());
    assert_close(&y[0], &(&x + &x).unwrap());
    assert_eq!(fast.inference().cuda().unwrap().counters().host_copies, 3);
}
