//! `accelerant sdk` on a cache folder of its own: what is there, what is not, and what an error says.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// Exit code, standard output and standard error.
fn sdk(cache: &Path, args: &[&str], set: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    for variable in
        ["TENSORRT_RTX_ROOT", "TENSORRT_ROOT", "ORT_DYLIB_PATH", "ACCELERANT_MINILM_DIR"]
    {
        command.env_remove(variable);
    }
    command.env("ACCELERANT_CACHE_DIR", cache).envs(set.iter().copied());
    let output = command.args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_not_installed_is_named_with_the_command_that_helps() {
    let cache = tempfile::tempdir().unwrap();
    let (code, listed, _) = sdk(cache.path(), &["sdk", "list"], &[]);
    assert_eq!(code, 0);
    for name in ["tensorrt-rtx", "tensorrt", "onnxruntime", "minilm"] {
        assert!(listed.contains(&format!("`accelerant sdk install {name}`")), "{listed}");
        let (code, _, error) = sdk(cache.path(), &["sdk", "path", name], &[]);
        assert_eq!(code, 4);
        assert!(error.contains(&format!("`accelerant sdk install {name}`")), "{error}");
    }
    assert_eq!(sdk(cache.path(), &["sdk", "install", "tensorflow"], &[]).0, 2);
    assert_eq!(sdk(cache.path(), &["sdk", "install"], &[]).0, 2);
}

#[test]
fn a_library_in_the_cache_is_found_and_removed() {
    let cache = tempfile::tempdir().unwrap();
    let library = cache.path().join(accelerant_sdk::ONNXRUNTIME.folder);
    let library = library.join("lib/libonnxruntime.so.1.29.0");
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    fs::write(&library, "a library").unwrap();
    let shown = library.to_str().unwrap();
    let (_, found, _) = sdk(cache.path(), &["sdk", "path", "onnxruntime"], &[]);
    assert_eq!(found.trim(), shown);
    let (_, listed, _) = sdk(cache.path(), &["--json", "sdk", "list"], &[]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let row = &listed["libraries"][2];
    assert_eq!((row["path"].as_str(), row["bytes"].as_u64()), (Some(shown), Some(9)));
    let removed = |says: &str| {
        let (code, text, _) = sdk(cache.path(), &["sdk", "remove", "onnxruntime"], &[]);
        assert!(code == 0 && text.contains(says), "{text}");
    };
    removed("is removed");
    assert_eq!(cache.path().read_dir().unwrap().count(), 0);
    removed("was not there");
}

#[test]
fn a_variable_wins_and_one_that_names_nothing_is_an_error() {
    let cache = tempfile::tempdir().unwrap();
    let other = cache.path().join("libonnxruntime.so");
    fs::write(&other, "").unwrap();
    let path = |named: &str| {
        sdk(cache.path(), &["sdk", "path", "onnxruntime"], &[("ORT_DYLIB_PATH", named)])
    };
    let other = other.to_str().unwrap();
    assert_eq!(path(other).1.trim(), other);
    let (code, _, error) = path("/nowhere/libonnxruntime.so");
    assert_eq!(code, 1);
    assert!(error.contains("ORT_DYLIB_PATH=/nowhere/libonnxruntime.so is not a file"), "{error}");
}

#[test]
fn a_failed_fetch_says_what_else_helps_and_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let args = ["--quiet", "sdk", "install", "onnxruntime"];
    let (code, _, error) = sdk(cache.path(), &args, &[("PATH", "/nowhere")]);
    assert_eq!(code, 1);
    for words in ["set ORT_DYLIB_PATH to", "python3 -m pip", "could not be started"] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(cache.path().read_dir().unwrap().count(), 0);
}
