//! Where the cache is, and that the folder is the user's alone.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, ErrorKind, Result};

/// Moves the cache, or switches it off.
pub(super) const VARIABLE: &str = "ACCELERANT_ENGINE_CACHE";

/// Where the environment wants the cache; an error says why there is none.
pub(super) fn usual() -> Result<PathBuf, String> {
    let named = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let users = if named.is_none() { accelerant_sdk::cache_folder()? } else { None };
    choose(named, users)
}

fn choose(named: Option<OsString>, users: Option<PathBuf>) -> Result<PathBuf, String> {
    match named.filter(|value| !value.is_empty()) {
        Some(value) if value == "off" || value == "0" => Err(format!("{VARIABLE} switches it off")),
        // A relative one would be another folder in each folder that a program is started in.
        Some(value) if Path::new(&value).is_relative() => {
            Err(format!("{VARIABLE}={} is not an absolute path", value.display()))
        }
        Some(value) => Ok(value.into()),
        None => {
            let users = users.map(|folder| folder.join("engines"));
            users.ok_or_else(|| format!("no home folder is known; {VARIABLE} names a folder"))
        }
    }
}

/// Makes the folder where there is none, for the user alone.
///
/// # Errors
/// [`ErrorKind::Io`], and those of [`check`].
pub(super) fn prepare(folder: &Path) -> Result<()> {
    if !folder.exists() {
        let io = |e| Error::io("make the folder", folder, e);
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let mut builder = fs::DirBuilder::new();
        // Another process may make it at the same time.
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(io)?;
    }
    check(folder)
}

/// Checks that nobody else may put an engine there, which is as dangerous as a program.
///
/// # Errors
/// [`ErrorKind::Io`] where there is no such folder, [`ErrorKind::InvalidArgument`] where others may write.
pub(super) fn check(folder: &Path) -> Result<()> {
    let found = fs::metadata(folder).map_err(|e| Error::io("read", folder, e))?;
    let refused = |text: &str| {
        let text = format!("{} is no folder for engines: {text}", folder.display());
        Err(Error::new(ErrorKind::InvalidArgument, text))
    };
    if !found.is_dir() {
        return refused("it is no folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if found.mode() & 0o022 != 0 {
            return refused(
                "other users can write to this folder, and an engine is a program (`chmod go-w`)",
            );
        }
        if let Some(user) = user().filter(|&user| ![user, 0].contains(&found.uid())) {
            let text = format!("it belongs to user {}, and this is user {user}", found.uid());
            return refused(&text);
        }
    }
    Ok(())
}

/// The user of this process, where the system tells it in a file: Linux does.
#[cfg(unix)]
fn user() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|found| std::os::unix::fs::MetadataExt::uid(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_moves_it_and_switches_it_off() {
        let users = || Some(PathBuf::from("/home/u/.cache/accelerant"));
        assert_eq!(choose(None, users()), Ok("/home/u/.cache/accelerant/engines".into()));
        assert_eq!(choose(Some("".into()), users()), choose(None, users()));
        assert_eq!(choose(Some("/c".into()), users()), Ok("/c".into()));
        for off in ["off", "0"] {
            assert!(choose(Some(off.into()), users()).unwrap_err().contains("switches it off"));
        }
        assert!(choose(None, None).unwrap_err().contains("no home folder"));
        for relative in ["c", "./c", "../c", "OFF"] {
            let refused = choose(Some(relative.into()), users()).unwrap_err();
            assert_eq!(refused, format!("{VARIABLE}={relative} is not an absolute path"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_made_for_the_user_alone_and_one_that_others_write_is_refused() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("a/b");
        prepare(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        for (mode, good) in [(0o755, true), (0o775, false), (0o757, false), (0o500, true)] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let checked = prepare(&folder);
            assert_eq!(checked.is_ok(), good, "{mode:o}");
            if let Err(error) = checked {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            }
        }
        let file = above.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(prepare(&file).unwrap_err().kind(), ErrorKind::InvalidArgument);
        // Of another user: root is the one whom everybody trusts.
        if user() != Some(0) {
            return;
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        if std::os::unix::fs::chown(&folder, Some(12345), None).is_ok() {
            let error = prepare(&folder).unwrap_err();
            assert!(error.to_string().contains("belongs to user 12345"), "{error}");
        }
    }
}
