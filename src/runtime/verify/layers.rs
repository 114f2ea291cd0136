//! Values between layers, compared one after the other: each is made an output of the model, which is built on both
//! runtimes.

use std::fmt;

use serde::Serialize;

use super::{Difference, Tolerance, VerifyOptions, built, run};
use crate::backend::Backend;
use crate::error::Result;
use crate::export::{OnnxModel, Reader};
use crate::runtime::InferenceModule;
use crate::tensor::HostTensor;

/// How far a value between layers is off.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LayerDifference {
    /// The value.
    pub tensor: String,
    /// The node that computes it.
    pub node: String,
    /// The operator of the node.
    pub operator: String,
    /// The difference, over all samples.
    pub difference: Difference,
}

impl fmt::Display for LayerDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, node, operator, difference } = self;
        write!(f, "`{tensor}` of {operator} `{node}`: {difference}")
    }
}

/// Compares all values that both runtimes can give.
pub(super) fn compare(
    module: &InferenceModule,
    source: &OnnxModel,
    reference: &dyn Backend,
    samples: &[Vec<HostTensor>],
    options: &VerifyOptions,
) -> Result<Vec<LayerDifference>> {
    // TensorRT computes shapes on the host, and gives none of them out.
    let floats_alone = module.backend_value().target().reader() == Reader::TensorRt;
    let whole = source.with_inner_outputs(floats_alone)?;
    let ours = built(module.backend_value().as_ref(), &whole)?;
    let theirs = built(reference, &whole)?;
    let mut places = whole.computed_outputs();
    places.sort_by_key(|place| place.node_index);
    let mut layers: Vec<LayerDifference> = Vec::new();
    for sample in samples {
        let (got, expected) = (run(ours.as_ref(), sample)?, run(theirs.as_ref(), sample)?);
        for (i, place) in places.iter().enumerate() {
            let (got, expected) = (&got[place.output], &expected[place.output]);
            let tolerance = options.tolerance.unwrap_or_else(|| Tolerance::of(got.dtype()));
            let found = Difference::between(got, expected, tolerance);
            let difference = found.map_err(|e| e.on_tensor(&place.tensor))?;
            match layers.get_mut(i) {
                Some(layer) => layer.difference.add(&difference),
                None => layers.push(LayerDifference {
                    tensor: place.tensor.clone(),
                    node: place.node.clone(),
                    operator: place.operator.clone(),
                    difference,
                }),
            }
        }
    }
    Ok(layers)
}
