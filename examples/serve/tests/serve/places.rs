//! Places in the batch: texts of several requests and of one, those that wait, and a cache that is full.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::text::{CHAT, COMPLETIONS, RUNNING, asked, begun, complete, events, serve, text};

/// Several texts in one answer: of several prompts, and several of one prompt.
#[test]
fn an_answer_may_have_several_texts() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--generations", "3"]);
    let alone = |prompt: &str, seed: i64| {
        let more = json!({ "prompt": prompt, "seed": seed, "temperature": 1.5 });
        text(&complete(&server, more)).to_owned()
    };
    let expected = [alone("Once", 7), alone("Once", 8), alone("Twice", 7), alone("Twice", 8)];
    let asked_for = json!({ "prompt": ["Once", "Twice"], "n": 2, "seed": 7, "temperature": 1.5 });
    let answer = complete(&server, asked_for.clone());
    let choices = answer["choices"].as_array().unwrap();
    let texts: Vec<_> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected);
    assert!(choices.iter().enumerate().all(|(i, choice)| choice["index"] == i));
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 160, "total_tokens": 169 });
    assert_eq!(answer["usage"], usage);
    let mut streamed = json!({ "stream": true, "stream_options": { "include_usage": true } });
    streamed.as_object_mut().unwrap().extend(asked_for.as_object().unwrap().clone());
    let events = events(&server, COMPLETIONS, &asked(streamed));
    let (used, pieces) = events.split_last().unwrap();
    assert_eq!(used["usage"], usage);
    let mut texts = vec![String::new(); 4];
    let mut ends = 0;
    for piece in pieces {
        let choice = &piece["choices"][0];
        texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
        ends += usize::from(choice["finish_reason"] == "length");
    }
    assert_eq!((texts, ends), (expected.to_vec(), 4));
    let chat = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }], "n": 2,
                       "temperature": 0, "max_tokens": 10 });
    let answer = server.post(CHAT, chat.to_string()).json();
    let message = |i: usize| &answer["choices"][i]["message"];
    assert!(message(0) == message(1) && message(0)["role"] == "assistant", "{answer}");
}

#[test]
fn texts_are_generated_at_the_same_time_and_others_wait_or_are_shed() {
    let folder = TempDir::new().unwrap();
    let more = ["--capacity", "4096", "--generations", "2", "--max-waiting", "1"];
    let server = serve(&folder, &more);
    let whole = text(&complete(&server, json!({}))).to_owned();
    let running = [begun(&server), begun(&server)];
    let mut waits = server.client();
    waits.send(COMPLETIONS, &[], asked(json!({})).as_bytes()).unwrap();
    server.until(RUNNING, 3.0);
    assert_eq!(server.metric("accelerant_generations_waiting{model=\"tiny\"}"), 1.0);
    let answer = server.post(COMPLETIONS, asked(json!({})));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    drop(running);
    assert_eq!(text(&waits.answer().unwrap().json()), whole);
    // A pass of two texts gives two tokens.
    let generated = server.metric("accelerant_tokens_total{model=\"tiny\",kind=\"generated\"}");
    let passes = server.metric("accelerant_passes_total{model=\"tiny\"}");
    assert!(passes < generated, "{passes} {generated}");
}

/// All texts of an answer find a place, or none of them begins.
#[test]
fn several_texts_wait_or_are_refused_together() {
    let folder = TempDir::new().unwrap();
    let more = ["--capacity", "4096", "--generations", "2", "--max-waiting", "1"];
    let server = serve(&folder, &more);
    let refused = |more: Value| {
        let answer = server.post(COMPLETIONS, asked(more));
        (answer.status, answer.json()["error"]["message"].as_str().unwrap().to_owned())
    };
    let prompts = json!(["a", "b", "c", "d"]);
    for more in
        [json!({ "n": 4 }), json!({ "prompt": prompts }), json!({ "prompt": ["a", "b"], "n": 2 })]
    {
        let told =
            "`n` and `prompt` ask for 4 texts, and 3 fit: 2 are generated at a time, and 1 wait";
        assert_eq!(refused(more), (400, told.to_owned()));
    }
    // One more than are generated at a time waits for its place.
    let whole = text(&complete(&server, json!({}))).to_owned();
    let answer = complete(&server, json!({ "n": 3 }));
    let choices = answer["choices"].as_array().unwrap();
    assert!(choices.len() == 3 && choices.iter().all(|choice| choice["text"] == whole), "{answer}");
    let running = begun(&server);
    let (status, told) = refused(json!({ "n": 3 }));
    let text =
        "generate: 1 texts wait or are generated already, and 3 more are beyond the 3 that fit";
    assert_eq!((status, &*told), (503, text));
    assert_eq!(server.metric(RUNNING), 1.0);
    assert_eq!(complete(&server, json!({ "n": 2 }))["choices"].as_array().unwrap().len(), 2);
    drop(running);
    server.until(RUNNING, 0.0);
}

/// The token that finds no room in the cache any more is given too.
#[test]
fn a_small_cache_gives_what_fits() {
    let folder = TempDir::new().unwrap();
    for capacity in [1, 2] {
        let more =
            ["--capacity", &capacity.to_string(), "--generations", "4", "--max-waiting", "0"];
        let server = serve(&folder, &more);
        let answer = complete(&server, json!({ "prompt": "a", "n": 4 }));
        assert_eq!(answer["usage"]["completion_tokens"], 4 * capacity, "{answer}");
        assert_eq!(answer["choices"][3]["finish_reason"], "length");
        let answer = server.post(COMPLETIONS, asked(json!({ "prompt": "abc" })));
        let text = format!("the prompt has 3 tokens, and the cache holds {capacity}");
        assert!(answer.status == 400 && answer.text().contains(&text), "{}", answer.text());
    }
}
