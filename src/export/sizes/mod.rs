//! The sizes at which a forward is tried, as far as both frameworks choose them alike.

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Symbol, TensorSpec};

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
