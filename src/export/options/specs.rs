//! The names and sizes that an export's options give to what a model takes and gives.

use super::{BatchSizes, ExportOptions, InputKey};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Dim, Symbol, TensorSpec};

/// What the frameworks' exports read.
impl ExportOptions {
    pub(crate) fn model_name(&self) -> &str {
        self.name.as_deref().unwrap_or("model")
    }

    /// The specs of inputs with these types and sizes, with the symbols asked for. Inputs may have
    /// names of their own.
    pub(crate) fn named_input_specs(
        &self,
        own: &[Option<String>],
        inputs: &[(DType, Vec<usize>)],
    ) -> Result<Vec<TensorSpec>> {
        let names = names("input", &self.input_names, own)?;
        let batch = self.batch.as_ref().map(BatchSizes::dim).transpose()?;
        let mut specs = Vec::with_capacity(inputs.len());
        for (name, (dtype, sizes)) in names.into_iter().zip(inputs) {
            let mut dims: Vec<Dim> = sizes.iter().copied().map(Dim::Fixed).collect();
            if let (Some(batch), Some(first)) = (&batch, dims.first_mut()) {
                *first = batch.clone();
            }
            specs.push(TensorSpec::new(name, *dtype, dims));
        }
        for (input, axis, dim) in &self.axes {
            let found = match input {
                InputKey::Position(position) => specs.get_mut(*position),
                InputKey::Name(name) => specs.iter_mut().find(|spec| spec.name == *name),
            };
            let Some(spec) = found else {
                let known: Vec<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
                let given = match input {
                    InputKey::Position(position) => format!("there is no input {position}"),
                    InputKey::Name(name) => format!("there is no input named `{name}`"),
                };
                let text = format!(
                    "{given} for a dynamic axis; the inputs are: {}; `input_names` sets their names",
                    known.join(", ")
                );
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            };
            let mut dims = spec.shape.dims().to_vec();
            let Some(place) = dims.get_mut(*axis) else {
                let error = Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{} has no such axis; the first axis is 0", spec.shape),
                );
                return Err(error.on_tensor(&spec.name).at_axis(*axis));
            };
            *place = dim.clone();
            spec.shape = dims.into();
        }
        bind_symbols(&specs, inputs)?;
        for spec in &mut specs {
            // A symbol of one size is that size.
            let fix = |dim: &Dim| {
                if dim.min() == dim.max() { Dim::Fixed(dim.min()) } else { dim.clone() }
            };
            spec.shape = spec.shape.dims().iter().map(fix).collect::<Vec<_>>().into();
        }
        Ok(specs)
    }

    #[cfg(feature = "burn")]
    pub(crate) fn narrows_f64(&self) -> bool {
        self.narrow_f64
    }

    pub(crate) fn probes_every_size(&self) -> bool {
        self.every_size
    }

    /// The path of a weight.
    #[cfg(feature = "candle")]
    pub(crate) fn weight_name(&self, weight: &candle_core::Tensor) -> Option<String> {
        self.weight_names.get(weight)
    }

    /// The names of `count` outputs.
    #[cfg(feature = "candle")]
    pub(crate) fn names_of_outputs(&self, count: usize) -> Result<Vec<String>> {
        names("output", &self.output_names, &vec![None; count])
    }

    /// The names of outputs that may have names of their own, beside these inputs.
    #[cfg(feature = "burn")]
    pub(crate) fn named_outputs(
        &self,
        own: &[Option<String>],
        inputs: &[TensorSpec],
    ) -> Result<Vec<String>> {
        let mut names = names("output", &self.output_names, own)?;
        if self.output_names.is_empty() {
            // A state that goes in and comes out has the same name twice.
            for name in &mut names {
                if inputs.iter().any(|input| input.name == *name) {
                    name.push_str("_out");
                }
            }
        }
        Ok(names)
    }
}

/// Checks that the example lies in the ranges, and that equal names have one range and one size.
fn bind_symbols(specs: &[TensorSpec], inputs: &[(DType, Vec<usize>)]) -> Result<()> {
    let mut bound: Vec<(&Symbol, usize, &str)> = Vec::new();
    for (spec, (_, sizes)) in specs.iter().zip(inputs) {
        for (axis, (dim, &size)) in spec.shape.dims().iter().zip(sizes).enumerate() {
            let fail = |kind, text: String| {
                Err(Error::new(kind, text).on_tensor(&spec.name).at_axis(axis))
            };
            let (min, max) = (dim.min(), dim.max());
            if size < min || size > max {
                let text = match dim {
                    Dim::Fixed(fixed) => {
                        format!("the example has {size}, and `dynamic_axis` states {fixed}")
                    }
                    Dim::Symbol(_) => {
                        format!("the example has {size}, outside `{dim}` = {min}..={max}")
                    }
                };
                return fail(ErrorKind::OutOfProfile, text);
            }
            let Dim::Symbol(symbol) = dim else { continue };
            match bound.iter().find(|(known, ..)| known.name() == symbol.name()) {
                None => bound.push((symbol, size, &spec.name)),
                Some((known, ..)) if *known != symbol => {
                    let text = format!("symbol {symbol:?} was declared before as {known:?}");
                    return fail(ErrorKind::InvalidArgument, text);
                }
                Some((_, first, tensor)) if *first != size => {
                    let text = format!(
                        "`{}` is {size} here, but {first} in `{tensor}`: axes with the same \
                         symbol must have the same size, and `dynamic_axis` gives an axis another symbol",
                        symbol.name()
                    );
                    return fail(ErrorKind::ShapeMismatch, text);
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

fn names(what: &str, given: &[String], own: &[Option<String>]) -> Result<Vec<String>> {
    let count = own.len();
    if given.is_empty() {
        let name = |(i, own): (usize, &Option<String>)| {
            own.clone().unwrap_or_else(|| format!("{what}_{i}"))
        };
        return Ok(own.iter().enumerate().map(name).collect());
    }
    if given.len() != count {
        let (few, known) = (given.len(), own.iter().flatten().map(String::as_str));
        let known = known.collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { String::new() } else { format!("; known: {known}") };
        let text =
            format!("{few} {what} names for {count} {what}s; given: {}{known}", given.join(", "));
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(given.to_vec())
}
