//! Optimization profiles: ranges of sizes that an engine is tuned for, what the builder is told of
//! them, and which of an engine's own a run uses.

use std::collections::BTreeMap;

use super::ffi::ProfileShape;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Signature, Symbol};

/// The optimization profiles of an engine, each a range for some of its symbolic dimensions.
///
/// A run uses the first profile that its sizes fit, so narrow ones go first. Symbols that a profile
/// does not name keep their whole range.
///
/// ```
/// use accelerant::backend::tensorrt::{Profiles, TensorRtOptions};
///
/// let profiles = Profiles::new().range("batch", 1, 1, 1)?.next().range("batch", 1, 32, 64)?;
/// let options = TensorRtOptions::default().profiles(profiles);
///
/// // Sizes that were seen: from the smallest to the largest, tuned for the most frequent.
/// let profiles = Profiles::from_samples("length", [7, 12, 12, 9])?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiles(Vec<BTreeMap<String, Symbol>>);

impl Default for Profiles {
    fn default() -> Self {
        Self(vec![BTreeMap::new()])
    }
}

impl Profiles {
    /// One profile, of the whole range of every symbol.
    pub fn new() -> Self {
        Self::default()
    }

    /// One profile, for the sizes of a symbol that were seen: from the smallest to the largest,
    /// tuned for the most frequent, and of equally frequent ones for the largest.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without samples.
    pub fn from_samples(
        symbol: impl Into<String>,
        samples: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for sample in samples {
            *counts.entry(sample).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|&(&size, &count)| (count, size));
        let (Some((&opt, _)), Some((&min, _)), Some((&max, _))) =
            (most, counts.first_key_value(), counts.last_key_value())
        else {
            return Err(Error::new(ErrorKind::InvalidArgument, "no sizes to make a profile of"));
        };
        Self::new().range(symbol, min, opt, max)
    }

    /// Narrows a symbol in the last profile: its smallest, tuned and largest size.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when not `min <= opt <= max`.
    pub fn range(
        mut self,
        symbol: impl Into<String>,
        min: usize,
        opt: usize,
        max: usize,
    ) -> Result<Self> {
        let name = symbol.into();
        let range = Symbol::new(name.as_str(), min, opt, max)?;
        if let Some(last) = self.0.last_mut() {
            last.insert(name, range);
        }
        Ok(self)
    }

    /// Begins another profile, of the whole range of every symbol.
    #[must_use]
    pub fn next(mut self) -> Self {
        self.0.push(BTreeMap::new());
        self
    }

    /// The profiles of a model's inputs, as the builder is told them; none without symbols.
    pub(super) fn of(&self, signature: &Signature) -> Result<Vec<Vec<ProfileShape>>> {
        let dynamic: Vec<_> =
            signature.inputs.iter().filter(|spec| spec.shape.is_dynamic()).collect();
        let symbols: Vec<&Symbol> = dynamic
            .iter()
            .flat_map(|spec| spec.shape.dims())
            .filter_map(|dim| match dim {
                Dim::Symbol(symbol) => Some(symbol),
                Dim::Fixed(_) => None,
            })
            .collect();
        for range in self.0.iter().flat_map(|profile| profile.values()) {
            check_range(range, &symbols)?;
        }
        if dynamic.is_empty() {
            return Ok(Vec::new());
        }
        let mut profiles = Vec::with_capacity(self.0.len());
        for ranges in &self.0 {
            let mut shapes = Vec::with_capacity(dynamic.len());
            for spec in &dynamic {
                let mut shape = ProfileShape {
                    name: spec.name.clone(),
                    min: Vec::new(),
                    opt: Vec::new(),
                    max: Vec::new(),
                };
                for (axis, dim) in spec.shape.dims().iter().enumerate() {
                    let narrowed = match dim {
                        Dim::Symbol(symbol) => ranges.get(symbol.name()),
                        Dim::Fixed(_) => None,
                    };
                    let dim = narrowed.map_or_else(|| dim.clone(), |range| range.clone().into());
                    if dim.max() == Symbol::UNBOUNDED {
                        let text =
                            format!("`{dim}` needs a largest size: TensorRT plans memory for it");
                        return Err(Error::new(ErrorKind::InvalidArgument, text)
                            .on_tensor(&spec.name)
                            .at_axis(axis));
                    }
                    shape.min.push(dim.min() as i64);
                    shape.opt.push(dim.opt() as i64);
                    shape.max.push(dim.max() as i64);
                }
                shapes.push(shape);
            }
            profiles.push(shapes);
        }
        Ok(profiles)
    }
}

/// A profile may only narrow a symbol that the model has.
fn check_range(range: &Symbol, symbols: &[&Symbol]) -> Result<()> {
    let invalid = |text: String| {
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("optimization profiles"))
    };
    let Some(symbol) = symbols.iter().find(|symbol| symbol.name() == range.name()) else {
        let names: Vec<_> = symbols.iter().map(|symbol| symbol.name()).collect();
        return invalid(format!(
            "no input has a dimension `{}`; there are: {}",
            range.name(),
            names.join(", ")
        ));
    };
    if range.min() < symbol.min() || range.max() > symbol.max() {
        return invalid(format!("{range:?} is outside the model's {symbol:?}"));
    }
    Ok(())
}

/// The profiles that an engine has: for each the smallest and largest sizes of all inputs, one input
/// after the other. None where the engine has no dynamic input.
#[derive(Default)]
pub(super) struct Ranges(Vec<(Vec<usize>, Vec<usize>)>);

impl Ranges {
    pub(super) fn push(&mut self, min: Vec<usize>, max: Vec<usize>) {
        self.0.push((min, max));
    }

    /// The first profile that these sizes fit.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfProfile`] naming them all.
    pub(super) fn choose(&self, sizes: &[usize]) -> Result<usize> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let fits = |(min, max): &(Vec<usize>, Vec<usize>)| {
            sizes.iter().zip(min).all(|(size, min)| size >= min)
                && sizes.iter().zip(max).all(|(size, max)| size <= max)
        };
        self.0.iter().position(fits).ok_or_else(|| {
            let ranges: Vec<_> =
                self.0.iter().map(|(min, max)| format!("{min:?}..={max:?}")).collect();
            let text = format!("{sizes:?} fits none of the profiles {}", ranges.join(", "));
            Error::new(ErrorKind::OutOfProfile, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DType, TensorSpec};

    fn signature() -> Signature {
        let dims =
            |name: &str, width: usize| [Dim::dynamic(name, 1..=64).unwrap(), Dim::Fixed(width)];
        let spec = |name: &str, symbol: &str| TensorSpec::new(name, DType::F32, dims(symbol, 8));
        Signature { inputs: vec![spec("x", "batch"), spec("y", "length")], outputs: Vec::new() }
    }

    #[test]
    fn each_profile_narrows_the_symbols_it_names() {
        let profiles = Profiles::new()
            .range("batch", 1, 2, 4)
            .unwrap()
            .next()
            .range("length", 5, 5, 5)
            .unwrap();
        let told = profiles.of(&signature()).unwrap();
        let of = |profile: usize, input: usize| {
            let shape = &told[profile][input];
            [shape.min[0], shape.opt[0], shape.max[0]]
        };
        assert_eq!((of(0, 0), of(0, 1)), ([1, 2, 4], [1, 64, 64]));
        assert_eq!((of(1, 0), of(1, 1)), ([1, 64, 64], [5, 5, 5]));
        assert_eq!(told[0][0].max, [4, 8]);
    }

    #[test]
    fn samples_become_a_range_tuned_for_the_most_frequent() {
        let profiles = Profiles::from_samples("batch", [7, 12, 9, 12, 9]).unwrap();
        assert_eq!(profiles, Profiles::new().range("batch", 7, 12, 12).unwrap());
        assert!(Profiles::from_samples("batch", []).is_err());
    }

    #[test]
    fn a_profile_that_the_model_has_not_is_refused() {
        for (symbol, max, said) in [("bach", 2, "`bach`"), ("batch", 65, "1..=64")] {
            let profiles = Profiles::new().range(symbol, 1, 1, max).unwrap();
            let error = profiles.of(&signature()).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn the_first_profile_that_fits_is_chosen() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.choose(&[3, 8]).unwrap(), 0);
        ranges.push(vec![1, 8], vec![4, 8]);
        ranges.push(vec![1, 8], vec![64, 8]);
        assert_eq!(ranges.choose(&[4, 8]).unwrap(), 0);
        assert_eq!(ranges.choose(&[5, 8]).unwrap(), 1);
        assert_eq!(ranges.choose(&[65, 8]).unwrap_err().kind(), ErrorKind::OutOfProfile);
    }
}
