//! Expressions that have no exported form.

extern crate self as accelerant;

#[path = "../names/candle.rs"]
pub mod candle;
use candle::{Module, ModuleT, Result, Tensor, ops};

struct Layer {
    scale: Tensor,
}

impl ModuleT for Layer {
    fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
        xs.relu()
    }
}

struct Net {
    layer: Layer,
    scale: Tensor,
}

#[accelerant_macros::trace]
impl Module for Net {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let noise = xs.randn_like()?;
        let noise = Tensor::rand(0.0, noise.to_scalar()?, 3)?;
        if vec![xs.to_vec1()?].len() == 1 {
            xs.slice_set(&noise)?;
        }
        let xs = ops::dropout(xs, self.scale.to_scalar()?)?;
        let xs = xs.apply_t(&self.layer, true)?;
        let xs = self.layer.forward_t(&xs, false)?;
        xs.apply_op1(())
    }
}

fn main() {
    let _ = Layer { scale: Tensor }.scale;
}
