//! The cache folder, and how a folder or file gets into it whole or not at all. Nothing about what
//! is kept there.

use super::progress;
use super::stamp::{self, State};
use anyhow::{Context, Result, anyhow};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What the folders of writers begin with. A writer holds a lock on its own.
const PARTIAL: &str = ".partial-";

/// `$ACCELERANT_CACHE_DIR`, else `accelerant` in the user's cache folder, where the library looks too.
///
/// # Errors
/// When no home folder is known, or a variable has a relative path.
pub fn dir() -> Result<PathBuf> {
    crate::cache_folder()
        .map_err(|refused| anyhow!("the cache folder {refused}"))?
        .context("no home folder is known; set ACCELERANT_CACHE_DIR to a folder to use as cache")
}

/// Makes sure that a folder is there and as it was installed: `fill` makes it if there is none, and anew if a file is
/// missing or another one. A folder without a stamp is right if its hash is `pinned`. Whether something was made.
///
/// # Errors
/// When `fill` fails, or what it made has another hash; a folder that is there then stays.
pub fn install(
    target: &Path,
    pinned: Option<&str>,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<bool> {
    match stamp::state(target, pinned)? {
        State::Whole => return Ok(false),
        State::Absent => {}
        State::Other(what) => {
            let target = target.display();
            progress::say(&format!(
                "{target} is not as it was installed ({what}): it is made anew"
            ));
        }
    }
    put(target, |at| {
        fill(at)?;
        stamp::write(at, pinned)
    })?;
    Ok(true)
}

/// Puts something at `target`: `fill` writes it to a path beside the target, and a rename makes it
/// appear whole. Who loses a race against another process uses what the winner put there.
///
/// # Errors
/// When `fill` fails or a folder cannot be written.
pub fn place(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    put(target, fill)
}

fn put(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = target.parent().context("the target has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    sweep(parent);
    let before = identity(target);
    let scratch = scratch_in(parent)?;
    let whole = scratch.folder.path().join("whole");
    fill(&whole)?;
    if before.is_some() && identity(target) == before {
        // Out of the way, and gone with the scratch folder.
        let old = scratch.folder.path().join("old");
        fs::rename(target, old).with_context(|| format!("replacing {}", target.display()))?;
    }
    match fs::rename(&whole, target) {
        Err(_) if target.exists() => Ok(()),
        result => result.with_context(|| format!("putting {} in place", target.display())),
    }
}

/// Takes a folder away: out of its place at once, then file by file. Whether there was one.
///
/// # Errors
/// When the folder cannot be moved.
pub fn remove(target: &Path) -> Result<bool> {
    if !target.exists() {
        return Ok(false);
    }
    let scratch = scratch_in(target.parent().context("the target has no parent folder")?)?;
    fs::rename(target, scratch.folder.path().join("old"))
        .with_context(|| format!("removing {}", target.display()))?;
    Ok(true)
}

/// What tells a folder from one that another process put at the same path.
fn identity(path: &Path) -> Option<impl PartialEq + use<>> {
    let found = path.metadata().ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&found);
    #[cfg(not(unix))]
    let number = 0;
    Some((number, found.created().ok()))
}

/// A folder of this process, and the lock that says that it is alive.
struct Scratch {
    folder: tempfile::TempDir,
    _lock: Option<File>,
}

fn scratch_in(parent: &Path) -> Result<Scratch> {
    loop {
        let folder = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(parent)
            .with_context(|| format!("creating a folder in {}", parent.display()))?;
        let lock = File::open(folder.path()).ok();
        // Without locks nobody sweeps.
        if let Some(lock) = &lock {
            let _ = lock.lock();
        }
        // A sweep may have come between.
        if folder.path().is_dir() {
            return Ok(Scratch { folder, _lock: lock });
        }
    }
}

/// Removes what processes left that were killed: their folders have no lock.
fn sweep(parent: &Path) {
    for entry in parent.read_dir().into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PARTIAL);
        if ours
            && entry.file_type().is_ok_and(|found| found.is_dir())
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash;
    use super::*;
    use anyhow::bail;

    fn fill(text: &str, at: &Path) -> Result<()> {
        fs::create_dir(at)?;
        Ok(fs::write(at.join("file"), text)?)
    }

    #[test]
    fn a_failure_leaves_nothing_behind() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("sdk");
        let result = place(&target, |at| {
            fill("half", at)?;
            bail!("interrupted")
        });
        assert!(result.is_err());
        assert_eq!(dir.path().read_dir()?.count(), 0);
        Ok(())
    }

    #[test]
    fn the_first_of_two_writers_wins_and_the_second_ends_well() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("sdk");
        place(&target, |at| {
            place(&target, |other| fill("first", other))?;
            fill("second", at)
        })?;
        assert_eq!(fs::read_to_string(target.join("file"))?, "first");
        assert_eq!(dir.path().read_dir()?.count(), 1);
        Ok(())
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_a_living_one_writes_stays() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let [dead, alive, other] =
            [".partial-dead", ".partial-alive", "other"].map(|name| dir.path().join(name));
        for folder in [&dead, &alive, &other] {
            fill("half", folder)?;
        }
        let lock = File::open(&alive)?;
        lock.lock()?;
        place(&dir.path().join("sdk"), |at| fill("whole", at))?;
        assert_eq!([&dead, &alive, &other].map(|path| path.exists()), [false, true, true]);
        Ok(())
    }

    #[test]
    fn a_folder_that_changed_is_put_right() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("sdk");
        let install = |pinned| install(&target, pinned, |at| fill("right", at));
        assert!(install(None)?);
        assert!(!install(None)?, "it is whole");
        let file = target.join("file");
        fs::write(&file, "wrong")?;
        assert!(install(None)?);
        fs::remove_file(&file)?;
        assert!(install(None)?);
        fs::write(target.join("more"), "")?;
        assert!(install(None)?);
        assert!(!target.join("more").exists());
        // Empty, as a folder that somebody made, or that was removed in part.
        fs::remove_dir_all(&target)?;
        fs::create_dir(&target)?;
        assert!(install(None)?);
        assert_eq!(fs::read_to_string(&file)?, "right");
        assert_eq!(dir.path().read_dir()?.count(), 1);
        Ok(())
    }

    #[test]
    fn a_folder_without_a_stamp_is_known_by_its_hash() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("sdk");
        fill("right", &target)?;
        let pinned = hash::tree(&target)?;
        let install = |pinned: Option<&str>| install(&target, pinned, |at| fill("right", at));
        assert!(!install(Some(&pinned))?);
        fs::write(target.join("file"), "wrong")?;
        // A stamp that fits what was changed does not help.
        stamp::write(&target, None)?;
        assert!(install(Some(&pinned))?);
        assert!(!install(Some(&pinned))?);
        let other = fill_is_refused(&dir.path().join("other"), &pinned);
        assert!(other.contains("is not what it should be"), "{other}");
        Ok(())
    }

    /// What is fetched must have the hash too.
    fn fill_is_refused(target: &Path, pinned: &str) -> String {
        let result = install(target, Some(pinned), |at| fill("wrong", at));
        assert!(!target.exists());
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_folder_stays_when_it_cannot_be_put_right() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let target = dir.path().join("sdk");
        install(&target, None, |at| fill("right", at))?;
        fs::write(target.join("file"), "wrong")?;
        assert!(install(&target, None, |_| bail!("no network")).is_err());
        assert_eq!(fs::read_to_string(target.join("file"))?, "wrong");
        assert_eq!(dir.path().read_dir()?.count(), 1);
        Ok(())
    }
}
