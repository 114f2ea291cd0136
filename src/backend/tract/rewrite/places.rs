//! Places that tract does not take as ONNX counts them: those from the end, those beyond an axis, and slices between places
//! that are computed from values.

use super::{FAR, Made};
use crate::backend::tract::gaps::view::{View, attribute};
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The operator set since which a slice has its places as inputs.
const SLICES_BY_INPUTS: i64 = 10;

/// Whether the places of a slice come from values of the inputs. tract follows places that come from sizes.
pub(in crate::backend::tract) fn is_computed_slice(node: &NodeProto, view: &View<'_>) -> bool {
    node.op_type() == "Slice"
        && [1, 2].iter().any(|&at| at < node.input.len() && !view.is_sized(node, at))
}

/// The axes of such a slice, where it can be written as gathers.
pub(in crate::backend::tract) fn slices_by_gathering(
    node: &NodeProto,
    view: &View<'_>,
) -> Option<Vec<i64>> {
    let has = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
    if !is_computed_slice(node, view)
        || has(4) && !view.ints(node, 4)?.iter().all(|&step| step == 1)
    {
        return None;
    }
    let types = [1, 2].map(|at| view.dtype(node, at));
    if types != [Some(DType::I64); 2] {
        return None;
    }
    match has(3) {
        true => view.ints(node, 3),
        false => {
            let count = [1, 2].into_iter().find_map(|at| match view.sizes(node, at)? {
                [Some(count)] => Some(*count),
                _ => None,
            });
            Some((0..count? as i64).collect())
        }
    }
}

impl Made {
    /// A node with indices of several axes, whose places are counted from the start.
    pub(super) fn count_from_the_start(&mut self, node: &NodeProto) {
        let (x, places) = (&node.input[0], &node.input[1]);
        let batch = attribute(node, "batch_dims").map_or(0, |axes| axes.i());
        let [last, far, first] = [-1, FAR, batch].map(|at| self.vector(&[at]));
        let sizes = self.op("Shape", &[places], &[]);
        let mut end = self.op("Slice", &[&sizes, &last, &far], &[]);
        if batch != 0 {
            end = self.op("Add", &[&end, &first], &[]);
        }
        let sizes = self.op("Shape", &[x], &[]);
        let sizes = self.op("Slice", &[&sizes, &first, &end], &[]);
        let sizes = self.counted(&sizes);
        let zero = self.number(0.0, DType::I64);
        let places = self.positive(places, &sizes, &zero);
        let mut same = node.clone();
        same.input[1] = places;
        self.nodes.push(same);
    }

    /// Places, of which those below 0 are counted from `size`.
    fn positive(&mut self, places: &str, size: &str, zero: &str) -> String {
        let below = self.op("Less", &[places, zero], &[]);
        let moved = self.op("Add", &[places, size], &[]);
        self.op("Where", &[&below, &moved, places], &[])
    }

    /// A class more, for the places that are none, which is cut off.
    pub(super) fn one_hot(
        &mut self,
        node: &NodeProto,
        dtype: DType,
        opset: i64,
        view: &View<'_>,
    ) -> Option<()> {
        let depth = view.constant(node, 1)?;
        let classes = match depth.dtype() {
            DType::I64 => *depth.to_vec::<i64>().ok()?.first()?,
            DType::I32 => i64::from(*depth.to_vec::<i32>().ok()?.first()?),
            DType::F32 => *depth.to_vec::<f32>().ok()?.first()? as i64,
            _ => return None,
        };
        let within = |&place: &i64| (-classes..classes).contains(&place);
        let fits = view.ints(node, 0).is_some_and(|places| places.iter().all(within));
        let known = matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64);
        if fits || !known {
            return None;
        }
        let places = &node.input[0];
        let [least, zero, count] =
            [-classes, 0, classes].map(|number| self.number(number as f64, dtype));
        let more = self.constant(HostTensor::scalar(classes + 1));
        let enough = self.op("GreaterOrEqual", &[places, &least], &[]);
        let below = self.op("Less", &[places, &count], &[]);
        let some = self.op("And", &[&enough, &below], &[]);
        let counted = self.positive(places, &count, &zero);
        let counted = self.op("Where", &[&some, &counted, &count], &[]);
        let axis = attribute(node, "axis").map_or(-1, |axis| axis.i());
        let all = self.op("OneHot", &[&counted, &more, &node.input[2]], &[("axis", axis.into())]);
        if opset < SLICES_BY_INPUTS {
            // Such a slice cannot name an axis from the end.
            let classes: Vec<i64> = (0..classes).collect();
            let classes = self.vector(&classes);
            self.last_with(node, "Gather", &[&all, &classes], &[("axis", axis.into())]);
        } else {
            let [first, end, axes] = [0, classes, axis].map(|number| self.vector(&[number]));
            self.last(node, "Slice", &[&all, &first, &end, &axes]);
        }
        Some(())
    }

    /// A slice between computed places as a gather along each axis.
    pub(super) fn gathered(&mut self, node: &NodeProto, axes: &[i64]) {
        let mut x = node.input[0].clone();
        let [zero, one] = [0.0, 1.0].map(|number| self.number(number, DType::I64));
        for (i, &axis) in axes.iter().enumerate() {
            let [first, behind] = [axis, if axis == -1 { FAR } else { axis + 1 }];
            let [first, behind, at] =
                [first, behind, i as i64].map(|number| self.vector(&[number]));
            let size = self.op("Shape", &[&x], &[]);
            let size = self.op("Slice", &[&size, &first, &behind], &[]);
            let size = self.counted(&size);
            let size = self.op("ReduceMax", &[&size], &[("keepdims", 0.into())]);
            let [start, end] = [1, 2].map(|input| {
                let place = self.op("Gather", &[&node.input[input], &at], &[]);
                let place = self.op("ReduceMax", &[&place], &[("keepdims", 0.into())]);
                let place = self.positive(&place, &size, &zero);
                let place = self.op("Min", &[&place, &size], &[]);
                self.op("Max", &[&place, &zero], &[])
            });
            let end = self.op("Max", &[&end, &start], &[]);
            let places = self.op("Range", &[&start, &end, &one], &[]);
            x = self.op("Gather", &[&x, &places], &[("axis", axis.into())]);
        }
        self.last(node, "Identity", &[&x]);
    }
}
