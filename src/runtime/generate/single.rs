//! One text: generated on the caller's thread, or in flight in a batcher.

use std::fmt;

use super::continuous::InFlight;
use super::generation::{Batch, End};
use super::stream::GenerationStream;
use super::text::TextGeneration;
use crate::error::Result;

/// The generated tokens of one sequence, as an iterator. If a generation is dropped, the next generation reuses its cache.
pub struct Generation(Origin);

/// Who generates.
enum Origin {
    /// The caller's own thread, when it asks.
    Own(Box<Batch>),
    /// A [batcher's](super::ContinuousBatcher) thread.
    InFlight(InFlight),
}

impl Generation {
    pub(super) fn of(batch: Batch) -> Self {
        Self(Origin::Own(Box::new(batch)))
    }

    pub(super) fn in_flight(tokens: InFlight) -> Self {
        Self(Origin::InFlight(tokens))
    }

    /// The reason why the sequence has ended, if it has ended.
    pub fn end(&self) -> Option<End> {
        match &self.0 {
            Origin::Own(batch) => batch.ends[0],
            Origin::InFlight(tokens) => tokens.end(),
        }
    }

    /// It has ended for another reason than its tokens.
    pub(super) fn end_with(&mut self, end: End) {
        match &mut self.0 {
            Origin::Own(batch) => batch.ends[0] = Some(end),
            Origin::InFlight(tokens) => tokens.end_with(end),
        }
    }

    /// Turns the tokens into pieces of text, each of whole characters. `decode` turns tokens into text, such as
    /// `|tokens: &[u32]| tokenizer.decode(tokens, true)` with the crate `tokenizers`. A stop string ends the text.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// # use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
    /// # let json = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # let config = DecoderConfig::from_json(json)?;
    /// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
    /// # let model = decoder.optimize_trt(&DecoderOptions::new(64), &OptimizeOptions::new())?;
    /// let options = GenerateOptions::new().max_tokens(5);
    /// let spelled = |tokens: &[u32]| -> accelerant::Result<String> {
    ///     Ok(tokens.iter().map(|&token| char::from(b'A' + token as u8)).collect())
    /// };
    /// let text: String = model.generate(&[1, 2, 3], &options)?.text(spelled).collect::<Result<_, _>>()?;
    /// assert_eq!(text.len(), 5);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    pub fn text<E, F>(self, decode: F) -> TextGeneration<F>
    where
        F: FnMut(&[u32]) -> Result<String, E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stops = match &self.0 {
            Origin::Own(batch) => batch.options.stop_strings.clone(),
            Origin::InFlight(tokens) => tokens.stop_strings().to_vec(),
        };
        TextGeneration::new(self, decode, stops)
    }

    /// Turns the generation into a stream for async code.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// # use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
    /// # use futures_core::Stream;
    /// # use std::future::poll_fn;
    /// # use std::pin::Pin;
    /// # let json = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # let config = DecoderConfig::from_json(json)?;
    /// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
    /// # let model = decoder.optimize_trt(&DecoderOptions::new(64), &OptimizeOptions::new())?;
    /// # async fn counted(model: &accelerant::generate::DecoderModule) -> accelerant::Result<usize> {
    /// let mut tokens = model.generate(&[1, 2, 3], &GenerateOptions::new())?.into_stream();
    /// let mut count = 0;
    /// // With the crate `futures` this is `while let Some(token) = tokens.next().await`.
    /// while let Some(token) = poll_fn(|context| Pin::new(&mut tokens).poll_next(context)).await {
    ///     println!("{}", token?);
    ///     count += 1;
    /// }
    /// # Ok(count)
    /// # }
    /// # let _ = counted(&model);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    pub fn into_stream(self) -> GenerationStream<u32> {
        GenerationStream::of(self)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation").field("end", &self.end()).finish_non_exhaustive()
    }
}

impl Iterator for Generation {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Origin::Own(batch) => match batch.next()? {
                Ok(tokens) => tokens.first().copied().flatten().map(Ok),
                Err(e) => Some(Err(e)),
            },
            Origin::InFlight(tokens) => tokens.next(),
        }
    }
}
