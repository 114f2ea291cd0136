//! Load from several clients at once: how fast answers come, that each is right, and that none is lost when the server
//! ends meanwhile.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::{Answer, Client};
use crate::models;
use crate::process::Process;

const AFFINE: &str = "/v2/models/affine/infer";
const CLIENTS: usize = 8;
const REQUESTS: usize = 250;

fn serve(folder: &TempDir, more: &[&str]) -> Process {
    let model = format!("affine={}", models::affine(folder.path()));
    Process::start([&["--model", model.as_str()], more].concat())
}

/// One row, as bytes both ways.
fn ask(client: &mut Client, number: usize) -> io::Result<Answer> {
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}]}"#;
    let row: Vec<u8> = (0..4).flat_map(|i| (number as f32 + i as f32).to_le_bytes()).collect();
    let length = json.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    client.post_with(AFFINE, &headers, &[json.as_bytes(), &row].concat())
}

/// Every answer is that of its own request.
fn assert_right(answer: &Answer, number: usize) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let y = &answer.body[answer.body.len() - 32..answer.body.len() - 16];
    let expected: Vec<u8> =
        (0..4).flat_map(|i| (2.0 * (number as f32 + i as f32) + 1.0).to_le_bytes()).collect();
    assert_eq!(y, expected);
}

#[test]
fn many_clients_get_their_own_answers() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder, &[]);
    let start = Instant::now();
    let of_client = |client: usize| {
        let mut connection = server.client();
        let one = |number: usize| {
            let number = client * REQUESTS + number;
            let start = Instant::now();
            let answer = ask(&mut connection, number).unwrap();
            let took = start.elapsed();
            assert_right(&answer, number);
            took
        };
        (0..REQUESTS).map(one).collect::<Vec<_>>()
    };
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|i| scope.spawn(move || of_client(i))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let took = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e3;
    let (count, batches) =
        (times.len(), server.metric("accelerant_batches_total{model=\"affine\"}"));
    eprintln!(
        "{CLIENTS} clients, {count} requests in {batches} batches: {:.0} requests/s, p50 {:.2} ms, p99 {:.2} ms",
        count as f64 / took,
        at(0.5),
        at(0.99),
    );
    assert_eq!(server.metric("accelerant_rows_total{model=\"affine\"}"), count as f64);
    assert!(batches < count as f64, "requests of several clients run together");
}

/// Clients ask until nobody answers any more. Every request that the server accepted has a whole answer with its client,
/// and no open connection is closed on a request that was sent.
#[test]
fn no_accepted_request_is_lost_when_the_server_ends() {
    let folder = TempDir::new().unwrap();
    // Longer than a client of a busy machine rests between two requests.
    let server = serve(&folder, &["--linger", "1"]);
    let (answers, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let of_client = || {
        // Refused: the listener is closed.
        while let Ok(mut connection) = Client::connect(server.address()) {
            for number in 0.. {
                match ask(&mut connection, number % 1000) {
                    Ok(answer) => {
                        assert_right(&answer, number % 1000);
                        answers.fetch_add(1, Relaxed);
                        if answer.closes() {
                            break;
                        }
                    }
                    // The system took the connection, and the listener was closed before the server did.
                    Err(_) if number == 0 => return,
                    Err(_) => {
                        lost.fetch_add(1, Relaxed);
                        return;
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        let of_client = &of_client;
        for _ in 0..CLIENTS {
            scope.spawn(of_client);
        }
        thread::sleep(Duration::from_millis(500));
        server.terminate();
    });
    let (answers, lost) = (answers.into_inner(), lost.into_inner());
    assert_eq!(server.ended(), answers);
    eprintln!("{answers} answers up to the end");
    assert!(answers > 100);
    assert_eq!(lost, 0);
}
