//! From messages to the prompt that a model was trained with: the template of the model's folder.

use std::fs;
use std::path::Path;

use minijinja::{Environment, Error, ErrorKind, context};
use serde_json::Value;

use super::asked::Message;
use crate::Problem;
use crate::fail::{Failure, Result};

const NAME: &str = "chat";

/// A template, with the names of the special tokens.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl ChatTemplate {
    /// The template of a folder: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`.
    pub(super) fn of_folder(folder: &Path) -> Result<Option<Self>, Problem> {
        let read = |name: &str| match fs::read_to_string(folder.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Problem::from(format!("{name}: {e}"))),
        };
        let config: Value = match read("tokenizer_config.json")? {
            Some(text) => {
                serde_json::from_str(&text).map_err(|e| format!("tokenizer_config.json: {e}"))?
            }
            None => Value::Null,
        };
        let template = match read("chat_template.jinja")? {
            Some(template) => Some(template),
            None => in_config(&config["chat_template"]),
        };
        let Some(template) = template else { return Ok(None) };
        let mut environment = Environment::new();
        // As `transformers` sets it up.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_template_owned(NAME, template)?;
        let (begin, end) = (token(&config["bos_token"]), token(&config["eos_token"]));
        Ok(Some(Self { environment, begin, end }))
    }

    /// The prompt of a conversation, up to where the answer begins.
    pub(super) fn prompt(&self, messages: &[Message]) -> Result<String> {
        let Self { environment, begin, end } = self;
        let failed = |e: Error| {
            Failure::bad(format!("the model's chat template cannot take these messages: {e}"))
        };
        let variables = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => begin,
            eos_token => end,
        };
        environment.get_template(NAME).and_then(|chat| chat.render(variables)).map_err(failed)
    }
}

/// One template, or the one called `default` among several.
fn in_config(value: &Value) -> Option<String> {
    let named = |all: &Vec<Value>| {
        let default = all.iter().find(|one| one["name"] == "default")?;
        default["template"].as_str().map(str::to_owned)
    };
    value.as_str().map(str::to_owned).or_else(|| named(value.as_array()?))
}

/// A token's text, alone or within an object.
fn token(value: &Value) -> String {
    value.as_str().or_else(|| value["content"].as_str()).unwrap_or_default().to_owned()
}
