//! Requests that are wrong in one way each: the status and the text that names what is wrong, and a server that goes on.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::models;
use crate::process::Process;

fn serve(folder: &TempDir) -> Process {
    let affine = models::affine(folder.path());
    let single = models::single(folder.path());
    let half = models::identity(folder.path(), "half", accelerant::DType::F16);
    Process::start([
        "--model",
        &format!("affine={affine}"),
        "--model",
        &format!("single={single}"),
        "--model",
        &format!("half={half}"),
        "--max-body",
        "1",
    ])
}

fn x(datatype: &str, shape: Value, data: Value) -> Value {
    json!({ "name": "x", "datatype": datatype, "shape": shape, "data": data })
}

fn of(inputs: Value) -> String {
    json!({ "inputs": inputs }).to_string()
}

const AFFINE: &str = "/v2/models/affine/infer";

#[test]
fn json_that_is_wrong_is_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    let good = || x("FP32", json!([1, 4]), json!([1, 2, 3, 4]));
    let with = |more: Value| {
        let mut all = json!({ "inputs": [good()] });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all.to_string()
    };
    let row = |shape: Value, data: Value| of(json!([x("FP32", shape, data)]));
    let deep = format!("{{\"inputs\":[{{\"name\":\"x\",\"data\":{}", "[".repeat(100_000));
    let many = vec![1; 1000];
    let rows = [
        (String::new(), "not valid"),
        ("{".into(), "not valid"),
        ("[]".into(), "not valid"),
        ("null".into(), "not valid"),
        ("{}".into(), "missing field `inputs`"),
        ("\u{0}\u{1}".into(), "not valid"),
        (deep, "recursion limit"),
        (of(json!([])), "the input `x` is missing"),
        (of(json!([good(), good()])), "the input `x` is there twice"),
        (
            of(json!([{ "name": "w", "datatype": "FP32", "shape": [1], "data": [1] }])),
            "no input `w`; there are `x`",
        ),
        (of(json!([x("FP32", json!([1, 4]), json!("text"))])), "not valid"),
        (
            of(json!([x("BYTES", json!([1, 4]), json!([1, 2, 3, 4]))])),
            "tensor `x`: the datatype `BYTES`",
        ),
        (
            of(json!([x("INT32", json!([1, 4]), json!([1, 2, 3, 4]))])),
            "model `affine`: submit: tensor `x`: expected f32, got i32",
        ),
        (
            of(json!([x("INT32", json!([1, 4]), json!([1, 2, 3, 2147483648u64]))])),
            "value 3, 2147483648, is out of range",
        ),
        (of(json!([x("INT64", json!([1, 4]), json!([1, 2, 3.5, 4]))])), "a number with a point"),
        (
            of(json!([x("UINT8", json!([1, 4]), json!([1, 2, 3, -4]))])),
            "value 3, -4, is out of range",
        ),
        (
            of(json!([x("BOOL", json!([1, 4]), json!([0, 1, 2, 1]))])),
            "other values than true and false",
        ),
        (row(json!([1, 4]), json!([1, 2, 3, 1e39])), "value 3, 1e39, is out of range"),
        (row(json!([1, 4]), json!([1, 2, true, 4])), "both numbers and true"),
        (
            row(json!([1, 4]), json!([1, 2, 3])),
            "tensor `x`: data has 3 values for the shape [1, 4]",
        ),
        (row(json!([2, 4]), json!([[1, 2, 3, 4], [1, 2, 3]])), "different lengths"),
        (row(json!([1, 4]), json!([1, [2], 3, 4])), "side by side"),
        (row(json!([1, 4]), json!([[1], 2, 3, 4])), "side by side"),
        (
            row(json!([1, 4]), json!([[1], [2], [3], [4]])),
            "the lists of data have the sizes [4, 1]",
        ),
        (row(json!([1, 3]), json!([1, 2, 3])), "tensor `x`, axis 1: expected 4, got 3"),
        (row(json!([4]), json!([1, 2, 3, 4])), "tensor `x`: expected rank 2"),
        (
            row(json!([0, 4]), json!([])),
            "tensor `x`, axis 0: `rows` = 0 is outside the profile 1..=32",
        ),
        (row(json!([33, 4]), json!(vec![0; 132])), "tensor `x`, axis 0: `rows` = 33 is outside"),
        (row(json!([-1, 4]), json!([1, 2, 3, 4])), "tensor `x`: axis 0: the size is -1"),
        (row(json!([1.5, 4]), json!([1, 2, 3, 4])), "not valid"),
        (row(json!([4294967296u64, 4294967296u64]), json!([])), "data has 0 values"),
        (row(json!([u64::MAX, 4]), json!([])), "not valid"),
        (row(json!(many), json!([1])), "the shape has 1000 axes"),
        (
            of(json!([{ "name": "x", "datatype": "FP32", "shape": [1, 4] }])),
            "neither data nor binary_data_size",
        ),
        (
            of(
                json!([{ "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": { "shared_memory_region": "r" } }]),
            ),
            "shared memory",
        ),
        (with(json!({ "outputs": [{ "name": "w" }] })), "no output `w`; there are `y`, `z`"),
        (
            with(json!({ "outputs": [{ "name": "y" }, { "name": "y" }] })),
            "the output `y` is there twice",
        ),
        (
            with(json!({ "outputs": [{ "name": "y", "parameters": { "classification": 3 } }] })),
            "classification",
        ),
        (with(json!({ "parameters": { "sequence_id": 4 } })), "sequences"),
    ];
    let mut client = server.client();
    for (body, text) in rows {
        let answer = client.post(AFFINE, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 400, "{body:.200}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(
            error.starts_with("model `affine`: ") && error.contains(text),
            "{body:.200}: {error}"
        );
        assert!(error.len() < 1000, "{}", error.len());
    }
    // Each of them left the connection, and the model, as they were.
    assert_eq!(client.post(AFFINE, of(json!([good()])).as_bytes()).unwrap().status, 200);
}

#[test]
fn other_addresses_and_methods_are_refused() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    for path in [
        "/",
        "/v2/x",
        "/v2/models/none",
        "/v2/models/affine/versions/2",
        "/v2/models/a%2Fb/ready",
        "/v2/models/%FF",
    ] {
        let answer = server.get(path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(answer.json()["error"].is_string(), "{path}: {}", answer.text());
    }
    let told = "there is no model `none`; there are: `affine`, `half`, `single`";
    assert_eq!(server.get("/v2/models/none").json()["error"], told);
    assert_eq!(server.post("/v2/models/none/infer", "{}").status, 404);
    assert_eq!(server.post("/v2/models/affine/versions/2/infer", "{}").status, 404);
    assert_eq!(server.get(AFFINE).status, 405);
    assert_eq!(server.post("/v2/health/live", "").status, 405);
    let mut client = server.client();
    let answer = client.post_with(AFFINE, &[("Content-Encoding", "gzip")], b"x").unwrap();
    assert_eq!(answer.status, 415);
}

/// A binary request with a length of the JSON that may be wrong.
fn binary(
    server: &Process,
    parameters: Value,
    length: Option<&str>,
    bytes: usize,
) -> (u16, String) {
    let json =
        of(json!([{ "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": parameters }]));
    let body = [json.as_bytes(), &vec![0; bytes]].concat();
    let right = json.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.unwrap_or(&right))];
    let answer = server.client().post_with(AFFINE, &headers, &body).unwrap();
    (answer.status, answer.text())
}

#[test]
fn lengths_of_binary_parts_are_checked() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    let size = |size: i64| json!({ "binary_data_size": size });
    assert_eq!(binary(&server, size(16), None, 16).0, 200);
    let rows = [
        (size(16), None, 15, "binary_data_size is 16, and 15 bytes are left"),
        (size(16), None, 17, "1 bytes at the end of the body belong to no tensor"),
        (size(15), None, 15, "needs 16 bytes, got 15"),
        (size(20), None, 20, "needs 16 bytes, got 20"),
        (size(0), None, 0, "needs 16 bytes, got 0"),
        (size(-1), None, 16, "binary_data_size is -1"),
        (size(i64::MAX), None, 16, "binary_data_size is 9223372036854775807"),
        (json!({}), None, 16, "neither data nor binary_data_size"),
        (size(16), Some("0"), 16, "not valid"),
        (size(16), Some("-5"), 16, "is `-5`"),
        (size(16), Some("+5"), 16, "is `+5`"),
        (size(16), Some("1e2"), 16, "is `1e2`"),
        (size(16), Some(""), 16, "is ``"),
        (size(16), Some("99999"), 16, "is `99999`, and the body has"),
        (size(16), Some("99999999999999999999999999999999"), 16, "the body has"),
    ];
    for (parameters, length, bytes, text) in rows {
        let (status, error) = binary(&server, parameters, length, bytes);
        assert!(status == 400 && error.contains(text), "{text}: {status} {error}");
    }
    let twice =
        [("Inference-Header-Content-Length", "2"), ("Inference-Header-Content-Length", "2")];
    let answer = server.client().post_with(AFFINE, &twice, b"{}").unwrap();
    assert!(answer.status == 400 && answer.text().contains("twice"), "{}", answer.text());
}

#[test]
fn halves_have_no_form_in_json() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    let answer =
        server.post("/v2/models/half/infer", of(json!([x("FP16", json!([1, 2]), json!([1, 2]))])));
    assert!(answer.status == 400 && answer.text().contains("as binary data"), "{}", answer.text());
    let json = json!({ "inputs": [{ "name": "x", "datatype": "FP16", "shape": [1, 2],
                                     "parameters": { "binary_data_size": 4 } }] });
    let json = json.to_string();
    let length = json.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let body = [json.as_bytes(), &[0, 60, 0, 64]].concat();
    let answer = server.client().post_with("/v2/models/half/infer", &headers, &body).unwrap();
    assert!(
        answer.status == 400 && answer.text().contains("ask for binary data"),
        "{}",
        answer.text()
    );
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    // Announced, and not sent.
    let mut client = server.client();
    client
        .write(format!("POST {AFFINE} HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n"))
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 413);
    // Announced and sent, and in chunks, so that the size is known at the end alone. What comes is read and thrown away
    // for a while: a client that still sends would not see the answer.
    let whole = vec![b' '; 3 << 20];
    let mut client = server.client();
    assert_eq!(client.post(AFFINE, &whole).unwrap().status, 413);
    assert_eq!(client.get("/v2").unwrap().status, 200);
    client
        .write(format!("POST {AFFINE} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"))
        .unwrap();
    let chunk = [b"100000\r\n".as_slice(), &whole[..1 << 20], b"\r\n"].concat();
    for _ in 0..3 {
        client.write(&chunk).unwrap();
    }
    client.write("0\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().status, 413);
    assert_eq!(client.get("/v2").unwrap().status, 200);
    // One that asks first.
    let mut client = server.client();
    let head = format!(
        "POST {AFFINE} HTTP/1.1\r\nHost: t\r\nContent-Length: 2097152\r\nExpect: 100-continue\r\n\r\n"
    );
    client.write(head).unwrap();
    assert_eq!(client.answer().unwrap().status, 413);
    // A length that is none.
    let mut client = server.client();
    client
        .write(format!("POST {AFFINE} HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n"))
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 400);
    assert_eq!(server.metric("accelerant_body_bytes"), 0.0);
}

#[test]
fn a_start_that_cannot_be_tells_why() {
    let folder = TempDir::new().unwrap();
    let affine = models::affine(folder.path());
    let rows = [
        (vec![], "there is nothing to serve"),
        (vec!["--model".to_owned(), "a=/nowhere.onnx".to_owned()], "model `a`, /nowhere.onnx:"),
        (vec!["--model".to_owned(), "a b=x".to_owned()], "has other characters"),
        (
            vec![
                "--model".to_owned(),
                format!("a={affine}"),
                "--model".to_owned(),
                format!("a={affine}"),
            ],
            "two models are called `a`",
        ),
        (vec!["--language-model".to_owned(), "t=/nowhere".to_owned()], "config.json"),
        (
            vec![
                "--model".to_owned(),
                format!("a={affine}"),
                "--shape".to_owned(),
                "a/none=1:4".to_owned(),
            ],
            "`none`",
        ),
    ];
    let of = |sizes: &str| ["--model", &format!("a={affine}"), "--shape", sizes].map(str::to_owned);
    let sizes = [
        ("rows=8:1", "MIN <= OPT <= MAX"),
        ("rows=1:9:8", "MIN <= OPT <= MAX"),
        ("rows=1-8", "neither SYMBOL=SIZE, SYMBOL=MIN:OPT:MAX nor INPUT:1x3x224x224"),
        ("x:2x5", "axis 1 is 4, and 5 is stated"),
        ("x:2", "and 1 sizes are stated"),
        ("a/z:2x4", "no input of this name"),
    ];
    let sizes = sizes.map(|(sizes, text)| (of(sizes).to_vec(), text));
    for (args, text) in rows.into_iter().chain(sizes) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_accelerant-serve"));
        let output = command.args(["--port", "0"]).args(&args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(text), "{args:?}: {error}");
    }
}
