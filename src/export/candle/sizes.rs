//! Sizes that follow symbols. A size is the column of values that it took in the runs of the forward;
//! equal columns are the same dimension. Nothing is guessed from a single number.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::export::sizes::{Column, combinations, described, size_of, sweep, symbols_of};
use crate::spec::{Dim, Symbol, TensorSpec};

/// The size of each symbol in one run, in the order of [`Cases::symbols`].
pub(super) type Case = Vec<usize>;

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
            for size in sweep(symbol.min(), symbol.max().min(LARGEST)) {
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
    pub(super) fn columns(&self) -> Vec<(Dim, Column)> {
        let symbols = self.symbols.iter().enumerate();
        let column = |i: usize| self.cases.iter().map(|case| case[i]).collect();
        symbols.map(|(i, symbol)| (Dim::Symbol(symbol.clone()), column(i))).collect()
    }

    /// The size of an input's dimension in a case.
    pub(super) fn size(&self, case: &Case, dim: &Dim) -> usize {
        size_of(dim, &self.symbols, case)
    }

    pub(super) fn describe(&self, case: &Case) -> String {
        if self.symbols.is_empty() {
            return "the same sizes again".into();
        }
        described(&self.symbols, case)
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
    pub(super) fn agrees(&self, size: &Column, dim: &Dim) -> bool {
        if self.unchecked() {
            return dim.fixed().is_none_or(|fixed| size.iter().all(|size| *size == fixed));
        }
        size.iter().all(|size| (dim.min()..=dim.max()).contains(size))
    }

    /// Whether a dimension has the range that these sizes have.
    pub(super) fn is_exact(&self, size: &Column, dim: &Dim) -> bool {
        self.unchecked() || (dim.min(), dim.max()) == (size[1].min(size[2]), size[1].max(size[2]))
    }

    /// Not all sizes of such symbols are tried.
    fn unchecked(&self) -> bool {
        self.symbols.iter().any(|symbol| symbol.max() > LARGEST)
    }
}
