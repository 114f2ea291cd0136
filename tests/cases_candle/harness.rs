//! One forward through every target, static and with a dynamic batch, against Candle's own
//! result on the CPU. No cases here.

pub(crate) use accelerant::OptimizeOptions;
pub(crate) use accelerant::candle::{Forward, TensorOps, ops};
pub(crate) use candle_core::{D, DType, Device, Result, Tensor};

use accelerant::HostTensor;
use accelerant::candle::{Trace, Traced};
use accelerant::export::Target;

pub(crate) use crate::common::Gap;
#[allow(unused_imports, reason = "for the tables, whichever of them have gaps")]
pub(crate) use crate::common::Runner::{OnnxRuntime, TensorRtRtx, Tract};
use crate::common::{Sample, check_with_gaps, random, tolerance};
use crate::records;

/// Values in -1..1.
pub(crate) fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let (values, _) = random(shape, seed).into_raw_vec_and_offset();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A weight of a layer.
pub(crate) fn weight(shape: &[usize], seed: u64) -> Tensor {
    tensor(shape, 1000 + seed)
}

/// Whole numbers in `0..below`.
pub(crate) fn whole(shape: &[usize], below: usize, dtype: DType, seed: u64) -> Tensor {
    let half = below as f64 / 2.0;
    let values = tensor(shape, seed).affine(half, half).unwrap();
    values.floor().unwrap().clamp(0.0, below as f64 - 1.0).unwrap().to_dtype(dtype).unwrap()
}

/// A tensor of these values.
pub(crate) fn values<V: candle_core::WithDType>(values: &[V]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

pub(crate) fn host(tensor: &Tensor) -> HostTensor {
    let flat = tensor.flatten_all().unwrap();
    let dims = tensor.dims();
    match tensor.dtype() {
        DType::F32 => HostTensor::from_vec(dims, flat.to_vec1::<f32>().unwrap()),
        DType::F64 => HostTensor::from_vec(dims, flat.to_vec1::<f64>().unwrap()),
        DType::F16 => HostTensor::from_vec(dims, flat.to_vec1::<half::f16>().unwrap()),
        DType::BF16 => HostTensor::from_vec(dims, flat.to_vec1::<half::bf16>().unwrap()),
        DType::U8 => HostTensor::from_vec(dims, flat.to_vec1::<u8>().unwrap()),
        DType::I16 => HostTensor::from_vec(dims, flat.to_vec1::<i16>().unwrap()),
        DType::I32 => HostTensor::from_vec(dims, flat.to_vec1::<i32>().unwrap()),
        DType::I64 => HostTensor::from_vec(dims, flat.to_vec1::<i64>().unwrap()),
        DType::U32 => {
            let flat = flat.to_dtype(DType::I64).unwrap();
            HostTensor::from_vec(dims, flat.to_vec1::<i64>().unwrap())
        }
        other => panic!("no cast from {other:?}"),
    }
    .unwrap()
}

fn bools(mask: &Tensor) -> HostTensor {
    let values = mask.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    HostTensor::from_vec(mask.dims(), values.into_iter().map(|v| v != 0).collect()).unwrap()
}

/// What a case is called, and what cannot run it.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) family: &'a str,
    pub(crate) name: &'a str,
    pub(crate) gaps: &'a [Gap],
}

/// Runs the rows of a table, also those behind one that fails.
pub(crate) struct Table {
    failed: Vec<String>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { failed: Vec::new() }
    }

    pub(crate) fn row(&mut self, name: &str, run: impl FnOnce()) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            self.failed.push(name.to_owned());
        }
    }

    pub(crate) fn end(self) {
        assert!(self.failed.is_empty(), "{} rows failed: {:?}", self.failed.len(), self.failed);
    }
}

/// Traces a forward once, and runs it with each list of inputs.
pub(crate) fn run(
    case: Named<'_>,
    label: &str,
    options: &OptimizeOptions,
    native: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    traced: &dyn Fn(&[Traced]) -> Result<Vec<Traced>>,
    inputs: &[Vec<Tensor>],
) {
    let name = format!("{}, {label}", case.name);
    let examples: Vec<&Tensor> = inputs[0].iter().collect();
    let trace =
        Trace::of_fn(&examples[..], options, traced).unwrap_or_else(|e| panic!("{name}: {e}"));
    // A mask is bool as an output, where candle has 1 or 0.
    let model = trace.to_onnx(Target::portable()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let is_mask: Vec<bool> = model
        .signature()
        .outputs
        .iter()
        .map(|spec| spec.dtype == accelerant::DType::Bool)
        .collect();
    let sample = |inputs: &Vec<Tensor>| {
        let outputs = native(inputs).unwrap_or_else(|e| panic!("{name}: candle: {e}"));
        let shapes: Vec<&[usize]> = inputs.iter().map(|input| input.dims()).collect();
        let expected = outputs.iter().zip(&is_mask);
        let expected =
            expected.map(|(output, &mask)| if mask { bools(output) } else { host(output) });
        let (name, expected) = (format!("{shapes:?}"), expected.collect());
        Sample { name, inputs: inputs.iter().map(host).collect(), expected }
    };
    let samples: Vec<Sample> = inputs.iter().map(sample).collect();
    let outcomes = check_with_gaps(&name, |c| trace.to_onnx(c), &samples, case.gaps, tolerance);
    records::passed(case.family, &name, &trace, &outcomes);
}

/// Runs a model of one input: with the shape as it is, and with a symbolic batch at the size of
/// `x`, at 1, and at the largest.
pub(crate) fn case(case: Named<'_>, model: &impl Forward, x: &Tensor, dynamic: bool) {
    let native = |inputs: &[Tensor]| Ok(vec![model.forward(&inputs[0])?]);
    let traced = |inputs: &[Traced]| Ok(vec![model.forward(&inputs[0])?]);
    let as_it_is = vec![x.clone()];
    run(case, "static", &OptimizeOptions::new(), &native, &traced, std::slice::from_ref(&as_it_is));
    if !dynamic {
        return;
    }
    let largest = x.dim(0).unwrap() + 3;
    let one = x.narrow(0, 0, 1).unwrap();
    let most = Tensor::cat(&[x, x, x, x], 0).unwrap().narrow(0, 0, largest).unwrap();
    let options = OptimizeOptions::new().dynamic_batch(1..=largest);
    run(case, "dynamic", &options, &native, &traced, &[as_it_is, vec![one], vec![most]]);
}

/// A table of cases: name, whether the batch may be dynamic, input shape, what cannot run it,
/// forward. A name begins with the method it is of.
macro_rules! cases {
    ($($test:ident { $($name:literal, $dynamic:literal, [$($size:expr),*] $(, except [$($runner:ident: $reason:literal),*])?, |$xs:ident| $body:expr;)* })*) => {$(
        #[test]
        fn $test() {
            use crate::harness::*;
            let mut seed = 0;
            let mut table = Table::new();
            $({
                struct Model;
                impl Forward for Model {
                    fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                        $body
                    }
                }
                seed += 1;
                let gaps: &[Gap] = &[$($(Gap { runner: $runner, reason: $reason }),*)?];
                let named = Named { family: stringify!($test), name: $name, gaps };
                table.row($name, || case(named, &Model, &tensor(&[$($size),*], seed), $dynamic));
            })*
            table.end();
        }
    )*};
}
pub(crate) use cases;

/// A table of cases with several inputs, made by expressions; sizes as they are.
macro_rules! cases_of {
    ($($test:ident { $($name:literal, [$($input:expr),*] $(, except [$($runner:ident: $reason:literal),*])?, |$xs:ident| $body:expr;)* })*) => {$(
        #[test]
        fn $test() {
            use crate::harness::*;
            let mut table = Table::new();
            $({
                fn forward<T: TensorOps>($xs: &[T]) -> Result<Vec<T>> {
                    $body
                }
                let gaps: &[Gap] = &[$($(Gap { runner: $runner, reason: $reason }),*)?];
                let named = Named { family: stringify!($test), name: $name, gaps };
                let inputs = vec![$($input),*];
                let options = OptimizeOptions::new();
                table.row($name, || run(named, "static", &options, &forward, &forward, &[inputs]));
            })*
            table.end();
        }
    )*};
}
pub(crate) use cases_of;

/// A layer in a case.
pub(crate) fn layer(name: &str, model: &impl Forward, x: &Tensor) {
    case(Named { family: "layers", name, gaps: &[] }, model, x, true);
}

/// A layer in a case of a fixed batch.
pub(crate) fn layer_of_one(name: &str, model: &impl Forward, x: &Tensor) {
    case(Named { family: "layers", name, gaps: &[] }, model, x, false);
}
