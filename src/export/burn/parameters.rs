//! The parameters of a module: read once, and stood in for by tensors without values while a
//! forward pass is captured.

use std::{any::Any, collections::HashMap};

use ::burn::backend::capture::TensorId;
use ::burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use ::burn::tensor::{Bool, Device, Int, Tensor};

use super::tensors::{AnyTensor, TensorKind, empty};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// A parameter's path in the module, and its value.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) path: String,
    pub(super) value: HostTensor,
    id: ParamId,
    /// The position of the parameter that this one is the same as.
    twin: Option<usize>,
}

/// The parameters of a module in its own order.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<Parameter>);

impl Parameters {
    /// Reads the parameters of a module in its inference form. Each is copied to the host once.
    pub(super) fn read<M: Module>(module: &M) -> Result<Self> {
        let mut reader = Reader { path: Vec::new(), parameters: Self::default(), failure: None };
        module.valid().visit(&mut reader);
        match reader.failure {
            Some(error) => Err(error),
            None => Ok(reader.parameters),
        }
    }

    /// Paths and values by the ids that a capture gave to the parameters.
    pub(super) fn by_id(&self, ids: &[TensorId]) -> HashMap<TensorId, &Parameter> {
        let mut known = HashMap::new();
        for (id, parameter) in ids.iter().zip(&self.0) {
            // Of parameters that are the same one, the first gives the name.
            known.entry(*id).or_insert(parameter);
        }
        known
    }
}

struct Reader {
    path: Vec<String>,
    parameters: Parameters,
    failure: Option<Error>,
}

impl Reader {
    fn read(&mut self, id: ParamId, tensor: &dyn AnyTensor) {
        let path = self.path.join(".");
        match tensor.host() {
            Ok(value) => {
                let known = &self.parameters.0;
                // Clones of a parameter keep its id, also when they went their own ways since.
                let twin = known.iter().position(|other| other.id == id && other.value == value);
                let value = twin.map_or(value, |twin| known[twin].value.clone());
                self.parameters.0.push(Parameter { path, value, id, twin });
            }
            Err(error) => {
                self.failure.get_or_insert(error.in_operation("parameters").on_tensor(path));
            }
        }
    }
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.read(param.id, &param.val());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.read(param.id, &param.val());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.read(param.id, &param.val());
    }
}

/// The module in its inference form on a capture device, its parameters without values. Their ids
/// are appended to `ids`, in the module's order.
pub(super) fn placeholders<M: Module>(
    module: &M,
    parameters: &Parameters,
    device: &Device,
    ids: &mut Vec<TensorId>,
) -> Result<M> {
    let mut mapper = Placeholders { parameters, device, ids, made: Vec::new(), failure: None };
    // Running states are shared between clones, but not with the inference form: each capture
    // takes one of its own.
    let mapped = module.valid().map(&mut mapper);
    match mapper.failure {
        Some(error) => Err(error),
        // Tensors that are no parameters go as constants.
        None => Ok(mapped.to_device(device)),
    }
}

struct Placeholders<'a> {
    parameters: &'a Parameters,
    device: &'a Device,
    ids: &'a mut Vec<TensorId>,
    made: Vec<Box<dyn Any>>,
    failure: Option<Error>,
}

impl Placeholders<'_> {
    /// What stands in for the next parameter, unless there was an error before.
    fn next<const D: usize, K: TensorKind>(&mut self, id: ParamId) -> Option<Tensor<D, K>>
    where
        Tensor<D, K>: AnyTensor + Clone + 'static,
    {
        self.make(id).map_err(|error| self.failure.get_or_insert(error)).ok()
    }

    fn make<const D: usize, K: TensorKind>(&mut self, id: ParamId) -> Result<Tensor<D, K>>
    where
        Tensor<D, K>: AnyTensor + Clone + 'static,
    {
        let changed = || {
            let text = "the parameters of the module changed while it was captured";
            Error::new(ErrorKind::InvalidModel, text).in_operation("parameters")
        };
        let parameter = self.parameters.0.get(self.made.len()).ok_or_else(changed)?;
        if parameter.id != id {
            return Err(changed());
        }
        let tensor: Tensor<D, K> = match parameter.twin {
            Some(twin) => {
                self.made[twin].downcast_ref::<Tensor<D, K>>().ok_or_else(changed)?.clone()
            }
            None => empty(parameter.value.dtype(), parameter.value.shape(), self.device)?,
        };
        self.ids.push(tensor.capture_id()?);
        self.made.push(Box::new(tensor.clone()));
        Ok(tensor)
    }
}

impl ModuleMapper for Placeholders<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.next(param.id) {
            Some(made) => param.map(|_| made),
            None => param,
        }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.next(param.id) {
            Some(made) => param.map(|_| made),
            None => param,
        }
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        match self.next(param.id) {
            Some(made) => param.map(|_| made),
            None => param,
        }
    }
}
