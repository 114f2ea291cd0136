//! Saves that have no room, or no right to write.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use super::child;
use super::versions::{KINDS, Kind};

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// What a command gives. A binary that was just copied is busy while a process that another test started still holds it.
fn output(command: &mut Command) -> Output {
    let start = Instant::now();
    loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                assert!(start.elapsed() < Duration::from_secs(10), "{error}");
                std::thread::sleep(Duration::from_millis(10));
            }
            output => return output.unwrap(),
        }
    }
}

/// What a save prints that must be refused, with what lies at the path as it was, and nothing beside.
fn refused(kind: Kind, path: &Path, mut command: Command) -> String {
    let before = names(path.parent().unwrap());
    let output = output(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("refused: Io"), "{kind:?} {output:?}");
    assert_eq!(kind.version(path), 1, "{kind:?}");
    assert_eq!(names(path.parent().unwrap()), before, "{kind:?}: nothing is left");
    text
}

/// A file may have 32 KiB, and the weights have 64.
#[test]
fn without_room_the_old_files_stay() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        kind.save(1, &path).unwrap();
        let binary = std::env::current_exe().unwrap();
        let (binary, arguments, variables) = child::saver(&binary, kind.name(), &path, 2, 1);
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$@\"", "bash"]);
        command.arg(binary).args(arguments).envs(variables);
        let text = refused(kind, &path, command);
        assert!(text.contains("File too large"), "{text}");
    }
}

/// A file system of 160 KiB, which holds one save and not two.
#[test]
fn on_a_full_disk_the_old_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        let output = Command::new("mount").args(arguments).arg(folder.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=112k", "tmpfs"]) {
        eprintln!("SKIPPED: this user cannot mount a file system");
        return;
    }
    struct Mounted<'p>(&'p Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0).status();
        }
    }
    let mounted = Mounted(folder.path());
    for kind in KINDS {
        let path = mounted.0.join("m.onnx");
        kind.save(1, &path).unwrap();
        let text = refused(kind, &path, child::command(kind.name(), &path, 2, 1));
        assert!(text.contains("No space left"), "{text}");
        names(mounted.0).iter().for_each(|name| fs::remove_file(mounted.0.join(name)).unwrap());
    }
}

#[test]
fn in_a_read_only_folder_the_old_files_stay() {
    for kind in KINDS {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("m.onnx");
        kind.save(1, &path).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        mode(&folder, 0o555).unwrap();
        // Root may write anywhere, so it becomes nobody, who may not read where the binary lies.
        let is_root = fs::write(folder.join("probe"), "").is_ok();
        let mut command = child::command(kind.name(), &path, 2, 1);
        if is_root {
            fs::remove_file(folder.join("probe")).unwrap();
            mode(outer.path(), 0o755).unwrap();
            let binary = outer.path().join("saving");
            fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
            let (binary, arguments, variables) = child::saver(&binary, kind.name(), &path, 2, 1);
            command = Command::new(binary);
            command.args(arguments).envs(variables).uid(65534).gid(65534);
            command.current_dir(outer.path());
        }
        let text = refused(kind, &path, command);
        assert!(text.contains("Permission denied"), "{text}");
        mode(&folder, 0o755).unwrap();
    }
}
