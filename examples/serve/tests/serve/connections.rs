//! Clients that are slow, silent or gone.

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::models;
use crate::process::Process;

const AFFINE: &str = "/v2/models/affine/infer";

fn serve(folder: &TempDir, more: &[&str]) -> Process {
    let model = format!("affine={}", models::affine(folder.path()));
    Process::start([&["--model", model.as_str()], more].concat())
}

fn request() -> Vec<u8> {
    let x = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4] });
    json!({ "inputs": [x] }).to_string().into_bytes()
}

#[test]
fn a_head_or_body_that_does_not_come_is_given_up() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--read-limit", "0.3"]);
    let start = Instant::now();
    let mut silent = server.client();
    let mut slow_head = server.client();
    slow_head.write("POST /v2").unwrap();
    let mut slow_body = server.client();
    slow_body
        .write(format!("POST {AFFINE} HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\n{{\"in"))
        .unwrap();
    assert_eq!(slow_body.answer().unwrap().status, 408);
    assert_eq!(silent.rest().unwrap(), "");
    slow_head.rest().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(server.post(AFFINE, request()).status, 200);
}

#[test]
fn heads_that_are_no_http_or_too_long_are_refused() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    for (head, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}".repeat(20) + "\r\n\r\n", 400),
        (format!("GET /v2 HTTP/1.1\r\nHost: t\r\nLong: {}\r\n\r\n", "x".repeat(1 << 20)), 431),
        (format!("GET /v2 HTTP/1.1\r\nHost: t\r\n{}\r\n", "A: b\r\n".repeat(200)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(70_000)), 414),
    ] {
        let mut client = server.client();
        // The server may close before all of it is sent.
        let _ = client.write(&head);
        let answer = client.answer().unwrap_or_else(|e| panic!("{head:.40}: {e}"));
        assert_eq!(answer.status, status, "{head:.40}");
    }
    assert_eq!(server.post(AFFINE, request()).status, 200);
}

#[test]
fn a_body_that_ends_too_early_harms_nobody() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let mut client = server.client();
    client
        .write(format!("POST {AFFINE} HTTP/1.1\r\nHost: t\r\nContent-Length: 50\r\n\r\n{{\"in"))
        .unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    client.rest().unwrap();
    server.until("accelerant_connections", 1.0);
    assert_eq!(server.metric("accelerant_body_bytes"), 0.0);
    assert_eq!(server.post(AFFINE, request()).status, 200);
}

#[test]
fn a_client_that_goes_away_withdraws_its_request() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--max-delay", "60000"]);
    let running = "accelerant_running{model=\"affine\"}";
    let mut client = server.client();
    client.send(AFFINE, &[], &request()).unwrap();
    server.until(running, 1.0);
    drop(client);
    server.until(running, 0.0);
    // One that has closed its sending side is taken for gone after a while.
    let mut client = server.client();
    client.send(AFFINE, &[], &request()).unwrap();
    server.until(running, 1.0);
    client.stream().shutdown(Shutdown::Write).unwrap();
    server.until(running, 0.0);
}

#[test]
fn a_client_that_closes_its_sending_side_gets_a_quick_answer() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--max-delay", "30"]);
    let mut client = server.client();
    client.send(AFFINE, &[], &request()).unwrap();
    client.send(AFFINE, &[], &request()).unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 200);
    let start = Instant::now();
    assert_eq!(client.rest().unwrap(), "");
    assert!(start.elapsed() < Duration::from_millis(350), "the server closes behind it");
    server.until("accelerant_connections", 1.0);
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let mut client = server.client();
    for id in 0..20 {
        let x = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [id, 2, 3, 4] });
        let body = json!({ "id": id.to_string(), "inputs": [x] }).to_string();
        client.send(AFFINE, &[], body.as_bytes()).unwrap();
    }
    for id in 0..20 {
        let answer = client.answer().unwrap().json();
        assert_eq!(answer["id"], id.to_string());
        assert_eq!(answer["outputs"][1]["data"][0], f64::from(id + 1));
    }
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--write-limit", "0.3"]);
    let client = server.client();
    let mut writer = server.client();
    drop(client);
    // Answers nobody reads, until the system has no room for more of them.
    let index = b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n".repeat(100);
    let start = Instant::now();
    while writer.write(&index).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(30), "it is not given up");
        thread::sleep(Duration::from_millis(1));
    }
    server.until("accelerant_connections", 1.0);
}

#[test]
fn more_connections_than_there_is_room_for_wait() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &["--connections", "2"]);
    let (mut first, mut second) = (server.client(), server.client());
    assert_eq!((first.get("/v2").unwrap().status, second.get("/v2").unwrap().status), (200, 200));
    let mut third = server.client();
    third.write("GET /v2 HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    third.stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.answer().is_err());
    drop(first);
    third.stream().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(third.answer().unwrap().status, 200);
}

#[test]
fn bodies_have_a_room_that_they_share() {
    let folder = TempDir::new().unwrap();
    let more = ["--max-body", "1", "--max-bodies", "1", "--max-delay", "600000"];
    let server = serve(&folder, &more);
    let large = [request(), vec![b' '; 800 << 10]].concat();
    let mut first = server.client();
    first.send(AFFINE, &[], &large).unwrap();
    server.until("accelerant_running{model=\"affine\"}", 1.0);
    let answer = server.post(AFFINE, &large);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.text().contains("all the memory"), "{}", answer.text());
    drop(first);
    server.until("accelerant_body_bytes", 0.0);
}
