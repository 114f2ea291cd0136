//! Integers in the range of a type that is computed in a wider type, and floats cast to integers as Rust's `as` casts them.
//! Both frameworks cast so on a CPU, and runtimes differ beyond a range. Sums of wide integers.

use crate::error::Result;
use crate::export::graph::Value;
use crate::spec::{DType, Dim};

/// The smallest number of an integer type, and how many numbers it has.
fn range(dtype: DType) -> (f64, f64) {
    let count = 2f64.powi(dtype.size() as i32 * 8);
    let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    (if signed { -count / 2.0 } else { 0.0 }, count)
}

impl Value {
    /// Integers with the lowest bits alone that `own` has, as its arithmetic leaves them: in two's complement these
    /// are the same in any width.
    pub(crate) fn wrapped(&self, own: DType) -> Result<Value> {
        let (lowest, count) = range(own);
        let moved = self.affine(1.0, -lowest)?;
        // A remainder has the sign of its divisor.
        let node = self.graph.node("Mod").input(&moved).input(&moved.scalar_like(count)?);
        node.build()?.affine(1.0, lowest)
    }

    /// Floats as integers of `own`, held in the type `computed`: without their fraction, NaN as 0, and what is
    /// beyond the range as its end.
    pub(crate) fn saturated(&self, own: DType, computed: DType) -> Result<Value> {
        // The narrow types end before most integers do.
        let x = self.wide()?;
        let zero = x.scalar_like(0.0)?;
        let x = match x.dtype {
            // tract asks 32-bit floats alone.
            DType::F64 => x.equal(&x)?.select(&x, &zero)?,
            _ => x.is_nan()?.select(&zero, &x)?,
        };
        let (lowest, count) = range(own);
        let x = x.maximum(&x.scalar_like(lowest)?)?;
        if count <= f64::from(1 << 24) {
            return x.minimum(&x.scalar_like(lowest + count - 1.0)?)?.cast(computed);
        }
        // The largest number is none of 32-bit floats, the one behind it is.
        let (first, all) = range(computed);
        let beyond = (lowest + count).min(first + all);
        let over = x.greater_equal(&x.scalar_like(beyond)?)?;
        let whole = over.select(&zero, &x)?.cast(computed)?;
        // Of 64 bits, the number behind the largest, which its type takes for the largest.
        let last = whole.scalar_like(beyond - 1.0)?;
        over.select(&last, &whole)
    }

    /// The sum along axes, of nothing 0. tract fails at that where another axis is dynamic.
    pub(crate) fn sum(&self, axes: &[i64], keep_dims: bool) -> Result<Value> {
        match self.of_nothing(0.0, axes, keep_dims)? {
            Some(sum) => Ok(sum),
            None => self.reduced("ReduceSum", axes, keep_dims),
        }
    }

    /// The mean along axes; of nothing it is no number, which runtimes disagree on.
    pub(crate) fn mean(&self, axes: &[i64], keep_dims: bool) -> Result<Value> {
        match self.of_nothing(f64::NAN, axes, keep_dims)? {
            Some(mean) => Ok(mean),
            None => self.reduced("ReduceMean", axes, keep_dims),
        }
    }

    /// What a reduction along these axes gives, if one of them has no cells.
    fn of_nothing(&self, number: f64, axes: &[i64], keep_dims: bool) -> Result<Option<Value>> {
        let rank = self.rank() as i64;
        let reduced = |at: usize| axes.iter().any(|axis| axis.rem_euclid(rank) == at as i64);
        let dims = || self.dims().iter().enumerate();
        if !dims().any(|(at, dim)| reduced(at) && dim.fixed() == Some(0)) {
            return Ok(None);
        }
        let left = dims().filter_map(|(at, dim)| match reduced(at) {
            true => keep_dims.then_some(Dim::Fixed(1)),
            false => Some(dim.clone()),
        });
        let left: Vec<Dim> = left.collect();
        self.scalar_like(number)?.expand(&left, &[self]).map(Some)
    }
}
