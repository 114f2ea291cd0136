//! Formulas from the sizes of the inputs to other sizes. A formula of two runs must hold in all runs.

use crate::error::Result;
use crate::export::{GraphBuilder, Value};
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// Divisors that are tried, and the most by which a size is moved before. So many sizes in a row show what a
/// division leaves as the rest.
pub(in crate::export) const DIVISORS: usize = 64;

/// Rounding formulas are compared at so many sizes at most.
const COMPARED: usize = 1 << 14;

/// How a size follows from those of the inputs.
#[derive(Clone, Debug)]
pub(in crate::export) enum Formula {
    /// `factor * size + offset`
    Linear { of: Dim, factor: i64, offset: i64 },
    /// `(size + offset) / divisor`, rounded down
    Quotient { of: Dim, offset: i64, divisor: i64 },
    /// `factor * first * second`
    Product { of: [Dim; 2], factor: usize },
    /// `first + second + offset`
    Sum { of: [Dim; 2], offset: i64 },
}

impl Formula {
    /// The dimension, named after the formula.
    pub(in crate::export) fn dim(&self) -> Dim {
        let (name, of): (String, Vec<&Dim>) = match self {
            Self::Linear { of, factor, offset } => {
                let scaled = if *factor == 1 { of.to_string() } else { format!("{factor}*{of}") };
                (if *offset == 0 { scaled } else { format!("{scaled}{offset:+}") }, vec![of])
            }
            Self::Quotient { of, offset: 0, divisor } => (format!("{of}/{divisor}"), vec![of]),
            Self::Quotient { of, offset, divisor } => {
                (format!("({of}{offset:+})/{divisor}"), vec![of])
            }
            Self::Product { of: [a, b], factor: 1 } => (format!("{a}*{b}"), vec![a, b]),
            Self::Product { of: [a, b], factor } => (format!("{factor}*{a}*{b}"), vec![a, b]),
            Self::Sum { of: [a, b], offset: 0 } => (format!("{a}+{b}"), vec![a, b]),
            Self::Sum { of: [a, b], offset } => (format!("{a}+{b}{offset:+}"), vec![a, b]),
        };
        let compute = |sizes: &[usize]| {
            let size = |at: usize| sizes[at] as i64;
            let result = match self {
                Self::Linear { factor, offset, .. } => factor * size(0) + offset,
                Self::Quotient { offset, divisor, .. } => (size(0) + offset) / divisor,
                Self::Product { factor, .. } => *factor as i64 * size(0) * size(1),
                Self::Sum { offset, .. } => size(0) + size(1) + offset,
            };
            usize::try_from(result).unwrap_or(0)
        };
        Dim::map(|| name.clone(), &of, compute)
    }

    /// The size when the model runs, as a 1-D i64 tensor; `size` gives those of the inputs as such.
    pub(in crate::export) fn value(
        &self,
        graph: &GraphBuilder,
        size: impl Fn(&Dim) -> Result<Value>,
    ) -> Result<Value> {
        let int = |value: i64| -> Result<Value> {
            Ok(graph.constant("size", HostTensor::from_vec([1], vec![value])?))
        };
        let plus = |value: Value, offset: i64| match offset {
            0 => Ok(value),
            offset => value.add(&int(offset)?),
        };
        let times = |value: Value, factor: i64| match factor {
            1 => Ok(value),
            factor => value.mul(&int(factor)?),
        };
        match self {
            Self::Linear { of, factor, offset } => plus(times(size(of)?, *factor)?, *offset),
            Self::Quotient { of, offset, divisor } => {
                plus(size(of)?, *offset)?.div(&int(*divisor)?)
            }
            Self::Product { of: [a, b], factor } => times(size(a)?.mul(&size(b)?)?, *factor as i64),
            Self::Sum { of: [a, b], offset } => plus(size(a)?.add(&size(b)?)?, *offset),
        }
    }

    /// The one that gives `sizes` for those of the inputs, each a column of what was tried.
    pub(in crate::export) fn find<S: AsRef<[usize]>>(
        sizes: &[usize],
        known: &[(Dim, S)],
    ) -> Option<Self> {
        let at = |sizes: &[usize], i: usize| sizes[i] as i64;
        let count = sizes.len();
        let holds = |f: &dyn Fn(usize) -> i64| (0..count).all(|i| f(i) == at(sizes, i));
        for (of, column) in known {
            let column = column.as_ref();
            let Some(other) = (1..count).find(|&i| column[i] != column[0]) else { continue };
            let run = at(column, other) - at(column, 0);
            let rise = at(sizes, other) - at(sizes, 0);
            if rise % run != 0 {
                continue;
            }
            let factor = rise / run;
            let offset = at(sizes, 0) - factor * at(column, 0);
            if factor > 0 && holds(&|i| factor * at(column, i) + offset) {
                return Some(Self::Linear { of: of.clone(), factor, offset });
            }
        }
        for (i, (a, first)) in known.iter().enumerate() {
            for (b, second) in &known[i + 1..] {
                let (first, second) = (first.as_ref(), second.as_ref());
                let of = [a.clone(), b.clone()];
                let (product, whole) = (at(first, 0) * at(second, 0), at(sizes, 0));
                if product > 0 && whole % product == 0 && whole > 0 {
                    let factor = whole / product;
                    if holds(&|i| factor * at(first, i) * at(second, i)) {
                        return Some(Self::Product { of, factor: factor as usize });
                    }
                }
                let offset = whole - at(first, 0) - at(second, 0);
                if holds(&|i| at(first, i) + at(second, i) + offset) {
                    return Some(Self::Sum { of, offset });
                }
            }
        }
        known.iter().find_map(|(of, column)| quotient(sizes, of, column.as_ref()))
    }
}

/// `first - second + offset`: a number that follows from sizes and is none itself.
#[cfg(feature = "burn")]
#[derive(Clone, Debug)]
pub(in crate::export) struct SizeDifference {
    of: [Dim; 2],
    offset: i64,
}

#[cfg(feature = "burn")]
impl SizeDifference {
    /// The one that gives `numbers` for the sizes of the inputs, each a column of what was tried.
    pub(in crate::export) fn find<S: AsRef<[usize]>>(
        numbers: &[i64],
        known: &[(Dim, S)],
    ) -> Option<Self> {
        let at = |column: &S, i: usize| column.as_ref()[i] as i64;
        let pairs = known.iter().flat_map(|a| known.iter().map(move |b| (a, b)));
        let mut pairs = pairs.filter(|((a, _), (b, _))| a != b);
        pairs.find_map(|((a, first), (b, second))| {
            let offset = numbers[0] - at(first, 0) + at(second, 0);
            let number = |i: usize| at(first, i) - at(second, i) + offset;
            let holds = (0..numbers.len()).all(|i| number(i) == numbers[i]);
            holds.then(|| Self { of: [a.clone(), b.clone()], offset })
        })
    }

    /// The number when the model runs, as a 1-D i64 tensor; `size` gives the sizes of the inputs as such.
    pub(in crate::export) fn value(
        &self,
        graph: &GraphBuilder,
        size: impl Fn(&Dim) -> Result<Value>,
    ) -> Result<Value> {
        let difference = size(&self.of[0])?.sub(&size(&self.of[1])?)?;
        let offset = graph.constant("offset", HostTensor::from_vec([1], vec![self.offset])?);
        if self.offset == 0 { Ok(difference) } else { difference.add(&offset) }
    }
}

/// A quotient that gives these sizes wherever they were tried, if there is none that gives them as well and
/// others between.
fn quotient(sizes: &[usize], of: &Dim, column: &[usize]) -> Option<Formula> {
    let mut found: Option<(i64, i64)> = None;
    let most = DIVISORS as i64;
    for divisor in 2..=most {
        for offset in -most..=most {
            let value = |size: usize, (offset, divisor): (i64, i64)| {
                (size as i64 + offset).div_euclid(divisor)
            };
            let mut pairs = column.iter().zip(sizes);
            if !pairs.all(|(&size, &whole)| value(size, (offset, divisor)) == whole as i64) {
                continue;
            }
            let first = *found.get_or_insert((offset, divisor));
            let mut range = (of.min()..=of.max()).take(COMPARED);
            if !range.all(|size| value(size, first) == value(size, (offset, divisor))) {
                return None;
            }
        }
    }
    let (offset, divisor) = found?;
    Some(Formula::Quotient { of: of.clone(), offset, divisor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_hold_wherever_they_were_tried() {
        let dim = |name: &str| Dim::dynamic(name, 1..=99).unwrap();
        let s: Vec<usize> = [2, 99].into_iter().chain(1..=64).collect();
        let t: Vec<usize> = s.iter().map(|s| (s * 7 + 3) % 99 + 1).collect();
        let known = [(dim("s"), s.clone()), (dim("t"), t.clone())];
        let find = |f: &dyn Fn(usize, usize) -> usize| {
            let sizes: Vec<_> = s.iter().zip(&t).map(|(&s, &t)| f(s, t)).collect();
            Formula::find(&sizes, &known)
        };
        assert!(matches!(
            find(&|s, _| 3 * s + 4),
            Some(Formula::Linear { factor: 3, offset: 4, .. })
        ));
        assert!(matches!(find(&|s, t| 2 * s * t), Some(Formula::Product { factor: 2, .. })));
        assert!(matches!(find(&|s, t| s + t + 1), Some(Formula::Sum { offset: 1, .. })));
        let found = find(&|_, t| t.div_ceil(4));
        assert!(
            matches!(found, Some(Formula::Quotient { offset: 3, divisor: 4, .. })),
            "{found:?}"
        );
        let found = find(&|s, _| (s - 1) / 2 + 3);
        assert!(
            matches!(found, Some(Formula::Quotient { offset: 5, divisor: 2, .. })),
            "{found:?}"
        );
        assert!(find(&|s, _| s * s).is_none());
        assert!(find(&|s, _| 2 * (s / 2)).is_none());
        assert!(find(&|s, _| s.min(40)).is_none());
        // At these sizes both (n + 1) / 3 and (n + 2) / 3 would do.
        let few = [(dim("n"), [3, 5, 50])];
        assert!(Formula::find(&[1, 2, 17], &few).is_none());
        // The first two tell nothing of it.
        let found = Formula::find(&[5, 5, 9, 7], &[(dim("n"), [2, 2, 6, 4])]);
        assert!(matches!(found, Some(Formula::Linear { factor: 1, offset: 3, .. })), "{found:?}");
    }
}
