//! Optimization profiles as a user asks for them: ranges of sizes that an engine is tuned for, their
//! names, and what the builder is told of them.

use std::collections::BTreeMap;

use super::ffi::ProfileShape;
use super::values::{self, ValueRange};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Dim, Signature, Symbol};
use crate::tensor::HostTensor;

/// The optimization profiles of an engine, each a range for some of its symbolic dimensions.
///
/// A run uses the first profile that its sizes fit, so narrow ones go first. An engine that is loaded for
/// one profile [by its name](super::TensorRtOptions::profile) uses that alone. Symbols that a
/// profile does not name keep their whole range.
///
/// ```
/// use accelerant::backend::tensorrt::{Profiles, TensorRtOptions};
///
/// let profiles = Profiles::new().named("single").range("batch", 1, 1, 1)?
///     .next().named("many").range("batch", 1, 32, 64)?;
/// let options = TensorRtOptions::default().profiles(profiles);
///
/// // Sizes that were seen: from the smallest to the largest, tuned for the most frequent.
/// let profiles = Profiles::from_samples("length", [7, 12, 12, 9])?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiles(Vec<Profile>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Profile {
    name: Option<String>,
    /// Made for single sizes.
    single: bool,
    ranges: BTreeMap<String, Symbol>,
    /// By the name of the input.
    values: BTreeMap<String, ValueRange>,
}

impl Profile {
    /// Profiles for one of these sizes of a symbol each.
    fn with_each<'a>(&'a self, sizes: &'a [Symbol]) -> impl Iterator<Item = Self> + 'a {
        sizes.iter().map(|size| {
            let mut single = Self { name: None, single: true, ..self.clone() };
            single.ranges.insert(size.name().to_owned(), size.clone());
            single
        })
    }
}

impl Default for Profiles {
    fn default() -> Self {
        Self(vec![Profile::default()])
    }
}

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

fn no_samples() -> Error {
    Error::new(ErrorKind::InvalidArgument, "no sizes to make a profile of")
        .in_operation("optimization profiles")
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
        let mut seen = Seen::default();
        samples.into_iter().for_each(|size| seen.count(size));
        let (min, opt, max) = seen.range().ok_or_else(no_samples)?;
        Self::new().range(symbol, min, opt, max)
    }

    /// One profile, for inputs of a model that were seen: each of its symbols as in
    /// [`from_samples`](Self::from_samples), and where the values of an input decide shapes, these
    /// [values](Self::values), each element from its smallest to its largest.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without samples; for one that does not fit the signature as
    /// [`Signature::check_inputs`], with its number as [`Error::item`].
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
        ranges.into_iter().try_fold(Self::new(), |profile, (name, (min, opt, max))| {
            profile.range(*name, min, opt, max)
        })
    }

    /// Names the last profile, so that an engine can be loaded for it
    /// [alone](super::TensorRtOptions::profile).
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        if let Some(last) = self.0.last_mut() {
            last.name = Some(name.into());
        }
        self
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
            last.ranges.insert(name, range);
        }
        Ok(self)
    }

    /// Puts profiles for single sizes of a symbol before the last profile, which stays for all others, and without
    /// names. Called for another symbol it makes one of each for each size of that.
    ///
    /// What an engine knows when it is built decides its kernels: TensorRT-RTX takes others on compute capability 9.0
    /// where any size is open, and networks took up to twice as long there with sizes that no profile has alone
    /// (`docs/measured/2026-11-forms-h200.md`). Going from one profile to another takes a context about a millisecond,
    /// so sizes that are used in turn want [one each](super::TensorRtOptions::max_contexts).
    ///
    /// ```
    /// # use accelerant::backend::tensorrt::Profiles;
    /// // Five profiles: batches of 1 and 8 by texts of 64 and 128 tokens, and all other sizes.
    /// let profiles = Profiles::new().sizes("batch", [1, 8])?.sizes("length", [64, 128])?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] without sizes.
    pub fn sizes(
        mut self,
        symbol: impl Into<String>,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Result<Self> {
        let name = symbol.into();
        let sizes = sizes.into_iter().map(|size| Symbol::new(name.as_str(), size, size, size));
        let sizes = sizes.collect::<Result<Vec<_>>>()?;
        if sizes.is_empty() {
            return Err(no_samples());
        }
        let all = self.0.pop().unwrap_or_default();
        let of_others = |profile: &Profile| profile.single && !profile.ranges.contains_key(&name);
        let combined = self.0.iter().any(of_others);
        let mut profiles = Vec::new();
        for profile in self.0 {
            match of_others(&profile) {
                true => profiles.extend(profile.with_each(&sizes)),
                false => profiles.push(profile),
            }
        }
        if !combined {
            profiles.extend(all.with_each(&sizes));
        }
        profiles.push(all);
        Ok(Self(profiles))
    }

    /// For the sizes that a model's symbols are [tuned for](Symbol::tuned_for) alone, and for all of the range. Where
    /// single sizes are `faster`, for the optima of other symbols too, and the smallest of what is on the first axis.
    pub(super) fn usual(signature: &Signature, faster: bool) -> Result<Self> {
        let inputs = || signature.inputs.iter().map(|spec| spec.shape.dims());
        let first = inputs().find_map(|dims| dims.first()?.symbol());
        let symbols: BTreeMap<&str, &Symbol> =
            inputs().flatten().filter_map(Dim::symbol).map(|s| (s.name(), s)).collect();
        let mut profiles = Self::new();
        for (name, symbol) in symbols {
            let smallest =
                (Some(symbol) == first && symbol.min() < symbol.opt()).then(|| symbol.min());
            let sizes = match symbol.sizes() {
                [] if faster => [symbol.opt()].into_iter().chain(smallest).collect(),
                [] => Vec::new(),
                // The one to tune for most first, for which a context is made.
                sizes => {
                    let others = sizes.iter().rev().filter(|&&size| size != symbol.opt());
                    [symbol.opt()].into_iter().chain(others.copied()).collect::<Vec<_>>()
                }
            };
            if !sizes.is_empty() {
                profiles = profiles.sizes(name, sizes)?;
            }
        }
        Ok(profiles)
    }

    /// States the values of an input that decides shapes, for the last profile: the smallest, the tuned and
    /// the largest of each of its elements. TensorRT wants to know them of every such input, and
    /// the tuned ones must be values that the model can run with.
    ///
    /// ```
    /// # use accelerant::backend::tensorrt::Profiles;
    /// // The second input of an ONNX `Reshape`: from one column to 64.
    /// let profiles = Profiles::new().values("sizes", [1, 1], [8, 16], [64, 64])?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when not `min <= opt <= max` at each element, naming the input and
    /// the element as its axis.
    pub fn values(
        mut self,
        input: impl Into<String>,
        min: impl Into<Vec<i64>>,
        opt: impl Into<Vec<i64>>,
        max: impl Into<Vec<i64>>,
    ) -> Result<Self> {
        let name = input.into();
        let range = ValueRange::new(&name, min.into(), opt.into(), max.into())?;
        if let Some(last) = self.0.last_mut() {
            last.values.insert(name, range);
        }
        Ok(self)
    }

    /// Begins another profile, of the whole range of every symbol.
    #[must_use]
    pub fn next(mut self) -> Self {
        self.0.push(Profile::default());
        self
    }

    /// The profiles of a model's inputs, as the builder is told them; none without symbols and without
    /// inputs whose values decide shapes, which are those at the places `deciding`.
    pub(super) fn of(
        &self,
        signature: &Signature,
        deciding: &[usize],
    ) -> Result<Vec<Vec<ProfileShape>>> {
        let dynamic: Vec<_> =
            signature.inputs.iter().filter(|spec| spec.shape.is_dynamic()).collect();
        let symbols: Vec<&Symbol> =
            dynamic.iter().flat_map(|spec| spec.shape.dims()).filter_map(Dim::symbol).collect();
        for range in self.0.iter().flat_map(|profile| profile.ranges.values()) {
            check_range(range, &symbols)?;
        }
        let deciding: Vec<_> = deciding.iter().map(|&i| &signature.inputs[i]).collect();
        let needed = !dynamic.is_empty() || !deciding.is_empty();
        self.check_names(needed)?;
        for (name, range) in self.0.iter().flat_map(|profile| &profile.values) {
            range.check_use(name, &deciding)?;
        }
        if !needed {
            return Ok(Vec::new());
        }
        let mut profiles = Vec::with_capacity(self.0.len());
        for Profile { ranges, values, .. } in &self.0 {
            let mut shapes = Vec::with_capacity(dynamic.len() + deciding.len());
            for spec in &dynamic {
                let mut shape = ProfileShape {
                    name: spec.name.clone(),
                    of_values: false,
                    min: Vec::new(),
                    opt: Vec::new(),
                    max: Vec::new(),
                };
                for (axis, dim) in spec.shape.dims().iter().enumerate() {
                    let narrowed = dim.symbol().and_then(|symbol| ranges.get(symbol.name()));
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
            for spec in &deciding {
                shapes.push(values::told(spec, values.get(&spec.name))?);
            }
            profiles.push(shapes);
        }
        Ok(profiles)
    }

    /// The names, as an engine keeps them: empty for a profile without one, and none if no profile has one.
    pub(super) fn names(&self) -> Vec<String> {
        let named = self.0.iter().any(|profile| profile.name.is_some());
        let names = self.0.iter().filter(|_| named);
        names.map(|profile| profile.name.clone().unwrap_or_default()).collect()
    }

    /// A name is of one profile, and there is something to choose from.
    fn check_names(&self, dynamic: bool) -> Result<()> {
        let names: Vec<_> = self.0.iter().filter_map(|profile| profile.name.as_deref()).collect();
        let twice = |(i, name): &(usize, &&str)| names[..*i].contains(name);
        let text = if names.contains(&"") {
            "a profile has an empty name".into()
        } else if let Some((_, name)) = names.iter().enumerate().find(twice) {
            format!("two profiles are named `{name}`")
        } else if let (Some(name), false) = (names.first(), dynamic) {
            format!("no input has a symbolic dimension, and there is no profile to name `{name}`")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("optimization profiles"))
    }
}

/// Where a profile is among an engine's, by its name.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] with the names that there are.
pub(super) fn place_of(name: &str, names: &[String]) -> Result<usize> {
    let found = (!name.is_empty()).then(|| names.iter().position(|other| other == name)).flatten();
    found.ok_or_else(|| {
        let there: Vec<_> = names.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
        let text = match there.as_slice() {
            [] => format!("no profile is named `{name}`: none of the engine's has a name"),
            there => format!("no profile is named `{name}`; there are: {}", there.join(", ")),
        };
        Error::new(ErrorKind::InvalidArgument, text).in_operation("optimization profiles")
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Shape, TensorSpec};

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
        let told = profiles.of(&signature(), &[]).unwrap();
        let of = |profile: usize, input: usize| {
            let shape = &told[profile][input];
            [shape.min[0], shape.opt[0], shape.max[0]]
        };
        assert_eq!((of(0, 0), of(0, 1)), ([1, 2, 4], [1, 64, 64]));
        assert_eq!((of(1, 0), of(1, 1)), ([1, 64, 64], [5, 5, 5]));
        assert_eq!(told[0][0].max, [4, 8]);
    }

    fn ranges(profiles: &Profiles) -> Vec<String> {
        let of = |profile: &Profile| format!("{:?}", profile.ranges.values().collect::<Vec<_>>());
        profiles.0.iter().map(of).collect()
    }

    #[test]
    fn single_sizes_come_before_all_others() {
        let profiles = Profiles::new().named("rest").range("batch", 1, 2, 32).unwrap();
        let batches = profiles.sizes("batch", [1, 8]).unwrap();
        assert_eq!(ranges(&batches), ["[batch=1..=1]", "[batch=8..=8]", "[batch=1..=32]"]);
        assert_eq!(batches.names(), ["", "", "rest"]);
        let both = batches.clone().sizes("length", [5, 64]).unwrap();
        let of = |batch, length| format!("[batch={batch}..={batch}, length={length}..={length}]");
        let whole = "[batch=1..=32]".to_owned();
        assert_eq!(ranges(&both), [of(1, 5), of(1, 64), of(8, 5), of(8, 64), whole]);
        assert!(batches.clone().sizes("length", []).is_err());
        let more = batches.sizes("batch", [16]).unwrap();
        assert_eq!(ranges(&more)[1..3], ["[batch=8..=8]", "[batch=16..=16]"]);
        let few = Profiles::new().range("batch", 1, 2, 4).unwrap().next();
        let few = few.sizes("batch", [8]).unwrap();
        assert_eq!(ranges(&few), ["[batch=1..=4]", "[batch=8..=8]", "[]"]);
        let outside = Profiles::new().sizes("batch", [65]).unwrap();
        assert!(outside.of(&signature(), &[]).is_err(), "more than the model takes");
    }

    #[test]
    fn the_usual_sizes_are_those_tuned_for() {
        let usual =
            |signature: &Signature, faster| ranges(&Profiles::usual(signature, faster).unwrap());
        let tuned = "[batch=64..=64, length=64..=64]";
        let single = "[batch=1..=1, length=64..=64]";
        assert_eq!(usual(&signature(), true), [tuned, single, "[]"]);
        assert_eq!(usual(&signature(), false), ["[]"]);
        let of = |dims: [Dim; 2]| {
            let mut signature = signature();
            signature.inputs.iter_mut().for_each(|spec| spec.shape = Shape::from(dims.clone()));
            signature
        };
        assert_eq!(usual(&of([3, 8].map(Dim::Fixed)), true), ["[]"]);
        // What is not on the first axis has no smallest size that matters.
        let length = Dim::dynamic("length", 1..=64).unwrap();
        assert_eq!(usual(&of([2.into(), length.clone()]), true), ["[length=64..=64]", "[]"]);
        let batch = Dim::dynamic("batch", 1..=64).unwrap().tuned_for([8, 1, 32]).unwrap();
        let both = of([batch.clone(), length.clone()]);
        let sizes = ["[batch=8..=8]", "[batch=32..=32]", "[batch=1..=1]", "[]"];
        assert_eq!(usual(&both, false), sizes, "where they are stated");
        let whole = sizes.map(|sizes| sizes.replace(']', ", length=64..=64]"));
        assert_eq!(usual(&both, true)[..3], whole[..3]);
        let [middle, largest, least, rest] = sizes;
        let batch = batch.with_opt(1).unwrap();
        assert_eq!(usual(&of([batch, length]), false), [least, largest, middle, rest]);
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
            let error = profiles.of(&signature(), &[]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn samples_of_all_inputs_become_ranges_of_all_symbols() {
        let signature = signature();
        let shapes = [(3, 9), (1, 9), (3, 2)].map(|(batch, length)| [[batch, 8], [length, 8]]);
        let expected = Profiles::new().range("batch", 1, 3, 3).unwrap();
        let expected = expected.range("length", 2, 9, 9).unwrap();
        assert_eq!(Profiles::from_shapes(&signature, shapes).unwrap(), expected);
        let tensor = |shape: [usize; 2]| {
            HostTensor::from_vec(shape, vec![0.0f32; shape.iter().product()]).unwrap()
        };
        let inputs = shapes.map(|sample| sample.map(tensor));
        assert_eq!(Profiles::from_inputs(&signature, &inputs).unwrap(), expected);

        let kind = |result: Result<Profiles>| result.unwrap_err().kind();
        assert_eq!(
            kind(Profiles::from_inputs(&signature, &inputs[..0])),
            ErrorKind::InvalidArgument
        );
        assert_eq!(kind(Profiles::from_shapes(&signature, [[[1, 8]]])), ErrorKind::InputMismatch);
        let bad = Profiles::from_shapes(&signature, [[[1, 8], [1, 8]], [[1, 8], [65, 8]]]);
        let bad = bad.unwrap_err();
        assert_eq!((bad.kind(), bad.item()), (ErrorKind::OutOfProfile, Some(1)));
        assert_eq!((bad.tensor(), bad.axis()), (Some("y"), Some(0)));
        let integers = [HostTensor::scalar(1i64), HostTensor::scalar(1i64)];
        assert_eq!(kind(Profiles::from_inputs(&signature, [integers])), ErrorKind::DTypeMismatch);
    }

    #[test]
    fn names_are_of_one_profile_each() {
        let two = |a: &str, b: &str| Profiles::new().named(a).next().next().named(b);
        assert_eq!(two("a", "b").names(), ["a", "", "b"]);
        assert!(Profiles::new().next().names().is_empty());
        assert!(two("a", "b").of(&signature(), &[]).is_ok());
        let mut fixed = signature();
        fixed.inputs.iter_mut().for_each(|spec| spec.shape = Shape::from([1, 8]));
        for (profiles, signature, said) in [
            (two("a", "a"), signature(), "two profiles are named `a`"),
            (two("a", ""), signature(), "empty name"),
            (two("a", "b"), fixed, "no input has a symbolic dimension"),
        ] {
            let error = profiles.of(&signature, &[]).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(said), "{error}");
        }
        let names = two("a", "b").names();
        assert_eq!((place_of("a", &names).unwrap(), place_of("b", &names).unwrap()), (0, 2));
        for (name, names, said) in [("c", &names[..], "there are: a, b"), ("", &names, "named ``")]
        {
            let error = place_of(name, names).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(said), "{error}");
        }
        assert!(place_of("a", &[]).unwrap_err().to_string().contains("none"));
    }
}
