//! How many bytes the values of a run may take at a time, and how many they take.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::infer::{self, Given, Peak, Values};
use super::{OnnxModel, deciding, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{self, ModelProto, TensorProto};
use crate::spec::{DType, Dim, Signature};
use crate::tensor::HostTensor;

/// A run may take this much.
const LEAST: u64 = 4 << 30;
/// It may take so many times the bytes of the weights besides,
const OF_WEIGHTS: u64 = 64;
/// and so many times the bytes of the inputs: those of an image become hundreds of channels.
const OF_INPUTS: u64 = 256;
/// Inputs without a bound of their sizes count as so many bytes where the bound is that of all runs.
#[cfg(feature = "ort")]
const MOST_INPUTS: u64 = 16 << 20;
/// A runtime may keep a weight so many times, in an order of its own and padded,
#[cfg(feature = "ort")]
const PACKED: u64 = 4;
/// and takes so many bytes for each besides.
#[cfg(feature = "ort")]
const PADDED: u64 = 1 << 16;
/// Weights of more bytes are left out of what is kept of a model. No rule looks into them.
const LOOKED_INTO: usize = 1 << 19;
/// The same for floats, of which rules look into scales and limits.
const FLOATS_LOOKED_INTO: usize = 1 << 9;
/// An input of more elements decides no sizes.
const MOST_VALUES: usize = 64;
/// Of so many sizes it is known that they fit.
const MOST_KNOWN: usize = 1024;

/// The most that the values of a run may take at a time, and whether they do.
pub(crate) struct MemoryBound {
    /// What the caller allows.
    stated: Option<u64>,
    weights: u64,
    /// The model without its weights, where sizes are open.
    open: Option<ModelProto>,
    /// The inputs whose values decide sizes.
    deciding: HashSet<String>,
    /// Whether the sizes of a run are checked against each other before the run: the reader reads beyond a tensor else.
    checks_sizes: bool,
    fit: Mutex<HashSet<Vec<usize>>>,
    /// Some sizes are known during a run alone.
    #[cfg(feature = "ort")]
    shows_late: bool,
    /// How many weights there are.
    #[cfg(feature = "ort")]
    count: u64,
}

impl OnnxModel {
    /// The bound of the runs of a model; `stated` is what the caller allows. [`MemoryBound::watch`] makes it one for the
    /// sizes that only a run has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] with node and tensor when the sizes that the model states take more.
    pub(crate) fn memory_bound(&self, stated: Option<u64>) -> Result<MemoryBound> {
        let weights = self.proto.graph.iter().flat_map(|graph| &graph.initializer);
        let weights = weights.map(|weight| weight.raw_data().len() as u64).sum();
        let deciding = deciding::inputs(&self.proto);
        let bound = MemoryBound {
            stated,
            weights,
            open: None,
            deciding,
            checks_sizes: false,
            fit: Mutex::default(),
            #[cfg(feature = "ort")]
            shows_late: deciding::shows_late(&self.proto),
            #[cfg(feature = "ort")]
            count: self.proto.graph.as_ref().map_or(0, |graph| graph.initializer.len() as u64),
        };
        let found = match &self.peak {
            Some(peak) => Some(peak.clone()),
            // A model with an error is told as such where it is opened.
            None => infer::peak(&self.proto, None).ok(),
        };
        // An open size counts as 1 in what is found.
        let sizes = |dim: &Dim| dim.min().max(1);
        let inputs = self.signature.inputs.iter();
        let inputs =
            inputs.map(|spec| product(spec.dtype.size(), spec.shape.dims().iter().map(sizes)));
        let most = bound.most(inputs.fold(0, u64::saturating_add));
        match found {
            Some(peak) if peak.bytes > most => Err(too_much(ErrorKind::InvalidModel, &peak, most)),
            _ => Ok(bound),
        }
    }
}

impl MemoryBound {
    /// Looks at the inputs of each run from now on, where they decide how much the run takes.
    pub(crate) fn watch(&mut self, signature: &Signature, model: impl FnOnce() -> ModelProto) {
        let is_open = signature.inputs.iter().any(|spec| spec.shape.is_dynamic());
        self.open = (is_open || !self.deciding.is_empty()).then(|| light(model()));
    }

    /// Refuses sizes of a run that do not fit each other, for a reader that would not.
    #[cfg(feature = "tract")]
    pub(crate) const fn check_sizes(&mut self) {
        self.checks_sizes = true;
    }

    /// What a run with so many bytes of inputs may take.
    pub(crate) fn most(&self, inputs: u64) -> u64 {
        self.stated.unwrap_or_else(|| {
            let own = LEAST.saturating_add(self.weights.saturating_mul(OF_WEIGHTS));
            own.saturating_add(inputs.saturating_mul(OF_INPUTS))
        })
    }

    /// The most bytes of an arena that has the weights and the values of runs. The arena keeps what a run frees for the next
    /// one, and has room that values of other sizes do not fit into. `None` where the sizes that are known before a run are
    /// all there are, and the caller states nothing.
    #[cfg(feature = "ort")]
    pub(crate) fn of_arena(&self, signature: &Signature) -> Option<usize> {
        let values = match self.stated {
            Some(stated) => stated.saturating_mul(2),
            None if self.shows_late => {
                let inputs = signature
                    .inputs
                    .iter()
                    .map(|spec| product(spec.dtype.size(), spec.shape.dims().iter().map(Dim::max)));
                self.most(inputs.fold(0, u64::saturating_add).min(MOST_INPUTS))
            }
            None => return None,
        };
        let weights = self.weights.saturating_mul(PACKED).saturating_add(self.count * PADDED);
        usize::try_from(values.saturating_add(weights).saturating_add(PADDED)).ok()
    }

    /// Refuses inputs with which a run takes too much, and where [sizes are checked](Self::check_sizes), inputs whose sizes
    /// do not fit each other.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with node and tensor.
    pub(crate) fn expect_room(&self, signature: &Signature, inputs: &[HostTensor]) -> Result<()> {
        let Some(model) = &self.open else { return Ok(()) };
        // Sizes are looked at once for all up to a power of 2, so that a size that grows with each run costs little.
        let round = |(dim, &size): (&Dim, &usize)| match dim {
            Dim::Symbol(symbol) if !self.checks_sizes => {
                size.checked_next_power_of_two().unwrap_or(size).min(symbol.max())
            }
            _ => size,
        };
        let (mut rounded, mut exact) = (Vec::new(), Vec::new());
        for (spec, tensor) in signature.inputs.iter().zip(inputs) {
            rounded.extend(spec.shape.dims().iter().zip(tensor.shape()).map(round));
            exact.extend_from_slice(tensor.shape());
        }
        let sizes = exact.len();
        for (_, values) in self.values(signature, inputs) {
            let numbers: Vec<usize> = match values {
                Values::Ints(ints) => ints.iter().map(|&int| int as usize).collect(),
                Values::Floats(floats) => floats.iter().map(|x| x.to_bits() as usize).collect(),
            };
            rounded.extend_from_slice(&numbers);
            exact.extend(numbers);
        }
        {
            let fit = self.fit.lock().unwrap_or_else(PoisonError::into_inner);
            if fit.contains(&rounded) || fit.contains(&exact) {
                return Ok(());
            }
        }
        let most = self.most(inputs.iter().map(|tensor| tensor.bytes().len() as u64).sum());
        let peak = |sizes: &[usize]| {
            let mut values: HashMap<_, _> = self.values(signature, inputs).collect();
            let mut rest = sizes;
            let given = signature.inputs.iter().map(|spec| {
                let (sizes, others) = rest.split_at(spec.shape.rank());
                rest = others;
                let name = spec.name.as_str();
                (name, Given { sizes: sizes.to_vec(), values: values.remove(name) })
            });
            let given: HashMap<&str, Given> = given.collect();
            infer::peak(model, Some(&given))
        };
        let key = match peak(&rounded[..sizes]) {
            Ok(peak) if peak.bytes <= most => rounded,
            _ => match peak(&exact[..sizes]) {
                Ok(peak) if peak.bytes > most => {
                    return Err(too_much(ErrorKind::Execution, &peak, most));
                }
                Err(e) if self.checks_sizes => return Err(of_a_run(&e)),
                // Sizes that do not fit each other are an error of the run.
                _ => exact,
            },
        };
        let mut fit = self.fit.lock().unwrap_or_else(PoisonError::into_inner);
        if fit.len() >= MOST_KNOWN {
            fit.clear();
        }
        fit.insert(key);
        Ok(())
    }

    /// The values of the inputs that decide sizes, by name.
    fn values<'s>(
        &'s self,
        signature: &'s Signature,
        inputs: &'s [HostTensor],
    ) -> impl Iterator<Item = (&'s str, Values)> {
        let all = signature.inputs.iter().zip(inputs);
        let all = all.filter(move |(spec, _)| self.deciding.contains(&spec.name));
        all.filter_map(|(spec, tensor)| Some((spec.name.as_str(), values(tensor)?)))
    }
}

fn values(tensor: &HostTensor) -> Option<Values> {
    if tensor.shape().iter().product::<usize>() > MOST_VALUES {
        return None;
    }
    Some(match tensor.dtype() {
        DType::I64 => Values::Ints(tensor.to_vec().ok()?),
        DType::I32 => {
            Values::Ints(tensor.to_vec::<i32>().ok()?.into_iter().map(i64::from).collect())
        }
        DType::F32 => {
            Values::Floats(tensor.to_vec::<f32>().ok()?.into_iter().map(f64::from).collect())
        }
        DType::F64 => Values::Floats(tensor.to_vec().ok()?),
        _ => return None,
    })
}

/// What is wrong with the sizes of a run. The model itself is right.
fn of_a_run(e: &Error) -> Error {
    let mut error = Error::new(ErrorKind::Execution, e.message());
    if let Some(operation) = e.operation() {
        error = error.in_operation(operation);
    }
    if let Some(tensor) = e.tensor() {
        error = error.on_tensor(tensor);
    }
    match e.axis() {
        Some(axis) => error.at_axis(axis),
        None => error,
    }
}

/// The error of values that take more than they may.
pub(crate) fn too_much(kind: ErrorKind, peak: &Peak, most: u64) -> Error {
    let text = format!(
        "the values of a run take {} bytes at a time here, more than {most}; \
         `OptimizeOptions::memory_limit` allows more",
        peak.bytes
    );
    let error = Error::new(kind, text).in_operation(peak.operation.as_str());
    if peak.tensor.is_empty() { error } else { error.on_tensor(peak.tensor.as_str()) }
}

fn product(size: usize, sizes: impl Iterator<Item = usize>) -> u64 {
    sizes.fold(size as u64, |bytes, size| bytes.saturating_mul(size as u64))
}

/// The model without what no rule looks into. It keeps nothing of the file's bytes.
fn light(mut light: ModelProto) -> ModelProto {
    let own = &mut |tensor: &mut TensorProto| {
        let is_float = onnx::from_onnx(tensor.data_type()).is_ok_and(DType::is_float);
        let most = if is_float { FLOATS_LOOKED_INTO } else { LOOKED_INTO };
        tensor.raw_data = tensor.raw_data.take_if(|data| data.len() <= most);
        tensor.raw_data = tensor.raw_data.take().map(|data| Bytes::copy_from_slice(&data));
        Ok(())
    };
    // Nothing fails.
    let _ = walk::tensors_mut(&mut light, own);
    light
}
