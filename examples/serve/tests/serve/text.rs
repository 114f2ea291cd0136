//! Text as OpenAI's API has it: whole and in pieces, its ends, and clients that go away.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Client;
use crate::models;
use crate::process::Process;

pub(crate) const COMPLETIONS: &str = "/v1/completions";
pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const RUNNING: &str = "accelerant_generations{model=\"tiny\"}";

pub(crate) fn serve(folder: &TempDir, more: &[&str]) -> Process {
    let model = format!("tiny={}", models::language_model(folder.path()).display());
    Process::start([&["--language-model", model.as_str()], more].concat())
}

/// A greedy completion, with other fields besides.
pub(crate) fn asked(more: Value) -> String {
    let mut asked =
        json!({ "model": "tiny", "prompt": "Once", "max_tokens": 40, "temperature": 0 });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    asked.to_string()
}

pub(crate) fn complete(server: &Process, more: Value) -> Value {
    let answer = server.post(COMPLETIONS, asked(more));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

pub(crate) fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

/// The events of a stream, without the last one.
pub(crate) fn events(server: &Process, path: &str, body: &str) -> Vec<Value> {
    let answer = server.post(path, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let all = answer.text();
    let events = all.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {all}"));
    let event = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    events.split_terminator("\n\n").map(event).collect()
}

#[test]
fn a_text_is_the_same_whole_and_in_pieces() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let answer = complete(&server, json!({}));
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let usage = json!({ "prompt_tokens": 4, "completion_tokens": 40, "total_tokens": 44 });
    assert_eq!(answer["usage"], usage);
    let whole = text(&answer);
    assert!(whole.len() >= 30, "{whole}");
    assert_eq!(text(&complete(&server, json!({ "prompt": ["Once"] }))), whole);
    let tokens: Vec<_> = "Once".bytes().map(|byte| byte - b'!' + 2).collect();
    assert_eq!(text(&complete(&server, json!({ "prompt": tokens }))), whole);

    let streamed = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let events = events(&server, COMPLETIONS, &asked(streamed));
    let (used, pieces) = events.split_last().unwrap();
    assert_eq!((&used["usage"], &used["choices"]), (&usage, &json!([])));
    assert!(pieces.len() > 10, "{}", pieces.len());
    assert_eq!(pieces.iter().map(text).collect::<String>(), whole);
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(pieces.iter().all(|piece| piece["id"] == events[0]["id"]));
}

/// A checkpoint may name the tokens that end a text beside its configuration alone.
#[test]
fn tokens_of_a_generation_config_end_texts() {
    let folder = TempDir::new().unwrap();
    let whole = text(&complete(&serve(&folder, &[]), json!({}))).to_owned();
    let last = whole.chars().nth(9).unwrap();
    let model = models::language_model(folder.path());
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(model.join("tokenizer.json")).unwrap()).unwrap();
    let end = &tokenizer["model"]["vocab"][last.to_string()];
    let generation = json!({ "eos_token_id": [end] }).to_string();
    std::fs::write(model.join("generation_config.json"), generation).unwrap();
    let server = Process::start(["--language-model", &format!("tiny={}", model.display())]);
    let answer = complete(&server, json!({}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(text(&answer), whole.split(last).next().unwrap());
}

#[test]
fn texts_end_at_stop_strings_and_limits() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--capacity", "64"]);
    let whole = text(&complete(&server, json!({}))).to_owned();
    let stop = &whole[10..13];
    let before = &whole[..whole.find(stop).unwrap()];
    for stop in [json!(stop), json!(["no such text", stop])] {
        let answer = complete(&server, json!({ "stop": stop }));
        assert_eq!(text(&answer), before);
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() < 40);
    }
    let answer = complete(&server, json!({ "max_tokens": 0 }));
    assert_eq!((text(&answer), &answer["choices"][0]["finish_reason"]), ("", &json!("length")));
    // As many as the cache has room for.
    let answer = complete(&server, json!({ "max_tokens": 1000 }));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert!(
        (60..=61).contains(&answer["usage"]["completion_tokens"].as_u64().unwrap()),
        "{answer}"
    );
    let long = "x".repeat(65);
    let answer = server.post(COMPLETIONS, asked(json!({ "prompt": long })));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("the prompt has 65 tokens, and the cache holds 64"));
}

#[test]
fn the_same_seed_draws_the_same_text() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let drawn = |seed: Value| {
        let more = json!({ "temperature": 1.5, "top_p": 0.95, "seed": seed });
        text(&complete(&server, more)).to_owned()
    };
    assert_eq!(drawn(json!(7)), drawn(json!(7)));
    assert_ne!(drawn(json!(7)), drawn(json!(-8)));
    assert_ne!(drawn(Value::Null), drawn(Value::Null));
}

#[test]
fn a_chat_is_a_prompt_by_the_template_of_the_model() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let messages = json!([
        { "role": "user", "content": " Hi " },
        { "role": "assistant", "content": [{ "type": "text", "text": "Hel" }, { "type": "text", "text": "lo" }] },
        { "role": "user", "content": "Who?" },
    ]);
    let chat = |more: Value| {
        let mut body = json!({ "model": "tiny", "messages": messages, "temperature": 0, "max_completion_tokens": 30 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let answer = server.post(CHAT, chat(json!({}))).json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    let whole = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let prompt = "<|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Who?<|end|><|assistant|>";
    let same = complete(&server, json!({ "prompt": prompt, "max_tokens": 30 }));
    assert_eq!(text(&same), whole);
    assert_eq!(answer["usage"]["prompt_tokens"], same["usage"]["prompt_tokens"]);
    let events = events(&server, CHAT, &chat(json!({ "stream": true })));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[0]["object"], "chat.completion.chunk");
    let content =
        |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    assert_eq!(events.iter().filter_map(content).collect::<String>(), whole);
    let wrong = json!([{ "role": "robot", "content": "x" }]);
    let answer = server.post(CHAT, chat(json!({ "messages": wrong })));
    assert!(
        answer.status == 400 && answer.text().contains("there is no role robot"),
        "{}",
        answer.text()
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let rows = [
        (json!({ "prompt": null }), "`prompt` is missing"),
        (json!({ "prompt": "" }), "the prompt is empty"),
        (json!({ "prompt": ["a", ""] }), "the prompt is empty"),
        (json!({ "prompt": [] }), "the prompt is empty"),
        (json!({ "prompt": [[3], [-1]] }), "not valid"),
        (json!({ "prompt": [100_000] }), "token 100000 is beyond the vocabulary"),
        (json!({ "prompt": [-1] }), "not valid"),
        (json!({ "prompt": 4 }), "not valid"),
        (json!({ "max_tokens": -1 }), "not valid: `max_tokens`: invalid value: integer `-1`"),
        (json!({ "top_p": "1" }), "not valid: `top_p`: invalid type"),
        (json!({ "temperature": -1 }), "a temperature of -1"),
        // Written as a number that no float holds, below.
        (json!({ "temperature": null }), "not valid"),
        (json!({ "top_p": 0, "temperature": 1 }), "a sum of probabilities of 0"),
        (json!({ "stop": [""] }), "an empty stop string"),
        (json!({ "stop": ["a", "b", "c", "d", "e"] }), "more than 4 stop strings"),
        (json!({ "n": 0 }), "`n`"),
        (json!({ "n": 1000 }), "ask for 1000 texts"),
        (json!({ "n": 2, "best_of": 3 }), "`best_of`"),
        (json!({ "logprobs": 3 }), "`logprobs`"),
        (json!({ "echo": true }), "`echo`"),
        (json!({ "logit_bias": { "3": 1 } }), "`logit_bias`"),
        (json!({ "frequency_penalty": 1 }), "`frequency_penalty`"),
        (json!({ "min_p": 0.1 }), "`min_p`"),
        (json!({ "guided_regex": "a+" }), "`guided_regex`"),
        (json!({ "modalities": ["audio"] }), "`modalities`"),
        (json!({ "tool_choice": "required" }), "`tool_choice`"),
        (json!({ "prompt": [1, "a"] }), "`prompt` is a text, tokens"),
        (json!({ "stop": 5 }), "`stop` is a text or a list"),
        (json!({ "stop": ["a", "x".repeat(1 << 20)] }), "a stop string has 1048576 bytes"),
        (json!({ "prompt": "a".repeat(1 << 20) }), "the prompt has 1048576 bytes"),
        (json!({ "prompt": vec!["a"; 400_000] }), "ask for 400000 texts"),
    ];
    for (more, told) in rows {
        let body = asked(more.clone()).replace("\"temperature\":null", "\"temperature\":1e999");
        let answer = server.post(COMPLETIONS, body);
        assert_eq!(answer.status, 400, "{more}: {}", answer.text());
        let error = answer.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(told), "{more}: {error}");
    }
    assert_eq!(server.post(COMPLETIONS, asked(json!({ "model": "none" }))).status, 404);
    assert_eq!(server.post(COMPLETIONS, "{").status, 400);
    let answer = server.post(COMPLETIONS, "[]");
    assert!(answer.text().contains("expected an object of fields"), "{}", answer.text());
    let call =
        json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
    let calls = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "", "tool_calls": call }]);
    let answer = server.post(CHAT, asked(json!({ "messages": calls })));
    assert!(answer.status == 400 && answer.text().contains("`tool_calls`"), "{}", answer.text());
    // What stands beside the content and changes no prompt, as clients send it back.
    let back = json!([{ "role": "assistant", "content": "a", "refusal": null, "tool_calls": null, "audio": null }]);
    assert_eq!(server.post(CHAT, asked(json!({ "messages": back }))).status, 200);
    let zipped = [("Content-Encoding", "gzip")];
    let answer = server.client().post_with(COMPLETIONS, &zipped, &[b'x'; 1 << 20]).unwrap();
    assert!(answer.status == 415 && answer.text().contains("gzip"), "{}", answer.text());
    for (path, status) in [("/v1/embeddings", 404), ("/v1/models", 405), ("/v1/models/%ff", 400)] {
        let answer = server.post(path, "{}");
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
    }
    assert_eq!(server.post(CHAT, asked(json!({}))).status, 400);
    assert_eq!(server.post(CHAT, asked(json!({ "messages": [] }))).status, 400);
    let penalty = json!({ "repetition_penalty": 1e-38, "temperature": 1 });
    complete(&server, penalty);
    let neutral = json!({ "n": 1, "min_p": 0, "ignore_eos": false, "modalities": ["text"], "tool_choice": "auto", "logprobs": null, "presence_penalty": 0, "logit_bias": {}, "stop": null, "user": "u" });
    complete(&server, neutral);
    assert_eq!(server.get("/v1/models/none").status, 404);
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "tiny");
}

/// A stream that would go on for long, after its first pieces.
pub(crate) fn begun(server: &Process) -> Client {
    let mut client = server.client();
    let body = asked(json!({ "stream": true, "max_tokens": 4000 }));
    client.send(COMPLETIONS, &[], body.as_bytes()).unwrap();
    while client.line().unwrap() != "" {}
    for _ in 0..3 {
        client.chunk().unwrap().unwrap();
    }
    client
}

#[test]
fn a_client_that_goes_away_ends_its_generation() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--capacity", "4096", "--generations", "2"]);
    for _ in 0..3 {
        let clients = [begun(&server), begun(&server)];
        assert_eq!(server.metric(RUNNING), 2.0);
        drop(clients);
        server.until(RUNNING, 0.0);
    }
    // One that waits for the whole text.
    let mut client = server.client();
    client.send(COMPLETIONS, &[], asked(json!({ "max_tokens": 4000 })).as_bytes()).unwrap();
    server.until(RUNNING, 1.0);
    drop(client);
    server.until(RUNNING, 0.0);
    let generated = server.metric("accelerant_tokens_total{model=\"tiny\",kind=\"generated\"}");
    assert!(generated < 7.0 * 4000.0 / 2.0, "{generated}");
    assert_eq!(complete(&server, json!({}))["usage"]["completion_tokens"], 40);
}

/// A text that may be the beginning of a stop string is kept back, so that nothing is sent that could fail.
#[test]
fn a_client_that_goes_away_is_noticed_without_anything_to_send() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--capacity", "4096", "--generations", "1"]);
    let whole = text(&complete(&server, json!({ "max_tokens": 2500 }))).to_owned();
    let tokens = || server.metric("accelerant_tokens_total{model=\"tiny\",kind=\"generated\"}");
    server.until(RUNNING, 0.0);
    let before = tokens();
    let mut client = server.client();
    let more = json!({ "max_tokens": 2500, "stop": whole.clone() + "no such text" });
    client.send(COMPLETIONS, &[], asked(more).as_bytes()).unwrap();
    server.until(RUNNING, 1.0);
    drop(client);
    server.until(RUNNING, 0.0);
    let generated = tokens() - before;
    assert!(generated < 2000.0, "{generated}");
}

/// A model of bytes streams what it writes, though hardly any of it is text.
#[test]
fn bytes_that_are_no_text_are_streamed() {
    let folder = TempDir::new().unwrap();
    let model = format!("tiny={}", models::language_model_of_bytes(folder.path()).display());
    let server = Process::start(["--language-model", &model]);
    for seed in 0..5 {
        let more = json!({ "prompt": [3, 4], "max_tokens": 300, "temperature": 1.2, "seed": seed });
        let whole = complete(&server, more.clone());
        let whole = text(&whole);
        assert!(whole.chars().filter(|c| *c == '\u{FFFD}').count() > 100, "{whole}");
        let with = |own: Value| {
            let mut all = more.clone();
            all.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            all
        };
        let streamed = |own: Value| {
            let mut all = with(own);
            all["stream"] = json!(true);
            events(&server, COMPLETIONS, &asked(all))
        };
        let events = streamed(json!({}));
        assert_eq!(events.iter().map(text).collect::<String>(), whole);
        assert!(events.len() > 150, "{} pieces", events.len());
        // A stop string across such a place ends the text there, whole and in pieces.
        let (at, _) = whole.char_indices().nth(100).unwrap();
        let stop: String = whole[at..].chars().take(5).collect();
        let before = &whole[..whole.find(&stop).unwrap()];
        let stopped = complete(&server, with(json!({ "stop": stop })));
        assert_eq!(text(&stopped), before);
        assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
        assert_eq!(streamed(json!({ "stop": stop })).iter().map(text).collect::<String>(), before);
    }
}

#[test]
fn a_stream_ends_before_the_server_does() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let mut client = server.client();
    let body = asked(json!({ "stream": true, "max_tokens": 200 }));
    client.send(COMPLETIONS, &[], body.as_bytes()).unwrap();
    while client.line().unwrap() != "" {}
    server.terminate();
    let mut all = Vec::new();
    while let Some(chunk) = client.chunk().unwrap() {
        all.extend(chunk);
    }
    let all = String::from_utf8(all).unwrap();
    assert!(all.ends_with("data: [DONE]\n\n"), "{all}");
    server.ended();
}
