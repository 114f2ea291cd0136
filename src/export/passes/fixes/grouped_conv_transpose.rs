//! A grouped transposed convolution over one axis. TensorRT-RTX 1.6.1 leaves all but the first of a batch at zero when the
//! batch may have any size. A convolution over two axes, of which one has size 1, is as wrong. One convolution for each group is
//! written instead, where the weight is known.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Conv, Graph, Value};
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::{Rewriter, replace};
use crate::spec::{Dim, TensorSpec};
use crate::tensor::HostTensor;

/// The operator set from which on `Slice` takes its places as inputs.
const PLACES_AS_INPUTS: i64 = 10;

/// Writes a grouped transposed convolution as one for each group.
pub(in crate::export::passes) struct GroupedConvTranspose(pub(in crate::export::passes) Target);

impl Pass for GroupedConvTranspose {
    fn name(&self) -> &'static str {
        "grouped transposed convolution"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        if graph.opset() < PLACES_AS_INPUTS {
            return Ok(0);
        }
        replace(graph, self.0, GroupedLayer::of, |new, _, layer| {
            new.named(&layer.written(new)?, &layer.y);
            Ok(())
        })
    }
}

struct GroupedLayer {
    x: TensorSpec,
    weight: (String, HostTensor),
    bias: Option<TensorSpec>,
    options: Conv,
    output_padding: Vec<usize>,
    y: String,
}

impl GroupedLayer {
    /// The layer that a node is, if it comes out wrong.
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        let (name, groups) = (node.input.get(1)?, node.int("group", 1));
        let automatic = node.stated("auto_pad").is_some_and(|pad| pad.s() != b"NOTSET");
        if !node.is("ConvTranspose") || groups < 2 || automatic {
            return None;
        }
        let (weight, groups) = (graph.constant(name)?.clone(), groups as usize);
        let x = graph.spec(node.input.first()?)?;
        let &[inputs, _, ref kernel @ ..] = weight.shape() else { return None };
        let (dims, axes) = (x.shape.dims(), kernel.len());
        let flat = dims.get(2..)?.iter().any(|dim| dim.fixed() == Some(1));
        let wrong = dims[0].fixed().is_none() && (axes == 1 || flat);
        // What does not divide is refused where the layer is checked whole.
        let whole = inputs.is_multiple_of(groups) && dims.len() == axes + 2;
        if !wrong || !whole || node.stated("output_shape").is_some() {
            return None;
        }
        let stated = |name: &str, usual: usize, count: usize| -> Option<Vec<usize>> {
            let Some(list) =
                node.stated(name).map(|list| &list.ints).filter(|list| !list.is_empty())
            else {
                return Some(vec![usual; count]);
            };
            let list: Vec<usize> =
                list.iter().map(|&value| usize::try_from(value)).collect::<Result<_, _>>().ok()?;
            (list.len() == count).then_some(list)
        };
        let pads = stated("pads", 0, 2 * axes)?;
        let (before, after) = pads.split_at(axes);
        let bias = node.input.get(2).filter(|name| !name.is_empty());
        let bias = match bias {
            Some(bias) => Some(graph.spec(bias)?),
            None => None,
        };
        Some(Self {
            x,
            weight: (name.clone(), weight),
            bias,
            options: Conv {
                strides: stated("strides", 1, axes)?,
                padding: before.iter().copied().zip(after.iter().copied()).collect(),
                dilations: stated("dilations", 1, axes)?,
                groups,
            },
            output_padding: stated("output_padding", 0, axes)?,
            y: node.output.first()?.clone(),
        })
    }

    fn written(&self, new: &Rewriter) -> Result<Value> {
        let (name, values) = &self.weight;
        let groups = self.options.groups;
        let (inputs, outputs) = (values.shape()[0], values.shape()[1] * groups);
        let (each, bytes) = (inputs / groups, values.bytes().len() / groups);
        let x = new.of(&self.x);
        let mut shape = values.shape().to_vec();
        shape[0] = each;
        let mut parts = Vec::with_capacity(groups);
        for group in 0..groups {
            let part = values.bytes().slice(group * bytes..(group + 1) * bytes);
            let part = HostTensor::from_bytes(values.dtype(), shape.clone(), part)?;
            let part = new.graph.constant(&format!("{name}.{group}"), part);
            let (start, end) = ((group * each) as i64, ((group + 1) * each) as i64);
            let options = Conv { groups: 1, ..self.options.clone() };
            let rows = x.slice(1, start, Some(end))?;
            parts.push(rows.conv_transpose(&part, None, &options, &self.output_padding)?);
        }
        let y = new.graph.concat(&parts.iter().collect::<Vec<_>>(), 1)?;
        let Some(bias) = &self.bias else { return Ok(y) };
        let mut along = vec![Some(Dim::Fixed(outputs))];
        along.resize(values.shape().len() - 1, Some(Dim::Fixed(1)));
        y.add(&new.of(bias).reshape(&along)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::GraphBuilder;
    use crate::spec::DType;

    #[test]
    fn a_grouped_transposed_convolution_of_any_batch_is_one_a_group_for_tensorrt() {
        let any = || Dim::dynamic("batch", 1..=4).unwrap();
        let (apart, whole) =
            (|k: &[usize]| [&[2, 3], k].concat(), |k: &[usize]| [&[4, 3], k].concat());
        for (batch, rest, kernel, groups) in [
            (any(), vec![7], vec![3], 2),
            (Dim::Fixed(2), vec![7], vec![3], 1),
            (any(), vec![1, 7], vec![1, 3], 2),
            (any(), vec![7, 7], vec![3, 3], 1),
        ] {
            let graph = GraphBuilder::for_target("layer", Target::tensorrt());
            let dims = [vec![batch, Dim::Fixed(4)], rest.iter().copied().map(Dim::Fixed).collect()];
            let x = graph.input("x", DType::F32, dims.concat()).unwrap();
            let shape = whole(&kernel);
            let weight = HostTensor::from_vec(&*shape, vec![1f32; shape.iter().product()]).unwrap();
            let axes = kernel.len();
            let options = Conv {
                strides: vec![2; axes],
                padding: kernel.iter().map(|k| (k / 2, k / 2)).collect(),
                dilations: vec![1; axes],
                groups: 2,
            };
            let weight = graph.weight("weight", weight).unwrap();
            let bias = graph.weight("bias", HostTensor::from_vec([6], vec![1f32; 6]).unwrap());
            let more: Vec<usize> = kernel.iter().map(|k| usize::from(*k > 1)).collect();
            let y = x.conv_transpose(&weight, Some(&bias.unwrap()), &options, &more).unwrap();
            let size = y.dims().to_vec();
            graph.output("y", &y).unwrap();
            let model = graph.finish().unwrap();
            assert_eq!(model.signature().outputs[0].shape.dims(), size);
            let weights = model.proto().graph.as_ref().unwrap().initializer.iter();
            let weights = weights.filter(|weight| weight.dims.len() == axes + 2);
            let found: Vec<Vec<usize>> = weights
                .map(|weight| weight.dims.iter().map(|&size| size as usize).collect())
                .collect();
            let expected = if groups == 2 { vec![apart(&kernel); 2] } else { vec![whole(&kernel)] };
            assert_eq!(found, expected, "{rest:?}");
        }
    }
}
