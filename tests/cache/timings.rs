//! What builds measure: read by the next build, added to by many processes, and harmless when damaged. The backend here
//! measures lines of text; Enterprise TensorRT, which measures kernels, needs a GPU.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use accelerant::cache::Timings;

use super::harness::{Place, is_hit, missed, tries};

/// A place whose builds measure this.
fn measuring(line: &str) -> Place {
    let mut place = Place::new();
    place.backend.measured = line.into();
    place
}

/// The only file of timings.
#[track_caller]
fn file(place: &Place) -> Timings {
    let timings = place.cache().timings().unwrap();
    assert_eq!(timings.len(), 1, "{timings:?}");
    timings[0].clone()
}

/// The lines that a whole file ends with, in order.
fn lines(place: &Place) -> Vec<String> {
    let timings = file(place);
    assert_eq!(timings.damaged, None);
    let bytes = fs::read(&timings.path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<_> = text.lines().filter(|line| line.contains("took")).collect();
    // The first stands behind the library's name.
    let start = lines[0].find("took").unwrap();
    lines[0] = &lines[0][start..];
    let mut lines: Vec<_> = lines.into_iter().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_build_adds_to_what_earlier_builds_measured() {
    let mut place = measuring("took a");
    missed(place.used(2.0));
    assert_eq!(lines(&place), ["took a"]);
    place.backend.measured = "took b".into();
    assert!(is_hit(&place.used(2.0)));
    assert_eq!(lines(&place), ["took a"], "a hit measures nothing");
    missed(place.used(3.0));
    assert_eq!(lines(&place), ["took a", "took b"]);
    let timings = file(&place);
    assert_eq!((timings.library.as_str(), timings.device.as_str()), ("1", "580.1"));
    // Another device has its own.
    place.backend.driver = "590.1".into();
    missed(place.used(2.0));
    let all = place.cache().timings().unwrap();
    let devices: Vec<_> = all.iter().map(|timings| timings.device.as_str()).collect();
    assert_eq!(devices, ["580.1", "590.1"]);
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!((&json[1]["device"], &json[1]["damaged"]), (&"590.1".into(), &().into()));
}

#[test]
fn of_processes_that_build_at_the_same_time_nothing_is_lost() {
    let mut place = measuring("took 0");
    place.backend.build_time = Duration::from_millis(200);
    let start = |i: usize| {
        let mut child = place.child();
        child.env("CACHE_TEST_MEASURED", format!("took {i:02}"));
        child.env("CACHE_TEST_FACTOR", format!("{}", i + 1));
        child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..16).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.builds(), 16);
    let all: Vec<_> = (0..16).map(|i| format!("took {i:02}")).collect();
    assert_eq!(lines(&place), all);
}

#[test]
fn a_damaged_file_is_set_aside_and_measured_anew() {
    let mut place = measuring("took a");
    missed(place.used(2.0));
    let path = file(&place).path;
    let aside = path.with_extension("damaged");
    let whole = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    let mut damaged: Vec<_> = (0..whole.len()).map(flipped).collect();
    damaged.extend([0, 1, 31, 32, 33, whole.len() - 1].map(|length| whole[..length].to_vec()));
    damaged.push([&whole[..], b"x"].concat());
    place.backend.measured = "took b".into();
    let mut factor = 3.0;
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        assert!(file(&place).damaged.is_some());
        missed(place.used(factor));
        assert_eq!(lines(&place), ["took b"]);
        assert_eq!(fs::read(&aside).unwrap(), bytes);
        factor += 1.0;
    }
}

#[test]
fn the_file_of_another_device_is_not_read() {
    let mut place = measuring("took a");
    place.backend.driver = "of another".into();
    place.used(2.0);
    let others = fs::read(file(&place).path).unwrap();
    let mut place = measuring("took b");
    place.used(2.0);
    let path = file(&place).path;
    fs::write(&path, &others).unwrap();
    place.backend.measured = "took c".into();
    missed(place.used(3.0));
    assert_eq!(lines(&place), ["took c"]);
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), others);
}

#[test]
fn what_cannot_be_written_costs_the_timings_alone() {
    let mut place = measuring("took a");
    missed(place.used(2.0));
    let path = file(&place).path;
    place.backend.measured = "took b".into();
    // Every write to this device fails as on a disk without room.
    let partial = path.with_extension("partial");
    symlink("/dev/full", &partial).unwrap();
    missed(place.used(3.0));
    assert!(is_hit(&place.used(3.0)));
    assert!(!partial.is_symlink(), "nothing is left behind");
    assert_eq!(lines(&place), ["took a"]);
    // What is there is no file, and cannot be set aside.
    fs::remove_file(&path).unwrap();
    for folder in [&path, &path.with_extension("damaged")] {
        fs::create_dir_all(folder.join("inside")).unwrap();
    }
    missed(place.used(4.0));
    assert!(is_hit(&place.used(4.0)));
}

#[test]
fn timings_count_as_the_engines_do_and_the_oldest_go() {
    let mut place = measuring("took a");
    place.backend.padding = 100_000;
    missed(place.used(2.0));
    let old = file(&place).path;
    place.backend.driver = "590.1".into();
    // Long enough to matter.
    place.backend.measured = format!("took {}", "b".repeat(50_000));
    missed(place.used(2.0));
    let all = place.cache().timings().unwrap();
    assert_eq!((all.len(), &all[0].path), (2, &old));
    let used = |cache: &accelerant::cache::EngineCache| -> u64 {
        let timings: u64 = cache.timings().unwrap().iter().map(|timings| timings.bytes).sum();
        cache.entries().unwrap().iter().map(|entry| entry.bytes).sum::<u64>() + timings
    };
    let total = used(&place.cache());
    let files = fs::read_dir(place.engines()).unwrap();
    let sizes = files.map(|file| file.unwrap().metadata().unwrap().len());
    assert_eq!(total, sizes.sum::<u64>());
    // The clock was set back, and the newest is still the newest.
    fs::File::open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let removed = place.cache().size_limit(total - 1).collect().unwrap();
    assert_eq!((removed.engines, old.exists()), (0, false));
    assert_eq!(place.cache().timings().unwrap().len(), 1);
    assert_eq!(place.cache().clear().unwrap().bytes + removed.bytes, total);
    assert_eq!(fs::read_dir(place.engines()).unwrap().count(), 0);
}

#[test]
fn processes_that_are_killed_at_any_time_leave_a_whole_file() {
    let mut place = measuring("took a");
    missed(place.used(2.0));
    place.backend.measured = "took b".into();
    let start = Instant::now();
    place.child().env("CACHE_TEST_FACTOR", "3").output().unwrap();
    let most = start.elapsed() * 2;
    for i in 0..tries(24) {
        let mut child = place.child();
        child.env("CACHE_TEST_MEASURED", format!("took {}", "c".repeat(100_000)));
        child.env("CACHE_TEST_FACTOR", format!("{}", i + 10));
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(most.mul_f64((i as f64 * 0.618).fract()));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(lines(&place).contains(&"took a".to_owned()), "{i}");
    }
    missed(place.used(7.0));
    let found: PathBuf = file(&place).path;
    assert!(!found.with_extension("partial").exists());
}
