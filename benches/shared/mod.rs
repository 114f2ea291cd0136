//! What the benches of backends share: which backends there are, and a network made by hand.

#![allow(dead_code, reason = "each bench takes a part")]

use std::sync::Arc;

use accelerant::Registry;
use accelerant::backend::Backend;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions};
use ndarray::Array2;

/// The backends that run here. The others are named with the reason.
pub(crate) fn running() -> Vec<Arc<dyn Backend>> {
    let registry = Registry::default();
    let usable = registry.backends().iter().filter(|backend| match backend.probe() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("left out: {}: {reason}", backend.kind());
            false
        }
    });
    usable.cloned().collect()
}

/// Numbers from -1 to 1 that repeat late, others for each seed: TensorRT keeps equal weights once.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + 13 * seed) % 2003) as f32 / 1001.0 - 1.0).collect()
}

pub(crate) fn rows(rows: usize, width: usize) -> HostTensor {
    HostTensor::from_vec([rows, width], numbers(rows * width, 1)).expect("as many numbers")
}

/// Fully connected layers with rectifiers, `[batch, width]` to the same, up to `largest` rows.
pub(crate) fn layers(
    target: Target,
    (width, depth, largest): (usize, usize, usize),
) -> accelerant::Result<OnnxModel> {
    let graph = GraphBuilder::for_target("layers", target);
    let batch = Dim::dynamic("batch", 1..=largest)?;
    let mut x = graph.input("x", DType::F32, [batch, Dim::Fixed(width)])?;
    for i in 0..depth {
        let weight = numbers(width * width, i + 2).into_iter().map(|v| v / (width as f32).sqrt());
        let weight = Array2::from_shape_vec((width, width), weight.collect()).expect("a square");
        x = x.matmul(&graph.weight(&format!("weight{i}"), weight)?)?.relu()?;
    }
    graph.output("y", &x)?;
    graph.finish()
}

/// A module of such layers on one backend.
pub(crate) fn module_on(
    backend: &dyn Backend,
    sizes: (usize, usize, usize),
) -> accelerant::Result<InferenceModule> {
    module_from(Registry::default(), backend, sizes)
}

/// The same with backends of one's own options.
pub(crate) fn module_from(
    registry: Registry,
    backend: &dyn Backend,
    sizes: (usize, usize, usize),
) -> accelerant::Result<InferenceModule> {
    let options = OptimizeOptions::new().registry(registry).require(backend.kind());
    InferenceModule::compile_with(|target| layers(target, sizes), &options)
}

/// The default backends; TensorRT with up to so many contexts.
#[allow(unused_mut, unused_variables, reason = "where TensorRT is not compiled in")]
pub(crate) fn with_contexts(count: usize) -> Registry {
    let mut registry = Registry::default();
    #[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
    {
        use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};

        let options = TensorRtOptions::default().max_contexts(count);
        #[cfg(feature = "tensorrt-rtx")]
        registry.push(TensorRt::rtx().with_options(options.clone()));
        #[cfg(feature = "tensorrt")]
        registry.push(TensorRt::enterprise().with_options(options));
    }
    registry
}
