//! Samples that are looked at before anything is built: whether there are enough, and whether they say anything.

use std::iter::Peekable;

use super::{check, counted, enough};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Signature};
use crate::tensor::HostTensor;

/// The most samples that are kept for this.
const LOOKED_AHEAD: usize = 64;

/// A batch with its place.
pub(super) type Placed = (usize, Vec<HostTensor>);

/// The first batches, with `least` samples if there are as many.
///
/// # Errors
/// Samples that do not fit or have a NaN; and where all samples are among these, too few, and samples that are all the same.
pub(super) fn first(
    signature: &Signature,
    batches: &mut Peekable<impl Iterator<Item = Placed>>,
    least: usize,
) -> Result<Vec<Placed>> {
    let (mut ready, mut samples, mut constant) = (Vec::new(), 0, Constant::default());
    while samples < least.clamp(1, LOOKED_AHEAD) {
        let Some((place, batch)) = batches.next() else { break };
        check(signature, &batch).map_err(|e| e.at_item(place))?;
        for (spec, tensor) in signature.inputs.iter().zip(&batch) {
            let is_none = |value: &f32| value.is_nan();
            if spec.dtype == DType::F32 && tensor.view::<f32>()?.iter().any(is_none) {
                let text = "a value is not a number (NaN)";
                let error = Error::new(ErrorKind::InvalidArgument, text);
                return Err(error.on_tensor(&*spec.name).at_item(place));
            }
        }
        constant.add(&batch);
        samples += counted(&batch);
        ready.push((place, batch));
    }
    if ready.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "there are no samples"));
    }
    if batches.peek().is_none() {
        enough(samples, least)?;
        constant.expect_not(signature)?;
    }
    Ok(ready)
}

/// Whether each input is one and the same number in all samples.
#[derive(Default)]
pub(super) struct Constant {
    /// The first element of each input.
    first: Vec<Option<Vec<u8>>>,
    varies: bool,
}

impl Constant {
    pub(super) fn add(&mut self, batch: &[HostTensor]) {
        if self.varies {
            return;
        }
        self.first.resize(batch.len(), None);
        for (first, tensor) in self.first.iter_mut().zip(batch) {
            let elements: usize = tensor.shape().iter().product();
            let bytes = tensor.bytes();
            let mut each = bytes.chunks((bytes.len() / elements.max(1)).max(1));
            let Some(one) = each.clone().next() else { continue };
            let one = first.get_or_insert_with(|| one.to_vec());
            if each.any(|element| element != one.as_slice()) {
                self.varies = true;
                return;
            }
        }
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where no input varies.
    pub(super) fn expect_not(&self, signature: &Signature) -> Result<()> {
        if self.varies || self.first.is_empty() {
            return Ok(());
        }
        let text = "all samples are one and the same number";
        let name = signature.inputs.first().map_or("", |spec| spec.name.as_str());
        Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(name))
    }
}
