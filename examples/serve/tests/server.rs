//! The server as its clients see it: the real client of Triton, many clients at once, a full queue, and the end.

mod common;

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::Server;

const BODY: &str = r#"{"inputs": [
    {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]},
    {"name": "k", "datatype": "INT64", "shape": [1, 2], "data": [4, 5]}]}"#;
const INFER: &str = "/v2/models/double/infer";

/// The Python that has `tritonclient`: `cargo xtask test` names one.
fn python() -> Option<Command> {
    let named = std::env::var_os("ACCELERANT_TRITON_CLIENT");
    let mut python = Command::new("python3");
    if let Some(folder) = &named {
        python.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    }
    let has = python.args(["-c", "import tritonclient.http"]).output();
    let has = has.is_ok_and(|output| output.status.success());
    assert!(has || named.is_none(), "ACCELERANT_TRITON_CLIENT names a folder without tritonclient");
    let mut python = Command::new("python3");
    if let Some(folder) = &named {
        python.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    }
    has.then_some(python)
}

#[test]
fn the_client_of_triton_works_with_it() {
    let Some(mut python) = python() else {
        eprintln!("skipped: python3 has no tritonclient[http]");
        return;
    };
    let server = Server::start(&[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client.py");
    let ran = python.arg(script).arg(&server.address).output().unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{said}{wrong}");
    assert!(said.contains("all answers are right"), "{said}");
}

#[test]
fn many_clients_are_answered_and_none_is_dropped_at_the_end() {
    const CLIENTS: usize = 16;
    let server = Server::start(&["--drain", "0.5"]);
    let end = AtomicBool::new(false);
    let start = Instant::now();
    let times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    let mut client = server.connect().unwrap();
                    loop {
                        let asked = Instant::now();
                        let answer = client.ask("POST", INFER, BODY).expect("a request is dropped");
                        assert_eq!(answer.status, 200, "{}", answer.body);
                        assert!(answer.body.contains("[2.0,4.0,6.0]"), "{}", answer.body);
                        times.push(asked.elapsed());
                        if answer.closes {
                            assert!(end.load(Ordering::Acquire), "closed before the end");
                            return times;
                        }
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_secs(2));
        end.store(true, Ordering::Release);
        server.terminate();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let took = start.elapsed();
    let mut sorted = times.clone();
    sorted.sort();
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
    eprintln!(
        "{} requests of {CLIENTS} clients in {took:.1?}: {:.0} a second, p50 {:.2?}, p99 {:.2?}",
        times.len(),
        times.len() as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
    // Far below what any machine does.
    assert!(times.len() > 200, "{} requests in {took:?}", times.len());
    assert!(at(0.5) < Duration::from_secs(1), "p50 is {:?}", at(0.5));
    server.join();
}

#[test]
fn a_full_queue_sheds_load_and_says_so() {
    // One request waits a second for others, and no other may wait.
    let server = Server::start(&["--max-queue", "1", "--max-delay", "1000000"]);
    let first = thread::scope(|scope| {
        let first = scope.spawn(|| server.connect().unwrap().ask("POST", INFER, BODY).unwrap());
        thread::sleep(Duration::from_millis(300));
        let second = server.connect().unwrap().ask("POST", INFER, BODY).unwrap();
        assert_eq!(second.status, 503, "{}", second.body);
        assert!(second.headers.contains("retry-after: 1"), "{}", second.headers);
        assert!(second.body.contains("error"), "{}", second.body);
        first.join().unwrap()
    });
    assert_eq!(first.status, 200, "{}", first.body);
    let page = server.connect().unwrap().ask("GET", "/metrics", "").unwrap().body;
    for line in [
        r#"accelerant_requests_total{model="double",result="success"} 1"#,
        r#"accelerant_requests_total{model="double",result="shed"} 1"#,
        r#"accelerant_request_seconds_count{model="double"} 1"#,
        r#"accelerant_batched_rows_total{model="double"} 1"#,
        r#"accelerant_requests_total{model="fixed",result="success"} 0"#,
    ] {
        assert!(page.contains(line), "{line} is not in:\n{page}");
    }
}

#[test]
fn a_server_that_ends_is_not_ready_and_still_answers() {
    let server = Server::start(&["--drain", "1"]);
    let ready = |path: &str| server.connect().unwrap().ask("GET", path, "").unwrap().status;
    assert_eq!((ready("/v2/health/ready"), ready("/v2/health/live")), (200, 200));
    server.terminate();
    thread::sleep(Duration::from_millis(200));
    assert_eq!((ready("/v2/health/ready"), ready("/v2/health/live")), (503, 200));
    assert_eq!(ready("/v2/models/double/ready"), 503);
    let answer = server.connect().unwrap().ask("POST", INFER, BODY).unwrap();
    assert!(answer.status == 200 && answer.closes);
    server.join();
}

#[test]
fn what_makes_no_sense_is_refused_and_the_server_goes_on() {
    let server = Server::start(&["--max-body", "1"]);
    let ask = |method: &str, path: &str, body: &str| {
        server.connect().unwrap().ask(method, path, body).map(|answer| answer.status)
    };
    assert_eq!(ask("POST", INFER, "{").unwrap(), 400);
    assert_eq!(ask("POST", "/v2/models/none/infer", BODY).unwrap(), 404);
    assert_eq!(ask("GET", "/v3", "").unwrap(), 404);
    assert_eq!(ask("GET", INFER, "").unwrap(), 405);
    // Arrays in arrays, deeper than the stack.
    let deep = BODY.replace("[1, 2, 3]", &("[".repeat(100_000) + &"]".repeat(100_000)));
    assert_eq!(ask("POST", INFER, &deep).unwrap(), 400);
    // The server may close before the client has written all.
    let large = ask("POST", INFER, &" ".repeat(2 << 20));
    assert!(large.as_ref().map_or(true, |&status| status == 413), "{large:?}");
    assert_eq!(ask("POST", INFER, BODY).unwrap(), 200);
}
