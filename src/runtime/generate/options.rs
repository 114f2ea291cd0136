//! The options of one generation.

use std::sync::Arc;

use super::LogitsRule;
use crate::error::{Error, ErrorKind, Result};
use crate::limit::TimeLimit;

/// Logits that are divided by less are beyond 32 bits.
const LEAST_TEMPERATURE: f64 = 1e-7;

/// Options of a generation: how the next token is chosen, and when the generation ends.
///
/// ```
/// use accelerant::generate::GenerateOptions;
///
/// let greedy = GenerateOptions::new().max_tokens(64);
/// let sampled = GenerateOptions::new().temperature(0.7).top_k(40).top_p(0.9).seed(7).stop_string("\n\n");
/// ```
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    pub(super) max_tokens: usize,
    pub(super) temperature: f64,
    pub(super) top_k: Option<usize>,
    pub(super) top_p: Option<f64>,
    pub(super) penalty: f32,
    pub(super) penalty_window: usize,
    pub(super) seed: u64,
    pub(super) stop_tokens: Option<Vec<u32>>,
    pub(super) stop_strings: Vec<String>,
    pub(super) rules: Vec<Arc<dyn LogitsRule>>,
    pub(super) limit: TimeLimit,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            penalty: 1.0,
            penalty_window: 64,
            seed: 0,
            stop_tokens: None,
            stop_strings: Vec::new(),
            rules: Vec::new(),
            limit: TimeLimit::none(),
        }
    }
}

impl GenerateOptions {
    /// Greedy decoding of up to 256 tokens, until an end token of the model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the largest number of generated tokens.
    #[must_use]
    pub fn max_tokens(mut self, count: usize) -> Self {
        self.max_tokens = count;
        self
    }

    /// Sets the temperature: logits are divided by this number before sampling. The default, 0, takes the most likely token.
    /// A temperature below 1e-7 counts as 0, as in Candle.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Samples only from the `count` most likely tokens.
    #[must_use]
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = Some(count);
        self
    }

    /// Samples only from the smallest set of most likely tokens whose probabilities reach this sum (nucleus sampling).
    #[must_use]
    pub fn top_p(mut self, sum: f64) -> Self {
        self.top_p = Some(sum);
        self
    }

    /// Sets the repetition penalty (Keskar et al., 2019) for tokens among the last [64](Self::repetition_window) tokens. A
    /// positive logit is divided by the penalty, and a negative logit is multiplied by the penalty. 1 changes nothing.
    #[must_use]
    pub fn repetition_penalty(mut self, penalty: f32) -> Self {
        self.penalty = penalty;
        self
    }

    /// Sets how many of the last tokens, of prompt and generation together, the repetition penalty sees.
    #[must_use]
    pub fn repetition_window(mut self, tokens: usize) -> Self {
        self.penalty_window = tokens;
        self
    }

    /// Sets the seed of sampling. The same seed gives the same tokens. In a batch, sequence `i` has the seed `seed + i`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the tokens that end the generation, in place of the end tokens of the configuration. An end token is not returned.
    #[must_use]
    pub fn stop_tokens(mut self, tokens: impl IntoIterator<Item = u32>) -> Self {
        self.stop_tokens = Some(tokens.into_iter().collect());
        self
    }

    /// Adds a stop string, which ends the generation and is not returned. Stop strings apply to
    /// [`Generation::text`](super::Generation::text), and not to tokens.
    #[must_use]
    pub fn stop_string(mut self, text: impl Into<String>) -> Self {
        self.stop_strings.push(text.into());
        self
    }

    /// Adds a rule that changes the logits before each token is chosen. Rules apply in the order in which they were added.
    #[must_use]
    pub fn rule(mut self, rule: impl LogitsRule + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Ends the generation with an error if the time is over or the limit is cancelled. The limit is checked before each token.
    #[must_use]
    pub fn limit(mut self, limit: &TimeLimit) -> Self {
        self.limit = limit.clone();
        self
    }

    /// Whether the most likely token is always taken.
    pub(super) fn takes_likeliest(&self) -> bool {
        self.temperature < LEAST_TEMPERATURE
    }

    /// Whether the most likely token is always taken, as the graph finds it.
    pub(super) fn is_greedy(&self) -> bool {
        (self.takes_likeliest() || self.top_k == Some(1))
            && self.penalty == 1.0
            && self.rules.is_empty()
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming the option.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = if !self.temperature.is_finite() || self.temperature < 0.0 {
            format!("a temperature of {}", self.temperature)
        } else if self.top_k == Some(0) {
            "the 0 most likely tokens".into()
        } else if self.top_p.is_some_and(|sum| !(sum > 0.0 && sum <= 1.0)) {
            format!("a sum of probabilities of {}", self.top_p.unwrap_or_default())
        } else if !self.penalty.is_finite() || self.penalty <= 0.0 {
            format!("a repetition penalty of {}", self.penalty)
        } else if self.stop_strings.iter().any(String::is_empty) {
            "an empty stop string".into()
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, wrong).in_operation("generate"))
    }
}
