//! How a network is compared: natively with candle-transformers' on the same weights, and exported
//! with its own native result, through every target. No networks here.

use std::hash::{DefaultHasher, Hash, Hasher};

use accelerant::candle::{Examples, Trace, Traceable};
use accelerant::{BackendKind, Dim, HostTensor, OptimizeOptions};
use candle_core::{DType, Device, Module, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::common::{self, Sample, Tolerance, check_within, random, to_f64};

/// Weights that depend on their name and shape alone, so that two models have the same where they
/// call them the same. Kept at a size at which values neither grow nor vanish.
struct Weights;

impl SimpleBackend for Weights {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !self.contains_tensor(name) || shape.elem_count() == 0 {
            candle_core::bail!("there is no {name} of shape {shape:?}")
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let (values, _) = random(shape.dims(), hasher.finish()).into_raw_vec_and_offset();
        let tensor = Tensor::from_vec(values, shape.clone(), device)?;
        let inputs = shape.dims().iter().skip(1).product::<usize>();
        let tensor = match () {
            () if name.ends_with("running_var") => tensor.affine(0.5, 1.5)?,
            () if name.ends_with("bias") || name.ends_with("mean") => tensor.affine(0.1, 0.0)?,
            () if shape.rank() == 1 => tensor.affine(0.2, 1.0)?,
            () if name.contains("embed") || name.contains("token") => tensor,
            () => tensor.affine((2.0 / inputs as f64).sqrt(), 0.0)?,
        };
        tensor.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("the shape of {name} is not known")
    }

    /// The first version of ConvNeXt has no global response normalization, and BERT no model around
    /// it.
    fn contains_tensor(&self, name: &str) -> bool {
        !name.contains("grn") && name != "bert"
    }
}

pub(crate) fn weights() -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Weights), DType::F32, Device::Cpu)
}

pub(crate) fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let (values, _) = random(shape, seed).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Tokens of a vocabulary, as u32.
pub(crate) fn tokens(shape: &[usize], vocabulary: usize, seed: u64) -> Tensor {
    let half = vocabulary as f64 / 2.0 - 0.01;
    tensor(shape, seed).affine(half, half).unwrap().to_dtype(DType::U32).unwrap()
}

/// As tensors travel: u32 as i64.
pub(crate) fn host(tensor: &Tensor) -> HostTensor {
    let flat = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::F32 => HostTensor::from_vec(tensor.dims(), flat.to_vec1::<f32>().unwrap()),
        _ => {
            let flat = flat.to_dtype(DType::I64).unwrap();
            HostTensor::from_vec(tensor.dims(), flat.to_vec1::<i64>().unwrap())
        }
    }
    .unwrap()
}

/// Relative to the largest value of the output: rounding adds up over dozens of layers.
pub(crate) fn tolerance(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    let scale = to_f64(expected).into_iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let part = if common::is_portable(&backend) { 1e-4 } else { 2e-2 };
    Tolerance { absolute: part * scale, relative: 0.0 }
}

pub(crate) fn agree(place: &str, got: &Tensor, expected: &Tensor) {
    let (got, expected) = (host(got), host(expected));
    let values = to_f64(&expected);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let spread = values.iter().map(|x| (x - mean).abs()).sum::<f64>() / values.len() as f64;
    // Values that hardly differ would agree whatever the model did.
    assert!(spread > 0.01 * mean.abs() && spread > 1e-3, "{place}: spread {spread}");
    common::assert_close(place, &got, &expected, tolerance(BackendKind::Tract, &expected));
}

/// Exports with the sizes of the first inputs, and compares with the native results for all.
pub(crate) fn exported(
    name: &str,
    model: &impl Traceable,
    native: impl Fn(&[Tensor]) -> Vec<Tensor>,
    options: &OptimizeOptions,
    inputs: &[Vec<Tensor>],
) {
    let start = std::time::Instant::now();
    let trace = Trace::of(model, Examples::from(&inputs[0][..]), options);
    let trace = trace.unwrap_or_else(|e| panic!("{name}: {e}"));
    let sample = |inputs: &Vec<Tensor>| {
        let shapes: Vec<String> = inputs.iter().map(|x| format!("{:?}", x.dims())).collect();
        let expected = native(inputs).iter().map(host).collect();
        Sample { name: shapes.join(", "), inputs: inputs.iter().map(host).collect(), expected }
    };
    let samples: Vec<Sample> = inputs.iter().map(sample).collect();
    check_within(name, |target| trace.to_onnx(target), &samples, tolerance);
    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f64());
}

/// A model of pictures, with its size fixed and with a dynamic batch.
pub(crate) fn pictures<M: Module + Traceable>(
    name: &str,
    ours: &M,
    theirs: &impl Module,
    size: usize,
) {
    let shape = |batch| [batch, 3, size, size];
    let x = tensor(&shape(1), 1);
    let expected = theirs.forward(&x).unwrap();
    agree(&format!("{name}: candle-transformers"), &ours.forward(&x).unwrap(), &expected);
    let native = |inputs: &[Tensor]| vec![ours.forward(&inputs[0]).unwrap()];
    exported(name, ours, native, &OptimizeOptions::new(), &[vec![x]]);
    let options = OptimizeOptions::new().dynamic_batch(1..=3);
    let inputs = [2, 1, 3].map(|batch| vec![tensor(&shape(batch), 1 + batch as u64)]);
    exported(&format!("{name}, dynamic batch"), ours, native, &options, &inputs);
}

pub(crate) fn length(range: std::ops::RangeInclusive<usize>) -> Dim {
    Dim::dynamic("length", range).unwrap()
}
