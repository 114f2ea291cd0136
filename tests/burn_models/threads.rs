//! One engine on several contexts at once, and again and again: what is computed must not depend on who
//! else computes. Needs a GPU.

use std::thread;

use accelerant::Registry;
use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::burn::BurnGraph;
use accelerant::{BackendKind, HostTensor, InferenceModule, OptimizeOptions};
use models::resnet::ResNet;

use crate::{common, device, host, input, models, randomized, to_f64};

/// Other kernels round in other places.
const ROUNDING: f64 = 3e-3;

fn difference(got: &[HostTensor], expected: &[f64]) -> f64 {
    // What is not a number counts as larger than all that are.
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.map(f64::abs).max_by(f64::total_cmp).unwrap_or_default()
    };
    let got = to_f64(&got[0]);
    largest(&mut got.iter().zip(expected).map(|(got, expected)| got - expected))
        / largest(&mut expected.iter().copied())
}

#[test]
fn a_deep_network_computes_the_same_beside_itself() {
    if !common::runs("a_deep_network_computes_the_same_beside_itself", &TensorRt::rtx()) {
        return;
    }
    let net = randomized(ResNet::new_50(1000, &device()));
    let x = input([1, 3, 224, 224], 5);
    let expected = to_f64(&host(net.forward(x.clone()))[0]);
    let options = OptimizeOptions::new();
    let graph = BurnGraph::capture(&net, &x, |net: &ResNet, x| net.forward(x), &options).unwrap();
    let inputs = host(x);
    let mut wrong = Vec::new();
    for (name, options) in [
        ("as it is", TensorRtOptions::default()),
        ("without TF32", TensorRtOptions::default().tf32(false)),
        ("for CUDA graphs", TensorRtOptions::default().cuda_graph(true)),
        ("one context", TensorRtOptions::default().max_contexts(1)),
        ("shared scratch memory", TensorRtOptions::default().shared_scratch(true)),
    ] {
        let registry = Registry::empty().with(TensorRt::rtx().with_options(options));
        let options = OptimizeOptions::new().registry(registry).require(BackendKind::TensorRtRtx);
        let module =
            InferenceModule::compile_with(|target| graph.to_onnx(target), &options).unwrap();
        let run = || difference(&module.run(&inputs).unwrap(), &expected);
        let alone: Vec<_> = (0..10).map(|_| run()).collect();
        let beside: Vec<f64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10).map(|_| run()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let after: Vec<_> = (0..10).map(|_| run()).collect();
        let told = |differences: &[f64]| -> Vec<String> {
            differences.iter().map(|off| format!("{off:.1e}")).collect()
        };
        let [told_alone, told_beside, told_after] = [&alone, &beside, &after].map(|all| told(all));
        eprintln!("{name}: alone {told_alone:?}, beside {told_beside:?}, after {told_after:?}");
        for (when, differences) in [("alone", alone), ("beside", beside), ("after", after)] {
            let most = differences.into_iter().max_by(f64::total_cmp).unwrap_or(f64::NAN);
            if most.is_nan() || most > ROUNDING {
                wrong.push(format!("{name}, {when}: {most:.1e} of the largest value off"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
