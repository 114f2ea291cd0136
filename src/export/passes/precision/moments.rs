//! How the numbers that layers read go together on samples: for each value, the sums of products of each two of its
//! columns. Rounding to 4 bits makes up for its errors by them (`quantize/compensated`). How they are measured is in
//! `runtime/calibration`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ndarray::{Array2, ArrayView2, Axis};

use super::half::wrong;
use super::quantize;
use crate::error::Result;
use crate::export::OnnxModel;
use crate::export::graph::Graph;

/// The second moments of the inputs of layers, by the names of the inputs.
///
/// The moments take 8 bytes of memory for each pair of columns of an input.
#[derive(Debug, Default)]
pub struct Moments {
    values: BTreeMap<String, Moment>,
}

/// The second moments of one value.
#[derive(Debug)]
pub(super) struct Moment {
    rows: usize,
    sums: Array2<f32>,
    /// The largest magnitude of each column.
    largest: Vec<f32>,
    factor: OnceLock<Option<Factor>>,
}

/// A triangular root of second moments.
#[derive(Debug)]
pub(super) struct Factor {
    /// The columns, those with the least numbers first.
    pub(super) order: Vec<usize>,
    /// The root in this order, above its diagonal, each row divided by its element there.
    pub(super) upper: Array2<f32>,
}

/// What is added to each sum of squares, as a part of their mean: columns that few samples have say little of others.
const ADDED: f64 = 0.05;

impl Moments {
    /// Adds rows of a value.
    pub(crate) fn add(&mut self, name: &str, rows: ArrayView2<'_, f32>) {
        let sums = rows.t().dot(&rows);
        let largest = |column: ndarray::ArrayView1<'_, f32>| {
            column.iter().fold(0f32, |most, value| most.max(value.abs()))
        };
        let largest: Vec<f32> = rows.axis_iter(Axis(1)).map(largest).collect();
        match self.values.get_mut(name) {
            Some(moment) => {
                moment.rows += rows.nrows();
                moment.sums += &sums;
                let both = moment.largest.iter_mut().zip(largest);
                both.for_each(|(most, own)| *most = most.max(own));
            }
            None => {
                let moment = Moment { rows: rows.nrows(), sums, largest, factor: OnceLock::new() };
                self.values.insert(name.to_owned(), moment);
            }
        }
    }

    /// The number of measured rows of a value.
    pub fn rows(&self, name: &str) -> Option<usize> {
        self.values.get(name).map(|moment| moment.rows)
    }

    /// The names of the values.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The moments of a value of so many columns.
    pub(super) fn get(&self, name: &str, columns: usize) -> Option<&Moment> {
        self.values.get(name).filter(|moment| moment.sums.nrows() == columns)
    }

    /// Refuses moments of another model.
    pub(super) fn expect_of(&self, graph: &Graph) -> Result<()> {
        match quantize::read(graph).keys().any(|name| self.values.contains_key(name)) {
            true => Ok(()),
            false => Err(wrong(
                "the moments are of another model: none is of what a layer of this one reads"
                    .into(),
            )),
        }
    }
}

impl Moment {
    /// The mean square of each column, as a part of the mean of all.
    pub(super) fn squares(&self) -> Vec<f32> {
        let squares = self.sums.diag();
        let mean = squares.mean().filter(|mean| *mean > 0.0).unwrap_or(1.0);
        squares.iter().map(|square| square / mean).collect()
    }

    /// The mean square of each column.
    pub(super) fn mean_squares(&self) -> Vec<f32> {
        let rows = self.rows.max(1) as f32;
        self.sums.diag().iter().map(|square| square / rows).collect()
    }

    /// The largest magnitude of each column.
    pub(super) fn largest(&self) -> &[f32] {
        &self.largest
    }

    /// The root, which is computed once; none where nothing but zeros was seen.
    pub(super) fn factor(&self) -> Option<&Factor> {
        self.factor.get_or_init(|| Factor::of(&self.sums)).as_ref()
    }
}

impl Factor {
    fn of(sums: &Array2<f32>) -> Option<Self> {
        let size = sums.nrows();
        let added = ADDED * f64::from(sums.diag().mean()?);
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| sums[[a, a]].total_cmp(&sums[[b, b]]));
        // Rows of the lower triangle, which become rows of the root of Cholesky.
        let mut lower: Vec<Vec<f64>> = Vec::with_capacity(size);
        for (i, &row) in order.iter().enumerate() {
            let mut own: Vec<f64> =
                order[..=i].iter().map(|&column| f64::from(sums[[row, column]])).collect();
            own[i] += added;
            for (j, before) in lower.iter().enumerate() {
                own[j] = (own[j] - dot(&own[..j], &before[..j])) / before[j];
            }
            let square = own[i] - dot(&own[..i], &own[..i]);
            if square.is_nan() || square <= 0.0 {
                return None;
            }
            own[i] = square.sqrt();
            lower.push(own);
        }
        let mut upper = Array2::zeros((size, size));
        for (j, row) in lower.iter().enumerate() {
            for (i, value) in row[..j].iter().enumerate() {
                upper[[i, j]] = (value / lower[i][i]) as f32;
            }
        }
        Some(Self { order, upper })
    }
}

/// A sum of products, in lanes that do not wait for each other.
fn dot(one: &[f64], other: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let (ones, others) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let rest = ones.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum::<f64>();
    for (a, b) in ones.zip(others) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    rest + sums.iter().sum::<f64>()
}

impl OnnxModel {
    /// What layers of weights read, with the number of columns.
    pub(crate) fn read_by_layers(&self) -> BTreeMap<String, usize> {
        quantize::read(&Graph::of(self))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_root_gives_the_moments_back() {
        let rows = array![[3.0f32, 1.0, 0.5], [1.0, -2.0, 0.25], [0.0, 4.0, 0.125]];
        let mut moments = Moments::default();
        moments.add("x", rows.view());
        moments.add("x", rows.slice(ndarray::s![..1, ..]));
        assert_eq!((moments.rows("x"), moments.rows("y")), (Some(4), None));
        let moment = moments.get("x", 3).unwrap();
        let factor = moment.factor().unwrap();
        assert_eq!(factor.order, [2, 0, 1]);
        // The diagonal follows from the moments: what is left of each sum of squares.
        let added = 0.05 * moment.sums.diag().mean().unwrap();
        let ordered = Array2::from_shape_fn((3, 3), |(i, j)| {
            moment.sums[[factor.order[i], factor.order[j]]] + if i == j { added } else { 0.0 }
        });
        let mut given = Array2::<f32>::zeros((3, 3));
        for i in 0..3 {
            let unit = |at: usize| if at == i { 1.0 } else { factor.upper[[i, at]] };
            let before: f32 = given[[i, i]];
            let square = ordered[[i, i]] - before;
            for j in i..3 {
                for k in i..3 {
                    given[[j, k]] += square * unit(j) * unit(k);
                }
            }
        }
        assert!((&given - &ordered).iter().all(|apart| apart.abs() < 1e-4), "{given} {ordered}");
        assert!(moments.get("x", 4).is_none() && moments.get("y", 3).is_none());
        let mut zeros = Moments::default();
        zeros.add("x", Array2::zeros((2, 3)).view());
        assert!(zeros.get("x", 3).unwrap().factor().is_none());
    }
}
