//! The weights of a folder: all its safetensors files, whose tensors share the memory of the files.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use accelerant::{DType, HostTensor};
use bytes::Bytes;
use safetensors::{Dtype, SafeTensors};

use crate::Problem;

pub(super) fn of_folder(folder: &Path) -> Result<HashMap<String, HostTensor>, Problem> {
    let mut weights = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            of_file(&path, &mut weights).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    if weights.is_empty() {
        return Err("the folder has no weights in *.safetensors".into());
    }
    Ok(weights)
}

fn of_file(path: &Path, weights: &mut HashMap<String, HostTensor>) -> Result<(), Problem> {
    let bytes = Bytes::from(fs::read(path)?);
    for (name, view) in SafeTensors::deserialize(&bytes)?.iter() {
        // What a decoder does not ask for may be of any type.
        let Some(dtype) = dtype(view.dtype()) else { continue };
        let tensor = HostTensor::from_bytes(dtype, view.shape(), bytes.slice_ref(view.data()))?;
        weights.insert(name.to_owned(), tensor);
    }
    Ok(())
}

fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}
