//! The passes over a graph before a target reads the graph. Some passes work around what the target computes wrongly
//! (`fixes`). One writes the precision that is asked for (`precision`), and others write layers in the forms that a GPU runs
//! fastest (`hopper`). Every graph goes through the same passes, from a framework, from the builder or from a file.

mod activation;
mod canonical;
mod fixes;
mod hopper;
mod linear;
pub(crate) mod precision;
mod rewrite;
#[cfg(test)]
mod testing;

use std::{cell::RefCell, sync::Arc};

use super::graph::{self, Graph, GraphBuilder};
use super::{OnnxModel, Reader, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{self, Phase};
use fixes::AutomaticPads;
use precision::{Precise, PrecisionOptions, PrecisionReport};

/// One change to a graph, wherever it applies.
trait Pass {
    /// For errors and logs.
    fn name(&self) -> &'static str;

    /// Changes the graph, and counts in how many places.
    fn run(&self, graph: &mut Graph) -> Result<usize>;
}

/// The passes for one target, in order.
struct Pipeline<'a> {
    /// What goes before all else, in the graph and in the bodies of branches and loops.
    first: Vec<Box<dyn Pass>>,
    /// Passes that let the others find layers. Alone they are no reason to change a model.
    canonical: Vec<Box<dyn Pass>>,
    /// Passes for the graph and for the bodies of branches and loops.
    fixes: Vec<Box<dyn Pass>>,
    /// The precision that is asked for.
    precise: Option<Precise<'a>>,
    /// Passes for the graph itself.
    forms: Vec<Box<dyn Pass>>,
}

/// The oldest operator set whose operators the passes know.
const OLDEST_OPSET: i64 = 7;

/// The oldest operator set in which what tract gets wrong is written otherwise: its cumulative sums take their axis as an input.
const OLDEST_OPSET_FOR_TRACT: i64 = 11;

/// The oldest operator set in which the forms are written: its sums, squeezes and splits take their axes as inputs.
const OLDEST_OPSET_OF_FORMS: i64 = 13;

impl<'a> Pipeline<'a> {
    /// The precision alone.
    fn only(precise: Option<Precise<'a>>) -> Self {
        Self {
            first: Vec::new(),
            canonical: Vec::new(),
            fixes: Vec::new(),
            precise,
            forms: Vec::new(),
        }
    }

    /// The passes that a graph of an operator set needs for a target.
    ///
    /// The order has reasons:
    /// 1. What nothing reads goes first, since a pass would look at it.
    /// 2. Roundabout forms are written plainly first, since other passes would not find layers with weights behind an
    ///    `Identity`: constants, then shapes that depend on constants, then views.
    /// 3. Fixes come next. A fix finds a fault in the form that the model has, and a form decides by what will be computed.
    ///    Masks are written before the guards of softmaxes, which look for hidden rows once for each mask.
    /// 4. The precision stands between, since forms are chosen by type.
    /// 5. Among the forms, weights are turned first, since the weights of linear layers are put together. Linear layers come
    ///    next, since they divide and turn what they give. Keys are padded where the heads were turned. Rows come last, since
    ///    they begin at the feed-forward networks in parts, and are cut off before the padded keys.
    fn for_target(target: Target, opset: i64, precise: Option<Precise<'a>>) -> Self {
        let mut passes = Self::only(precise);
        if target.is_before_passes() {
            return passes;
        }
        if opset >= OLDEST_OPSET && target.reader() != Reader::OnnxRuntime {
            passes.first.push(Box::new(fixes::UnreadNodes));
        }
        if opset >= OLDEST_OPSET && target.reader() == Reader::TensorRt {
            passes.canonical.push(Box::new(canonical::Identities));
            passes.canonical.push(Box::new(canonical::KnownValues));
            passes.fixes.push(Box::new(fixes::KnownBranches));
            passes.fixes.push(Box::new(fixes::KnownIntegers));
            passes.fixes.push(Box::new(fixes::SmallLetters));
            passes.fixes.push(Box::new(fixes::MasksOfKeys));
            passes.fixes.push(Box::new(fixes::GuardedSoftmax));
            passes.fixes.push(Box::new(fixes::GatedActivation));
            passes.fixes.push(Box::new(fixes::BoundsInOrder));
            passes.fixes.push(Box::new(fixes::EdgesOfWindows(target)));
            passes.fixes.push(Box::new(fixes::StatedOutputs));
            passes.fixes.push(Box::new(fixes::GroupedConvTranspose(target)));
            passes.fixes.push(Box::new(fixes::GroupNormOfOneGroup(target)));
            passes.fixes.push(Box::new(fixes::EluWithRecurrent(target)));
        }
        if opset >= OLDEST_OPSET && target.reader() == Reader::OnnxRuntime {
            passes.fixes.push(Box::new(AutomaticPads));
        }
        if opset >= OLDEST_OPSET && target.reader() == Reader::Any {
            passes.fixes.push(Box::new(fixes::KnownBranches));
            passes.fixes.push(Box::new(fixes::tract::SqueezedAxes));
        }
        if opset >= OLDEST_OPSET_FOR_TRACT && target.reader() == Reader::Any {
            passes.fixes.push(Box::new(fixes::tract::SoftmaxOfQuantized(target)));
            passes.fixes.push(Box::new(fixes::tract::SquaresOfIntegers(target)));
            passes.fixes.push(Box::new(fixes::tract::GemmOfOtherTypes(target)));
            passes.fixes.push(Box::new(fixes::tract::RecurrentLayers(target)));
            passes.fixes.push(Box::new(fixes::tract::SlicesInSteps(target)));
            passes.fixes.push(Box::new(fixes::tract::SlicesBeyond(target)));
        }
        if opset >= OLDEST_OPSET_OF_FORMS && target.compute_capability() == Some(90) {
            passes.canonical.push(Box::new(canonical::RowsInOrder(target)));
            passes.canonical.push(Box::new(canonical::OneScale));
            passes.forms.push(Box::new(hopper::WeightsByOutputs));
            passes.forms.push(Box::new(hopper::BatchedLayers(target)));
            passes.forms.push(Box::new(hopper::Convolutions(target)));
            passes.forms.push(Box::new(hopper::AlignedKeys(target)));
            passes.forms.push(Box::new(hopper::AlignedRows(target)));
        }
        passes
    }

    /// Runs all of them, and counts the places that were changed.
    ///
    /// # Errors
    /// Those of a pass; [`ErrorKind::InvalidModel`] where one leaves a graph that does not fit together, which
    /// is a fault of this crate.
    fn run(&self, graph: &mut Graph) -> Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        progress::phase(Phase::Passes, || self.change(graph))
    }

    /// Runs all of them on a model's graph, which is read in the same phase. `None` where nothing changed.
    fn run_on(&self, model: &OnnxModel) -> Result<Option<Graph>> {
        if self.is_empty() {
            return Ok(None);
        }
        progress::phase(Phase::Passes, || {
            let mut graph = Graph::of(model);
            let changed = self.change(&mut graph)?;
            Ok((changed > 0).then_some(graph))
        })
    }

    fn change(&self, graph: &mut Graph) -> Result<usize> {
        let left_out = everywhere(&self.first, graph)?;
        let before = (!self.canonical.is_empty()).then(|| graph.clone());
        for pass in &self.canonical {
            apply(&**pass, graph)?;
        }
        let mut all = everywhere(&self.fixes, graph)?;
        if let Some(precise) = &self.precise {
            all += apply(precise, graph)?;
        }
        for pass in &self.forms {
            all += apply(&**pass, graph)?;
        }
        match before {
            Some(before) if all == 0 => *graph = before,
            _ => {}
        }
        Ok(left_out + all)
    }

    fn is_empty(&self) -> bool {
        self.fixes.is_empty() && self.precise.is_none() && self.forms.is_empty()
    }
}

/// Runs passes on all bodies within a graph, and on itself.
fn everywhere(passes: &[Box<dyn Pass>], graph: &mut Graph) -> Result<usize> {
    if passes.is_empty() {
        return Ok(0);
    }
    let mut all = graph.change_bodies(&mut |body| everywhere(passes, body))?;
    for pass in passes {
        all += apply(&**pass, graph)?;
    }
    Ok(all)
}

/// Runs one pass, and checks what it leaves.
fn apply(pass: &dyn Pass, graph: &mut Graph) -> Result<usize> {
    let span = tracing::debug_span!(target: "accelerant::export", "pass", name = pass.name());
    let _entered = span.enter();
    progress::step(Phase::Passes, pass.name(), 0, 0)?;
    let changed = pass.run(graph).map_err(|e| e.in_operation(pass.name()))?;
    if changed > 0 {
        progress::changed(pass.name(), changed);
        tracing::debug!(target: "accelerant::export", "{}: {changed} places", pass.name());
        graph.check().map_err(|e| {
            let text = format!("the pass left a graph that does not fit: {}", e.message());
            let tensor = e.tensor().unwrap_or_default().to_owned();
            Error::new(ErrorKind::InvalidModel, text).in_operation(pass.name()).on_tensor(tensor)
        })?;
    }
    Ok(changed)
}

impl GraphBuilder {
    /// The model. Weights are shared with the arrays that they came from, but not the weights of
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
    /// The model in the form that a target computes right, and fastest. An export for this target has that form too. A model
    /// that has the form already stays unchanged.
    ///
    /// [`Registry::compile`](crate::backend::Registry::compile) calls this method for the backend that it builds for.
    ///
    /// # Errors
    /// The error of a pass, with the name of the pass.
    pub fn for_target(&self, target: Target) -> Result<Self> {
        if self.is_written_for(target) {
            return Ok(self.clone());
        }
        // ONNX Runtime takes most models as they are, and they are not read for it.
        let reads = target.reader() != Reader::OnnxRuntime || AutomaticPads::are_in(self.proto());
        if !reads {
            return Ok(self.clone().written_for(target));
        }
        let pipeline = Pipeline::for_target(target, graph::opset(self.proto()), None);
        Ok(match pipeline.run_on(self)? {
            None => self.clone().written_for(target),
            Some(graph) => self.in_form(graph.into_model(target)),
        })
    }

    /// The model with the branches that are known to be taken in the place of their `If`; `None` where no branch is known.
    ///
    /// ONNX Runtime takes branches as they are, but for one that is not taken and does not fit the sizes that are bound.
    #[cfg(feature = "ort")]
    pub(crate) fn with_known_branches(&self) -> Result<Option<Self>> {
        let nodes = self.proto().graph.iter().flat_map(|graph| &graph.node);
        if !nodes.into_iter().any(|node| node.is("If")) {
            return Ok(None);
        }
        let mut graph = Graph::of(self);
        let passes: [Box<dyn Pass>; 1] = [Box::new(fixes::KnownBranches)];
        Ok(match everywhere(&passes, &mut graph)? {
            0 => None,
            _ => Some(self.in_form(graph.into_model(Target::onnx_runtime()))),
        })
    }

    /// The model in the form for [a target](Self::for_target), in another precision. Inputs and outputs keep their types. The
    /// [report](Self::precision_report) says what became of each layer.
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
    /// [`ErrorKind::InvalidArgument`] for options that contradict each other or name no layer, and for ranges that are missing
    /// or of another model; [`ErrorKind::Device`] for what the target's GPU cannot compute.
    pub fn with_precision(
        &self,
        target: Target,
        options: impl Into<PrecisionOptions>,
    ) -> Result<Self> {
        let options = options.into();
        let report = RefCell::new(PrecisionReport::new(options.precision()));
        let precise = Precise { options: &options, target, report: &report };
        let pipeline = match self.is_written_for(target) {
            true => Pipeline::only(Some(precise)),
            false => Pipeline::for_target(target, graph::opset(self.proto()), Some(precise)),
        };
        let model = match pipeline.run_on(self)? {
            None => self.clone().written_for(target),
            Some(graph) => self.in_form(graph.into_model(target)),
        };
        Ok(model.with_report(Arc::new(report.into_inner()), self.source_hash()))
    }
}
