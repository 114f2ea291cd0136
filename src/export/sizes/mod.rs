//! The sizes at which a forward is tried, and how other sizes follow from them, for both frameworks. Which runs a
//! framework makes is its own choice.

mod column;
mod formulas;
mod sweep;

use std::borrow::Borrow;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Symbol, TensorSpec};

pub(super) use column::Column;
pub(super) use formulas::Formula;
#[cfg(feature = "burn")]
pub(super) use formulas::SizeDifference;
pub(super) use sweep::sweep;

/// So many combinations of sizes are tried at most where all of them are asked for.
const EVERY: usize = 1 << 14;

/// The symbols of inputs, each once, in the order in which the inputs have them.
pub(super) fn symbols_of(inputs: &[TensorSpec]) -> Vec<&Symbol> {
    let mut symbols: Vec<&Symbol> = Vec::new();
    for symbol in inputs.iter().flat_map(|spec| spec.shape.dims()).filter_map(Dim::symbol) {
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    symbols
}

/// All sizes of the symbols with each other.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for more than 16,384 combinations.
pub(super) fn combinations(symbols: &[&Symbol]) -> Result<Vec<Vec<usize>>> {
    let range = |symbol: &&Symbol| symbol.max() - symbol.min() + 1;
    let count = symbols.iter().map(range).fold(1, usize::saturating_mul);
    if count > EVERY {
        let text = format!(
            "every size is to be tried, but the ranges of {symbols:?} have {count} combinations, \
             more than {EVERY}"
        );
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let mut found = vec![Vec::new()];
    for symbol in symbols {
        let longer = |bound: &Vec<usize>, size| bound.iter().copied().chain([size]).collect();
        let sizes = |bound| (symbol.min()..=symbol.max()).map(move |size| longer(bound, size));
        found = found.iter().flat_map(sizes).collect();
    }
    Ok(found)
}

/// The size of a dimension where the symbols have the sizes `bound`; of a symbol that is none of them the one it is
/// tuned for.
pub(super) fn size_of<S: Borrow<Symbol>>(dim: &Dim, symbols: &[S], bound: &[usize]) -> usize {
    let place = |symbol: &Symbol| symbols.iter().position(|known| known.borrow() == symbol);
    match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbol(symbol) => place(symbol).map_or(symbol.opt(), |i| bound[i]),
    }
}

/// The symbols and their sizes, for an error.
pub(super) fn described<S: Borrow<Symbol>>(symbols: &[S], bound: &[usize]) -> String {
    let one = |(symbol, size): (&S, &usize)| format!("`{}` = {size}", symbol.borrow().name());
    symbols.iter().zip(bound).map(one).collect::<Vec<_>>().join(", ")
}
