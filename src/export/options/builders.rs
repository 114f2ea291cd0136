//! The builders of [`ExportOptions`](super::ExportOptions), written once for each type that holds such options.

/// Gives a type the builders of an export's options. Its arguments are the type, its path in examples, and the field that
/// holds the options; `ExportOptions` itself has no such field.
macro_rules! export_builders {
    ($type:ident, $path:literal $(, $inner:ident)?) => {
        impl $type {
            /// Makes axis 0 of every input the symbolic dimension `batch` with the sizes in `range`. An ONNX
            /// file has [`OnnxModel::bind`](crate::export::OnnxModel::bind).
            ///
            /// # Errors
            /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the range is empty.
            pub fn dynamic_batch(mut self, range: std::ops::RangeInclusive<usize>) -> $crate::Result<Self> {
                self$(.$inner)?.batch = Some($crate::Dim::dynamic("batch", range)?);
                Ok(self)
            }

            /// Makes axis 0 of every input the symbolic dimension `batch` of up to the largest of `sizes`, and tunes for each
            /// of them: TensorRT gets an optimization profile for each alone, and one for all others. TensorRT-RTX is up to
            /// twice as fast with them on compute capability 9.0. It compiles the kernels of each when it is first wanted, that
            /// of the middle one when the module is made. For the middle one are the forms of layers too, of which an engine has
            /// one: [`Dim::with_opt`](crate::Dim::with_opt) chooses another size for them, and a module for each size has the
            /// best for all.
            ///
            /// ```
            #[doc = concat!("# use accelerant::", $path, ";")]
            #[doc = concat!("let options = ", stringify!($type), "::new().batch_sizes([1, 8, 32])?;")]
            /// # Ok::<(), accelerant::Error>(())
            /// ```
            ///
            /// # Errors
            /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) without sizes, and for one of zero.
            pub fn batch_sizes(mut self, sizes: impl IntoIterator<Item = usize>) -> $crate::Result<Self> {
                let sizes: Vec<usize> = sizes.into_iter().collect();
                let most = sizes.iter().copied().max().unwrap_or(1);
                self$(.$inner)?.batch = Some($crate::Dim::dynamic("batch", 1..=most)?.tuned_for(sizes)?);
                Ok(self)
            }

            /// Makes one axis of one input symbolic. The input is given by position or by name; equal names
            /// of dimensions mean equal sizes.
            ///
            /// ```
            #[doc = concat!("use accelerant::{Dim, ", $path, "};")]
            ///
            /// let length = Dim::dynamic("length", 1..=512)?;
            #[doc = concat!("let options = ", stringify!($type), "::new()")]
            ///     .dynamic_axis(0, 1, length.clone())
            ///     .dynamic_axis("mask", 1, length);
            /// # Ok::<(), accelerant::Error>(())
            /// ```
            #[must_use]
            pub fn dynamic_axis(
                mut self,
                input: impl Into<$crate::InputKey>,
                axis: usize,
                dim: impl Into<$crate::Dim>,
            ) -> Self {
                self$(.$inner)?.axes.push((input.into(), axis, dim.into()));
                self
            }

            /// Names the model.
            #[must_use]
            pub fn name(mut self, name: impl Into<String>) -> Self {
                self$(.$inner)?.name = Some(name.into());
                self
            }

            /// Names the inputs, in order, instead of `input_0`, `input_1`, ...
            #[must_use]
            pub fn input_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
                self$(.$inner)?.input_names = names.into_iter().map(Into::into).collect();
                self
            }

            /// Names the outputs, in order, instead of `output_0`, `output_1`, ...
            #[must_use]
            pub fn output_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
                self$(.$inner)?.output_names = names.into_iter().map(Into::into).collect();
                self
            }

            /// Lets TensorRT, which has no 64-bit floats, compute those of a Burn model in 32 bits. The
            /// module still takes and gives 64-bit tensors. Without this, such a model is refused for
            /// TensorRT. Other backends compute in 64 bits either way.
            #[cfg(feature = "burn")]
            #[must_use]
            pub fn narrow_f64(mut self, narrow: bool) -> Self {
                self$(.$inner)?.narrow_f64 = narrow;
                self
            }

            /// Tries a model at every size of its dynamic axes, and where there are several at every
            /// combination, so that no branch on a size can be missed. Otherwise some sizes are chosen. Ranges with
            /// more than 16,384 combinations are refused.
            ///
            /// Of a Burn model the first 64, powers of two and their neighbours, and the ends are tried otherwise, of one
            /// axis at a time, as far as they come to 100,000 captured operations in all. A capture takes about six
            /// microseconds and a kilobyte for each operation: 10,000 of 100 operations took 5.6 seconds and 0.8 GB.
            ///
            /// Of a Candle model all sizes of a range of up to 64 are tried otherwise, and of a longer one the ends,
            /// powers of two with their neighbours, and a few more, of one axis at a time.
            #[cfg(any(feature = "burn", feature = "candle"))]
            #[must_use]
            pub fn probe_every_size(mut self, every: bool) -> Self {
                self$(.$inner)?.every_size = every;
                self
            }

            /// Computes in another precision where the backend can. Inputs and outputs keep their types. A model that is
            /// exported without being optimized is as it was;
            /// [`OnnxModel::with_precision`]($crate::export::OnnxModel::with_precision) gives it another precision.
            /// What became of each layer is in
            /// [`InferenceModule::precision_report`]($crate::InferenceModule::precision_report).
            ///
            /// ```
            /// use accelerant::{OptimizeOptions, precision::Precision};
            ///
            /// let options = OptimizeOptions::new().precision(Precision::Fp16);
            /// ```
            #[must_use]
            pub fn precision(
                mut self,
                precision: impl Into<$crate::precision::PrecisionOptions>,
            ) -> Self {
                self$(.$inner)?.precision = Some(precision.into());
                self
            }

            /// Names the weights of a Candle model after the paths that were recorded while it was made.
            #[cfg(feature = "candle")]
            #[must_use]
            pub fn weight_names(mut self, names: &$crate::candle::WeightNames) -> Self {
                self$(.$inner)?.weight_names = names.clone();
                self
            }
        }
    };
}

pub(crate) use export_builders;
