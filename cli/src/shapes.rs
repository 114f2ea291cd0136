//! Sizes that a user states: of a symbol (`n=1:8:32`) or of a tensor, as trtexec has it (`x:1x3x224x224`).

use std::str::FromStr;

use accelerant::export::OnnxModel;
use accelerant::{Dim, Signature, Symbol};

use crate::fail::{Failure, Result};

/// Smallest, usual and largest size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) min: usize,
    pub(crate) opt: usize,
    pub(crate) max: usize,
}

impl Range {
    fn one(size: usize) -> Self {
        Self { min: size, opt: size, max: size }
    }
}

/// What one `--shape` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stated {
    /// The sizes of a symbol.
    Symbol(String, Range),
    /// All sizes of an input.
    Tensor(String, Vec<usize>),
}

impl FromStr for Stated {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "is neither SYMBOL=SIZE, SYMBOL=MIN:OPT:MAX nor TENSOR:1x3x224x224";
        let wrong = || format!("`{text}` {form}");
        let number = |size: &str| size.trim().parse::<usize>().map_err(|_| wrong());
        if let Some((name, sizes)) = text.rsplit_once('=') {
            if !name.is_empty()
                && sizes.split('x').all(|size| size.parse::<usize>().is_ok())
                && sizes.contains('x')
            {
                return Err(format!("`{text}` {form}; all sizes of an input are `{name}:{sizes}`"));
            }
            let sizes = sizes.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
            let range = match *sizes {
                [size] => Range::one(size),
                [min, max] => Range { min, opt: max, max },
                [min, opt, max] => Range { min, opt, max },
                _ => return Err(wrong()),
            };
            if name.is_empty() || range.min > range.opt || range.opt > range.max {
                return Err(format!("`{text}`: the sizes must be MIN <= OPT <= MAX"));
            }
            return Ok(Self::Symbol(name.into(), range));
        }
        let (name, sizes) = text.rsplit_once(':').ok_or_else(wrong)?;
        let sizes = sizes.split('x').map(number).collect::<Result<_, _>>()?;
        if name.is_empty() { Err(wrong()) } else { Ok(Self::Tensor(name.into(), sizes)) }
    }
}

/// All that is said of sizes.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Shapes {
    /// Sizes of a symbol as SYMBOL=SIZE or SYMBOL=MIN:OPT:MAX, or of an input as NAME:1x3x224x224; several with commas
    #[arg(long = "shape", alias = "shapes", value_name = "SIZES", value_delimiter = ',')]
    stated: Vec<Stated>,
    /// Smallest sizes of inputs, as trtexec has them: NAME:1x3x224x224
    #[arg(
        long = "minShapes",
        alias = "min-shapes",
        value_name = "SIZES",
        value_delimiter = ',',
        hide_short_help = true
    )]
    min: Vec<Stated>,
    /// Sizes of inputs to tune for, as trtexec has them
    #[arg(
        long = "optShapes",
        alias = "opt-shapes",
        value_name = "SIZES",
        value_delimiter = ',',
        hide_short_help = true
    )]
    opt: Vec<Stated>,
    /// Largest sizes of inputs, as trtexec has them
    #[arg(
        long = "maxShapes",
        alias = "max-shapes",
        value_name = "SIZES",
        value_delimiter = ',',
        hide_short_help = true
    )]
    max: Vec<Stated>,
}

impl Shapes {
    /// Whether nothing is said.
    pub(crate) fn are_open(&self) -> bool {
        [&self.stated, &self.min, &self.opt, &self.max].into_iter().all(Vec::is_empty)
    }

    /// The model with the sizes stated.
    pub(crate) fn bind(&self, mut model: OnnxModel) -> Result<OnnxModel> {
        for (symbol, Range { min, opt, max }) in self.ranges(model.signature())? {
            let known = symbols(model.signature());
            let bound =
                model.bind(&symbol, min..=max).map_err(|e| match known.contains(&symbol) {
                    true => e.into(),
                    false => Failure::usage(format!("--shape {symbol}: {e}")),
                })?;
            // One size alone is written into the model. What the file has no name for is bound by several.
            let tuned = min < max && known.contains(&symbol);
            model = if tuned { bound.tuned_for(&symbol, [opt])? } else { bound };
        }
        Ok(model)
    }

    /// The size of each symbol that is stated, to run with: the usual one.
    pub(crate) fn sizes(&self, signature: &Signature) -> Result<Vec<(String, usize)>> {
        let ranges = self.ranges(signature)?.into_iter();
        Ok(ranges.map(|(symbol, range)| (symbol, range.opt)).collect())
    }

    /// An engine has the symbols that it has: another one is a slip.
    pub(crate) fn expect_known(&self, signature: &Signature) -> Result<()> {
        let known = symbols(signature);
        for (symbol, _) in self.ranges(signature)? {
            if !known.contains(&symbol) {
                let text = format!(
                    "--shape {symbol}: the engine has no size of this name; there are: {}",
                    known.join(", ")
                );
                return Err(Failure::usage(text));
            }
        }
        Ok(())
    }

    fn ranges(&self, signature: &Signature) -> Result<Vec<(String, Range)>> {
        let mut ranges: Vec<(String, Range)> = Vec::new();
        for stated in &self.stated {
            match stated {
                Stated::Symbol(name, range) => merge(&mut ranges, name, *range)?,
                Stated::Tensor(name, sizes) => {
                    for (symbol, size) in of_tensor(signature, name, sizes)? {
                        merge(&mut ranges, &symbol, Range::one(size))?;
                    }
                }
            }
        }
        let of = |stated: &[Stated]| {
            let mut sizes: Vec<(String, usize)> = Vec::new();
            for stated in stated {
                let Stated::Tensor(name, of) = stated else {
                    return Err(Failure::usage(
                        "--minShapes, --optShapes and --maxShapes take TENSOR:1x3x224x224",
                    ));
                };
                sizes.extend(of_tensor(signature, name, of)?);
            }
            Ok(sizes)
        };
        let (min, opt, max) = (of(&self.min)?, of(&self.opt)?, of(&self.max)?);
        for (symbol, most) in max.iter().chain(&opt).chain(&min) {
            let find = |sizes: &[(String, usize)]| {
                sizes.iter().find(|(known, _)| known == symbol).map(|(_, size)| *size)
            };
            // One of the three says it for those that are not stated.
            let largest = find(&max).or_else(|| find(&opt)).unwrap_or(*most);
            let usual = find(&opt).unwrap_or(largest);
            let smallest = find(&min).unwrap_or(usual);
            if smallest > usual || usual > largest {
                let text = format!("`{symbol}`: {smallest} <= {usual} <= {largest} does not hold");
                return Err(Failure::usage(text));
            }
            merge(&mut ranges, symbol, Range { min: smallest, opt: usual, max: largest })?;
        }
        Ok(ranges)
    }
}

/// Adds what is said of a symbol, which must not contradict what was said before.
fn merge(ranges: &mut Vec<(String, Range)>, symbol: &str, range: Range) -> Result<()> {
    match ranges.iter().find(|(known, _)| known == symbol) {
        Some((_, before)) if *before != range => {
            Err(Failure::usage(format!("`{symbol}` has two different sizes")))
        }
        Some(_) => Ok(()),
        None => {
            ranges.push((symbol.to_owned(), range));
            Ok(())
        }
    }
}

/// The symbols of an input, with the sizes that it is to have there.
fn of_tensor(signature: &Signature, name: &str, sizes: &[usize]) -> Result<Vec<(String, usize)>> {
    let names = || {
        let names: Vec<_> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
        names.join(", ")
    };
    let spec = signature.inputs.iter().find(|spec| spec.name == name).ok_or_else(|| {
        Failure::usage(format!("no input is named `{name}`; the inputs are: {}", names()))
    })?;
    if spec.shape.rank() != sizes.len() {
        let text =
            format!("`{name}` has the shape {}, and {} sizes are stated", spec.shape, sizes.len());
        return Err(Failure::usage(text));
    }
    let mut found = Vec::new();
    for (axis, (dim, &size)) in spec.shape.dims().iter().zip(sizes).enumerate() {
        match dim {
            Dim::Fixed(fixed) if *fixed != size => {
                let text = format!("axis {axis} of `{name}` is {fixed}, and {size} is stated");
                return Err(Failure::usage(text));
            }
            Dim::Fixed(_) => {}
            Dim::Symbol(symbol) => found.push((symbol.name().to_owned(), size)),
        }
    }
    Ok(found)
}

/// The symbols of the inputs, each once.
fn symbols(signature: &Signature) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for symbol in signature.inputs.iter().flat_map(|spec| spec.shape.dims()).filter_map(symbol) {
        if !names.iter().any(|name| name == symbol.name()) {
            names.push(symbol.name().to_owned());
        }
    }
    names
}

/// The symbols that have no largest size.
pub(crate) fn unbound(signature: &Signature) -> Vec<String> {
    let dims = || signature.inputs.iter().flat_map(|spec| spec.shape.dims()).filter_map(symbol);
    let is_unbound = |name: &String| {
        dims().any(|symbol| symbol.name() == name && symbol.max() == Symbol::UNBOUNDED)
    };
    symbols(signature).into_iter().filter(is_unbound).collect()
}

pub(crate) fn symbol(dim: &Dim) -> Option<&Symbol> {
    match dim {
        Dim::Symbol(symbol) => Some(symbol),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        let range = |min, opt, max| Range { min, opt, max };
        let rows = [
            ("n=8", Stated::Symbol("n".into(), range(8, 8, 8))),
            ("n=1:8", Stated::Symbol("n".into(), range(1, 8, 8))),
            ("n=1:8:32", Stated::Symbol("n".into(), range(1, 8, 32))),
            ("x:1x3x224", Stated::Tensor("x".into(), vec![1, 3, 224])),
            ("a:b:2x4", Stated::Tensor("a:b".into(), vec![2, 4])),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Stated>().unwrap(), expected);
        }
        for text in ["", "n", "n=", "n=a", "n=8:1", "n=1:2:3:4", "=4", ":4", "x:2x", "n=-1"] {
            assert!(text.parse::<Stated>().is_err(), "{text}");
        }
    }
}
