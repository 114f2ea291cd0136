//! A tensor without its values: element type, dimensions, name. The signature of a model. No data, no framework, no
//! backend.

mod claim;
mod dim;

pub(crate) use claim::Claim;
pub use dim::{Dim, Symbol};

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::error::{Error, ErrorKind, Result};

/// The element type of a tensor.
///
/// ```
/// use accelerant::DType;
///
/// let half: DType = "f16".parse()?;
/// assert_eq!((half, half.size(), half.to_string()), (DType::F16, 2, "f16".to_owned()));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// IEEE 754 binary64.
    F64,
    /// 8-bit signed integer.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// 8-bit unsigned integer.
    U8,
    /// 16-bit unsigned integer.
    U16,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit unsigned integer.
    U64,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Every type.
    pub const ALL: &[Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::F64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Bool,
    ];

    /// Size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Whether this is a floating point type.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16 | Self::F64)
    }

    /// Whether this is an integer type, signed or not.
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F64 => "f64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::Bool => "bool",
        })
    }
}

/// Parses the name of a type, such as `f32`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for any other name.
impl FromStr for DType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|known| known.to_string() == name).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            let text = format!("`{name}` is no element type; these are: {}", names.join(", "));
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }
}

/// The dimensions of a tensor, outermost first. A scalar has no dimensions.
///
/// ```
/// use accelerant::{Dim, Shape};
///
/// let shape = Shape::from([Dim::dynamic("batch", 1..=64)?, Dim::from(10)]);
/// assert_eq!((shape.to_string().as_str(), shape.rank()), ("[batch, 10]", 2));
/// assert_eq!(shape.profile()[2], [64, 10]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// The dimensions.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The sizes, if all are fixed.
    pub fn fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::fixed).collect()
    }

    /// Whether any dimension is symbolic.
    pub fn is_dynamic(&self) -> bool {
        self.0.iter().any(|dim| dim.fixed().is_none())
    }

    /// The smallest, the tuned and the largest sizes: an optimization profile of this tensor.
    pub fn profile(&self) -> [Vec<usize>; 3] {
        [Dim::min, Dim::opt, Dim::max].map(|pick| self.0.iter().map(pick).collect())
    }
}

impl<D: Into<Dim>, I: IntoIterator<Item = D>> From<I> for Shape {
    fn from(dims: I) -> Self {
        Self(dims.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// Name, element type and shape of an input or output.
///
/// ```
/// use accelerant::{DType, Dim, TensorSpec};
///
/// let pixels = TensorSpec::new("pixels", DType::F32, [Dim::dynamic("batch", 1..=64)?, Dim::from(64)]);
/// assert_eq!(pixels.to_string(), "pixels: f32 [batch, 64]");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorSpec {
    /// The name in the ONNX graph and the engine.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape. Sizes of symbols are known only during a run.
    pub shape: Shape,
    /// The sizes of an output that only a file states.
    pub(crate) claim: Claim,
}

impl TensorSpec {
    /// A spec from its parts.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into(), claim: Claim::default() }
    }

    /// Checks the type and the sizes of a tensor against this spec, and binds its symbols.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`], [`ErrorKind::ShapeMismatch`] or [`ErrorKind::OutOfProfile`],
    /// naming this tensor and the axis.
    pub fn check<'a>(
        &'a self,
        dtype: DType,
        sizes: &[usize],
        bound: &mut BTreeMap<&'a str, usize>,
    ) -> Result<()> {
        let fail = |kind, text: String| Err(Error::new(kind, text).on_tensor(&self.name));
        if dtype != self.dtype {
            return fail(
                ErrorKind::DTypeMismatch,
                format!("expected {}, got {dtype}: cast the tensor first", self.dtype),
            );
        }
        if sizes.len() != self.shape.rank() {
            let (rank, got) = (self.shape.rank(), sizes.len());
            let text = format!("expected rank {rank} {}, got rank {got} {sizes:?}", self.shape);
            return fail(ErrorKind::ShapeMismatch, text);
        }
        for (axis, (dim, &size)) in self.shape.dims().iter().zip(sizes).enumerate() {
            let at = |kind, text: String| {
                Err(Error::new(kind, text).on_tensor(&self.name).at_axis(axis))
            };
            match dim {
                Dim::Fixed(expected) if *expected != size => {
                    let option = if axis == 0 { "dynamic_batch" } else { "dynamic_axis" };
                    let text = format!(
                        "expected {expected}, got {size}: the model has a fixed size here: export with \
                         `OptimizeOptions::{option}` to allow other sizes"
                    );
                    return at(ErrorKind::ShapeMismatch, text);
                }
                Dim::Fixed(_) => {}
                Dim::Symbol(symbol) => {
                    if size < symbol.min() || size > symbol.max() {
                        let (name, min, max) = (symbol.name(), symbol.min(), symbol.max());
                        let text = format!(
                            "`{name}` = {size} is outside the profile {min}..={max}: export or build with a \
                                 larger range"
                        );
                        return at(ErrorKind::OutOfProfile, text);
                    }
                    let first = *bound.entry(symbol.name()).or_insert(size);
                    if first != size {
                        let text = format!("`{}` is {first} elsewhere, {size} here", symbol.name());
                        return at(ErrorKind::ShapeMismatch, text);
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks the sizes that a backend gave for an output with this spec, where the spec fixes them.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`], naming this tensor and the axis.
    #[cfg(any(feature = "ort", feature = "tract", feature = "_tensorrt"))]
    pub(crate) fn check_result(&self, sizes: &[usize]) -> Result<()> {
        let dims = self.shape.dims();
        let fail = |text: String| Error::new(ErrorKind::Execution, text).on_tensor(&self.name);
        if sizes.len() != dims.len() {
            let (rank, got) = (dims.len(), sizes.len());
            let text = format!(
                "the backend gave rank {got} {sizes:?}, the signature says rank {rank} {}",
                self.shape
            );
            return Err(fail(text));
        }
        match self.others(sizes).next() {
            Some(axis) => {
                let (size, fixed) = (sizes[axis], &dims[axis]);
                let text = format!("the backend gave size {size}, the signature says {fixed}");
                Err(fail(text).at_axis(axis))
            }
            None => Ok(()),
        }
    }

    /// The same, but a run is believed where a file alone states the size. The log says so once, and the module's report.
    ///
    /// # Errors
    /// As [`check_result`](Self::check_result).
    #[cfg(any(feature = "ort", feature = "tract"))]
    pub(crate) fn check_unless_claimed(&self, sizes: &[usize]) -> Result<()> {
        let is_claimed = |axis| self.claim.axes().contains(&axis);
        let other = self.others(sizes).next();
        let Some(axis) = other.filter(|_| self.others(sizes).all(is_claimed)) else {
            return self.check_result(sizes);
        };
        let (name, size, fixed) = (&self.name, sizes[axis], &self.shape.dims()[axis]);
        let text = format!(
            "output `{name}`, axis {axis}: a run gave size {size}, and the file says {fixed}, which nothing shows"
        );
        if self.claim.is_wrong(text.clone()) {
            tracing::warn!(target: "accelerant", "{text}");
        }
        Ok(())
    }

    /// The axes whose size is another than the fixed one; none for another rank.
    #[cfg(any(feature = "ort", feature = "tract", feature = "_tensorrt"))]
    fn others(&self, sizes: &[usize]) -> impl Iterator<Item = usize> {
        let dims = self.shape.dims();
        let sizes = if sizes.len() == dims.len() { sizes } else { &[] };
        let other = |(dim, &size): (&Dim, &usize)| dim.fixed().is_some_and(|fixed| fixed != size);
        let places = dims.iter().zip(sizes).enumerate();
        places.filter(move |(_, sizes)| other(*sizes)).map(|(axis, _)| axis)
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.dtype, self.shape)
    }
}

/// Inputs and outputs of a model, in order.
///
/// ```
/// use accelerant::{DType, Dim, Signature, TensorSpec};
///
/// let pixels = TensorSpec::new("pixels", DType::F32, [Dim::from(1), Dim::from(64)]);
/// let signature = Signature::new([pixels], []);
/// assert_eq!(signature.to_string(), "(pixels: f32 [1, 64]) -> ()");
///
/// let error = signature.check_inputs([(DType::F32, &[32, 64][..])].into_iter()).unwrap_err();
/// assert_eq!((error.tensor(), error.axis()), (Some("pixels"), Some(0)));
/// assert!(error.to_string().contains("`OptimizeOptions::dynamic_batch`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Signature {
    /// The inputs, in the order in which they are passed.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the order in which they are returned.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// A signature of these inputs and outputs.
    pub fn new(inputs: impl Into<Vec<TensorSpec>>, outputs: impl Into<Vec<TensorSpec>>) -> Self {
        Self { inputs: inputs.into(), outputs: outputs.into() }
    }

    /// The same with other symbols where `f` gives one.
    pub(crate) fn with_symbols(&self, f: impl Fn(&Symbol) -> Option<Symbol>) -> Self {
        self.with_dims(|symbol| f(symbol).map(Dim::Symbol))
    }

    /// The same with other dimensions for the symbols that `f` gives one for.
    pub(crate) fn with_dims(&self, f: impl Fn(&Symbol) -> Option<Dim>) -> Self {
        let dim = |dim: &Dim| dim.symbol().and_then(&f).unwrap_or_else(|| dim.clone());
        let spec = |spec: &TensorSpec| {
            let shape = Shape::from(spec.shape.dims().iter().map(dim));
            TensorSpec { shape, ..spec.clone() }
        };
        Self {
            inputs: self.inputs.iter().map(spec).collect(),
            outputs: self.outputs.iter().map(spec).collect(),
        }
    }

    /// Checks the types and sizes of all inputs.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`] for a wrong count; else as [`TensorSpec::check`].
    pub fn check_inputs<'s, I>(&self, inputs: I) -> Result<()>
    where
        I: ExactSizeIterator<Item = (DType, &'s [usize])>,
    {
        if inputs.len() != self.inputs.len() {
            let names: Vec<_> = self.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let (expected, got) = (names.len(), inputs.len());
            let text = format!("expected {expected} inputs ({}), got {got}", names.join(", "));
            return Err(Error::new(ErrorKind::InputMismatch, text));
        }
        let mut bound = BTreeMap::new();
        for (spec, (dtype, sizes)) in self.inputs.iter().zip(inputs) {
            spec.check(dtype, sizes, &mut bound)?;
        }
        Ok(())
    }
}

#[cfg(feature = "_tensorrt")]
impl Signature {
    /// Checks that no input is without elements, which TensorRT does not take. Ranks and number
    /// must have been checked.
    pub(crate) fn check_not_empty<'s>(
        &self,
        inputs: impl Iterator<Item = (DType, &'s [usize])>,
    ) -> Result<()> {
        for (spec, (_, sizes)) in self.inputs.iter().zip(inputs) {
            if let Some(axis) = sizes.iter().position(|&size| size == 0) {
                let text = "TensorRT takes no tensors without elements";
                return Err(Error::new(ErrorKind::ShapeMismatch, text)
                    .on_tensor(&spec.name)
                    .at_axis(axis));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |specs: &[TensorSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        write!(f, "({}) -> ({})", list(&self.inputs), list(&self.outputs))
    }
}
