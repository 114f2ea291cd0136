//! `VarBuilder`, whose tensors are constants of a trace.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Shape};
use candle_nn::{Init, VarMap};

use crate::export::candle::traced::Traced;

/// As [`candle_nn::VarBuilder`], from which it is made with `.into()`.
#[derive(Clone)]
pub struct VarBuilder<'a>(pub(super) candle_nn::VarBuilder<'a>);

impl<'a> From<candle_nn::VarBuilder<'a>> for VarBuilder<'a> {
    fn from(candle: candle_nn::VarBuilder<'a>) -> Self {
        Self(candle)
    }
}

impl<'a> VarBuilder<'a> {
    /// The part of the names that is before those asked for.
    pub fn prefix(&self) -> String {
        self.0.prefix()
    }

    /// The builder without a prefix.
    pub fn root(&self) -> Self {
        Self(self.0.root())
    }

    /// The builder with another prefix.
    pub fn set_prefix(&self, prefix: impl ToString) -> Self {
        Self(self.0.set_prefix(prefix))
    }

    /// The builder with one more part of a prefix.
    pub fn push_prefix<S: ToString>(&self, s: S) -> Self {
        Self(self.0.push_prefix(s))
    }

    /// The builder with one more part of a prefix.
    pub fn pp<S: ToString>(&self, s: S) -> Self {
        Self(self.0.pp(s))
    }

    /// Where tensors are put.
    pub fn device(&self) -> &Device {
        self.0.device()
    }

    /// The type that tensors are given.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// The builder with another type.
    pub fn to_dtype(&self, dtype: DType) -> Self {
        Self(self.0.to_dtype(dtype))
    }

    /// The builder with another type.
    pub fn set_dtype(self, dtype: DType) -> Self {
        Self(self.0.set_dtype(dtype))
    }

    /// The builder with another device.
    pub fn set_device(self, device: Device) -> Self {
        Self(self.0.set_device(device))
    }

    /// Whether there is a tensor of this name.
    pub fn contains_tensor(&self, tensor_name: &str) -> bool {
        self.0.contains_tensor(tensor_name)
    }

    /// The tensor of a name.
    ///
    /// # Errors
    /// When there is none of this shape.
    pub fn get<S: Into<Shape>>(&self, s: S, name: &str) -> Result<Traced> {
        self.0.get(s, name).map(Traced::from_tensor)
    }

    /// The tensor of a name, made so where there is none and one may be made.
    ///
    /// # Errors
    /// When there is none of this shape.
    pub fn get_with_hints<S: Into<Shape>>(&self, s: S, name: &str, hints: Init) -> Result<Traced> {
        self.0.get_with_hints(s, name, hints).map(Traced::from_tensor)
    }

    /// The tensor of a name, made so where there is none, of a type.
    ///
    /// # Errors
    /// When there is none of this shape.
    pub fn get_with_hints_dtype<S: Into<Shape>>(
        &self,
        s: S,
        name: &str,
        hints: Init,
        dtype: DType,
    ) -> Result<Traced> {
        self.0.get_with_hints_dtype(s, name, hints, dtype).map(Traced::from_tensor)
    }

    /// The tensor of a name, of any shape.
    ///
    /// # Errors
    /// When there is none.
    pub fn get_unchecked(&self, name: &str) -> Result<Traced> {
        self.0.get_unchecked(name).map(Traced::from_tensor)
    }

    /// The tensor of a name, of any shape, of a type.
    ///
    /// # Errors
    /// When there is none.
    pub fn get_unchecked_dtype(&self, name: &str, dtype: DType) -> Result<Traced> {
        self.0.get_unchecked_dtype(name, dtype).map(Traced::from_tensor)
    }

    /// The builder that asks for other names.
    pub fn rename_f<F: Fn(&str) -> String + Sync + Send + 'static>(self, f: F) -> Self {
        Self(self.0.rename_f(f))
    }
}

/// As candle's, for what a model reads by itself.
impl VarBuilder<'static> {
    /// Zeros for every name.
    pub fn zeros(dtype: DType, dev: &Device) -> Self {
        Self(candle_nn::VarBuilder::zeros(dtype, dev))
    }

    /// From tensors that are known.
    ///
    /// # Panics
    /// When one belongs to a trace.
    pub fn from_tensors(ts: HashMap<String, Traced>, dtype: DType, dev: &Device) -> Self {
        let known = |tensor: Traced| tensor.into_tensor().expect("weights are known");
        let ts = ts.into_iter().map(|(name, tensor)| (name, known(tensor))).collect();
        Self(candle_nn::VarBuilder::from_tensors(ts, dtype, dev))
    }

    /// From variables, which are made where they are missing.
    pub fn from_varmap(varmap: &VarMap, dtype: DType, dev: &Device) -> Self {
        Self(candle_nn::VarBuilder::from_varmap(varmap, dtype, dev))
    }

    /// From safetensors files that are mapped into memory.
    ///
    /// # Safety
    /// As candle's: the files must not change while they are mapped.
    ///
    /// # Errors
    /// When they cannot be read.
    pub unsafe fn from_mmaped_safetensors<P: AsRef<Path>>(
        paths: &[P],
        dtype: DType,
        dev: &Device,
    ) -> Result<Self> {
        // SAFETY: the caller has promised what candle asks for.
        unsafe { candle_nn::VarBuilder::from_mmaped_safetensors(paths, dtype, dev) }.map(Self)
    }

    /// From a file of PyTorch.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn from_pth<P: AsRef<Path>>(p: P, dtype: DType, dev: &Device) -> Result<Self> {
        candle_nn::VarBuilder::from_pth(p, dtype, dev).map(Self)
    }
}
