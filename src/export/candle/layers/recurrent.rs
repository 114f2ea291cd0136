//! LSTM and GRU with parameters that can be read, which candle_nn's own keep to themselves, and
//! candle's trait of both over any tensor. Each step is written in candle's operations; a sequence
//! that is traced is one operator, whatever its length.

use std::fmt;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rnn::Direction;
use candle_nn::{GRUConfig, Init, LSTMConfig, VarBuilder};

use crate::export::candle::tensor_ops::TensorOps;
use crate::export::lower::RecurrentKind;

/// A layer with a state, as [`candle_nn::RNN`], over `[batch, length, features]`.
#[allow(clippy::upper_case_acronyms, reason = "candle's name")]
pub trait RNN {
    /// The state that goes from step to step.
    type State<T: TensorOps>: Clone;

    /// A state of zeros for a batch of this size.
    ///
    /// # Errors
    /// Candle's own.
    fn zero_state<T: TensorOps>(&self, batch_dim: usize) -> Result<Self::State<T>>;

    /// The state after one more input `[batch, features]`.
    ///
    /// # Errors
    /// Candle's own, such as shapes that do not fit.
    fn step<T: TensorOps>(&self, input: &T, state: &Self::State<T>) -> Result<Self::State<T>>;

    /// The states after each step of a sequence that begins with zeros.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn seq<T: TensorOps>(&self, input: &T) -> Result<Vec<Self::State<T>>>;

    /// The states after each step of a sequence that begins with `init_state`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn seq_init<T: TensorOps>(
        &self,
        input: &T,
        init_state: &Self::State<T>,
    ) -> Result<Vec<Self::State<T>>>;

    /// The hidden states of a sequence as one tensor.
    ///
    /// # Errors
    /// When there are none.
    fn states_to_tensor<T: TensorOps>(&self, states: &[Self::State<T>]) -> Result<T>;
}

/// The parameters of a layer, as [`TensorOps::sequence`] takes them.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(in crate::export::candle) kind: RecurrentKind,
    pub(in crate::export::candle) w_ih: Tensor,
    pub(in crate::export::candle) w_hh: Tensor,
    pub(in crate::export::candle) b_ih: Option<Tensor>,
    pub(in crate::export::candle) b_hh: Option<Tensor>,
    pub(in crate::export::candle) hidden: usize,
    dtype: DType,
    device: Device,
}

/// Initial values of `w_ih`, `w_hh`, `b_ih` and `b_hh`.
type Inits = (Init, Init, Option<Init>, Option<Init>);

impl Cell {
    fn load(
        kind: RecurrentKind,
        (in_dim, hidden): (usize, usize),
        (w_ih, w_hh, b_ih, b_hh): Inits,
        suffix: &str,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let rows = kind.gates() * hidden;
        let bias = |name: &str, init: Option<Init>| {
            init.map(|init| vb.get_with_hints(rows, &format!("{name}_{suffix}"), init)).transpose()
        };
        Ok(Self {
            kind,
            w_ih: vb.get_with_hints((rows, in_dim), &format!("weight_ih_{suffix}"), w_ih)?,
            w_hh: vb.get_with_hints((rows, hidden), &format!("weight_hh_{suffix}"), w_hh)?,
            b_ih: bias("bias_ih", b_ih)?,
            b_hh: bias("bias_hh", b_hh)?,
            hidden,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    fn zeros<T: TensorOps>(&self, batch: usize) -> Result<T> {
        T::zeros((batch, self.hidden), self.dtype, &self.device)
    }

    /// What the input and the hidden state give to the gates.
    fn gates<T: TensorOps>(&self, input: &T, h: &T) -> Result<(T, T)> {
        let from = |xs: &T, weight: &Tensor, bias: Option<&Tensor>| {
            let gates = xs.matmul(&T::constant(weight).t()?)?;
            match bias {
                Some(bias) => gates.broadcast_add(&T::constant(bias)),
                None => Ok(gates),
            }
        };
        let input = from(input, &self.w_ih, self.b_ih.as_ref())?;
        Ok((input, from(h, &self.w_hh, self.b_hh.as_ref())?))
    }
}

/// All hidden states of a traced sequence, `[batch, length, hidden]`, and the last cell state.
#[derive(Clone, Debug)]
pub struct Sequence<T> {
    pub(in crate::export::candle) hidden: T,
    pub(in crate::export::candle) cell: Option<T>,
}

/// A tensor of a state: one of its own, or a part of a sequence that is taken when asked for, so
/// that a trace does not have more steps for a longer sequence.
#[derive(Clone)]
struct Lazy<T> {
    value: OnceLock<T>,
    of: Option<(Arc<Sequence<T>>, usize)>,
}

impl<T: TensorOps> Lazy<T> {
    fn own(value: T) -> Self {
        Self { value: OnceLock::from(value), of: None }
    }

    fn part(of: &Arc<Sequence<T>>, at: usize) -> Self {
        Self { value: OnceLock::new(), of: Some((of.clone(), at)) }
    }

    fn hidden(&self) -> &T {
        self.value.get_or_init(|| {
            let (sequence, at) = self.of.as_ref().expect("a value of its own, or a part");
            let part = sequence.hidden.narrow(1, *at, 1).and_then(|part| part.squeeze(1));
            part.expect("the step is within the sequence")
        })
    }

    fn cell(&self) -> &T {
        self.value.get_or_init(|| {
            let (sequence, at) = self.of.as_ref().expect("a value of its own, or a part");
            let last = sequence.hidden.dims()[1] - 1;
            match &sequence.cell {
                Some(cell) if *at == last => cell.clone(),
                _ => sequence.hidden.absent("the cell state of an LSTM before its last step"),
            }
        })
    }
}

/// The hidden states one after the other: the whole sequence where they are one.
fn whole<T: TensorOps>(states: &[&Lazy<T>]) -> Option<T> {
    let (sequence, _) = states.first()?.of.as_ref()?;
    let in_order = states.iter().enumerate().all(
        |(i, state)| matches!(&state.of, Some((of, at)) if Arc::ptr_eq(of, sequence) && *at == i),
    );
    (in_order && states.len() == sequence.hidden.dims()[1]).then(|| sequence.hidden.clone())
}

/// The hidden and cell state of an [`LSTM`], as [`candle_nn::rnn::LSTMState`].
#[allow(clippy::upper_case_acronyms, reason = "candle's name")]
#[derive(Clone)]
pub struct LSTMState<T> {
    h: Lazy<T>,
    c: Lazy<T>,
}

impl<T: TensorOps> LSTMState<T> {
    /// From hidden and cell state, each `[batch, hidden]`.
    pub fn new(h: T, c: T) -> Self {
        Self { h: Lazy::own(h), c: Lazy::own(c) }
    }

    /// The hidden state, `[batch, hidden]`.
    pub fn h(&self) -> &T {
        self.h.hidden()
    }

    /// The cell state, `[batch, hidden]`. Of a traced sequence only the last can be exported.
    pub fn c(&self) -> &T {
        self.c.cell()
    }
}

/// The hidden state of a [`GRU`], as [`candle_nn::rnn::GRUState`].
#[allow(clippy::upper_case_acronyms, reason = "candle's name")]
#[derive(Clone)]
pub struct GRUState<T> {
    h: Lazy<T>,
}

impl<T: TensorOps> GRUState<T> {
    /// From a hidden state `[batch, hidden]`.
    pub fn new(h: T) -> Self {
        Self { h: Lazy::own(h) }
    }

    /// The hidden state, `[batch, hidden]`.
    pub fn h(&self) -> &T {
        self.h.hidden()
    }
}

impl<T: TensorOps> fmt::Debug for LSTMState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LSTMState")
    }
}

impl<T: TensorOps> fmt::Debug for GRUState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GRUState")
    }
}

/// A long short-term memory (Hochreiter and Schmidhuber, 1997), as [`candle_nn::LSTM`].
///
/// ```
/// use accelerant::candle::{Forward, LSTM, RNN, TensorOps};
/// use candle_core::Result;
///
/// struct Tagger {
///     lstm: LSTM,
///     head: candle_nn::Linear,
/// }
///
/// impl Forward for Tagger {
///     fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
///         let states = self.lstm.seq(xs)?;
///         self.head.forward(&self.lstm.states_to_tensor(&states)?)
///     }
/// }
/// ```
#[allow(clippy::upper_case_acronyms, reason = "candle's name")]
#[derive(Clone, Debug)]
pub struct LSTM {
    cell: Cell,
    config: LSTMConfig,
}

impl LSTM {
    /// From a builder's `weight_ih_l0`, …; as [`candle_nn::LSTM::new`].
    ///
    /// # Errors
    /// Those of the builder.
    pub fn new(
        in_dim: usize,
        hidden_dim: usize,
        config: LSTMConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let direction = match config.direction {
            Direction::Forward => "",
            Direction::Backward => "_reverse",
        };
        let suffix = format!("l{}{direction}", config.layer_idx);
        let inits = (config.w_ih_init, config.w_hh_init, config.b_ih_init, config.b_hh_init);
        let cell = Cell::load(RecurrentKind::Lstm, (in_dim, hidden_dim), inits, &suffix, &vb)?;
        Ok(Self { cell, config })
    }

    /// How it was made.
    pub fn config(&self) -> &LSTMConfig {
        &self.config
    }

    fn run<T: TensorOps>(&self, xs: &T, init: Option<&LSTMState<T>>) -> Result<Vec<LSTMState<T>>> {
        let (batch, length, _) = xs.dims3()?;
        let initial = init.map(|state| [state.h(), state.c()]);
        if let Some(sequence) =
            T::sequence(&self.cell, xs, initial.as_ref().map_or(&[], |state| &state[..]))?
        {
            let sequence = Arc::new(sequence);
            let part = |at| Lazy::part(&sequence, at);
            return Ok((0..length).map(|at| LSTMState { h: part(at), c: part(at) }).collect());
        }
        let first = init.cloned().map_or_else(|| self.zero_state(batch), Ok)?;
        each_step(xs, first, |input, state| self.step(input, state))
    }
}

/// As candle goes through a sequence.
fn each_step<T: TensorOps, S: Clone>(
    xs: &T,
    mut state: S,
    step: impl Fn(&T, &S) -> Result<S>,
) -> Result<Vec<S>> {
    let (_, length, _) = xs.dims3()?;
    let mut states = Vec::with_capacity(length);
    for at in 0..length {
        state = step(&xs.i((.., at, ..))?.contiguous()?, &state)?;
        states.push(state.clone());
    }
    Ok(states)
}

/// As [`LSTM::new`].
///
/// # Errors
/// Those of the builder.
pub fn lstm(
    in_dim: usize,
    hidden_dim: usize,
    config: LSTMConfig,
    vb: VarBuilder<'_>,
) -> Result<LSTM> {
    LSTM::new(in_dim, hidden_dim, config, vb)
}

impl RNN for LSTM {
    type State<T: TensorOps> = LSTMState<T>;

    fn zero_state<T: TensorOps>(&self, batch_dim: usize) -> Result<LSTMState<T>> {
        let zeros: T = self.cell.zeros(batch_dim)?;
        Ok(LSTMState::new(zeros.clone(), zeros))
    }

    fn step<T: TensorOps>(&self, input: &T, state: &LSTMState<T>) -> Result<LSTMState<T>> {
        let (from_input, from_state) = self.cell.gates(input, state.h())?;
        let gates = (&from_input + &from_state)?.chunk(4, 1)?;
        let (input, forget) = (gates[0].sigmoid()?, gates[1].sigmoid()?);
        let (candidate, output) = (gates[2].tanh()?, gates[3].sigmoid()?);
        let c = ((forget * state.c())? + (input * candidate)?)?;
        let h = (output * c.tanh()?)?;
        Ok(LSTMState::new(h, c))
    }

    fn seq<T: TensorOps>(&self, input: &T) -> Result<Vec<LSTMState<T>>> {
        self.run(input, None)
    }

    fn seq_init<T: TensorOps>(
        &self,
        input: &T,
        init_state: &LSTMState<T>,
    ) -> Result<Vec<LSTMState<T>>> {
        self.run(input, Some(init_state))
    }

    /// `[batch, length, hidden]`.
    fn states_to_tensor<T: TensorOps>(&self, states: &[LSTMState<T>]) -> Result<T> {
        if let Some(hidden) = whole(&states.iter().map(|state| &state.h).collect::<Vec<_>>()) {
            return Ok(hidden);
        }
        T::stack(&states.iter().map(|state| state.h().clone()).collect::<Vec<_>>(), 1)
    }
}

/// A gated recurrent unit (Cho et al., 2014), as [`candle_nn::GRU`].
#[allow(clippy::upper_case_acronyms, reason = "candle's name")]
#[derive(Clone, Debug)]
pub struct GRU {
    cell: Cell,
    config: GRUConfig,
}

impl GRU {
    /// From a builder's `weight_ih_l0`, …; as [`candle_nn::GRU::new`].
    ///
    /// # Errors
    /// Those of the builder.
    pub fn new(
        in_dim: usize,
        hidden_dim: usize,
        config: GRUConfig,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let inits = (config.w_ih_init, config.w_hh_init, config.b_ih_init, config.b_hh_init);
        let cell = Cell::load(
            RecurrentKind::Gru { reset_after: true },
            (in_dim, hidden_dim),
            inits,
            "l0",
            &vb,
        )?;
        Ok(Self { cell, config })
    }

    /// How it was made.
    pub fn config(&self) -> &GRUConfig {
        &self.config
    }

    fn run<T: TensorOps>(&self, xs: &T, init: Option<&GRUState<T>>) -> Result<Vec<GRUState<T>>> {
        let (batch, length, _) = xs.dims3()?;
        let initial = init.map(|state| [state.h()]);
        if let Some(sequence) =
            T::sequence(&self.cell, xs, initial.as_ref().map_or(&[], |state| &state[..]))?
        {
            let sequence = Arc::new(sequence);
            return Ok((0..length).map(|at| GRUState { h: Lazy::part(&sequence, at) }).collect());
        }
        let first = init.cloned().map_or_else(|| self.zero_state(batch), Ok)?;
        each_step(xs, first, |input, state| self.step(input, state))
    }
}

/// As [`GRU::new`].
///
/// # Errors
/// Those of the builder.
pub fn gru(in_dim: usize, hidden_dim: usize, config: GRUConfig, vb: VarBuilder<'_>) -> Result<GRU> {
    GRU::new(in_dim, hidden_dim, config, vb)
}

impl RNN for GRU {
    type State<T: TensorOps> = GRUState<T>;

    fn zero_state<T: TensorOps>(&self, batch_dim: usize) -> Result<GRUState<T>> {
        Ok(GRUState::new(self.cell.zeros(batch_dim)?))
    }

    fn step<T: TensorOps>(&self, input: &T, state: &GRUState<T>) -> Result<GRUState<T>> {
        let (from_input, from_state) = self.cell.gates(input, state.h())?;
        let (input, hidden) = (from_input.chunk(3, 1)?, from_state.chunk(3, 1)?);
        let reset = (&input[0] + &hidden[0])?.sigmoid()?;
        let update = (&input[1] + &hidden[1])?.sigmoid()?;
        let candidate = (&input[2] + (reset * &hidden[2])?)?.tanh()?;
        let h = ((&update * state.h())? - ((&update - 1.0)? * candidate)?)?;
        Ok(GRUState::new(h))
    }

    fn seq<T: TensorOps>(&self, input: &T) -> Result<Vec<GRUState<T>>> {
        self.run(input, None)
    }

    fn seq_init<T: TensorOps>(
        &self,
        input: &T,
        init_state: &GRUState<T>,
    ) -> Result<Vec<GRUState<T>>> {
        self.run(input, Some(init_state))
    }

    /// `[batch, length * hidden]`, as candle has it.
    fn states_to_tensor<T: TensorOps>(&self, states: &[GRUState<T>]) -> Result<T> {
        if let Some(hidden) = whole(&states.iter().map(|state| &state.h).collect::<Vec<_>>()) {
            return hidden.flatten_from(1);
        }
        T::cat(&states.iter().map(|state| state.h().clone()).collect::<Vec<_>>(), 1)
    }
}
