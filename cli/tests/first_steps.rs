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

/// It ended with this code, which is 0 for what is not refused, and these words on stderr.
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
fn the_exit_code_is_right_where_nobody_reads_the_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    command.args(["run", &model(), "--shape", "m=8"]).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(2));
}

#[test]
fn an_error_of_a_runtime_is_one_line() {
    let folder = TempDir::new().unwrap();
    let places = within(&folder, "places.npy");
    // The table has four rows.
    let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n";
    let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..]].concat();
    let value = 99i64.to_le_bytes();
    std::fs::write(&places, [&start, header.as_bytes(), &value].concat()).unwrap();
    let model = gather(&folder);
    for extra in [&[][..], &["--verbose"]] {
        let run = ["run", &model, "--backend", "tract", "--input", &places];
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
        command.args(run).args(extra).env("RUST_BACKTRACE", "0");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        let errors: Vec<_> = told.lines().filter(|line| line.starts_with("error:")).collect();
        let [error] = &errors[..] else { panic!("{told}") };
        assert!(error.contains("index 99 is out of range"), "{told}");
        assert!(!extra.is_empty() || told.lines().count() == 1, "{told}");
    }
}

/// A file with a table, of which `i` says which row is the output.
fn gather(folder: &TempDir) -> String {
    use accelerant::export::GraphBuilder;
    use accelerant::{DType, HostTensor};

    let graph = GraphBuilder::new("table");
    let table = HostTensor::from_vec([4, 3], vec![1f32; 12]).unwrap();
    let table = graph.weight("table", table).unwrap();
    let place = graph.input("i", DType::I64, [1]).unwrap();
    graph.output("row", &table.gather(&place, 0).unwrap()).unwrap();
    let path = within(folder, "table.onnx");
    graph.finish().unwrap().save(&path).unwrap();
    path
}

#[test]
fn words_of_trtexec_name_the_model() {
    let folder = TempDir::new().unwrap();
    let (model, engine) = (model(), within(&folder, "model.engine"));
    let onnx = format!("--onnx={model}");
    let build = ["build", &onnx, "--backend", "tract", &format!("--saveEngine={engine}")];
    refused(&build, 0, "");
    refused(&["run", "--loadEngine", &engine, "--shapes=x:2x3"], 0, "");
}

#[test]
fn files_that_are_no_inputs_are_refused_before_they_are_read() {
    let model = model();
    let folder = TempDir::new().unwrap();
    let all = within(&folder, "all.npz");
    refused(&["run", &model, "--backend", "tract", "--shape", "n=2", "-o", &all], 0, "");
    let run = ["run", &model, "--backend", "tract", "--input"];
    let with = |file: &str, code, words| refused(&[&run[..], &[file]].concat(), code, words);
    with(&all, 2, "it is a .npz file, which --inputs takes");
    with("/dev/zero", 1, "/dev/zero: it is not a regular file");
    with(folder.path().to_str().unwrap(), 1, "it is not a regular file");
}

#[test]
fn nothing_is_not_compared() {
    let compare = ["compare", &model(), "--backends", "tract,tract", "--shape", "n=0"];
    refused(&compare, 2, "nothing would be compared");
}

#[test]
fn what_a_file_does_not_have_is_not_asked_for_in_silence() {
    let folder = TempDir::new().unwrap();
    let (model, engine) = (model(), within(&folder, "model.engine"));
    refused(&["build", &model, "--backend", "tract", "-o", &engine], 0, "");
    refused(&["inspect", &model, "--layers"], 2, "--layers is for an engine");
    refused(&["inspect", &engine, "--nodes"], 2, "--nodes is for a model");
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
