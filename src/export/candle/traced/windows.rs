//! Matrix products, convolution, pooling and up-sampling of a traced tensor: candle's checks with
//! candle's texts, then one step on the tape.

use candle_core::conv::CudnnFwdAlgo;
use candle_core::{Error, Result, Shape, Tensor, ToUsize2};

use super::{Traced, known};
use crate::export::candle::tape::Op;
use crate::export::candle::tensor_ops::TensorOps;

impl Traced {
    fn product(&self, rhs: &Self, batch: &[usize]) -> Result<Self> {
        self.same_dtype(rhs, "matmul")?;
        let (m, n) = (self.dims()[self.rank() - 2], rhs.dims()[rhs.rank() - 1]);
        let dims = [batch, &[m, n]].concat();
        Ok(Self::record(Op::MatMul, &[self, rhs], self.dtype(), dims))
    }

    pub(super) fn matmul(&self, rhs: &Self) -> Result<Self> {
        let xs = self;
        known!(Tensor::matmul(xs, rhs); xs, rhs);
        let (a, b) = (self.dims(), rhs.dims());
        let rank = a.len();
        let fits = rank >= 2
            && b.len() == rank
            && a[rank - 1] == b[rank - 2]
            && a[..rank - 2] == b[..rank - 2];
        if !fits {
            let (lhs, rhs) = (self.shape().clone(), rhs.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "matmul" }.bt());
        }
        self.product(rhs, &a[..rank - 2])
    }

    pub(super) fn broadcast_matmul(&self, rhs: &Self) -> Result<Self> {
        let xs = self;
        known!(Tensor::broadcast_matmul(xs, rhs); xs, rhs);
        let (a, b) = (self.shape(), rhs.shape());
        if a.rank() < 2 || b.rank() < 2 {
            candle_core::bail!("only 2d matrixes are supported {a:?} {b:?}")
        }
        if a.dims()[a.rank() - 1] != b.dims()[b.rank() - 2] {
            candle_core::bail!("different inner dimensions in broadcast matmul {a:?} {b:?}")
        }
        let batch = |shape: &Shape| Shape::from(&shape.dims()[..shape.rank() - 2]);
        let batch = batch(a).broadcast_shape_binary_op(&batch(b), "broadcast_matmul")?;
        self.product(rhs, batch.dims())
    }

    pub(super) fn mv(&self, rhs: &Self) -> Result<Self> {
        let fits = self.rank() == 2 && rhs.rank() == 1 && self.dims()[1] == rhs.dims()[0];
        if !fits {
            let (lhs, rhs) = (self.shape().clone(), rhs.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "mv" });
        }
        self.matmul(&rhs.unsqueeze(1)?)?.squeeze(1)
    }

    pub(super) fn dot(&self, rhs: &Self) -> Result<Self> {
        if self.rank() != 1 || rhs.rank() != 1 {
            let (lhs, rhs) = (self.shape().clone(), rhs.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "dot" });
        }
        self.mul(rhs)?.sum_all()
    }

    /// A convolution; `numbers` are padding, stride, dilation and groups.
    pub(in crate::export::candle) fn conv(
        &self,
        kernel: &Self,
        bias: Option<&Self>,
        numbers: [usize; 4],
    ) -> Result<Self> {
        let [padding, stride, dilation, groups] = numbers;
        self.spatial(kernel)?;
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
            candle_core::bail!(
                "in_channel mismatch between input ({c_in}, groups {groups}) and kernel ({c_in_k})"
            )
        }
        let mut dims = vec![self.dims()[0], kernel.dims()[0]];
        for (&size, &k) in self.dims()[2..].iter().zip(&kernel.dims()[2..]) {
            let reach = dilation * (k.max(1) - 1) + 1;
            if size + 2 * padding < reach || stride == 0 {
                return wrong("the kernel is larger than the padded input");
            }
            dims.push((size + 2 * padding - reach) / stride + 1);
        }
        self.filtered(Op::Conv { padding, stride, dilation, groups }, kernel, bias, dims)
    }

    /// A transposed convolution; `numbers` are padding, output padding, stride, dilation and
    /// groups.
    pub(in crate::export::candle) fn conv_transpose(
        &self,
        kernel: &Self,
        bias: Option<&Self>,
        numbers: [usize; 5],
    ) -> Result<Self> {
        let [padding, output_padding, stride, dilation, groups] = numbers;
        self.spatial(kernel)?;
        let (c_in, c_in_k) = (self.dims()[1], kernel.dims()[0]);
        if c_in != c_in_k {
            candle_core::bail!("in_channel mismatch between input ({c_in}) and kernel ({c_in_k})")
        }
        if groups == 0 || c_in % groups != 0 {
            candle_core::bail!("in_channel {c_in} is not divisible by the number of groups")
        }
        let mut dims = vec![self.dims()[0], kernel.dims()[1] * groups];
        for (&size, &k) in self.dims()[2..].iter().zip(&kernel.dims()[2..]) {
            let whole =
                size.max(1) * stride - stride + dilation * (k.max(1) - 1) + output_padding + 1;
            if size == 0 || whole <= 2 * padding {
                candle_core::bail!(
                    "conv-transpose: padding {padding} leaves nothing of {:?}",
                    self.shape()
                )
            }
            dims.push(whole - 2 * padding);
        }
        let op = Op::ConvTranspose { padding, output_padding, stride, dilation, groups };
        self.filtered(op, kernel, bias, dims)
    }

    fn spatial(&self, kernel: &Self) -> Result<()> {
        if self.rank() == kernel.rank() && kernel.rank() >= 3 {
            return Ok(());
        }
        let (expected, got, shape) = (kernel.rank().max(3), self.rank(), self.shape().clone());
        Err(Error::UnexpectedNumberOfDims { expected, got, shape }.bt())
    }

    fn filtered(
        &self,
        op: Op,
        kernel: &Self,
        bias: Option<&Self>,
        dims: Vec<usize>,
    ) -> Result<Self> {
        let mut inputs = vec![self, kernel];
        inputs.extend(bias);
        for input in &inputs[1..] {
            self.same_dtype(input, "conv")?;
        }
        Ok(Self::record(op, &inputs, self.dtype(), dims))
    }

    pub(super) fn conv1d(
        &self,
        kernel: &Self,
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    ) -> Result<Self> {
        let xs = self;
        known!(Tensor::conv1d(xs, kernel, padding, stride, dilation, groups); xs, kernel);
        kernel.dims3()?;
        self.conv(kernel, None, [padding, stride, dilation, groups])
    }

    /// The algorithm is cuDNN's, which no export has.
    pub(super) fn conv1d_with_algo(
        &self,
        kernel: &Self,
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
        _algo: Option<CudnnFwdAlgo>,
    ) -> Result<Self> {
        self.conv1d(kernel, padding, stride, dilation, groups)
    }

    pub(super) fn conv2d(
        &self,
        kernel: &Self,
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    ) -> Result<Self> {
        let xs = self;
        known!(Tensor::conv2d(xs, kernel, padding, stride, dilation, groups); xs, kernel);
        kernel.dims4()?;
        self.conv(kernel, None, [padding, stride, dilation, groups])
    }

    pub(super) fn conv2d_with_algo(
        &self,
        kernel: &Self,
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
        _algo: Option<CudnnFwdAlgo>,
    ) -> Result<Self> {
        self.conv2d(kernel, padding, stride, dilation, groups)
    }

    pub(super) fn conv_transpose1d(
        &self,
        kernel: &Self,
        padding: usize,
        output_padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    ) -> Result<Self> {
        let (xs, extra) = (self, output_padding);
        known!(Tensor::conv_transpose1d(xs, kernel, padding, extra, stride, dilation, groups);
            xs, kernel);
        kernel.dims3()?;
        self.conv_transpose(kernel, None, [padding, output_padding, stride, dilation, groups])
    }

    pub(super) fn conv_transpose2d(
        &self,
        kernel: &Self,
        padding: usize,
        output_padding: usize,
        stride: usize,
        dilation: usize,
    ) -> Result<Self> {
        let (xs, extra) = (self, output_padding);
        known!(Tensor::conv_transpose2d(xs, kernel, padding, extra, stride, dilation); xs, kernel);
        kernel.dims4()?;
        self.conv_transpose(kernel, None, [padding, output_padding, stride, dilation, 1])
    }

    fn pool(&self, max: bool, kernel: (usize, usize), stride: (usize, usize)) -> Result<Self> {
        let (n, c, h, w) = self.dims4()?;
        if h < kernel.0 || w < kernel.1 {
            candle_core::bail!("kernel-size {kernel:?} is larger than the input size {h},{w}")
        }
        if stride.0 == 0 || stride.1 == 0 {
            candle_core::bail!("pooling: the stride {stride:?} is zero")
        }
        let dims = vec![n, c, (h - kernel.0) / stride.0 + 1, (w - kernel.1) / stride.1 + 1];
        let op = Op::Pool { max, kernel: kernel.into(), stride: stride.into() };
        Ok(Self::record(op, &[self], self.dtype(), dims))
    }

    pub(super) fn avg_pool2d<S: ToUsize2>(&self, sz: S) -> Result<Self> {
        let sz = sz.to_usize2();
        self.avg_pool2d_with_stride(sz, sz)
    }

    pub(super) fn avg_pool2d_with_stride<S: ToUsize2>(
        &self,
        kernel_size: S,
        stride: S,
    ) -> Result<Self> {
        let (kernel, stride) = (kernel_size.to_usize2(), stride.to_usize2());
        let xs = self;
        known!(Tensor::avg_pool2d_with_stride(xs, kernel, stride); xs);
        self.pool(false, kernel, stride)
    }

    pub(super) fn max_pool2d<S: ToUsize2>(&self, sz: S) -> Result<Self> {
        let sz = sz.to_usize2();
        self.max_pool2d_with_stride(sz, sz)
    }

    pub(super) fn max_pool2d_with_stride<S: ToUsize2>(
        &self,
        kernel_size: S,
        stride: S,
    ) -> Result<Self> {
        let (kernel, stride) = (kernel_size.to_usize2(), stride.to_usize2());
        let xs = self;
        known!(Tensor::max_pool2d_with_stride(xs, kernel, stride); xs);
        self.pool(true, kernel, stride)
    }

    pub(super) fn interpolate1d(&self, target_size: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::interpolate1d(xs, target_size); xs);
        let (n, c, _) = self.dims3()?;
        let dims = vec![n, c, target_size];
        Ok(Self::record(Op::UpsampleNearest, &[self], self.dtype(), dims))
    }

    pub(super) fn upsample_nearest1d(&self, target_size: usize) -> Result<Self> {
        self.interpolate1d(target_size)
    }

    pub(super) fn interpolate2d(&self, target_h: usize, target_w: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::interpolate2d(xs, target_h, target_w); xs);
        let (n, c, _, _) = self.dims4()?;
        let dims = vec![n, c, target_h, target_w];
        Ok(Self::record(Op::UpsampleNearest, &[self], self.dtype(), dims))
    }

    pub(super) fn upsample_nearest2d(&self, target_h: usize, target_w: usize) -> Result<Self> {
        self.interpolate2d(target_h, target_w)
    }

    pub(super) fn upsample_bilinear2d(
        &self,
        target_h: usize,
        target_w: usize,
        align_corners: bool,
    ) -> Result<Self> {
        let xs = self;
        known!(Tensor::upsample_bilinear2d(xs, target_h, target_w, align_corners); xs);
        let (n, c, _, _) = self.dims4()?;
        let op = Op::UpsampleBilinear { align_corners, scales: None };
        Ok(Self::record(op, &[self], self.dtype(), vec![n, c, target_h, target_w]))
    }

    pub(super) fn upsample_bilinear2d_with_scale(
        &self,
        scale_h: f64,
        scale_w: f64,
        align_corners: bool,
    ) -> Result<Self> {
        let xs = self;
        known!(Tensor::upsample_bilinear2d_with_scale(xs, scale_h, scale_w, align_corners); xs);
        let (n, c, h, w) = self.dims4()?;
        let size = |size: usize, scale: f64| (size as f64 * scale).floor() as usize;
        let dims = vec![n, c, size(h, scale_h), size(w, scale_w)];
        if dims[2..] == [h, w] {
            return Ok(self.clone());
        }
        let op = Op::UpsampleBilinear { align_corners, scales: Some([scale_h, scale_w]) };
        Ok(Self::record(op, &[self], self.dtype(), dims))
    }
}
