//! A built engine and its file: our header (who built it, for what, with which checksum) and the
//! backend's own bytes. Knows no backend.

use std::{
    fmt,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::BackendKind;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;
use crate::hash::hash;
use crate::spec::{DType, Dim, Shape, Signature, Symbol, TensorSpec};

const MAGIC: &[u8; 8] = b"ACCELENG";
const FORMAT: u32 = 1;
/// Magic, format version, header length, header checksum.
const FIXED: usize = 8 + 4 + 4 + 32;

/// A model built by a backend, ready to be [loaded](super::Backend::load) or saved.
#[derive(Clone)]
pub struct Engine {
    kind: BackendKind,
    library: String,
    target: String,
    signature: Signature,
    build_time: Duration,
    plan: Bytes,
    profile_names: Vec<String>,
    /// Where kernels that are compiled for it are kept, which is of this machine.
    kernels: Option<PathBuf>,
}

/// Where its kernels are kept is no part of an engine.
impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, &self.library, &self.target, &self.signature, self.build_time)
            == (&other.kind, &other.library, &other.target, &other.signature, other.build_time)
            && (&self.plan, &self.profile_names) == (&other.plan, &other.profile_names)
    }
}

impl Engine {
    /// An engine from what the backend built: `library` is the exact version that can load
    /// `plan`, `target` the device it was built for. TensorRT does not check all that it reads of a plan: an
    /// engine is to be trusted as a program is. The checksum of a file finds damage, not forgery.
    pub fn new(
        kind: BackendKind,
        library: impl Into<String>,
        target: impl Into<String>,
        signature: Signature,
        build_time: Duration,
        plan: impl Into<Bytes>,
    ) -> Self {
        let (library, target, plan) = (library.into(), target.into(), plan.into());
        let profile_names = Vec::new();
        Self { kind, library, target, signature, build_time, plan, profile_names, kernels: None }
    }

    /// The same with a place for its kernels, to whose name a backend adds the device.
    pub(crate) fn with_kernels(self, place: PathBuf) -> Self {
        Self { kernels: Some(place), ..self }
    }

    /// Where its kernels are kept.
    #[cfg_attr(not(feature = "_tensorrt"), allow(dead_code))]
    pub(crate) fn kernels(&self) -> Option<&Path> {
        self.kernels.as_deref()
    }

    /// The same with names for its optimization profiles, in their order; empty for one without.
    #[must_use]
    pub fn with_profile_names(mut self, names: impl IntoIterator<Item: Into<String>>) -> Self {
        self.profile_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The backend that built it.
    pub fn kind(&self) -> &BackendKind {
        &self.kind
    }

    /// The library version that built it.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// The device it was built for, as the backend names it.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Inputs and outputs, in order.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Time the backend spent parsing and building.
    pub fn build_time(&self) -> Duration {
        self.build_time
    }

    /// The names of its optimization profiles, in their order: empty for one without, and none at all if no
    /// profile has one.
    pub fn profile_names(&self) -> &[String] {
        &self.profile_names
    }

    /// The backend's own bytes: for TensorRT the serialized plan, as `trtexec` reads it.
    pub fn plan(&self) -> &Bytes {
        &self.plan
    }

    /// Checks that this engine was built by `kind` and `library`.
    ///
    /// # Errors
    /// [`ErrorKind::EngineIncompatible`], naming built and found.
    pub fn expect(&self, kind: &BackendKind, library: &str) -> Result<()> {
        if self.kind != *kind || self.library != library {
            let (built, version) = (&self.kind, &self.library);
            let text = format!("the engine was built by {built} {version}, found {kind} {library}");
            return Err(Error::new(ErrorKind::EngineIncompatible, text).in_operation("load engine"));
        }
        Ok(())
    }

    /// Writes the engine to a file, whole or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let head = self.head();
        write_atomic(path.as_ref(), |file| {
            file.write_all(&head)?;
            file.write_all(&self.plan)
        })
    }

    /// Reads an engine that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], or as [`from_bytes`](Self::from_bytes).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        Self::from_bytes(bytes).map_err(|e| e.in_operation(format!("open {}", path.display())))
    }

    /// The engine as the bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(&self.plan);
        bytes
    }

    /// An engine from the bytes of its file.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`] when the bytes are no engine, cut short or altered;
    /// [`ErrorKind::EngineIncompatible`] when a later version of this crate wrote them.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::with_label(bytes.into()).map(|(engine, _)| engine)
    }

    /// An engine, and the label that its file has in the cache.
    pub(crate) fn with_label(bytes: Bytes) -> Result<(Self, Option<Label>)> {
        let corrupt = |text: String| Error::new(ErrorKind::EngineCorrupt, text);
        if bytes.len() < FIXED || &bytes[..8] != MAGIC {
            let found = bytes.len();
            return Err(corrupt(format!("not an accelerant engine ({found} bytes)")));
        }
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if word(8) != FORMAT {
            let text = format!("engine file format {}, found a crate that reads {FORMAT}", word(8));
            return Err(Error::new(ErrorKind::EngineIncompatible, text));
        }
        let end = FIXED + word(12) as usize;
        let Some(header) = bytes.get(FIXED..end) else {
            return Err(corrupt(format!("cut short: {} bytes, header ends at {end}", bytes.len())));
        };
        if blake3::hash(header).as_bytes() != &bytes[16..FIXED] {
            return Err(corrupt("the header's checksum does not match".into()));
        }
        let header = Header::decode(header)
            .map_err(|e| corrupt(format!("the header cannot be read: {e}")).with_source(e))?;
        let plan = bytes.slice(end..);
        if plan.len() as u64 != header.plan_len {
            let (got, expected) = (plan.len(), header.plan_len);
            return Err(corrupt(format!(
                "cut short or padded: {got} bytes of plan, not {expected}"
            )));
        }
        if hash(&plan).as_bytes()[..] != header.plan_hash {
            return Err(corrupt("the plan's checksum does not match".into()));
        }
        let engine = Self {
            kind: BackendKind::from_name(&header.backend),
            library: header.library,
            target: header.target,
            signature: Signature {
                inputs: header.inputs.into_iter().map(Spec::into_spec).collect::<Result<_>>()?,
                outputs: header.outputs.into_iter().map(Spec::into_spec).collect::<Result<_>>()?,
            },
            build_time: Duration::from_nanos(header.build_nanos),
            plan,
            profile_names: header.profile_names,
            kernels: None,
        };
        Ok((engine, header.label))
    }

    fn head(&self) -> Vec<u8> {
        self.head_with(None)
    }

    /// What goes before the plan in a file.
    pub(crate) fn head_with(&self, label: Option<Label>) -> Vec<u8> {
        let header = Header {
            backend: self.kind.name().to_owned(),
            library: self.library.clone(),
            target: self.target.clone(),
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            inputs: self.signature.inputs.iter().map(Spec::from_spec).collect(),
            outputs: self.signature.outputs.iter().map(Spec::from_spec).collect(),
            build_nanos: self.build_time.as_nanos() as u64,
            plan_len: self.plan.len() as u64,
            plan_hash: hash(&self.plan).as_bytes().to_vec(),
            profile_names: self.profile_names.clone(),
            label,
        }
        .encode_to_vec();
        let mut head = BytesMut::with_capacity(FIXED + header.len());
        head.put_slice(MAGIC);
        head.put_u32_le(FORMAT);
        head.put_u32_le(header.len() as u32);
        head.put_slice(blake3::hash(&header).as_bytes());
        head.put_slice(&header);
        head.into()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, library, target, signature, .. } = self;
        write!(f, "Engine({kind} {library} for {target}, {signature}, {} bytes)", self.plan.len())
    }
}

#[derive(Clone, PartialEq, Message)]
struct Header {
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
    /// Came later: older files have none, and older readers pass them over.
    #[prost(string, repeated, tag = "10")]
    profile_names: Vec<String>,
    /// Came later too.
    #[prost(message, optional, tag = "11")]
    label: Option<Label>,
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
        let Header { backend, library, target, label, .. } =
            Header::decode(&*header).map_err(|_| corrupt())?;
        Ok(Self { kind: BackendKind::from_name(&backend), library, target, label })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    dtype: i32,
    #[prost(message, repeated, tag = "3")]
    dims: Vec<DimHeader>,
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
    fn from_spec(spec: &TensorSpec) -> Self {
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
        }
    }

    fn into_spec(self) -> Result<TensorSpec> {
        let corrupt =
            |e: Error| Error::new(ErrorKind::EngineCorrupt, e.to_string()).on_tensor(&self.name);
        let dtype: DType = crate::export::onnx::from_onnx(self.dtype).map_err(corrupt)?;
        let dim = |dim: DimHeader| match dim.name.as_str() {
            "" => Ok(Dim::Fixed(dim.opt as usize)),
            name => {
                let [min, opt, max] = [dim.min, dim.opt, dim.max].map(|size| size as usize);
                let symbol = Symbol::new(name, min, opt, max);
                let sizes = dim.sizes.iter().map(|&size| size as usize);
                let symbol = match dim.sizes.is_empty() {
                    true => symbol,
                    false => symbol.and_then(|s| s.tuned_for(sizes)?.with_opt(opt)),
                };
                symbol.map(Dim::from).map_err(corrupt)
            }
        };
        let dims = self.dims.into_iter().map(dim).collect::<Result<Vec<Dim>>>()?;
        Ok(TensorSpec::new(self.name, dtype, Shape::from(dims)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let error = Spec { name: "x".into(), dtype, dims: vec![dim] }.into_spec().unwrap_err();
            assert_eq!((error.kind(), error.tensor()), (ErrorKind::EngineCorrupt, Some("x")));
        }
    }

    #[test]
    fn names_of_profiles_are_neither_missed_nor_felt_by_others() {
        let spec = TensorSpec::new("x", DType::F32, [2usize]);
        let signature = Signature { inputs: vec![spec], outputs: Vec::new() };
        let plan = b"plan".to_vec();
        let engine = Engine::new(BackendKind::Ort, "1", "cpu", signature, Duration::ZERO, plan);
        let named = engine.clone().with_profile_names(["small", "", "large"]);
        let read = Engine::from_bytes(named.to_bytes()).unwrap();
        assert_eq!(
            (&read, read.profile_names()),
            (&named, &["small", "", "large"].map(String::from)[..])
        );

        // Without names the bytes are those of before, and with them an old reader finds what it knows.
        let header = |engine: &Engine| {
            let head = engine.head();
            OldHeader::decode(&head[FIXED..]).unwrap()
        };
        assert_eq!(header(&engine).encode_to_vec(), engine.head()[FIXED..]);
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
}
