//! Batch normalizations by constants, as a factor and a term.

use super::half::Writer;
use super::known::Known;
use super::narrow::{self, Fit};
use crate::error::Result;
use crate::export::onnx::{Attribute, NodeProto};
use crate::tensor::HostTensor;

impl Writer<'_> {
    /// A batch normalization by constants is a factor and a term, which fit where a variance may not.
    pub(super) fn fold_norm(
        &mut self,
        node: &mut NodeProto,
        inputs: &[Option<Known>],
    ) -> Result<()> {
        let Some(folded) = self.folded_norm(node, inputs)? else { return Ok(()) };
        for (i, tensor) in folded.into_iter().enumerate() {
            let hint = format!("{}.{}", node.input[i + 1], ["factor", "term", "zero", "one"][i]);
            node.input[i + 1] = self.graph.add_constant(&hint, tensor);
        }
        node.attribute.retain(|attribute| attribute.name() != "epsilon");
        node.attribute.push(Attribute::Float(0.0).to_proto("epsilon"));
        Ok(())
    }

    /// Factor, term, mean and variance of such a normalization, where they fit.
    pub(super) fn folded_norm(
        &self,
        node: &NodeProto,
        inputs: &[Option<Known>],
    ) -> Result<Option<[HostTensor; 4]>> {
        if !node.is("BatchNormalization") || node.input.len() != 5 {
            return Ok(None);
        }
        let constant = |(name, known): (&String, &Option<Known>)| {
            known.as_ref().filter(|known| known.constant && known.is_single())?;
            self.constant(name)
        };
        let constants = node.input.iter().zip(inputs).skip(1).map(constant);
        let Some(constants) = constants.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let values = constants.iter().map(HostTensor::to_vec::<f32>).collect::<Result<Vec<_>>>()?;
        let [scale, bias, mean, variance] = &values[..] else { return Ok(None) };
        let epsilon = node.stated("epsilon").map_or(1e-5, |epsilon| epsilon.f());
        let factor = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt());
        let factor: Vec<f32> = factor.collect();
        let term = bias.iter().zip(mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        let count = factor.len();
        let [factor, term, zero, one] = [factor, term, vec![0.0; count], vec![1.0; count]]
            .map(|values| HostTensor::from_vec([count], values));
        let folded = [factor?, term?, zero?, one?];
        let mut fits = true;
        for tensor in &folded {
            fits &= narrow::fit(tensor, self.low)? != Fit::Beyond;
        }
        Ok(fits.then_some(folded))
    }
}
