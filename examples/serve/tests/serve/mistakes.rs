//! Mistakes at the server, and the text that each gives: a section of `docs/mistakes.md`.

use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::models;
use crate::page::Section;
use crate::process::Process;

#[test]
fn the_server() {
    let mut section = Section::new("The server");
    let folder = TempDir::new().unwrap();
    models::affine(folder.path());

    let mut start = |title: &str, line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant-serve"));
        command.current_dir(folder.path()).args(line.split_whitespace());
        let output = command.output().unwrap();
        assert!(!output.status.success(), "`{line}` is no mistake");
        let told = String::from_utf8(output.stderr).unwrap();
        section.add(title, "sh", &format!("accelerant-serve {line}"), &told);
    };
    start("A server without a model", "--port 0");
    start("A model without a name", "--port 0 --model affine.onnx");
    start("A model's file that is not there", "--port 0 --model affine=afine.onnx");
    start(
        "Sizes in another form, at the server",
        "--port 0 --model affine=affine.onnx --shape rows=1-8",
    );
    start(
        "A backend that does not exist, at the server",
        "--port 0 --model affine=affine.onnx --backend gpu",
    );
    start(
        "A folder without a language model",
        "--port 0 --model affine=affine.onnx --language-model text=.",
    );

    let file = folder.path().join("affine.onnx");
    let served = format!("affine={}", file.display());
    let server = Process::start(["--model", served.as_str(), "--max-batch", "2"]);
    let mut post = |title: &str, path: &str, body: String| {
        let answer = server.post(path, &body);
        assert!(answer.status >= 400, "{body} is no mistake");
        let sent = format!("POST {path}\n{body}");
        section.add(title, "text", &sent, &format!("{}\n{}", answer.status, answer.text()));
    };
    let affine = "/v2/models/affine/infer";
    let of = |datatype: &str, shape: [usize; 2], data: &[f32]| {
        let x = json!({ "name": "x", "datatype": datatype, "shape": shape, "data": data });
        json!({ "inputs": [x] }).to_string()
    };
    post("A model that is not served", "/v2/models/afine/infer", "{}".into());
    post("A body that is no JSON", affine, "x=1".into());
    post("A request without inputs", affine, "{}".into());
    post("An input left out", affine, r#"{"inputs":[]}"#.into());
    post(
        "An input that the model does not have, at the server",
        affine,
        r#"{"inputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1]}]}"#.into(),
    );
    post("A type by another name", affine, of("float32", [1, 4], &[1.0; 4]));
    post("An input of another type, at the server", affine, of("FP64", [1, 4], &[1.0; 4]));
    post("An input of another size, at the server", affine, of("FP32", [1, 3], &[1.0; 3]));
    post("Fewer values than the shape has", affine, of("FP32", [1, 4], &[1.0; 3]));
    post("More rows than a batch may have", affine, of("FP32", [3, 4], &[1.0; 12]));
    section.finish();
}
