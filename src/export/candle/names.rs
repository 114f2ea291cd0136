//! The names of weights in an exported model: the paths under which a `VarBuilder` gave them out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, TensorId};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, VarMap};

use super::tape::{Constant, Op};
use super::trace::Step;
use crate::export::ExportOptions;

/// The paths of a model's weights, such as `encoder.layer.0.output.dense.weight`, for
/// [`OptimizeOptions::weight_names`](crate::OptimizeOptions::weight_names).
///
/// A weight without a path here is named after its layer. A layer that changes a tensor before keeping the tensor, as a fused
/// layer does, loses the path. The running statistics of a batch norm are named beside its weight. A path that occurs twice
/// gets a number.
///
/// ```
/// use accelerant::{OptimizeOptions, candle::WeightNames};
/// use candle_core::{DType, Device};
/// use candle_nn::{VarBuilder, VarMap};
///
/// let names = WeightNames::new();
/// let variables = VarMap::new();
/// let vb = names.record(VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu));
/// let layer = candle_nn::linear(8, 4, vb.pp("encoder").pp("output"))?;
/// let options = OptimizeOptions::new().weight_names(&names);
/// # assert!(format!("{options:?}").contains("encoder.output.bias"));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WeightNames(Arc<Mutex<HashMap<TensorId, String>>>);

impl WeightNames {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// A builder that gives the tensors of `vb`, and remembers their paths.
    pub fn record<'a>(&self, vb: VarBuilder<'a>) -> VarBuilder<'a> {
        let (dtype, device) = (vb.dtype(), vb.device().clone());
        let recorder = NameRecorder { inner: vb, names: self.clone() };
        VarBuilder::from_backend(Box::new(recorder), dtype, device)
    }

    /// Adds all variables that a map has now.
    pub fn add_variables(&self, variables: &VarMap) {
        let variables = variables.data().lock().unwrap_or_else(PoisonError::into_inner);
        for (name, variable) in variables.iter() {
            self.add(variable.as_tensor(), name);
        }
    }

    /// Names one tensor. Clones of a tensor count as the same tensor, and a tensor keeps its first name.
    pub fn add(&self, tensor: &Tensor, name: impl Into<String>) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(tensor.id()).or_insert_with(|| name.into());
    }

    /// The name of a tensor.
    pub fn get(&self, tensor: &Tensor) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&tensor.id()).cloned()
    }
}

/// Gives the constants of a trace their paths.
pub(super) fn give(steps: &mut [Step], options: &ExportOptions) {
    fn constants(steps: &mut [Step]) -> impl Iterator<Item = &mut Constant> {
        steps.iter_mut().filter_map(|step| match &mut step.op {
            Op::Constant(constant) => Some(constant),
            _ => None,
        })
    }
    // A batch norm copies its running statistics: they are named beside its weight.
    let mut layers = HashMap::new();
    for constant in constants(steps) {
        constant.path = options.weight_name(&constant.tensor);
        let path = constant.path.as_deref().and_then(|path| path.rsplit_once('.'));
        if let (Some((layer, own)), Some((path, last))) = (constant.name.rsplit_once('.'), path)
            && own == last
        {
            layers.insert(layer.to_owned(), path.to_owned());
        }
    }
    for constant in constants(steps).filter(|constant| constant.path.is_none()) {
        if let Some((layer, own)) = constant.name.rsplit_once('.')
            && let Some(path) = layers.get(layer)
        {
            constant.path = Some(format!("{path}.{own}"));
        }
    }
}

struct NameRecorder<'a> {
    inner: VarBuilder<'a>,
    names: WeightNames,
}

impl NameRecorder<'_> {
    fn noted(&self, tensor: Tensor, name: &str) -> Tensor {
        let prefix = self.inner.prefix();
        let separator = if prefix.is_empty() { "" } else { "." };
        self.names.add(&tensor, format!("{prefix}{separator}{name}"));
        tensor
    }

    fn on(&self, device: &Device) -> VarBuilder<'_> {
        self.inner.clone().set_device(device.clone())
    }
}

impl SimpleBackend for NameRecorder<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.on(device).get_with_hints_dtype(shape, name, init, dtype)?;
        Ok(self.noted(tensor, name))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.on(device).get_unchecked_dtype(name, dtype)?;
        Ok(self.noted(tensor, name))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.inner.contains_tensor(name)
    }
}
