//! Requests whose bytes were changed at random: answers or closed connections, never a failure of the server's own.

use serde_json::json;
use tempfile::TempDir;

use crate::models;
use crate::process::Process;

/// Source: Marsaglia, "Xorshift RNGs", Journal of Statistical Software, 2003.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// Bytes that mean something in JSON, in heads or in numbers.
const BYTES: &[u8] = b"{}[]\",:-+.0123456789eEntf\\\0\xFF \r\n";

/// Changes, removes, doubles and moves a few bytes.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = BYTES[random.below(BYTES.len())],
            1 => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, BYTES[random.below(BYTES.len())]),
            _ => {
                let end = (at + random.below(20)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
        }
    }
}

#[test]
fn changed_bytes_are_refused_or_answered() {
    let folder = TempDir::new().unwrap();
    let affine = format!("affine={}", models::affine(folder.path()));
    let tiny = format!("tiny={}", models::language_model(folder.path()).display());
    let server = Process::start([
        "--model",
        &affine,
        "--language-model",
        &tiny,
        "--read-limit",
        "0.05",
        "--max-body",
        "1",
        "--capacity",
        "64",
    ]);
    let row = |parameters, data| json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": parameters, "data": data });
    let in_json = json!({ "id": "1", "inputs": [row(json!({}), json!([[1, 2.5, -3e2, 4]]))],
                          "outputs": [{ "name": "y", "parameters": { "binary_data": true } }] })
    .to_string()
    .into_bytes();
    let head =
        json!({ "inputs": [row(json!({ "binary_data_size": 16 }), json!(null))] }).to_string();
    let length = head.len().to_string();
    let in_bytes = [head.as_bytes(), &[0; 16]].concat();
    let text = json!({ "model": "tiny", "prompt": "Once", "max_tokens": 3, "temperature": 0.5, "top_p": 0.9,
                       "stop": ["a", "b"], "seed": 1, "stream": true, "stream_options": { "include_usage": true } });
    let chat = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 3 });
    let (text, chat) = (text.to_string().into_bytes(), chat.to_string().into_bytes());
    let infer = "/v2/models/affine/infer";
    let requests = [
        (infer, None, in_json),
        (infer, Some(length), in_bytes),
        ("/v1/completions", None, text),
        ("/v1/chat/completions", None, chat),
    ];
    let mut random = Random(7);
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for i in 0..1200 {
        let (path, length, body) = &requests[i % requests.len()];
        let mut body = body.clone();
        let whole = i % 3 == 0;
        if !whole {
            change(&mut body, &mut random);
        }
        let told =
            length.as_ref().map(|length| format!("Inference-Header-Content-Length: {length}\r\n"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n",
            told.unwrap_or_default(),
            body.len()
        );
        let mut bytes = [head.as_bytes(), &body].concat();
        if whole {
            change(&mut bytes, &mut random);
        }
        let mut client = server.client();
        // The server may close before all of it is sent.
        let _ = client.write(&bytes);
        if let Ok(answer) = client.answer() {
            assert!(answer.status < 500, "{}: {}", String::from_utf8_lossy(&bytes), answer.text());
            *statuses.entry(answer.status).or_default() += 1;
        }
    }
    eprintln!("{statuses:?}");
    assert!(statuses[&200] > 50 && statuses[&400] > 50, "{statuses:?}");
    assert_eq!(server.metric("accelerant_body_bytes"), 0.0);
    server.until("accelerant_running{model=\"affine\"}", 0.0);
    server.until("accelerant_generations{model=\"tiny\"}", 0.0);
}
