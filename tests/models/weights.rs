//! Reproducible random weights under which a deep network's output still depends on all of them:
//! variance kept from layer to layer, and no normalization that is the identity.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

/// The module with all float parameters and running statistics replaced.
pub fn randomized<M: Module>(module: M) -> M {
    module.map(&mut Randomize::default())
}

#[derive(Default)]
struct Randomize {
    path: Vec<(String, String)>,
    state: u64,
}

impl Randomize {
    /// Uniform in -1..1 (splitmix64).
    fn next(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Center and half-width of a parameter's values.
    fn spread(&self, sizes: &[usize]) -> (f32, f32) {
        let (name, _) = self.path.last().expect("a parameter has a name");
        let layer = self.path.iter().rev().find_map(|(_, kind)| kind.strip_prefix("Struct:"));
        match (name.as_str(), sizes) {
            ("gamma" | "running_var", _) => (1.0, 0.3),
            (_, [] | [_]) => (0.0, 0.1),
            _ => {
                let inputs = match layer {
                    Some("Linear") => sizes[0],
                    // A kernel that moves by its own width sets each output once.
                    Some("ConvTranspose2d") => sizes[0],
                    Some("Embedding") => 1,
                    _ => sizes[1..].iter().product(),
                };
                // Half of the variance is lost in an activation; a uniform value has a third of its
                // half-width squared.
                (0.0, (6.0 / inputs as f32).sqrt().min(1.0))
            }
        }
    }
}

impl ModuleMapper for Randomize {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push((name.to_owned(), container_type.to_owned()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let sizes = tensor.dims();
        let (center, width) = self.spread(&sizes);
        let values = (0..sizes.iter().product()).map(|_| center + width * self.next()).collect();
        let device = tensor.device();
        let tensor = Tensor::from_data(TensorData::new::<f32, _>(values, sizes), &device);
        Param::from_mapped_value(id, tensor, mapper)
    }
}
