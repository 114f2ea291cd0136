//! The language model, and the batch that its requests are in: so many texts at a time, and so many that wait.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use accelerant::generate::{
    ContinuousBatcher, ContinuousCounters, ContinuousOptions, Decoder, DecoderConfig,
    DecoderModule, DecoderOptions, End, Generation,
};
use accelerant::{BackendKind, Registry, TimeLimit};
use axum::http::StatusCode;
use tokenizers::Tokenizer;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::asked::{Asked, Prompt};
use super::chat::ChatTemplate;
use super::weights;
use crate::fail::{Failure, Result};
use crate::metrics::Outcomes;
use crate::options::{Named, Options};
use crate::{Problem, models};

/// Pieces of words that a thread's tokenizer remembers. The usual ten thousand are tens of megabytes for each thread.
const REMEMBERED: usize = 1000;
/// How many texts are generated at a time where the command line does not say it. On a GPU each pass
/// computes all of them. On a CPU a pass computes those that are there, and each makes it longer for the others.
const USUAL_ON_A_GPU: usize = 8;
const USUAL: usize = 4;

pub(crate) struct TextModel {
    name: String,
    module: DecoderModule,
    tokenizer: Arc<Tokenizer>,
    chat: Option<ChatTemplate>,
    batcher: ContinuousBatcher,
    /// The most texts that are generated or wait.
    most: usize,
    /// The most bytes that as many tokens spell as a cache holds.
    most_bytes: usize,
    pub(crate) outcomes: Arc<Outcomes>,
    /// Seconds since 1970.
    pub(super) created: u64,
}

/// What the texts of one answer tell.
pub(super) enum Event {
    /// Which text, and what it goes on with.
    Piece(usize, String),
    /// How a text ended, and how many tokens were generated.
    End(usize, End, usize),
    Failed(Failure),
}

/// The texts of one answer. Dropping them ends their generation.
pub(super) struct Texts {
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) count: usize,
    pub(super) prompt_tokens: usize,
    limit: TimeLimit,
}

impl Drop for Texts {
    fn drop(&mut self) {
        self.limit.cancel();
    }
}

/// What is told where the threads that give the texts have ended without a word.
pub(super) fn given_up() -> Failure {
    let text = "the texts were given up: a thread that gave them has ended";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, text)
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
        let mut config = DecoderConfig::from_json(&config)?;
        let generation = folder.join("generation_config.json");
        if generation.exists() {
            let text = fs::read_to_string(&generation)
                .map_err(|e| format!("generation_config.json: {e}"))?;
            config = config.with_generation_config(&text)?;
        }
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))
            .map_err(|e| format!("tokenizer.json: {e}"))?;
        let mut spelling = tokenizer.get_model().clone();
        spelling.resize_cache(REMEMBERED);
        tokenizer.with_model(spelling);
        let longest = tokenizer.get_vocab(true).keys().map(String::len).max().unwrap_or_default();
        let capacity = options.capacity.min(config.positions);
        let decoder = Decoder::new(config, weights::of_folder(folder)?);
        let generations = options.generations.unwrap_or_else(|| usual(options)).max(1);
        let module = decoder.optimize_trt(
            &DecoderOptions::new(capacity).batch(generations).dtype(options.dtype),
            &models::compiling(options),
        )?;
        let batcher =
            module.continuous(&ContinuousOptions::new().max_queue(options.max_waiting))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            module,
            tokenizer: Arc::new(tokenizer),
            chat: ChatTemplate::of_folder(folder)?,
            batcher,
            most: generations.saturating_add(options.max_waiting),
            most_bytes: capacity.saturating_mul(longest.max(1)),
            outcomes: Arc::default(),
            created: now.as_secs(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn description(&self) -> String {
        let (on, capacity) = (self.module.module().description(), self.module.capacity());
        let chat = if self.chat.is_some() { "a" } else { "no" };
        let (name, slots) = (&self.name, self.batcher.slots());
        format!("`{name}` on {on}, {slots} texts of {capacity} tokens, with {chat} chat template")
    }

    /// What was generated, and what runs and waits.
    pub(crate) fn counters(&self) -> ContinuousCounters {
        self.batcher.counters()
    }

    /// Begins to generate the texts behind some prompts, [`choices`](Asked::choices) of each.
    pub(super) fn generate(&self, asked: &Asked, prompts: &[Vec<u32>]) -> Result<Texts> {
        // A cache bounds a text. A client that does not read holds no thread.
        let (sender, events) = mpsc::unbounded_channel();
        let count = prompts.len().saturating_mul(asked.choices());
        let prompt_tokens = prompts.iter().map(Vec::len).sum();
        let texts = Texts { events, count, prompt_tokens, limit: TimeLimit::none() };
        self.check_count(count)?;
        let mut all = Vec::with_capacity(count);
        for prompt in prompts {
            let room = self.module.capacity().saturating_sub(prompt.len()).max(1);
            let options = asked.options(room, self.most_bytes, &texts.limit)?;
            let of_choice = |choice| options.clone().seed(asked.seed.wrapping_add(choice as u64));
            all.extend((0..asked.choices()).map(|choice| (prompt.as_slice(), of_choice(choice))));
        }
        // All texts of an answer are taken, or none.
        let begun = self.batcher.submit_all(&all)?;
        for (i, generation) in begun.into_iter().enumerate() {
            let (tokenizer, sender) = (self.tokenizer.clone(), sender.clone());
            spawn_blocking(move || tell(i, generation, &tokenizer, &sender));
        }
        Ok(texts)
    }

    fn check_count(&self, count: usize) -> Result<()> {
        if count > self.most {
            let (most, slots) = (self.most, self.batcher.slots());
            return Err(Failure::bad(format!(
                "`n` and `prompt` ask for {count} texts, and {most} fit: {slots} are generated at a time, and {} wait",
                most - slots
            )));
        }
        Ok(())
    }

    /// The tokens of prompts, or of a conversation. A tokenizer takes much more memory than its text.
    pub(super) fn prompts(&self, asked: &Asked) -> Result<Vec<Vec<u32>>> {
        let count = match &asked.prompt {
            Some(Prompt::Texts(texts)) => texts.len(),
            Some(Prompt::SeveralTokens(all)) => all.len(),
            _ => 1,
        };
        self.check_count(count.saturating_mul(asked.choices()))?;
        let encode = |text: &str, special: bool| {
            if text.len() > self.most_bytes {
                let (len, most, capacity) = (text.len(), self.most_bytes, self.module.capacity());
                return Err(Failure::bad(format!(
                    "the prompt has {len} bytes, and {capacity} tokens spell {most} at most"
                )));
            }
            let encoded = self.tokenizer.encode(text, special);
            let encoded =
                encoded.map_err(|e| Failure::bad(format!("the prompt has no tokens: {e}")));
            Ok(encoded?.get_ids().to_vec())
        };
        if let Some(messages) = &asked.messages {
            let missing = || Failure::bad("the model has no chat template: ask for a completion");
            // The template writes the special tokens.
            let prompt = self.chat.as_ref().ok_or_else(missing)?.prompt(messages)?;
            return Ok(vec![encode(&prompt, false)?]);
        }
        match &asked.prompt {
            Some(Prompt::Text(text)) => Ok(vec![encode(text, true)?]),
            Some(Prompt::Tokens(tokens)) => Ok(vec![tokens.clone()]),
            Some(Prompt::Texts(texts)) => texts.iter().map(|text| encode(text, true)).collect(),
            Some(Prompt::SeveralTokens(all)) => Ok(all.clone()),
            None => Err(Failure::bad("`prompt` is missing")),
        }
    }
}

/// Gives the pieces of one text, until it ends or nobody takes them.
fn tell(
    i: usize,
    generation: Generation,
    tokenizer: &Tokenizer,
    to: &mpsc::UnboundedSender<Event>,
) {
    let mut text = generation.text(|tokens: &[u32]| tokenizer.decode(tokens, true));
    loop {
        let (event, last) = match text.next() {
            Some(Ok(piece)) => (Event::Piece(i, piece), false),
            Some(Err(e)) => (Event::Failed(e.into()), true),
            None => (Event::End(i, text.end().unwrap_or(End::Failed), text.tokens().len()), true),
        };
        if to.send(event).is_err() {
            tracing::debug!("a client went away after {} tokens", text.tokens().len());
            return;
        }
        if last {
            return;
        }
    }
}

fn usual(options: &Options) -> usize {
    let is_asked = |kind: &BackendKind| {
        options.backend.as_ref().is_none_or(|name| *kind == BackendKind::from_name(name))
    };
    let on_gpu = Registry::default().backends().iter().any(|backend| {
        let kind = backend.kind();
        let runs_on_gpu = matches!(kind, BackendKind::TensorRt | BackendKind::TensorRtRtx);
        runs_on_gpu && is_asked(&kind) && backend.devices().is_ok_and(|count| count > 0)
    });
    if on_gpu { USUAL_ON_A_GPU } else { USUAL }
}
