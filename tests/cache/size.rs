//! Room: what goes when there is not enough, and what is left alone.

use std::fs;

use accelerant::ErrorKind;
use accelerant::cache::{CacheUse, EngineCache};

use super::harness::{Place, is_hit, missed};

#[test]
fn what_was_used_longest_ago_goes_first() {
    let mut place = Place::new();
    place.backend.padding = 100_000;
    let cache = place.cache().size_limit(350_000);
    let used = |factor| place.used_with(factor, cache.clone());
    for factor in [1.0, 2.0, 3.0] {
        missed(used(factor));
    }
    assert!(is_hit(&used(1.0)));
    missed(used(4.0));
    assert_eq!(cache.entries().unwrap().len(), 3);
    assert!(is_hit(&used(1.0)) && is_hit(&used(3.0)) && is_hit(&used(4.0)));
    missed(used(2.0));
    let bytes: u64 = cache.entries().unwrap().iter().map(|entry| entry.bytes).sum();
    assert!(bytes <= 350_000, "{bytes}");
}

#[test]
fn an_engine_that_is_too_large_is_not_kept_and_moves_no_other() {
    let mut place = Place::new();
    missed(place.used(2.0));
    place.backend.padding = 100_000;
    let used = place.used_with(3.0, place.cache().size_limit(50_000));
    assert!(matches!(&used, CacheUse::Miss { not_kept: Some(why), .. } if why.contains("at most")));
    place.backend.padding = 0;
    assert!(is_hit(&place.used(2.0)));
}

#[test]
fn entries_tell_what_they_are_and_all_goes_when_asked() {
    let place = Place::new();
    missed(place.used(2.0));
    missed(place.used(3.0));
    let cache = place.cache();
    let entries = cache.entries().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in &entries {
        let about = entry.about.as_ref().unwrap();
        assert_eq!((about.model(), about.library.as_str()), ("times", "1"));
        assert!(about.parts.contains(&("driver".into(), "580.1".into())), "{about:?}");
        assert!(entry.path.to_string_lossy().contains(&entry.key) && entry.bytes > 1600);
    }
    let json = serde_json::to_value(&entries[0]).unwrap();
    assert_eq!(
        (&json["about"]["kind"], &json["key"]),
        (&"kept".into(), &entries[0].key.clone().into())
    );
    fs::write(&entries[0].path, b"damaged").unwrap();
    let about = cache.entries().unwrap().into_iter().map(|entry| (entry.path, entry.about));
    let without: Vec<_> =
        about.filter(|(_, about)| about.is_none()).map(|(path, _)| path).collect();
    assert_eq!(without, [entries[0].path.clone()]);
    let checked = cache.verify().unwrap();
    assert_eq!(checked.iter().filter(|(_, result)| result.is_err()).count(), 1);
    // What is not the cache's stays.
    let foreign = place.engines().join("notes.txt");
    fs::write(&foreign, "a user's").unwrap();
    assert_eq!(cache.clear().unwrap().engines, 2);
    let left: Vec<_> = fs::read_dir(place.engines()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [foreign]);
    let none = Place::new();
    assert!(none.cache().entries().unwrap().is_empty() && !none.engines().exists());
}

#[test]
fn leftovers_go_with_the_next_engine() {
    let place = Place::new();
    missed(place.used(2.0));
    for ending in ["damaged", "partial", "1234abcd.kernels", "lock"] {
        let name = format!("{}.{ending}", "a".repeat(64));
        fs::write(place.engines().join(name), "left").unwrap();
    }
    missed(place.used(3.0));
    let names = fs::read_dir(place.engines()).unwrap().map(|e| e.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("aaaa")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_cannot_be_removed_is_an_error_and_the_rest_goes() {
    let place = Place::new();
    missed(place.used(2.0));
    let folder_of_timings = place.engines().join(format!("{}.timings", "a".repeat(64)));
    fs::create_dir(&folder_of_timings).unwrap();
    let timings = place.engines().join(format!("{}.timings", "b".repeat(64)));
    fs::write(&timings, "measured").unwrap();
    // Nobody can take a lock that is a folder.
    missed(place.used(3.0));
    let cache = place.cache();
    let kept = cache.entries().unwrap().pop().unwrap();
    let lock = kept.path.with_extension("lock");
    let _ = fs::remove_file(&lock);
    fs::create_dir(&lock).unwrap();
    for shrink in [EngineCache::clear, EngineCache::collect] {
        let error = shrink(&cache.clone().size_limit(0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        let text = error.to_string();
        assert!(text.contains("cannot remove") && text.contains("another file stays"), "{text}");
        assert!(text.contains(&"a".repeat(64)) || text.contains(&kept.key), "{text}");
        let left: Vec<_> = cache.entries().unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!((left, timings.exists()), (vec![kept.key.clone()], false));
    }
    fs::remove_dir(&folder_of_timings).unwrap();
    fs::remove_dir(&lock).unwrap();
    fs::write(&timings, "measured").unwrap();
    let removed = cache.clear().unwrap();
    assert_eq!((removed.engines, removed.timings), (1, 1));
}
