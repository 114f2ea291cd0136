//! Recurrent layers.

use candle_core::Result;
use candle_nn::rnn::{GRUConfig, LSTMConfig};

use super::VarBuilder;
use crate::export::candle::layers::{self, RNN as _};
use crate::export::candle::traced::Traced;

pub use crate::export::candle::layers::{GRUState, LSTMState};
#[doc(no_inline)]
pub use candle_nn::rnn::Direction;

/// As [`candle_nn::RNN`].
#[allow(clippy::upper_case_acronyms, reason = "candle's name")]
pub trait RNN {
    /// What is passed on from step to step.
    type State: Clone;

    /// A state of zeros for a batch of this size.
    ///
    /// # Errors
    /// Candle's own.
    fn zero_state(&self, batch_dim: usize) -> Result<Self::State>;

    /// The state after one more input `[batch, features]`.
    ///
    /// # Errors
    /// Candle's own, such as shapes that do not fit.
    fn step(&self, input: &Traced, state: &Self::State) -> Result<Self::State>;

    /// The states after each step of a sequence that begins with zeros.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn seq(&self, input: &Traced) -> Result<Vec<Self::State>>;

    /// The states after each step of a sequence that begins with `init_state`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn seq_init(&self, input: &Traced, init_state: &Self::State) -> Result<Vec<Self::State>>;

    /// The hidden states of a sequence as one tensor.
    ///
    /// # Errors
    /// When there are none.
    fn states_to_tensor(&self, states: &[Self::State]) -> Result<Traced>;
}

macro_rules! recurrent {
    ($($name:ident, $state:ident, $config:ident, $function:ident, $of:literal;)*) => {$(
        #[doc = concat!("As [`candle_nn::", $of, "`].")]
        #[allow(clippy::upper_case_acronyms, reason = "candle's name")]
        #[derive(Clone, Debug)]
        pub struct $name(layers::$name);

        impl $name {
            /// From a builder's `weight_ih_l0`, ….
            ///
            /// # Errors
            /// Those of the builder.
            pub fn new(
                in_dim: usize,
                hidden_dim: usize,
                config: $config,
                vb: VarBuilder<'_>,
            ) -> Result<Self> {
                layers::$name::new(in_dim, hidden_dim, config, vb.0).map(Self)
            }

            /// How it was made.
            pub fn config(&self) -> &$config {
                self.0.config()
            }
        }

        /// From a builder's `weight_ih_l0`, ….
        ///
        /// # Errors
        /// Those of the builder.
        pub fn $function(
            in_dim: usize,
            hidden_dim: usize,
            config: $config,
            vb: VarBuilder<'_>,
        ) -> Result<$name> {
            $name::new(in_dim, hidden_dim, config, vb)
        }

        impl RNN for $name {
            type State = $state<Traced>;

            fn zero_state(&self, batch_dim: usize) -> Result<Self::State> {
                self.0.zero_state(batch_dim)
            }

            fn step(&self, input: &Traced, state: &Self::State) -> Result<Self::State> {
                self.0.step(input, state)
            }

            fn seq(&self, input: &Traced) -> Result<Vec<Self::State>> {
                self.0.seq(input)
            }

            fn seq_init(&self, input: &Traced, init: &Self::State) -> Result<Vec<Self::State>> {
                self.0.seq_init(input, init)
            }

            fn states_to_tensor(&self, states: &[Self::State]) -> Result<Traced> {
                self.0.states_to_tensor(states)
            }
        }
    )*};
}

recurrent! {
    LSTM, LSTMState, LSTMConfig, lstm, "LSTM";
    GRU, GRUState, GRUConfig, gru, "GRU";
}
