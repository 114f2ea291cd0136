//! Clients that go away before their answer, whatever they have sent behind their request.

use std::net::Shutdown;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::http::Client;
use crate::models;
use crate::process::Process;

const AFFINE: &str = "/v2/models/affine/infer";
const WAITS: &str = "accelerant_running{model=\"affine\"}";
const COMPLETIONS: &str = "/v1/completions";
const GENERATED: &str = "accelerant_generations{model=\"tiny\"}";

/// What stands behind a request: nothing, a byte, a part of a head, a request, a part of a body, many requests, and more
/// than the system keeps of a connection.
fn behind() -> Vec<Vec<u8>> {
    let get = b"GET /v2 HTTP/1.1\r\nHost: t\r\n\r\n".to_vec();
    let body =
        b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n{\"model\"";
    let all: [&[u8]; 5] = [b"", b"G", b"POST /v1/comp", &get, body];
    let mut all: Vec<_> = all.map(<[u8]>::to_vec).into();
    all.push(get.repeat(5000));
    all.push([body, &[b' '; 90_000][..], &get.repeat(24_000)].concat());
    all
}

fn request() -> Vec<u8> {
    let x = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4] });
    json!({ "inputs": [x] }).to_string().into_bytes()
}

/// All ends of a client: closed, and only its sending side.
fn leave(client: Client, half: bool) -> Option<Client> {
    if !half {
        return None;
    }
    client.stream().shutdown(Shutdown::Write).unwrap();
    Some(client)
}

fn outcome(server: &Process, model: &str, what: &str) -> f64 {
    server.metric(&format!("accelerant_requests_total{{model=\"{model}\",outcome=\"{what}\"}}"))
}

#[test]
fn a_request_is_withdrawn_whatever_stands_behind_it() {
    let folder = TempDir::new().unwrap();
    let model = format!("affine={}", models::affine(folder.path()));
    let server = Process::start(["--model", &model, "--max-delay", "600000"]);
    let mut count = 0.0;
    for bytes in behind() {
        for half in [false, true] {
            let mut client = server.client();
            client.send(AFFINE, &[], &request()).unwrap();
            client.write(&bytes).unwrap();
            server.until(WAITS, 1.0);
            let _left = leave(client, half);
            server.until(WAITS, 0.0);
            server.until("accelerant_connections", 1.0);
            count += 1.0;
            assert_eq!(outcome(&server, "affine", "gone"), count, "{} bytes", bytes.len());
        }
    }
}

#[test]
fn a_text_ends_whatever_stands_behind_its_request() {
    let folder = TempDir::new().unwrap();
    let model = format!("tiny={}", models::endless(folder.path()).display());
    let more = ["--capacity", "65536", "--generations", "1"];
    let server = Process::start([&["--language-model", &*model], &more[..]].concat());
    let mut count = 0.0;
    for bytes in behind() {
        for (half, streams) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut client = server.client();
            let asked = json!({ "model": "tiny", "prompt": "Once", "max_tokens": 60_000,
                                "temperature": 0, "stream": streams });
            client.send(COMPLETIONS, &[], asked.to_string().as_bytes()).unwrap();
            client.write(&bytes).unwrap();
            server.until(GENERATED, 1.0);
            if streams {
                while client.line().unwrap() != "" {}
                client.chunk().unwrap().unwrap();
            }
            let _left = leave(client, half);
            server.until(GENERATED, 0.0);
            count += 1.0;
            assert_eq!(outcome(&server, "tiny", "gone"), count, "{} {half} {streams}", bytes.len());
        }
    }
    assert_eq!(outcome(&server, "tiny", "ok"), 0.0);
}

/// Each of several requests has its time, though the client has closed its sending side before the first answer.
#[test]
fn requests_in_a_row_are_answered_behind_a_closed_side() {
    let folder = TempDir::new().unwrap();
    let model = format!("affine={}", models::affine(folder.path()));
    let server = Process::start(["--model", &model, "--max-delay", "200"]);
    let mut client = server.client();
    for _ in 0..6 {
        client.send(AFFINE, &[], &request()).unwrap();
    }
    client.stream().shutdown(Shutdown::Write).unwrap();
    for _ in 0..6 {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    assert_eq!(client.rest().unwrap(), "");
    assert_eq!((outcome(&server, "affine", "ok"), outcome(&server, "affine", "gone")), (6.0, 0.0));
}

/// A client that waits is not taken for one that is gone, however much it has sent.
#[test]
fn a_client_that_waits_gets_its_answer_whatever_it_has_sent() {
    let folder = TempDir::new().unwrap();
    let model = format!("affine={}", models::affine(folder.path()));
    let server = Process::start(["--model", &model, "--max-delay", "1500"]);
    for bytes in behind() {
        let mut client = server.client();
        client.send(AFFINE, &[], &request()).unwrap();
        client.write(&bytes).unwrap();
        assert_eq!(client.answer().unwrap().status, 200, "{} bytes", bytes.len());
        drop(client);
        server.until("accelerant_connections", 1.0);
    }
}

/// Of each end a request is counted once, and nothing stays behind.
#[test]
fn every_end_is_counted_once() {
    let folder = TempDir::new().unwrap();
    let affine = format!("affine={}", models::affine(folder.path()));
    let tiny = format!("tiny={}", models::endless(folder.path()).display());
    let models = ["--model", &affine, "--language-model", &tiny, "--max-delay", "700"];
    let limits = ["--max-queue", "1", "--read-limit", "0.3", "--generations", "1"];
    let more = ["--max-waiting", "0", "--capacity", "65536"];
    let server = Process::start([&models[..], &limits, &more].concat());
    let text = |more: serde_json::Value| {
        let mut asked = json!({ "model": "tiny", "prompt": "Once", "max_tokens": 5 });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asked.to_string()
    };
    let timed = json!({ "parameters": { "timeout": 50_000 }, "inputs":
        [{ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4] }] });
    let statuses = |path: &str, all: &[(&str, u16)]| {
        for (body, status) in all {
            assert_eq!(server.post(path, body).status, *status, "{body}");
        }
    };
    // A body that does not come, and one that ends.
    let cut = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\n{{");
        let mut late = server.client();
        late.write(&head).unwrap();
        assert_eq!(late.answer().unwrap().status, 408);
        server.client().write(&head).unwrap();
    };
    let good = String::from_utf8(request()).unwrap();
    statuses(AFFINE, &[(&good, 200), ("{", 400), (&timed.to_string(), 504), (&good, 200)]);
    cut(AFFINE);
    let mut waits = server.client();
    waits.send(AFFINE, &[], &request()).unwrap();
    server.until(WAITS, 1.0);
    statuses(AFFINE, &[(&good, 503)]);
    drop(waits);

    let (plain, stream) = (text(json!({})), text(json!({ "stream": true })));
    statuses(COMPLETIONS, &[(&plain, 200), (&stream, 200), ("{", 400), (&plain, 200)]);
    cut(COMPLETIONS);
    let long = json!({ "max_tokens": 60_000, "stream": true });
    for long in [long.clone(), json!({ "max_tokens": 60_000 })] {
        let mut waits = server.client();
        waits.send(COMPLETIONS, &[], text(long).as_bytes()).unwrap();
        server.until(GENERATED, 1.0);
        statuses(COMPLETIONS, &[(&plain, 503), (&stream, 503)]);
        drop(waits);
        server.until(GENERATED, 0.0);
    }
    server.until(WAITS, 0.0);
    server.until("accelerant_connections", 1.0);
    let all = ["ok", "refused", "shed", "failed", "timed_out", "gone"];
    let of = |model: &str| all.map(|what| outcome(&server, model, what));
    assert_eq!(of("affine"), [2.0, 1.0, 1.0, 0.0, 2.0, 2.0]);
    assert_eq!(of("tiny"), [3.0, 1.0, 4.0, 0.0, 1.0, 3.0]);
    let stats = server.get("/v2/models/affine/stats").json()["model_stats"][0].clone();
    assert_eq!(stats["inference_stats"]["success"]["count"], 2);
    assert_eq!(stats["inference_stats"]["fail"]["count"], 6);
    for gauge in ["accelerant_body_bytes", "accelerant_generations_waiting{model=\"tiny\"}"] {
        assert_eq!(server.metric(gauge), 0.0, "{gauge}");
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(of("tiny"), [3.0, 1.0, 4.0, 0.0, 1.0, 3.0]);
}
