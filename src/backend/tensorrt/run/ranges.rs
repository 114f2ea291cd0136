//! The profiles that a built engine has, and which of them a run uses.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Signature, Symbol};

/// The profiles that an engine has. None where it has no dynamic input and none whose values decide
/// shapes.
#[derive(Default)]
pub(crate) struct Ranges {
    all: Vec<Range>,
    /// The only one that is used.
    only: Option<usize>,
}

/// The smallest and largest sizes of all inputs, one input after the other, and likewise the values of
/// the inputs that decide shapes.
#[derive(Default)]
pub(crate) struct Range {
    pub(crate) sizes: [Vec<usize>; 2],
    pub(crate) values: [Vec<i64>; 2],
}

fn within<T: PartialOrd>(all: &[T], [min, max]: &[Vec<T>; 2]) -> bool {
    all.iter().zip(min).all(|(one, min)| one >= min)
        && all.iter().zip(max).all(|(one, max)| one <= max)
}

impl Ranges {
    pub(crate) fn push(&mut self, range: Range) {
        self.all.push(range);
    }

    /// Uses one profile alone, and gives the signature that is left of this one: its symbols have the
    /// ranges of the profile.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`] when there is no such profile.
    pub(crate) fn restrict(&mut self, only: usize, signature: &Signature) -> Result<Signature> {
        let Some(Range { sizes: [min, max], .. }) = self.all.get(only) else {
            let text = format!("the engine has {} profiles, its header more", self.all.len());
            return Err(Error::new(ErrorKind::EngineCorrupt, text).in_operation("load engine"));
        };
        self.only = Some(only);
        let mut narrowed = BTreeMap::new();
        let dims = signature.inputs.iter().flat_map(|spec| spec.shape.dims());
        for (dim, (&min, &max)) in dims.zip(min.iter().zip(max)) {
            if let Some(symbol) = dim.symbol() {
                let opt = symbol.opt().clamp(min, max);
                narrowed.insert(symbol.name(), Symbol::new(symbol.name(), min, opt, max)?);
            }
        }
        Ok(signature.with_symbols(|symbol| narrowed.get(symbol.name()).cloned()))
    }

    /// The first profile that these sizes of all inputs fit, and these values of those that decide shapes.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfProfile`] naming them all.
    pub(crate) fn choose(&self, sizes: &[usize], values: &[i64]) -> Result<usize> {
        if self.all.is_empty() {
            return Ok(0);
        }
        let used =
            || self.all.iter().enumerate().filter(|(i, _)| self.only.is_none_or(|only| only == *i));
        let of_sizes = || used().filter(|(_, range)| within(sizes, &range.sizes));
        if let Some((i, _)) = of_sizes().find(|(_, range)| within(values, &range.values)) {
            return Ok(i);
        }
        let told = |[min, max]: [String; 2]| format!("{min}..={max}");
        let text = if of_sizes().next().is_some() {
            let ranges = of_sizes()
                .map(|(_, range)| told(range.values.each_ref().map(|v| format!("{v:?}"))));
            let ranges = ranges.collect::<Vec<_>>().join(", ");
            format!("the values {values:?} decide shapes and fit none of the profiles {ranges}")
        } else {
            let ranges =
                used().map(|(_, range)| told(range.sizes.each_ref().map(|v| format!("{v:?}"))));
            let ranges = ranges.collect::<Vec<_>>().join(", ");
            format!("{sizes:?} fits none of the profiles {ranges}")
        };
        Err(Error::new(ErrorKind::OutOfProfile, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DType, Dim, TensorSpec};

    fn sizes<const N: usize>(min: [usize; N], max: [usize; N]) -> Range {
        Range { sizes: [min.to_vec(), max.to_vec()], ..Range::default() }
    }

    #[test]
    fn the_first_profile_that_fits_is_chosen() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.choose(&[3, 8], &[]).unwrap(), 0);
        ranges.push(sizes([1, 8], [4, 8]));
        ranges.push(sizes([1, 8], [64, 8]));
        assert_eq!(ranges.choose(&[4, 8], &[]).unwrap(), 0);
        assert_eq!(ranges.choose(&[5, 8], &[]).unwrap(), 1);
        assert_eq!(ranges.choose(&[65, 8], &[]).unwrap_err().kind(), ErrorKind::OutOfProfile);
    }

    #[test]
    fn values_choose_as_well() {
        let mut ranges = Ranges::default();
        for (min, max) in [([-1, 1], [4, 4]), ([1, 1], [9, 9])] {
            ranges.push(Range { values: [min.to_vec(), max.to_vec()], ..sizes([1, 8], [4, 8]) });
        }
        assert_eq!(ranges.choose(&[4, 8], &[-1, 4]).unwrap(), 0);
        assert_eq!(ranges.choose(&[4, 8], &[5, 4]).unwrap(), 1);
        for (sizes, values, said) in
            [([4, 8], [-1, 5], "[-1, 5] decide"), ([5, 8], [1, 1], "[5, 8]")]
        {
            let error = ranges.choose(&sizes, &values).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfProfile);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn one_profile_alone_is_all_that_is_left() {
        let spec = |name: &str, symbol: &str| {
            let dims = [Dim::dynamic(symbol.to_owned(), 1..=64).unwrap(), Dim::Fixed(8)];
            TensorSpec::new(name, DType::F32, dims)
        };
        let inputs = vec![spec("x", "batch"), spec("y", "length")];
        let signature = Signature { inputs, outputs: vec![spec("z", "batch")] };
        let mut ranges = Ranges::default();
        ranges.push(sizes([1, 8, 1, 8], [4, 8, 64, 8]));
        ranges.push(sizes([2, 8, 1, 8], [16, 8, 64, 8]));
        let left = ranges.restrict(1, &signature).unwrap();
        let of = |spec: &TensorSpec| [spec.shape.dims()[0].min(), spec.shape.dims()[0].max()];
        assert_eq!([&left.inputs[0], &left.outputs[0]].map(of), [[2, 16]; 2]);
        assert_eq!(left.inputs[1], signature.inputs[1]);
        assert_eq!(ranges.choose(&[3, 8, 1, 8], &[]).unwrap(), 1);
        let error = ranges.choose(&[1, 8, 1, 8], &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfProfile);
        assert!(!error.to_string().contains("[4, 8"), "{error}");
        assert_eq!(ranges.restrict(2, &signature).unwrap_err().kind(), ErrorKind::EngineCorrupt);
    }
}
