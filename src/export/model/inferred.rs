//! Types and shapes of the values of a model, by the rules that files are checked with. These rules know more operators than
//! the builder has.

use std::collections::HashMap;

use super::OnnxModel;
use super::infer::{self, Size};
use crate::export::onnx;
use crate::spec::{DType, Dim, Shape, Symbol};

impl OnnxModel {
    /// Type and shape of each value of the main graph whose sizes are all known, or symbols of the inputs.
    pub(in crate::export) fn inferred(&self) -> HashMap<String, (DType, Shape)> {
        let inputs = self.signature.inputs.iter().flat_map(|input| input.shape.dims());
        let symbols: HashMap<&str, &Symbol> =
            inputs.filter_map(Dim::symbol).map(|symbol| (symbol.name(), symbol)).collect();
        let dim = |size: &Size| match size {
            Size::Known(size) => usize::try_from(*size).ok().map(Dim::Fixed),
            Size::Named(name) => symbols.get(&**name).map(|&symbol| Dim::Symbol(symbol.clone())),
            Size::Unknown => None,
        };
        let facts = infer::facts(&self.proto).unwrap_or_default();
        let specs = facts.into_iter().filter(|(_, fact)| !fact.other);
        let specs = specs.filter_map(|(name, fact)| {
            let dims: Vec<Dim> = fact.shape?.iter().map(dim).collect::<Option<_>>()?;
            Some((name, (onnx::from_onnx(fact.dtype).ok()?, Shape::from(dims))))
        });
        specs.collect()
    }
}
