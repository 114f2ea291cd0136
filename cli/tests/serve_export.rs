//! `accelerant serve-export`: the folder it writes, and the text of `config.pbtxt` by Triton's own schema.

use std::{fs, path::Path, process::Command};

use accelerant::{DType, Dim, export::GraphBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A file has names for its sizes, and no bounds.
const SIZES: [&str; 2] = ["--shape", "rows=1:16,length=1:64"];

/// Exit code, standard output and standard error.
fn export(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    let output = command.args(["--json", "serve-export"]).args(SIZES).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Rows of tokens and a mask, to rows of numbers and one number in all.
fn model(folder: &Path, batched: bool) -> String {
    let graph = GraphBuilder::new("net");
    let rows = Dim::dynamic("rows", 1..=16).unwrap();
    let length = Dim::dynamic("length", 1..=64).unwrap();
    let x = graph.input("x", DType::F32, [rows.clone(), length]).unwrap();
    let flag = match batched {
        true => graph.input("odd \"name\"", DType::I64, [rows]).unwrap(),
        false => graph.input("flag", DType::I64, Vec::<Dim>::new()).unwrap(),
    };
    graph.output("y", &x.affine(2.0, 0.0).unwrap()).unwrap();
    graph.output("z", &flag).unwrap();
    let path = folder.join("net.onnx");
    graph.finish().unwrap().save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The configuration by Triton's schema, where this machine has it.
fn config(path: &Path) -> Option<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config.py");
    let named = std::env::var_os("ACCELERANT_TRITON_CLIENT");
    let python = || {
        let mut python = Command::new("python3");
        if let Some(folder) = &named {
            python.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
        }
        python.arg(script);
        python
    };
    if !python().output().is_ok_and(|output| output.status.success()) {
        assert!(named.is_none(), "ACCELERANT_TRITON_CLIENT names a folder without tritonclient");
        eprintln!("the schema is skipped: python3 has no tritonclient, or no protobuf");
        return None;
    }
    let read = python().arg(path).output().unwrap();
    let wrong = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{wrong}\n{}", fs::read_to_string(path).unwrap());
    Some(serde_json::from_slice(&read.stdout).unwrap())
}

#[test]
fn a_model_with_batches_is_a_folder_that_triton_reads() {
    let folder = TempDir::new().unwrap();
    let model = model(folder.path(), true);
    let repository = folder.path().join("repository");
    let output = ["-o", repository.to_str().unwrap()];
    let more = ["--name", "text", "--instances", "2", "--gpus", "0,1", "--preferred-batch", "4,8"];
    let args = [&[model.as_str()], &output[..], &more, &["--tensorrt", "--fp16"]].concat();
    let (code, _, error) = export(&args);
    assert_eq!(code, 0, "{error}");
    let written =
        accelerant::export::OnnxModel::open(repository.join("text/1/model.onnx")).unwrap();
    assert_eq!(written.signature().inputs.len(), 2);
    let files = repository.join("text").read_dir().unwrap().flatten().count();
    assert_eq!(files, 2, "a version and config.pbtxt");
    let path = repository.join("text/config.pbtxt");
    if let Some(config) = config(&path) {
        assert_eq!(config["name"], "text");
        assert_eq!(config["backend"], "onnxruntime");
        assert_eq!(config["max_batch_size"], 16);
        let tensor = |name: &str, kind: &str, dims: Value| json!({ "name": name, "data_type": kind, "dims": dims });
        assert_eq!(config["input"][0], tensor("x", "TYPE_FP32", json!(["-1"])));
        assert_eq!(config["output"][0], tensor("y", "TYPE_FP32", json!(["-1"])));
        // A row of it is one number.
        assert_eq!(config["input"][1]["name"], "odd \"name\"");
        assert_eq!(config["input"][1]["dims"], json!(["1"]));
        assert_eq!(config["input"][1]["reshape"], json!({}));
        assert_eq!(config["dynamic_batching"]["preferred_batch_size"], json!([4, 8]));
        assert_eq!(config["dynamic_batching"]["max_queue_delay_microseconds"], "100");
        let group = json!([{ "count": 2, "kind": "KIND_GPU", "gpus": [0, 1] }]);
        assert_eq!(config["instance_group"], group);
        assert_eq!(config["model_warmup"][0]["batch_size"], 1);
        assert_eq!(config["model_warmup"][1]["batch_size"], 16);
        assert_eq!(config["model_warmup"][1]["inputs"]["x"]["random_data"], true);
        assert_eq!(config["model_warmup"][1]["inputs"]["odd \"name\""]["zero_data"], true);
        let accelerator =
            &config["optimization"]["execution_accelerators"]["gpu_execution_accelerator"][0];
        assert_eq!(
            *accelerator,
            json!({ "name": "tensorrt", "parameters": { "precision_mode": "FP16" } })
        );
    }
    // A version is written once, and others come beside it.
    let (code, _, error) = export(&args);
    assert!(code == 2 && error.contains("--model-version"), "{error}");
    assert_eq!(export(&[&args[..], &["--model-version", "2"]].concat()).0, 0);
    assert!(repository.join("text/2/model.onnx").is_file());
}

#[test]
fn a_model_without_batches_has_all_of_its_sizes() {
    let folder = TempDir::new().unwrap();
    let model = model(folder.path(), false);
    let repository = folder.path().join("repository");
    let output = repository.to_str().unwrap();
    let (code, told, error) = export(&[&model, "-o", output, "--cpu"]);
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["maxBatch"], 0);
    if let Some(config) = config(&repository.join("net/config.pbtxt")) {
        assert_eq!(config["input"][0]["dims"], json!(["-1", "-1"]));
        assert_eq!(config["input"][1]["dims"], json!(["1"]));
        assert_eq!(config["input"][1]["reshape"], json!({}));
        assert_eq!(config.get("dynamic_batching"), None);
        assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
        assert_eq!(config["model_warmup"][0]["inputs"]["x"]["dims"], json!(["16", "64"]));
    }
    let (code, _, error) = export(&[&model, "-o", output, "--name", "b", "--max-batch", "4"]);
    assert!(code == 2 && error.contains("`flag`"), "{error}");
    assert!(!repository.join("b").exists());
}

#[test]
fn what_triton_cannot_load_is_refused() {
    let folder = TempDir::new().unwrap();
    let model = model(folder.path(), true);
    let output = folder.path().join("repository");
    let refused = |args: &[&str], words: &str| {
        let args = [&[model.as_str(), "-o", output.to_str().unwrap()], args].concat();
        let (code, _, error) = export(&args);
        assert!(code == 2 && error.contains(words), "{code}: {error}");
        assert!(!output.exists());
    };
    refused(&["--name", "a/b"], "is no name of a model");
    refused(&["--max-batch", "17"], "`rows` is at most 16");
    refused(&["--preferred-batch", "17"], "is not in 1..=16");
    refused(&["--fp16"], "--tensorrt");
    refused(&["--tensorrt", "--bf16"], "fp32 and fp16");
}

/// A model in a repository, exported once by `args`, which export it again under another version.
#[cfg(unix)]
struct Exported {
    folder: TempDir,
    args: Vec<String>,
}

#[cfg(unix)]
impl Exported {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let output = folder.path().join("repository").to_str().unwrap().to_owned();
        let args = vec![model(folder.path(), true), "-o".into(), output];
        let exported = Self { folder, args };
        assert_eq!(exported.export(&[]).0, 0);
        exported
    }

    fn export(&self, more: &[&str]) -> (i32, String, String) {
        let args: Vec<_> =
            self.args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        export(&args)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("repository/net").join(name)
    }

    /// All that is there, by name.
    fn names(&self) -> Vec<String> {
        let entries = self.at("").read_dir().unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[cfg(unix)]
#[test]
fn a_version_that_does_not_fit_the_configuration_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let exported = Exported::new();
    let at = exported.at("config.pbtxt");
    let config = fs::read_to_string(&at).unwrap();
    let refused = |args: &[&str], words: &str| {
        let before = fs::read_to_string(&at).unwrap();
        let (code, _, error) = exported.export(&[args, &["--model-version", "2"]].concat());
        assert!(code == 2 && error.contains(words) && error.contains("--name"), "{code}: {error}");
        assert_eq!(fs::read_to_string(&at).unwrap(), before);
        assert_eq!(exported.names(), ["1", "config.pbtxt"]);
    };
    refused(&["--max-batch", "4"], "`max_batch_size` is 16 there, and 4 now");
    fs::write(&at, config.replacen("TYPE_FP32", "TYPE_FP16", 1)).unwrap();
    refused(&[], "`input` is { data_type: TYPE_FP16");
    fs::write(&at, config.replace("name: \"z\"", "name: \"w\"")).unwrap();
    refused(&[], "name: \"w\"");
    fs::write(&at, "input {").unwrap();
    refused(&[], "is no configuration");
    // How it is run may change, and who may read it stays.
    fs::write(&at, format!("# by hand\n{config}")).unwrap();
    fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _, error) = exported.export(&["--model-version", "2", "--instances", "3"]);
    assert_eq!(code, 0, "{error}");
    assert!(fs::read_to_string(&at).unwrap().contains("count: 3"));
    assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(exported.names(), ["1", "2", "config.pbtxt"]);
}

#[cfg(unix)]
#[test]
fn links_and_pipes_in_the_folder_are_left_alone() {
    use std::os::unix::fs::symlink;
    let exported = Exported::new();
    let (at, foreign) = (exported.at("config.pbtxt"), exported.folder.path().join("foreign"));
    // Names of drafts that anybody can guess.
    fs::write(&foreign, "foreign").unwrap();
    symlink(&foreign, exported.at(".config.pbtxt.partial")).unwrap();
    symlink(&foreign, exported.at(".accelerant-a.tmp")).unwrap();
    let (code, _, error) = exported.export(&["--model-version", "2", "--instances", "2"]);
    assert_eq!(code, 0, "{error}");
    assert!(fs::symlink_metadata(&at).unwrap().is_file());
    // A link, and a pipe, where the configuration belongs.
    let config = exported.folder.path().join("config");
    fs::rename(&at, &config).unwrap();
    let refused = |more: &[&str]| {
        let (code, _, error) = exported.export(more);
        assert!(
            code == 2 && error.contains("config.pbtxt is not a regular file"),
            "{code}: {error}"
        );
        assert!(!fs::symlink_metadata(&at).unwrap().is_file());
        assert!(!exported.at("3").exists());
    };
    symlink(&config, &at).unwrap();
    refused(&["--model-version", "3"]);
    fs::remove_file(&at).unwrap();
    assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
    refused(&["--model-version", "3"]);
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "foreign");
}

#[cfg(unix)]
#[test]
fn a_killed_export_leaves_the_old_model_and_the_next_one_clears_up() {
    let exported = Exported::new();
    let config = fs::read_to_string(exported.at("config.pbtxt")).unwrap();
    // The first byte of the new model ends the process.
    let mut killed = Command::new("sh");
    killed.args(["-c", "ulimit -f 0; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_accelerant")]);
    killed.args(["serve-export", "--trusted"]).args(SIZES).args(&exported.args);
    killed.args(["--model-version", "2", "--instances", "2"]);
    let status = killed.output().unwrap().status;
    assert!(std::os::unix::process::ExitStatusExt::signal(&status).is_some(), "{status}");
    assert_eq!(fs::read_to_string(exported.at("config.pbtxt")).unwrap(), config);
    assert!(!exported.at("2").exists());
    assert_eq!(exported.names().len(), 3, "a draft is left: {:?}", exported.names());
    // Another process that writes is waited for by the user.
    let lock = fs::File::open(exported.at("")).unwrap();
    lock.lock().unwrap();
    let (code, _, error) = exported.export(&["--model-version", "2"]);
    assert!(code == 1 && error.contains("another process writes"), "{code}: {error}");
    drop(lock);
    assert_eq!(exported.export(&["--model-version", "2"]).0, 0);
    assert_eq!(exported.names(), ["1", "2", "config.pbtxt"]);
}

#[cfg(unix)]
#[test]
fn an_export_that_was_killed_before_its_first_version_is_done_again() {
    let exported = Exported::new();
    fs::remove_dir_all(exported.at("1")).unwrap();
    let (code, _, error) = exported.export(&[]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(exported.names(), ["1", "config.pbtxt"]);
}
