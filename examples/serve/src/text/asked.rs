//! What a request for text says. What this server cannot do is refused by name, and not left out silently.

use std::hash::{BuildHasher, RandomState};

use accelerant::TimeLimit;
use accelerant::generate::GenerateOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::form::AnswerKind;
use crate::fail::{Failure, Result};

/// What `max_tokens` is where a request for a completion does not say it, as OpenAI has it.
const USUAL_TOKENS: usize = 16;
/// More stop strings are refused, as OpenAI does.
const MOST_STOPS: usize = 4;

/// The body of both kinds of requests.
#[derive(Deserialize)]
#[serde(expecting = "an object of fields")]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) prompt: Option<Prompt>,
    pub(super) messages: Option<Vec<Message>>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    /// Not OpenAI's, but of other servers that speak its API.
    top_k: Option<usize>,
    repetition_penalty: Option<f32>,
    /// Another one each time where the request does not say it.
    #[serde(default = "any_seed", deserialize_with = "seed")]
    pub(super) seed: u64,
    stop: Option<Stop>,
    #[serde(default)]
    pub(super) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u64>,
    best_of: Option<u64>,
    echo: Option<bool>,
    suffix: Option<String>,
    logprobs: Option<Value>,
    top_logprobs: Option<u64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    logit_bias: Option<Value>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    response_format: Option<Value>,
    /// What servers differ in, or what is new.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Fields of other servers that change a text.
const OF_OTHERS: [&str; 20] = [
    "min_p",
    "typical_p",
    "top_a",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "bad_words",
    "repeat_penalty",
    "length_penalty",
    "use_beam_search",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "audio",
    "prediction",
    "reasoning_effort",
    "web_search_options",
    "verbosity",
];

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`prompt` is a text, tokens from 0 to 4294967295, or a list of these"
)]
pub(super) enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    SeveralTokens(Vec<Vec<u32>>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`stop` is a text or a list of texts")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

fn any_seed() -> u64 {
    RandomState::new().hash_one(())
}

fn seed<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(Option::<i64>::deserialize(from)?.map_or_else(any_seed, |seed| seed as u64))
}

/// A message of a conversation, as a template gets it.
#[derive(Deserialize, Serialize)]
pub(super) struct Message {
    role: String,
    #[serde(deserialize_with = "content")]
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// No template gets these.
    #[serde(flatten, skip_serializing)]
    others: Map<String, Value>,
}

/// Fields of messages that a prompt would have to tell.
const OF_MESSAGES: [&str; 3] = ["tool_calls", "function_call", "audio"];

#[derive(Deserialize)]
#[serde(untagged, expecting = "`content` is a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

/// A text, or parts that are all text.
fn content<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    use serde::de::Error as _;
    match Content::deserialize(from)? {
        Content::Text(text) => Ok(text),
        Content::Parts(parts) => match parts.iter().find(|part| part.kind != "text") {
            Some(other) => {
                Err(D::Error::custom(format!("content of the type `{}` is not taken", other.kind)))
            }
            None => Ok(parts.into_iter().map(|part| part.text).collect()),
        },
    }
}

/// Whether a field is there and asks for something.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Array(values)) => !values.is_empty(),
        Some(_) => true,
    }
}

/// The first field of a request that is wrong by itself, and why.
fn wrong_field(json: &[u8]) -> Option<String> {
    let fields: Map<String, Value> = serde_json::from_slice(json).ok()?;
    fields.into_iter().find_map(|(name, value)| {
        let mut alone = Map::from_iter([("model".to_owned(), json!(""))]);
        alone.insert(name.clone(), value);
        let e = serde_json::from_value::<Asked>(Value::Object(alone)).err()?;
        Some(format!("`{name}`: {e}"))
    })
}

impl Asked {
    pub(super) fn read(json: &[u8], kind: AnswerKind) -> Result<Self> {
        let mut asked: Self = serde_json::from_slice(json).map_err(|e| {
            let why = wrong_field(json).unwrap_or_else(|| e.to_string());
            Failure::bad(format!("the request is not valid: {why}"))
        })?;
        asked.check()?;
        match kind {
            AnswerKind::Completion => asked.messages = None,
            AnswerKind::Chat if asked.messages.as_ref().is_none_or(Vec::is_empty) => {
                return Err(Failure::bad("`messages` is missing, or has no message"));
            }
            AnswerKind::Chat => {}
        }
        Ok(asked)
    }

    fn check(&self) -> Result<()> {
        let some = |value: &Option<Value>| {
            value.as_ref().is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
        };
        let any = |values: &Option<Vec<Value>>| values.as_ref().is_some_and(|all| !all.is_empty());
        let biased = |bias: &Value| bias.as_object().is_none_or(|bias| !bias.is_empty());
        let plain = |format: &Value| format["type"] == "text";
        let not_taken = [
            ("n", self.n == Some(0)),
            ("best_of", self.best_of.is_some_and(|best_of| best_of != self.n.unwrap_or(1))),
            ("echo", self.echo == Some(true)),
            ("suffix", self.suffix.as_ref().is_some_and(|text| !text.is_empty())),
            ("logprobs", some(&self.logprobs)),
            ("top_logprobs", self.top_logprobs.is_some_and(|count| count > 0)),
            ("presence_penalty", self.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("frequency_penalty", self.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("logit_bias", self.logit_bias.as_ref().is_some_and(biased)),
            ("tools", any(&self.tools)),
            ("functions", any(&self.functions)),
            ("response_format", self.response_format.as_ref().is_some_and(|f| !plain(f))),
        ];
        let other = OF_OTHERS.into_iter().map(|name| (name, is_set(self.others.get(name))));
        let audio = self.others.get("modalities").filter(|modes| **modes != json!(["text"]));
        let tool = self
            .others
            .get("tool_choice")
            .filter(|tool| !["none", "auto"].map(Value::from).contains(tool));
        let fixed = [("modalities", is_set(audio)), ("tool_choice", is_set(tool))];
        let messages = self.messages.as_deref().unwrap_or_default();
        let in_messages = OF_MESSAGES
            .into_iter()
            .map(|name| (name, messages.iter().any(|message| is_set(message.others.get(name)))));
        let not_taken = not_taken.into_iter().chain(other).chain(fixed).chain(in_messages);
        match not_taken.into_iter().find(|(_, is_there)| *is_there) {
            Some((name, _)) => {
                Err(Failure::bad(format!("`{name}` is not supported with this value")))
            }
            None => Ok(()),
        }
    }

    /// How many texts there are to each prompt.
    pub(super) fn choices(&self) -> usize {
        usize::try_from(self.n.unwrap_or(1)).unwrap_or(usize::MAX)
    }

    /// Whether the last piece of a stream tells the number of tokens.
    pub(super) fn tells_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true)
    }

    /// The strings that end a text. One of more than `most` bytes never comes.
    fn stops(&self, most: usize) -> Result<&[String]> {
        let stops = match &self.stop {
            None => &[][..],
            Some(Stop::One(stop)) => std::slice::from_ref(stop),
            Some(Stop::Several(stops)) => stops,
        };
        if stops.len() > MOST_STOPS {
            return Err(Failure::bad(format!("there are more than {MOST_STOPS} stop strings")));
        }
        if let Some(long) = stops.iter().map(String::len).find(|len| *len > most) {
            return Err(Failure::bad(format!(
                "a stop string has {long} bytes, and a text has {most} at most"
            )));
        }
        Ok(stops)
    }

    /// How to generate, with `room` tokens left in the cache, of texts of `most` bytes.
    pub(super) fn options(
        &self,
        room: usize,
        most: usize,
        limit: &TimeLimit,
    ) -> Result<GenerateOptions> {
        let asked = self.max_completion_tokens.or(self.max_tokens);
        let usual = if self.messages.is_some() { room } else { USUAL_TOKENS };
        let mut options = GenerateOptions::new()
            .max_tokens(asked.unwrap_or(usual))
            .temperature(self.temperature.unwrap_or(1.0))
            .seed(self.seed)
            .limit(limit);
        if let Some(sum) = self.top_p {
            options = options.top_p(sum);
        }
        if let Some(count) = self.top_k {
            options = options.top_k(count);
        }
        if let Some(penalty) = self.repetition_penalty {
            options = options.repetition_penalty(penalty);
        }
        let stops = self.stops(most)?.iter();
        Ok(stops.fold(options, |options, stop| options.stop_string(stop)))
    }
}
