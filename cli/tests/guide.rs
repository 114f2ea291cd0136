//! The lines that the guide, the README and the help have are those of a command that works: each is run, in order, in a
//! folder that has the model and the input that they name.

use std::fs;
use std::path::Path;
use std::process::Command;

use accelerant::export::GraphBuilder;
use accelerant::{DType, Dim, Symbol};
use serde_json::Value;
use tempfile::TempDir;

const COMMAND: &str = "accelerant ";

/// Rows of three numbers, as many as `symbol` says.
fn model(folder: &Path, symbol: &str) {
    let graph = GraphBuilder::new("model");
    let rows = Dim::dynamic(symbol, 1..=Symbol::UNBOUNDED).unwrap();
    let x = graph.input("x", DType::F32, [rows, Dim::Fixed(3)]).unwrap();
    graph.output("y", &x.relu().unwrap()).unwrap();
    graph.finish().unwrap().save(folder.join("model.onnx")).unwrap();
}

fn input(folder: &Path) {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
    let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..]].concat();
    fs::write(folder.join("x.npy"), [&start, header.as_bytes(), &[0; 24]].concat()).unwrap();
}

/// The lines of a page that begin with the command, within its blocks for a shell, without their remarks.
fn of_page(path: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let page = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut is_shell = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) => is_shell = language == "sh",
            None if is_shell && line.starts_with(COMMAND) => {
                lines.push(line.split(" #").next().unwrap_or(line).trim().to_owned());
            }
            None => {}
        }
    }
    assert!(!lines.is_empty(), "{} has no line of the command", path.display());
    lines
}

/// The examples that the help of each command ends with.
fn of_help() -> Vec<String> {
    let commands = ["build", "run", "bench", "compare", "serve-export"];
    let example = |command: &&str| {
        let output = run(&[command, "--help"], Path::new("."));
        let help = String::from_utf8(output.stdout).unwrap();
        let example = help.lines().find_map(|line| line.strip_prefix("Example: "));
        example.unwrap_or_else(|| panic!("{help}")).to_owned()
    };
    commands.iter().map(example).collect()
}

fn run(args: &[&str], folder: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    command.args(args).current_dir(folder);
    command.env("ACCELERANT_ENGINE_CACHE", folder.join("cache")).output().unwrap()
}

/// What a line needs and this machine lacks.
fn missing(line: &str, doctor: &Value) -> Option<&'static str> {
    let backends = doctor["backends"].as_array().unwrap();
    let backend = |name: &str| backends.iter().find(|backend| backend["backend"] == name);
    let runs = |name| backend(name).is_some_and(|backend| backend["runs"] == true);
    let builds = |name| backend(name).is_some_and(|backend| backend["buildsAlone"] == true);
    if line.contains("sdk install") {
        return Some("a registry");
    }
    if line.contains(" build ") && !(runs("tensorrt-rtx") || builds("tensorrt-rtx")) {
        return Some("TensorRT-RTX");
    }
    let names_ort = [",ort", "--backends ort"].iter().any(|word| line.contains(word));
    (names_ort && !runs("ort")).then_some("ONNX Runtime")
}

#[test]
fn every_line_runs() {
    let doctor = run(&["doctor", "--json"], Path::new("."));
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let pages = ["../docs/guide/command.md", "README.md"].map(of_page);
    for lines in pages.into_iter().chain([of_help()]) {
        let folder = TempDir::new().unwrap();
        input(folder.path());
        for line in lines {
            if let Some(missing) = missing(&line, &doctor) {
                eprintln!("skipped: `{line}` takes {missing}");
                continue;
            }
            model(folder.path(), if line.contains("batch=") { "batch" } else { "n" });
            let args: Vec<_> = line[COMMAND.len()..].split_whitespace().collect();
            // A repository takes each version once.
            let _ = fs::remove_dir_all(folder.path().join("repository"));
            let output = run(&args, folder.path());
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "`{line}`: {told}");
        }
    }
}
