//! What becomes of a graph before a target reads it: passes that work around what the target computes wrongly
//! (`fixes`), the precision that is asked for (`precision`), and passes that write layers as its GPU runs them fastest (`hopper`). Every graph goes through
//! the same ones, whether it comes from a framework, from the builder or from a file.

mod activation;
mod fixes;
mod hopper;
pub(crate) mod precision;
mod rewrite;
#[cfg(test)]
mod testing;

use std::{cell::RefCell, sync::Arc};

use super::graph::{self, Graph, GraphBuilder};
use super::{OnnxModel, Reader, Target};
use crate::error::{Error, ErrorKind, Result};
use precision::{Precise, PrecisionOptions, PrecisionReport};

/// One change to a graph, wherever it applies.
trait Pass {
    /// For errors and logs.
    fn name(&self) -> &'static str;

    /// Changes the graph, and counts in how many places.
    fn run(&self, graph: &mut Graph) -> Result<usize>;
}

/// The passes for one target, in order.
struct Pipeline<'a>(Vec<Box<dyn Pass + 'a>>);

/// The oldest operator set whose operators the passes know.
const OLDEST_OPSET: i64 = 7;

/// The oldest operator set in which the forms are written: its sums, squeezes and splits take their axes as inputs.
const OLDEST_OPSET_OF_FORMS: i64 = 13;

impl<'a> Pipeline<'a> {
    /// What a graph of an operator set needs for a target.
    ///
    /// Fixes come first: what a target computes wrongly is found as the model has it, and a form decides by what
    /// will be computed. Among the forms, linear layers come before all others, since those divide and turn
    /// what they give; keys are padded where the heads were turned; and rows come last, since they begin at the
    /// feed-forward networks in parts, and are cut off before the padded keys. The precision stands between: forms
    /// are chosen by type.
    fn for_target(target: Target, opset: i64, precise: Option<Precise<'a>>) -> Self {
        let mut passes: Vec<Box<dyn Pass + 'a>> = Vec::new();
        if opset >= OLDEST_OPSET && target.reader() == Reader::TensorRt {
            passes.push(Box::new(fixes::GatedActivation));
            passes.push(Box::new(fixes::GroupedConvTranspose(target)));
            passes.push(Box::new(fixes::GroupNormOfOneGroup(target)));
        }
        if let Some(precise) = precise {
            passes.push(Box::new(precise));
        }
        if opset >= OLDEST_OPSET_OF_FORMS && target.compute_capability() == Some(90) {
            passes.push(Box::new(hopper::BatchedLayers(target)));
            passes.push(Box::new(hopper::Convolutions(target)));
            passes.push(Box::new(hopper::AlignedKeys(target)));
            passes.push(Box::new(hopper::AlignedRows(target)));
        }
        Self(passes)
    }

    /// Runs all of them, and counts the places that were changed.
    ///
    /// # Errors
    /// Those of a pass; [`ErrorKind::InvalidModel`] where one leaves a graph that does not fit together, which
    /// is a fault of this crate.
    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let mut all = 0;
        for pass in &self.0 {
            let span =
                tracing::debug_span!(target: "accelerant::export", "pass", name = pass.name());
            let _entered = span.enter();
            let changed = pass.run(graph).map_err(|e| e.in_operation(pass.name()))?;
            if changed > 0 {
                tracing::debug!(target: "accelerant::export", "{}: {changed} places", pass.name());
                graph.check().map_err(|e| {
                    let text = format!("the pass left a graph that does not fit: {}", e.message());
                    let tensor = e.tensor().unwrap_or_default().to_owned();
                    Error::new(ErrorKind::InvalidModel, text)
                        .in_operation(pass.name())
                        .on_tensor(tensor)
                })?;
            }
            all += changed;
        }
        Ok(all)
    }
}

impl GraphBuilder {
    /// The model. Weights are shared with the arrays they came from, but for those of
    /// [layers in other forms](Target::for_compute_capability).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] when the graph has no outputs.
    pub fn finish(&self) -> Result<OnnxModel> {
        let mut graph = self.graph();
        if graph.outputs.is_empty() {
            let text = format!("graph `{}` has no outputs", graph.name());
            return Err(Error::new(ErrorKind::InvalidModel, text).in_operation("finish"));
        }
        Pipeline::for_target(self.target(), graph.opset(), None).run(&mut graph)?;
        Ok(graph.into_model(self.target()))
    }
}

impl OnnxModel {
    /// The model as a target computes it right, and fastest: what an export for this target is as well. A model
    /// that is right for it already is the same.
    ///
    /// [`Registry::compile`](crate::backend::Registry::compile) does this for the backend that it builds for.
    ///
    /// # Errors
    /// What a change to the graph comes to, naming it.
    pub fn for_target(&self, target: Target) -> Result<Self> {
        if self.is_written_for(target) {
            return Ok(self.clone());
        }
        let pipeline = Pipeline::for_target(target, graph::opset(self.proto()), None);
        if pipeline.0.is_empty() {
            return Ok(self.clone().written_for(target));
        }
        let mut graph = Graph::of(self);
        match pipeline.run(&mut graph)? {
            0 => Ok(self.clone().written_for(target)),
            _ => Ok(self.in_form(graph.into_model(target))),
        }
    }

    /// The model as [a target](Self::for_target) reads it, in another precision. Inputs and outputs keep their types.
    /// What became of each layer is in its [report](Self::precision_report).
    ///
    /// ```
    /// use accelerant::export::{GraphBuilder, Target};
    /// use accelerant::{DType, precision::Precision};
    ///
    /// let graph = GraphBuilder::new("product");
    /// let x = graph.input("x", DType::F32, [2, 2])?;
    /// graph.output("y", &x.matmul(&x)?)?;
    /// let half = graph.finish()?.with_precision(Target::tensorrt(), Precision::Fp16)?;
    /// assert_eq!(half.precision_report().unwrap().layers[0].precision, "f16");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for options that contradict each other, that name no layer, or whose ranges
    /// are missing or of another model; [`ErrorKind::Device`] for what the target's GPU cannot compute.
    pub fn with_precision(
        &self,
        target: Target,
        options: impl Into<PrecisionOptions>,
    ) -> Result<Self> {
        let options = options.into();
        let report = RefCell::new(PrecisionReport::new(options.precision()));
        let precise = Precise { options: &options, target, report: &report };
        let mut graph = Graph::of(self);
        let opset = graph.opset();
        let changed = match self.is_written_for(target) {
            true => Pipeline(vec![Box::new(precise)]).run(&mut graph)?,
            false => Pipeline::for_target(target, opset, Some(precise)).run(&mut graph)?,
        };
        let model = match changed {
            0 => self.clone().written_for(target),
            _ => self.in_form(graph.into_model(target)),
        };
        Ok(model.with_report(Arc::new(report.into_inner())))
    }
}
