//! The builders of [`ExportOptions`](super::ExportOptions), written once for each type that holds such options.

/// Gives a type the builders of an export's options. Its arguments are the type, its path in examples, and the field that
/// holds the options; `ExportOptions` itself has no such field.
macro_rules! export_builders {
    ($type:ident, $path:literal $(, $inner:ident)?) => {
        impl $type {
            /// Makes axis 0 of every input dynamic, with the symbol `batch` and the sizes in `range`.
            /// [`OnnxModel::bind`](crate::export::OnnxModel::bind) does the same for an ONNX file. An empty range is
            /// an error of the export.
            #[must_use]
            pub fn dynamic_batch(mut self, range: std::ops::RangeInclusive<usize>) -> Self {
                self$(.$inner)?.batch = Some($crate::export::BatchSizes::Range(range));
                self
            }

            /// Makes axis 0 of every input dynamic, with the symbol `batch` and all sizes up to the largest of
            /// `sizes`. TensorRT gets an optimization profile for each of `sizes`, and one profile for all other
            /// sizes. On compute capability 9.0, TensorRT-RTX is up to twice as fast with these profiles.
            ///
            /// The kernels of the middle size are compiled when the module is created. The kernels of another size are
            /// compiled at the first run with that size. Each layer has one form in an engine, the best form for the
            /// middle size. [`Dim::with_opt`](crate::Dim::with_opt) chooses another size for the form. For the best
            /// form at each size, make one module for each size.
            ///
            /// ```
            #[doc = concat!("# use accelerant::", $path, ";")]
            #[doc = concat!("let options = ", stringify!($type), "::new().batch_sizes([1, 8, 32]);")]
            /// ```
            ///
            /// An empty list and a size of zero are errors of the export.
            #[must_use]
            pub fn batch_sizes(mut self, sizes: impl IntoIterator<Item = usize>) -> Self {
                let sizes = sizes.into_iter().collect();
                self$(.$inner)?.batch = Some($crate::export::BatchSizes::Each(sizes));
                self
            }

            /// Makes one axis of one input dynamic. Name the input by its position or by its name. Axes with the same
            /// symbol have the same size.
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

            /// Lets TensorRT compute the 64-bit floats of a Burn model in fp32, because TensorRT has no 64-bit floats.
            /// The module still takes and returns 64-bit tensors. Without this option, TensorRT refuses such a model.
            /// Other backends always compute in 64 bits.
            #[cfg(feature = "burn")]
            #[must_use]
            pub fn narrow_f64(mut self, narrow: bool) -> Self {
                self$(.$inner)?.narrow_f64 = narrow;
                self
            }

            /// Exports a model at every size of its dynamic axes, and at every combination of several axes. The export
            /// then detects every branch on a size. Ranges with more than 16,384 combinations are refused. Without
            /// this option, the export tries some sizes of one axis at a time.
            ///
            /// By default, a Burn model is tried at the first 64 sizes, the powers of two with their neighbors, and the
            /// ends of the range. All captures together have at most 100,000 operations. A capture takes about six
            /// microseconds and a kilobyte for each operation: 10,000 captures of 100 operations took 5.6 seconds and
            /// 0.8 GB.
            ///
            /// By default, a Candle model is tried at all sizes of a range of up to 64 sizes. For a longer range, the
            /// sizes are the ends, the powers of two with their neighbors, and a few more.
            #[cfg(any(feature = "burn", feature = "candle"))]
            #[must_use]
            pub fn probe_every_size(mut self, every: bool) -> Self {
                self$(.$inner)?.every_size = every;
                self
            }

            /// Sets the precision of the computation, if the backend supports the precision. Inputs and outputs keep
            /// their types. [`InferenceModule::precision_report`]($crate::InferenceModule::precision_report) lists the
            /// precision of each layer.
            ///
            /// An export without a backend ignores this option.
            /// [`OnnxModel::with_precision`]($crate::export::OnnxModel::with_precision) converts the exported model to
            /// a precision.
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

            /// Names the weights of a Candle model by the recorded paths of its `VarBuilder`.
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
