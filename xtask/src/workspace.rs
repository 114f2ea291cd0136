//! Where the repository lies, how cargo is called for it, and the one feature set that the
//! commands share. No command's own logic.

use std::path::Path;

pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
