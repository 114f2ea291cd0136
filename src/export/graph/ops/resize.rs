//! Pictures and rows of other sizes, with the cells that both frameworks take.

use crate::error::Result;
use crate::export::graph::Value;
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// The cell of `length` that a cell of `size` takes: the nearest below, by the quotient of the sizes as a 64-bit float,
/// which falls below the cell at some whole multiples.
fn nearest(cell: usize, length: usize, size: usize) -> usize {
    let ratio = length as f64 / size as f64;
    ((cell as f64 * ratio) as usize).min(length.saturating_sub(1))
}

/// The longest axis of which all cells are looked at.
const LOOKED_AT: usize = 1 << 16;

/// Whether an axis that grows by a whole number takes each cell that often.
fn is_exact(factor: usize, longest: usize) -> bool {
    let size = longest.min(LOOKED_AT) * factor;
    factor.is_power_of_two() || (0..size).all(|i| nearest(i, size / factor, size) == i / factor)
}

/// The smallest scale, close to `to / from`, with which a Resize gives this size: it rounds down.
fn scale(from: usize, to: usize) -> f32 {
    let mut scale = to as f32 / from as f32;
    while ((from as f32 * scale).floor() as usize) < to {
        scale = scale.next_up();
    }
    scale
}

/// An axis in another size.
#[derive(Clone, Debug)]
pub(crate) struct Resized {
    /// The size.
    pub(crate) to: Dim,
    /// The whole number by which it grows at every size, if it does.
    pub(crate) factor: Option<usize>,
}

/// The whole number that makes the one sizes of the other, if there is one.
pub(crate) fn factor(from: &[usize], to: &[usize]) -> Option<usize> {
    let factor = to[0].checked_div(from[0]).filter(|&factor| factor > 0)?;
    from.iter().zip(to).all(|(from, to)| from * factor == *to).then_some(factor)
}

impl Value {
    /// The spatial axes in other sizes, each cell a copy of the nearest below. `size` gives a size when the model
    /// runs, as a 1-D i64 tensor of one element.
    pub(crate) fn resize_nearest(
        &self,
        axes: &[Resized],
        size: impl Fn(&Dim) -> Result<Value>,
    ) -> Result<Value> {
        let whole = |(i, axis): (usize, &Resized)| {
            let exact = |&factor: &usize| is_exact(factor, self.dims()[i + 2].max());
            axis.factor.filter(|_| self.dtype.is_float()).filter(exact)
        };
        let factors: Vec<Option<usize>> = axes.iter().enumerate().map(whole).collect();
        let mut value = self.clone();
        if factors.iter().any(|factor| factor.is_some_and(|factor| factor > 1)) {
            let scales: Vec<f32> = factors.iter().map(|f| f.unwrap_or(1) as f32).collect();
            let mut dims = self.dims().to_vec();
            for (i, axis) in axes.iter().enumerate().filter(|(i, _)| factors[*i].is_some()) {
                dims[i + 2] = axis.to.clone();
            }
            let node = self.graph.node("Resize").input(self).input_opt(None);
            let node = node.input(&self.scales(&scales)?).attr("mode", "nearest");
            let node = node.attr("nearest_mode", "floor");
            let node = node.attr("coordinate_transformation_mode", "asymmetric");
            value = node.outputs([(self.dtype, dims.into())]).build()?;
        }
        for (i, resized) in axes.iter().enumerate() {
            let axis = i + 2;
            if factors[i].is_some() || self.dims()[axis] == resized.to {
                continue;
            }
            let cells = match (&self.dims()[axis], &resized.to) {
                (Dim::Fixed(from), Dim::Fixed(to)) => {
                    let cells = (0..*to).map(|cell| nearest(cell, *from, *to) as i64).collect();
                    self.graph.constant("cells", HostTensor::from_vec([*to], cells)?)
                }
                (from, to) => {
                    // The quotient of whole numbers: one cell is another then at two of a hundred pairs of sizes.
                    let count = self.graph.range(to, || size(to))?;
                    count.mul(&size(from)?)?.div(&size(to)?)?
                }
            };
            value = value.gather(&cells, axis as i64)?;
        }
        Ok(value)
    }

    /// A Resize with these attributes, by scales where the sizes are fixed or grow by whole numbers, which leaves
    /// batch and channels alone; else to sizes, a 1-D i64 tensor of all of them.
    pub(crate) fn resize(
        &self,
        axes: &[Resized],
        scales: Option<Vec<f32>>,
        attributes: &[(&'static str, &'static str)],
        sizes: impl FnOnce() -> Result<Value>,
    ) -> Result<Value> {
        let growth = |(i, axis): (usize, &Resized)| match (&self.dims()[i + 2], &axis.to) {
            (Dim::Fixed(from), Dim::Fixed(to)) => Some(scale(*from, *to)),
            _ => axis.factor.map(|factor| factor as f32),
        };
        let scales = scales.or_else(|| axes.iter().enumerate().map(growth).collect());
        let node = self.graph.node("Resize").input(self).input_opt(None);
        let node = match scales {
            Some(scales) => node.input(&self.scales(&scales)?),
            None => node.input_opt(None).input(&sizes()?),
        };
        let node = attributes.iter().fold(node, |node, &(name, value)| node.attr(name, value));
        let node = node.attr("cubic_coeff_a", -0.75f32);
        node.outputs([(self.dtype, self.resized(axes))]).build()
    }

    fn resized(&self, axes: &[Resized]) -> Shape {
        let spatial = axes.iter().map(|axis| axis.to.clone());
        self.dims()[..2].iter().cloned().chain(spatial).collect::<Vec<_>>().into()
    }

    fn scales(&self, spatial: &[f32]) -> Result<Value> {
        let all: Vec<f32> = [1.0, 1.0].iter().chain(spatial).copied().collect();
        Ok(self.graph.constant("scales", HostTensor::from_vec([all.len()], all)?))
    }
}
