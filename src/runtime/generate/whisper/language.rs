//! Which language is spoken.

use super::WhisperTokens;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::generate::{EncoderDecoderModule, Source};
use crate::tensor::HostTensor;

impl EncoderDecoderModule {
    /// Detects the spoken language. The result has the token of each language with its probability, the most likely language
    /// first. `features` are the features of one window, as [`log_mel`](super::log_mel) returns.
    ///
    /// The model runs one step after the start token.
    ///
    /// ```
    /// use accelerant::OptimizeOptions;
    /// use accelerant::generate::{DecoderOptions, EncoderDecoder, EncoderDecoderConfig, WhisperTokens, log_mel};
    ///
    /// # let json = r#"{"model_type": "whisper", "vocab_size": 64, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    /// #   "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_mel_bins": 8, "max_source_positions": 20,
    /// #   "max_target_positions": 32, "decoder_start_token_id": 21, "eos_token_id": 20}"#;
    /// let config = EncoderDecoderConfig::from_json(json)?;
    /// let tokens = WhisperTokens::new(&config, 31)?;
    /// let model = EncoderDecoder::new(config.clone(), config.random_weights(7)?)
    ///     .optimize_trt(&DecoderOptions::new(32), &OptimizeOptions::new())?;
    /// let languages = model.detect_language(&log_mel(&[0.1; 5000], 8, 40)?, &tokens)?;
    /// assert_eq!(languages.len(), tokens.languages.len());
    /// assert!(languages[0].1 >= languages[1].1);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for features of another shape; [`ErrorKind::InvalidArgument`] for a module with a batch size
    /// above 1, and for tokens of another model.
    pub fn detect_language(
        &self,
        features: &HostTensor,
        tokens: &WhisperTokens,
    ) -> Result<Vec<(u32, f32)>> {
        let named = |error: Error| error.in_operation("detect language");
        let logits = self.first_logits(Source::Features(features), tokens.start).map_err(named)?;
        let (first, behind) = (tokens.languages.start as usize, tokens.languages.end as usize);
        let Some(languages) = logits.get(first..behind).filter(|logits| !logits.is_empty()) else {
            let text = format!("{} logits have no tokens {first} to {behind}", logits.len());
            return Err(named(Error::new(ErrorKind::InvalidArgument, text)));
        };
        if let Some(at) = languages.iter().position(|logit| !logit.is_finite()) {
            let text = format!("the logit of token {} is not a number", first + at);
            return Err(named(Error::new(ErrorKind::Execution, text)));
        }
        let largest = languages.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = languages.iter().map(|logit| (logit - largest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        let mut all: Vec<(u32, f32)> = tokens
            .languages
            .clone()
            .zip(powers)
            .map(|(token, power)| (token, power / sum))
            .collect();
        // Of equal ones the first stays the first.
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(all)
    }
}
