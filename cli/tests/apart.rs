//! A model on which a parser or a runtime dies: the command says so, and what it says names the model and the place.
#![cfg(unix)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use accelerant::{DType, Dim, export::GraphBuilder};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// So many element-wise nodes in a row.
fn row(folder: &Path, nodes: usize) -> PathBuf {
    let graph = GraphBuilder::new("row");
    let mut x = graph.input("x", DType::F32, [Dim::from(2), Dim::from(8)]).unwrap();
    for _ in 0..nodes {
        x = x.relu().unwrap();
    }
    graph.output("y", &x).unwrap();
    let path = folder.join("row.onnx");
    graph.finish().unwrap().save(&path).unwrap();
    path
}

/// TensorRT-RTX goes down a row of nodes with its stack, of which there is little here.
fn with_little_stack(args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; ulimit -s 400; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_accelerant")).args(args).output().unwrap()
}

#[test]
#[cfg(feature = "tensorrt-rtx")]
fn a_builder_that_dies_is_an_error_with_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 480);
    let model = model.to_str().unwrap();
    let engine = folder.path().join("out.engine");
    let args = ["--json", "build", model, "--backend", "tensorrt-rtx", "--no-cache", "-o"];
    let args = [&args[..], &[engine.to_str().unwrap()]].concat();
    let ran = with_little_stack(&args);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(3), "{said}");
    let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
    for said in [&said, json["error"]["text"].as_str().unwrap()] {
        assert!(said.contains("row.onnx") && said.contains("was ended by signal"), "{said}");
        assert!(said.contains("the phase `"), "{said}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the model is left");
    // The same without a process of its own: nobody is left to say anything.
    let ran = with_little_stack(&[&["--trusted"], &args[..]].concat());
    assert!(ran.status.code().is_none_or(|code| code > 4), "{:?}", ran.status);
    assert!(ran.stdout.is_empty());
}

/// The children of a process.
fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_that_works_ends_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 3);
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"))
        .args(["bench", model.to_str().unwrap(), "--backend", "tract", "--duration", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let wait = |until: &dyn Fn() -> bool| {
        while !until() {
            assert!(start.elapsed() < Duration::from_secs(30), "nothing happens");
            thread::sleep(Duration::from_millis(10));
        }
    };
    let parent = command.id();
    wait(&|| children(parent).len() == 1);
    let child = children(parent)[0];
    command.kill().unwrap();
    command.wait().unwrap();
    // One that nobody has waited for yet has no command line.
    let ended = || fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|line| !line.is_empty());
    wait(&|| !ended());
}

/// Starts `bench` on a model, waits until `is_there` of the process that works on it, and ends that with a signal.
#[cfg(all(target_os = "linux", feature = "tract"))]
fn ended_by(signal: &str, model: &Path, is_there: impl Fn(u32) -> bool) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_accelerant"))
        .args(["bench", model.to_str().unwrap(), "--backend", "tract", "--no-cache"])
        .args(["--duration", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let child = loop {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing happens");
        match children(command.id()).first() {
            Some(&child) if is_there(child) => break child.to_string(),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    };
    assert!(Command::new("kill").args([signal, &child]).status().unwrap().success());
    command.wait_with_output().unwrap()
}

#[test]
#[cfg(all(target_os = "linux", feature = "tract"))]
fn the_signal_and_the_work_are_named_and_a_model_that_runs_was_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 3);
    let start = Instant::now();
    // A compilation of three nodes takes milliseconds.
    let later = ended_by("-ABRT", &model, |_| start.elapsed() > Duration::from_secs(3));
    let said = text(&later.stderr);
    assert_eq!(later.status.code(), Some(1), "{said}");
    assert!(said.contains("row.onnx"), "{said}");
    assert!(said.contains("signal 6 (SIGABRT), at: measure"), "{said}");
    // A pipe in the place of an input would be waited for.
    let pipe = folder.path().join("x.npy");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let args = ["run", model.to_str().unwrap(), "--backend", "tract", "--input"];
    let args = [&args[..], &[pipe.to_str().unwrap(), "--timeout", "60s"]].concat();
    let refused = Command::new(env!("CARGO_BIN_EXE_accelerant")).args(args).output().unwrap();
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("x.npy: it is not a regular file"), "{said}");
}

/// The bound is that of the files, in bytes; `--trusted` works in the command's own process.
#[test]
#[cfg(all(target_os = "linux", feature = "tract"))]
fn the_process_that_works_has_a_bound_of_memory() {
    if Path::new("/dev/nvidiactl").exists() {
        eprintln!("skipped: a GPU is here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 3);
    let size = fs::metadata(&model).unwrap().len();
    let bound = (8 << 30) + 2 * 64 * size;
    let wanted = format!("Max data size {}", bound / 1024 * 1024);
    let limits = |child: u32| {
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap_or_default();
        limits.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // The shell is there first, without the bound.
    ended_by("-KILL", &model, |child| limits(child).contains(&wanted));
}

#[test]
#[cfg(feature = "tract")]
fn names_from_a_file_are_printed_so_that_a_terminal_does_not_obey() {
    let folder = tempfile::tempdir().unwrap();
    let graph = GraphBuilder::new("a\u{1b}[31mgraph");
    let names = ["x\u{1b}[2J\nhint: do this", "gpj\u{202e}.exe\r", "y\u{9b}1m\u{7}"];
    let shape = || [Dim::from(2), Dim::from(8)];
    let [a, b] = [names[0], names[1]].map(|name| graph.input(name, DType::F32, shape()).unwrap());
    graph.output(names[2], &a.add(&b).unwrap()).unwrap();
    let path = folder.path().join("odd\u{1b}[1m.onnx");
    graph.finish().unwrap().save(&path).unwrap();
    let (model, missing) = (path.to_str().unwrap(), folder.path().join("none\u{1b}c.npy"));
    let missing = missing.to_str().unwrap();
    let tract = ["--backend", "tract"];
    let cases: [(&[&str], i32, &str); 7] = [
        (&["inspect", model], 0, "x\\u{1b}[2J\\u{a}hint"),
        (&["inspect", model, "--nodes"], 0, "gpj\\u{202e}.exe\\u{d}"),
        (&["run", model, tract[0], tract[1]], 0, "y\\u{9b}1m\\u{7}"),
        (&["bench", model, tract[0], tract[1], "--duration", "0"], 0, "x\\u{1b}[2J\\u{a}hint"),
        (&["run", model, tract[0], tract[1], "--input", missing], 2, "x\\u{1b}[2J"),
        (&["run", missing], 1, "none\\u{1b}c.npy"),
        (&["inspect", model, "bad\u{202e}x"], 2, "bad\\u{202e}x"),
    ];
    for (args, code, seen) in cases {
        let ran = Command::new(env!("CARGO_BIN_EXE_accelerant")).args(args).output().unwrap();
        let said = text(&ran.stdout) + &text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {said:?}");
        assert!(said.contains(seen), "{args:?}: {said:?}");
        let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(odd), "{args:?}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("hint")), "{args:?}: {said:?}");
    }
}

#[test]
#[cfg(feature = "tract")]
fn results_and_exit_codes_come_through() {
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 3);
    let ran = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
        command.args(args).arg("--json").arg(&model).args(["--backend", "tract"]).output().unwrap()
    };
    let (own, same) = (ran(&["check"]), ran(&["--trusted", "check"]));
    assert_eq!((own.status.code(), &own.stdout), (Some(0), &same.stdout));
    assert!(!own.stdout.is_empty());
    let wrong = ran(&["run", "--shape", "n=3"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

#[test]
fn a_command_with_a_timeout_ends_with_code_5_whatever_its_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 3);
    let model = model.to_str().unwrap();
    let engine = folder.path().join("row.engine");
    let engine = engine.to_str().unwrap();
    let accelerant =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_accelerant")).args(args).output().unwrap();
    let build =
        ["build", model, "--backend", "tract", "--no-cache", "--timeout", "10m", "-o", engine];
    let built = accelerant(&build);
    assert_eq!(built.status.code(), Some(0), "{}", text(&built.stderr));
    let long = ["--duration", "60", "--timeout", "1500ms", "--json"];
    for args in [
        &["bench", model, "--backend", "tract"][..],
        &["bench", model, "--trusted"],
        &["bench", engine],
    ] {
        let start = Instant::now();
        let ran = accelerant(&[args, &long].concat());
        assert_eq!(ran.status.code(), Some(5), "{args:?}: {}", text(&ran.stderr));
        assert!(start.elapsed() < Duration::from_secs(20), "{args:?}: {:?}", start.elapsed());
        let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let said = json["error"]["text"].as_str().unwrap();
        assert!(said.contains("row.") && said.contains("not done within 1.5s"), "{said}");
        assert_eq!(json["error"]["exitCode"], 5);
    }
    for args in [&["doctor", "--timeout", "5"][..], &["inspect", model, "--timeout", "0"]] {
        let ran = accelerant(args);
        assert_eq!(ran.status.code(), Some(2), "{args:?}");
        assert!(text(&ran.stderr).contains("timeout"), "{}", text(&ran.stderr));
    }
    let ran = accelerant(&["inspect", model, "--timeout", "10m"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
}

#[test]
fn an_engine_does_not_replace_its_model_and_a_bound_of_files_is_no_fault_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = row(folder.path(), 400);
    let link = folder.path().join("link.onnx");
    std::os::unix::fs::symlink(&model, &link).unwrap();
    let (model, link) = (model.to_str().unwrap(), link.to_str().unwrap());
    let before = fs::read(model).unwrap();
    for output in [model, link] {
        let args = ["build", model, "--backend", "tract", "--no-cache", "-o", output];
        let ran = Command::new(env!("CARGO_BIN_EXE_accelerant")).args(args).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains("the model itself"), "{}", text(&ran.stderr));
    }
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; ulimit -f 8; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_accelerant"));
    let engine = folder.path().join("row.engine");
    command.args(["build", model, "--backend", "tract", "--no-cache", "-o"]).arg(&engine);
    let ran = command.output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("a file may not become so large"), "{}", text(&ran.stderr));
    assert!(!engine.exists());
    assert_eq!(fs::read(model).unwrap(), before);
}
