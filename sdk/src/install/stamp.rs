//! The stamp of an installed folder: the hash of each of its files, in a file beside them. Says whether a folder is as
//! it was installed, and changes nothing.

use super::hash;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(super) const NAME: &str = "installed.sha256";

pub(super) enum State {
    Absent,
    Whole,
    /// With what is another than it was.
    Other(String),
}

/// Reads every file. A folder without a stamp is whole if its hash is `pinned`, and gets one.
pub(super) fn state(root: &Path, pinned: Option<&str>) -> Result<State> {
    if !root.is_dir() {
        return Ok(State::Absent);
    }
    if let Some(pinned) = pinned {
        return Ok(match hash::tree(root)? == pinned {
            true => State::Whole,
            // The stamp can only help to name the file.
            false => State::Other(changed(root)?.unwrap_or_else(|| "another hash".into())),
        });
    }
    Ok(changed(root)?.map_or(State::Whole, State::Other))
}

/// Notes what is in a folder, which must have the hash `pinned` if there is one.
pub(super) fn write(root: &Path, pinned: Option<&str>) -> Result<()> {
    if let Some(pinned) = pinned {
        let found = hash::tree(root)?;
        ensure!(found == pinned, "what was fetched is not what it should be: sha256 {found}");
    }
    // As `sha256sum --check` reads it.
    let lines = hash::each(root)?.into_iter().map(|(name, hash)| format!("{hash}  {name}\n"));
    let path = root.join(NAME);
    fs::write(&path, lines.collect::<String>())
        .with_context(|| format!("writing {}", path.display()))
}

/// The first file that the stamp tells otherwise.
fn changed(root: &Path) -> Result<Option<String>> {
    let Ok(text) = fs::read_to_string(root.join(NAME)) else {
        return Ok(Some("it has no stamp".into()));
    };
    let mut stamped = BTreeMap::new();
    for line in text.lines() {
        let Some((hash, name)) = line.split_once("  ") else {
            return Ok(Some("its stamp is damaged".into()));
        };
        stamped.insert(name.to_owned(), hash.to_owned());
    }
    if stamped.is_empty() {
        return Ok(Some("its stamp is empty".into()));
    }
    for (name, hash) in hash::each(root)? {
        match stamped.remove(&name) {
            Some(stamp) if stamp == hash => {}
            Some(_) => return Ok(Some(format!("{name} changed"))),
            None => return Ok(Some(format!("{name} was not there"))),
        }
    }
    Ok(stamped.into_keys().next().map(|name| format!("{name} is missing")))
}
