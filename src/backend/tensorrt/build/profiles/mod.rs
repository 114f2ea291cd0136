//! Optimization profiles as a user asks for them: ranges of sizes that an engine is tuned for, with their names, and the
//! same for the builder.

mod samples;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::values::{self, ValueRange};
use crate::backend::tensorrt::ffi::ProfileShape;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Signature, Symbol};

/// The optimization profiles of an engine. Each profile has ranges for some of the engine's symbols.
///
/// A run uses the first profile that contains its sizes. Put narrow profiles first. An engine that is loaded for one
/// profile [by its name](super::TensorRtOptions::profile) uses only that profile. A symbol that a profile does not
/// name keeps its whole range.
///
/// ```
/// use accelerant::backend::tensorrt::{Profiles, TensorRtOptions};
///
/// let profiles = Profiles::new().named("single").range("batch", 1, 1, 1)
///     .another().named("many").range("batch", 1, 32, 64);
/// let options = TensorRtOptions::default().profiles(profiles);
///
/// // From samples: the range from the smallest to the largest size, tuned for the most frequent one.
/// let profiles = Profiles::from_samples("length", [7, 12, 12, 9])?;
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// An invalid range is an error of the build: [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiles(Vec<Profile>, Fault);

/// The first thing that was stated and makes no sense, if any was. A build reports it.
#[derive(Clone, Debug, Default)]
struct Fault(Option<Error>);

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        let text = |fault: &Self| fault.0.as_ref().map(ToString::to_string);
        text(self) == text(other)
    }
}

impl Eq for Fault {}

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
        Self(vec![Profile::default()], Fault::default())
    }
}

fn no_samples() -> Error {
    Error::new(ErrorKind::InvalidArgument, "no sizes to make a profile of")
        .in_operation("optimization profiles")
}

impl Fault {
    fn add(&mut self, error: Error) {
        self.0.get_or_insert(error);
    }

    fn check(&self) -> Result<()> {
        self.0.clone().map_or(Ok(()), Err)
    }
}

impl Profiles {
    /// One profile, with the whole range of every symbol.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the last profile. An engine can then be loaded for [this profile alone](super::TensorRtOptions::profile).
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        if let Some(last) = self.0.last_mut() {
            last.name = Some(name.into());
        }
        self
    }

    /// Sets the range of a symbol in the last profile: its smallest, tuned and largest size, `min <= opt <= max`.
    #[must_use]
    pub fn range(mut self, symbol: impl Into<String>, min: usize, opt: usize, max: usize) -> Self {
        let name = symbol.into();
        match (Symbol::new(name.as_str(), min, opt, max), self.0.last_mut()) {
            (Ok(range), Some(last)) => {
                last.ranges.insert(name, range);
            }
            (Ok(_), None) => {}
            (Err(error), _) => self.1.add(error),
        }
        self
    }

    /// Adds profiles for single sizes of a symbol before the last profile, which stays for all other sizes. The new
    /// profiles have no names. A call for a second symbol makes a profile for each pair of sizes.
    ///
    /// The sizes during the build decide the kernels of an engine. On compute capability 9.0, TensorRT-RTX uses slower
    /// kernels if any size is dynamic: networks took up to twice as long with sizes without their own profile
    /// (`docs/measured/2026-11-forms-h200.md`). A context takes about a millisecond to switch to another profile. If a
    /// program alternates between sizes, give each size [its own context](super::TensorRtOptions::max_contexts).
    ///
    /// ```
    /// # use accelerant::backend::tensorrt::Profiles;
    /// // Five profiles: batches of 1 and 8 by texts of 64 and 128 tokens, and all other sizes.
    /// let profiles = Profiles::new().sizes("batch", [1, 8]).sizes("length", [64, 128]);
    /// ```
    #[must_use]
    pub fn sizes(
        mut self,
        symbol: impl Into<String>,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Self {
        let name = symbol.into();
        let sizes = sizes.into_iter().map(|size| Symbol::new(name.as_str(), size, size, size));
        let sizes = match sizes.collect::<Result<Vec<_>>>() {
            Ok(sizes) if !sizes.is_empty() => sizes,
            stated => {
                self.1.add(stated.err().unwrap_or_else(no_samples));
                return self;
            }
        };
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
        Self(profiles, self.1)
    }

    /// For the sizes that a model's symbols are [tuned for](Symbol::tuned_for) alone, and for all of the range. Where
    /// single sizes are `faster`, for the optima of other symbols too, and the smallest of what is on the first axis.
    pub(crate) fn usual(signature: &Signature, faster: bool) -> Self {
        let inputs = || signature.inputs.iter().map(|spec| spec.shape.dims());
        let first = inputs().find_map(|dims| dims.first()?.symbol());
        let symbols: BTreeMap<&str, &Symbol> =
            inputs().flatten().filter_map(Dim::symbol).map(|s| (s.name(), s)).collect();
        let mut profiles = Self::new();
        for (name, symbol) in symbols {
            let smallest =
                (Some(symbol) == first && symbol.min() < symbol.opt()).then(|| symbol.min());
            let opt = symbol.opt();
            let others: Vec<usize> = match symbol.sizes() {
                [] if faster => smallest.into_iter().collect(),
                [] => continue,
                stated => stated.iter().rev().copied().filter(|&size| size != opt).collect(),
            };
            // The one to tune for most first, for which a context is made.
            profiles = profiles.sizes(name, [opt].into_iter().chain(others));
        }
        profiles
    }

    /// Sets the values of an input that decides shapes, for the last profile: the smallest, the tuned and the largest
    /// value of each element. TensorRT needs these values for every such input. The model must be able to run with the
    /// tuned values.
    ///
    /// ```
    /// # use accelerant::backend::tensorrt::Profiles;
    /// // The second input of an ONNX `Reshape`: from one column to 64.
    /// let profiles = Profiles::new().values("sizes", [1, 1], [8, 16], [64, 64]);
    /// ```
    ///
    /// If an element does not have `min <= opt <= max`, the error of the build has the input as the tensor and the
    /// element as the axis.
    #[must_use]
    pub fn values(
        mut self,
        input: impl Into<String>,
        min: impl Into<Vec<i64>>,
        opt: impl Into<Vec<i64>>,
        max: impl Into<Vec<i64>>,
    ) -> Self {
        let name = input.into();
        let range = ValueRange::new(&name, min.into(), opt.into(), max.into());
        match (range, self.0.last_mut()) {
            (Ok(range), Some(last)) => {
                last.values.insert(name, range);
            }
            (Ok(_), None) => {}
            (Err(error), _) => self.1.add(error),
        }
        self
    }

    /// Begins another profile, with the whole range of every symbol.
    #[must_use]
    pub fn another(mut self) -> Self {
        self.0.push(Profile::default());
        self
    }

    /// The profiles of a model's inputs, as the builder is told them; none without symbols and without
    /// inputs whose values decide shapes, which are those at the places `deciding`.
    pub(crate) fn of(
        &self,
        signature: &Signature,
        deciding: &[usize],
    ) -> Result<Vec<Vec<ProfileShape>>> {
        self.1.check()?;
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

    /// The signature of an engine with these profiles: with one alone its symbols have the ranges of that.
    pub(crate) fn narrowed(&self, signature: &Signature) -> Signature {
        match &self.0[..] {
            [only] => signature.with_symbols(|symbol| only.ranges.get(symbol.name()).cloned()),
            _ => signature.clone(),
        }
    }

    /// The names, as an engine keeps them: empty for a profile without one, and none if no profile has one.
    pub(crate) fn names(&self) -> Vec<String> {
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
pub(crate) fn place_of(name: &str, names: &[String]) -> Result<usize> {
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
        let mut names: Vec<_> = symbols.iter().map(|symbol| symbol.name()).collect();
        names.sort_unstable();
        names.dedup();
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
