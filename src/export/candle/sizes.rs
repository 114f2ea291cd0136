//! Sizes that follow symbols. A size is the column of values it took in the runs of the forward;
//! equal columns are the same dimension. Nothing is guessed from a single number.

use std::collections::HashSet;
use std::fmt::Write;

use crate::error::{Error, Result};
use crate::export::sizes::{combinations, symbols_of};
use crate::spec::{Dim, Symbol, TensorSpec};

/// One size in every run of the forward, in the order of the cases.
pub(super) type Size = Vec<usize>;

/// The size of each symbol in one run, in the order of [`Cases::symbols`].
pub(super) type Case = Vec<usize>;

/// Up to how many sizes of a symbol all are tried.
const ALL: usize = 64;
/// The largest size tried: sizes are multiplied with each other.
const LARGEST: usize = 1 << 20;

/// The runs: all symbols as tuned, all smallest, all largest, and each symbol on its own through
/// its range with the others as tuned.
#[derive(Debug)]
pub(super) struct Cases {
    symbols: Vec<Symbol>,
    cases: Vec<Case>,
}

impl Cases {
    /// Those for inputs whose symbols were checked; if `every` size is asked for, all there are.
    pub(super) fn of(inputs: &[TensorSpec], every: bool) -> Result<Self> {
        let mut symbols = symbols_of(inputs);
        symbols.sort_by_key(|symbol| symbol.name());
        let at = |pick: fn(&Symbol) -> usize| {
            symbols.iter().map(|s: &&Symbol| pick(s).min(LARGEST)).collect::<Case>()
        };
        let base = at(Symbol::opt);
        if symbols.is_empty() {
            // Twice: what differs then is random.
            return Ok(Self { symbols: Vec::new(), cases: vec![base.clone(), base] });
        }
        let mut cases = vec![base.clone(), at(Symbol::min), at(Symbol::max)];
        for (i, symbol) in symbols.iter().enumerate() {
            for size in tried(symbol) {
                let mut case = base.clone();
                case[i] = size;
                cases.push(case);
            }
        }
        if every {
            cases.extend(combinations(&symbols)?);
        }
        let mut seen = HashSet::new();
        cases.retain(|case| seen.insert(case.clone()));
        let symbols = symbols.into_iter().cloned().collect();
        Ok(Self { symbols, cases })
    }

    /// Whether any dimension is symbolic.
    pub(super) fn symbolic(&self) -> bool {
        !self.symbols.is_empty()
    }

    pub(super) fn all(&self) -> &[Case] {
        &self.cases
    }

    /// Every symbol, with its sizes in all runs.
    pub(super) fn columns(&self) -> Vec<(Dim, Size)> {
        let symbols = self.symbols.iter().enumerate();
        let column = |i: usize| self.cases.iter().map(|case| case[i]).collect();
        symbols.map(|(i, symbol)| (Dim::Symbol(symbol.clone()), column(i))).collect()
    }

    /// The size of an input's dimension in a case.
    pub(super) fn size(&self, case: &Case, dim: &Dim) -> usize {
        let place = |symbol: &Symbol| self.symbols.iter().position(|known| known == symbol);
        match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(symbol) => place(symbol).map_or(symbol.opt(), |i| case[i]),
        }
    }

    pub(super) fn describe(&self, case: &Case) -> String {
        if self.symbols.is_empty() {
            return "the same sizes again".into();
        }
        let mut text = String::new();
        for (symbol, size) in self.symbols.iter().zip(case) {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{} = {size}", symbol.name());
        }
        text
    }

    /// An error of the forward with the sizes it was run for.
    pub(super) fn not_at(&self, case: &Case, first: bool, error: Error) -> Error {
        if self.symbols.is_empty() {
            return error;
        }
        let (here, base) = (self.describe(case), self.describe(&self.cases[0]));
        let text = match first {
            true => format!("the forward does not work for {here}: {error}"),
            false => format!("the forward works for {base}, but not for {here}: {error}"),
        };
        Error::new(error.kind(), text).with_source(error)
    }

    /// The dimension that a shape rule gave, checked against the sizes that candle gave. A rule knows no more of a
    /// sum than the ranges of its parts, of which one may shrink where another grows.
    pub(super) fn agrees(&self, size: &Size, dim: &Dim) -> bool {
        if self.unchecked() {
            return dim.fixed().is_none_or(|fixed| size.iter().all(|size| *size == fixed));
        }
        size.iter().all(|size| (dim.min()..=dim.max()).contains(size))
    }

    /// Whether a dimension has the range that these sizes have.
    pub(super) fn is_exact(&self, size: &Size, dim: &Dim) -> bool {
        self.unchecked() || (dim.min(), dim.max()) == (size[1].min(size[2]), size[1].max(size[2]))
    }

    /// Not all sizes of such symbols are tried.
    fn unchecked(&self) -> bool {
        self.symbols.iter().any(|symbol| symbol.max() > LARGEST)
    }

    /// A symbol for a size that no shape rule named.
    pub(super) fn symbol(&self, name: String, size: &Size) -> Result<Dim> {
        let (low, high) = range(size);
        Symbol::new(name, low, size[0], high).map(Dim::Symbol)
    }
}

/// The smallest and the largest of all runs, which need not be those with the smallest and largest inputs.
fn range(size: &Size) -> (usize, usize) {
    size.iter().fold((usize::MAX, 0), |(low, high), &size| (low.min(size), high.max(size)))
}

/// The sizes of a symbol to try: all of a small range, else both ends, the powers of two and their
/// neighbors, and a few odd ones.
fn tried(symbol: &Symbol) -> Vec<usize> {
    let (min, max) = (symbol.min(), symbol.max().min(LARGEST));
    if max - min < ALL {
        return (min..=max).collect();
    }
    let mut sizes = vec![min, min + 1, min + 2, max - 2, max - 1, max, symbol.opt()];
    let powers = std::iter::successors(Some(1usize), |power| Some(power * 2))
        .take_while(|&power| power <= max);
    sizes.extend(powers.flat_map(|power| [power - 1, power, power + 1]));
    sizes.extend([6, 10, 12, 100, 1000, 10_007]);
    sizes.retain(|size| (min..=max).contains(size));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The number, when the size is the same in every run.
pub(super) fn constant(size: &Size) -> Option<usize> {
    size.iter().all(|other| *other == size[0]).then_some(size[0])
}

/// An index along an axis of `size` as ONNX has it: from the front, or from the end when negative.
pub(super) fn index(at: &Size, size: &Size) -> Option<i64> {
    let from_end = || {
        let left = size.iter().zip(at).map(|(size, at)| size - at).collect();
        // 0 from the end cannot be said with a negative number.
        constant(&left).filter(|&left| left > 0).map(|left| -(left as i64))
    };
    constant(at).map(|at| at as i64).or_else(from_end)
}
