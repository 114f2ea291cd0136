//! The tensors that a model is run with: from files, or drawn at random.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use accelerant::{DType, Dim, HostTensor, Signature, Symbol, TensorSpec};
use half::{bf16, f16};

use crate::fail::{Failure, Result};
use crate::{apart, npy};

/// A file for an input.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    name: Option<String>,
    path: PathBuf,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = match text.rsplit_once('=') {
            Some((name, path)) => (Some(name.to_owned()), path),
            None => (None, text),
        };
        match path.is_empty() || name.as_ref().is_some_and(String::is_empty) {
            true => Err("an input is NAME=FILE.npy".into()),
            false => Ok(Self { name, path: path.into() }),
        }
    }
}

#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// An input from a .npy file, as NAME=FILE.npy; for a model of one input FILE.npy alone
    #[arg(long = "input", value_name = "NAME=FILE")]
    files: Vec<Named>,
    /// All inputs from a .npz file, by their names
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    inputs: Option<PathBuf>,
    /// The seed of inputs that no file gives: floats in -1..1, integers and bools 0 or 1
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Inputs {
    /// The tensors, in the order of the signature. Those of no file are random, of the sizes stated, else of the sizes that
    /// the model is tuned for.
    pub(crate) fn read(
        &self,
        signature: &Signature,
        sizes: &[(String, usize)],
    ) -> Result<Vec<HostTensor>> {
        let mut given = match &self.inputs {
            Some(path) => {
                apart::work(&format!("read {}", path.display()), false);
                npy::read_all(path)?
            }
            None => Vec::new(),
        };
        for Named { name, path } in &self.files {
            let name = match (name, &*signature.inputs) {
                (Some(name), _) => name.clone(),
                (None, [only]) => only.name.clone(),
                (None, all) => {
                    let names: Vec<_> = all.iter().map(|spec| spec.name.as_str()).collect();
                    let text = format!(
                        "--input {}: the model has {} inputs ({}); say which one, as NAME=FILE",
                        path.display(),
                        names.len(),
                        names.join(", ")
                    );
                    return Err(Failure::usage(text));
                }
            };
            apart::work(&format!("read {}", path.display()), false);
            given.push((name, npy::read(path)?));
        }
        let known = |name: &str| signature.inputs.iter().any(|spec| spec.name == name);
        if let Some((name, _)) = given.iter().find(|(name, _)| !known(name)) {
            let names: Vec<_> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let text = format!("no input is named `{name}`; the inputs are: {}", names.join(", "));
            return Err(Failure::usage(text));
        }
        // A size that a file has is that of the random tensors too.
        let mut sizes = sizes.to_vec();
        for spec in &signature.inputs {
            let Some((_, tensor)) = given.iter().find(|(name, _)| *name == spec.name) else {
                continue;
            };
            for (dim, &size) in spec.shape.dims().iter().zip(tensor.shape()) {
                if let Dim::Symbol(symbol) = dim {
                    sizes.push((symbol.name().to_owned(), size));
                }
            }
        }
        let mut random = fastrand::Rng::with_seed(self.seed);
        let tensors = signature.inputs.iter().map(|spec| {
            match given.iter().find(|(name, _)| *name == spec.name) {
                Some((_, tensor)) => Ok(tensor.clone()),
                None => draw(spec, &sizes, &mut random),
            }
        });
        tensors.collect()
    }

    /// The files that it comes from.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let named = self.files.iter().map(|named| named.path.as_path());
        named.chain(self.inputs.as_deref())
    }

    /// Whether all of it is random.
    pub(crate) fn is_random(&self) -> bool {
        self.files.is_empty() && self.inputs.is_none()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }
}

/// The size that a dimension has when nobody states one: 1 where the model has no range.
fn size_of(dim: &Dim, sizes: &[(String, usize)]) -> usize {
    let Dim::Symbol(symbol) = dim else { return dim.max() };
    let stated = sizes.iter().find(|(name, _)| name == symbol.name()).map(|(_, size)| *size);
    stated.unwrap_or(match symbol.max() {
        Symbol::UNBOUNDED => symbol.min().max(1),
        _ => symbol.opt(),
    })
}

fn draw(
    spec: &TensorSpec,
    sizes: &[(String, usize)],
    random: &mut fastrand::Rng,
) -> Result<HostTensor> {
    let shape: Vec<usize> = spec.shape.dims().iter().map(|dim| size_of(dim, sizes)).collect();
    let count = shape.iter().try_fold(spec.dtype.size(), |n, &size| n.checked_mul(size));
    if count.is_none_or(|bytes| bytes > 1 << 36) {
        let text =
            format!("{} {shape:?} is too large to draw; state sizes with --shape", spec.name);
        return Err(Failure::usage(text));
    }
    let count: usize = shape.iter().product();
    let mut float = || random.f32().mul_add(2.0, -1.0);
    let bytes: Vec<u8> = match spec.dtype {
        DType::F32 => (0..count).flat_map(|_| float().to_le_bytes()).collect(),
        DType::F64 => (0..count).flat_map(|_| f64::from(float()).to_le_bytes()).collect(),
        DType::F16 => (0..count).flat_map(|_| f16::from_f32(float()).to_le_bytes()).collect(),
        DType::BF16 => (0..count).flat_map(|_| bf16::from_f32(float()).to_le_bytes()).collect(),
        integer => {
            let mut bytes = vec![0; count * integer.size()];
            for value in bytes.chunks_exact_mut(integer.size()) {
                value[0] = random.u8(0..=1);
            }
            bytes
        }
    };
    Ok(HostTensor::from_bytes(spec.dtype, shape, bytes)?)
}
