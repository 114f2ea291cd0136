//! A full queue and the end of the server: who is refused, and that everybody else gets an answer.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::http::Client;
use crate::models;
use crate::process::Process;

const AFFINE: &str = "/v2/models/affine/infer";
const RUNNING: &str = "accelerant_running{model=\"affine\"}";

fn request(number: usize) -> Vec<u8> {
    let x = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [number, 2, 3, 4] });
    json!({ "inputs": [x] }).to_string().into_bytes()
}

/// A server whose requests wait for others for a while.
fn patient(folder: &TempDir, delay: &str, more: &[&str]) -> Process {
    let model = format!("affine={}", models::affine(folder.path()));
    Process::start([&["--model", model.as_str(), "--max-delay", delay], more].concat())
}

fn waiting(server: &Process, count: usize) -> Vec<Client> {
    let start = |number| {
        let mut client = server.client();
        client.send(AFFINE, &[], &request(number)).unwrap();
        client
    };
    let clients = (0..count).map(start).collect();
    server.until(RUNNING, count as f64);
    clients
}

fn assert_answered(clients: Vec<Client>) {
    for (number, mut client) in clients.into_iter().enumerate() {
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["outputs"][1]["data"][0], number as f64 + 1.0);
    }
}

#[test]
fn a_full_queue_sheds_load() {
    let folder = TempDir::new().unwrap();
    let server = patient(&folder, "4000", &["--max-queue", "3"]);
    let clients = waiting(&server, 3);
    let mut client = server.client();
    let answer = client.post(AFFINE, &request(9)).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.text().contains("3 requests wait already"), "{}", answer.text());
    assert_answered(clients);
    // The same connection, after a while as it was told.
    assert_eq!(client.post(AFFINE, &request(9)).unwrap().status, 200);
    let shed = "accelerant_requests_total{model=\"affine\",outcome=\"shed\"}";
    assert_eq!(server.metric(shed), 1.0);
}

#[test]
fn a_request_waits_no_longer_than_it_says() {
    let folder = TempDir::new().unwrap();
    let server = patient(&folder, "600000", &[]);
    let x = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4] });
    let body = json!({ "parameters": { "timeout": 100_000 }, "inputs": [x] }).to_string();
    let answer = server.post(AFFINE, body);
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("timeout of 100ms"), "{}", answer.text());
    assert_eq!(server.metric(RUNNING), 0.0);
}

#[test]
fn requests_that_wait_at_the_end_are_answered() {
    let folder = TempDir::new().unwrap();
    let server = patient(&folder, "4000", &["--linger", "2"]);
    let mut idle = server.client();
    assert_eq!(idle.get("/v2/health/ready").unwrap().status, 200);
    let clients = waiting(&server, 5);
    server.terminate();
    // Open connections are served for a while, and told to close; nothing new is taken.
    let ready = loop {
        let ready = idle.get("/v2/health/ready").unwrap();
        if ready.closes() {
            break ready;
        }
    };
    assert_eq!(ready.status, 503);
    assert_eq!(idle.rest().unwrap(), "");
    while let Ok(mut late) = Client::connect(server.address()) {
        // Accepted in the moment before the listener was closed: answered, and told to close.
        match late.get("/v2/health/live") {
            Ok(answer) => assert!(answer.closes()),
            Err(_) => break,
        }
    }
    assert_answered(clients);
    server.ended();
}

#[test]
fn connections_without_a_request_do_not_keep_the_server() {
    let folder = TempDir::new().unwrap();
    let server = patient(&folder, "1", &["--shutdown-limit", "1"]);
    let mut idle = server.client();
    assert_eq!(idle.get("/v2").unwrap().status, 200);
    server.terminate();
    assert_eq!(server.ended(), 1);
    assert_eq!(idle.rest().unwrap(), "");
    // A head that does not come to its end is no request.
    let server = patient(&folder, "1", &["--shutdown-limit", "600"]);
    let mut half = server.client();
    half.write("POST /v2/models/affine/infer HTTP/1.1\r\nHost: t\r\nContent-Le").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    server.terminate();
    assert_eq!(server.ended(), 0);
}

/// An answer of many bytes goes on to a client that reads slowly, longer than the server would wait for heads.
#[test]
fn a_large_answer_is_read_to_its_end() {
    let folder = TempDir::new().unwrap();
    let wide = models::wide(folder.path());
    let server = Process::start(["--model", &format!("wide={wide}")]);
    let mut client = server.client();
    let body = json!({ "parameters": { "binary_data_output": true },
                       "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1], "data": [3] }] });
    client.send("/v2/models/wide/infer", &[], body.to_string().as_bytes()).unwrap();
    let head = client.line().unwrap();
    assert!(head.contains("200"), "{head}");
    server.terminate();
    std::thread::sleep(Duration::from_millis(1500));
    let rest = client.rest_of_bytes().unwrap();
    assert!(rest.len() > models::WIDE * 4, "{}", rest.len());
    assert!(rest.ends_with(&3f32.to_le_bytes()));
    assert_eq!(server.ended(), 1);
}

#[test]
fn an_answer_that_takes_too_long_does_not_keep_the_server() {
    let folder = TempDir::new().unwrap();
    let server = patient(&folder, "600000", &["--shutdown-limit", "0.3"]);
    let mut clients = waiting(&server, 1);
    server.terminate();
    assert_eq!(server.end().0.code(), Some(1));
    assert!(clients[0].answer().is_err());
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let folder = TempDir::new().unwrap();
    let server = patient(&folder, "600000", &["--shutdown-limit", "600", "--linger", "0.01"]);
    let mut clients = waiting(&server, 1);
    server.terminate();
    // The listener is closed: the first signal has arrived.
    while Client::connect(server.address()).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.terminate();
    assert_eq!(server.end().0.code(), Some(1));
    assert!(clients[0].answer().is_err());
}

/// The dynamic loader tells the destructors that it calls. A run may still be at work when the server ends, and what it
/// runs on must not be taken away under it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_server_ends_without_destructors() {
    let folder = TempDir::new().unwrap();
    let model = format!("affine={}", models::affine(folder.path()));
    for waits in [0, 1] {
        let logs = TempDir::new().unwrap();
        let log = logs.path().join("loader").to_str().unwrap().to_owned();
        let args = ["--model", &*model, "--max-delay", "600000", "--shutdown-limit", "0.2"];
        let loader = [("LD_DEBUG", "files"), ("LD_DEBUG_OUTPUT", &log)];
        let server = Process::start_with(args, &loader);
        let _clients = waiting(&server, waits);
        server.terminate();
        let (status, rest) = server.end();
        assert_eq!(status.code(), Some(waits as i32), "{rest}");
        assert_eq!(rest.contains("ended: "), waits == 0, "{rest}");
        let logs = std::fs::read_dir(logs.path()).unwrap();
        let log: String =
            logs.map(|log| std::fs::read_to_string(log.unwrap().path()).unwrap()).collect();
        assert!(log.contains("calling init:"), "{log}");
        let called: Vec<_> = log.lines().filter(|line| line.contains("calling fini:")).collect();
        assert!(called.is_empty(), "{called:?}");
    }
}
