//! Where the trained sentence encoder all-MiniLM-L6-v2 lies on this machine. What runs it is elsewhere.

use std::path::{Path, PathBuf};

/// The folder with `model.safetensors`, `tokenizer.json` and `config.json`: the one that
/// `ACCELERANT_MINILM_DIR` names, else where `cargo xtask sdk --flavor models` puts it.
///
/// # Errors
/// When there is none; the text says how to get it.
///
/// # Panics
/// When the variable names a folder without the model: who set it expects it to be used.
pub fn folder() -> Result<PathBuf, String> {
    let whole = |folder: &Path| folder.join("model.safetensors").is_file();
    if let Some(named) = accelerant_sdk::folder_in("ACCELERANT_MINILM_DIR") {
        assert!(
            whole(&named),
            "ACCELERANT_MINILM_DIR={} has no model.safetensors",
            named.display()
        );
        return Ok(named);
    }
    let folder =
        accelerant_sdk::cache_folder()?.unwrap_or_default().join(accelerant_sdk::MINILM.folder);
    match whole(&folder) {
        true => Ok(folder),
        false => Err(format!(
            "no all-MiniLM-L6-v2 in {}; fetch it with `accelerant sdk install minilm` or `cargo xtask sdk --flavor models`",
            folder.display()
        )),
    }
}
