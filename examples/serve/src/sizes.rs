//! Sizes that the command line states, for one model or for all: the forms that the command `accelerant` has.

use std::str::FromStr;

use accelerant::export::OnnxModel;
use accelerant::{Dim, Error, ErrorKind, Result, Signature, TensorSpec};

/// The sizes of a symbol or an input, in one model or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    model: Option<String>,
    name: String,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    /// The smallest, the usual and the largest size of a symbol.
    Symbol([usize; 3]),
    /// All sizes of an input.
    Input(Vec<usize>),
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "is neither SYMBOL=SIZE, SYMBOL=MIN:OPT:MAX nor INPUT:1x3x224x224";
        let wrong = || format!("`{text}` {form}");
        let all = |sizes: &str, between: char| {
            let sizes = sizes.split(between).map(|size| size.trim().parse::<usize>());
            sizes.collect::<Result<Vec<_>, _>>().map_err(|_| wrong())
        };
        let (name, of) = match text.rsplit_once('=') {
            Some((name, sizes)) => {
                let range = match *all(sizes, ':')? {
                    [size] => [size; 3],
                    [min, max] => [min, max, max],
                    [min, opt, max] => [min, opt, max],
                    _ => return Err(wrong()),
                };
                if !range.is_sorted() {
                    return Err(format!("`{text}`: the sizes must be MIN <= OPT <= MAX"));
                }
                (name, Of::Symbol(range))
            }
            None => {
                let (name, sizes) = text.rsplit_once(':').ok_or_else(wrong)?;
                (name, Of::Input(all(sizes, 'x')?))
            }
        };
        let (model, name) = match name.split_once('/') {
            Some((model, name)) => (Some(model.to_owned()), name),
            None => (None, name),
        };
        if name.is_empty() {
            return Err(wrong());
        }
        Ok(Self { model, name: name.to_owned(), of })
    }
}

impl Sizes {
    /// The model with these sizes, if they are for it. What is said of all models is for those that have the name.
    pub(crate) fn bind(&self, model: OnnxModel, name: &str) -> Result<OnnxModel> {
        let is_for_it = match &self.model {
            Some(wanted) => wanted == name,
            None => match &self.of {
                Of::Symbol(_) => has_symbol(model.signature(), &self.name),
                Of::Input(_) => input(model.signature(), &self.name).is_some(),
            },
        };
        if !is_for_it {
            return Ok(model);
        }
        match &self.of {
            Of::Symbol([min, opt, max]) => bind(model, &self.name, [*min, *opt, *max]),
            Of::Input(sizes) => self.bind_input(model, sizes),
        }
    }

    fn bind_input(&self, mut model: OnnxModel, sizes: &[usize]) -> Result<OnnxModel> {
        let wrong =
            |text: String| Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&self.name));
        let Some(spec) = input(model.signature(), &self.name) else {
            return wrong("the model has no input of this name".into());
        };
        let dims = spec.shape.dims().to_vec();
        if dims.len() != sizes.len() {
            return wrong(format!(
                "the shape is {}, and {} sizes are stated",
                spec.shape,
                sizes.len()
            ));
        }
        for (axis, (dim, &size)) in dims.iter().zip(sizes).enumerate() {
            match dim {
                Dim::Fixed(fixed) if *fixed != size => {
                    return wrong(format!("axis {axis} is {fixed}, and {size} is stated"));
                }
                // The same symbol may be at two axes.
                Dim::Symbol(symbol) if has_symbol(model.signature(), symbol.name()) => {
                    model = bind(model, symbol.name(), [size; 3])?;
                }
                _ => {}
            }
        }
        match input(model.signature(), &self.name).and_then(|spec| spec.shape.fixed()) {
            Some(fixed) if fixed == sizes => Ok(model),
            _ => wrong(format!("the sizes {sizes:?} contradict each other")),
        }
    }
}

fn bind(model: OnnxModel, symbol: &str, [min, opt, max]: [usize; 3]) -> Result<OnnxModel> {
    let is_named = has_symbol(model.signature(), symbol);
    let bound = model.bind(symbol, min..=max)?;
    // One size alone is written into the model.
    if is_named && min < max { bound.tuned_for(symbol, [opt]) } else { Ok(bound) }
}

fn has_symbol(signature: &Signature, name: &str) -> bool {
    let mut dims = signature.inputs.iter().flat_map(|spec| spec.shape.dims());
    dims.any(|dim| matches!(dim, Dim::Symbol(symbol) if symbol.name() == name))
}

fn input<'s>(signature: &'s Signature, name: &str) -> Option<&'s TensorSpec> {
    signature.inputs.iter().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_those_of_the_command() {
        let sizes = |model: Option<&str>, name: &str, of: Of| Sizes {
            model: model.map(str::to_owned),
            name: name.into(),
            of,
        };
        let rows = [
            ("n=8", sizes(None, "n", Of::Symbol([8, 8, 8]))),
            ("n=1:8", sizes(None, "n", Of::Symbol([1, 8, 8]))),
            ("n=1:8:32", sizes(None, "n", Of::Symbol([1, 8, 32]))),
            ("m/n=1:8:32", sizes(Some("m"), "n", Of::Symbol([1, 8, 32]))),
            ("x:1x3x224", sizes(None, "x", Of::Input(vec![1, 3, 224]))),
            ("m/a:b:2x4", sizes(Some("m"), "a:b", Of::Input(vec![2, 4]))),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Sizes>().unwrap(), expected);
        }
        for text in ["", "n", "n=", "n=a", "n=8:1", "n=1:2:3:4", "=4", "m/=4", ":4", "x:2x", "n=-1"]
        {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }
}
