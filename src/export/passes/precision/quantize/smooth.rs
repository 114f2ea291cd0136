//! Activations whose columns are brought nearer to each other, and weights that undo it (Xiao et al., "SmoothQuant",
//! 2023): a few columns of large numbers leave no steps of 8 bits for all others, and a weight has room for them.

use std::collections::HashMap;

use half::f16;

use super::weights::Weight;
use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::precision::Choice;
use crate::export::passes::precision::moments::Moment;

/// What is done to an activation before it is quantized.
#[derive(Clone, Debug)]
pub(super) struct Smooth {
    /// What each column is multiplied with; half precision has the numbers.
    pub(super) factors: Vec<f32>,
    /// The largest magnitude afterwards, in the samples.
    pub(super) largest: f32,
    /// The mean square afterwards.
    pub(super) power: f32,
}

/// How far columns may be moved either way.
const FARTHEST: f32 = 1024.0;

/// What is done to the activations that layers read, by their names in the graph; nothing where it was not asked for.
pub(super) fn all(
    graph: &Graph,
    nodes: &[NodeProto],
    origins: &HashMap<String, String>,
    choice: &Choice<'_>,
) -> Result<HashMap<String, Smooth>> {
    let (Some(strength), Some(moments)) =
        (choice.options.smoothing(), choice.options.moments_of_layers())
    else {
        return Ok(HashMap::new());
    };
    // The largest weight of each column, of all layers that read an activation.
    let mut weights: HashMap<&String, Vec<f32>> = HashMap::new();
    for node in nodes {
        let Some(weight) = Weight::of(node, nodes, graph, origins) else { continue };
        let [outputs, inputs] = weight.sizes();
        let largest = weights.entry(&node.input[0]).or_insert_with(|| vec![0.0; inputs]);
        for (at, value) in weight.values()?.into_iter().enumerate() {
            let input = if weight.channels == 0 { at % inputs } else { at / outputs };
            if let Some(largest) = largest.get_mut(input) {
                *largest = largest.max(value.abs());
            }
        }
    }
    let smooth = |(name, weights): (&String, Vec<f32>)| {
        let moment = moments.get(origins.get(name).unwrap_or(name), weights.len())?;
        Some((name.clone(), Smooth::of(moment, &weights, strength)))
    };
    Ok(weights.into_iter().filter_map(smooth).collect())
}

impl Smooth {
    /// Divides a column by its magnitude to the power of `strength`, and by that of its weights to the power of what is
    /// left to -1.
    fn of(moment: &Moment, weights: &[f32], strength: f32) -> Self {
        let magnitudes = moment.largest();
        let own = |(&magnitude, &weight): (&f32, &f32)| match magnitude > 0.0 && weight > 0.0 {
            true => weight.powf(1.0 - strength) / magnitude.powf(strength),
            false => 1.0,
        };
        let raw: Vec<f32> = magnitudes.iter().zip(weights).map(own).collect();
        let middle = (raw.iter().map(|factor| factor.ln()).sum::<f32>() / raw.len() as f32).exp();
        let near = |factor: f32| (factor / middle).clamp(1.0 / FARTHEST, FARTHEST);
        let factors: Vec<f32> =
            raw.into_iter().map(|factor| f16::from_f32(near(factor)).to_f32()).collect();
        let after = magnitudes.iter().zip(&factors).map(|(magnitude, factor)| magnitude * factor);
        let largest = after.fold(0.0, f32::max);
        let squares = moment.mean_squares();
        let powers = squares.iter().zip(&factors).map(|(square, factor)| square * factor * factor);
        let power = powers.sum::<f32>() / factors.len() as f32;
        Self { factors, largest, power }
    }

    /// A weight that undoes the factors.
    pub(super) fn undone(&self, weight: &Weight, values: &mut [f32]) {
        let [outputs, inputs] = weight.sizes();
        for (at, value) in values.iter_mut().enumerate() {
            let input = if weight.channels == 0 { at % inputs } else { at / outputs };
            *value /= self.factors[input];
        }
    }
}
