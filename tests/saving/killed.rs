//! Processes killed at random points of a save.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, SystemTime},
};

use super::child;
use super::versions::{KINDS, Kind};

/// How often each kind of save is killed.
const KILLS: &str = "ACCELERANT_KILLS";

fn kills() -> u32 {
    env::var(KILLS).ok().map_or(50, |text| text.parse().expect("ACCELERANT_KILLS is a number"))
}

/// A number below `below`, another at each call.
fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(SystemTime::now()) % below
}

/// Starts a process that saves version after version, and kills it within some saves. The last version that it
/// began.
fn kill_one(kind: Kind, path: &Path, first: u32) -> u32 {
    let mut command = child::command(kind.name(), path, first, 1_000_000);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: &str| line.split_once("saving: ").and_then(|(_, n)| n.parse().ok());
    let began: u32 = lines.find_map(|line| number(&line.unwrap())).unwrap();
    // A save takes about 2 ms; a kill is as likely in the first as in a later one.
    thread::sleep(Duration::from_micros(random(6000)));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.map_while(Result::ok).filter_map(|line| number(&line)).last().unwrap_or(began)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_killed_save_leaves_the_old_files_or_the_new_ones() {
    for kind in KINDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        kind.save(1, &path).unwrap();
        let (mut old, mut left_over) = (1, 0);
        for _ in 0..kills() {
            let last = kill_one(kind, &path, old + 1);
            let found = kind.version(&path);
            assert!((old.max(last - 1)..=last).contains(&found), "{kind:?} {old} {found} {last}");
            left_over += usize::from(names(folder.path()).len() > kind.files());
            old = found;
        }
        eprintln!("{kind:?}: {} kills, {left_over} of them left files for a sweep", kills());
        // The next save takes away what the killed ones left.
        kind.save(old + 1, &path).unwrap();
        assert_eq!(kind.version(&path), old + 1);
        let names = names(folder.path());
        assert_eq!(names.len(), kind.files(), "{kind:?}: {names:?}");
    }
}

/// Several processes save to one path while it is read.
#[test]
fn savers_and_readers_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    Kind::Pair.save(1, &path).unwrap();
    let start = |first| {
        let mut command = child::command("pair", &path, first, 60);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut savers = [start(1000), start(2000)];
    let mut read = 0;
    while savers.iter_mut().any(|saver| saver.try_wait().unwrap().is_none()) {
        Kind::Pair.version(&path);
        read += 1;
    }
    assert!(read > 10, "{read} reads");
    for saver in savers {
        let output = saver.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !text.contains("refused"), "{text}");
    }
    assert!([1059, 2059].contains(&Kind::Pair.version(&path)));
    Kind::Pair.save(1, &path).unwrap();
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_draft_of_a_dead_process_goes_and_one_that_is_being_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let [dead, alive, other] = [".accelerant-dead.tmp", ".accelerant-alive.tmp", ".tmpOther"]
        .map(|name| folder.path().join(name));
    for path in [&dead, &alive, &other] {
        std::fs::write(path, "half").unwrap();
    }
    let writing = std::fs::File::options().write(true).open(&alive).unwrap();
    writing.lock().unwrap();
    Kind::Engine.save(1, &folder.path().join("m.engine")).unwrap();
    assert_eq!([&dead, &alive, &other].map(|path| path.exists()), [false, true, true]);
    drop(writing);
    Kind::Engine.save(1, &folder.path().join("m.engine")).unwrap();
    assert_eq!([&alive, &other].map(|path| path.exists()), [false, true]);
}

#[test]
fn weights_of_the_pair_before_go_and_those_of_another_model_stay() {
    let folder = tempfile::tempdir().unwrap();
    let [path, longer] = ["m.onnx", "m.onnx.onnx"].map(|name| folder.path().join(name));
    // What other programs call weights, and what only looks like a name of ours.
    let foreign = ["m.onnx.data", "m.onnx.0123456789abcdeg.data", "m.onnx.0123456789abcde.data"];
    for name in foreign {
        std::fs::write(folder.path().join(name), "theirs").unwrap();
    }
    Kind::Pair.save(1, &longer).unwrap();
    for version in 2..5 {
        Kind::Pair.save(version, &path).unwrap();
        assert_eq!(names(folder.path()).len(), 4 + foreign.len());
    }
    // Into one file: no weights are left over.
    Kind::Model.save(5, &path).unwrap();
    assert_eq!((Kind::Model.version(&path), Kind::Pair.version(&longer)), (5, 1));
    assert_eq!(names(folder.path()).len(), 3 + foreign.len());
    assert!(foreign.iter().all(|name| folder.path().join(name).exists()));
}
