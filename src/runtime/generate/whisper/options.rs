//! How sound of any length is written down.

use super::{WhisperRules, WhisperTokens};
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::EncoderDecoderConfig;
use crate::runtime::generate::GenerateOptions;

/// Options of [`transcribe`](crate::generate::EncoderDecoderModule::transcribe).
///
/// ```
/// use accelerant::generate::{EncoderDecoderConfig, TranscribeOptions, WhisperTokens};
///
/// # let json = r#"{"model_type": "whisper", "vocab_size": 51865, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
/// #   "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 50258, "eos_token_id": 50257}"#;
/// let config = EncoderDecoderConfig::from_json(json)?;
/// let tokens = WhisperTokens::new(&config, 50363)?;
/// // `<|de|>` is 50261, and " " is 220. Without a language, the first window decides.
/// let german = TranscribeOptions::new(tokens).language(50261).blank(220).translate();
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TranscribeOptions {
    pub(super) tokens: WhisperTokens,
    pub(super) language: Option<u32>,
    pub(super) one_language: bool,
    pub(super) translate: bool,
    pub(super) blank: Option<u32>,
    pub(super) begin: Vec<u32>,
    pub(super) previous_text: bool,
    pub(super) generate: GenerateOptions,
}

/// Drawn tokens are no good beginning of a next window from this temperature on, as the authors have it.
const HIGH_TEMPERATURE: f64 = 0.5;

impl TranscribeOptions {
    /// Greedy transcription in the spoken language, which is detected in the first window. Each window gets the text of the
    /// windows before.
    pub fn new(tokens: WhisperTokens) -> Self {
        Self {
            tokens,
            language: None,
            one_language: false,
            translate: false,
            blank: None,
            begin: Vec::new(),
            previous_text: true,
            generate: GenerateOptions::new(),
        }
    }

    /// Sets the token of the spoken language.
    #[must_use]
    pub fn language(mut self, token: u32) -> Self {
        self.language = Some(token);
        self
    }

    /// For English-only models, whose prompts have no language token and no task token.
    #[must_use]
    pub fn english_alone(mut self) -> Self {
        self.one_language = true;
        self
    }

    /// Translates into English.
    #[must_use]
    pub fn translate(mut self) -> Self {
        self.translate = true;
        self
    }

    /// Sets the token of a single space. No text begins with this token.
    #[must_use]
    pub fn blank(mut self, token: u32) -> Self {
        self.blank = Some(token);
        self
    }

    /// Sets the tokens of a text before the audio, for example with the spelling of names.
    #[must_use]
    pub fn text_before(mut self, tokens: impl IntoIterator<Item = u32>) -> Self {
        self.begin = tokens.into_iter().collect();
        self
    }

    /// Sets whether each window gets the text of the windows before. Without this text, a model that repeats itself is more
    /// likely to stop.
    #[must_use]
    pub fn previous_text(mut self, known: bool) -> Self {
        self.previous_text = known;
        self
    }

    /// Sets the options of the generation in each window. Its rules apply after the rules of Whisper. A window has at most half
    /// as many tokens as the cache.
    #[must_use]
    pub fn generate(mut self, options: GenerateOptions) -> Self {
        self.generate = options;
        self
    }

    /// Whether a window knows what was written before.
    pub(super) fn keeps_text(&self) -> bool {
        self.previous_text && self.generate.temperature <= HIGH_TEMPERATURE
    }

    /// The rules of the model, and the options of one window with a cache of `capacity` positions.
    pub(super) fn of_window(
        &self,
        config: &EncoderDecoderConfig,
        capacity: usize,
    ) -> Result<GenerateOptions> {
        self.check(config)?;
        self.generate.check()?;
        let mut rules = WhisperRules::new(config, self.tokens.no_timestamps)?;
        if let Some(blank) = self.blank {
            rules = rules.blank(blank);
        }
        let mut options = self.generate.clone();
        options.max_tokens = options.max_tokens.min(capacity / 2);
        options.rules.insert(0, std::sync::Arc::new(rules));
        Ok(options)
    }

    fn check(&self, config: &EncoderDecoderConfig) -> Result<()> {
        let wrong = |text: String| {
            Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("transcribe"))
        };
        if WhisperTokens::new(config, self.tokens.no_timestamps)? != self.tokens {
            return wrong("the tokens are those of another model".into());
        }
        let languages = &self.tokens.languages;
        if let Some(token) = self.language.filter(|token| !languages.contains(token)) {
            return wrong(format!("token {token} is no language, which are {languages:?}"));
        }
        if self.one_language && (self.language.is_some() || self.translate) {
            return wrong("a model of English alone takes neither a language nor a task".into());
        }
        let vocabulary = config.vocabulary;
        let mut tokens = self.begin.iter().chain(&self.blank);
        if let Some(token) = tokens.find(|token| **token as usize >= vocabulary) {
            return wrong(format!("token {token} is beyond the vocabulary of {vocabulary}"));
        }
        Ok(())
    }
}
