//! Sound of any length as text: one window after the other, each from the last timestamp of the one before on.

use std::collections::VecDeque;
use std::time::Duration;

use super::mel::HOP;
use super::options::TranscribeOptions;
use super::window::{FRAMES_OF_A_STEP, read};
use super::{SAMPLES_A_SECOND, Segment, log_mel};
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::EncoderDecoderFamily;
use crate::runtime::generate::{EncoderDecoderModule, GenerateOptions, Source};
use crate::tensor::HostTensor;

impl EncoderDecoderModule {
    /// Transcribes audio of any length with Whisper, as an iterator over parts with their times. The audio is mono with 16,000
    /// samples per second, from -1 to 1.
    ///
    /// The audio is processed in windows, as in OpenAI's `transcribe`. Each window begins at the last timestamp of the window
    /// before. The windows run when `next` is called, and dropping the iterator ends the work. Three features of OpenAI's
    /// `transcribe` are missing: other temperatures for unlikely windows, the detection of silence, and the times of words.
    ///
    /// ```
    /// use accelerant::OptimizeOptions;
    /// use accelerant::generate::{DecoderOptions, EncoderDecoder, EncoderDecoderConfig, TranscribeOptions, WhisperTokens};
    ///
    /// # let json = r#"{"model_type": "whisper", "vocab_size": 52, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    /// #   "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_mel_bins": 8, "max_source_positions": 20,
    /// #   "max_target_positions": 32, "decoder_start_token_id": 21, "eos_token_id": 20}"#;
    /// let config = EncoderDecoderConfig::from_json(json)?;
    /// let tokens = WhisperTokens::new(&config, 31)?;
    /// let model = EncoderDecoder::new(config.clone(), config.random_weights(7)?)
    ///     .optimize_trt(&DecoderOptions::new(32), &OptimizeOptions::new())?;
    /// // The window of this model has 0.4 seconds.
    /// for part in model.transcribe(&[0.1; 16_000], &TranscribeOptions::new(tokens))? {
    ///     let part = part?;
    ///     println!("{:?}: {:?}", part.start, part.tokens);
    /// }
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a model other than Whisper, samples that are not finite, invalid options, and a module
    /// with a batch size above 1. The iterator returns the errors of [`generate`](Self::generate), and then ends.
    pub fn transcribe(
        &self,
        samples: &[f32],
        options: &TranscribeOptions,
    ) -> Result<Transcription> {
        let named = |error: Error| error.in_operation("transcribe");
        let invalid = |text: &str| named(Error::new(ErrorKind::InvalidArgument, text));
        let EncoderDecoderFamily::Whisper { mel_bins, source_positions, .. } = self.config().family
        else {
            return Err(invalid("the model is not Whisper"));
        };
        if self.batch() != 1 {
            return Err(invalid("the module is for several texts at once"));
        }
        let generate = options.of_window(self.config(), self.capacity())?;
        let window = FRAMES_OF_A_STEP * source_positions;
        let frames = samples.len() / HOP;
        // Silence follows, as far as a window may reach.
        let features = log_mel(samples, mel_bins, frames + window)?.to_vec()?;
        Ok(Transcription {
            module: self.clone(),
            options: options.clone(),
            generate,
            bands: mel_bins,
            window,
            features,
            frames,
            at: 0,
            language: options.language,
            written: options.begin.clone(),
            parts: VecDeque::new(),
        })
    }
}

/// The parts of a transcription by [`transcribe`](EncoderDecoderModule::transcribe). All parts have an end, and their times are
/// from the beginning of the audio.
pub struct Transcription {
    module: EncoderDecoderModule,
    options: TranscribeOptions,
    generate: GenerateOptions,
    bands: usize,
    /// Frames of a window.
    window: usize,
    /// `[bands, frames + window]`
    features: Vec<f32>,
    /// Frames of the sound.
    frames: usize,
    /// The frame that the next window begins with.
    at: usize,
    language: Option<u32>,
    /// Tokens that the next window knows, with timestamps.
    written: Vec<u32>,
    parts: VecDeque<Segment>,
}

impl Transcription {
    /// The token of the language, as soon as the language is known.
    pub fn language(&self) -> Option<u32> {
        self.language
    }

    /// The time up to which the sound was heard.
    pub fn heard(&self) -> Duration {
        time(self.at.min(self.frames))
    }

    /// The features of `count` frames of the sound, and zeros up to a whole window.
    fn features(&self, from: usize, count: usize) -> Result<HostTensor> {
        let mut values = Vec::with_capacity(self.bands * self.window);
        for band in self.features.chunks(self.frames + self.window) {
            values.extend_from_slice(&band[from..from + count]);
            values.resize(values.len() + self.window - count, 0.0);
        }
        HostTensor::from_vec([self.bands, self.window], values)
    }

    /// What the decoder begins a window with.
    fn prompt(&self, language: Option<u32>) -> Vec<u32> {
        let tokens = &self.options.tokens;
        let mut prompt = Vec::new();
        let known = (self.module.capacity() / 2).saturating_sub(1).min(self.written.len());
        if known > 0 {
            prompt.push(tokens.previous);
            prompt.extend_from_slice(&self.written[self.written.len() - known..]);
        }
        prompt.push(tokens.start);
        if let Some(language) = language {
            let task = if self.options.translate { tokens.translate } else { tokens.transcribe };
            prompt.extend([language, task]);
        }
        prompt
    }

    fn next_window(&mut self) -> Result<()> {
        if self.language.is_none() && !self.options.one_language {
            let features = self.features(0, self.window)?;
            let languages = self.module.detect_language(&features, &self.options.tokens)?;
            self.language = languages.first().map(|(token, _)| *token);
        }
        let count = self.window.min(self.frames - self.at);
        let features = self.features(self.at, count)?;
        let prompt = self.prompt(self.language);
        let tokens = self.module.generate(Source::Features(&features), &prompt, &self.generate)?;
        let tokens: Vec<u32> = tokens.collect::<Result<_>>()?;
        let (stretches, next) = read(&tokens, count, self.options.tokens.no_timestamps);
        let end = self.options.tokens.end;
        for stretch in stretches {
            let said: Vec<u32> =
                stretch.tokens.iter().copied().filter(|token| *token < end).collect();
            if said.is_empty() || stretch.start == stretch.end {
                continue;
            }
            self.written.extend(&stretch.tokens);
            let [start, end] = [stretch.start, stretch.end].map(|frame| time(self.at + frame));
            self.parts.push_back(Segment { start, end: Some(end), tokens: said });
        }
        if !self.options.keeps_text() {
            self.written.clear();
        }
        self.at += next;
        Ok(())
    }
}

impl Iterator for Transcription {
    type Item = Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Some(Ok(part));
            }
            if self.at >= self.frames {
                return None;
            }
            if let Err(error) = self.next_window() {
                self.at = self.frames;
                return Some(Err(error));
            }
        }
    }
}

impl std::fmt::Debug for Transcription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transcription({:?} of {:?})", self.heard(), time(self.frames))
    }
}

/// When a frame begins.
fn time(frame: usize) -> Duration {
    Duration::from_micros((frame * HOP) as u64 * 1_000_000 / SAMPLES_A_SECOND as u64)
}
