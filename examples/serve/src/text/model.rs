//! The language model, and who may generate: so many texts at a time, and so many requests that wait.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use accelerant::TimeLimit;
use accelerant::generate::{Decoder, DecoderConfig, DecoderModule, DecoderOptions, End};
use tokenizers::Tokenizer;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;

use super::asked::{Asked, Prompt};
use super::chat::ChatTemplate;
use super::weights;
use crate::fail::{Failure, Result};
use crate::gauge::Gauge;
use crate::metrics::Outcomes;
use crate::options::{Named, Options};
use crate::{Problem, models};

/// Pieces that a client has not taken yet. More, and the generation waits.
const AHEAD: usize = 32;

pub(crate) struct TextModel {
    name: String,
    module: DecoderModule,
    tokenizer: Arc<Tokenizer>,
    chat: Option<ChatTemplate>,
    /// A permit for each text that may be generated at the same time.
    permits: Arc<Semaphore>,
    most_running: usize,
    running: Gauge,
    prompt_tokens: AtomicU64,
    generated_tokens: Arc<AtomicU64>,
    pub(crate) outcomes: Outcomes,
    /// Seconds since 1970.
    pub(super) created: u64,
}

/// What a generation tells.
pub(super) enum Event {
    Piece(String),
    /// How it ended, and how many tokens were generated.
    End(End, usize),
    Failed(Failure),
}

/// A generation. Dropping it ends the generation.
pub(super) struct Text {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) prompt_tokens: usize,
    limit: TimeLimit,
}

impl Drop for Text {
    fn drop(&mut self) {
        self.limit.cancel();
    }
}

impl TextModel {
    /// Opens a folder, and compiles.
    pub(crate) fn load(named: &Named, options: &Options) -> Result<Self, Problem> {
        let Named { name, path } = named;
        let failed = |e| format!("language model `{name}`, {}: {e}", path.display()).into();
        Self::open(name, path, options).map_err(failed)
    }

    fn open(name: &str, folder: &Path, options: &Options) -> Result<Self, Problem> {
        let config = fs::read_to_string(folder.join("config.json"))
            .map_err(|e| format!("config.json: {e}"))?;
        let config = DecoderConfig::from_json(&config)?;
        let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))
            .map_err(|e| format!("tokenizer.json: {e}"))?;
        let capacity = options.capacity.min(config.positions);
        let decoder = Decoder::new(config, weights::of_folder(folder)?);
        let module = decoder.optimize_trt(
            &DecoderOptions::new(capacity).dtype(options.dtype),
            &models::compiling(options),
        )?;
        let generations = options.generations.max(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            module,
            tokenizer: Arc::new(tokenizer),
            chat: ChatTemplate::of_folder(folder)?,
            permits: Arc::new(Semaphore::new(generations)),
            most_running: generations.saturating_add(options.max_waiting),
            running: Gauge::default(),
            prompt_tokens: AtomicU64::new(0),
            generated_tokens: Arc::default(),
            outcomes: Outcomes::default(),
            created: now.as_secs(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn description(&self) -> String {
        let (on, capacity) = (self.module.module().description(), self.module.capacity());
        let chat = if self.chat.is_some() { "a" } else { "no" };
        format!("`{}` on {on}, {capacity} tokens, with {chat} chat template", self.name)
    }

    /// How many requests wait or generate.
    pub(crate) fn running(&self) -> usize {
        self.running.count()
    }

    /// Tokens of prompts, and generated ones.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        (self.prompt_tokens.load(Relaxed), self.generated_tokens.load(Relaxed))
    }

    /// Begins to generate, after as many others as are before.
    pub(super) async fn generate(&self, asked: &Asked, prompt: Vec<u32>) -> Result<Text> {
        let limit = TimeLimit::none();
        let (sender, events) = mpsc::channel(AHEAD);
        let text = Text { events, prompt_tokens: prompt.len(), limit };
        let room = self.module.capacity().saturating_sub(prompt.len()).max(1);
        let options = asked.options(room, &text.limit)?;
        // Refuses what cannot be generated. The first token is computed when it is asked for.
        let generation = self.module.generate(&prompt, &options)?;
        let full = || Failure::busy(format!("{} texts wait or run already", self.most_running));
        let running = self.running.one_below(self.most_running).ok_or_else(full)?;
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|e| Failure::busy(e.to_string()))?;
        self.prompt_tokens.fetch_add(prompt.len() as u64, Relaxed);
        let (tokenizer, generated) = (self.tokenizer.clone(), self.generated_tokens.clone());
        spawn_blocking(move || {
            let mut text = generation.text(|tokens: &[u32]| tokenizer.decode(tokens, true));
            let gone = loop {
                let event = match text.next() {
                    Some(Ok(piece)) => Event::Piece(piece),
                    Some(Err(e)) => break sender.blocking_send(Event::Failed(e.into())),
                    None => {
                        let end = text.end().unwrap_or(End::Failed);
                        break sender.blocking_send(Event::End(end, text.tokens().len()));
                    }
                };
                if let Err(gone) = sender.blocking_send(event) {
                    break Err(gone);
                }
            };
            generated.fetch_add(text.tokens().len() as u64, Relaxed);
            if gone.is_err() {
                tracing::debug!("a client went away after {} tokens", text.tokens().len());
            }
            drop((running, permit));
        });
        Ok(text)
    }

    /// The tokens of a prompt, or of a conversation.
    pub(super) fn prompt(&self, asked: &Asked) -> Result<Vec<u32>> {
        let encode = |text: &str, special: bool| {
            let encoded = self.tokenizer.encode(text, special);
            let encoded =
                encoded.map_err(|e| Failure::bad(format!("the prompt has no tokens: {e}")));
            Ok(encoded?.get_ids().to_vec())
        };
        if let Some(messages) = &asked.messages {
            let missing = || Failure::bad("the model has no chat template: ask for a completion");
            // The template writes the special tokens.
            return encode(&self.chat.as_ref().ok_or_else(missing)?.prompt(messages)?, false);
        }
        match &asked.prompt {
            Some(Prompt::Text(text)) => encode(text, true),
            Some(Prompt::Tokens(tokens)) => Ok(tokens.clone()),
            Some(Prompt::Texts(texts)) => match &texts[..] {
                [text] => encode(text, true),
                _ => Err(Failure::bad("`prompt` has several texts: send a request for each")),
            },
            None => Err(Failure::bad("`prompt` is missing")),
        }
    }
}
