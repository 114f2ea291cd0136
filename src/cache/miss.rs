//! Why the cache did not have an engine: by comparison with the entry that is most like the wanted one.

use std::{fmt, path::Path};

use super::entry;
use super::key::{GRAPH, Key, NAME, PRECISION, SOURCE, WEIGHTS, no_weights, value};

/// Why an engine was built.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Miss {
    /// The cache has no engine of this graph, of these weights, or of this model in another precision.
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
    /// Another process took too long to build the engine, and this process stopped waiting.
    Busy,
}

/// A part of a key that changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The name of the part, such as `driver` or `weights`.
    pub part: String,
    /// The value of the most similar entry; empty if the entry does not have the part.
    pub before: String,
    /// The value now.
    pub now: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("no engine of this graph or of these weights is kept"),
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
    let now = key.told();
    let like = labels.map(|label| entry::parts(&label)).filter(|parts| is_like(parts, &now));
    let changes = like.map(|parts| changes(&parts, &now));
    match changes.filter(|changes| !changes.is_empty()).min_by_key(Vec::len) {
        Some(changes) => Miss::Changed { changes },
        None => Miss::New,
    }
}

type Parts = [(String, String)];

fn is_same(part: &str, before: &Parts, now: &Parts) -> bool {
    value(before, part).is_some() && value(before, part) == value(now, part)
}

/// Whether both are of one model: by its graph, by its weights, or as it was before the passes. Models without weights
/// have none in common.
fn is_like(before: &Parts, now: &Parts) -> bool {
    let same = |part| is_same(part, before, now);
    let has_weights = value(now, WEIGHTS) != Some(&no_weights());
    same(NAME) && (same(GRAPH) || (has_weights && same(WEIGHTS)) || same(SOURCE))
}

fn changes(before: &Parts, now: &Parts) -> Vec<Change> {
    // Another precision of one source has another graph and other weights for that reason.
    let of_precision = is_same(SOURCE, before, now) && !is_same(PRECISION, before, now);
    let follows = |part: &str| part == SOURCE || (of_precision && [GRAPH, WEIGHTS].contains(&part));
    let change = |part: &str| {
        let [before, now] = [before, now].map(|parts| value(parts, part).unwrap_or_default());
        let (part, differs) = (part.to_owned(), before != now);
        differs.then(|| Change { part, before: before.to_owned(), now: now.to_owned() })
    };
    let gone = before.iter().filter(|(name, _)| value(now, name).is_none());
    let names = now.iter().chain(gone).map(|(name, _)| name);
    names.filter(|name| !follows(name)).filter_map(|name| change(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(values: [&str; 5]) -> Vec<(String, String)> {
        let names = [NAME, GRAPH, WEIGHTS, PRECISION, SOURCE];
        let pairs = names.into_iter().zip(values).filter(|(_, value)| !value.is_empty());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn changed(before: [&str; 5], now: [&str; 5]) -> Option<Vec<String>> {
        let (before, now) = (parts(before), parts(now));
        is_like(&before, &now)
            .then(|| changes(&before, &now).into_iter().map(|change| change.part).collect())
    }

    #[test]
    fn a_model_is_the_same_by_what_it_has_and_not_by_what_it_lacks() {
        let none = &*no_weights();
        let before = ["main", "g", "w", "its own", "s"];
        let some = |parts: &[&str]| Some(parts.iter().map(|&part| part.to_owned()).collect());
        assert_eq!(changed(before, ["main", "h", "w", "its own", "t"]), some(&[GRAPH]));
        assert_eq!(changed(before, ["main", "g", "v", "its own", "t"]), some(&[WEIGHTS]));
        assert_eq!(changed(before, ["other", "g", "w", "its own", "s"]), None);
        // Weights that are all in the graph are no likeness.
        let small = ["main", "g", none, "its own", "s"];
        assert_eq!(changed(small, ["main", "h", none, "its own", "t"]), None);
        assert_eq!(changed(small, ["main", "g", none, "Fp16", "t"]), some(&[PRECISION]));
        // Another precision is named, and not what follows.
        assert_eq!(changed(before, ["main", "h", "v", "Fp16", "s"]), some(&[PRECISION]));
        assert_eq!(changed(before, ["main", "h", "v", "Fp16", "t"]), None);
        assert_eq!(changed(before, ["main", "h", "v", "its own", "s"]), some(&[GRAPH, WEIGHTS]));
        // Entries of earlier versions tell no source.
        let earlier = ["main", "g", "w", "its own", ""];
        assert_eq!(changed(earlier, ["main", "h", "v", "Fp16", ""]), None);
        assert_eq!(changed(earlier, ["main", "g", "v", "its own", "s"]), some(&[WEIGHTS]));
    }
}
