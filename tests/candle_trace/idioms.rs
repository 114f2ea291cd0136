//! How models of Candle are written: masks that helpers make of sizes alone, layers that are told whether they are trained,
//! closures over tensors, and numbers that become tensors. Nothing is marked by hand.

use accelerant::OptimizeOptions;
use accelerant::candle::OptimizeTrt;
use candle_core::{Module, ModuleT};

use super::{assert_close, linear, tensor};

#[accelerant::trace]
mod model {
    use candle_core::{D, Device, Module, ModuleT, Result, Tensor};
    use candle_nn::Linear;
    use candle_nn::ops::softmax;

    fn causal_mask(length: usize, device: &Device) -> Result<Tensor> {
        let mask: Vec<u8> =
            (0..length).flat_map(|i| (0..length).map(move |j| u8::from(j > i))).collect();
        Tensor::from_slice(&mask, (length, length), device)
    }

    fn masked_fill(on_false: &Tensor, mask: &Tensor, on_true: f32) -> Result<Tensor> {
        let on_true = Tensor::try_from(on_true)?.to_device(on_false.device())?;
        mask.where_cond(&on_true.broadcast_as(mask.shape().dims())?, on_false)
    }

    fn through<F: Fn(&Tensor) -> Result<Tensor>>(xs: Tensor, f: F) -> Result<Tensor> {
        f(&xs)
    }

    pub(crate) struct Attention(pub(crate) Linear);

    impl Attention {
        fn scores(&self, xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
            let scores = (self.0.forward(xs)?.matmul(&xs.t()?)? / 3.0)?;
            match mask {
                Some(mask) => masked_fill(&scores, mask, f32::NEG_INFINITY),
                None => Ok(scores),
            }
        }

        fn forward(&self, xs: &Tensor, mask: Option<&Tensor>, far: &Tensor) -> Result<Tensor> {
            softmax(&self.scores(xs, mask)?, D::Minus1)?.matmul(xs)?.broadcast_add(far)
        }
    }

    pub(crate) struct Text(pub(crate) Vec<Attention>);

    impl Module for Text {
        fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            let length = xs.dim(0)?;
            let mask = match length {
                1 => None,
                _ => Some(causal_mask(length, xs.device())?),
            };
            let far = Tensor::ones(1, xs.dtype(), xs.device())?;
            let mut xs = xs.clone();
            for layer in &self.0 {
                xs = layer.forward(&xs, mask.as_ref(), &far)?;
            }
            through(far, |far| xs.broadcast_mul(&(far + 1.0)?))
        }
    }

    pub(crate) struct Mixed;

    impl Mixed {
        fn far(&self, length: usize) -> Result<Tensor> {
            Tensor::full(0.5f32, (length, length), &Device::Cpu)
        }

        pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
            let length = xs.dim(0)?;
            let scores = xs.matmul(&xs.t()?)?;
            let mask = causal_mask(length, xs.device())?.to_dtype(xs.dtype())?;
            let all = ((&scores + &mask)? + (&mask + self.far(length)?)?)?;
            let other = match length {
                0 => scores,
                1..=100 => mask,
                _ => self.far(length)?,
            };
            all - other
        }
    }

    pub(crate) struct Told(pub(crate) Linear);

    impl Told {
        pub(crate) fn forward(&self, hidden: &Tensor, train: bool) -> Result<Tensor> {
            let xs = self.0.forward(hidden)?;
            if train { xs * 3.0 } else { xs.relu() }
        }
    }

    pub(crate) struct Outer(pub(crate) Told);

    impl ModuleT for Outer {
        fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
            self.0.forward(xs, train)? * 2.0
        }
    }
}

#[test]
fn masks_of_sizes_alone_go_to_functions_of_ones_own() {
    let layers = (0..2).map(|i| model::Attention(linear(4, 4, i))).collect();
    let text = model::Text(layers);
    let x = tensor(&[5, 4], 9);
    let expected = text.forward(&x).unwrap();
    assert_close(&text.optimize_trt(&x).unwrap().forward(&x).unwrap(), &expected);
    let length = accelerant::Dim::dynamic("length", 2..=8).unwrap();
    let options = OptimizeOptions::new().dynamic_axis(0, 0, length);
    let fast = text.optimize_trt_with(&x, &options).unwrap();
    for length in [2, 8] {
        let x = tensor(&[length, 4], 3);
        assert_close(&fast.forward(&x).unwrap(), &text.forward(&x).unwrap());
    }
}

#[test]
fn masks_of_sizes_alone_meet_tensors_of_the_forward() {
    let x = tensor(&[5, 4], 9);
    let expected = model::Mixed.forward(&x).unwrap();
    assert_close(&model::Mixed.optimize_trt(&x).unwrap().forward(&x).unwrap(), &expected);
}

#[test]
fn layers_of_ones_own_are_told_whether_they_are_trained() {
    let outer = model::Outer(model::Told(linear(4, 4, 2)));
    let x = tensor(&[3, 4], 1);
    let expected = outer.forward_t(&x, false).unwrap();
    assert_close(&outer.optimize_trt(&x).unwrap().forward(&x).unwrap(), &expected);
    let difference = (outer.forward_t(&x, true).unwrap() - expected).unwrap();
    assert!(difference.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.1);
}

#[test]
fn the_only_input_has_the_name_of_the_argument() {
    let text = model::Text(vec![model::Attention(linear(4, 4, 1))]);
    let options = OptimizeOptions::new();
    let x = tensor(&[3, 4], 1);
    let name = |options: &OptimizeOptions| {
        let model = accelerant::candle::export_onnx(&text, &x, options).unwrap();
        model.signature().inputs[0].name.clone()
    };
    assert_eq!(name(&options), "xs");
    assert_eq!(name(&options.input_names(["states"])), "states");
    let told = model::Told(linear(4, 4, 2));
    let model = accelerant::candle::export_onnx(&told, &x, &OptimizeOptions::new()).unwrap();
    assert_eq!(model.signature().inputs[0].name, "hidden");
}
