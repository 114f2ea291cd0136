//! The Open Inference Protocol as its text has it, with JSON and with binary tensors.

use accelerant::export::OnnxModel;
use accelerant::{InferenceModule, OptimizeOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::models;
use crate::process::Process;

fn serve(folder: &TempDir) -> Process {
    let affine = models::affine(folder.path());
    let single = models::single(folder.path());
    Process::start(["--model", &format!("affine={affine}"), "--model", &format!("single={single}")])
}

#[test]
fn server_and_models_tell_what_they_are() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/affine/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.get("/v2/models/affine/versions/1/ready").status, 200);
    let about = server.get("/v2").json();
    assert_eq!(about["name"], "accelerant");
    assert!(about["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));
    let metadata = server.get("/v2/models/affine").json();
    assert_eq!(metadata["versions"], json!(["1"]));
    let x = json!([{ "name": "x", "datatype": "FP32", "shape": [-1, 4] }]);
    assert_eq!(metadata["inputs"], x);
    assert_eq!(metadata, server.get("/v2/models/affine/versions/1").json());
    let config = server.get("/v2/models/affine/config").json();
    assert_eq!(config["max_batch_size"], 32);
    assert_eq!(config["input"], json!([{ "name": "x", "data_type": "TYPE_FP32", "dims": [4] }]));
    assert_eq!(config["dynamic_batching"]["max_queue_delay_microseconds"], 1000);
    let config = server.get("/v2/models/single/config").json();
    assert_eq!(
        (&config["max_batch_size"], &config["input"][0]["dims"]),
        (&json!(0), &json!([2, -1]))
    );
    let index = server.post("/v2/repository/index", "{}").json();
    let names: Vec<_> = index.as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["affine", "single"]);
}

/// Two rows and what they come to.
fn request(more: Value) -> Value {
    let data = json!([[0, 1, 2, 3], [4.0, 5.5, -6e1, 7]]);
    let mut request =
        json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2, 4], "data": data }] });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

const Y: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 12.0, -119.0, 15.0];

#[test]
fn values_go_in_and_out_as_json() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    let answer = server.post("/v2/models/affine/infer", request(json!({ "id": "7" })).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("affine"), &json!("1")));
    assert_eq!(answer["id"], "7");
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 2);
    let y = &answer["outputs"][0];
    assert_eq!(
        (&y["name"], &y["datatype"], &y["shape"]),
        (&json!("y"), &json!("FP32"), &json!([2, 4]))
    );
    assert_eq!(y["data"], json!(Y));
    // One output alone, by its name, of a request that has lists in lists.
    let asked = request(json!({ "outputs": [{ "name": "z" }] }));
    let answer = server.post("/v2/models/affine/versions/1/infer", asked.to_string()).json();
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(answer["outputs"][0]["data"][6], -59.0);
}

#[test]
fn values_go_in_and_out_as_bytes() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    let json = json!({
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": { "binary_data_size": 16 } }],
        "outputs": [
            { "name": "z", "parameters": { "binary_data": true } },
            { "name": "y", "parameters": { "binary_data": false } },
        ],
    })
    .to_string();
    let x: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let body = [json.as_bytes(), &x].concat();
    let length = json.len().to_string();
    let headers = [("Inference-Header-Content-Length", length.as_str())];
    let mut client = server.client();
    let answer = client.post_with("/v2/models/affine/infer", &headers, &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let told: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(told["outputs"][0]["parameters"]["binary_data_size"], 16);
    assert_eq!(told["outputs"][1]["data"], json!([3.0, 5.0, 7.0, 9.0]));
    let z: Vec<u8> = [2f32, 3.0, 4.0, 5.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(answer.body[length..], z);
}

#[test]
fn a_model_without_rows_takes_sizes_of_zero_and_scalars() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    for (length, data) in [(0, json!([])), (0, json!([[], []])), (1, json!([[1], [2]]))] {
        let body = json!({ "inputs": [
            { "name": "number", "datatype": "INT64", "shape": [], "data": [-9007199254740993i64] },
            { "name": "x", "datatype": "FP32", "shape": [2, length], "data": data },
        ]});
        let answer = server.post("/v2/models/single/infer", body.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let outputs = answer.json()["outputs"].clone();
        assert_eq!(outputs[0]["shape"], json!([2, length]));
        assert_eq!(outputs[0]["data"].as_array().unwrap().len(), 2 * length);
        assert_eq!(outputs[1]["data"], json!([-9007199254740993i64]));
    }
}

#[test]
fn sizes_are_stated_and_engines_are_loaded() {
    let folder = TempDir::new().unwrap();
    let affine = models::affine(folder.path());
    let model = OnnxModel::open(&affine).unwrap().bind("rows", 1..=6).unwrap();
    let module = InferenceModule::compile(&model, &OptimizeOptions::new()).unwrap();
    let path = folder.path().join("affine.engine");
    module.engine().save(&path).unwrap();
    let (model, engine) = (format!("model={affine}"), format!("engine={}", path.display()));
    // In all forms that the command `accelerant` takes; the last size is the largest.
    for sizes in ["rows=1:8", "rows=1:4:8", "model/rows=1:4:8", "model/rows=1:2:8,other=1:3"] {
        let args = ["--model", &model, "--shape", sizes, "--max-batch", "100"];
        let config = Process::start(args).get("/v2/models/model/config").json();
        assert_eq!(config["max_batch_size"], 8, "{sizes}");
    }
    let fixed = ["--model", &model, "--shape", "x:2x4"];
    let config = Process::start(fixed).get("/v2/models/model/config").json();
    assert_eq!(
        (&config["max_batch_size"], &config["input"][0]["dims"]),
        (&0.into(), &json!([2, 4]))
    );
    let args = ["--model", &model, "--model", &engine, "--shape", "rows=1:8", "--max-batch", "7"];
    let server = Process::start(args);
    for (name, most) in [("model", 7), ("engine", 6)] {
        let config = server.get(&format!("/v2/models/{name}/config")).json();
        assert_eq!(config["max_batch_size"], most);
        assert_eq!(
            config["platform"],
            if most == 6 { "accelerant_engine" } else { "accelerant_onnx" }
        );
        let asked = request(json!({})).to_string();
        let answer = server.post(&format!("/v2/models/{name}/infer"), asked);
        assert_eq!(answer.json()["outputs"][0]["data"], json!(Y), "{}", answer.text());
    }
}

#[test]
fn what_is_not_finite_goes_out_as_bytes_alone() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    let x = json!({ "name": "x", "datatype": "FP32", "shape": [1, 4], "data": [3e38, 0, 0, 0] });
    let asked = |binary: bool| {
        let parameters = json!({ "binary_data_output": binary });
        let body = json!({ "parameters": parameters, "inputs": [x], "outputs": [{ "name": "y" }] });
        server.post("/v2/models/affine/infer", body.to_string())
    };
    let answer = asked(false);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("tensor `y`: it has values that are not finite"));
    let answer = asked(true);
    assert_eq!(answer.status, 200);
    assert!(answer.body.ends_with(&[f32::INFINITY, 1.0, 1.0, 1.0].map(f32::to_le_bytes).concat()));
}

#[test]
fn requests_are_counted() {
    let folder = TempDir::new().unwrap();
    let server = serve(&folder);
    for _ in 0..3 {
        server.post("/v2/models/affine/infer", request(json!({})).to_string());
    }
    assert_eq!(server.post("/v2/models/affine/infer", "{").status, 400);
    let count = |what| format!("accelerant_requests_total{{model=\"affine\",outcome=\"{what}\"}}");
    assert_eq!(server.metric(&count("ok")), 3.0);
    assert_eq!(server.metric(&count("refused")), 1.0);
    assert_eq!(server.metric("accelerant_rows_total{model=\"affine\"}"), 6.0);
    assert_eq!(server.metric("accelerant_request_seconds_count{model=\"affine\"}"), 3.0);
    assert_eq!(server.metric("accelerant_body_bytes"), 0.0);
    let stats = server.get("/v2/models/affine/stats").json();
    assert_eq!(stats["model_stats"][0]["inference_stats"]["success"]["count"], 3);
    assert_eq!(stats["model_stats"][0]["inference_count"], 6);
    assert_eq!(server.get("/v2/models/stats").json()["model_stats"].as_array().unwrap().len(), 2);
}
