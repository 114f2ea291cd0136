//! How long each layer takes before and after a precision, in the report of the precision. Each model is built for this and
//! timed by the backend; what a kernel computes is known by the names of nodes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::options::OptimizeOptions;
use crate::backend::{Backend, LayerTime};
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::{LayerCost, ModelCost, PrecisionReport};
use crate::export::{ExportOptions, OnnxModel};
use crate::progress::{Phase, step};
use crate::tensor::HostTensor;

/// Runs of which each time is the median.
const RUNS: usize = 30;

/// Times that are asked for, and the models as they were written last.
pub(super) struct LayerTimes {
    inputs: Arc<[HostTensor]>,
    models: Option<[OnnxModel; 2]>,
}

impl LayerTimes {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where no precision is asked for.
    pub(super) fn asked(options: &OptimizeOptions) -> Result<Option<Self>> {
        let Some(inputs) = options.timed_inputs().cloned() else { return Ok(None) };
        let export: &ExportOptions = options.as_ref();
        if export.wanted_precision().is_none() {
            let text = "times of layers before and after a precision take a precision";
            return Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("time layers"));
        }
        Ok(Some(Self { inputs, models: None }))
    }

    /// Takes the model before and after.
    ///
    /// # Errors
    /// Inputs that are not those of the model.
    pub(super) fn take(&mut self, before: &OnnxModel, after: &OnnxModel) -> Result<()> {
        let given = self.inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
        after.signature().check_inputs(given).map_err(|e| e.in_operation("time layers"))?;
        self.models = Some([before.clone(), after.clone()]);
        Ok(())
    }

    /// Adds the times to the report, or the reason why there are none.
    ///
    /// # Errors
    /// Those that stop the work alone.
    pub(super) fn add(self, backend: &dyn Backend, report: &mut PrecisionReport) -> Result<()> {
        let Some(models) = &self.models else { return Ok(()) };
        let target = backend.target();
        let time = |place: usize, told: &str| {
            step(Phase::Search, &format!("the time of each layer {told}"), place, models.len())?;
            let model = models[place].for_target(target)?;
            backend.time_layers(&model, &self.inputs, RUNS)
        };
        let timed = time(0, "before").and_then(|before| Ok((before, time(1, "after")?)));
        match timed {
            Ok((before, after)) => join(report, &before, &after),
            Err(e) if e.is_stop() => return Err(e),
            Err(e) => report.not_timed = Some(e.message().to_owned()),
        }
        Ok(())
    }
}

/// Gives each layer of a report the times of the kernels that compute the layer.
fn join(report: &mut PrecisionReport, before: &[LayerTime], after: &[LayerTime]) {
    let mut places = HashMap::new();
    for (place, layer) in report.layers.iter().enumerate() {
        places.entry(layer.name.as_str()).or_insert(place);
    }
    let [(all_before, costs_before), (all_after, costs_after)] =
        [before, after].map(|kernels| costs(&places, kernels));
    let types = types(&places, after);
    (report.before, report.after) = (Some(all_before), Some(all_after));
    for (place, layer) in report.layers.iter_mut().enumerate() {
        layer.before = costs_before.get(&place).copied();
        layer.after = costs_after.get(&place).copied();
        let found = types.get(&place).into_iter().flatten();
        layer.engine = found.map(|name| (*name).to_owned()).collect();
    }
}

type Places<'r> = HashMap<&'r str, usize>;

fn costs(places: &Places<'_>, kernels: &[LayerTime]) -> (ModelCost, HashMap<usize, LayerCost>) {
    let mut all = ModelCost::default();
    let mut with: HashMap<usize, (f64, BTreeSet<usize>)> = HashMap::new();
    for kernel in kernels {
        let layers = layers_of(places, kernel);
        all.micros += kernel.micros;
        if layers.is_empty() {
            all.elsewhere += kernel.micros;
        }
        for layer in &layers {
            let (micros, others) = with.entry(*layer).or_default();
            *micros += kernel.micros;
            others.extend(&layers);
        }
    }
    let cost = |(micros, layers): (f64, BTreeSet<usize>)| {
        let mut cost = LayerCost::default();
        (cost.micros, cost.shared_with) = (micros, layers.len() - 1);
        cost
    };
    (all, with.into_iter().map(|(place, found)| (place, cost(found))).collect())
}

fn types<'k>(places: &Places<'_>, kernels: &'k [LayerTime]) -> HashMap<usize, BTreeSet<&'k str>> {
    let mut found: HashMap<usize, BTreeSet<&str>> = HashMap::new();
    for kernel in kernels {
        for layer in layers_of(places, kernel) {
            found.entry(layer).or_default().extend(kernel.types.iter().map(String::as_str));
        }
    }
    found
}

/// The layers of the report that a kernel computes.
fn layers_of(places: &Places<'_>, kernel: &LayerTime) -> BTreeSet<usize> {
    kernel.nodes.iter().filter_map(|node| layer_of(places, node)).collect()
}

/// The layer that a node is, or was made for: passes name new nodes after what a layer gives, such as
/// `dense/Add_output_0.batched/MatMul`.
fn layer_of(places: &Places<'_>, node: &str) -> Option<usize> {
    // The parser names a node without a name after what the node gives.
    let node = node.strip_prefix("node_of_").unwrap_or(node);
    if let Some(place) = places.get(node) {
        return Some(*place);
    }
    let ends = node
        .rmatch_indices(['.', '/', '_'])
        .filter(|(end, sign)| *sign != "_" || node[*end..].starts_with("_output_"));
    ends.map(|(end, _)| &node[..end]).find_map(|start| places.get(start).copied())
}

#[cfg(test)]
mod tests;
