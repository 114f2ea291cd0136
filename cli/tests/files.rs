//! What the command does to files: written whole or not at all, pipes, and folders that depend on where it is started.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

fn model() -> String {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/import/cases");
    cases.join("dim_unbound/model.onnx").to_string_lossy().into_owned()
}

/// Writes 12 kB of outputs to a file.
fn run_to(output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
    command.args(["run", &model(), "--backend", "tract", "--shape", "n=1000", "-o"]).arg(output);
    command
}

fn ended_well(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Ends a command that waits for ever, and fails.
fn in_time(command: &mut Command) -> Output {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it waits for ever");
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// `ACCELERANT_KILLS=200` kills two hundred times.
#[test]
fn a_killed_run_leaves_the_old_outputs_or_the_new_ones() {
    let kills = std::env::var("ACCELERANT_KILLS").map_or(20, |text| text.parse().unwrap());
    let folder = TempDir::new().unwrap();
    for name in ["y.npy", "y.npz"] {
        let path = folder.path().join(name);
        let run = |seed: &str| {
            let mut command = run_to(&path);
            command.args(["--trusted", "--no-cache", "--seed", seed]);
            command
        };
        let whole = ["1", "2"].map(|seed| {
            ended_well(&run(seed).output().unwrap());
            fs::read(&path).unwrap()
        });
        assert_ne!(whole[0], whole[1]);
        let start = Instant::now();
        ended_well(&run("2").output().unwrap());
        let long = start.elapsed();
        let (mut changed, mut last) = (0, fs::read(&path).unwrap());
        for i in 0..kills {
            let mut child =
                run(["1", "2"][i % 2]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // The file is written at the end.
            thread::sleep(long.mul_f64(0.5 + 0.7 * fastrand::f64()));
            child.kill().unwrap();
            child.wait().unwrap();
            let found = fs::read(&path).unwrap();
            assert!(whole.contains(&found), "{name}: {} bytes", found.len());
            changed += usize::from(found != last);
            last = found;
        }
        eprintln!("{name}: {kills} kills, of which {changed} came after the new outputs");
    }
}

#[test]
fn a_full_disk_leaves_the_file_that_was_there() {
    let folder = TempDir::new().unwrap();
    for name in ["y.npy", "y.npz"] {
        for old in [Some("old"), None] {
            let path = folder.path().join(name);
            if let Some(old) = old {
                fs::write(&path, old).unwrap();
            }
            let run = run_to(&path);
            // Files of more than 1 or 2 blocks are an error, as on a full disk.
            let mut limited = Command::new("sh");
            limited.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$@\"", "sh"]);
            limited.arg(run.get_program()).args(run.get_args());
            let output = limited.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(error.contains("cannot write") && error.contains(name), "{error}");
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), old);
            let _ = fs::remove_file(&path);
            assert_eq!(folder.path().read_dir().unwrap().count(), 0, "no draft is left");
        }
    }
}

#[test]
fn outputs_go_through_a_link_and_keep_the_mode() {
    let folder = TempDir::new().unwrap();
    let [file, link] = ["y.npy", "link.npy"].map(|name| folder.path().join(name));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("y.npy", &link).unwrap();
    ended_well(&run_to(&link).output().unwrap());
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read(&file).unwrap()[..6], *b"\x93NUMPY");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.path().read_dir().unwrap().count(), 2);
}

#[test]
fn outputs_go_into_a_pipe_and_a_device() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pipe.npy");
    pipe(&path);
    let reader = thread::spawn({
        let path = path.clone();
        move || fs::read(path).unwrap()
    });
    ended_well(&in_time(&mut run_to(&path)));
    let read = reader.join().unwrap();
    assert_eq!((&read[..6], read.len()), (&b"\x93NUMPY"[..], 128 + 1000 * 3 * 4));
    assert!(!path.symlink_metadata().unwrap().is_file());
    ended_well(&run_to(Path::new("/dev/null")).output().unwrap());
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_pipe_is_no_model() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pipe.onnx");
    pipe(&path);
    for command in ["inspect", "check", "run"] {
        let output =
            in_time(Command::new(env!("CARGO_BIN_EXE_accelerant")).arg(command).arg(&path));
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("pipe.onnx: it is not a regular file"), "{error}");
    }
}

#[test]
fn a_cache_that_depends_on_where_the_command_starts_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("engines")).unwrap();
    for variable in ["ACCELERANT_ENGINE_CACHE", "ACCELERANT_CACHE_DIR"] {
        let accelerant = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
            command.env_remove("ACCELERANT_ENGINE_CACHE").env_remove("ACCELERANT_CACHE_DIR");
            command.env(variable, "engines").current_dir(folder.path()).args(args);
            command.output().unwrap()
        };
        let wrong = format!("{variable}=engines is not an absolute path");
        for action in ["ls", "clear", "verify"] {
            let output = accelerant(&["cache", action]);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains(&wrong), "{error}");
        }
        let told = accelerant(&["doctor"]).stdout;
        assert!(String::from_utf8_lossy(&told).contains(&format!("cache     none: {wrong}")));
    }
    assert_eq!(folder.path().join("engines").read_dir().unwrap().count(), 0);
}
