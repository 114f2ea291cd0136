//! The user's cache folder, the same for the library, its build script and all commands.

use std::{env, ffi::OsString, path::PathBuf};

/// The folder that a variable of the environment names. An empty one names none.
#[must_use]
pub fn folder_in(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(Into::into)
}

/// The folder in which `accelerant sdk install` puts libraries for all programs: `$ACCELERANT_CACHE_DIR`, else
/// `accelerant` in the user's cache, if there is one.
///
/// # Errors
/// A text for a relative path, with which libraries would be loaded from whatever folder a program is started in.
pub fn cache_folder() -> Result<Option<PathBuf>, String> {
    choose(|variable| env::var_os(variable))
}

/// The same for any environment.
fn choose(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, String> {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::choose;

    #[test]
    fn the_most_special_variable_comes_first_and_a_relative_path_is_refused() {
        let with = |set: &[(&str, &str)]| {
            let set: Vec<_> = set.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            choose(move |name| {
                set.iter().find(|(key, _)| key == name).map(|(_, value)| value.into())
            })
        };
        let found = |path: &str| Ok(Some(PathBuf::from(path)));
        let home = ("HOME", "/home/u");
        assert_eq!(with(&[]), Ok(None));
        assert_eq!(with(&[home]), found("/home/u/.cache/accelerant"));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/c")]), found("/c/accelerant"));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "")]), found("/home/u/.cache/accelerant"));
        assert_eq!(with(&[("XDG_CACHE_HOME", "c"), ("ACCELERANT_CACHE_DIR", "/a")]), found("/a"));
        for name in ["ACCELERANT_CACHE_DIR", "XDG_CACHE_HOME", "HOME"] {
            let error = with(&[(name, "c")]).unwrap_err();
            assert_eq!(error, format!("{name}=c is not an absolute path"));
            if name != "HOME" {
                assert_eq!(with(&[home, (name, "c")]), Err(error));
            }
        }
    }
}
