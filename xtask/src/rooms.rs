//! Which room of `src/` may import which, and which layers within one: read from the table in ARCHITECTURE.md, checked
//! by `tidy`. Knows no room by name.

use anyhow::{Result, bail, ensure};

/// The table: a path that begins with `src/`, and the rooms that what lies there may import.
pub(crate) struct Rooms {
    allowed: Vec<(String, Allowed)>,
    /// A folder, and the folders beside it that it may not import.
    layers: Vec<(String, Vec<String>)>,
}

/// What a row says that has the rule of the room around it.
const AROUND: &str = "as the room around it";

/// What stands behind that, where folders beside the room are out of bounds.
const BUT: &str = ", but not ";

#[derive(Debug, PartialEq)]
enum Allowed {
    All,
    Only(Vec<String>),
}

impl Rooms {
    /// Reads the table's rows; one that says so has the rule of the room around it.
    pub(crate) fn of(architecture: &str) -> Result<Self> {
        let (mut rooms, mut layers) = (Vec::new(), Vec::new());
        for line in architecture.lines().filter(|line| line.starts_with("| `src/")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, paths, _, imports, _] = cells[..] else {
                bail!("a row of the rooms has other than three columns: {line}")
            };
            let path = paths.split('`').nth(1).unwrap_or_default().to_owned();
            let names = |list: &str| list.split(',').map(|name| name.trim().to_owned()).collect();
            if let Some(rest) = imports.strip_prefix(AROUND) {
                match rest.strip_prefix(BUT) {
                    Some(list) => layers.push((path, names(list))),
                    None => ensure!(rest.is_empty(), "the row of {paths} says `{imports}`"),
                }
                continue;
            }
            let allowed = match imports {
                "" => bail!("the row of {paths} says nothing of imports"),
                "all" => Allowed::All,
                "nothing" => Allowed::Only(Vec::new()),
                list => Allowed::Only(names(list)),
            };
            rooms.push((path, allowed));
        }
        ensure!(!rooms.is_empty(), "ARCHITECTURE.md has no table of rooms");
        Ok(Self { allowed: rooms, layers })
    }

    /// What a file imports and may not, a line each.
    pub(crate) fn breaches(&self, path: &str, text: &str) -> Vec<String> {
        let mut found = self.crossed(path, text);
        let around = self.allowed.iter().filter(|(room, _)| path.starts_with(room.as_str()));
        let Some((_, Allowed::Only(allowed))) = around.max_by_key(|(room, _)| room.len()) else {
            return found;
        };
        let own = room_of(path);
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for name in imports(code) {
                let is_room = self.allowed.iter().any(|(room, _)| room_of(room) == name);
                if is_room && name != own && !allowed.iter().any(|allowed| allowed == name) {
                    found.push(format!(
                        "{path}:{}: `{own}` may not import `{name}` (the table in ARCHITECTURE.md)",
                        number + 1
                    ));
                }
            }
        }
        found
    }

    /// What a file imports of a layer above its own.
    fn crossed(&self, path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (folder, barred) in self.layers.iter().filter(|(folder, _)| path.starts_with(folder)) {
            let mut names = folder.trim_end_matches('/').rsplit('/');
            let (own, room) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for name in barred {
                    if [room, "super"].iter().any(|before| is_path(code, before, name)) {
                        found.push(format!(
                            "{path}:{}: `{own}` may not import `{name}` of `{room}` (the table in ARCHITECTURE.md)",
                            number + 1
                        ));
                    }
                }
            }
        }
        found
    }
}

/// Whether `code` names `before::name`.
fn is_path(code: &str, before: &str, name: &str) -> bool {
    let path = format!("{before}::{name}");
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&path).any(|(at, _)| {
        !code[..at].ends_with(is_word) && !code[at + path.len()..].starts_with(is_word)
    })
}

/// The outermost room that a path is in.
fn room_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split(['/', '.']).next().unwrap_or_default()
}

/// The names that follow `crate::`; what a macro writes as `$crate::` is of no room.
fn imports(code: &str) -> impl Iterator<Item = &str> {
    let places = code.match_indices("crate::").filter(|(at, _)| !code[..*at].ends_with('$'));
    places.map(|(at, path)| {
        let rest = &code[at + path.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
| room | what lives there | may import |
|---|---|---|
| `src/lib.rs` | docs | all |
| `src/error.rs` | errors | nothing |
| `src/export/` | models | error |
| `src/export/graph/` | graphs | as the room around it |
| `src/runtime/` | modules | export, error |
| `src/runtime/serving/` | queues | error |
| `src/export/low/` | borders | as the room around it, but not high, higher |
";

    #[test]
    fn what_a_room_may_not_import_is_found() {
        let rooms = Rooms::of(TABLE).unwrap();
        for (path, line, expected) in [
            ("src/error.rs", "use crate::export::Graph;", 1),
            ("src/export/graph/mod.rs", "use crate::error::Error;", 0),
            ("src/export/graph/mod.rs", "use crate::export::burn::Net;", 0),
            ("src/export/graph/mod.rs", "use crate::runtime::Module;", 1),
            ("src/export/graph/mod.rs", "    let x: crate::runtime::Module = 1;", 1),
            ("src/export/mod.rs", "/// [it](crate::runtime::Module)", 0),
            ("src/export/mod.rs", "use crate::Result;", 0),
            ("src/export/mod.rs", "$crate::runtime::run()", 0),
            ("src/runtime/module.rs", "use crate::export::Graph;", 0),
            ("src/runtime/serving/mod.rs", "use crate::export::Graph;", 1),
            ("src/lib.rs", "pub use crate::runtime::Module;", 0),
            ("tests/a.rs", "use crate::runtime::Module;", 0),
            ("src/export/low/a.rs", "use crate::export::high::Thing;", 1),
            ("src/export/low/a.rs", "use super::super::higher;", 1),
            ("src/export/low/a.rs", "use crate::export::highest::Thing;", 0),
            ("src/export/low/a.rs", "/// [it](crate::export::high::Thing)", 0),
            ("src/export/low/a.rs", "use crate::runtime::Module;", 1),
            ("src/export/high/a.rs", "use crate::export::low::Thing;", 0),
        ] {
            assert_eq!(rooms.breaches(path, line).len(), expected, "{path}: {line}");
        }
        assert!(Rooms::of("no table").is_err());
        assert!(Rooms::of("| `src/a.rs` | a | |").is_err());
        assert!(Rooms::of("| `src/a.rs` | a | as the room around it, and more |").is_err());
    }
}
