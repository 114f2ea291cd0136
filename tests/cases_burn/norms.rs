//! Normalization.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};

use crate::harness::*;

#[derive(Module, Debug)]
struct Norm {
    conv: Conv2d,
    norm: BatchNorm,
}

#[test]
fn batch_norm_exports_in_its_running_form() {
    let trained = {
        let device = device().autodiff();
        let norm = Norm {
            conv: Conv2dConfig::new([3, 4], [1, 1]).init(&device),
            norm: BatchNormConfig::new(4).init(&device),
        };
        // Two passes in training give the running mean and variance values of their own.
        for _ in 0..2 {
            let x = input([4, 3, 5, 5], 3).to_device(&device);
            norm.norm.forward(norm.conv.forward(x));
        }
        norm
    };
    case("batch norm", &trained.valid(), [2, 3, 5, 4], |m: &Norm, x| {
        m.norm.forward(m.conv.forward(x))
    });
    // A module that still is on an autodiff device exports the same way.
    let graph = BurnGraph::capture(
        &trained,
        &input([2, 3, 5, 4], 1),
        |m: &Norm, x| m.norm.forward(m.conv.forward(x)),
        &OptimizeOptions::new(),
    );
    let x = input([2, 3, 5, 4], 9);
    let valid = trained.valid();
    let expected = host(valid.norm.forward(valid.conv.forward(x.clone())));
    check("autodiff module", |c| graph.as_ref().unwrap().to_onnx(c), &host(x), &expected);
}
