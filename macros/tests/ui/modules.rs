//! A module under the attribute: one error for each expression, and no second one of a type without
//! a forward.

extern crate self as accelerant;

#[path = "../names/candle.rs"]
pub mod candle;

#[accelerant_macros::trace]
mod model {
    use super::candle::{Module, Result, Tensor};

    pub struct Net;

    impl Module for Net {
        fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            let _ = xs.to_vec1()?;
            xs.relu()
        }
    }

    pub struct Other(pub Net);

    impl Other {
        pub fn forward(&self, xs: &Tensor, mask: &Tensor) -> Result<Tensor> {
            let _ = mask.to_scalar()?;
            xs.relu()
        }

        pub fn size(&self) -> usize {
            1
        }
    }
}

fn exported<M: candle::Traceable>(_: &M) {}

fn forward<M: candle::Forward>(_: &M) {}

fn main() {
    forward(&model::Net);
    exported(&model::Other(model::Net));
}
