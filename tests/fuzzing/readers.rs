//! What is done with bytes that nobody should trust. Each gives what became of them as a word for a table. The targets of
//! `cargo fuzz` have this file too.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;

use accelerant::backend::{Backend, Executable};
use accelerant::export::OnnxModel;
use accelerant::pipeline::Pipeline;
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{
    DType, Dim, Engine, Error, ErrorKind, HostTensor, Result, Signature, TensorSpec, TimeLimit,
};
use prost::Message;

/// Inputs of more bytes than this are not made up: their sizes are the file's word alone.
const MOST_INPUT: usize = 4 << 20;
/// How long a run of odd numbers may take, which may be repetitions of a loop.
const ODD_RUN: std::time::Duration = std::time::Duration::from_millis(500);

/// A model: read and checked, then written for the backend, compiled, and run once.
pub fn model(bytes: &[u8], backend: &dyn Backend, is_read: impl FnOnce()) -> String {
    word(|| {
        let model = OnnxModel::from_bytes(bytes.to_vec())?;
        is_read();
        let _ = backend.check(&model);
        let model = model.for_target(backend.target())?;
        let (engine, executable) = backend.build_and_load(&model)?;
        let ran = run(&*executable);
        // Whatever becomes of these, the process goes on.
        for empty in [false, true] {
            if let Ok(odd) = odd_inputs(executable.signature(), empty) {
                let limit = TimeLimit::of(ODD_RUN);
                let _ = executable.run_within(&odd, &limit);
            }
        }
        ran?;
        // What was built can be loaded.
        backend.load(&engine).map(|_| "ran")
    })
}

/// An engine file: read, then loaded where a portable backend built it, and served.
pub fn engine(bytes: &[u8], backend: &dyn Backend, is_read: impl FnOnce()) -> String {
    word(|| {
        let engine = Engine::from_bytes(bytes.to_vec())?;
        let again = Engine::from_bytes(engine.to_bytes())?;
        assert_eq!(again, engine, "written and read again");
        is_read();
        let executable: std::sync::Arc<dyn Executable> = backend.load(&engine)?.into();
        run(&*executable)?;
        serve(executable)?;
        Ok("ran")
    })
}

/// A model in a file, with weights beside it: opened, and written again.
pub fn pair(model: &Path) -> String {
    word(|| {
        let opened = OnnxModel::open(model)?;
        let copy = model.with_file_name("copy.onnx");
        opened.save_external(&copy, 16)?;
        // As bytes: a NaN of an attribute is not equal to itself.
        let again = OnnxModel::open(&copy)?;
        assert!(again.to_bytes() == opened.to_bytes(), "another model when read again");
        Ok("opened")
    })
}

fn word(read: impl FnOnce() -> Result<&'static str>) -> String {
    match read() {
        Ok(done) => done.to_owned(),
        Err(error) if error.to_string().contains("it panicked") => "panic, caught".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn run(executable: &dyn Executable) -> Result<()> {
    executable.run(&inputs(executable.signature())?).map(drop)
}

/// Zeros of the smallest sizes.
fn inputs(signature: &Signature) -> Result<Vec<HostTensor>> {
    let specs = signature.inputs.iter();
    specs
        .map(|spec| {
            let sizes: Vec<usize> = spec.shape.dims().iter().map(smallest).collect();
            let bytes = sizes.iter().try_fold(spec.dtype.size(), |n, &size| n.checked_mul(size));
            match bytes.filter(|&bytes| bytes <= MOST_INPUT) {
                Some(bytes) => HostTensor::from_bytes(spec.dtype, sizes, vec![0; bytes]),
                None => Err(Error::new(ErrorKind::OutOfProfile, "too large to be made up")),
            }
        })
        .collect()
}

/// Numbers at the ends of their types, and not a number; sizes of 0 where they are allowed.
fn odd_inputs(signature: &Signature, empty: bool) -> Result<Vec<HostTensor>> {
    let odd = |(spec, tensor): (&TensorSpec, HostTensor)| {
        let (dtype, size) = (spec.dtype, spec.dtype.size());
        let number = |k: usize| match (dtype, k % 5) {
            (DType::Bool, k) => vec![(k % 2) as u8],
            // The least, -1, the largest, 1 and 0, as integers are written.
            (_, 0) => [vec![0; size - 1], vec![0x80]].concat(),
            (_, 1) => vec![0xff; size],
            (_, 2) => [vec![0xff; size - 1], vec![0x7f]].concat(),
            (_, 3) => [vec![1], vec![0; size - 1]].concat(),
            _ => vec![0; size],
        };
        let sizes: Vec<usize> = match empty {
            true => spec.shape.dims().iter().map(Dim::min).collect(),
            false => tensor.shape().to_vec(),
        };
        let bytes = (0..sizes.iter().product()).flat_map(number);
        HostTensor::from_bytes(dtype, sizes, bytes.collect::<Vec<u8>>())
    };
    signature.inputs.iter().zip(inputs(signature)?).map(odd).collect()
}

fn smallest(dim: &Dim) -> usize {
    dim.min().max(1).min(dim.max())
}

/// What allocates by the header of an engine.
fn serve(executable: std::sync::Arc<dyn Executable>) -> Result<()> {
    let item = |tensor: HostTensor| {
        let shape = tensor.shape().get(1..).unwrap_or_default().to_vec();
        tensor.reshape(shape)
    };
    let all = inputs(executable.signature())?;
    if all.iter().all(|tensor| tensor.shape().first() == Some(&1)) {
        let items = all.iter().cloned().map(item).collect::<Result<Vec<_>>>()?;
        let _ = Pipeline::new(executable.clone()).run(&items);
    }
    let options = BatcherOptions::new().max_delay(std::time::Duration::ZERO);
    if let Ok(batcher) = Batcher::new(executable, &options) {
        let _ = batcher.run(&all);
    }
    Ok(())
}

/// The fixed part of an engine file, before its header.
const FIXED: usize = 48;

/// The parts of an engine file.
pub fn unseal(file: &[u8]) -> Option<(Head, Vec<u8>)> {
    let len = u32::from_le_bytes(file.get(12..16)?.try_into().ok()?) as usize;
    let head = Head::decode(file.get(FIXED..FIXED.checked_add(len)?)?).ok()?;
    Some((head, file[FIXED + len..].to_vec()))
}

/// An engine file with checksums that fit.
pub fn seal(head: &Head, plan: &[u8]) -> Vec<u8> {
    let head = Head { plan_hash: blake3::hash(plan).as_bytes().to_vec(), ..head.clone() };
    let head = head.encode_to_vec();
    let len = (head.len() as u32).to_le_bytes();
    [b"ACCELENG", &1u32.to_le_bytes()[..], &len, blake3::hash(&head).as_bytes(), &head, plan]
        .concat()
}

/// The header of an engine file.
#[derive(Clone, PartialEq, Message)]
pub struct Head {
    #[prost(string, tag = "1")]
    pub backend: String,
    #[prost(string, tag = "2")]
    pub library: String,
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, tag = "4")]
    pub crate_version: String,
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<HeadSpec>,
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<HeadSpec>,
    #[prost(uint64, tag = "7")]
    pub build_nanos: u64,
    #[prost(uint64, tag = "8")]
    pub plan_len: u64,
    #[prost(bytes = "vec", tag = "9")]
    pub plan_hash: Vec<u8>,
    #[prost(string, repeated, tag = "10")]
    pub profile_names: Vec<String>,
    #[prost(bool, tag = "11")]
    pub any_bytes: bool,
}

/// An input or output there.
#[derive(Clone, PartialEq, Message)]
pub struct HeadSpec {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub dtype: i32,
    #[prost(message, repeated, tag = "3")]
    pub dims: Vec<HeadDim>,
}

/// A size there; a fixed one has no name.
#[derive(Clone, PartialEq, Message)]
pub struct HeadDim {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub min: u64,
    #[prost(uint64, tag = "3")]
    pub opt: u64,
    #[prost(uint64, tag = "4")]
    pub max: u64,
    #[prost(uint64, repeated, tag = "5")]
    pub sizes: Vec<u64>,
}
