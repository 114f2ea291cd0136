//! Requests run as one: their rows joined, the outputs taken apart again, and what happens when it
//! fails.

use bytes::Bytes;

use super::queue::Request;
use super::run_caught;
use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::{HostTensor, memory_for_rows};

/// The numbers of rows that batches have, ascending; others are filled up.
#[derive(Debug)]
pub(super) struct BatchSizes {
    /// Every batch has so many at least.
    pub(super) least: usize,
    /// None for any number.
    pub(super) all: Vec<usize>,
}

impl BatchSizes {
    /// How many a batch of so many rows is filled up to.
    fn filled(&self, rows: usize) -> usize {
        let next = self.all.iter().copied().find(|&size| size >= rows);
        next.unwrap_or(rows).max(self.least)
    }
}

/// Runs requests that fit each other together, filled up to one of the sizes, and gives each its own
/// part. After a failure that may be the fault of one of them it is tried again in halves.
pub(super) fn run_joined(
    executable: &dyn Executable,
    mut requests: Vec<Request>,
    sizes: &BatchSizes,
) {
    let rows = sizes.filled(requests.iter().map(|request| request.rows).sum());
    let parts = join(&requests, rows)
        .and_then(|inputs| run_caught(executable, &inputs))
        .and_then(|outputs| split(executable, &outputs, &requests, rows))
        .map_err(|e| e.in_operation("run"));
    match parts {
        Ok(parts) => {
            for (request, outputs) in requests.into_iter().zip(parts) {
                request.fulfil(Ok(outputs));
            }
        }
        Err(e) if requests.len() > 1 && e.kind() != ErrorKind::Device => {
            let half = requests.split_off(requests.len() / 2);
            run_joined(executable, requests, sizes);
            run_joined(executable, half, sizes);
        }
        Err(e) => {
            for request in requests {
                request.fulfil(Err(e.clone()));
            }
        }
    }
}

/// The rows of all requests, one after the other, and copies of the last one up to so many.
fn join(requests: &[Request], rows: usize) -> Result<Vec<HostTensor>> {
    if let [one] = requests
        && one.rows == rows
    {
        return Ok(one.inputs.clone());
    }
    let join = |i: usize| {
        let parts = || requests.iter().map(|request| &request.inputs[i]);
        let of = &requests[0].inputs[i];
        let row = of.bytes().len() / of.shape()[0];
        let given: usize = parts().map(|part| part.bytes().len()).sum();
        let mut bytes = memory_for_rows(row, rows, given)?;
        parts().for_each(|part| bytes.extend_from_slice(part.bytes()));
        while bytes.len() < row * rows {
            bytes.extend_from_within(bytes.len() - row..);
        }
        let mut shape = of.shape().to_vec();
        shape[0] = rows;
        HostTensor::from_bytes(of.dtype(), shape, bytes)
    };
    (0..requests[0].inputs.len()).map(join).collect()
}

/// The outputs of each request. They share the memory of the batch.
fn split(
    executable: &dyn Executable,
    outputs: &[HostTensor],
    requests: &[Request],
    rows: usize,
) -> Result<Vec<Vec<HostTensor>>> {
    for (output, spec) in outputs.iter().zip(&executable.signature().outputs) {
        let got = output.shape().first().copied().unwrap_or(0);
        if got != rows {
            let text = format!("the output of a batch of {rows} rows has {got}");
            return Err(Error::new(ErrorKind::Execution, text).on_tensor(&spec.name).at_axis(0));
        }
    }
    let mut start = 0;
    let part = |request: &Request| {
        let cut = |output: &HostTensor| {
            let row = output.bytes().len() / rows;
            let bytes: Bytes = output.bytes().slice(row * start..row * (start + request.rows));
            let mut shape = output.shape().to_vec();
            shape[0] = request.rows;
            HostTensor::from_bytes(output.dtype(), shape, bytes)
        };
        let part = outputs.iter().map(cut).collect();
        start += request.rows;
        part
    };
    requests.iter().map(part).collect()
}
