//! Profiles made of what was seen: sizes, shapes or whole inputs.

use std::collections::BTreeMap;

use super::{Profiles, no_samples};
use crate::backend::tensorrt::build::values::{self, ValueRange};
use crate::error::Result;
use crate::spec::{DType, Signature};
use crate::tensor::HostTensor;

/// How often each size, or each tensor of values, was seen.
struct Seen<T>(BTreeMap<T, usize>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> Seen<T> {
    fn count(&mut self, one: T) {
        *self.0.entry(one).or_default() += 1;
    }

    /// Of equally frequent ones the largest.
    fn most_frequent(&self) -> Option<&T> {
        self.0.iter().max_by_key(|&(one, count)| (count, one)).map(|(one, _)| one)
    }
}

impl Seen<usize> {
    /// The smallest, the most frequent, and the largest.
    fn range(&self) -> Option<(usize, usize, usize)> {
        let &opt = self.most_frequent()?;
        let ((&min, _), (&max, _)) = (self.0.first_key_value()?, self.0.last_key_value()?);
        Some((min, opt, max))
    }
}

impl Profiles {
    /// One profile, for the sizes of a symbol that were seen: from the smallest to the largest,
    /// tuned for the most frequent, and of equally frequent ones for the largest.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without samples.
    pub fn from_samples(
        symbol: impl Into<String>,
        samples: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        let mut seen = Seen::default();
        samples.into_iter().for_each(|size| seen.count(size));
        let (min, opt, max) = seen.range().ok_or_else(no_samples)?;
        let profile = Self::new().range(symbol, min, opt, max);
        profile.1.check()?;
        Ok(profile)
    }

    /// One profile, for inputs of a model that were seen: each of its symbols as in
    /// [`from_samples`](Self::from_samples), and where the values of an input decide shapes, these
    /// [values](Self::values), each element from its smallest to its largest.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without samples; for one that does not fit the signature as
    /// [`Signature::check_inputs`], with its number as [`Error::item`](crate::Error::item).
    pub fn from_inputs(
        signature: &Signature,
        samples: impl IntoIterator<Item: AsRef<[HostTensor]>>,
    ) -> Result<Self> {
        let mut seen = BTreeMap::<&str, Seen<Vec<i64>>>::new();
        let samples = samples.into_iter().inspect(|sample| {
            for (spec, tensor) in signature.inputs.iter().zip(sample.as_ref()) {
                if values::may_decide(spec) {
                    // One of another type is refused with its place.
                    let numbers = values::integers(tensor.dtype(), tensor.bytes());
                    let numbers = numbers.unwrap_or_default();
                    seen.entry(&spec.name).or_default().count(numbers);
                }
            }
        });
        let mut profiles =
            Self::seen(signature, samples, |_, tensor| (tensor.dtype(), tensor.shape()))?;
        if let Some(profile) = profiles.0.last_mut() {
            profile.values = seen
                .into_iter()
                .filter_map(|(name, seen)| {
                    let range = ValueRange::of_samples(seen.0.keys(), seen.most_frequent()?)?;
                    Some((name.to_owned(), range))
                })
                .collect();
        }
        Ok(profiles)
    }

    /// As [`from_inputs`](Self::from_inputs), from the shapes alone: of each sample those of all inputs,
    /// in order.
    ///
    /// # Errors
    /// As in [`from_inputs`](Self::from_inputs).
    pub fn from_shapes<S: AsRef<[usize]>>(
        signature: &Signature,
        samples: impl IntoIterator<Item: AsRef<[S]>>,
    ) -> Result<Self> {
        // Too many are refused by their number.
        let dtype = |i: usize| signature.inputs.get(i).map_or(DType::F32, |spec| spec.dtype);
        Self::seen(signature, samples, |i, shape| (dtype(i), shape.as_ref()))
    }

    fn seen<T>(
        signature: &Signature,
        samples: impl IntoIterator<Item: AsRef<[T]>>,
        shape: impl Fn(usize, &T) -> (DType, &[usize]),
    ) -> Result<Self> {
        let mut seen = BTreeMap::<&str, Seen<usize>>::new();
        let mut count = 0;
        for sample in samples {
            let inputs = sample.as_ref().iter().enumerate().map(|(i, input)| shape(i, input));
            let checked = signature.check_inputs(inputs.clone());
            checked.map_err(|e| e.in_operation("optimization profiles").at_item(count))?;
            for (spec, (_, sizes)) in signature.inputs.iter().zip(inputs) {
                for (dim, &size) in spec.shape.dims().iter().zip(sizes) {
                    if let Some(symbol) = dim.symbol() {
                        seen.entry(symbol.name()).or_default().count(size);
                    }
                }
            }
            count += 1;
        }
        if count == 0 {
            return Err(no_samples());
        }
        let ranges = seen.iter().filter_map(|(name, seen)| Some((name, seen.range()?)));
        let one = |profile: Self, (name, (min, opt, max)): (&&str, _)| {
            profile.range(*name, min, opt, max)
        };
        Ok(ranges.into_iter().fold(Self::new(), one))
    }
}
