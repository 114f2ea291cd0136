//! A small convolutional network in Candle, and its training.

use accelerant::candle::{Forward, TensorOps};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, loss,
};
use ndarray::Array4;

use crate::data::Digits;

#[derive(Debug)]
pub struct DigitsNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl DigitsNet {
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { padding: 1, ..Default::default() };
        Ok(Self {
            conv1: candle_nn::conv2d(1, 16, 3, config, vb.pp("conv1"))?,
            conv2: candle_nn::conv2d(16, 32, 3, config, vb.pp("conv2"))?,
            fc1: candle_nn::linear(32 * 2 * 2, 64, vb.pp("fc1"))?,
            fc2: candle_nn::linear(64, 10, vb.pp("fc2"))?,
        })
    }
}

impl Forward for DigitsNet {
    /// Scores `[batch, 10]` of images `[batch, 1, 8, 8]`.
    fn forward<T: TensorOps>(&self, images: &T) -> Result<T> {
        let x = self.conv1.forward(images)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
        let x = self.fc1.forward(&x.flatten_from(1)?)?.relu()?;
        self.fc2.forward(&x)
    }
}

pub fn tensor(images: &Array4<f32>) -> Result<Tensor> {
    let values: Vec<f32> = images.iter().copied().collect();
    Tensor::from_vec(values, images.shape(), &Device::Cpu)
}

/// Trains with AdamW on the CPU. The same seed gives the same network.
pub fn train(digits: &Digits, seed: u64, epochs: usize) -> Result<(VarMap, DigitsNet)> {
    let variables = VarMap::new();
    let net = DigitsNet::new(VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
    initialize(&variables, seed)?;
    let parameters = ParamsAdamW { lr: 2e-3, weight_decay: 1e-4, ..Default::default() };
    // Sorted: a VarMap lists its variables in another order on each run.
    let named = sorted(&variables).into_iter().map(|(_, variable)| variable).collect();
    let mut optimizer = AdamW::new(named, parameters)?;
    for epoch in 0..epochs {
        for batch in digits.shuffled(64, seed + epoch as u64) {
            let labels = Tensor::new(batch.labels.as_slice(), &Device::Cpu)?;
            let scores = net.forward(&tensor(&batch.images)?)?;
            optimizer.backward_step(&loss::cross_entropy(&scores, &labels)?)?;
        }
    }
    Ok((variables, net))
}

fn sorted(variables: &VarMap) -> Vec<(String, candle_core::Var)> {
    let variables = variables.data().lock().unwrap_or_else(|e| e.into_inner());
    let mut named: Vec<_> =
        variables.iter().map(|(name, variable)| (name.clone(), variable.clone())).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

/// Uniform weights with the variance of He et al. (2015), biases of 0. Candle's own initial values
/// on the CPU cannot be seeded.
fn initialize(variables: &VarMap, seed: u64) -> Result<()> {
    let mut state = seed;
    for (_, variable) in sorted(variables) {
        let dims = variable.dims();
        if dims.len() < 2 {
            variable.set(&variable.zeros_like()?)?;
            continue;
        }
        let bound = (6.0 / dims[1..].iter().product::<usize>() as f32).sqrt();
        let values: Vec<f32> = (0..variable.elem_count())
            .map(|_| {
                // splitmix64
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                let unit = ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
                unit * bound
            })
            .collect();
        variable.set(&Tensor::from_vec(values, dims, &Device::Cpu)?)?;
    }
    Ok(())
}
