//! How likely a model finds a text that is given.

use std::sync::Arc;

use super::engines::Inner;
use super::session::start;
use crate::error::Result;
use crate::tensor::HostTensor;

/// The logarithms of the probabilities of all tokens from the one at `from` on.
pub(super) fn score(
    module: &Arc<Inner>,
    source: Vec<HostTensor>,
    tokens: &[u32],
    from: usize,
) -> Result<Vec<f32>> {
    module.check(&[tokens]).map_err(|e| e.in_operation("score"))?;
    let mut session = module.session()?;
    let mut scores = Vec::with_capacity(tokens.len().saturating_sub(from));
    for at in from..tokens.len() {
        match at == from {
            true => start(&mut *session, &source, &[&tokens[..from]])?,
            false => session.step(Some(&tokens[at - 1..at]))?,
        }
        scores.push(log_probability(&session.logits()?, tokens[at] as usize));
    }
    module.keep(session);
    Ok(scores)
}

/// The logits behind a text of one token.
pub(super) fn first_logits(
    module: &Arc<Inner>,
    source: Vec<HostTensor>,
    token: u32,
) -> Result<Vec<f32>> {
    module.check(&[&[token]])?;
    let mut session = module.session()?;
    start(&mut *session, &source, &[&[token]])?;
    let logits = session.logits()?;
    module.keep(session);
    Ok(logits)
}

/// The logarithm of a token's part of the softmax.
fn log_probability(logits: &[f32], token: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    (f64::from(logits[token] - largest) - sum.ln()) as f32
}

/// The perplexity of a text with these [log probabilities](super::DecoderModule::score). The perplexity is 1 if the model is
/// certain of each token, and `n` if `n` tokens are equally likely in each step.
///
/// ```
/// use accelerant::generate::perplexity;
///
/// let quarter = 0.25f32.ln();
/// assert!((perplexity(&[quarter, quarter]) - 4.0).abs() < 1e-6);
/// ```
pub fn perplexity(log_probabilities: &[f32]) -> f64 {
    let sum: f64 = log_probabilities.iter().copied().map(f64::from).sum();
    (-sum / log_probabilities.len().max(1) as f64).exp()
}
