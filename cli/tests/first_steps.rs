//! What people who use the command for the first time run into: each mistake is told at once, with what helps.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

fn accelerant(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_accelerant")).args(args).output().unwrap()
}

fn model() -> String {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/import/cases");
    cases.join("dim_unbound/model.onnx").to_string_lossy().into_owned()
}

fn within(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_string_lossy().into_owned()
}

/// It ended with this code and these words on stderr.
fn refused(args: &[&str], code: i32, words: &str) -> Output {
    let output = accelerant(args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    assert!(told.contains(words), "{args:?}: `{words}` is not in: {told}");
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)))
}

#[test]
fn a_wrong_command_line_is_json_too() {
    for (args, words) in [
        (&["--json", "fly"][..], "unrecognized subcommand 'fly'"),
        (&["run", "--json"][..], "arguments were not provided: <MODEL>"),
        (&["--json"][..], "requires a subcommand"),
    ] {
        let output = accelerant(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error = &json(&output)["error"];
        assert_eq!(error["exitCode"], 2);
        assert!(error["text"].as_str().unwrap().contains(words), "{args:?}: {error}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(accelerant(&["--json", "--help"]).status.code(), Some(0));
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_the_work() {
    let folder = TempDir::new().unwrap();
    let there = folder.path().to_string_lossy().into_owned();
    let model = model();
    for command in ["run", "build"] {
        let nowhere = within(&folder, "none/out.npz");
        for (path, words) in
            [(nowhere.as_str(), "there is no folder"), (there.as_str(), "it is a folder")]
        {
            let args = [command, &model, "--shape", "n=1", "-o", path];
            let output = refused(&args, 1, words);
            assert!(!String::from_utf8_lossy(&output.stderr).contains(".accelerant-"));
        }
    }
    let text = within(&folder, "out.txt");
    refused(&["run", &model, "--shape", "n=1", "-o", &text], 2, "neither a .npz file nor a .npy");
    assert!(!Path::new(&text).exists());
}

#[test]
fn what_is_no_model_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let there = folder.path().to_string_lossy().into_owned();
    refused(&["inspect", &there], 1, "it is a folder");
    refused(&["run", &there], 1, "it is a folder");
    let empty = within(&folder, "empty.onnx");
    std::fs::write(&empty, "").unwrap();
    refused(&["inspect", &empty], 3, "they are none");
}

#[test]
fn sizes_in_the_wrong_form_are_told_in_the_right_one() {
    refused(&["run", &model(), "--shape", "x=8x3"], 2, "all sizes of an input are `x:8x3`");
}

#[test]
fn the_cache_tells_models_of_one_name_apart_and_what_it_kept() {
    let doctor = json(&accelerant(&["doctor", "--json"]));
    let backends = doctor["backends"].as_array().unwrap();
    let rtx = backends.iter().find(|backend| backend["backend"] == "tensorrt-rtx");
    let Some(rtx) = rtx.filter(|rtx| rtx["runs"] == true || rtx["buildsAlone"] == true) else {
        eprintln!("skipped: TensorRT-RTX does not build here");
        return;
    };
    let folder = TempDir::new().unwrap();
    let (engine, cache) = (within(&folder, "e.engine"), within(&folder, "cache"));
    for sizes in ["n=1:2:8", "n=1:2:9"] {
        let model = model();
        let args = ["build", &model, "--backend", "rtx", "--shape", sizes, "-o", &engine];
        let output = accelerant(&[&args[..], &["--cache", &cache]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    if rtx["runs"] != true {
        refused(&["run", &engine], 4, "hint: `accelerant doctor`");
    }
    let text = |args: &[&str]| {
        let output = accelerant(&[args, &["--cache", &cache]].concat());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = text(&["cache", "ls"]);
    assert_eq!(listed.matches("x: f32").count(), 2, "{listed}");
    let kept = text(&["cache", "gc", "--limit", "1G"]);
    assert!(kept.contains("kept 2 engines") && kept.contains("of at most 1.0 GiB"), "{kept}");
}
