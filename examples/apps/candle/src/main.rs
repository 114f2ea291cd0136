//! A Candle project: the network is trained as always, one attribute makes its forward exportable, and one call optimizes
//! the network.

use std::error::Error;

use accelerant::OptimizeOptions;
use accelerant::candle::OptimizeTrt;
use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss};

struct Net {
    first: Linear,
    second: Linear,
}

impl Net {
    fn new(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            first: linear(64, 128, vb.pp("first"))?,
            second: linear(128, 10, vb.pp("second"))?,
        })
    }
}

#[accelerant::trace]
impl Module for Net {
    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        pixels.apply(&self.first)?.relu()?.apply(&self.second)
    }
}

/// Rows of 64 pixels, and their digits.
struct Digits {
    pixels: Tensor,
    labels: Tensor,
}

impl Digits {
    /// The training and the test set: every fifth image is for testing.
    fn read(path: &str) -> std::result::Result<(Self, Self), Box<dyn Error>> {
        let mut sets = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        for (row, line) in text.lines().filter(|line| !line.starts_with('#')).enumerate() {
            let (pixels, labels) = &mut sets[usize::from(row % 5 == 0)];
            let values =
                line.split(',').map(str::parse).collect::<std::result::Result<Vec<f32>, _>>()?;
            pixels.extend(values[..64].iter().map(|pixel| pixel / 16.0));
            labels.push(values[64] as u32);
        }
        let [training, test] = sets.map(|(pixels, labels)| -> Result<Self> {
            let pixels = Tensor::from_vec(pixels, (labels.len(), 64), &Device::Cpu)?;
            Ok(Self { pixels, labels: Tensor::new(labels, &Device::Cpu)? })
        });
        Ok((training?, test?))
    }
}

fn train(digits: &Digits) -> Result<Net> {
    let variables = VarMap::new();
    let net = Net::new(VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
    let parameters = ParamsAdamW { lr: 1e-2, ..Default::default() };
    let mut optimizer = candle_nn::AdamW::new(variables.all_vars(), parameters)?;
    for _ in 0..150 {
        let scores = net.forward(&digits.pixels)?;
        optimizer.backward_step(&loss::cross_entropy(&scores, &digits.labels)?)?;
    }
    Ok(net)
}

fn right(scores: &Tensor, digits: &Digits) -> Result<u32> {
    let right = scores.argmax(D::Minus1)?.eq(&digits.labels)?;
    right.to_dtype(DType::U32)?.sum_all()?.to_scalar()
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(onnx)) = (arguments.next(), arguments.next()) else {
        return Err("usage: candle-digits DIGITS.csv OUT.onnx".into());
    };
    let (training, test) = Digits::read(&data)?;
    let net = train(&training)?;

    let options = OptimizeOptions::new()
        .dynamic_batch(1..=512)
        .input_names(["pixels"])
        .output_names(["scores"])
        .save_onnx(&onnx);
    let fast = net.optimize_trt_with(&test.pixels.narrow(0, 0, 1)?, &options)?;

    let all = test.labels.elem_count() as u32;
    let native = right(&net.forward(&test.pixels)?, &test)?;
    let optimized = right(&fast.forward(&test.pixels)?, &test)?;
    println!("{native} of {all} right with Candle");
    println!("{optimized} of {all} right on {}", fast.backend());
    if native != optimized || native * 10 < all * 9 {
        return Err("the two must be the same, and nine of ten right".into());
    }
    Ok(())
}
