//! The sizes at which a forward pass is captured: two by which the dimensions of different symbols
//! are told from each other, and more at which what was derived must hold.

use std::{collections::HashSet, fmt};

use crate::error::{Error, ErrorKind, Result};
use crate::export::sizes::{combinations, described, size_of, sweep, symbols_of};
use crate::spec::{Dim, Symbol, TensorSpec};

/// The sizes of every input of one capture.
pub(super) type Sizes = Vec<Vec<usize>>;

/// Sizes for one capture, and what the symbols are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) sizes: Sizes,
    bound: Vec<usize>,
    text: String,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Inputs of this many bytes in all are captured at their largest sizes. They have no values, but
/// what a forward function makes of their sizes may have.
const ROOMY: usize = 256 << 20;

/// One probe for static inputs. For dynamic ones two in which each symbol has a pair of sizes of
/// its own, then those at which what the two tell is checked, what shows most first: the ends of the
/// ranges, some odd sizes between, and one symbol after the other over many sizes; or, if `every` size is asked for, all there are.
pub(super) fn probes(inputs: &[TensorSpec], every: bool) -> Result<Vec<Probe>> {
    let symbols = symbols_of(inputs);
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
        let sizes = |spec: &TensorSpec| {
            spec.shape.dims().iter().map(|dim| size_of(dim, &symbols, &bound)).collect()
        };
        Probe {
            sizes: inputs.iter().map(sizes).collect(),
            text: described(&symbols, &bound),
            bound,
        }
    };
    let mut probes = vec![probe(pairs.iter().map(|pair| pair.0).collect())];
    if symbols.is_empty() {
        return Ok(probes);
    }
    probes.push(probe(pairs.iter().map(|pair| pair.1).collect()));
    let others = if every {
        combinations(&symbols).map_err(|e| e.in_operation("capture"))?
    } else {
        others(&symbols, &pairs, roomy)
    };
    let mut seen: HashSet<Vec<usize>> = [0, 1].map(|at| probes[at].bound.clone()).into();
    probes.extend(others.into_iter().filter(|bound| seen.insert(bound.clone())).map(probe));
    Ok(probes)
}

/// Sizes at which what two captures tell is checked.
fn others(symbols: &[&Symbol], pairs: &[(usize, usize)], roomy: bool) -> Vec<Vec<usize>> {
    let most = |i: usize| match roomy {
        true => symbols[i].max(),
        false => symbols[i].max().min(pairs[i].0.max(pairs[i].1)),
    };
    let all = |pick: &dyn Fn(usize, usize, usize, usize) -> usize| {
        let size = |(i, symbol): (usize, &&Symbol)| {
            let (min, max) = (symbol.min(), most(i));
            pick(min, max, symbol.opt(), i).clamp(min, max)
        };
        symbols.iter().enumerate().map(size).collect()
    };
    let mut others = vec![
        all(&|_, max, _, _| max),
        all(&|min, _, _, _| min),
        all(&|_, _, opt, _| opt),
        // Odd, since powers of two hide what is rounded.
        all(&|min, max, _, i| (min + (max - min) / 2 + 2 * i) | 1),
        all(&|min, max, _, i| (min + (max - min) / 3 + 4 * i) | 1),
        all(&|min, max, _, i| min + (max - min) * 4 / 5 + i),
    ];
    let sweeps: Vec<_> = (0..symbols.len()).map(|i| sweep(symbols[i].min(), most(i))).collect();
    for step in 0..sweeps.iter().map(Vec::len).max().unwrap_or(0) {
        for (i, sizes) in sweeps.iter().enumerate() {
            let Some(&size) = sizes.get(step) else { continue };
            let mut bound: Vec<usize> = pairs.iter().map(|pair| pair.0).collect();
            bound[i] = size;
            others.push(bound);
        }
    }
    others
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
        let found = probes(&inputs, false).unwrap();
        assert_eq!(found[0].sizes, [[1, 2, 2, 5]]);
        assert_eq!(found[1].sizes, [[2, 1, 100, 5]]);
        assert_eq!(found[0].to_string(), "`a` = 1, `b` = 2, `c` = 2");
        let large =
            probes(&[spec(vec![dynamic("n", 1 << 20), Dim::Fixed(1 << 20)])], false).unwrap();
        assert_eq!(
            (&large[0].sizes, &large[1].sizes),
            (&vec![vec![2, 1 << 20]], &vec![vec![39, 1 << 20]])
        );
        assert!(large.iter().all(|probe| probe.sizes[0][0] <= 39), "{large:?}");
        let many = [spec(vec![dynamic("a", 2), dynamic("b", 2), dynamic("c", 2)])];
        assert!(probes(&many, false).is_err());
        assert_eq!(probes(&[spec(vec![Dim::Fixed(5)])], false).unwrap().len(), 1);
    }

    #[test]
    fn ends_and_odd_sizes_are_tried() {
        let batches = |max| {
            let probes = probes(&[spec(vec![dynamic("n", max)])], false).unwrap();
            let mut sizes: Vec<_> = probes.iter().map(|probe| probe.sizes[0][0]).collect();
            sizes.sort();
            sizes
        };
        assert_eq!(batches(8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(batches(64), (1..=64).collect::<Vec<_>>());
        let many = batches(4096);
        assert!((1..=64).chain([127, 128, 129, 1023, 2049, 4095, 4096]).all(|n| many.contains(&n)));
        assert!(many.len() < 110, "{many:?}");
    }

    #[test]
    fn every_combination_is_tried_if_asked_for() {
        let found = probes(&[spec(vec![dynamic("a", 40), dynamic("b", 50)])], true).unwrap();
        assert_eq!(found.len(), 40 * 50);
        let sizes: HashSet<_> = found.iter().map(|probe| probe.bound.clone()).collect();
        assert_eq!(sizes.len(), 40 * 50);
        let error = probes(&[spec(vec![dynamic("a", 400), dynamic("b", 50)])], true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("20000 combinations"), "{error}");
    }

    #[test]
    fn each_symbol_is_tried_alone() {
        let inputs = [spec(vec![dynamic("a", 40), dynamic("b", 500)])];
        let found = probes(&inputs, false).unwrap();
        let [a, b] = [0, 1].map(|axis| found[0].sizes[0][axis]);
        for n in 1..=40 {
            assert!(found.iter().any(|probe| probe.sizes[0] == [n, b]), "{n}");
            assert!(found.iter().any(|probe| probe.sizes[0] == [a, n]), "{n}");
        }
    }
}
