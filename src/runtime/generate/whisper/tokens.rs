//! The special tokens of Whisper, which follow each other in one order in all of its vocabularies.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::{EncoderDecoderConfig, EncoderDecoderFamily};

/// The special tokens of one of Whisper's vocabularies.
///
/// ```
/// use accelerant::generate::{EncoderDecoderConfig, WhisperTokens};
///
/// # let json = r#"{"model_type": "whisper", "vocab_size": 51865, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
/// #   "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 50258, "eos_token_id": 50257}"#;
/// let config = EncoderDecoderConfig::from_json(json)?;
/// // `<|notimestamps|>` is 50363 in the models for 99 languages.
/// let tokens = WhisperTokens::new(&config, 50363)?;
/// assert_eq!((tokens.languages, tokens.transcribe, tokens.previous), (50259..50358, 50359, 50361));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WhisperTokens {
    /// `<|endoftext|>`
    pub end: u32,
    /// `<|startoftranscript|>`
    pub start: u32,
    /// The tokens of languages, such as `<|en|>`.
    pub languages: Range<u32>,
    /// `<|translate|>`
    pub translate: u32,
    /// `<|transcribe|>`
    pub transcribe: u32,
    /// `<|startofprev|>`
    pub previous: u32,
    /// `<|nospeech|>`
    pub no_speech: u32,
    /// `<|notimestamps|>`
    pub no_timestamps: u32,
}

/// `<|translate|>`, `<|transcribe|>`, `<|startoflm|>`, `<|startofprev|>` and `<|nospeech|>`.
const BETWEEN_LANGUAGES_AND_TIMES: u32 = 5;

impl WhisperTokens {
    /// The tokens of a model, from its start token and from `no_timestamps`, the token `<|notimestamps|>`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a configuration of another family or without an end token, and for tokens that leave
    /// no room for a language.
    pub fn new(config: &EncoderDecoderConfig, no_timestamps: u32) -> Result<Self> {
        let wrong = |text: String| {
            Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("tokens of Whisper"))
        };
        if !matches!(config.family, EncoderDecoderFamily::Whisper { .. }) {
            return wrong("the configuration is not one of Whisper".into());
        }
        let Some(&end) = config.end_tokens.first() else {
            return wrong("the configuration has no end token".into());
        };
        let (start, vocabulary) = (config.start_token, config.vocabulary);
        if no_timestamps as usize >= vocabulary {
            return wrong(format!(
                "token {no_timestamps} is beyond the vocabulary of {vocabulary}"
            ));
        }
        let Some(languages) = no_timestamps
            .checked_sub(BETWEEN_LANGUAGES_AND_TIMES)
            .filter(|behind| *behind > start.saturating_add(1))
        else {
            return wrong(format!(
                "no language is between the start token {start} and `<|notimestamps|>`, {no_timestamps}"
            ));
        };
        Ok(Self {
            end,
            start,
            languages: start + 1..languages,
            translate: languages,
            transcribe: languages + 1,
            previous: languages + 3,
            no_speech: languages + 4,
            no_timestamps,
        })
    }
}
