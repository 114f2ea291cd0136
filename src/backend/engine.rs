//! A built engine and its file: a header (builder, device, checksums), which `header` has, and the backend's own bytes.
//! Knows no backend.

use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::BackendKind;
use super::header::{FIXED, FORMAT, Header, Label, MAGIC, Spec, specs};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{read_plain, write_atomic};
use crate::hash::hash;
use crate::spec::Signature;

/// A model built by a backend, ready to be [loaded](super::Backend::load) or saved.
///
/// The file of an engine has a header of this crate: the backend, its version, the device, the signature and
/// checksums. An engine is a program: use only engines that you trust. The checksums detect damage, but no forgery.
///
/// ```
/// use accelerant::{DType, Engine, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("double");
/// let x = graph.input("x", DType::F32, [3])?;
/// graph.output("y", &x.affine(2.0, 0.0)?)?;
/// let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("double.engine");
/// module.engine().save(&path)?;
///
/// let engine = Engine::open(&path)?;
/// println!("{} {} for {}: {}", engine.kind(), engine.library(), engine.target(), engine.signature());
/// let again = InferenceModule::from_engine(engine, &OptimizeOptions::new())?;
/// let y = again.run(&[HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    kind: BackendKind,
    library: String,
    target: String,
    signature: Signature,
    build_time: Duration,
    plan: Bytes,
    profile_names: Vec<String>,
    /// Whether the plan is known to be what a backend built.
    built: bool,
    /// Whether this process wrote the plan.
    made_here: bool,
    /// Where kernels that are compiled for it are kept, which is of this machine.
    kernels: Option<PathBuf>,
    /// What a framework's code sees of the model, as the export wrote it.
    interface: Option<String>,
    /// The hash of the plan, once somebody asked.
    plan_hash: OnceLock<[u8; 32]>,
}

impl Engine {
    /// An engine of a backend: `library` is the exact version that can load
    /// `plan`, and `target` is the device that the engine was built for.
    ///
    /// The plan can be any bytes, and TensorRT does not check the whole plan. The backends of TensorRT therefore
    /// refuse such an engine, unless you call [`assume_built`](Self::assume_built).
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
        let built = false;
        let kernels = None;
        Self {
            kind,
            library,
            target,
            signature,
            build_time,
            plan,
            profile_names,
            built,
            made_here: false,
            kernels,
            interface: None,
            plan_hash: OnceLock::new(),
        }
    }

    /// States that the backend of this engine built the plan. The library then reads the plan without further checks.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use accelerant::{BackendKind, Signature, Engine};
    /// # let (signature, plan) = (Signature::default(), Vec::new());
    /// // A plan that `trtexec` built with TensorRT-RTX 1.6.1.120.
    /// let (kind, version) = (BackendKind::TensorRtRtx, "1.6.1.120");
    /// let engine = Engine::new(kind, version, "any", signature, Duration::ZERO, plan);
    /// // SAFETY: the plan comes from this library and from a place that we trust.
    /// let engine = unsafe { engine.assume_built() };
    /// assert!(engine.is_built());
    /// ```
    ///
    /// # Safety
    /// The plan must come unchanged from a build by the library that the engine names. A plan is a program: TensorRT
    /// runs the code in the plan, and reads the plan without checks.
    #[must_use]
    pub unsafe fn assume_built(mut self) -> Self {
        self.built = true;
        self
    }

    /// What a backend of this crate has just built.
    #[cfg(any(feature = "_tensorrt", feature = "ort", feature = "tract"))]
    pub(crate) fn just_built(self) -> Self {
        Self { built: true, made_here: true, ..self }
    }

    /// The same with another plan of the same inputs and outputs, which took so long.
    #[cfg(feature = "_tensorrt")]
    pub(crate) fn with_plan(&self, plan: Bytes, time: Duration) -> Self {
        let plan_hash = OnceLock::new();
        Self { plan, build_time: time, plan_hash, ..self.clone() }.just_built()
    }

    /// Whether this process wrote the plan, whatever a file says.
    #[cfg_attr(not(feature = "ort"), allow(dead_code))]
    pub(crate) fn is_made_here(&self) -> bool {
        self.made_here
    }

    /// Whether a backend built the plan. This is true if this program built the plan, or if the file says so.
    pub fn is_built(&self) -> bool {
        self.built
    }

    /// An error for a plan of which nobody says that a backend built it.
    #[cfg(feature = "_tensorrt")]
    pub(crate) fn expect_built(&self) -> Result<()> {
        if self.built {
            return Ok(());
        }
        let text = "this plan may be any bytes, and TensorRT reads a plan without checks: see `Engine::assume_built`";
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("load engine"))
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

    /// The same with what a framework's code sees of the model.
    pub(crate) fn with_interface(self, interface: Option<&str>) -> Self {
        Self { interface: interface.map(ToOwned::to_owned), ..self }
    }

    /// What a framework's code sees of the model, as the export wrote it.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// The same with names for its optimization profiles, in their order; empty for one without.
    #[must_use]
    pub fn with_profile_names(mut self, names: impl IntoIterator<Item: Into<String>>) -> Self {
        self.profile_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// The backend that built the engine.
    pub fn kind(&self) -> &BackendKind {
        &self.kind
    }

    /// The version of the library that built the engine.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// The device that the engine was built for, as the backend names it.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Inputs and outputs, in order.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The time that the backend spent parsing and building.
    pub fn build_time(&self) -> Duration {
        self.build_time
    }

    /// The names of the optimization profiles, in order. A profile without a name has an empty name. The list is empty if no
    /// profile has a name.
    pub fn profile_names(&self) -> &[String] {
        &self.profile_names
    }

    /// The bytes of the backend. For TensorRT, this is the serialized plan, which `trtexec` reads too.
    pub fn plan(&self) -> &Bytes {
        &self.plan
    }

    /// Checks that this engine was built by `kind` and `library`.
    ///
    /// # Errors
    /// [`ErrorKind::EngineIncompatible`] with the builder of the engine and the given library.
    pub fn expect(&self, kind: &BackendKind, library: &str) -> Result<()> {
        if self.kind != *kind || self.library != library {
            let (built, version) = (&self.kind, &self.library);
            let text = format!("the engine was built by {built} {version}, found {kind} {library}");
            return Err(Error::new(ErrorKind::EngineIncompatible, text).in_operation("load engine"));
        }
        Ok(())
    }

    /// Writes the engine to a file. The file is either complete or not written.
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
    /// **An engine is a program: open only engines that you trust.** TensorRT runs the code in an engine, and does not
    /// check the whole engine. The checksums detect damage, but no forgery. A person who can write the file can run
    /// code in this process. Open only files that you or people you trust built, from folders that nobody else can
    /// write.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], or as [`from_bytes`](Self::from_bytes).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_plain(path).map_err(|e| Error::io("read", path, e))?;
        Self::from_bytes(bytes).map_err(|e| e.in_operation(format!("open {}", path.display())))
    }

    /// The engine as the bytes of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(&self.plan);
        bytes
    }

    /// An engine from the bytes of its file. The bytes are a program, as for [`open`](Self::open).
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`] if the bytes are no engine, truncated or changed;
    /// [`ErrorKind::EngineIncompatible`] if a later version of this crate wrote the bytes.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::with_label(bytes.into()).map(|(engine, _)| engine)
    }

    /// An engine, and the label that its file has in the cache.
    pub(crate) fn with_label(bytes: Bytes) -> Result<(Self, Option<Label>)> {
        let corrupt = |text: String| Error::new(ErrorKind::EngineCorrupt, text);
        if bytes.len() < FIXED || &bytes[..8] != MAGIC {
            let found = bytes.len();
            return Err(corrupt(format!(
                "not an accelerant engine ({found} bytes); `OnnxModel::open` reads an .onnx file"
            )));
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
            return Err(corrupt(format!("truncated: {} bytes, header ends at {end}", bytes.len())));
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
                "truncated or padded: {got} bytes of plan, not {expected}: copy the file again, or build the engine again"
            )));
        }
        let plan_hash = *hash(&plan).as_bytes();
        if plan_hash[..] != header.plan_hash {
            return Err(corrupt("the plan's checksum does not match".into()));
        }
        let engine = Self {
            kind: BackendKind::from_name(&header.backend),
            library: header.library,
            target: header.target,
            signature: Signature { inputs: specs(header.inputs)?, outputs: specs(header.outputs)? },
            build_time: Duration::from_nanos(header.build_nanos),
            plan,
            profile_names: header.profile_names,
            built: !header.any_bytes,
            made_here: false,
            kernels: None,
            interface: header.interface,
            plan_hash: plan_hash.into(),
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
            plan_hash: self.plan_hash.get_or_init(|| hash(&self.plan).into()).to_vec(),
            profile_names: self.profile_names.clone(),
            any_bytes: !self.built,
            label,
            interface: self.interface.clone(),
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

/// Whether somebody says that the plan was built is no part of it, nor where its kernels are kept.
impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, &self.library, &self.target, &self.plan, &self.signature)
            == (&other.kind, &other.library, &other.target, &other.plan, &other.signature)
            && (self.build_time, &self.profile_names) == (other.build_time, &other.profile_names)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, library, target, signature, .. } = self;
        write!(f, "Engine({kind} {library} for {target}, {signature}, {} bytes)", self.plan.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_makes_a_built_plan_out_of_any_bytes() {
        let plan = vec![0u8; 9];
        let engine = Engine::new(
            BackendKind::TensorRtRtx,
            "1",
            "any",
            Signature::default(),
            Duration::ZERO,
            plan,
        );
        let again = |engine: &Engine| Engine::from_bytes(engine.to_bytes()).unwrap();
        assert!(
            !engine.is_built() && !again(&engine).is_built() && !again(&again(&engine)).is_built()
        );
        // SAFETY: nothing loads it.
        let built = unsafe { engine.clone().assume_built() };
        assert!(built.is_built() && again(&built).is_built());
        assert_eq!(built, engine);
    }
}
