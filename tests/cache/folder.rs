//! Where the cache is, and folders that are not fit for one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;

use accelerant::cache::EngineCache;
use accelerant::{ErrorKind, InferenceModule, OptimizeOptions, Registry};

use super::common::skipped;
use super::harness::{Place, is_hit, missed, model, printed};

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let place = Place::new();
    fs::create_dir(place.engines()).unwrap();
    fs::set_permissions(place.engines(), Permissions::from_mode(0o777)).unwrap();
    let registry = Registry::empty().with(place.backend.clone());
    let options = OptimizeOptions::new().cache(place.cache()).registry(registry);
    let error = InferenceModule::compile(&model(2.0), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("other users can write"), "{error}");
    assert_eq!(place.cache().entries().unwrap_err().kind(), ErrorKind::InvalidArgument);
    // One that the environment names is not used, and the module is made without it.
    let mut child = place.child();
    child.env("CACHE_TEST_USUAL", "1").env("ACCELERANT_ENGINE_CACHE", place.engines());
    let used = printed(&child.output().unwrap());
    assert_eq!(used["result"], "not-used", "{used}");
    assert!(used["reason"].as_str().unwrap().contains("other users can write"), "{used}");
    assert_eq!((fs::read_dir(place.engines()).unwrap().count(), place.builds()), (0, 1));
}

#[test]
fn the_environment_moves_the_cache_and_switches_it_off() {
    let place = Place::new();
    let usual = |variables: &[(&str, &std::path::Path)]| {
        let mut child = place.child();
        child.env("CACHE_TEST_USUAL", "1");
        child.env_remove("ACCELERANT_ENGINE_CACHE").env_remove("ACCELERANT_CACHE_DIR");
        child.envs(variables.iter().copied());
        printed(&child.output().unwrap())
    };
    let off = usual(&[("ACCELERANT_ENGINE_CACHE", "off".as_ref())]);
    assert_eq!(off["result"], "not-used", "{off}");
    let [there, users, home] =
        ["there", "users", "home"].map(|name| place.folder.path().join(name));
    assert_eq!(usual(&[("ACCELERANT_ENGINE_CACHE", &there)])["result"], "miss");
    assert_eq!(usual(&[("ACCELERANT_ENGINE_CACHE", &there)])["result"], "hit");
    assert_eq!(usual(&[("ACCELERANT_CACHE_DIR", &users)])["result"], "miss");
    assert_eq!(usual(&[("XDG_CACHE_HOME", &home)])["result"], "miss");
    let count = |folder| EngineCache::at(folder).entries().unwrap().len();
    let folders = [there, users.join("engines"), home.join("accelerant/engines")];
    assert_eq!(folders.map(count), [1, 1, 1]);
}

#[test]
fn a_folder_that_cannot_be_made_costs_the_entry_alone() {
    let place = Place::new();
    let file = place.folder.path().join("file");
    fs::write(&file, "").unwrap();
    let used = place.used_with(2.0, EngineCache::at(file.join("engines")));
    assert!(used.to_string().starts_with("not used"), "{used}");
}

/// Root writes where nobody may, so the process is another user's where the test is root's.
#[test]
fn a_folder_that_is_read_only_gives_what_it_has() {
    let place = Place::new();
    let nobody = 65534;
    fs::set_permissions(place.folder.path(), Permissions::from_mode(0o755)).unwrap();
    missed(place.used(2.0));
    fs::write(&place.backend.log, "").unwrap();
    fs::set_permissions(&place.backend.log, Permissions::from_mode(0o666)).unwrap();
    let entry = place.entry();
    fs::set_permissions(&entry, Permissions::from_mode(0o644)).unwrap();
    let root = chown(place.engines(), Some(nobody), None).is_ok();
    let run = || {
        let mut child = place.child();
        if root {
            child.uid(nobody);
        }
        child.output()
    };
    fs::set_permissions(place.engines(), Permissions::from_mode(0o500)).unwrap();
    let found = match run() {
        Ok(output) => printed(&output),
        Err(e) => return skipped("a_folder_that_is_read_only_gives_what_it_has", e),
    };
    assert_eq!((&found["result"], place.builds()), (&"hit".into(), 0), "{found}");
    // Nothing is there to be found, and nothing can be kept.
    fs::set_permissions(place.engines(), Permissions::from_mode(0o700)).unwrap();
    for file in fs::read_dir(place.engines()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    fs::set_permissions(place.engines(), Permissions::from_mode(0o500)).unwrap();
    let built = printed(&run().unwrap());
    assert_eq!((&built["result"], place.builds()), (&"miss".into(), 1), "{built}");
    assert!(built["not_kept"].as_str().unwrap().contains("denied"), "{built}");
    fs::set_permissions(place.engines(), Permissions::from_mode(0o700)).unwrap();
    let root_again = !root || chown(place.engines(), Some(0), None).is_ok();
    assert!(root_again && !is_hit(&place.used(2.0)));
}
