//! A dimension of a shape: a size, or a symbol with the sizes that it may take.

use std::{fmt, ops::RangeInclusive, sync::Arc};

use crate::error::{Error, ErrorKind, Result};

/// A longer formula is named by its hash. A model may double a size in each node, and then the text of the formula with it.
const LONGEST_FORMULA: usize = 256;

/// The symbol of a dynamic axis: a name and a range of sizes.
///
/// In one model, all axes with the same symbol have the same size. `opt` is the size that an engine is tuned for.
///
/// ```
/// use accelerant::Symbol;
///
/// let batch = Symbol::new("batch", 1, 8, 64)?.tuned_for([1, 8, 32])?;
/// assert_eq!((batch.min(), batch.opt(), batch.max()), (1, 8, 64));
/// assert_eq!(batch.sizes(), [1, 8, 32]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Symbol {
    name: Arc<str>,
    min: usize,
    opt: usize,
    max: usize,
    sizes: Vec<usize>,
}

impl Symbol {
    /// The largest size of a symbol without a range.
    pub const UNBOUNDED: usize = i32::MAX as usize;

    /// A symbol with the sizes `min..=max`, tuned for `opt`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name is empty, or not `min <= opt <= max <= `[`UNBOUNDED`](Self::UNBOUNDED).
    pub fn new(name: impl Into<Arc<str>>, min: usize, opt: usize, max: usize) -> Result<Self> {
        let name = name.into();
        let most = Self::UNBOUNDED;
        let text = if name.is_empty() {
            "a symbol has no name".to_owned()
        } else if min > max {
            format!("symbol `{name}`: the range {min}..={max} has no size")
        } else if opt < min || opt > max {
            format!("symbol `{name}`: the range {min}..={max} has no size {opt} to tune for")
        } else if max > most {
            format!("symbol `{name}`: a size is at most {most}, and the range ends at {max}")
        } else {
            return Ok(Self { name, min, opt, max, sizes: Vec::new() });
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// The same symbol, tuned for several sizes. If the backend supports it, each size has its own profile. A layer
    /// has one form in an engine: the form for the middle size, or for the larger of the two middle sizes.
    /// [`with_opt`](Self::with_opt) chooses another size for the form.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without sizes, or for a size outside the range.
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

    /// The same symbol with another size to tune for. If the symbol is [tuned for](Self::tuned_for) several sizes, `opt`
    /// comes first among them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a size outside the range, or for a size that is not one of those that the
    /// symbol is [tuned for](Self::tuned_for).
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

    /// The largest size, or [`Symbol::UNBOUNDED`] if there is no largest size.
    pub fn max(&self) -> usize {
        self.max
    }

    /// The sizes that the symbol is [tuned for](Self::tuned_for), in ascending order.
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

/// One dimension of a shape: a fixed size, or a [symbol](Symbol) of a dynamic size.
///
/// ```
/// use accelerant::Dim;
///
/// let (batch, width) = (Dim::dynamic("batch", 1..=64)?, Dim::from(224));
/// assert_eq!((batch.min(), batch.max(), batch.fixed()), (1, 64, None));
/// assert_eq!((width.max(), width.fixed()), (224, Some(224)));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A fixed size.
    Fixed(usize),
    /// A dynamic size.
    Symbol(Symbol),
}

impl Dim {
    /// A dynamic dimension with the sizes in `range`, tuned for the largest size.
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

    /// A dynamic dimension that is tuned for several sizes, as [`Symbol::tuned_for`].
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

    /// A dynamic dimension with another size to tune for, as [`Symbol::with_opt`].
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
        let mut name = formula();
        if name.len() > LONGEST_FORMULA {
            name = format!("size_{}", &blake3::hash(name.as_bytes()).to_hex()[..32]);
        }
        Self::Symbol(Symbol { name: name.into(), min, opt, max, sizes: Vec::new() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_formulas_are_named_by_their_hash() {
        let twice = |dim: &Dim| {
            Dim::map(|| format!("{dim}+{dim}"), &[dim, dim], |sizes| sizes.iter().sum())
        };
        let doubled =
            |times: usize| (0..times).fold(Dim::dynamic("n", 1..=3).unwrap(), |dim, _| twice(&dim));
        assert_eq!(doubled(2).to_string(), "n+n+n+n");
        let mut names = std::collections::HashSet::new();
        for times in 1..28 {
            let dim = doubled(times);
            assert_eq!((dim.min(), dim.max()), (1 << times, 3 << times));
            assert!(dim.to_string().len() <= LONGEST_FORMULA, "{dim}");
            // The same size has the same name, another has another.
            assert_eq!(dim.to_string(), doubled(times).to_string());
            assert!(names.insert(dim.to_string()));
        }
    }

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
