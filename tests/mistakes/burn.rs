//! Mistakes of those who bring a model of Burn.

use std::sync::atomic::{AtomicU8, Ordering};

use accelerant::burn::OptimizeTrt;
use accelerant::{BackendKind, Dim, OptimizeOptions};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::page::{Section, mistake};

fn zeros<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::zeros(shape, &Device::flex())
}

fn on_tract() -> OptimizeOptions {
    OptimizeOptions::new().require(BackendKind::Tract)
}

#[test]
fn burn() {
    let mut page = Section::new("Burn");
    let net: Linear = LinearConfig::new(4, 3).init(&Device::flex());
    let x = || zeros([1, 4]);
    let any_batch = on_tract().dynamic_batch(1..=8);

    // The forward.
    mistake!(
        page,
        "A forward that reads a value, with Burn",
        net.optimize_trt(x(), |net: &Linear, x| {
            let mean = x.clone().mean().into_scalar::<f32>();
            net.forward(x - mean)
        })
    );
    mistake!(
        page,
        "A forward that branches on a value",
        net.optimize_trt(x(), |net: &Linear, x| {
            if x.clone().sum().into_scalar::<f32>() > 0.0 {
                net.forward(x)
            } else {
                net.forward(-x)
            }
        })
    );
    mistake!(
        page,
        "A forward that draws random numbers",
        net.optimize_trt(x(), |net: &Linear, x: Tensor<2>| {
            let noise = x.random_like(Distribution::Default);
            net.forward(x + noise)
        })
    );
    let calls = AtomicU8::new(1);
    mistake!(
        page,
        "A forward that counts its calls",
        net.optimize_trt(x(), |net: &Linear, x: Tensor<2>| {
            net.forward(x * f32::from(calls.fetch_add(1, Ordering::Relaxed)))
        })
    );
    let mask = x();
    mistake!(
        page,
        "A tensor of another device in the forward",
        net.optimize_trt(x(), |net: &Linear, x: Tensor<2>| net.forward(x * mask.clone()))
    );
    mistake!(
        page,
        "A forward that gives a tensor of its own",
        net.optimize_trt(x(), |_: &Linear, _: Tensor<2>| mask.clone())
    );
    mistake!(
        page,
        "An example that does not fit the first layer, with Burn",
        net.optimize_trt(zeros([1, 5]), |net: &Linear, x: Tensor<2>| net.forward(x))
    );
    mistake!(
        page,
        "A forward that gives no tensor",
        net.optimize_trt(x(), |_: &Linear, _: Tensor<2>| Vec::<Tensor<2>>::new())
    );
    mistake!(
        page,
        "A branch on the size of the batch",
        net.optimize_trt_with(
            x(),
            |net: &Linear, x: Tensor<2>| {
                let batch = x.dims()[0];
                if batch == 5 { net.forward(x).exp() } else { net.forward(x).tanh() }
            },
            &any_batch
        )
    );

    // The options.
    let forward = |net: &Linear, x: Tensor<2>| net.forward(x);
    let pixels = on_tract().dynamic_axis("pixels", 0, Dim::dynamic("n", 1..=8).unwrap());
    mistake!(
        page,
        "A dynamic axis of an input that the model does not have, with Burn",
        net.optimize_trt_with(x(), forward, &pixels)
    );
    mistake!(
        page,
        "An axis that the input does not have",
        net.optimize_trt_with(
            x(),
            forward,
            &on_tract().dynamic_axis(0, 3, Dim::dynamic("n", 1..=8).unwrap())
        )
    );
    mistake!(
        page,
        "One name for an input and an output",
        net.optimize_trt_with(x(), forward, &on_tract().input_names(["x"]).output_names(["x"]))
    );
    let two = |_: &Linear, (a, b): (Tensor<2>, Tensor<2>)| a.matmul(b.transpose());
    mistake!(
        page,
        "One symbol for two sizes",
        net.optimize_trt_with((zeros([2, 4]), zeros([3, 4])), two, &any_batch)
    );

    // The run.
    let fast = net.optimize_trt_with(x(), forward, &on_tract()).unwrap();
    mistake!(
        page,
        "A batch where the model has a fixed size, with Burn",
        fast.try_forward(zeros([2, 4]))
    );
    mistake!(page, "An input of another size, with Burn", fast.try_forward(zeros([1, 5])));
    mistake!(
        page,
        "An input of another type, with Burn",
        fast.try_forward(x().cast(FloatDType::F64))
    );
    let fast = net.optimize_trt_with(x(), forward, &any_batch).unwrap();
    mistake!(page, "A batch beyond the range, with Burn", fast.try_forward(zeros([9, 4])));
    page.finish();
}
