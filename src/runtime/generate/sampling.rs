//! One token from logits. The order of steps is that of Candle's `LogitsProcessor`, and the same seed draws the same tokens.

use rand::SeedableRng;
use rand::distr::{Distribution, weighted::WeightedIndex};
use rand::rngs::StdRng;

use super::GenerateOptions;
use crate::error::{Error, ErrorKind, Result};

/// Penalized logits stay within, so that a temperature leaves numbers.
const FAR: f32 = 1e30;

/// Samples tokens by the [options](GenerateOptions), in this order: repetition penalty, temperature, `top_k`, `top_p`.
///
/// ```
/// use accelerant::generate::{GenerateOptions, Sampler};
///
/// let mut greedy = Sampler::new(&GenerateOptions::new())?;
/// assert_eq!(greedy.sample(vec![0.1, 2.0, -1.0], &[])?, 1);
///
/// // The penalty makes token 1 less likely than token 0.
/// let mut varied = Sampler::new(&GenerateOptions::new().repetition_penalty(100.0))?;
/// assert_eq!(varied.sample(vec![0.1, 2.0, -1.0], &[1])?, 0);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Debug)]
pub struct Sampler {
    random: StdRng,
    /// None takes the most likely token.
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    penalty: f32,
    window: usize,
}

/// Chooses the token behind a text whose first `prompt` tokens were given, after the rules of the options.
pub(super) fn choose(
    sampler: &mut Sampler,
    options: &GenerateOptions,
    logits: &[f32],
    text: &[u32],
    prompt: usize,
) -> Result<u32> {
    let mut logits = logits.to_vec();
    for rule in &options.rules {
        rule.apply(&mut logits, &text[prompt..])?;
    }
    sampler.sample(logits, text)
}

impl Sampler {
    /// A sampler with the seed of the options.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the name of an invalid option.
    pub fn new(options: &GenerateOptions) -> Result<Self> {
        options.check()?;
        Ok(Self {
            random: StdRng::seed_from_u64(options.seed),
            temperature: (!options.takes_likeliest()).then_some(options.temperature),
            top_k: options.top_k,
            top_p: options.top_p,
            penalty: options.penalty,
            window: options.penalty_window,
        })
    }

    /// Samples a token. `logits` has one number for each token of the vocabulary, and `before` has the tokens so far.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] if a logit is NaN, or if all logits are `-f32::INFINITY`.
    pub fn sample(&mut self, mut logits: Vec<f32>, before: &[u32]) -> Result<u32> {
        if let Some(token) = logits.iter().position(|logit| logit.is_nan()) {
            let text = format!("the logit of token {token} is NaN");
            return Err(Error::new(ErrorKind::Execution, text).in_operation("sample"));
        }
        self.penalize(&mut logits, before);
        if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return Err(
                Error::new(ErrorKind::Execution, "no token is allowed").in_operation("sample")
            );
        }
        let Some(temperature) = self.temperature else { return Ok(most_likely(&logits)) };
        let mut likely = softmax(&logits, temperature);
        let Some(k) = self.top_k.filter(|k| *k < likely.len()) else {
            self.narrow(&mut likely);
            return self.draw(&likely);
        };
        let mut tokens: Vec<usize> = (0..likely.len()).collect();
        let (best, ..) = tokens.select_nth_unstable_by(k, |&i, &j| likely[j].total_cmp(&likely[i]));
        let mut of_best: Vec<f32> = best.iter().map(|&token| likely[token]).collect();
        if self.top_p.is_some_and(|sum| (sum as f32) < of_best.iter().sum()) {
            self.narrow(&mut of_best);
        }
        Ok(best[self.draw(&of_best)? as usize] as u32)
    }

    /// A penalty may be of any size, and leaves numbers.
    fn penalize(&self, logits: &mut [f32], before: &[u32]) {
        if self.penalty == 1.0 {
            return;
        }
        let mut met = std::collections::HashSet::new();
        for &token in &before[before.len().saturating_sub(self.window)..] {
            if let Some(logit) = logits.get_mut(token as usize).filter(|_| met.insert(token)) {
                let changed =
                    if *logit >= 0.0 { *logit / self.penalty } else { *logit * self.penalty };
                *logit = changed.clamp(-FAR, FAR);
            }
        }
    }

    /// Leaves the most likely ones whose sum reaches the one asked for.
    fn narrow(&self, likely: &mut [f32]) {
        let Some(sum) = self.top_p.filter(|sum| *sum < 1.0) else { return };
        let sum = sum as f32;
        // All that are less likely than this together are no more than what may be missing.
        let all: f32 = likely.iter().sum();
        let least = (all - sum) / likely.len() as f32;
        let likelier = (0..likely.len()).filter(|i| likely[*i] >= least).collect();
        let kept = reaching(likely, likelier, sum)
            .or_else(|| reaching(likely, (0..likely.len()).collect(), sum));
        let Some(kept) = kept else { return };
        let kept: Vec<(usize, f32)> = kept.into_iter().map(|i| (i, likely[i])).collect();
        likely.fill(0.0);
        kept.into_iter().for_each(|(i, value)| likely[i] = value);
    }

    fn draw(&mut self, likely: &[f32]) -> Result<u32> {
        let weighted = WeightedIndex::new(likely).map_err(|e| {
            let text = format!("no token can be drawn: {e}");
            Error::new(ErrorKind::Execution, text).in_operation("sample")
        })?;
        Ok(weighted.sample(&mut self.random) as u32)
    }
}

/// As few tokens as reach a sum, the most likely ones first, and of equal ones the first. `None` where all do not reach the
/// sum. A vocabulary is large, and few of its tokens are likely: they are sorted part by part.
fn reaching(likely: &[f32], mut tokens: Vec<usize>, sum: f32) -> Option<Vec<usize>> {
    const FIRST_PART: usize = 512;
    let order = |i: &usize, j: &usize| likely[*j].total_cmp(&likely[*i]).then(i.cmp(j));
    let (mut sorted, mut reached) = (0, 0.0);
    while sorted < tokens.len() {
        let rest = &mut tokens[sorted..];
        let part = (4 * sorted).max(FIRST_PART);
        let part = if 2 * part >= rest.len() { rest.len() } else { part };
        if part < rest.len() {
            rest.select_nth_unstable_by(part, order);
        }
        rest[..part].sort_unstable_by(order);
        for i in sorted..sorted + part {
            reached += likely[tokens[i]];
            if reached >= sum {
                tokens.truncate(i + 1);
                return Some(tokens);
            }
        }
        sorted += part;
    }
    None
}

/// The first of the largest.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as u32
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f32> {
    // Multiplied as Candle does, in 32 bits.
    let by = (1.0 / temperature) as f32;
    let scaled = || logits.iter().map(|logit| logit * by);
    let largest = scaled().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scaled().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
