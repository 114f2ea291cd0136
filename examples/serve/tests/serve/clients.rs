//! The clients that others wrote, from PyPI: `tritonclient` and `openai`.

use std::path::PathBuf;
use std::process::Command;

use accelerant::DType;
use tempfile::TempDir;

use crate::models;
use crate::process::Process;

/// Names the folder of both, as `cargo xtask test` sets it.
const CLIENTS: &str = "ACCELERANT_SERVE_CLIENTS";

/// Runs a script of this folder with the clients, if this machine has them.
fn run(script: &str, module: &str, args: &[&str]) {
    let folder = std::env::var_os(CLIENTS).map(PathBuf::from);
    let python = || {
        let mut python = Command::new("python3");
        if let Some(folder) = &folder {
            python.env("PYTHONPATH", folder);
        }
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    let has = python().args(["-c", &format!("import {module}")]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        assert!(folder.is_none(), "{CLIENTS} names a folder from which python3 has no {module}");
        eprintln!("skipped: python3 has no {module}");
        return;
    }
    let path = format!("{}/tests/serve/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = python().arg(path).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    eprint!("{}", text(&output.stdout));
}

#[test]
fn triton_s_client_works_against_the_server() {
    let folder = TempDir::new().unwrap();
    let mut args = vec!["--model".to_owned(), format!("affine={}", models::affine(folder.path()))];
    for (name, dtype) in models::TYPES {
        let path = models::identity(folder.path(), name, dtype);
        // Tract alone has no such type, and says so.
        if dtype == DType::BF16 && !models::runs(&path) {
            eprintln!("skipped: no backend here runs BF16");
            continue;
        }
        args.extend(["--model".into(), format!("{name}={path}")]);
    }
    let server = Process::start(args);
    run("triton.py", "tritonclient.http", &[server.address()]);
}

#[test]
fn openai_s_client_works_against_the_server() {
    let folder = TempDir::new().unwrap();
    let model = format!("tiny={}", models::language_model(folder.path()).display());
    let server = Process::start(["--language-model", &model, "--capacity", "4096"]);
    run("openai_client.py", "openai", &[server.address()]);
    server.until("accelerant_generations{model=\"tiny\"}", 0.0);
}

#[test]
fn several_openai_clients_generate_in_one_batch() {
    let folder = TempDir::new().unwrap();
    let model = format!("tiny={}", models::language_model(folder.path()).display());
    let more = ["--capacity", "4096", "--generations", "3", "--max-waiting", "2"];
    let server = Process::start([&["--language-model", &*model], &more[..]].concat());
    run("openai_at_once.py", "openai", &[server.address()]);
    server.until("accelerant_generations{model=\"tiny\"}", 0.0);
}
