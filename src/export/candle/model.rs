//! Models of any number of inputs and outputs: the forward that is exported, the inputs of the forward, and examples.

use candle_core::{Result, Tensor};

use super::error::to_candle;
use super::layers::Forward;
use super::traced::Traced;
use crate::error::{Error, ErrorKind};

/// A forward of any number of inputs and outputs, which can be exported.
///
/// Every type with a [`Forward`] has this trait, and so does a type with [`trace`](crate::trace) on an inherent impl with a
/// `forward`. By hand:
///
/// ```
/// use accelerant::candle::{Inputs, OptimizeTrt, TensorOps, Traceable, Traced};
/// use candle_core::{Device, Result, Tensor};
///
/// struct Distance;
///
/// impl Distance {
///     fn forward<T: TensorOps>(&self, a: &T, b: &T) -> Result<T> {
///         (a - b)?.sqr()?.sum(1)?.sqrt()
///     }
/// }
///
/// impl Traceable for Distance {
///     fn trace(&self, inputs: &mut Inputs<'_>) -> Result<Vec<Traced>> {
///         let (a, b): (&Traced, &Traced) = (inputs.take("a")?, inputs.take("b")?);
///         Ok(vec![self.forward(a, b)?])
///     }
/// }
///
/// let (a, b) = (Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?, Tensor::new(&[[4f32, 6.0]], &Device::Cpu)?);
/// let fast = Distance.optimize_trt([("b", &b), ("a", &a)])?;
/// assert_eq!(fast.run((&a, &b))?[0].to_vec1::<f32>()?, [5.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be exported: it implements neither `Forward` nor `Traceable`",
    label = "no forward of this type is traced",
    note = "put `#[accelerant::trace]` on its `impl Module`, or on its inherent impl with a `forward` \
            of tensors; for a model of another crate there is `accelerant::traced!`"
)]
pub trait Traceable {
    /// Runs on traced tensors.
    ///
    /// # Errors
    /// Candle's own, and those of [`Inputs`].
    fn trace(&self, inputs: &mut Inputs<'_>) -> Result<Vec<Traced>>;
}

impl<M: Forward> Traceable for M {
    fn trace(&self, inputs: &mut Inputs<'_>) -> Result<Vec<Traced>> {
        let xs: &Traced = match self.input_name() {
            Some(name) => inputs.take_only(name)?,
            None => inputs.next_unnamed()?,
        };
        inputs.finish()?;
        Ok(vec![self.forward(xs)?])
    }
}

/// The inputs of a model while the model is traced. The model takes each input under the name that the model has for the
/// input.
#[derive(Debug)]
pub struct Inputs<'a> {
    tensors: &'a [Traced],
    /// The names that came with the examples.
    given: &'a [Option<String>],
    taken: Vec<bool>,
    /// The name under which each was taken.
    names: Vec<Option<String>>,
    /// The names asked for.
    asked: Vec<String>,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(tensors: &'a [Traced], given: &'a [Option<String>]) -> Self {
        let count = tensors.len();
        Self {
            tensors,
            given,
            taken: vec![false; count],
            names: vec![None; count],
            asked: Vec::new(),
        }
    }

    /// Takes the input of this name: the example that was given under the name, or the next example without a name.
    /// `A` is `&Traced`, `Option<&Traced>` for an input that may be missing, or `&[Traced]` for all inputs that are left,
    /// which are then called `name_0`, `name_1`, ...
    ///
    /// # Errors
    /// When no such input was given. The error lists the names that were given and the names that the model takes.
    pub fn take<A: ModelInput<'a>>(&mut self, name: &str) -> Result<A> {
        self.asked.push(name.to_owned());
        A::take_from(self, name)
    }

    /// Takes the only input, under the name that was given, else under `name`.
    ///
    /// # Errors
    /// When no input was given.
    pub fn take_only(&mut self, name: &str) -> Result<&'a Traced> {
        self.asked.push(name.to_owned());
        let xs = self.next_unnamed()?;
        if let Some(place) = self.taken.iter().position(|taken| *taken) {
            self.names[place].get_or_insert_with(|| name.to_owned());
        }
        Ok(xs)
    }

    /// Checks that no input is left over.
    ///
    /// # Errors
    /// When an input is left over.
    pub fn finish(&self) -> Result<()> {
        let Some(left) = self.taken.iter().position(|taken| !taken) else { return Ok(()) };
        let asked = if self.asked.is_empty() { "one".into() } else { self.asked.join(", ") };
        let text = match self.given.get(left) {
            Some(Some(name)) if !self.asked.is_empty() => {
                format!("the model has no input `{name}`; given: {}; known: {asked}", self.given())
            }
            _ => format!("{} inputs were given, but the model takes {asked}", self.tensors.len()),
        };
        Err(mismatch(text))
    }

    /// All inputs, under the names they were given.
    pub(super) fn take_all(&mut self) -> &'a [Traced] {
        self.taken.fill(true);
        self.names = self.given.to_vec();
        self.tensors
    }

    pub(super) fn into_names(self) -> Vec<Option<String>> {
        self.names
    }

    /// The names of the examples, for errors.
    fn given(&self) -> String {
        given_names(self.given.iter().map(Option::as_deref))
    }

    fn next_unnamed(&mut self) -> Result<&'a Traced> {
        let place = self.taken.iter().position(|taken| !taken);
        let place = place.ok_or_else(|| mismatch("no inputs were given".into()))?;
        self.taken[place] = true;
        self.names[place] = self.given[place].clone();
        Ok(&self.tensors[place])
    }

    fn find(&mut self, name: &str) -> Option<&'a Traced> {
        let named = self.given.iter().position(|given| given.as_deref() == Some(name));
        let next = || (0..self.taken.len()).find(|&i| !self.taken[i] && self.given[i].is_none());
        let place = named.filter(|&i| !self.taken[i]).or_else(next)?;
        self.taken[place] = true;
        self.names[place] = Some(name.to_owned());
        Some(&self.tensors[place])
    }
}

/// The names under which inputs were given, for errors.
pub(crate) fn given_names<'a>(names: impl Iterator<Item = Option<&'a str>>) -> String {
    let all: Vec<_> = names.map(|name| name.unwrap_or("one without a name")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn mismatch(text: String) -> candle_core::Error {
    to_candle(Error::new(ErrorKind::InputMismatch, text), "the inputs of the model")
}

/// The types that a parameter of a forward may have. See [`Inputs::take`].
pub trait ModelInput<'a>: Sized {
    /// Takes the input.
    ///
    /// # Errors
    /// When no such input was given.
    fn take_from(inputs: &mut Inputs<'a>, name: &str) -> Result<Self>;
}

impl<'a> ModelInput<'a> for &'a Traced {
    fn take_from(inputs: &mut Inputs<'a>, name: &str) -> Result<Self> {
        match inputs.find(name) {
            Some(input) => Ok(input),
            None => {
                let (given, known) = (inputs.given(), inputs.asked.join(", "));
                Err(mismatch(format!(
                    "the input `{name}` is missing; given: {given}; known so far: {known}"
                )))
            }
        }
    }
}

impl<'a> ModelInput<'a> for Traced {
    fn take_from(inputs: &mut Inputs<'a>, name: &str) -> Result<Self> {
        <&Traced>::take_from(inputs, name).cloned()
    }
}

impl<'a> ModelInput<'a> for Option<&'a Traced> {
    fn take_from(inputs: &mut Inputs<'a>, name: &str) -> Result<Self> {
        Ok(inputs.find(name))
    }
}

impl<'a> ModelInput<'a> for Option<Traced> {
    fn take_from(inputs: &mut Inputs<'a>, name: &str) -> Result<Self> {
        Ok(inputs.find(name).cloned())
    }
}

impl<'a> ModelInput<'a> for &'a [Traced] {
    fn take_from(inputs: &mut Inputs<'a>, name: &str) -> Result<Self> {
        let start = inputs.taken.iter().rposition(|taken| *taken).map_or(0, |last| last + 1);
        if inputs.taken[..start].contains(&false) {
            return Err(mismatch(format!("the inputs of `{name}` must be the last ones")));
        }
        for (number, place) in (start..inputs.taken.len()).enumerate() {
            inputs.taken[place] = true;
            let own = || format!("{name}_{number}");
            inputs.names[place] = Some(inputs.given[place].clone().unwrap_or_else(own));
        }
        Ok(&inputs.tensors[start..])
    }
}

/// The results that a forward may give: a tensor, or tuples, arrays, `Vec`s and `Option`s of tensors.
pub trait ModelOutputs {
    /// Adds the tensors in their order.
    fn push_to(self, list: &mut Vec<Traced>);
}

impl ModelOutputs for Traced {
    fn push_to(self, list: &mut Vec<Traced>) {
        list.push(self);
    }
}

macro_rules! outputs_of_lists {
    ($([$($generics:tt)*] $list:ty;)*) => {$(
        impl<O: ModelOutputs, $($generics)*> ModelOutputs for $list {
            fn push_to(self, list: &mut Vec<Traced>) {
                self.into_iter().for_each(|output| output.push_to(list));
            }
        }
    )*};
}

outputs_of_lists! {
    [] Vec<O>;
    [] Option<O>;
    [const N: usize] [O; N];
}

/// Example tensors for the inputs of a model, in order or by name.
///
/// Made of `&tensor`, `(&a, &b)`, `[&a, &b]`, `&[&a, &b]`, or `[("ids", &ids), ("mask", &mask)]`.
///
/// ```
/// use accelerant::{OptimizeOptions, candle::CandleModule};
/// use candle_core::{DType, Device, Tensor};
///
/// let (ids, mask) = (Tensor::ones((1, 4), DType::F32, &Device::Cpu)?, Tensor::ones((1, 4), DType::F32, &Device::Cpu)?);
/// let named = [("ids", &ids), ("mask", &mask)];
/// let fast = CandleModule::of_fn(named, &OptimizeOptions::new(), |xs| Ok(vec![(&xs[0] * &xs[1])?]))?;
/// // By name, in any order.
/// let masked = fast.run([("mask", &mask), ("ids", &ids)])?;
/// assert_eq!(masked[0].dims(), [1, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Examples<'a>(pub(crate) Vec<(Option<String>, &'a Tensor)>);

impl<'a> FromIterator<&'a Tensor> for Examples<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Tensor>>(tensors: I) -> Self {
        Self(tensors.into_iter().map(|tensor| (None, tensor)).collect())
    }
}

impl<'a, S: Into<String>> FromIterator<(S, &'a Tensor)> for Examples<'a> {
    fn from_iter<I: IntoIterator<Item = (S, &'a Tensor)>>(tensors: I) -> Self {
        Self(tensors.into_iter().map(|(name, tensor)| (Some(name.into()), tensor)).collect())
    }
}

impl<'a> From<&'a Tensor> for Examples<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        [tensor].into_iter().collect()
    }
}

macro_rules! examples_of_lists {
    ($([$($generics:tt)*] $list:ty, |$tensors:ident| $iter:expr;)*) => {$(
        impl<'a, $($generics)*> From<$list> for Examples<'a> {
            fn from($tensors: $list) -> Self {
                $iter.collect()
            }
        }
    )*};
}

examples_of_lists! {
    [] &[&'a Tensor], |tensors| tensors.iter().copied();
    [] &'a [Tensor], |tensors| tensors.iter();
    [] Vec<&'a Tensor>, |tensors| tensors.into_iter();
    [const N: usize] &[&'a Tensor; N], |tensors| tensors.iter().copied();
    [const N: usize] [&'a Tensor; N], |tensors| tensors.into_iter();
    [S: Into<String>, const N: usize] [(S, &'a Tensor); N], |tensors| tensors.into_iter();
    [S: Into<String>] Vec<(S, &'a Tensor)>, |tensors| tensors.into_iter();
}

macro_rules! tuples {
    ($($($name:ident),+;)*) => {$(
        impl<$($name: ModelOutputs),+> ModelOutputs for ($($name,)+) {
            #[allow(non_snake_case)]
            fn push_to(self, list: &mut Vec<Traced>) {
                let ($($name,)+) = self;
                $($name.push_to(list);)+
            }
        }

        impl<'a> From<($(tuples!(@tensor $name 'a),)+)> for Examples<'a> {
            #[allow(non_snake_case)]
            fn from(($($name,)+): ($(tuples!(@tensor $name 'a),)+)) -> Self {
                [$($name),+].into_iter().collect()
            }
        }
    )*};
    (@tensor $name:ident $lifetime:lifetime) => { &$lifetime Tensor };
}

tuples! {
    A;
    A, B;
    A, B, C;
    A, B, C, D;
    A, B, C, D, E;
    A, B, C, D, E, F;
}
