//! Which tokens Whisper may write: its timestamps come in pairs and never go back. The rules are those of the authors' code.

use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::{EncoderDecoderConfig, EncoderDecoderFamily};
use crate::runtime::generate::LogitsRule;

/// The rules for the tokens of Whisper, for [`GenerateOptions::rule`](crate::generate::GenerateOptions::rule).
///
/// - The first token is a timestamp of at most 1 second, and not a space or the end token.
/// - Timestamps come in pairs, except before the end token. No timestamp is earlier than the timestamp before it.
/// - If all timestamps together are more likely than every other token, the next token is a timestamp.
/// - Some tokens are never generated, such as `<|notimestamps|>` and the `suppress_tokens` of the configuration.
///
/// For a prompt that ends with `<|notimestamps|>`, use [`without_timestamps`](Self::without_timestamps).
///
/// ```
/// use accelerant::generate::{EncoderDecoderConfig, GenerateOptions, WhisperRules};
///
/// # let json = r#"{"model_type": "whisper", "vocab_size": 51865, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
/// #   "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 50258, "eos_token_id": 50257}"#;
/// let config = EncoderDecoderConfig::from_json(json)?;
/// // `<|notimestamps|>` of the models for many languages is 50363, and " " is 220.
/// let rules = WhisperRules::new(&config, 50363)?.blank(220);
/// let options = GenerateOptions::new().max_tokens(224).rule(rules);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WhisperRules {
    no_timestamps: usize,
    end: usize,
    suppressed: Vec<u32>,
    blank: Option<u32>,
    latest_start: Option<usize>,
    timestamps: bool,
}

/// Timestamps are 20 ms apart, and the first one is at most 1 s.
const FIRST_SECOND: usize = 50;

impl WhisperRules {
    /// The rules of a model. `no_timestamps` is the token `<|notimestamps|>`; the timestamps have the numbers after this token.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a configuration of another family or without an end token, and for a token outside the
    /// vocabulary.
    pub fn new(config: &EncoderDecoderConfig, no_timestamps: u32) -> Result<Self> {
        let wrong = |text: &str| {
            Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("rules of Whisper"))
        };
        let EncoderDecoderFamily::Whisper { suppressed, .. } = &config.family else {
            return wrong("the configuration is not one of Whisper");
        };
        let Some(&end) = config.end_tokens.first() else {
            return wrong("the configuration has no end token");
        };
        let tokens = suppressed.iter().chain([&no_timestamps]);
        if tokens.into_iter().any(|token| *token as usize >= config.vocabulary) {
            return wrong("a token is beyond the vocabulary");
        }
        if no_timestamps <= end {
            return wrong("`<|notimestamps|>` comes behind the end token");
        }
        Ok(Self {
            no_timestamps: no_timestamps as usize,
            end: end as usize,
            suppressed: suppressed.clone(),
            blank: None,
            latest_start: Some(FIRST_SECOND),
            timestamps: true,
        })
    }

    /// Sets the token of a single space. No text begins with this token.
    #[must_use]
    pub fn blank(mut self, token: u32) -> Self {
        self.blank = Some(token);
        self
    }

    /// Sets the latest first timestamp, in steps of 20 ms. `None` allows all timestamps.
    #[must_use]
    pub fn latest_start(mut self, steps: Option<usize>) -> Self {
        self.latest_start = steps;
        self
    }

    /// Only the rules that are not about timestamps, for prompts that end with `<|notimestamps|>`.
    #[must_use]
    pub fn without_timestamps(mut self) -> Self {
        self.timestamps = false;
        self
    }

    fn forbid_timestamps(&self, logits: &mut [f32], generated: &[u32]) {
        let begin = self.no_timestamps + 1;
        let is_time = |token: &u32| *token as usize >= begin;
        let last_is = generated.last().is_some_and(is_time);
        let before_is =
            generated.len() < 2 || generated.get(generated.len() - 2).is_some_and(is_time);
        if last_is && before_is {
            // A pair is whole, and text comes next.
            forbid(logits, begin..usize::MAX);
        } else if last_is {
            // The second of a pair comes next, or the end.
            forbid(logits, 0..self.end);
        }
        if let Some(latest) = generated.iter().rev().find(|token| is_time(token)) {
            // A text that is not empty ends later than it begins.
            let next = *latest as usize + usize::from(!last_is || before_is);
            forbid(logits, begin..next);
        }
        if generated.is_empty() {
            forbid(logits, 0..begin);
            if let Some(steps) = self.latest_start {
                forbid(logits, begin + steps + 1..usize::MAX);
            }
        }
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits[begin..].iter().map(|logit| (logit - largest).exp()).sum();
        let best = logits[..begin].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if sum.ln() + largest > best {
            forbid(logits, 0..begin);
        }
    }
}

/// Forbids a range of tokens, as far as there are any.
fn forbid(logits: &mut [f32], tokens: std::ops::Range<usize>) {
    let end = tokens.end.min(logits.len());
    if tokens.start < end {
        logits[tokens.start..end].fill(f32::NEG_INFINITY);
    }
}

impl LogitsRule for WhisperRules {
    fn apply(&self, logits: &mut [f32], generated: &[u32]) -> Result<()> {
        if logits.len() <= self.no_timestamps {
            let text = format!("{} logits have no token {}", logits.len(), self.no_timestamps);
            return Err(
                Error::new(ErrorKind::InvalidArgument, text).in_operation("rules of Whisper")
            );
        }
        let begins = generated.is_empty();
        let blank = self.blank.filter(|_| begins).map(|token| token as usize);
        let at_start = blank.into_iter().chain(begins.then_some(self.end));
        let never = self.suppressed.iter().map(|token| *token as usize);
        for token in never.chain([self.no_timestamps]).chain(at_start) {
            forbid(logits, token..token + 1);
        }
        if self.timestamps {
            self.forbid_timestamps(logits, generated);
        }
        Ok(())
    }
}
