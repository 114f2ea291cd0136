//! Why the cache did not have an engine: by comparison with the entry that is most like the wanted one.

use std::{fmt, path::Path};

use super::entry;
use super::key::{GRAPH, Key, WEIGHTS, value};

/// Why an engine was built.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Miss {
    /// The cache has no engine of this model.
    New,
    /// The cache has an engine of the model, but these parts of its key differ.
    Changed {
        /// The parts that differ.
        changes: Vec<Change>,
    },
    /// The file was damaged, or was not an engine of this key. The file was set aside.
    Damaged {
        /// The fault of the file.
        reason: String,
    },
    /// Another process built the engine for too long, and this process did not wait longer.
    Busy,
}

/// A part of a key that changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The name of the part, such as `driver` or `weights`.
    pub part: String,
    /// The value of the entry that is most like the wanted engine; empty for a part that the entry lacks.
    pub before: String,
    /// The value now.
    pub now: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("nothing is kept of this model"),
            Self::Changed { changes } => {
                for (i, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if i > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
            Self::Damaged { reason } => write!(f, "the entry was damaged ({reason})"),
            Self::Busy => f.write_str("another process was building for too long"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, before, now } = self;
        // Hashes and long lists tell a person nothing.
        match before.len().max(now.len()) {
            ..=40 => write!(f, "{part} changed from `{before}` to `{now}`"),
            _ => write!(f, "{part} changed"),
        }
    }
}

/// The most entries that are looked at.
const MOST: usize = 1000;

/// Compares with the entries of models of the same name.
pub(super) fn reason(folder: &Path, key: &Key) -> Miss {
    let groups = entry::groups(folder).unwrap_or_default();
    let engines = groups.iter().rev().take(MOST).filter_map(|group| group.engine());
    let labels = engines.filter_map(|path| entry::head(path)?.label);
    let same_name = labels.map(|label| entry::parts(&label)).filter(|parts| {
        let same = |part| value(parts, part) == value(&key.parts, part);
        value(parts, super::key::NAME) == Some(key.name()) && (same(GRAPH) || same(WEIGHTS))
    });
    let changes = same_name.map(|parts| changes(&parts, &key.parts));
    match changes.filter(|changes| !changes.is_empty()).min_by_key(Vec::len) {
        Some(changes) => Miss::Changed { changes },
        None => Miss::New,
    }
}

fn changes(before: &[(String, String)], now: &[(String, String)]) -> Vec<Change> {
    let change = |part: &str| {
        let [before, now] = [before, now].map(|parts| value(parts, part).unwrap_or_default());
        let (part, differs) = (part.to_owned(), before != now);
        differs.then(|| Change { part, before: before.to_owned(), now: now.to_owned() })
    };
    let gone = before.iter().filter(|(name, _)| value(now, name).is_none());
    now.iter().chain(gone).filter_map(|(name, _)| change(name)).collect()
}
