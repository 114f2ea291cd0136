//! A file of a dependency over the tensor that traces: paths to candle lead to the mirror of
//! candle, those of the crate begin where it is now. Lines stay where they are.

use super::lex::{Word, words};
use super::modules::{Module, Place};

const MIRROR: &str = "::accelerant::candle::mirror";

/// Crates that the mirror has for what is read, which may be none of the reader's dependencies.
const OTHERS: [&str; 8] =
    ["byteorder", "num_traits", "rand", "rayon", "serde", "serde_json", "serde_plain", "tracing"];

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
pub(super) fn rewritten(place: &Place, module: &Module) -> String {
    if module.is_list {
        return module.children.iter().map(|child| format!("pub mod {child};\n")).collect();
    }
    let words = words(&module.text);
    let mut edits = Edits { text: &module.text, done: 0, out: String::new() };
    let mut derive_ends = None;
    let (mut nested, mut imported) = (Nested::default(), vec![false]);
    let import = format!("use {MIRROR}::Methods as _; ");
    for (i, word) in words.iter().enumerate() {
        let before = |back: usize| i.checked_sub(back).map_or("", |i| words[i].text);
        let after = |ahead: usize| words.get(i + ahead).map_or("", |word| word.text);
        nested.see(&words, i);
        imported.truncate(nested.depth() + 1);
        imported.resize(nested.depth() + 1, false);
        // An attribute before the first import would be one of this.
        let follows_item = ["", ";", "}", "{"].contains(&before(1));
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
            // Neither the reader's tests nor its features.
            "test" if before(2) == "cfg" && after(1) == ")" => edits.replace(word, "any()"),
            "feature" if after(1) == "=" && in_cfg(&words, i) => {
                edits.replace(word, "feature_of_dependency");
            }
            _ => {}
        }
        let is_whole = before(1) == "use" && after(1) == ";";
        match word.text {
            "candle" if is_whole => edits.replace(word, &format!("{MIRROR}::core as candle")),
            "candle_nn" if is_whole => edits.replace(word, &format!("{MIRROR}::nn as candle_nn")),
            _ => {}
        }
        let is_head = !["::", ".", "$"].contains(&before(1)) && after(1) == "::";
        if !is_head {
            continue;
        }
        match word.text {
            "candle" | "candle_core" => edits.replace(word, &format!("{MIRROR}::core")),
            "candle_nn" => edits.replace(word, &format!("{MIRROR}::nn")),
            "crate" => match place.len() + nested.depth() {
                0 => edits.replace(word, "self"),
                depth => edits.replace(word, &vec!["super"; depth].join("::")),
            },
            other if OTHERS.contains(&other) => {
                edits.replace(word, &format!("{MIRROR}::others::{other}"));
            }
            _ => {}
        }
    }
    edits.finish()
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

    fn finish(mut self) -> String {
        self.upto(self.text.len());
        self.out
    }
}
