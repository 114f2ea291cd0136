//! Files written whole or not at all, and the folder of the user's cache.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::error::{Error, Result};

/// Writes a file beside its place and renames it there, so that no reader sees half of it and a
/// failure leaves nothing behind.
pub(crate) fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let attempt = || -> io::Result<()> {
        let mut builder = tempfile::Builder::new();
        // The temporary file becomes the file: it gets the usual permissions, not private ones.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file.as_file());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(|e| Error::io("write", path, e))
}

/// The folder that a variable of the environment names.
pub(crate) fn folder_in(variable: &str) -> Option<std::path::PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(Into::into)
}

/// The folder in which `cargo xtask sdk` puts libraries for all crates: `$ACCELERANT_CACHE_DIR`, else `accelerant` in
/// the user's cache.
pub(crate) fn cache_folder() -> Option<std::path::PathBuf> {
    folder_in("ACCELERANT_CACHE_DIR").or_else(|| {
        let cache =
            folder_in("XDG_CACHE_HOME").or_else(|| Some(folder_in("HOME")?.join(".cache")))?;
        Some(cache.join("accelerant"))
    })
}
