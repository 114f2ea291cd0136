//! Softmax and top-k, for the outputs of a classifier.

use half::{bf16, f16};
use ndarray::{ArrayBase, ArrayD, Axis, CowArray, Data, Dimension, IxDyn};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::{Element, HostTensor};

/// Scores as 32-bit floats: a [`HostTensor`] of a float type, or an ndarray array or view of a type that becomes `f32`
/// without loss, such as `f32`, [`struct@f16`] and [`struct@bf16`].
pub trait Scores {
    /// The scores. Scores of type `f64` are rounded.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for integers and bools.
    fn scores(&self) -> Result<CowArray<'_, f32, IxDyn>>;
}

impl Scores for HostTensor {
    fn scores(&self) -> Result<CowArray<'_, f32, IxDyn>> {
        fn turned<T: Element>(
            tensor: &HostTensor,
            f: impl Fn(T) -> f32,
        ) -> Result<CowArray<'_, f32, IxDyn>> {
            Ok(tensor.view()?.mapv(f).into())
        }
        match self.dtype() {
            DType::F32 => self.view(),
            DType::F16 => turned(self, f16::to_f32),
            DType::BF16 => turned(self, bf16::to_f32),
            DType::F64 => turned(self, |value: f64| value as f32),
            other => Err(Error::new(
                ErrorKind::DTypeMismatch,
                format!("scores are of a float type, these are {other}"),
            )),
        }
    }
}

impl<A, S, D> Scores for ArrayBase<S, D>
where
    A: Copy + Into<f32>,
    S: Data<Elem = A>,
    D: Dimension,
{
    fn scores(&self) -> Result<CowArray<'_, f32, IxDyn>> {
        Ok(self.view().into_dyn().mapv(Into::into).into())
    }
}

/// Probabilities along an axis: `exp(x - max) / sum(exp(x - max))`, in 32-bit floats, of the same shape.
///
/// The largest score of a line is subtracted first, so that no exponential overflows. A line with a NaN or +∞, or of -∞
/// alone, is NaN.
///
/// ```
/// use accelerant::pipeline::softmax;
/// let probabilities = softmax(&ndarray::array![1000.0f32, 1000.0], 0)?;
/// assert_eq!(probabilities, ndarray::array![0.5, 0.5].into_dyn());
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] when there is no such axis; those of [`Scores::scores`].
pub fn softmax(scores: &(impl Scores + ?Sized), axis: usize) -> Result<ArrayD<f32>> {
    let mut scores = scores.scores().map_err(|e| e.in_operation("softmax"))?.into_owned();
    if axis >= scores.ndim() {
        let text = format!("the scores are {:?}", scores.shape());
        return Err(Error::new(ErrorKind::InvalidArgument, text)
            .in_operation("softmax")
            .at_axis(axis));
    }
    for mut line in scores.lanes_mut(Axis(axis)) {
        let largest = line.fold(f32::NEG_INFINITY, |largest, &x| largest.max(x));
        line.mapv_inplace(|x| (x - largest).exp());
        let sum = line.sum();
        line.mapv_inplace(|x| x / sum);
    }
    Ok(scores)
}

/// The places and values of the `k` largest of `[n]` scores, the largest first. A larger `k` gives all `n`.
///
/// Of equal scores the first comes first. NaN counts as less than any number.
///
/// ```
/// use accelerant::pipeline::top_k;
/// assert_eq!(top_k(&ndarray::array![0.5f32, 2.0, 0.5], 2)?, [(1, 2.0), (0, 0.5)]);
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::ShapeMismatch`] when the scores have more or fewer axes than one; those of
/// [`Scores::scores`].
pub fn top_k(scores: &(impl Scores + ?Sized), k: usize) -> Result<Vec<(usize, f32)>> {
    let scores = scores.scores().map_err(|e| e.in_operation("top_k"))?;
    if scores.ndim() != 1 {
        let text = format!("expected scores of rank 1, got {:?}", scores.shape());
        return Err(Error::new(ErrorKind::ShapeMismatch, text).in_operation("top_k"));
    }
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    let before = |(i, x): &(usize, f32), (j, y): &(usize, f32)| {
        let by_value = y.partial_cmp(x).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()));
        by_value.then(i.cmp(j))
    };
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k, before);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(before);
    Ok(ranked)
}
