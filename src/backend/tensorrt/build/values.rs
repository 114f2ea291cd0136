//! Inputs with values that decide shapes, such as the sizes of a `Reshape`: the range of values that an engine is built for,
//! and the values of a run, which TensorRT needs in host memory.

use crate::backend::tensorrt::ffi::ProfileShape;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, TensorSpec};

/// The most elements that such an input may have.
const MOST: usize = 64;

/// The values of an input that an engine is built for, an element each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValueRange {
    min: Vec<i64>,
    opt: Vec<i64>,
    max: Vec<i64>,
    /// Taken from samples, of which nobody knows whether they decide anything.
    seen: bool,
}

fn invalid(text: impl Into<String>, input: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
        .in_operation("optimization profiles")
        .on_tensor(input)
}

impl ValueRange {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when not `min <= opt <= max` at each element.
    pub(crate) fn new(input: &str, min: Vec<i64>, opt: Vec<i64>, max: Vec<i64>) -> Result<Self> {
        if min.len() != opt.len() || opt.len() != max.len() {
            let text = format!("{min:?}, {opt:?} and {max:?} are of different lengths");
            return Err(invalid(text, input));
        }
        let elements = min.iter().zip(&opt).zip(&max);
        for (i, ((min, opt), max)) in elements.enumerate() {
            if !(min <= opt && opt <= max) {
                let text = format!("the values must be min <= opt <= max, not {min}, {opt}, {max}");
                return Err(invalid(text, input).at_axis(i));
            }
        }
        Ok(Self { min, opt, max, seen: false })
    }

    /// From the smallest to the largest of each element, tuned for one of the samples; none for samples
    /// of different lengths.
    pub(crate) fn of_samples<'a>(
        mut samples: impl Iterator<Item = &'a Vec<i64>>,
        opt: &[i64],
    ) -> Option<Self> {
        let (mut min, mut max) = (opt.to_vec(), opt.to_vec());
        let same = samples.all(|sample| {
            for ((&value, min), max) in sample.iter().zip(&mut min).zip(&mut max) {
                (*min, *max) = (value.min(*min), value.max(*max));
            }
            sample.len() == opt.len()
        });
        same.then(|| Self { min, opt: opt.to_vec(), max, seen: true })
    }

    /// Refuses a range that somebody stated of an input whose values decide nothing.
    pub(crate) fn check_use(&self, input: &str, deciding: &[&TensorSpec]) -> Result<()> {
        if self.seen || deciding.iter().any(|spec| spec.name == input) {
            return Ok(());
        }
        let names: Vec<_> = deciding.iter().map(|spec| spec.name.as_str()).collect();
        Err(invalid(
            match names.as_slice() {
                [] => {
                    "there is no input of this name whose values decide shapes, and no other".into()
                }
                there => format!(
                    "there is no input of this name whose values decide shapes; there are: {}",
                    there.join(", ")
                ),
            },
            input,
        ))
    }
}

/// Whether TensorRT could take shapes from this input: a few integers.
pub(crate) fn may_decide(spec: &TensorSpec) -> bool {
    matches!(spec.dtype, DType::I32 | DType::I64) && !spec.shape.is_dynamic() && count(spec) <= MOST
}

/// The number of elements of an input of fixed sizes.
fn count(spec: &TensorSpec) -> usize {
    spec.shape.dims().iter().map(|dim| dim.max()).fold(1, usize::saturating_mul)
}

/// What the builder is told of the values of an input that decides shapes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] when their range is not known or has another number of elements.
pub(crate) fn told(spec: &TensorSpec, range: Option<&ValueRange>) -> Result<ProfileShape> {
    let count = count(spec);
    match range {
        Some(range) if range.min.len() == count => Ok(ProfileShape {
            name: spec.name.clone(),
            of_values: true,
            min: range.min.clone(),
            opt: range.opt.clone(),
            max: range.max.clone(),
        }),
        Some(range) => {
            let given = range.min.len();
            Err(invalid(
                format!("a range of {given} values is given, there are {count}"),
                &spec.name,
            ))
        }
        None => Err(invalid(
            "the values of this input decide shapes, and TensorRT plans for a range of them: state it \
             with `Profiles::values`, or give samples to `Profiles::from_inputs`",
            &spec.name,
        )),
    }
}

/// Checks that TensorRT can take shapes from this input.
///
/// # Errors
/// [`ErrorKind::UnsupportedOperation`].
pub(crate) fn check(spec: &TensorSpec) -> Result<()> {
    if may_decide(spec) {
        return Ok(());
    }
    let text = format!(
        "the values of this input decide shapes; TensorRT takes them from up to {MOST} integers of \
         32 or 64 bits, not from {} {}",
        spec.dtype, spec.shape
    );
    Err(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(&spec.name))
}

/// The integers of a tensor; none for other types.
pub(crate) fn integers(dtype: DType, bytes: &[u8]) -> Option<Vec<i64>> {
    match dtype {
        DType::I32 => {
            let numbers = bytes.chunks_exact(4).filter_map(|b| b.try_into().ok());
            Some(numbers.map(|b| i64::from(i32::from_ne_bytes(b))).collect())
        }
        DType::I64 => {
            let numbers = bytes.chunks_exact(8).filter_map(|b| b.try_into().ok());
            Some(numbers.map(i64::from_ne_bytes).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_as_long_as_the_input() {
        let range = |min: &[i64], opt: &[i64], max: &[i64]| {
            ValueRange::new("sizes", min.into(), opt.into(), max.into())
        };
        let spec = TensorSpec::new("sizes", DType::I64, [2usize]);
        let good = range(&[-1, 2], &[-1, 4], &[0, 4]).unwrap();
        let shape = told(&spec, Some(&good)).unwrap();
        assert_eq!((shape.min, shape.opt, shape.max), (vec![-1, 2], vec![-1, 4], vec![0, 4]));
        let bad = range(&[1, 5], &[1, 4], &[1, 6]).unwrap_err();
        assert_eq!((bad.tensor(), bad.axis()), (Some("sizes"), Some(1)));
        assert!(range(&[1], &[1, 4], &[1, 6]).unwrap_err().to_string().contains("lengths"));
        let three = range(&[1; 3], &[1; 3], &[1; 3]).unwrap();
        for (range, said) in [(None, "from_inputs"), (Some(&three), "3 values")] {
            let error = told(&spec, range).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_few_integers_may_decide() {
        let may = |dtype, shape: &[usize]| may_decide(&TensorSpec::new("x", dtype, shape.to_vec()));
        assert!(may(DType::I64, &[64]) && may(DType::I32, &[]) && may(DType::I64, &[8, 8]));
        assert!(!may(DType::I64, &[65]) && !may(DType::F32, &[2]) && !may(DType::Bool, &[2]));
    }
}
