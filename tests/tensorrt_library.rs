//! Finding and refusing libraries: nothing there, another version under the right name, a runtime
//! without a builder, a machine without a driver. Needs the libraries (`cargo xtask sdk`), and
//! fails without them.
#![cfg(all(feature = "tensorrt-rtx", feature = "tensorrt", unix))]

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use accelerant::Engine;
use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;
use accelerant::export::{GraphBuilder, OnnxModel, Target};
use accelerant::{BackendKind, DType, ErrorKind, InferenceModule, OptimizeOptions, Signature};

fn relu() -> OnnxModel {
    let graph = GraphBuilder::for_target("relu", Target::tensorrt());
    let x = graph.input("x", DType::F32, [4usize]).unwrap();
    graph.output("y", &x.relu().unwrap()).unwrap();
    graph.finish().unwrap()
}

/// The file that a backend loaded, from its description.
fn loaded_file(backend: &TensorRt) -> PathBuf {
    backend.library_version().unwrap_or_else(|e| panic!("{e}"));
    let description = backend.description();
    let path = description.split_once(" from ").map(|(_, path)| PathBuf::from(path));
    path.unwrap_or_else(|| panic!("no path in {description}"))
}

/// An SDK folder whose library `name` is another file.
fn folder_with(name: &str, file: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lib")).unwrap();
    symlink(file, folder.path().join("lib").join(name)).unwrap();
    folder
}

#[test]
fn both_flavors_load_in_one_process() {
    assert!(TensorRt::rtx().library_version().unwrap().starts_with("1."));
    assert!(TensorRt::enterprise().library_version().unwrap().starts_with("11."));
    assert!(TensorRt::rtx().description().starts_with("TensorRT-RTX 1."));
    assert!(TensorRt::enterprise().description().starts_with("TensorRT 11."));
}

#[test]
fn an_empty_folder_is_told_with_every_path() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (TensorRt::rtx_at(folder.path()), "libtensorrt_rtx.so.1", "TENSORRT_RTX_ROOT"),
        (TensorRt::enterprise_at(folder.path()), "libnvinfer.so.11", "TENSORRT_ROOT"),
        (TensorRt::enterprise_at(folder.path()), "libnvinfer_lean.so.11", "TENSORRT_ROOT"),
    ];
    for (backend, name, variable) in cases {
        let error = backend.probe().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LibraryNotFound);
        let text = error.to_string();
        for part in ["lib", "lib64"] {
            let path = folder.path().join(part).join(name);
            assert!(text.contains(&format!("{}: no such file", path.display())), "{text}");
        }
        assert!(text.contains("accelerant sdk install") && text.contains(variable), "{text}");
        assert_eq!(backend.build(&relu()).unwrap_err().kind(), ErrorKind::LibraryNotFound);
        assert!(backend.description().contains("cannot be loaded"));
    }
}

#[test]
fn a_folder_named_by_the_environment_is_the_only_one_tried() {
    const CHILD: &str = "ACCELERANT_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let error = TensorRt::rtx().probe().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LibraryNotFound);
        let root = PathBuf::from(std::env::var_os("TENSORRT_RTX_ROOT").unwrap());
        let text = error.to_string();
        let tried = text.lines().filter(|line| line.contains("libtensorrt_rtx.so")).count();
        let in_root =
            text.lines().filter(|line| line.contains(&root.display().to_string())).count();
        assert!(tried > 0 && tried == in_root, "{text}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let test = "a_folder_named_by_the_environment_is_the_only_one_tried";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("TENSORRT_RTX_ROOT", folder.path())
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn another_library_under_the_right_name_is_a_version_mismatch() {
    let folder = folder_with("libtensorrt_rtx.so.1", &loaded_file(&TensorRt::enterprise()));
    let error = TensorRt::rtx_at(folder.path()).build(&relu()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    let text = error.to_string();
    assert!(text.contains("version 11.4") && text.contains("compiled for 1.6"), "{text}");
    assert!(text.contains(&folder.path().display().to_string()), "{text}");

    let folder = folder_with("libnvinfer.so.11", &loaded_file(&TensorRt::rtx()));
    let error = TensorRt::enterprise_at(folder.path()).probe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VersionMismatch, "{error}");
    assert!(error.to_string().contains("version 1.6"), "{error}");
}

#[test]
fn a_file_that_is_no_library_is_told_with_the_loaders_words() {
    let text = tempfile::NamedTempFile::new().unwrap();
    fs::write(text.path(), "not a library").unwrap();
    let folder = folder_with("libtensorrt_rtx.so.1", text.path());
    let error = TensorRt::rtx_at(folder.path()).probe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LibraryNotFound);
    assert!(
        error.to_string().contains("file too short") || error.to_string().contains("invalid ELF"),
        "{error}"
    );
}

#[test]
fn a_library_without_its_parser_loads_but_does_not_build() {
    let folder = folder_with("libtensorrt_rtx.so.1", &loaded_file(&TensorRt::rtx()));
    let backend = TensorRt::rtx_at(folder.path());
    assert!(backend.library_version().is_ok());
    let error = backend.build(&relu()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LibraryNotFound, "{error}");
    assert!(error.to_string().contains("libtensorrt_onnxparser_rtx.so.1"), "{error}");
}

#[test]
fn the_lean_runtime_refuses_to_build() {
    let lean = TensorRt::enterprise();
    let file = loaded_file(&lean);
    if !file.to_string_lossy().contains("lean") {
        let reason = format!("{} is the full library", file.display());
        return common::skipped("the_lean_runtime_refuses_to_build", reason);
    }
    let error = lean.build(&relu()).unwrap_err();
    // Without a driver that is what is told first.
    let expected = [ErrorKind::LibraryNotFound, ErrorKind::Device];
    assert!(expected.contains(&error.kind()), "{error}");
}

#[test]
fn the_enterprise_runtime_is_not_touched_without_a_driver() {
    let enterprise = TensorRt::enterprise();
    let version = enterprise.library_version().unwrap();
    let engine = Engine::new(
        BackendKind::TensorRt,
        version,
        "sm_90",
        Signature::default(),
        std::time::Duration::ZERO,
        vec![0u8; 64],
    );
    // Which may be any bytes, so that the library does not get them at all.
    let error = enterprise.load(&engine).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("assume_built"), "{error}");
    // SAFETY: without a driver nothing reads it.
    let engine = unsafe { engine.assume_built() };
    if enterprise.probe().is_ok() {
        let test = "the_enterprise_runtime_is_not_touched_without_a_driver";
        return common::skipped(test, "there is a GPU");
    }
    for error in [enterprise.load(&engine).unwrap_err(), enterprise.validate(&engine).unwrap_err()]
    {
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        assert!(error.to_string().contains("CUDA"), "{error}");
    }
}

/// Runs one test of this file in a process of its own, with this environment.
fn in_process(test: &str, variable: &str, value: &str) -> bool {
    let program = std::env::current_exe().unwrap();
    let status =
        Command::new(program).args(["--exact", test, "--ignored"]).env(variable, value).status();
    status.unwrap().success()
}

#[test]
fn a_driver_without_a_device_is_told() {
    if !common::runs("a_driver_without_a_device_is_told", &TensorRt::rtx()) {
        return;
    }
    assert!(in_process("without_a_device", "CUDA_VISIBLE_DEVICES", ""));
}

#[test]
#[ignore = "run by a_driver_without_a_device_is_told, with the devices hidden"]
fn without_a_device() {
    for backend in [TensorRt::rtx(), TensorRt::enterprise()] {
        let error = backend.probe().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
    }
    // TensorRT-RTX builds all the same.
    let engine = TensorRt::rtx().build(&relu()).unwrap();
    assert_eq!(TensorRt::rtx().load(&engine).unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn the_enterprise_runtime_refuses_foreign_plans() {
    let enterprise = TensorRt::enterprise();
    if !common::runs("the_enterprise_runtime_refuses_foreign_plans", &enterprise) {
        return;
    }
    let version = enterprise.library_version().unwrap();
    let engine = |target: &str, plan: Vec<u8>| {
        let signature = relu().signature().clone();
        let kind = BackendKind::TensorRt;
        let engine = Engine::new(kind, &*version, target, signature, Default::default(), plan);
        // SAFETY: the lean runtime is seen to refuse these plans, here and elsewhere.
        unsafe { engine.assume_built() }
    };
    let error = enterprise.load(&engine("another device", vec![0; 64])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineIncompatible, "{error}");
    let here =
        error.message().rsplit_once("found ").expect("built and found are named").1.to_owned();

    let foreign = TensorRt::rtx().build(&relu()).unwrap().plan().to_vec();
    for (name, plan) in [("zeros", vec![0; 4096]), ("another flavor's", foreign)] {
        let error = enterprise.load(&engine(&here, plan)).unwrap_err();
        let expected = [ErrorKind::EngineCorrupt, ErrorKind::EngineIncompatible];
        assert!(expected.contains(&error.kind()), "{name}: {error}");
    }
}

/// A driver in C with these functions, each of which fails.
fn driver_with(functions: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("driver.c");
    let text = functions.iter().map(|name| format!("int {name}(void) {{ return 100; }}\n"));
    fs::write(&source, text.collect::<String>()).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-w", "-o"]).arg(folder.path().join("libcuda.so.1")).arg(source);
    assert!(cc.status().unwrap().success());
    symlink("libcuda.so.1", folder.path().join("libcuda.so")).unwrap();
    folder
}

#[test]
fn a_driver_that_lacks_a_function_is_told_with_its_name() {
    for (functions, lacks) in [(&[][..], "cuInit"), (&["cuInit"], "cuCtxGetCurrent")] {
        let folder = driver_with(functions);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "with_another_driver", "--ignored", "--nocapture"])
            .env("LD_LIBRARY_PATH", folder.path())
            .env("ACCELERANT_TEST_LACKS", lacks)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
#[ignore = "run by a_driver_that_lacks_a_function_is_told_with_its_name, with that driver"]
fn with_another_driver() {
    let lacks = format!("has no function `{}`", std::env::var("ACCELERANT_TEST_LACKS").unwrap());
    for backend in [TensorRt::rtx(), TensorRt::enterprise()] {
        let error = backend.probe().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        assert!(error.to_string().contains(&lacks), "{error}");
    }
    // The others run all the same.
    let module = InferenceModule::compile(&relu(), &OptimizeOptions::new()).unwrap();
    let rejected = module.rejected();
    assert_eq!(rejected[0].kind, BackendKind::TensorRtRtx);
    assert!(rejected[0].to_string().contains(&lacks), "{}", rejected[0]);
    assert!(TensorRt::rtx().build(&relu()).is_ok(), "TensorRT-RTX builds without a driver");
}
