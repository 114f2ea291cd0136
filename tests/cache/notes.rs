//! Notes beside an engine, by which it is found without the passes: they save time, and decide nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use accelerant::cache::{CacheUse, Miss};
use accelerant::{InferenceModule, OptimizeOptions, Phase};

use super::harness::{Place, in_file, is_hit, made, missed, model, tries};

/// Makes a module of the file with this factor and this node that nothing reads.
fn module(place: &Place, factor: f32, unread: &str) -> InferenceModule {
    let options = OptimizeOptions::new().cache(place.cache());
    made(&place.backend, &in_file(&model(factor), unread), factor, &options)
}

fn ran_passes(module: &InferenceModule) -> bool {
    module.report().phases.iter().any(|time| time.phase == Phase::Passes)
}

/// The notes in the folder.
fn notes(place: &Place) -> Vec<PathBuf> {
    let files = fs::read_dir(place.engines()).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "memo")).collect()
}

#[track_caller]
fn note(place: &Place) -> PathBuf {
    let notes = notes(place);
    assert_eq!(notes.len(), 1, "{notes:?}");
    notes[0].clone()
}

#[test]
fn a_hit_needs_no_passes_and_tells_them() {
    let place = Place::new();
    let first = module(&place, 2.0, "unread");
    assert_eq!(missed(first.report().cache), Miss::New);
    assert!(ran_passes(&first));
    let passes = |module: &InferenceModule| serde_json::to_value(module.report().passes).unwrap();
    assert_eq!(passes(&first)[0]["places"], 1, "{}", first.report());
    for _ in 0..2 {
        let next = module(&place, 2.0, "unread");
        assert!(is_hit(&next.report().cache) && !ran_passes(&next), "{}", next.report());
        assert_eq!(passes(&next), passes(&first));
        assert_eq!(next.signature(), first.signature());
    }
    // What the passes make the same of is one engine.
    let other = module(&place, 2.0, "another");
    assert!(is_hit(&other.report().cache) && ran_passes(&other), "{}", other.report());
    assert_eq!((place.builds(), notes(&place).len()), (1, 2));
    assert!(!ran_passes(&module(&place, 2.0, "another")));
}

#[test]
fn another_model_or_machine_is_never_found_by_a_note() {
    let mut place = Place::new();
    module(&place, 2.0, "unread");
    assert!(matches!(missed(module(&place, 3.0, "unread").report().cache), Miss::Changed { .. }));
    place.backend.driver = "590.2".into();
    assert!(matches!(missed(module(&place, 2.0, "unread").report().cache), Miss::Changed { .. }));
    assert_eq!((place.builds(), notes(&place).len()), (3, 3));
}

/// Damages the only note, and expects that the engine is found without it, and that it is written anew.
fn damaged(place: &Place, what: &str, damage: impl FnOnce(&Path)) {
    damage(&note(place));
    let found = module(place, 2.0, "unread");
    assert!(is_hit(&found.report().cache) && ran_passes(&found), "{what}: {}", found.report());
    let next = module(place, 2.0, "unread");
    assert!(is_hit(&next.report().cache) && !ran_passes(&next), "{what}: {}", next.report());
}

#[test]
fn a_note_that_is_damaged_costs_the_passes_alone() {
    let place = Place::new();
    module(&place, 2.0, "unread");
    let whole = fs::read(note(&place)).unwrap();
    for at in (0..whole.len()).step_by(whole.len().div_ceil(tries(16))) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        damaged(&place, &format!("a flip at {at}"), |note| fs::write(note, bytes).unwrap());
    }
    for length in [0, 1, 31, 32, 33, whole.len() - 1] {
        let cut = &whole[..length];
        damaged(&place, &format!("cut at {length}"), |note| fs::write(note, cut).unwrap());
    }
    damaged(&place, "appended", |note| fs::write(note, [&whole[..], b"x"].concat()).unwrap());
    damaged(&place, "endless", |note| {
        fs::remove_file(note).unwrap();
        symlink("/dev/zero", note).unwrap();
    });
    damaged(&place, "gone", |note| fs::remove_file(note).unwrap());
    assert_eq!(place.builds(), 1);
}

#[test]
fn a_note_under_the_name_of_another_is_passed_over() {
    let place = Place::new();
    module(&place, 2.0, "unread");
    let of_two = note(&place);
    module(&place, 3.0, "unread");
    let of_three = notes(&place).into_iter().find(|path| *path != of_two).unwrap();
    // The note of one model leads to the engine of the other by name alone: by its contents, and by its place.
    let names = [&of_two, &of_three].map(|path| path.file_name().unwrap().to_str().unwrap());
    let [[two, _], [three, of]] = names.map(|name| [&name[..64], &name[65..]]);
    let wrong = place.engines().join(format!("{two}.{of}"));
    fs::rename(&of_three, &wrong).unwrap();
    let found = module(&place, 3.0, "unread");
    assert!(is_hit(&found.report().cache) && ran_passes(&found), "{}", found.report());
    let CacheUse::Hit { key, .. } = found.report().cache else { panic!() };
    assert_eq!((key.as_str(), place.builds()), (three, 2));
}

#[test]
fn the_engine_itself_decides() {
    let place = Place::new();
    module(&place, 2.0, "unread");
    let entry = place.entry();
    let whole = fs::read(&entry).unwrap();
    // Gone, damaged, and of another key.
    fs::remove_file(&entry).unwrap();
    assert_eq!(missed(module(&place, 2.0, "unread").report().cache), Miss::New);
    fs::write(&entry, &whole[..whole.len() - 1]).unwrap();
    let used = module(&place, 2.0, "unread").report().cache;
    assert!(matches!(missed(used), Miss::Damaged { .. }));
    let other = Place::new();
    module(&other, 3.0, "unread");
    fs::copy(other.entry(), &entry).unwrap();
    let used = module(&place, 2.0, "unread").report().cache;
    assert!(used.to_string().contains("another key"), "{used}");
    assert!(!ran_passes(&module(&place, 2.0, "unread")));
    assert_eq!(place.builds(), 4);
}

#[test]
fn an_engine_that_cannot_be_loaded_at_first_has_its_passes_once() {
    let mut place = Place::new();
    module(&place, 2.0, "unread");
    let refusal = place.folder.path().join("refused");
    fs::write(&refusal, "1").unwrap();
    place.backend.refusal = Some(refusal);
    for _ in 0..2 {
        let report = module(&place, 2.0, "unread").report();
        assert!(is_hit(&report.cache), "{report}");
        assert_eq!((report.passes.len(), report.passes[0].places), (1, 1), "{report}");
    }
    assert_eq!(place.builds(), 1);
}

#[test]
fn notes_are_few_and_go_with_their_engine() {
    let place = Place::new();
    for number in 0..12 {
        module(&place, 2.0, &format!("unread_{number}"));
    }
    assert_eq!((place.builds(), notes(&place).len()), (1, 8));
    assert!(!ran_passes(&module(&place, 2.0, "unread_11")));
    let bytes = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let all: u64 = notes(&place).iter().chain([&place.entry()]).map(bytes).sum();
    assert_eq!(place.cache().entries().unwrap()[0].bytes, all);
    place.cache().clear().unwrap();
    assert_eq!(fs::read_dir(place.engines()).unwrap().count(), 0);
}

#[test]
fn a_note_that_cannot_be_written_costs_nothing() {
    let place = Place::new();
    module(&place, 2.0, "unread");
    let note = note(&place);
    fs::remove_file(&note).unwrap();
    // Every write to this device fails as on a disk without room.
    let partial = note.with_extension("memo.partial");
    symlink("/dev/full", &partial).unwrap();
    assert!(is_hit(&module(&place, 2.0, "unread").report().cache));
    assert!(notes(&place).is_empty() && !partial.is_symlink());
    assert!(ran_passes(&module(&place, 2.0, "unread")));
    assert!(!ran_passes(&module(&place, 2.0, "unread")));
}
