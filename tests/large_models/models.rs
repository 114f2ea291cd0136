//! Layers of square weights: as a file with its weights beside it, and as a model of Candle.

use std::path::Path;

use accelerant::export::GraphBuilder;
use accelerant::{DType, HostTensor};
use candle_core::{Device, Module, Result, Tensor};
use candle_nn::Linear;

/// Numbers that no library finds to be all the same.
fn weights(width: usize, layer: usize) -> Vec<f32> {
    let mut state = layer as u32 + 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..width * width).map(next).collect()
}

/// Writes a model of `[width, layers]`.
pub(crate) fn write([width, layers]: [usize; 2], path: &Path) {
    let graph = GraphBuilder::new("large");
    let mut x = graph.input("x", DType::F32, [1, width]).unwrap();
    for layer in 0..layers {
        let weight = HostTensor::from_vec([width, width], weights(width, layer)).unwrap();
        let weight = graph.weight(&format!("w{layer}"), weight).unwrap();
        x = x.linear(&weight, None).unwrap().relu().unwrap();
    }
    graph.output("y", &x).unwrap();
    graph.finish().unwrap().save_external(path, 1024).unwrap();
}

pub(crate) struct Net(Vec<Linear>);

impl Net {
    pub(crate) fn new([width, layers]: [usize; 2]) -> Self {
        let layer = |layer| {
            let weight = Tensor::from_vec(weights(width, layer), (width, width), &Device::Cpu);
            Linear::new(weight.unwrap(), None)
        };
        Self((0..layers).map(layer).collect())
    }
}

#[accelerant::trace]
impl Module for Net {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut x = xs.clone();
        for layer in &self.0 {
            x = layer.forward(&x)?.relu()?;
        }
        Ok(x)
    }
}
