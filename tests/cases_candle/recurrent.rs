//! LSTM and GRU: a sequence of any length is one operator.

use std::collections::HashMap;

use accelerant::candle::{GRU, LSTM, RNN, Trace, export_onnx};
use accelerant::export::Target;
use accelerant::{Dim, ErrorKind};
use candle_nn::{GRUConfig, LSTMConfig, VarBuilder};

use crate::harness::*;
use crate::lengths::layer_of_lengths;

const FEATURES: usize = 3;
const HIDDEN: usize = 4;

/// Parameters for so many gates.
fn parameters(gates: usize) -> VarBuilder<'static> {
    let rows = gates * HIDDEN;
    let tensors = HashMap::from([
        ("weight_ih_l0".to_owned(), weight(&[rows, FEATURES], 1)),
        ("weight_hh_l0".to_owned(), weight(&[rows, HIDDEN], 2)),
        ("bias_ih_l0".to_owned(), weight(&[rows], 3)),
        ("bias_hh_l0".to_owned(), weight(&[rows], 4)),
    ]);
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

fn lstm(config: LSTMConfig) -> LSTM {
    accelerant::candle::lstm(FEATURES, HIDDEN, config, parameters(4)).unwrap()
}

fn gru(config: GRUConfig) -> GRU {
    accelerant::candle::gru(FEATURES, HIDDEN, config, parameters(3)).unwrap()
}

/// All hidden states.
struct All<R>(R);

impl<R: RNN> Forward for All<R> {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.0.states_to_tensor(&self.0.seq(xs)?)
    }
}

/// Hidden and cell state after the last step.
struct Last(LSTM);

impl Forward for Last {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let states = self.0.seq(xs)?;
        let last = states.last().expect("the sequence is not empty");
        T::cat(&[last.h(), last.c()], 1)
    }
}

/// From a state that depends on the input, and once more by hand after the sequence.
struct Continued(LSTM);

impl Forward for Continued {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let first = self.0.step(&xs.i((.., 0))?.contiguous()?, &self.0.zero_state(xs.dim(0)?)?)?;
        let states = self.0.seq_init(xs, &first)?;
        let last = states.last().expect("the sequence is not empty");
        Ok(self.0.step(&xs.i((.., 0))?.contiguous()?, last)?.h().clone())
    }
}

#[test]
fn sequences() {
    layer_of_lengths("LSTM", FEATURES, &[], &All(lstm(LSTMConfig::default())));
    layer_of_lengths(
        "LSTM, without biases",
        FEATURES,
        &[],
        &All(lstm(LSTMConfig::default_no_bias())),
    );
    layer_of_lengths("LSTM, the last step", FEATURES, &[], &Last(lstm(LSTMConfig::default())));
    const APART: &[Gap] =
        &[Gap { runner: Tract, reason: "tract 0.23 fails where parts of a product are taken" }];
    layer_of_lengths("LSTM, continued", FEATURES, APART, &Continued(lstm(LSTMConfig::default())));
    layer_of_lengths("GRU", FEATURES, &[], &All(gru(GRUConfig::default())));
    layer_of_lengths("GRU, without biases", FEATURES, &[], &All(gru(GRUConfig::default_no_bias())));
    layer("LSTM, fixed", &All(lstm(LSTMConfig::default())), &tensor(&[2, 5, FEATURES], 1));
    layer("GRU, fixed", &All(gru(GRUConfig::default())), &tensor(&[2, 5, FEATURES], 1));
}

#[test]
fn they_run_as_candles_own() {
    use candle_nn::RNN as _;
    let x = tensor(&[2, 5, FEATURES], 1);
    let values = |xs: Tensor| xs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let config = LSTMConfig::default();
    let candle = candle_nn::lstm(FEATURES, HIDDEN, config, parameters(4)).unwrap();
    let expected = candle.states_to_tensor(&candle.seq(&x).unwrap()).unwrap();
    assert_eq!(values(All(lstm(config)).forward(&x).unwrap()), values(expected));
    let config = GRUConfig::default();
    let candle = candle_nn::gru(FEATURES, HIDDEN, config, parameters(3)).unwrap();
    let expected = candle.states_to_tensor(&candle.seq(&x).unwrap()).unwrap();
    assert_eq!(values(All(gru(config)).forward(&x).unwrap()), values(expected));
}

#[test]
fn a_sequence_is_one_operator() {
    let options = OptimizeOptions::new().dynamic_batch(1..=3).dynamic_axis(
        0,
        1,
        Dim::dynamic("length", 2..=9).unwrap(),
    );
    let x = tensor(&[2, 5, FEATURES], 1);
    let model = export_onnx(&All(lstm(LSTMConfig::default())), &x, &options).unwrap();
    let nodes = &model.proto().graph.as_ref().unwrap().node;
    let operators: Vec<&str> = nodes.iter().map(|node| node.op_type()).collect();
    assert_eq!(operators.iter().filter(|op| **op == "LSTM").count(), 1, "{operators:?}");
    assert!(!operators.contains(&"MatMul"), "{operators:?}");
    assert_eq!(model.signature().outputs[0].to_string(), "output_0: f32 [batch, length, 4]");
    // Also where both of its states are used; tract needs a layer for each.
    let trace = Trace::of(&Last(lstm(LSTMConfig::default())), &x, &options).unwrap();
    let model = trace.to_onnx(Target::onnx_runtime()).unwrap();
    let nodes = &model.proto().graph.as_ref().unwrap().node;
    assert_eq!(nodes.iter().filter(|node| node.op_type() == "LSTM").count(), 1, "{model}");
}

#[test]
fn a_cell_state_within_a_sequence_is_refused() {
    struct Early(LSTM);
    impl Forward for Early {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            Ok(self.0.seq(xs)?[1].c().clone())
        }
    }
    let x = tensor(&[2, 5, FEATURES], 1);
    let trace = Trace::of(&Early(lstm(LSTMConfig::default())), &x, &OptimizeOptions::new());
    let error = trace.unwrap().to_onnx(Target::portable()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains("cell state of an LSTM before its last step"), "{error}");
}
