//! The difference of two tensors that should be the same.

use std::fmt;

use half::{bf16, f16};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::{Element, HostTensor};

/// The allowed difference of a value: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// The absolute part of the tolerance.
    pub absolute: f64,
    /// The factor of the expected value.
    pub relative: f64,
}

impl Tolerance {
    /// The usual tolerance of a type. 32-bit floats may be rounded to TF32 on a GPU, 16-bit floats may be rounded a few
    /// times in a row, and integers and bools are exact.
    pub fn of(dtype: DType) -> Self {
        let both = match dtype {
            DType::F32 | DType::F64 => 5e-3,
            DType::F16 => 1e-2,
            DType::BF16 => 5e-2,
            _ => 0.0,
        };
        Self { absolute: both, relative: both }
    }
}

/// The difference between a tensor and the expected tensor. Two NaN are equal, and the difference between a NaN and a
/// number is infinite.
///
/// ```
/// use accelerant::{DType, HostTensor, verify::{Difference, Tolerance}};
///
/// let [got, expected] = [[1.0f32, 2.01], [1.0, 2.0]].map(|values| HostTensor::from(ndarray::Array1::from_iter(values)));
/// let difference = Difference::between(&got, &expected, Tolerance::of(DType::F32))?;
/// println!("{difference}");
/// assert!(difference.is_within());
/// assert!(!Difference::between(&got, &expected, Tolerance { absolute: 1e-6, relative: 1e-6 })?.is_within());
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The largest difference.
    pub absolute: f64,
    /// The largest relative difference, among expected values that are not 0.
    pub relative: f64,
    /// The cosine similarity of both tensors: 1 if one tensor is a multiple of the other.
    pub cosine: f64,
    /// The fraction of rows along the last axis with the same argmax. `None` for tensors of rank 0 and rows of one
    /// value.
    pub top1: Option<f64>,
    /// The number of values beyond the tolerance.
    pub off: usize,
    /// The number of compared values.
    pub values: usize,
    /// The index of the worst value, counted along all axes in row-major order.
    pub worst: usize,
    /// The tolerance.
    pub tolerance: Tolerance,
    #[serde(skip)]
    sums: Sums,
}

/// What more samples add to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    products: f64,
    squares: [f64; 2],
    rows: usize,
    same_rows: usize,
    /// By how much the worst value is beyond the tolerance.
    excess: f64,
}

impl Difference {
    /// Compares two tensors of one shape.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for other shapes.
    pub fn between(got: &HostTensor, expected: &HostTensor, tolerance: Tolerance) -> Result<Self> {
        if got.shape() != expected.shape() {
            let text = format!("{:?} is compared with {:?}", got.shape(), expected.shape());
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        let row = got.shape().last().copied().unwrap_or(1);
        let (got, expected) = (numbers(got)?, numbers(expected)?);
        let mut found = Self {
            absolute: 0.0,
            relative: 0.0,
            cosine: 1.0,
            top1: None,
            off: 0,
            values: got.len(),
            worst: 0,
            tolerance,
            sums: Sums { excess: f64::NEG_INFINITY, ..Sums::default() },
        };
        for (i, (&x, &y)) in got.iter().zip(&expected).enumerate() {
            let off = distance(x, y);
            found.absolute = found.absolute.max(off);
            if y != 0.0 && y.is_finite() {
                found.relative = found.relative.max(off / y.abs());
            }
            let allowed = match y.is_finite() {
                true => tolerance.absolute + tolerance.relative * y.abs(),
                false => 0.0,
            };
            found.off += usize::from(off > allowed);
            if off - allowed > found.sums.excess {
                found.sums.excess = off - allowed;
                found.worst = i;
            }
            if x.is_finite() && y.is_finite() {
                found.sums.products += x * y;
                found.sums.squares[0] += x * x;
                found.sums.squares[1] += y * y;
            }
        }
        if row > 1 {
            let rows = got.chunks_exact(row).zip(expected.chunks_exact(row));
            found.sums.rows = rows.len();
            found.sums.same_rows = rows.filter(|(x, y)| largest(x) == largest(y)).count();
        }
        found.conclude();
        Ok(found)
    }

    /// Whether all values are within the tolerance.
    pub fn is_within(&self) -> bool {
        self.off == 0
    }

    /// Adds another sample of the same tensor.
    pub(super) fn add(&mut self, other: &Self) {
        self.absolute = self.absolute.max(other.absolute);
        self.relative = self.relative.max(other.relative);
        self.off += other.off;
        self.values += other.values;
        if other.sums.excess > self.sums.excess {
            self.sums.excess = other.sums.excess;
            self.worst = other.worst;
        }
        let [x, y] = &mut self.sums.squares;
        *x += other.sums.squares[0];
        *y += other.sums.squares[1];
        self.sums.products += other.sums.products;
        self.sums.rows += other.sums.rows;
        self.sums.same_rows += other.sums.same_rows;
        self.conclude();
    }

    fn conclude(&mut self) {
        let Sums { products, squares: [x, y], rows, same_rows, .. } = self.sums;
        self.cosine = match (x == 0.0, y == 0.0) {
            (true, true) => 1.0,
            (false, false) => (products / (x.sqrt() * y.sqrt())).clamp(-1.0, 1.0),
            _ => 0.0,
        };
        self.top1 = (rows > 0).then(|| same_rows as f64 / rows as f64);
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { absolute, relative, cosine, off, values, worst, .. } = self;
        write!(f, "off by {absolute:.3e} (relative {relative:.3e}), cosine {cosine:.6}")?;
        if let Some(top1) = self.top1 {
            write!(f, ", top-1 {:.2} %", 100.0 * top1)?;
        }
        match off {
            0 => write!(f, ", within its tolerance"),
            off => {
                write!(f, ", {off} of {values} values beyond the tolerance, the worst at {worst}")
            }
        }
    }
}

fn distance(x: f64, y: f64) -> f64 {
    match (x.is_nan(), y.is_nan()) {
        (true, true) => 0.0,
        (false, false) if x == y => 0.0,
        (false, false) => (x - y).abs(),
        _ => f64::INFINITY,
    }
}

/// The place of the largest value; the first of equal ones.
fn largest(row: &[f64]) -> usize {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (0..row.len()).reduce(better).unwrap_or(0)
}

/// The values of any tensor as 64-bit floats.
fn numbers(tensor: &HostTensor) -> Result<Vec<f64>> {
    fn cast<T: Element>(tensor: &HostTensor, f: impl Fn(T) -> f64) -> Result<Vec<f64>> {
        Ok(tensor.view::<T>()?.iter().map(|&value| f(value)).collect())
    }
    match tensor.dtype() {
        DType::F32 => cast::<f32>(tensor, f64::from),
        DType::F64 => cast::<f64>(tensor, |v| v),
        DType::F16 => cast::<f16>(tensor, f16::to_f64),
        DType::BF16 => cast::<bf16>(tensor, bf16::to_f64),
        DType::I8 => cast::<i8>(tensor, f64::from),
        DType::I16 => cast::<i16>(tensor, f64::from),
        DType::I32 => cast::<i32>(tensor, f64::from),
        DType::I64 => cast::<i64>(tensor, |v| v as f64),
        DType::U8 => cast::<u8>(tensor, f64::from),
        DType::U16 => cast::<u16>(tensor, f64::from),
        DType::U32 => cast::<u32>(tensor, f64::from),
        DType::U64 => cast::<u64>(tensor, |v| v as f64),
        DType::Bool => cast::<bool>(tensor, |v| f64::from(u8::from(v))),
    }
}

/// The same numbers in the type that another runtime takes for them, as the frameworks' modules hand them over.
///
/// # Errors
/// [`ErrorKind::DTypeMismatch`] between floats, integers and bools.
pub(super) fn in_type(tensor: &HostTensor, dtype: DType) -> Result<HostTensor> {
    let from = tensor.dtype();
    if from == dtype {
        return Ok(tensor.clone());
    }
    let shape = tensor.shape();
    if from.is_int() && dtype.is_int() {
        // Through 64-bit floats integers would lose bits.
        return tensor.convert(dtype);
    }
    let mismatch = || {
        let text = format!("{from} is not handed over as {dtype}");
        Err(Error::new(ErrorKind::DTypeMismatch, text))
    };
    if from.is_int() || from == DType::Bool {
        return mismatch();
    }
    let values = numbers(tensor)?.into_iter();
    match dtype {
        DType::F32 => HostTensor::from_vec(shape, values.map(|v| v as f32).collect()),
        DType::F64 => HostTensor::from_vec(shape, values.collect()),
        DType::F16 => HostTensor::from_vec(shape, values.map(f16::from_f64).collect()),
        DType::BF16 => HostTensor::from_vec(shape, values.map(bf16::from_f64).collect()),
        _ => mismatch(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> HostTensor {
        HostTensor::from_vec([values.len() / 2, 2], values.to_vec()).unwrap()
    }

    const TIGHT: Tolerance = Tolerance { absolute: 0.1, relative: 0.01 };

    #[test]
    fn the_largest_differences_are_found() {
        let expected = tensor(&[1.0, 2.0, 0.0, 100.0]);
        let got = tensor(&[1.0, 2.5, 0.05, 101.0]);
        let found = Difference::between(&got, &expected, TIGHT).unwrap();
        assert_eq!((found.absolute, found.relative), (1.0, 0.25));
        // 0.05 is within the absolute part, 1 of 100 within both.
        assert_eq!((found.off, found.worst, found.values), (1, 1, 4));
        assert_eq!(found.top1, Some(1.0));
        assert!(found.cosine > 0.999 && found.cosine < 1.0 && !found.is_within());
        let same = Difference::between(&got, &got, TIGHT).unwrap();
        assert!(same.is_within() && same.absolute == 0.0 && (same.cosine - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rows_whose_largest_value_moved_and_opposite_signs_are_found() {
        let expected = tensor(&[1.0, 2.0, 4.0, 3.0]);
        let found = Difference::between(&tensor(&[2.0, 1.0, 4.0, 3.0]), &expected, TIGHT).unwrap();
        assert_eq!(found.top1, Some(0.5));
        let opposite = tensor(&[-1.0, -2.0, -4.0, -3.0]);
        let found = Difference::between(&opposite, &expected, TIGHT).unwrap();
        assert!((found.cosine + 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_or_infinite_is_the_same_or_infinitely_off() {
        let special = tensor(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0]);
        assert!(Difference::between(&special, &special, TIGHT).unwrap().is_within());
        let plain = tensor(&[0.0; 4]);
        for (got, expected) in [(&special, &plain), (&plain, &special)] {
            let found = Difference::between(got, expected, TIGHT).unwrap();
            assert_eq!((found.absolute, found.off), (f64::INFINITY, 3));
        }
    }

    #[test]
    fn samples_add_up() {
        let (zero, one) = (tensor(&[0.0, 1.0, 0.0, 1.0]), tensor(&[1.0, 0.0, 0.0, 1.0]));
        let mut all = Difference::between(&zero, &zero, TIGHT).unwrap();
        all.add(&Difference::between(&one, &zero, TIGHT).unwrap());
        assert_eq!((all.absolute, all.off, all.values, all.top1), (1.0, 2, 8, Some(0.75)));
        assert_eq!(all.worst, 0);
        // Products 2 + 1, squares 4 on both sides.
        assert!((all.cosine - 0.75).abs() < 1e-12, "{}", all.cosine);
    }

    #[test]
    fn other_shapes_are_refused_and_integers_keep_their_bits() {
        let row = HostTensor::from_vec([4], vec![0f32; 4]).unwrap();
        let error = Difference::between(&row, &tensor(&[0.0; 4]), TIGHT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
        let large = HostTensor::from_vec([1], vec![u64::MAX - 1]).unwrap();
        let back = in_type(&in_type(&large, DType::I64).unwrap(), DType::U64).unwrap();
        assert_eq!(back, large);
        assert_eq!(in_type(&row, DType::I32).unwrap_err().kind(), ErrorKind::DTypeMismatch);
    }
}
