//! What a tensor is without its values: element type, dimensions, name; and the signature of a
//! model. No data, no framework, no backend.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::Arc};

use crate::error::{Error, ErrorKind, Result};

/// Element type of a tensor, named as ONNX and the frameworks name it.
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

/// A symbolic dimension: a name, and the sizes it may take.
///
/// Equal names mean equal sizes within one model. `opt` is the size an engine is tuned for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Symbol {
    name: Arc<str>,
    min: usize,
    opt: usize,
    max: usize,
    sizes: Vec<usize>,
}

impl Symbol {
    /// The largest size of a symbol whose range nobody stated.
    pub const UNBOUNDED: usize = i32::MAX as usize;

    /// A symbol with the sizes `min..=max`, tuned for `opt`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name is empty or not `min <= opt <= max`.
    pub fn new(name: impl Into<Arc<str>>, min: usize, opt: usize, max: usize) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || min > opt || opt > max {
            let text =
                format!("symbol `{name}` needs a name and min {min} <= opt {opt} <= max {max}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(Self { name, min, opt, max, sizes: Vec::new() })
    }

    /// The same, tuned for several sizes: for each alone, where a backend can do that. What can be had for one
    /// only, such as the form that a layer is written in, is for the middle one, or the larger of the two in the
    /// middle; [`with_opt`](Self::with_opt) chooses another.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without sizes, or for one that the symbol cannot take.
    pub fn tuned_for(mut self, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut sizes: Vec<usize> = sizes.into_iter().collect();
        sizes.sort_unstable();
        sizes.dedup();
        let (Some(&least), Some(&most)) = (sizes.first(), sizes.last()) else {
            let text = format!("symbol `{}` is tuned for no size", self.name);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        if least < self.min || most > self.max {
            let text = format!("symbol {self:?} cannot be tuned for {sizes:?}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.opt = sizes[sizes.len() / 2];
        self.sizes = sizes;
        Ok(self)
    }

    /// The same with another size to tune for, or to tune for most.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for one that the symbol cannot take, or that is not among those that it is
    /// [tuned for](Self::tuned_for).
    pub fn with_opt(mut self, opt: usize) -> Result<Self> {
        let among = self.sizes.is_empty() || self.sizes.contains(&opt);
        if opt < self.min || opt > self.max || !among {
            let text = format!("symbol {self:?} cannot be tuned for {opt}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.opt = opt;
        Ok(self)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The smallest size.
    pub fn min(&self) -> usize {
        self.min
    }

    /// The size to tune for.
    pub fn opt(&self) -> usize {
        self.opt
    }

    /// The largest size; [`Symbol::UNBOUNDED`] when nobody stated one.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The sizes that it is [tuned for](Self::tuned_for) alone, in rising order.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Whether this is the symbol of that name, or a size computed from it: its name is the formula
    /// then.
    pub(crate) fn depends_on(&self, symbol: &str) -> bool {
        let in_name = |c: char| c.is_alphanumeric() || c == '_';
        self.name.match_indices(symbol).any(|(at, found)| {
            let (before, after) = (&self.name[..at], &self.name[at + found.len()..]);
            !before.ends_with(in_name) && !after.starts_with(in_name)
        })
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.max == Self::UNBOUNDED {
            return f.write_str(&self.name);
        }
        write!(f, "{}={}..={}", self.name, self.min, self.max)?;
        match &self.sizes[..] {
            [] => Ok(()),
            sizes => write!(f, " tuned for {sizes:?}"),
        }
    }
}

/// One dimension of a shape: a size, or a [symbol](Symbol) that stands for one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Known when the model runs.
    Symbol(Symbol),
}

impl Dim {
    /// A symbolic dimension that takes the sizes in `range`, tuned for the largest.
    ///
    /// ```
    /// # use accelerant::Dim;
    /// let batch = Dim::dynamic("batch", 1..=64)?;
    /// assert_eq!(batch.max(), 64);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name or the range is empty.
    pub fn dynamic(name: impl Into<Arc<str>>, range: RangeInclusive<usize>) -> Result<Self> {
        let (min, max) = range.into_inner();
        Symbol::new(name, min, max, max).map(Self::Symbol)
    }

    /// A symbolic dimension tuned for several sizes, as [`Symbol::tuned_for`].
    ///
    /// ```
    /// # use accelerant::Dim;
    /// let length = Dim::dynamic("length", 1..=512)?.tuned_for([64, 128, 512])?;
    /// assert_eq!(length.opt(), 128);
    /// assert_eq!(length.with_opt(512)?.opt(), 512);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] as there, and for a size that is fixed.
    pub fn tuned_for(self, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        self.into_symbol()?.tuned_for(sizes).map(Self::Symbol)
    }

    /// A symbolic dimension with another size to tune for, as [`Symbol::with_opt`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] as there, and for a size that is fixed.
    pub fn with_opt(self, opt: usize) -> Result<Self> {
        self.into_symbol()?.with_opt(opt).map(Self::Symbol)
    }

    fn into_symbol(self) -> Result<Symbol> {
        match self {
            Self::Symbol(symbol) => Ok(symbol),
            Self::Fixed(size) => {
                let text = format!("a fixed size, {size}, cannot be tuned for others");
                Err(Error::new(ErrorKind::InvalidArgument, text))
            }
        }
    }

    /// The smallest size.
    pub fn min(&self) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Symbol(symbol) => symbol.min,
        }
    }

    /// The size to tune for.
    pub fn opt(&self) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Symbol(symbol) => symbol.opt,
        }
    }

    /// The largest size.
    pub fn max(&self) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Symbol(symbol) => symbol.max,
        }
    }

    /// The size, if it is fixed.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Symbol(_) => None,
        }
    }

    /// The symbol, if it is one.
    pub(crate) fn symbol(&self) -> Option<&Symbol> {
        match self {
            Self::Fixed(_) => None,
            Self::Symbol(symbol) => Some(symbol),
        }
    }

    /// A dimension computed from others: folded when all are fixed, else a symbol named by the
    /// formula, whose range is that of the formula. `f` must be monotonic in each argument.
    pub(crate) fn map(
        formula: impl Fn() -> String,
        dims: &[&Dim],
        f: impl Fn(&[usize]) -> usize,
    ) -> Self {
        let at = |pick: fn(&Dim) -> usize| f(&dims.iter().map(|d| pick(d)).collect::<Vec<_>>());
        let (a, opt, b) = (at(Dim::min), at(Dim::opt), at(Dim::max));
        if dims.iter().all(|dim| dim.fixed().is_some()) {
            return Self::Fixed(opt);
        }
        let (min, max) = (a.min(b), a.max(b).min(Symbol::UNBOUNDED));
        if min == max {
            return Self::Fixed(min);
        }
        let opt = opt.clamp(min, max);
        Self::Symbol(Symbol { name: formula().into(), min, opt, max, sizes: Vec::new() })
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Self::Fixed(size)
    }
}

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Self {
        Self::Symbol(symbol)
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(symbol) => write!(f, "{symbol:?}"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbol(symbol) => f.write_str(&symbol.name),
        }
    }
}

/// Dimensions of a tensor, outermost first. A scalar has none.
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

    /// Smallest, tuned and largest sizes: an optimization profile of this tensor.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name in the ONNX graph and the engine.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape; symbolic dimensions are known when the model runs.
    pub shape: Shape,
}

impl TensorSpec {
    /// A spec from its parts.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }

    /// Checks the type and sizes of a tensor given for this spec, and binds its symbols.
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
            return fail(ErrorKind::DTypeMismatch, format!("expected {}, got {dtype}", self.dtype));
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
                    return at(
                        ErrorKind::ShapeMismatch,
                        format!("expected {expected}, got {size}"),
                    );
                }
                Dim::Fixed(_) => {}
                Dim::Symbol(symbol) => {
                    if size < symbol.min || size > symbol.max {
                        let Symbol { name, min, max, .. } = symbol;
                        let text =
                            format!("`{name}` = {size} is outside the profile {min}..={max}");
                        return at(ErrorKind::OutOfProfile, text);
                    }
                    let first = *bound.entry(&symbol.name).or_insert(size);
                    if first != size {
                        let text = format!("`{}` is {first} elsewhere, {size} here", symbol.name);
                        return at(ErrorKind::ShapeMismatch, text);
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.dtype, self.shape)
    }
}

/// Inputs and outputs of a model, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Signature {
    /// The inputs, in the order in which they are passed.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the order in which they are returned.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_tuned_for_sizes_that_it_takes() {
        let batch = || Dim::dynamic("batch", 2..=32).unwrap();
        let tuned = batch().tuned_for([8, 2, 8]).unwrap();
        let symbol = tuned.symbol().unwrap();
        assert_eq!((symbol.sizes(), symbol.opt(), symbol.max()), (&[2, 8][..], 8, 32));
        assert_eq!(format!("{tuned:?}"), "batch=2..=32 tuned for [2, 8]");
        assert_eq!(batch().symbol().unwrap().sizes(), [0usize; 0]);
        let three = batch().tuned_for([2, 32, 8]).unwrap();
        assert_eq!(three.opt(), 8, "the middle one");
        assert_eq!(three.clone().with_opt(2).unwrap().opt(), 2);
        assert_eq!(batch().with_opt(16).unwrap().opt(), 16);
        for error in [three.with_opt(16), batch().with_opt(1), Dim::Fixed(8).with_opt(8)] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        for wrong in [vec![], vec![1], vec![2, 33]] {
            let error = batch().tuned_for(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
        assert!(Dim::Fixed(8).tuned_for([8]).is_err());
    }
}
