//! The sizes of a model that a caller states: ranges, single sizes, sizes to tune for.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::{OnnxModel, infer, normalize};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Symbol};

impl OnnxModel {
    /// Sets the range of a symbol of the inputs, tuned for the largest size. A single size, such as `8..=8`, is
    /// written into the model, and a backend then builds for a fixed size.
    ///
    /// A size without a name in the file has a name of its tensor and axis, such as `x_0`. `?` stands for all sizes
    /// with the name `?` in the file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if no input has the symbol, with the symbols of the inputs, or if the range is
    /// empty; [`ErrorKind::InvalidModel`] if the shapes do not match a single size.
    pub fn bind(self, symbol: &str, range: RangeInclusive<usize>) -> Result<Self> {
        let all =
            self.unnamed.iter().filter(|(_, written)| written == symbol && !symbol.is_empty());
        let names: Vec<String> = all.map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return self.bind_one(symbol, range);
        }
        names.iter().try_fold(self, |model, name| model.bind_one(name, range.clone()))
    }

    fn bind_one(mut self, symbol: &str, range: RangeInclusive<usize>) -> Result<Self> {
        let bound = Symbol::new(symbol, *range.start(), *range.end(), *range.end())?;
        if let Some(&size) = self.fixed.get(symbol) {
            return match range == (size..=size) {
                true => Ok(self),
                false => Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("`{symbol}` is {size} already, and cannot become {range:?}"),
                )),
            };
        }
        if range.start() != range.end() {
            return self.map_symbol(symbol, |_| Ok(bound));
        }
        self.expect_symbol(symbol)?;
        // Other sizes may want other forms.
        self.written_for = None;
        self.inner = None;
        self.peak = None;
        let size = *range.start();
        self.signature =
            self.signature.with_dims(|known| (known.name() == symbol).then_some(Dim::Fixed(size)));
        self.fixed.insert(symbol.to_owned(), size);
        if let Some(graph) = &mut self.proto.graph {
            normalize::sizes::fix(graph, symbol, size);
        }
        let stated = |e: Error| e.in_operation(format!("bind `{symbol}` to {size}"));
        let facts = infer::facts(&self.proto).map_err(stated)?;
        normalize::signature::refine(&mut self.signature, &mut self.proto, &facts);
        Ok(self)
    }

    /// Tunes for several sizes of a symbol of the inputs, as [`Symbol::tuned_for`]. Set the range first, with
    /// [`bind`](Self::bind).
    ///
    /// ```no_run
    /// # use accelerant::export::OnnxModel;
    /// let model = OnnxModel::open("model.onnx")?.bind("batch", 1..=64)?.tuned_for("batch", [1, 8, 64])?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when no input has the symbol, without sizes, and for a size that the symbol cannot take.
    pub fn tuned_for(self, symbol: &str, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        if let Some(&size) = self.fixed.get(symbol) {
            // Nothing is left to tune; the sizes are checked all the same.
            Symbol::new(symbol, size, size, size)?.tuned_for(sizes)?;
            return Ok(self);
        }
        self.map_symbol(symbol, |known| known.tuned_for(sizes))
    }

    /// The model with all sizes of its inputs and outputs left open; `None` where it has no branches that could want other
    /// sizes than those that are [bound](Self::bind).
    #[cfg(feature = "ort")]
    pub(crate) fn with_open_sizes(&self) -> Option<Self> {
        let mut open = self.clone();
        let graph = open.proto.graph.as_mut()?;
        if !graph.node.iter().any(|node| node.op_type() == "If") {
            return None;
        }
        graph.value_info.clear();
        normalize::sizes::open(graph);
        Some(open)
    }

    fn expect_symbol(&self, name: &str) -> Result<&Symbol> {
        let dims = self.signature.inputs.iter().flat_map(|spec| spec.shape.dims());
        let symbols: Vec<&Symbol> = dims.filter_map(Dim::symbol).collect();
        symbols.iter().copied().find(|symbol| symbol.name() == name).ok_or_else(|| {
            let known: BTreeSet<&str> = symbols.iter().map(|symbol| symbol.name()).collect();
            let known: Vec<&str> = known.into_iter().collect();
            let known = match known.is_empty() {
                true => "all sizes of the inputs are fixed".to_owned(),
                false => format!("there are: {}", known.join(", ")),
            };
            let text = format!("no input has a dimension named `{name}`; {known}");
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }

    fn map_symbol(mut self, name: &str, f: impl FnOnce(Symbol) -> Result<Symbol>) -> Result<Self> {
        let new = f(self.expect_symbol(name)?.clone())?;
        self.written_for = None;
        self.inner = None;
        let changed = |symbol: &Symbol| (symbol.name() == name).then(|| new.clone().into());
        self.signature = self.signature.with_dims(changed);
        Ok(self)
    }
}
