//! The cache folder and how a folder or file gets into it whole or not at all. Nothing about what
//! is kept there.

use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// `$ACCELERANT_CACHE_DIR`, else `accelerant` in the user's cache folder.
pub(crate) fn dir() -> Result<PathBuf> {
    let user = directories::BaseDirs::new().map(|dirs| dirs.cache_dir().to_owned());
    choose(env::var_os("ACCELERANT_CACHE_DIR"), user)
        .context("no home folder is known; set ACCELERANT_CACHE_DIR to a folder to use as cache")
}

fn choose(named: Option<OsString>, user: Option<PathBuf>) -> Option<PathBuf> {
    match named.filter(|value| !value.is_empty()) {
        Some(value) => std::path::absolute(value).ok(),
        None => Some(user?.join("accelerant")),
    }
}

/// Puts something at `target`: `fill` writes it to a path beside the target, and a rename makes it
/// appear whole. Who loses a race against another process uses what the winner put there.
pub(crate) fn place(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = target.parent().context("the target has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let scratch = tempfile::Builder::new()
        .prefix(".partial-")
        .tempdir_in(parent)
        .with_context(|| format!("creating a folder in {}", parent.display()))?;
    let whole = scratch.path().join("whole");
    fill(&whole)?;
    match fs::rename(&whole, target) {
        Err(_) if target.exists() => Ok(()),
        result => result.with_context(|| format!("putting {} in place", target.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn the_named_folder_comes_before_the_users() {
        let user = Some(PathBuf::from("/home/u/.cache"));
        let users = Some(PathBuf::from("/home/u/.cache/accelerant"));
        assert_eq!(choose(Some("/c".into()), user.clone()), Some(PathBuf::from("/c")));
        assert_eq!(choose(Some("".into()), user.clone()), users);
        assert_eq!(choose(None, user), users);
        assert_eq!(choose(None, None), None);
    }

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
}
