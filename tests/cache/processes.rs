//! Several processes: one builds, the others wait; and those that are killed, at whatever they do.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Place, is_hit, missed, printed, tries};

#[test]
fn of_sixteen_processes_one_builds() {
    let mut place = Place::new();
    place.backend.build_time = Duration::from_millis(300);
    let start = |_| {
        let mut child = place.child();
        child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..16).map(start).collect();
    let mut hits = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        hits += usize::from(printed(&output)["result"] == "hit");
    }
    assert_eq!((hits, place.builds()), (15, 1));
}

#[test]
fn threads_of_one_process_build_once_too() {
    let mut place = Place::new();
    place.backend.build_time = Duration::from_millis(100);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| place.used(2.0));
        }
    });
    assert_eq!(place.builds(), 1);
}

#[test]
fn different_keys_do_not_wait_for_each_other() {
    let mut place = Place::new();
    place.backend.build_time = Duration::from_secs(20);
    let mut slow = place.child().stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| place.builds() == 1);
    place.backend.build_time = Duration::ZERO;
    let start = Instant::now();
    missed(place.used(3.0));
    assert!(start.elapsed() < Duration::from_secs(10));
    slow.kill().unwrap();
    slow.wait().unwrap();
}

#[test]
fn the_lock_of_a_process_that_was_killed_is_free() {
    let mut place = Place::new();
    place.backend.build_time = Duration::from_secs(60);
    let mut builder = place.child().stdout(Stdio::null()).spawn().unwrap();
    wait_for(|| place.builds() == 1);
    // Another one waits already when the first is killed.
    place.backend.build_time = Duration::ZERO;
    let waiting = place.child().stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    builder.kill().unwrap();
    builder.wait().unwrap();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(printed(&output)["result"], "miss");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(is_hit(&place.used(2.0)));
}

/// The system kills the process at the write that goes beyond so many kilobytes of a file.
#[test]
fn a_process_that_is_killed_at_a_write_leaves_no_wrong_engine() {
    let mut place = Place::new();
    place.backend.padding = 200_000;
    let limits = [0, 1, 2, 4, 8, 64, 128, 192];
    for kilobytes in limits {
        let child = place.child();
        let mut limited = Command::new("bash");
        limited.arg("-c").arg(format!("ulimit -c 0 -f {kilobytes}; exec \"$0\" \"$@\""));
        limited.arg(child.get_program()).args(child.get_args());
        for (name, value) in child.get_envs() {
            limited.env(name, value.unwrap());
        }
        // Output to a pipe has no limit.
        let output = limited.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let killed_by_size = Some(25);
        assert_eq!(output.status.signal(), killed_by_size, "{kilobytes}: {output:?}");
        let entries = place.cache().entries().unwrap();
        assert!(entries.is_empty(), "{kilobytes}: {entries:?}");
        assert!(!fs::read_dir(place.engines()).is_ok_and(|mut files| files.any(|file| {
            file.unwrap().path().extension().is_some_and(|ending| ending == "engine")
        })));
    }
    missed(place.used(2.0));
    assert!(is_hit(&place.used(2.0)));
}

#[test]
fn processes_that_are_killed_at_any_time_lose_nothing_that_was_complete() {
    let mut place = Place::new();
    place.backend.padding = 4_000_000;
    // An engine that was complete before.
    missed(place.used(5.0));
    let whole = place.child().output().unwrap();
    assert!(whole.status.success());
    let mut complete = true;
    let start = Instant::now();
    place.child().output().unwrap();
    let most = start.elapsed() * 2;
    for i in 0..tries(24) {
        if i % 3 == 0 {
            // Built again, and killed in the middle of that.
            let of_two = place.cache().entries().unwrap().pop();
            if let Some(entry) = of_two.filter(|_| complete) {
                fs::remove_file(entry.path).unwrap();
            }
        }
        let mut child = place.child().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(most.mul_f64((i as f64 * 0.618).fract()));
        let _ = child.kill();
        child.wait().unwrap();
        complete = place.cache().entries().unwrap().len() == 2;
        for (entry, result) in place.cache().verify().unwrap() {
            assert!(result.is_ok(), "{i}: {entry:?}: {result:?}");
        }
    }
    // Both give the right results, and the one that nobody touched was never built again.
    place.used(2.0);
    assert!(is_hit(&place.used(2.0)) && is_hit(&place.used(5.0)));
}

#[track_caller]
fn wait_for(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}
