//! The sizes at which a forward pass is captured: two by which the dimensions of different symbols
//! are told from each other, and more at which what was derived must hold.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Symbol, TensorSpec};

/// The sizes of every input of one capture.
pub(super) type Sizes = Vec<Vec<usize>>;

/// Sizes for one capture, and what the symbols are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) sizes: Sizes,
    bound: Vec<(String, usize)>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, size)) in self.bound.iter().enumerate() {
            write!(f, "{}`{name}` = {size}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// A range of at most so many sizes is captured whole, if there is one symbol.
const WHOLE: usize = 8;

/// Inputs of this many bytes in all are captured at their largest sizes. They have no values, but
/// what a forward function makes of their sizes may have.
const ROOMY: usize = 256 << 20;

/// One probe for static inputs. For dynamic ones two in which each symbol has a pair of sizes of
/// its own, then the ends of the ranges and some odd sizes between.
pub(super) fn probes(inputs: &[TensorSpec]) -> Result<Vec<Probe>> {
    let mut symbols: Vec<&Symbol> = Vec::new();
    for dim in inputs.iter().flat_map(|spec| spec.shape.dims()) {
        if let Dim::Symbol(symbol) = dim
            && !symbols.contains(&symbol)
        {
            symbols.push(symbol);
        }
    }
    let largest = |spec: &TensorSpec| {
        let sizes = spec.shape.dims().iter().map(Dim::max);
        sizes.fold(spec.dtype.size(), usize::saturating_mul)
    };
    let roomy = inputs.iter().map(largest).fold(0, usize::saturating_add) <= ROOMY;
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for symbol in &symbols {
        let pair = pair(symbol, &pairs, roomy).ok_or_else(|| {
            let text =
                format!("the range of {symbol:?} is too small to tell it from the other symbols");
            Error::new(ErrorKind::InvalidArgument, text).in_operation("capture")
        })?;
        pairs.push(pair);
    }
    let probe = |bound: Vec<usize>| {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(symbol) => symbols
                .iter()
                .position(|known| *known == symbol)
                .map_or(symbol.opt(), |at| bound[at]),
        };
        let sizes = |spec: &TensorSpec| spec.shape.dims().iter().map(size).collect();
        let names = symbols.iter().map(|symbol| symbol.name().to_owned());
        Probe {
            sizes: inputs.iter().map(sizes).collect(),
            bound: names.zip(bound.iter().copied()).collect(),
        }
    };
    let mut probes = vec![probe(pairs.iter().map(|pair| pair.0).collect())];
    if symbols.is_empty() {
        return Ok(probes);
    }
    probes.push(probe(pairs.iter().map(|pair| pair.1).collect()));
    for bound in others(&symbols, &pairs, roomy) {
        let probe = probe(bound);
        if !probes.contains(&probe) {
            probes.push(probe);
        }
    }
    Ok(probes)
}

/// Sizes at which what two captures tell is checked.
fn others(symbols: &[&Symbol], pairs: &[(usize, usize)], roomy: bool) -> Vec<Vec<usize>> {
    if let [symbol] = symbols
        && symbol.max() - symbol.min() < WHOLE
    {
        return (symbol.min()..=symbol.max()).map(|size| vec![size]).collect();
    }
    let all = |pick: &dyn Fn(usize, usize, usize, usize) -> usize| {
        let size = |(i, (symbol, pair)): (usize, (&&Symbol, &(usize, usize)))| {
            let min = symbol.min();
            let max = if roomy { symbol.max() } else { symbol.max().min(pair.0.max(pair.1)) };
            pick(min, max, symbol.opt(), i).clamp(min, max)
        };
        symbols.iter().zip(pairs).enumerate().map(size).collect()
    };
    vec![
        all(&|_, max, _, _| max),
        all(&|min, _, _, _| min),
        all(&|_, _, opt, _| opt),
        // Odd, since powers of two hide what is rounded.
        all(&|min, max, _, i| (min + (max - min) / 2 + 2 * i) | 1),
        all(&|min, max, _, i| (min + (max - min) / 3 + 4 * i) | 1),
        all(&|min, max, _, i| min + (max - min) * 4 / 5 + i),
    ]
}

/// Two different sizes of a symbol, far apart, so that a division does not make them equal and a
/// branch on the size shows; close to the smallest where memory is dear. Size 1 is avoided, since
/// it broadcasts.
fn pair(symbol: &Symbol, taken: &[(usize, usize)], roomy: bool) -> Option<(usize, usize)> {
    let (min, max) = (symbol.min(), symbol.max());
    let low = min.max(2).min(max - 1);
    let near = (0..64).map(|k| (low + 3 * k, low + 3 * k + 37));
    let far = (0..64).map(|k| (low + k, max.saturating_sub(k)));
    let edges = [(low, max), (max, low), (min, max), (max, min)];
    let inside = |(a, b): &(usize, usize)| a != b && a.max(b) <= &max && a.min(b) >= &min;
    let free = |pair: &(usize, usize)| inside(pair) && !taken.contains(pair);
    let far = far.take(if roomy { 64 } else { 0 });
    far.chain(near).chain(edges).find(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dims: Vec<Dim>) -> TensorSpec {
        TensorSpec::new("x", crate::DType::F32, dims)
    }

    fn dynamic(name: &str, max: usize) -> Dim {
        Dim::dynamic(name, 1..=max).unwrap()
    }

    #[test]
    fn every_symbol_gets_a_pair_of_its_own() {
        let inputs =
            [spec(vec![dynamic("a", 2), dynamic("b", 2), dynamic("c", 100), Dim::Fixed(5)])];
        let found = probes(&inputs).unwrap();
        assert_eq!(found[0].sizes, [[1, 2, 2, 5]]);
        assert_eq!(found[1].sizes, [[2, 1, 100, 5]]);
        assert_eq!(found[0].to_string(), "`a` = 1, `b` = 2, `c` = 2");
        let large = probes(&[spec(vec![dynamic("n", 1 << 20), Dim::Fixed(1 << 20)])]).unwrap();
        assert_eq!(
            (&large[0].sizes, &large[1].sizes),
            (&vec![vec![2, 1 << 20]], &vec![vec![39, 1 << 20]])
        );
        assert!(large.iter().all(|probe| probe.sizes[0][0] <= 39), "{large:?}");
        let many = [spec(vec![dynamic("a", 2), dynamic("b", 2), dynamic("c", 2)])];
        assert!(probes(&many).is_err());
        assert_eq!(probes(&[spec(vec![Dim::Fixed(5)])]).unwrap().len(), 1);
    }

    #[test]
    fn ends_and_odd_sizes_are_tried() {
        let batches = |max| {
            let probes = probes(&[spec(vec![dynamic("n", max)])]).unwrap();
            let mut sizes: Vec<_> = probes.iter().map(|probe| probe.sizes[0][0]).collect();
            sizes.sort();
            sizes
        };
        assert_eq!(batches(8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(batches(64), [1, 2, 23, 33, 51, 64]);
    }
}
