//! The JSON of answers: completions and chats, whole and in pieces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use accelerant::generate::End;
use serde_json::{Value, json};

/// Which of the two kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    Completion,
    Chat,
}

/// What all pieces of one answer have.
pub(super) struct Form {
    kind: AnswerKind,
    id: String,
    created: u64,
    model: String,
}

/// Numbers the answers of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Form {
    pub(super) fn new(kind: AnswerKind, model: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = NEXT.fetch_add(1, Relaxed);
        let start = if kind == AnswerKind::Chat { "chatcmpl" } else { "cmpl" };
        let id = format!("{start}-{:x}-{number}", now.as_nanos());
        Self { kind, id, created: now.as_secs(), model: model.to_owned() }
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    /// The whole answer: each text and how it ended.
    pub(super) fn whole(&self, texts: &[(String, End)], usage: Value) -> Value {
        let choice = |(i, (text, end)): (usize, &(String, End))| {
            let finish = finish(*end);
            match self.kind {
                AnswerKind::Completion => {
                    json!({ "index": i, "text": text, "logprobs": null, "finish_reason": finish })
                }
                AnswerKind::Chat => {
                    let message = json!({ "role": "assistant", "content": text });
                    json!({ "index": i, "message": message, "logprobs": null, "finish_reason": finish })
                }
            }
        };
        let object = match self.kind {
            AnswerKind::Completion => "text_completion",
            AnswerKind::Chat => "chat.completion",
        };
        let mut whole = self.object(object, texts.iter().enumerate().map(choice).collect());
        whole["usage"] = usage;
        whole
    }

    /// What comes before the first piece of a text.
    pub(super) fn first(&self, i: usize) -> Option<Value> {
        let delta = json!({ "role": "assistant", "content": "" });
        (self.kind == AnswerKind::Chat).then(|| self.piece_of(i, Value::Null, delta))
    }

    /// A piece of a text.
    pub(super) fn piece(&self, i: usize, text: &str) -> Value {
        match self.kind {
            AnswerKind::Completion => self.piece_of(i, Value::Null, json!(text)),
            AnswerKind::Chat => self.piece_of(i, Value::Null, json!({ "content": text })),
        }
    }

    /// What tells how a text ended.
    pub(super) fn last(&self, i: usize, end: End) -> Value {
        match self.kind {
            AnswerKind::Completion => self.piece_of(i, finish(end).into(), json!("")),
            AnswerKind::Chat => self.piece_of(i, finish(end).into(), json!({})),
        }
    }

    fn piece_of(&self, i: usize, finish: Value, text: Value) -> Value {
        let (object, field) = match self.kind {
            AnswerKind::Completion => ("text_completion", "text"),
            AnswerKind::Chat => ("chat.completion.chunk", "delta"),
        };
        let choice = json!({ "index": i, field: text, "logprobs": null, "finish_reason": finish });
        self.object(object, json!([choice]))
    }

    /// The piece without text that tells the number of tokens.
    pub(super) fn used(&self, usage: Value) -> Value {
        let mut piece = match self.kind {
            AnswerKind::Completion => self.object("text_completion", json!([])),
            AnswerKind::Chat => self.object("chat.completion.chunk", json!([])),
        };
        piece["usage"] = usage;
        piece
    }
}

pub(super) fn usage(prompt: usize, generated: usize) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
    })
}

fn finish(end: End) -> &'static str {
    match end {
        End::StopToken | End::StopString => "stop",
        _ => "length",
    }
}
