//! Convolution and pooling of a traced tensor: candle's checks with candle's texts, then one step
//! on the tape.

use candle_core::{Error, Result};

use super::tape::Op;
use super::tensor_ops::TensorOps;
use super::traced::Traced;

impl Traced {
    /// A convolution; `numbers` are padding, stride, dilation and groups.
    pub(super) fn conv(
        &self,
        kernel: &Self,
        bias: Option<&Self>,
        numbers: [usize; 4],
    ) -> Result<Self> {
        let [padding, stride, dilation, groups] = numbers;
        if self.rank() != kernel.rank() || kernel.rank() < 3 {
            let (expected, got) = (kernel.rank().max(3), self.rank());
            return Err(Error::UnexpectedNumberOfDims {
                expected,
                got,
                shape: self.shape().clone(),
            }
            .bt());
        }
        let (c_in, c_in_k) = (self.dims()[1], kernel.dims()[1]);
        let (inp_shape, k_shape) = (self.shape().clone(), kernel.shape().clone());
        let wrong = |msg| {
            let (inp_shape, k_shape) = (inp_shape.clone(), k_shape.clone());
            Err(Error::Conv1dInvalidArgs { inp_shape, k_shape, padding, stride, msg }.bt())
        };
        if c_in != c_in_k * groups && self.rank() == 3 {
            return wrong("the number of in-channels on the input doesn't match the kernel size");
        }
        if c_in != c_in_k * groups {
            let op = "conv2d";
            return Err(Error::ShapeMismatchBinaryOp { lhs: inp_shape, rhs: k_shape, op }.context(format!(
                "in_channel mismatch between input ({c_in}, groups {groups}) and kernel ({c_in_k})"
            )));
        }
        self.same_dtype(kernel, "conv")?;
        let mut dims = vec![self.dims()[0], kernel.dims()[0]];
        for (&size, &k) in self.dims()[2..].iter().zip(&kernel.dims()[2..]) {
            let reach = dilation * (k.max(1) - 1) + 1;
            if size + 2 * padding < reach || stride == 0 {
                return wrong("the kernel is larger than the padded input");
            }
            dims.push((size + 2 * padding - reach) / stride + 1);
        }
        let mut inputs = vec![self, kernel];
        if let Some(bias) = bias {
            self.same_dtype(bias, "conv")?;
            inputs.push(bias);
        }
        let op = Op::Conv { padding, stride, dilation, groups };
        Ok(Self::record(op, &inputs, self.dtype(), dims))
    }

    pub(super) fn pool(
        &self,
        max: bool,
        kernel: (usize, usize),
        stride: (usize, usize),
    ) -> Result<Self> {
        let (n, c, h, w) = self.dims4()?;
        if h < kernel.0 || w < kernel.1 {
            candle_core::bail!("kernel-size {kernel:?} is larger than the input size {h},{w}")
        }
        let dims = vec![n, c, (h - kernel.0) / stride.0 + 1, (w - kernel.1) / stride.1 + 1];
        let op = Op::Pool { max, kernel: kernel.into(), stride: stride.into() };
        Ok(Self::record(op, &[self], self.dtype(), dims))
    }
}
