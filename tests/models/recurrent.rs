//! Sequence classifiers with a recurrent layer.

use burn::module::Module;
use burn::nn::{BiLstm, BiLstmConfig, Gru, GruConfig, Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
pub struct LstmClassifier {
    lstm: Lstm,
    head: Linear,
}

impl LstmClassifier {
    pub fn new(inputs: usize, hidden: usize, classes: usize, device: &Device) -> Self {
        Self {
            lstm: LstmConfig::new(inputs, hidden, true).init(device),
            head: LinearConfig::new(hidden, classes).init(device),
        }
    }

    /// `[batch, length, inputs]` to `[batch, classes]`, from the last hidden state.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let (_, state) = self.lstm.forward(x, None);
        self.head.forward(state.hidden)
    }
}

/// Two layers, one on the other.
#[derive(Module, Debug)]
pub struct GruClassifier {
    layers: Vec<Gru>,
    head: Linear,
}

impl GruClassifier {
    pub fn new(inputs: usize, hidden: usize, classes: usize, device: &Device) -> Self {
        let layer = |inputs| GruConfig::new(inputs, hidden, true).init(device);
        Self {
            layers: vec![layer(inputs), layer(hidden)],
            head: LinearConfig::new(hidden, classes).init(device),
        }
    }

    /// `[batch, length, inputs]` to `[batch, classes]`, from the mean over the sequence.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x, None));
        self.head.forward(x.mean_dim(1).squeeze_dim::<2>(1))
    }
}

#[derive(Module, Debug)]
pub struct BiLstmTagger {
    lstm: BiLstm,
    head: Linear,
}

impl BiLstmTagger {
    pub fn new(inputs: usize, hidden: usize, classes: usize, device: &Device) -> Self {
        Self {
            lstm: BiLstmConfig::new(inputs, hidden, true).init(device),
            head: LinearConfig::new(2 * hidden, classes).init(device),
        }
    }

    /// `[batch, length, inputs]` to `[batch, length, classes]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (states, _) = self.lstm.forward(x, None);
        self.head.forward(states)
    }
}
