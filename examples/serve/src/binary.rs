//! Triton's binary tensors: JSON of a length that a header tells, and behind it the bytes of the tensors, in order.

use accelerant::{DType, HostTensor};
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;

use crate::fail::{Failure, Result};

pub(crate) const JSON_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// The JSON of a body, and what stands behind it.
///
/// # Errors
/// For a header that is no length, or a length beyond the body.
pub(crate) fn split(headers: &HeaderMap, body: &Bytes) -> Result<(Bytes, Parts)> {
    let mut told = headers.get_all(&JSON_LENGTH).iter();
    let length = match (told.next(), told.next()) {
        (None, _) => body.len(),
        (Some(_), Some(_)) => {
            return Err(Failure::bad(format!("the header {JSON_LENGTH} is there twice")));
        }
        (Some(value), None) => {
            let text = value.to_str().unwrap_or_default();
            // `parse` would take a sign.
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = digits.then(|| text.parse::<usize>().ok()).flatten();
            length.filter(|length| *length <= body.len()).ok_or_else(|| {
                let most = body.len();
                Failure::bad(format!(
                    "the header {JSON_LENGTH} is `{text}`, and the body has {most} bytes"
                ))
            })?
        }
    };
    Ok((body.slice(..length), Parts(body.slice(length..))))
}

/// The bytes that no tensor has taken yet.
pub(crate) struct Parts(Bytes);

impl Parts {
    /// The next tensor.
    pub(crate) fn tensor(
        &mut self,
        size: i64,
        dtype: DType,
        shape: &[usize],
    ) -> Result<HostTensor, String> {
        let left = self.0.len();
        let size = usize::try_from(size).ok().filter(|size| *size <= left).ok_or_else(|| {
            format!("binary_data_size is {size}, and {left} bytes are left of the body")
        })?;
        let bytes = self.0.split_to(size);
        if let (DType::Bool, Some(at)) = (dtype, bytes.iter().position(|byte| *byte > 1)) {
            return Err(format!("value {at} of type BOOL is the byte {}", bytes[at]));
        }
        HostTensor::from_bytes(dtype, shape, bytes).map_err(|e| e.message().to_owned())
    }

    /// # Errors
    /// Where bytes are left that belong to no tensor.
    pub(crate) fn end(self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(Failure::bad(format!(
                "{left} bytes at the end of the body belong to no tensor: each input needs its binary_data_size"
            ))),
        }
    }
}
