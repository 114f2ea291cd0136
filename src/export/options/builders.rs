//! The builders of [`ExportOptions`](super::ExportOptions), written once for each type that holds such options.

/// Gives a type the builders of an export's options. Its arguments are the type, its path in examples, and the field that
/// holds the options; `ExportOptions` itself has no such field.
macro_rules! export_builders {
    ($type:ident, $path:literal $(, $inner:ident)?) => {
        impl $type {
            /// Makes axis 0 of every input the symbolic dimension `batch` with the sizes in `range`.
            /// [`OnnxModel::bind`](crate::export::OnnxModel::bind) does the same for an ONNX file.
            /// An empty range is an error of the export.
            #[must_use]
            pub fn dynamic_batch(mut self, range: std::ops::RangeInclusive<usize>) -> Self {
                self$(.$inner)?.batch = Some($crate::export::BatchSizes::Range(range));
                self
            }

            /// Makes axis 0 of every input the symbolic dimension `batch` of up to the largest of `sizes`, and tunes for each
            /// size. TensorRT gets an optimization profile for each of these sizes alone, and one profile for all others.
            /// TensorRT-RTX is up to twice as fast with these profiles on compute capability 9.0.
            ///
            /// The kernels of the middle size are compiled when the module is made, and the kernels of another size when that
            /// size first comes. Layers have one form in an engine, the form for the middle size.
            /// [`Dim::with_opt`](crate::Dim::with_opt) chooses another size for the form. A module for each size has the best
            /// form for each size.
            ///
            /// ```
            #[doc = concat!("# use accelerant::", $path, ";")]
            #[doc = concat!("let options = ", stringify!($type), "::new().batch_sizes([1, 8, 32]);")]
            /// ```
            ///
            /// No sizes, and a size of zero, are errors of the export.
            #[must_use]
            pub fn batch_sizes(mut self, sizes: impl IntoIterator<Item = usize>) -> Self {
                let sizes = sizes.into_iter().collect();
                self$(.$inner)?.batch = Some($crate::export::BatchSizes::Each(sizes));
                self
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

            /// Lets TensorRT, which has no 64-bit floats, compute the 64-bit floats of a Burn model in 32 bits. The module
            /// still takes and gives 64-bit tensors. Without this option, TensorRT refuses such a model. Other backends
            /// compute in 64 bits either way.
            #[cfg(feature = "burn")]
            #[must_use]
            pub fn narrow_f64(mut self, narrow: bool) -> Self {
                self$(.$inner)?.narrow_f64 = narrow;
                self
            }

            /// Tries a model at every size of its dynamic axes, and at every combination of several axes, so that no branch
            /// on a size can be missed. Ranges with more than 16,384 combinations are refused. Without this option, some sizes
            /// of one axis at a time are tried.
            ///
            /// For a Burn model, these sizes are the first 64, the powers of two with their neighbours, and the ends. The captures
            /// have at most 100,000 operations in all. A capture takes about six microseconds and a kilobyte for each operation:
            /// 10,000 captures of 100 operations took 5.6 seconds and 0.8 GB.
            ///
            /// For a Candle model, these are all sizes of a range of up to 64. For a longer range, they are the ends, the powers
            /// of two with their neighbours, and a few more.
            #[cfg(any(feature = "burn", feature = "candle"))]
            #[must_use]
            pub fn probe_every_size(mut self, every: bool) -> Self {
                self$(.$inner)?.every_size = every;
                self
            }

            /// Computes in another precision where the backend can. Inputs and outputs keep their types.
            /// [`InferenceModule::precision_report`]($crate::InferenceModule::precision_report) says what became of each layer.
            ///
            /// An export without a backend ignores this option.
            /// [`OnnxModel::with_precision`]($crate::export::OnnxModel::with_precision) gives the exported model another
            /// precision.
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

            /// Names the weights of a Candle model after the paths that were recorded while the model was made.
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
