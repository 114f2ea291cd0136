//! Mistakes of those who bring a model of Candle.

use accelerant::candle::{Forward, OptimizeTrt, TensorOps};
use accelerant::{BackendKind, Dim, OptimizeOptions};
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::Linear;

use crate::page::{Section, mistake};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn net() -> Linear {
    Linear::new(zeros(&[3, 4]), None)
}

fn on_tract() -> OptimizeOptions {
    OptimizeOptions::new().require(BackendKind::Tract)
}

/// A model of one input.
macro_rules! model {
    ($name:ident, |$xs:ident| $body:expr) => {
        struct $name;
        impl Forward for $name {
            fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                $body
            }
        }
    };
}

model!(ReadsValues, |xs| xs.affine(f64::from(xs.sum_all()?.to_scalar::<f32>()?), 0.0));
model!(ChangesInPlace, |xs| xs.slice_set(&xs.narrow(0, 0, 1)?, 0, 1).and(xs.neg()));
model!(ComputesWithTheBatch, |xs| xs.affine(xs.dim(0)? as f64, 0.0));
model!(Branches, |xs| if xs.dim(0)? == 1 { xs.relu() } else { xs.exp() });
model!(MixesTypes, |xs| xs.add(&xs.to_dtype(DType::F64)?));

struct Quantized(QMatMul);
impl Forward for Quantized {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        xs.scope("decoder", |xs| self.0.forward(xs))
    }
}

struct Scores;

#[accelerant::trace]
impl Scores {
    fn forward(&self, query: &Tensor, key: &Tensor) -> Result<Tensor> {
        query.matmul(&key.t()?)
    }
}

#[test]
fn candle() {
    let mut page = Section::new("Candle");
    let (net, x) = (net(), zeros(&[1, 4]));
    let any_batch = on_tract().dynamic_batch(1..=8);

    // The forward.
    mistake!(page, "A forward that reads a value, with Candle", ReadsValues.optimize_trt(&x));
    mistake!(page, "A forward that changes a tensor in place", ChangesInPlace.optimize_trt(&x));
    mistake!(
        page,
        "A forward that computes with the size of the batch",
        ComputesWithTheBatch.optimize_trt_with(&x, &any_batch)
    );
    mistake!(
        page,
        "A forward that branches on the size of the batch",
        Branches.optimize_trt_with(&zeros(&[2, 4]), &any_batch)
    );
    mistake!(page, "Two types in one operation", MixesTypes.optimize_trt(&x));
    mistake!(
        page,
        "An example that does not fit the first layer, with Candle",
        net.optimize_trt(&zeros(&[1, 5]))
    );
    mistake!(page, "An example without elements", net.optimize_trt(&zeros(&[0, 4])));
    let weight = QTensor::quantize(&zeros(&[8, 32]), GgmlDType::Q8_0).unwrap();
    let quantized = Quantized(QMatMul::from_qtensor(weight).unwrap());
    mistake!(page, "A layer with quantized weights", quantized.optimize_trt(&zeros(&[1, 32])));

    // The options.
    mistake!(
        page,
        "A range that ends before its start",
        net.optimize_trt_with(&x, &on_tract().dynamic_batch(8..=1))
    );
    mistake!(
        page,
        "More names than inputs",
        net.optimize_trt_with(&x, &on_tract().input_names(["pixels", "mask"]))
    );
    mistake!(
        page,
        "A dynamic axis of an input that the model does not have, with Candle",
        net.optimize_trt_with(
            &x,
            &on_tract().dynamic_axis("pixels", 0, Dim::dynamic("n", 1..=8).unwrap())
        )
    );
    mistake!(
        page,
        "A backend that nobody has registered",
        net.optimize_trt_with(&x, &on_tract().require(BackendKind::from_name("tensorrt-10")))
    );

    // The run.
    let fast = net.optimize_trt_with(&x, &on_tract()).unwrap();
    mistake!(
        page,
        "A batch where the model has a fixed size, with Candle",
        fast.forward(&zeros(&[2, 4]))
    );
    mistake!(page, "An input of another size, with Candle", fast.forward(&zeros(&[1, 5])));
    mistake!(page, "An input of another rank", fast.forward(&zeros(&[4])));
    mistake!(
        page,
        "An input of another type, with Candle",
        fast.forward(&x.to_dtype(DType::F64).unwrap())
    );
    let fast = net.optimize_trt_with(&x, &any_batch).unwrap();
    mistake!(page, "A batch beyond the range, with Candle", fast.forward(&zeros(&[9, 4])));
    let (query, key) = (zeros(&[5, 8]), zeros(&[7, 8]));
    let named = [("query", &query), ("key", &key)];
    let fast = Scores.optimize_trt_with(named, &on_tract()).unwrap();
    mistake!(page, "One tensor for a model of two inputs", fast.forward(&query));
    mistake!(page, "A name that no input has", fast.run([("query", &query), ("keys", &key)]));
    page.finish();
}
