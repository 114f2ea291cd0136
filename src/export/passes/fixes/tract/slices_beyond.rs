//! Slices to a place that an open axis may not reach. tract takes the place for the size of the result, and fails in a run of
//! a smaller size. The end is written as the smaller of the place and the size.

use crate::error::{Error, Result};
use crate::export::Target;
use crate::export::graph::{Graph, Value};
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

/// Ends slices where the axis ends.
pub(in crate::export::passes) struct SlicesBeyond(pub(in crate::export::passes) Target);

/// Farther ends stand for the end of the axis.
const FAR: i64 = i32::MAX as i64;

struct Slice {
    x: TensorSpec,
    /// Axis, start and end.
    parts: Vec<(usize, i64, i64)>,
}

impl Pass for SlicesBeyond {
    fn name(&self) -> &'static str {
        "slices beyond an axis"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        replace(graph, self.0, Slice::of, |new, node, slice| {
            let x = new.of(&slice.x);
            let vector = |name: &str, place: i64| {
                Ok::<_, Error>(new.graph.constant(name, HostTensor::from_vec([1], vec![place])?))
            };
            let (mut starts, mut ends) = (Vec::new(), Vec::new());
            for &(axis, start, end) in &slice.parts {
                let dim = &x.dims()[axis];
                let is_open = dim.fixed().is_none() && is_beyond(start, end, dim.min());
                let size = match is_open {
                    true => Some(new.graph.shape_tensor(std::slice::from_ref(dim), &[&x])?),
                    false => None,
                };
                let within = |place: Value| match &size {
                    Some(size) => new.graph.node("Min").input(&place).input(size).build(),
                    None => Ok(place),
                };
                let end = if is_open { end.max(start) } else { end };
                starts.push(within(vector("start", start)?)?);
                ends.push(within(vector("end", end)?)?);
            }
            let all = |places: &[Value]| new.graph.concat(&places.iter().collect::<Vec<_>>(), 0);
            let axes = slice.parts.iter().map(|part| part.0 as i64).collect();
            let axes = HostTensor::from_vec([slice.parts.len()], axes)?;
            let axes = new.graph.constant("axes", axes);
            let (starts, ends) = (all(&starts)?, all(&ends)?);
            let mut slice = node.clone();
            slice.input.truncate(1);
            slice.input.extend([&starts, &ends, &axes].map(|value| value.name().to_owned()));
            new.keep(&slice);
            Ok(())
        })
    }
}

/// Whether a slice names a place that an axis of this size and less does not have.
fn is_beyond(start: i64, end: i64, size: usize) -> bool {
    let reached = |place: i64| place <= (size as i64).max(1);
    start >= 0 && (0..FAR).contains(&end) && !(reached(start) && reached(end) && start <= end)
}

impl Slice {
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        if !node.is("Slice") || node.output.len() != 1 || node.input.len() < 3 {
            return None;
        }
        let list = |at: usize| {
            let tensor = graph.constant(node.input.get(at)?)?;
            match tensor.dtype() {
                DType::I64 => tensor.to_vec::<i64>().ok(),
                _ => None,
            }
        };
        let has = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
        let (starts, ends) = (list(1)?, list(2)?);
        let axes = if has(3) { list(3)? } else { (0..starts.len() as i64).collect() };
        let in_steps = has(4) && !list(4)?.iter().all(|step| *step == 1);
        if in_steps || ends.len() != starts.len() || axes.len() != starts.len() {
            return None;
        }
        let x = graph.spec(&node.input[0])?;
        let dims = x.shape.dims();
        let mut parts = Vec::with_capacity(axes.len());
        let mut beyond = false;
        for ((axis, start), end) in axes.into_iter().zip(starts).zip(ends) {
            let axis = if axis < 0 { axis + dims.len() as i64 } else { axis };
            let axis = usize::try_from(axis).ok().filter(|&axis| axis < dims.len())?;
            beyond |= dims[axis].fixed().is_none() && is_beyond(start, end, dims[axis].min());
            parts.push((axis, start, end));
        }
        beyond.then_some(Self { x, parts })
    }
}
