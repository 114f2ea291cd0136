//! Methods of an inherent impl that cannot be generic.

extern crate self as accelerant;

#[path = "../names/candle.rs"]
pub mod candle;
use candle::{Result, Tensor};

struct Decoder {
    cache: Option<Tensor>,
}

#[accelerant_macros::trace]
impl Decoder {
    fn step(&mut self, xs: &Tensor) -> Result<Tensor> {
        self.cache.replace(xs.relu()?).ok_or(())
    }

    #[trace(skip)]
    fn reset(&mut self, xs: Tensor) -> Option<Tensor> {
        self.cache.replace(xs)
    }

    fn forward(&self, xs: &Tensor) -> Result<f32> {
        xs.to_scalar()
    }
}

fn main() {
    let mut decoder = Decoder { cache: None };
    let _ = (decoder.step(&Tensor), decoder.reset(Tensor), decoder.forward(&Tensor));
}
