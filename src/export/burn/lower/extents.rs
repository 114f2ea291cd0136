//! Sizes over all captures: which are fixed, which are a size of the inputs, and which follow from
//! one by a formula. What is found in two captures must hold in the others.

use std::fmt;

use ::burn::backend::ir::TensorIr;

use super::super::probes::ROW;
use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::spec::{Dim, Symbol};
use crate::tensor::HostTensor;

/// A size in each of the captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent(pub(super) Vec<usize>);

impl Extent {
    /// The size, if it is the same in all captures.
    pub(super) fn fixed(&self) -> Option<usize> {
        let first = self.0[0];
        self.0.iter().all(|&size| size == first).then_some(first)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&sizes.join(", "))
    }
}

/// How a size follows from those of the inputs.
#[derive(Clone, Debug)]
enum Formula {
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
    fn dim(&self) -> Dim {
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
}

/// The one name for a size: that of an input, or of the formula by which it follows from inputs.
pub(super) fn named(extent: &Extent, known: &[(Dim, Extent)]) -> Option<Dim> {
    let input = known.iter().find(|(_, known)| known == extent).map(|(dim, _)| dim.clone());
    input.or_else(|| formula(extent, known).map(|formula| formula.dim()))
}

/// Divisors that are tried, and the most by which a size is moved before.
const DIVISORS: i64 = ROW as i64;

/// Rounding formulas are compared at so many sizes at most.
const COMPARED: usize = 1 << 14;

impl Lowering<'_> {
    /// The sizes of an axis in all captures.
    pub(super) fn extent(&self, tensor: &TensorIr, axis: usize) -> Extent {
        let first = tensor.shape[axis];
        let others = self.others.iter().map(|sizes| match sizes.get(&tensor.id) {
            Some(sizes) => sizes[axis],
            None => first,
        });
        Extent(std::iter::once(first).chain(others).collect())
    }

    /// The dimensions of `out` in terms of those of `source`; `None` where a size differs between
    /// the captures and is none of the source's.
    pub(super) fn dims(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Vec<Option<Dim>>> {
        let value = self.value(source)?;
        let dim = |axis| {
            let extent = self.extent(out, axis);
            if let Some(size) = extent.fixed() {
                return Some(Dim::Fixed(size));
            }
            let found = (0..source.shape.len()).find(|&i| self.extent(source, i) == extent);
            found.map(|i| value.dims()[i].clone())
        };
        Ok((0..out.shape.len()).map(dim).collect())
    }

    /// As [`dims`](Self::dims), looking also among the inputs of the model.
    pub(super) fn all_dims(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Vec<Dim>> {
        // An output that is made from nothing is no source of its own sizes.
        let near = match source.id == out.id {
            true => vec![None; out.shape.len()],
            false => self.dims(out, source)?,
        };
        let mut dims = Vec::with_capacity(near.len());
        for (axis, near) in near.into_iter().enumerate() {
            let extent = self.extent(out, axis);
            let fixed = extent.fixed().map(Dim::Fixed);
            let dim = match near.or(fixed) {
                Some(dim) => Some(dim),
                None => self.size_of(&extent)?,
            };
            dims.push(dim.ok_or_else(|| {
                unsupported(format!("the sizes {extent} follow from no input")).at_axis(axis)
            })?);
        }
        Ok(dims)
    }

    /// A tensor under other sizes, in row-major order.
    pub(super) fn reshaped(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Value> {
        let value = self.value(source)?;
        let near = self.dims(out, source)?;
        let reshaped = value.reshape(&near);
        if reshaped.is_ok() {
            return reshaped;
        }
        // Sizes that are not the source's own, such as an axis taken apart again.
        let dims = self.all_dims(out, source)?;
        let inputs = self.input_values();
        let sources: Vec<&Value> = std::iter::once(&value).chain(&inputs).collect();
        let shape = self.graph.shape_tensor(&dims, &sources)?;
        let node = self.graph.node("Reshape").input(&value).input(&shape);
        node.outputs([(value.dtype(), dims.into())]).build()
    }

    /// The dimension of an input with these sizes, or one that follows from the inputs by a formula.
    pub(super) fn size_of(&mut self, extent: &Extent) -> Result<Option<Dim>> {
        let known = self.input_extents();
        if let Some((dim, _)) = known.iter().find(|(_, known)| known == extent) {
            return Ok(Some(dim.clone()));
        }
        formula(extent, &known).map(|formula| self.define(&formula)).transpose()
    }

    /// The dynamic dimensions of the inputs, each once.
    pub(super) fn input_extents(&self) -> Vec<(Dim, Extent)> {
        let mut found: Vec<(Dim, Extent)> = Vec::new();
        for (id, first) in self.trace.inputs.iter().zip(&self.trace.sizes) {
            let Some(value) = self.values.get(id) else { continue };
            for (axis, dim) in value.dims().iter().enumerate() {
                if dim.fixed().is_some() || found.iter().any(|(known, _)| known == dim) {
                    continue;
                }
                let others = self.others.iter().filter_map(|sizes| Some(sizes.get(id)?[axis]));
                found.push((
                    dim.clone(),
                    Extent(std::iter::once(first[axis]).chain(others).collect()),
                ));
            }
        }
        found
    }

    pub(super) fn input_values(&self) -> Vec<Value> {
        self.trace.inputs.iter().filter_map(|id| self.values.get(id).cloned()).collect()
    }

    /// A dimension that is computed when the model runs.
    fn define(&mut self, formula: &Formula) -> Result<Dim> {
        let dim = formula.dim();
        if dim.fixed().is_some() || self.graph.is_defined(&dim) {
            return Ok(dim);
        }
        let inputs = self.input_values();
        let sources: Vec<&Value> = inputs.iter().collect();
        let size = |dim: &Dim| self.graph.shape_tensor(std::slice::from_ref(dim), &sources);
        let int = |value: i64| -> Result<Value> {
            Ok(self.graph.constant("size", HostTensor::from_vec([1], vec![value])?))
        };
        let plus = |value: Value, offset: i64| match offset {
            0 => Ok(value),
            offset => value.add(&int(offset)?),
        };
        let times = |value: Value, factor: i64| match factor {
            1 => Ok(value),
            factor => value.mul(&int(factor)?),
        };
        let value = match formula {
            Formula::Linear { of, factor, offset } => plus(times(size(of)?, *factor)?, *offset)?,
            Formula::Quotient { of, offset, divisor } => {
                plus(size(of)?, *offset)?.div(&int(*divisor)?)?
            }
            Formula::Product { of: [a, b], factor } => {
                times(size(a)?.mul(&size(b)?)?, *factor as i64)?
            }
            Formula::Sum { of: [a, b], offset } => plus(size(a)?.add(&size(b)?)?, *offset)?,
        };
        self.graph.define(&dim, &value);
        Ok(dim)
    }
}

/// A formula that gives these sizes in every capture.
fn formula(extent: &Extent, known: &[(Dim, Extent)]) -> Option<Formula> {
    let at = |extent: &Extent, i: usize| extent.0[i] as i64;
    let count = extent.0.len();
    let holds = |f: &dyn Fn(usize) -> i64| (0..count).all(|i| f(i) == at(extent, i));
    for (of, sizes) in known {
        let (run, rise) = (at(sizes, 1) - at(sizes, 0), at(extent, 1) - at(extent, 0));
        if run == 0 || rise % run != 0 {
            continue;
        }
        let factor = rise / run;
        let offset = at(extent, 0) - factor * at(sizes, 0);
        if factor > 0 && holds(&|i| factor * at(sizes, i) + offset) {
            return Some(Formula::Linear { of: of.clone(), factor, offset });
        }
    }
    for (i, (a, first)) in known.iter().enumerate() {
        for (b, second) in &known[i + 1..] {
            let of = [a.clone(), b.clone()];
            let (product, whole) = (at(first, 0) * at(second, 0), at(extent, 0));
            if product > 0 && whole % product == 0 && whole > 0 {
                let factor = whole / product;
                if holds(&|i| factor * at(first, i) * at(second, i)) {
                    return Some(Formula::Product { of, factor: factor as usize });
                }
            }
            let offset = whole - at(first, 0) - at(second, 0);
            if holds(&|i| at(first, i) + at(second, i) + offset) {
                return Some(Formula::Sum { of, offset });
            }
        }
    }
    known.iter().find_map(|(of, sizes)| quotient(extent, of, sizes))
}

/// A quotient that gives these sizes in every capture, if there is none that gives them as well and
/// others between.
fn quotient(extent: &Extent, of: &Dim, sizes: &Extent) -> Option<Formula> {
    let mut found: Option<(i64, i64)> = None;
    for divisor in 2..=DIVISORS {
        for offset in -DIVISORS..=DIVISORS {
            let value = |size: usize, (offset, divisor): (i64, i64)| {
                (size as i64 + offset).div_euclid(divisor)
            };
            let mut pairs = sizes.0.iter().zip(&extent.0);
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

/// A dimension of which nothing is known but its sizes in the captures.
pub(super) fn unknown(extent: &Extent, name: String) -> Result<Dim> {
    let (min, max) = extent.0.iter().fold((usize::MAX, 0), |(a, b), &n| (a.min(n), b.max(n)));
    if min == max {
        return Ok(Dim::Fixed(min));
    }
    Ok(Dim::Symbol(Symbol::new(name, min, max, max)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_hold_in_every_capture() {
        let dim = |name: &str| Dim::dynamic(name, 1..=99).unwrap();
        let s: Vec<usize> = [2, 99].into_iter().chain(1..=64).collect();
        let t: Vec<usize> = s.iter().map(|s| (s * 7 + 3) % 99 + 1).collect();
        let known = [(dim("s"), Extent(s.clone())), (dim("t"), Extent(t.clone()))];
        let find = |f: &dyn Fn(usize, usize) -> usize| {
            let sizes = s.iter().zip(&t).map(|(&s, &t)| f(s, t)).collect();
            formula(&Extent(sizes), &known)
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
        let few = [(dim("n"), Extent(vec![3, 5, 50]))];
        assert!(formula(&Extent(vec![1, 2, 17]), &few).is_none());
    }
}
