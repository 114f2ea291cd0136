//! The names of candle that the cases use. The attribute knows candle by name only, so no more is
//! needed to compile what it leaves as it was.

#![allow(dead_code)]

pub type Result<T> = std::result::Result<T, ()>;

pub struct Tensor;

pub trait Module {
    fn forward(&self, xs: &Tensor) -> Result<Tensor>;
}

pub trait ModuleT {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor>;
}

impl Tensor {
    pub fn rand(_: f32, _: f32, _: usize) -> Result<Self> {
        Ok(Tensor)
    }
    pub fn relu(&self) -> Result<Self> {
        Ok(Tensor)
    }
    pub fn randn_like(&self) -> Result<Self> {
        Ok(Tensor)
    }
    pub fn slice_set(&self, _: &Tensor) -> Result<()> {
        Ok(())
    }
    pub fn to_scalar(&self) -> Result<f32> {
        Ok(0.0)
    }
    pub fn to_vec1(&self) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }
    pub fn apply_op1(&self, _: ()) -> Result<Self> {
        Ok(Tensor)
    }
    pub fn apply_t<M: ModuleT>(&self, layer: &M, train: bool) -> Result<Self> {
        layer.forward_t(self, train)
    }
}

pub mod ops {
    use super::{Result, Tensor};

    pub fn dropout(_: &Tensor, _: f32) -> Result<Tensor> {
        Ok(Tensor)
    }
}

// What the attribute implements in the place of what it refuses.

pub trait TensorOps {}

pub trait Forward {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T>;
}

pub struct Traced;

pub struct Inputs<'a>(std::marker::PhantomData<&'a ()>);

pub trait Traceable {
    fn trace(&self, inputs: &mut Inputs<'_>) -> Result<Vec<Traced>>;
}

pub mod __private {
    pub use super::Result;
}
