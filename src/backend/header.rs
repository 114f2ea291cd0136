//! The header in the file of an engine: what it says of the plan behind it, and how it is read without the plan.

use std::{
    collections::HashSet,
    io::{self, Read},
};

use prost::Message;

use super::BackendKind;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Claim, DType, Dim, Shape, Signature, Symbol, TensorSpec};

pub(super) const MAGIC: &[u8; 8] = b"ACCELENG";
pub(super) const FORMAT: u32 = 1;
/// Magic, format version, header length, header checksum.
pub(super) const FIXED: usize = 8 + 4 + 4 + 32;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(string, tag = "1")]
    pub(super) backend: String,
    #[prost(string, tag = "2")]
    pub(super) library: String,
    #[prost(string, tag = "3")]
    pub(super) target: String,
    #[prost(string, tag = "4")]
    pub(super) crate_version: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) inputs: Vec<Spec>,
    #[prost(message, repeated, tag = "6")]
    pub(super) outputs: Vec<Spec>,
    #[prost(uint64, tag = "7")]
    pub(super) build_nanos: u64,
    #[prost(uint64, tag = "8")]
    pub(super) plan_len: u64,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) plan_hash: Vec<u8>,
    /// Came later: older files have none, and older readers pass them over.
    #[prost(string, repeated, tag = "10")]
    pub(super) profile_names: Vec<String>,
    /// Came later too. Nobody says that a backend built the plan.
    #[prost(bool, tag = "11")]
    pub(super) any_bytes: bool,
    /// Came later too.
    #[prost(message, optional, tag = "12")]
    pub(super) label: Option<Label>,
    /// Came later too.
    #[prost(string, optional, tag = "13")]
    pub(super) interface: Option<String>,
}

/// The specs of a header, whose names must tell them apart.
pub(super) fn specs(stated: Vec<Spec>) -> Result<Vec<TensorSpec>> {
    let corrupt = |text: &str| Error::new(ErrorKind::EngineCorrupt, text);
    let specs = stated.into_iter().map(Spec::into_spec).collect::<Result<Vec<_>>>()?;
    let mut names = HashSet::new();
    for spec in &specs {
        if spec.name.is_empty() {
            return Err(corrupt("an input or output of the header has no name"));
        }
        if !names.insert(&*spec.name) {
            return Err(corrupt("the header has two of this name").on_tensor(&spec.name));
        }
    }
    Ok(specs)
}

/// What the cache writes into the header of an entry.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    /// The hash that the entry is kept under.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    /// Names and values of what was hashed, in turn.
    #[prost(string, repeated, tag = "2")]
    pub(crate) parts: Vec<String>,
}

/// What the header of a file tells without its plan.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) kind: BackendKind,
    pub(crate) library: String,
    pub(crate) target: String,
    pub(crate) signature: Signature,
    pub(crate) label: Option<Label>,
}

impl Head {
    /// Reads and checks the header alone.
    pub(crate) fn read(mut file: impl Read) -> io::Result<Self> {
        let corrupt = || io::Error::new(io::ErrorKind::InvalidData, "no header of an engine");
        let mut fixed = [0; FIXED];
        file.read_exact(&mut fixed)?;
        let word = |at: usize| fixed[at..at + 4].try_into().map(u32::from_le_bytes);
        let (Ok(format), Ok(len)) = (word(8), word(12)) else { return Err(corrupt()) };
        if &fixed[..8] != MAGIC || format != FORMAT {
            return Err(corrupt());
        }
        let mut header = Vec::new();
        file.take(u64::from(len)).read_to_end(&mut header)?;
        if blake3::hash(&header).as_bytes() != &fixed[16..] {
            return Err(corrupt());
        }
        let Header { backend, library, target, inputs, outputs, label, .. } =
            Header::decode(&*header).map_err(|_| corrupt())?;
        let [inputs, outputs] =
            [inputs, outputs].map(|stated| specs(stated).map_err(|_| corrupt()));
        let signature = Signature { inputs: inputs?, outputs: outputs? };
        Ok(Self { kind: BackendKind::from_name(&backend), library, target, signature, label })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Spec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    dtype: i32,
    #[prost(message, repeated, tag = "3")]
    dims: Vec<DimHeader>,
    /// Came later, as the names of profiles did: the axes whose sizes only a file states.
    #[prost(uint32, repeated, tag = "4")]
    claimed: Vec<u32>,
}

/// A dimension; a fixed one has no name and its size as `opt`.
#[derive(Clone, PartialEq, Message)]
struct DimHeader {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    min: u64,
    #[prost(uint64, tag = "3")]
    opt: u64,
    #[prost(uint64, tag = "4")]
    max: u64,
    /// Came later, as the names of profiles did.
    #[prost(uint64, repeated, tag = "5")]
    sizes: Vec<u64>,
}

impl Spec {
    pub(super) fn from_spec(spec: &TensorSpec) -> Self {
        let dim = |dim: &Dim| DimHeader {
            name: match dim {
                Dim::Fixed(_) => String::new(),
                Dim::Symbol(symbol) => symbol.name().to_owned(),
            },
            min: dim.min() as u64,
            opt: dim.opt() as u64,
            max: dim.max() as u64,
            sizes: dim.symbol().map_or(&[][..], Symbol::sizes).iter().map(|&s| s as u64).collect(),
        };
        Self {
            name: spec.name.clone(),
            dtype: crate::export::onnx::to_onnx(spec.dtype) as i32,
            dims: spec.shape.dims().iter().map(dim).collect(),
            claimed: spec.claim.axes().iter().map(|&axis| axis as u32).collect(),
        }
    }

    fn into_spec(self) -> Result<TensorSpec> {
        let corrupt =
            |e: Error| Error::new(ErrorKind::EngineCorrupt, e.to_string()).on_tensor(&self.name);
        let dtype: DType = crate::export::onnx::from_onnx(self.dtype).map_err(corrupt)?;
        let size = |stated: u64| usize::try_from(stated).unwrap_or(usize::MAX);
        let dim = |dim: DimHeader| match dim.name.as_str() {
            "" => Ok(Dim::Fixed(size(dim.opt))),
            name => {
                let [min, opt, max] = [dim.min, dim.opt, dim.max].map(size);
                let symbol = Symbol::new(name, min, opt, max);
                let sizes = dim.sizes.iter().map(|&stated| size(stated));
                let symbol = match dim.sizes.is_empty() {
                    true => symbol,
                    false => symbol.and_then(|s| s.tuned_for(sizes)?.with_opt(opt)),
                };
                symbol.map(Dim::from).map_err(corrupt)
            }
        };
        let dims = self.dims.into_iter().map(dim).collect::<Result<Vec<Dim>>>()?;
        // The smallest tensor must have a size in bytes.
        let bytes = dims.iter().try_fold(dtype.size(), |n, dim| n.checked_mul(dim.min()));
        if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            let text = format!("no machine has room for {dtype} {}", Shape::from(dims));
            return Err(Error::new(ErrorKind::EngineCorrupt, text).on_tensor(&self.name));
        }
        let mut spec = TensorSpec::new(self.name, dtype, Shape::from(dims));
        spec.claim = Claim::of(self.claimed.into_iter().map(|axis| axis as usize).collect());
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Engine;

    /// The header as it was before profiles had names.
    #[derive(Clone, PartialEq, Message)]
    struct OldHeader {
        #[prost(string, tag = "1")]
        backend: String,
        #[prost(string, tag = "2")]
        library: String,
        #[prost(string, tag = "3")]
        target: String,
        #[prost(string, tag = "4")]
        crate_version: String,
        #[prost(message, repeated, tag = "5")]
        inputs: Vec<Spec>,
        #[prost(message, repeated, tag = "6")]
        outputs: Vec<Spec>,
        #[prost(uint64, tag = "7")]
        build_nanos: u64,
        #[prost(uint64, tag = "8")]
        plan_len: u64,
        #[prost(bytes = "vec", tag = "9")]
        plan_hash: Vec<u8>,
    }

    #[test]
    fn sizes_that_make_no_symbol_are_corrupt() {
        let symbol = DimHeader { name: "n".into(), min: 1, opt: 2, max: 4, sizes: vec![] };
        let alone = DimHeader { sizes: vec![1, 4], ..symbol.clone() };
        for dim in [DimHeader { min: 3, ..symbol.clone() }, alone, DimHeader { max: 1, ..symbol }] {
            let dtype = crate::export::onnx::to_onnx(DType::F32) as i32;
            let spec = Spec { name: "x".into(), dtype, dims: vec![dim], claimed: Vec::new() };
            let error = spec.into_spec().unwrap_err();
            assert_eq!((error.kind(), error.tensor()), (ErrorKind::EngineCorrupt, Some("x")));
        }
    }

    #[test]
    fn names_of_profiles_are_neither_missed_nor_felt_by_others() {
        let spec = TensorSpec::new("x", DType::F32, [2usize]);
        let signature = Signature { inputs: vec![spec], outputs: Vec::new() };
        let plan = b"plan".to_vec();
        let engine = Engine::new(BackendKind::Ort, "1", "cpu", signature, Duration::ZERO, plan);
        // SAFETY: nothing loads it.
        let engine = unsafe { engine.assume_built() };
        let named = engine.clone().with_profile_names(["small", "", "large"]);
        let read = Engine::from_bytes(named.to_bytes()).unwrap();
        assert_eq!(
            (&read, read.profile_names()),
            (&named, &["small", "", "large"].map(String::from)[..])
        );

        // Without names the bytes are those of before, and with them an old reader finds what it knows.
        let header = |engine: &Engine| {
            let head = engine.head_with(None);
            OldHeader::decode(&head[FIXED..]).unwrap()
        };
        assert_eq!(header(&engine).encode_to_vec(), engine.head_with(None)[FIXED..]);
        assert_eq!(header(&named), header(&engine));
        assert!(Engine::from_bytes(engine.to_bytes()).unwrap().profile_names().is_empty());
    }

    #[test]
    fn sizes_that_are_tuned_for_are_kept() {
        let batch = Dim::dynamic("batch", 1..=64).unwrap().tuned_for([8, 32]).unwrap();
        let batch = batch.with_opt(8).unwrap();
        let spec = TensorSpec::new("x", DType::F32, [batch, Dim::Fixed(2)]);
        let signature = Signature { inputs: vec![spec], outputs: Vec::new() };
        let engine = Engine::new(BackendKind::Ort, "1", "cpu", signature, Duration::ZERO, vec![1]);
        let read = Engine::from_bytes(engine.to_bytes()).unwrap();
        assert_eq!(read.signature(), engine.signature());
    }

    fn with_header(change: impl FnOnce(&mut Signature)) -> Result<Engine> {
        let spec = |name: &str| TensorSpec::new(name, DType::F32, [2usize]);
        let mut signature =
            Signature { inputs: vec![spec("x"), spec("y")], outputs: vec![spec("z")] };
        change(&mut signature);
        let engine = Engine::new(BackendKind::Ort, "1", "cpu", signature, Duration::ZERO, vec![1]);
        Engine::from_bytes(engine.to_bytes())
    }

    #[test]
    fn a_header_that_cannot_be_is_corrupt() {
        assert!(with_header(|_| {}).is_ok());
        let kind = |read: Result<Engine>| read.unwrap_err().kind();
        let corrupt = ErrorKind::EngineCorrupt;
        assert_eq!(kind(with_header(|s| s.inputs[0].name.clear())), corrupt);
        assert_eq!(kind(with_header(|s| s.inputs[1].name = "x".into())), corrupt);
        assert_eq!(kind(with_header(|s| s.outputs.push(s.outputs[0].clone()))), corrupt);
        for sizes in [vec![usize::MAX], vec![1 << 40, 1 << 40], vec![isize::MAX as usize / 2]] {
            let error = with_header(|s| s.inputs[1].shape = sizes.clone().into()).unwrap_err();
            assert_eq!((error.kind(), error.tensor()), (corrupt, Some("y")), "{sizes:?}");
        }
    }
}
