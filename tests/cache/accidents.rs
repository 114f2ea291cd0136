//! What may happen to the files: whatever it is, a module is made, and its engine is the right one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use accelerant::cache::{CacheUse, Miss};

use super::harness::{Place, is_hit, missed, tries};

/// Damages the only entry, and expects that it is found out, set aside and built anew.
fn damaged(place: &Place, what: &str, damage: impl FnOnce(&Path)) {
    let entry = place.entry();
    damage(&entry);
    let before = place.builds();
    let reason = missed(place.used(2.0));
    assert!(matches!(reason, Miss::Damaged { .. }), "{what}: {reason:?}");
    assert_eq!(place.builds(), before + 1, "{what}");
    assert!(entry.with_extension("damaged").exists(), "{what}");
    assert!(is_hit(&place.used(2.0)), "{what}");
}

#[test]
fn a_flip_anywhere_is_found() {
    let place = Place::new();
    place.used(2.0);
    let whole = fs::read(place.entry()).unwrap();
    let header = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    let plan = 48 + header;
    // The magic, the format, the header's length and checksum, the header, the plan, and their borders.
    let mut places = vec![0, 7, 8, 11, 12, 13, 14, 15, 16, 47, 48, plan - 1, plan, whole.len() - 1];
    // And some in between, of each region.
    for i in 0..tries(8) {
        places.push(48 + i * 7919 % header);
        places.push(plan + i * 7919 % (whole.len() - plan));
    }
    for at in places {
        let flip = |bit: u8| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            bytes
        };
        let bytes = flip((at % 8) as u8);
        damaged(&place, &format!("a flip at {at}"), |entry| fs::write(entry, bytes).unwrap());
    }
    assert!(place.cache().verify().unwrap().iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn a_file_that_is_short_or_long_or_no_file_is_found() {
    let place = Place::new();
    place.used(2.0);
    let whole = fs::read(place.entry()).unwrap();
    let header = 48 + u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    for length in [0, 1, 8, 47, 48, 49, header - 1, header, header + 1, whole.len() - 1] {
        let cut = &whole[..length];
        damaged(&place, &format!("cut at {length}"), |entry| fs::write(entry, cut).unwrap());
    }
    damaged(&place, "appended", |entry| fs::write(entry, [&whole[..], b"x"].concat()).unwrap());
    damaged(&place, "zeros", |entry| fs::write(entry, vec![0; whole.len()]).unwrap());
    damaged(&place, "a folder", |entry| {
        fs::remove_file(entry).unwrap();
        fs::create_dir(entry).unwrap();
    });
    fs::remove_dir(place.entry().with_extension("damaged")).unwrap();
    damaged(&place, "a device", |entry| {
        fs::remove_file(entry).unwrap();
        symlink("/dev/zero", entry).unwrap();
    });
}

#[test]
fn the_entry_of_another_key_is_not_taken() {
    let place = Place::new();
    place.used(2.0);
    let of_two = place.entry();
    let other = Place::new();
    other.used(3.0);
    // Whole, with a right checksum, but of other weights.
    fs::copy(other.entry(), &of_two).unwrap();
    let used = place.used(2.0);
    assert!(used.to_string().contains("another key"), "{used}");
    assert!(is_hit(&place.used(2.0)));
    // An engine that no cache wrote.
    damaged(&place, "a plain engine", |entry| {
        accelerant::Engine::open(entry).unwrap().save(entry).unwrap();
    });
}

#[test]
fn a_full_disk_costs_the_entry_and_nothing_else() {
    let place = Place::new();
    place.used(2.0);
    let entry = place.entry();
    fs::remove_file(&entry).unwrap();
    // Every write to this device fails as on a disk without room.
    let partial = entry.with_extension("partial");
    symlink("/dev/full", &partial).unwrap();
    let CacheUse::Miss { not_kept: Some(why), .. } = place.used(2.0) else {
        panic!("the engine cannot have been kept")
    };
    assert!(why.contains("No space left"), "{why}");
    assert!(!entry.exists() && !partial.is_symlink(), "nothing is left behind");
    missed(place.used(2.0));
    assert!(is_hit(&place.used(2.0)));
}

#[test]
fn a_rename_that_fails_costs_the_entry_and_nothing_else() {
    let place = Place::new();
    place.used(2.0);
    let entry = place.entry();
    // A folder with something in it can be set aside, but its place of damaged files be taken by another one.
    for path in [&entry, &entry.with_extension("damaged")] {
        let _ = fs::remove_file(path);
        fs::create_dir_all(path.join("inside")).unwrap();
    }
    let used = place.used(2.0);
    assert!(matches!(&used, CacheUse::Miss { not_kept: Some(_), .. }), "{used:?}");
}

#[test]
fn what_a_killed_write_left_is_written_anew() {
    let place = Place::new();
    place.used(2.0);
    let entry = place.entry();
    let whole = fs::read(&entry).unwrap();
    for length in [0, 1, 48, whole.len() / 2, whole.len() - 1, whole.len()] {
        fs::remove_file(&entry).unwrap();
        fs::write(entry.with_extension("partial"), &whole[..length]).unwrap();
        assert_eq!(missed(place.used(2.0)), Miss::New, "{length}");
        assert!(!entry.with_extension("partial").exists());
        assert!(is_hit(&place.used(2.0)));
    }
}

#[test]
fn jumps_of_the_clock_change_neither_hits_nor_the_order_of_use() {
    let place = Place::new();
    let [old, new] = [2.0, 3.0];
    place.used(old);
    let size = fs::metadata(place.entry()).unwrap().len();
    let first = place.entry();
    place.used(new);
    let year = Duration::from_secs(365 * 24 * 3600);
    let epoch = SystemTime::UNIX_EPOCH;
    for jump in [epoch, epoch + year, SystemTime::now() + 100 * year] {
        for entry in place.cache().entries().unwrap() {
            fs::File::open(&entry.path).unwrap().set_modified(jump).unwrap();
        }
        // The clock is back to today, and this is the one that was used last.
        assert!(is_hit(&place.used(new)) && is_hit(&place.used(old)));
        let entries = place.cache().entries().unwrap();
        assert_eq!(entries.last().unwrap().path, first);
        // Room for one: the one not used last goes.
        let removed = place.cache().size_limit(size + size / 2).collect().unwrap();
        assert_eq!(removed.engines, 1);
        assert!(is_hit(&place.used(old)));
        missed(place.used(new));
    }
}
