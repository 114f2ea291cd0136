//! A file of a dependency over the tensor that traces: paths to candle lead to the mirror of
//! candle, those of the crate begin where it is now. Lines stay where they are.

use super::edition;
use super::lex::{Word, words};
use super::modules::{Module, Place};

const MIRROR: &str = "::accelerant::candle::mirror";

/// Crates that the mirror has for what is read, which may be none of the reader's dependencies.
const OTHERS: [&str; 9] = [
    "byteorder",
    "fancy_regex",
    "num_traits",
    "rand",
    "rayon",
    "serde",
    "serde_json",
    "serde_plain",
    "tracing",
];

/// Where the mirror has a crate.
fn mirrored(name: &str) -> Option<String> {
    match name {
        "candle" | "candle_core" => Some(format!("{MIRROR}::core")),
        "candle_nn" => Some(format!("{MIRROR}::nn")),
        other if OTHERS.contains(&other) => Some(format!("{MIRROR}::others::{other}")),
        _ => None,
    }
}

/// The inline modules that a place in a file is in.
#[derive(Default)]
pub(super) struct Nested {
    braces: usize,
    /// The braces outside of each module.
    modules: Vec<usize>,
}

impl Nested {
    /// Goes on by a word.
    pub(super) fn see(&mut self, words: &[Word<'_>], i: usize) {
        match words[i].text {
            "{" => {
                if i >= 2 && words[i - 2].text == "mod" {
                    self.modules.push(self.braces);
                }
                self.braces += 1;
            }
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                if self.modules.last() == Some(&self.braces) {
                    self.modules.pop();
                }
            }
            _ => {}
        }
    }

    /// Whether this is the place of an item, in no block but those of modules.
    fn is_item(&self) -> bool {
        self.braces == self.modules.last().map_or(0, |outside| outside + 1)
    }

    /// How many modules it is in.
    pub(super) fn depth(&self) -> usize {
        self.modules.len()
    }
}

/// The text of a module at its place.
pub(super) fn rewritten(place: &Place, module: &Module, edition: &str) -> String {
    if module.is_list {
        let children = module.children.iter().map(|child| format!("pub mod {child};\n"));
        return children.chain(module.macros.iter().cloned()).collect();
    }
    let words = words(&module.text);
    let older = if edition < "2024" { edition::edits(&words) } else { Vec::new() };
    let mut older = older.into_iter().peekable();
    let mut edits = Edits { text: &module.text, done: 0, out: String::new() };
    let (mut derive_ends, mut exported) = (None, None::<(usize, &str)>);
    let (mut nested, mut imported) = (Nested::default(), vec![false]);
    let import = format!("use {MIRROR}::Methods as _; ");
    for (i, word) in words.iter().enumerate() {
        let before = |back: usize| i.checked_sub(back).map_or("", |i| words[i].text);
        let after = |ahead: usize| words.get(i + ahead).map_or("", |word| word.text);
        while let Some(edit) = older.next_if(|edit| edit.at.end <= word.end()) {
            edits.change(edit);
        }
        nested.see(&words, i);
        if exported.is_some_and(|(end, _)| word.start >= end) {
            let (end, name) = exported.take().expect("it is there");
            edits.insert(end, &format!(" pub(crate) use {name};"));
        }
        imported.truncate(nested.depth() + 1);
        imported.resize(nested.depth() + 1, false);
        // An attribute before the first import would be one of this.
        let follows_item =
            ["", ";", "}", "{"].contains(&before(1)) || ends_inner_attribute(&words[..i]);
        if word.text == "use" && follows_item && nested.is_item() && !imported[nested.depth()] {
            imported[nested.depth()] = true;
            edits.insert(word.start, &import);
        }
        match word.text {
            // Children that are left out.
            ";" if before(2) == "mod" && !module.children.iter().any(|c| c == before(1)) => {
                edits.replace(word, " {}");
            }
            "derive" if before(1) == "[" => {
                let end = words[i..].iter().position(|word| word.text == "]").unwrap_or(0);
                let derived = &words[i..i + end];
                if derived.iter().any(|word| ["Deserialize", "Serialize"].contains(&word.text)) {
                    derive_ends = Some(i + end);
                }
            }
            "]" if derive_ends == Some(i) => {
                edits
                    .insert(word.end(), &format!(" #[serde(crate = \"{MIRROR}::others::serde\")]"));
            }
            // A macro of the whole package is one of its root, which `Modules` gives a `use`.
            "macro_export" if before(2) == "#" => {
                edits.replace(word, "allow(unused_macros)");
                exported = macro_end(&words[i..]);
            }
            // Neither the reader's tests nor its features.
            "test" if before(2) == "cfg" && after(1) == ")" => edits.replace(word, "any()"),
            "feature" if after(1) == "=" && in_cfg(&words, i) => {
                edits.replace(word, "feature_of_dependency");
            }
            _ => {}
        }
        // `use candle_nn;` and `use candle_nn as nn;`
        let is_whole = before(1) == "use" && [";", "as"].contains(&after(1));
        let is_head = !["::", ".", "$"].contains(&before(1)) && after(1) == "::";
        match mirrored(word.text) {
            Some(path) if is_head || is_whole && after(1) == "as" => edits.replace(word, &path),
            Some(path) if is_whole => edits.replace(word, &format!("{path} as {}", word.text)),
            _ => {}
        }
        if is_head && word.text == "crate" {
            match place.len() + nested.depth() {
                0 => edits.replace(word, "self"),
                depth => edits.replace(word, &vec!["super"; depth].join("::")),
            }
        }
    }
    if let Some((end, name)) = exported {
        edits.insert(end, &format!(" pub(crate) use {name};"));
    }
    edits.finish() + &module.macros.concat()
}

/// Where a macro's definition ends, and its name.
pub(super) fn macro_end<'a>(words: &[Word<'a>]) -> Option<(usize, &'a str)> {
    let start = words.iter().position(|word| word.text == "macro_rules")?;
    let name = words.get(start + 2)?.text;
    let mut depth = 0usize;
    for word in &words[start + 3..] {
        match word.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((word.end(), name));
        }
    }
    None
}

/// Whether the last word ends `#![…]`.
fn ends_inner_attribute(words: &[Word<'_>]) -> bool {
    let mut depth = 0;
    for (i, word) in words.iter().enumerate().rev() {
        match word.text {
            "]" => depth += 1,
            "[" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let before = |back: usize| i.checked_sub(back).map_or("", |i| words[i].text);
            return word.text == "[" && before(1) == "!" && before(2) == "#";
        }
    }
    false
}

fn in_cfg(words: &[Word<'_>], i: usize) -> bool {
    words[i.saturating_sub(8)..i].iter().any(|word| ["cfg", "cfg_attr"].contains(&word.text))
}

/// A text as it is changed from its begin to its end.
struct Edits<'a> {
    text: &'a str,
    done: usize,
    out: String,
}

impl Edits<'_> {
    fn upto(&mut self, at: usize) {
        if at > self.done {
            self.out.push_str(&self.text[self.done..at]);
            self.done = at;
        }
    }

    fn insert(&mut self, at: usize, text: &str) {
        self.upto(at);
        self.out.push_str(text);
    }

    fn replace(&mut self, word: &Word<'_>, text: &str) {
        self.upto(word.start);
        self.out.push_str(text);
        self.done = word.end();
    }

    fn change(&mut self, edit: edition::Edit) {
        self.insert(edit.at.start, edit.text);
        self.done = self.done.max(edit.at.end);
    }

    fn finish(mut self) -> String {
        self.upto(self.text.len());
        self.out
    }
}
