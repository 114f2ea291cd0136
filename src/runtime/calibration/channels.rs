//! Mean squares of the channels along the last axis of what layers with weights read.

use std::collections::HashSet;

use crate::export::OnnxModel;

/// What was seen of one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Channels {
    sums: Vec<f64>,
    rows: u64,
}

impl Channels {
    /// Adds rows of so many channels.
    pub(super) fn add(&mut self, values: &[f32], channels: usize) {
        if channels == 0 || !self.sums.is_empty() && self.sums.len() != channels {
            return;
        }
        self.sums.resize(channels, 0.0);
        for row in values.chunks_exact(channels) {
            self.rows += 1;
            for (sum, value) in self.sums.iter_mut().zip(row) {
                // An infinite one would hide all others.
                let value = f64::from(value.clamp(f32::MIN, f32::MAX));
                *sum += value * value;
            }
        }
    }

    pub(super) fn means(&self) -> Vec<f32> {
        let mean = |sum: &f64| (sum / self.rows.max(1) as f64).min(f64::from(f32::MAX)) as f32;
        self.sums.iter().map(mean).collect()
    }
}

/// The first factors of a model's products whose second factor is no activation.
pub(super) fn of_layers(model: &OnnxModel) -> HashSet<String> {
    let Some(graph) = &model.proto().graph else { return HashSet::new() };
    let still = |operator: &str| matches!(operator, "Constant" | "Transpose" | "Identity");
    let computed: HashSet<&str> = graph
        .node
        .iter()
        .filter(|node| !still(node.op_type()))
        .flat_map(|node| node.output.iter().map(String::as_str))
        .chain(graph.input.iter().map(|input| input.name()))
        .collect();
    let layers = graph.node.iter().filter(|node| {
        matches!(node.op_type(), "MatMul" | "Gemm")
            && node.input.get(1).is_some_and(|weight| !computed.contains(weight.as_str()))
    });
    layers.map(|node| node.input[0].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_of_each_channel() {
        let mut channels = Channels::default();
        channels.add(&[1.0, 2.0, 3.0, 4.0], 2);
        channels.add(&[2.0, 0.0], 2);
        assert_eq!(channels.means(), [14.0 / 3.0, 20.0 / 3.0]);
        channels.add(&[1.0, 1.0, 1.0], 3);
        assert_eq!(channels.means().len(), 2);
    }
}
