//! A framework's model has one key in every process: nothing that is drawn by chance, such as Burn's numbers of
//! parameters, may be in it.

use accelerant::OptimizeOptions;
use accelerant::Registry;

use super::harness::{Kept, Place, printed};

fn of_two_processes(framework: &str) {
    let place = Place::new();
    let used = || {
        let mut child = place.child();
        child.env("CACHE_TEST_FRAMEWORK", framework);
        printed(&child.output().unwrap())
    };
    let (first, second) = (used(), used());
    assert_eq!(
        (&first["result"], &second["result"]),
        (&"miss".into(), &"hit".into()),
        "{first} {second}"
    );
    assert_eq!(first["key"], second["key"]);
}

/// What the other process makes: `None` where the framework is not one of these.
pub(crate) fn made(framework: &str, backend: &Kept, options: &OptimizeOptions) -> Option<String> {
    let options = options.clone().registry(Registry::empty().with(backend.clone()));
    let report = match framework {
        "burn" => of_burn(&options),
        "candle" => of_candle(&options),
        _ => return None,
    };
    Some(serde_json::to_string(&report.cache).unwrap())
}

#[test]
fn a_burn_model_has_one_key() {
    of_two_processes("burn");
}

pub(crate) fn of_burn(options: &OptimizeOptions) -> accelerant::report::ModuleReport {
    use accelerant::burn::OptimizeTrt;
    use burn::module::Module;
    use burn::nn::conv::{Conv2d, Conv2dConfig};
    use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig};
    use burn::tensor::{Device, Tensor, activation::gelu};

    #[derive(Module, Debug)]
    struct Net {
        conv: Conv2d,
        norm: BatchNorm,
        layers: Vec<Linear>,
    }

    let device = Device::default();
    let half = Initializer::Constant { value: 0.5 };
    let linear = || LinearConfig::new(32, 32).with_initializer(half.clone()).init(&device);
    let net = Net {
        conv: Conv2dConfig::new([3, 8], [3, 3]).with_initializer(half.clone()).init(&device),
        norm: BatchNormConfig::new(8).init(&device),
        layers: (0..3).map(|_| linear()).collect(),
    };
    let forward = |net: &Net, x: Tensor<4>| {
        let x = net.norm.forward(net.conv.forward(x)).reshape([-1, 32]);
        net.layers.iter().fold(x, |x, layer| gelu(layer.forward(x)))
    };
    let x = Tensor::<4>::zeros([1, 3, 10, 10], &device);
    net.optimize_trt_with(x, forward, options).unwrap().inference().report()
}

#[test]
fn a_candle_model_has_one_key() {
    of_two_processes("candle");
}

pub(crate) fn of_candle(options: &OptimizeOptions) -> accelerant::report::ModuleReport {
    use accelerant::candle::{CandleModule, TensorOps};
    use candle_core::{Device, Tensor};

    let weight = Tensor::full(0.5f32, (32, 32), &Device::Cpu).unwrap();
    let x = Tensor::zeros((4, 32), candle_core::DType::F32, &Device::Cpu).unwrap();
    let module = CandleModule::of_fn([&x, &weight], options, |inputs| {
        let y = inputs[0].matmul(&inputs[1])?.relu()?;
        Ok(vec![y.sum(1)?])
    });
    module.unwrap().inference().report()
}
