//! Items that the attribute does not go on.

extern crate self as accelerant;

#[path = "../names/candle.rs"]
pub mod candle;
use candle::{Result, Tensor};

#[accelerant_macros::trace]
struct Net;

trait Encode {
    fn encode(&self, xs: &Tensor) -> Result<Tensor>;
}

#[accelerant_macros::trace]
impl Encode for Net {
    fn encode(&self, xs: &Tensor) -> Result<Tensor> {
        xs.relu()
    }
}

struct Other;

#[accelerant_macros::trace]
impl Other {
    fn size(&self, xs: &Tensor) -> usize {
        xs.relu().map_or(0, |_| 1)
    }
}

#[accelerant_macros::trace]
fn sizes(first: usize) -> usize {
    first
}

#[accelerant_macros::trace(skip)]
fn relu(xs: &Tensor) -> Result<Tensor> {
    xs.relu()
}

fn main() {
    let _ = (Other.size(&Tensor), sizes(1), relu(&Tensor), Net.encode(&Tensor));
}
