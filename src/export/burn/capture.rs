//! One capture of a forward pass: operations, the values behind parameters and constants, names.

use std::collections::{HashMap, HashSet};

use ::burn::backend::capture::TensorId;
use ::burn::module::{Module, ModuleVisitor, Param};
use ::burn::tensor::{Bool, Device, Int, Tensor};

use super::tensors::{self, BurnTensors};
use super::trace::Trace;
use crate::error::{Error, ErrorKind, Result};

/// Captures `forward` with inputs of the types of `example` and these sizes.
pub(super) fn capture<M, I, O>(
    module: &M,
    example: &I,
    forward: &impl Fn(&M, I) -> O,
    sizes: &[Vec<usize>],
) -> Result<Trace>
where
    M: Module,
    I: BurnTensors,
    O: BurnTensors,
{
    let mut described = Vec::new();
    example.describe(&mut described)?;
    let inputs =
        described.iter().zip(sizes).map(|((dtype, _), sizes)| tensors::zeros(*dtype, sizes));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let device = Device::capture();
    let mut names = ParameterNames::default();
    let mut outputs = Vec::new();
    let mut failure = None;
    let captured = device.capture_scope(|scope| {
        let recorded = (|| -> Result<Vec<TensorId>> {
            let module = module.valid().to_device(&device);
            module.visit(&mut names);
            let inputs = I::from_host(&mut inputs.into_iter(), &device)?;
            let mut ids = Vec::new();
            inputs.capture_ids(&mut ids)?;
            forward(&module, inputs).capture_ids(&mut outputs)?;
            Ok(ids)
        })();
        match recorded {
            Ok(inputs) => {
                // A tensor may be returned twice; the boundary names it once.
                let mut seen = HashSet::new();
                let distinct: Vec<_> =
                    outputs.iter().copied().filter(|id| seen.insert(*id)).collect();
                scope.complete(inputs, distinct)
            }
            Err(error) => {
                failure = Some(error);
                scope.complete([], [])
            }
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let captured = captured
        .map_err(|e| Error::new(ErrorKind::InvalidModel, e.to_string()).in_operation("capture"))?;
    Trace::new(captured, outputs, names.names)
}

/// Paths of parameters in the module, by the id of their tensor. The first path wins, so that a
/// shared parameter has one name.
#[derive(Default)]
struct ParameterNames {
    path: Vec<String>,
    names: HashMap<TensorId, String>,
}

impl ParameterNames {
    fn record(&mut self, tensor: &impl BurnTensors) {
        let mut ids = Vec::new();
        if tensor.capture_ids(&mut ids).is_ok() {
            let path = self.path.join(".");
            self.names.entry(ids[0]).or_insert(path);
        }
    }
}

impl ModuleVisitor for ParameterNames {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.record(&param.val());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.record(&param.val());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.record(&param.val());
    }
}
