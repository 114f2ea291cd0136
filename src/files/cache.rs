//! The user's cache folder. `build.rs` and `xtask` compile this file too, so that all look in the same place.

use std::{env, ffi::OsString, path::PathBuf};

/// The folder that a variable of the environment names.
// Not all that compile this file ask for it.
#[allow(dead_code)]
pub(crate) fn folder_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(Into::into)
}

/// The folder in which `cargo xtask sdk` puts libraries for all crates: `$ACCELERANT_CACHE_DIR`, else `accelerant` in
/// the user's cache, if there is one.
///
/// # Errors
/// A text for a relative path, with which libraries would be loaded from whatever folder a program is started in.
pub(crate) fn cache_folder() -> Result<Option<PathBuf>, String> {
    choose(|variable| env::var_os(variable))
}

/// The same for any environment.
pub(crate) fn choose(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, String> {
    for (name, rest) in [
        ("ACCELERANT_CACHE_DIR", ""),
        ("XDG_CACHE_HOME", "accelerant"),
        ("HOME", ".cache/accelerant"),
    ] {
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
        let path = PathBuf::from(value);
        if !path.is_absolute() {
            return Err(format!("{name}={} is not an absolute path", path.display()));
        }
        return Ok(Some(if rest.is_empty() { path } else { path.join(rest) }));
    }
    Ok(None)
}
