//! The modules of a crate that a few of them need: those that their paths lead to, and the children
//! of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::lex::{Word, words};

/// The path of a module below the crate's root, outermost first; empty for the root.
pub(super) type Place = Vec<String>;

/// The file of a module.
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) text: String,
    /// The children that are there.
    pub(super) children: Vec<String>,
    /// Nothing but the declarations of other modules.
    pub(super) is_list: bool,
    /// Imports of the macros that are reached by way of the root; elsewhere none.
    pub(super) macros: Vec<String>,
}

/// The modules of a crate by their places.
pub(super) struct Modules {
    root: PathBuf,
    pub(super) all: BTreeMap<Place, Module>,
}

impl Modules {
    /// Those that are needed for the ones at these places.
    pub(super) fn of(root: &Path, places: &[Place]) -> Result<Self, String> {
        let mut modules = Self { root: root.to_owned(), all: BTreeMap::new() };
        for place in places {
            let found = modules.need(place)?;
            if found != place.len() {
                let (parent, name) = (place[..found].join("::"), &place[found]);
                return Err(format!("there is no module `{name}` in `{parent}`"));
            }
            modules.need_list(place)?;
        }
        Ok(modules)
    }

    /// Reads what is in a module that is nothing but a list of others.
    fn need_list(&mut self, place: &[String]) -> Result<(), String> {
        if !self.all[place].is_list {
            return Ok(());
        }
        let text = self.all[place].text.clone();
        for child in declared(&words(&text)).filter(|name| !name.starts_with("quantized")) {
            let inside = [place, &[child.to_owned()]].concat();
            self.need(&inside)?;
            self.need_list(&inside)?;
        }
        Ok(())
    }

    /// Reads the modules on a path, as far as it leads through modules; returns how far.
    fn need(&mut self, path: &[String]) -> Result<usize, String> {
        let mut depth = 0;
        self.load(&[])?;
        while depth < path.len() {
            let place = path[..=depth].to_vec();
            if self.file_of(&place).is_none() {
                break;
            }
            let parent = self.all.get_mut(&place[..depth]).expect("it was read before");
            if !parent.children.contains(&place[depth]) {
                parent.children.push(place[depth].clone());
            }
            self.load(&place)?;
            depth += 1;
        }
        Ok(depth)
    }

    /// Where a module is, if its parent declares it.
    fn file_of(&self, place: &[String]) -> Option<PathBuf> {
        let Some((name, parent)) = place.split_last() else { return Some(self.root.clone()) };
        let parent = self.all.get(parent)?;
        if !declared(&words(&parent.text)).any(|child| child == name) {
            return None;
        }
        let folder = parent.file.parent()?;
        let is_root = |name: &str| parent.file.file_name().is_some_and(|file| file == name);
        let folder = match is_root("mod.rs") || parent.file == self.root {
            true => folder.to_owned(),
            false => folder.join(parent.file.file_stem()?),
        };
        let files = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
        files.into_iter().find(|file| file.is_file())
    }

    fn load(&mut self, place: &[String]) -> Result<(), String> {
        if self.all.contains_key(place) {
            return Ok(());
        }
        let file = self.file_of(place).expect("it is known to be there");
        let text =
            std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let all = words(&text);
        let is_list = is_list(&all);
        let children: Vec<String> = match is_list {
            true => Vec::new(),
            // Quantized weights have no form in ONNX.
            false => declared(&all)
                .filter(|name| !name.starts_with("quantized"))
                .map(str::to_owned)
                .collect(),
        };
        let paths = paths(&all, place);
        let (text, macros) = (text.clone(), Vec::new());
        let module = Module { file, text, children: children.clone(), is_list, macros };
        self.all.insert(place.to_vec(), module);
        for child in children {
            self.need(&[place, &[child]].concat())?;
        }
        for path in paths {
            if self.need(&path)? == 0
                && let [name] = &path[..]
                && !self.all[&Vec::new()].text.contains(&format!("macro_rules! {name} "))
            {
                self.need_macro(name)?;
            }
        }
        Ok(())
    }

    /// Reads the module that gives the package a macro by `#[macro_export]`, if there is one: such a
    /// macro's path is `crate::name`, wherever it is.
    fn need_macro(&mut self, name: &str) -> Result<(), String> {
        let source = self.root.parent().unwrap_or(Path::new("")).to_owned();
        let Some(file) = defines(&source, name) else { return Ok(()) };
        let inside = file.with_extension("");
        let inside = inside.strip_prefix(&source).expect("it was found there");
        let mut place: Place =
            inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        place.pop_if(|last| last == "mod");
        let import = format!("pub(crate) use {}::{name};\n", place.join("::"));
        let root = self.all.get_mut(&Vec::new()).expect("it was read before");
        if !root.macros.contains(&import) {
            root.macros.push(import);
            self.need(&place)?;
        }
        Ok(())
    }
}

/// The file below a folder that defines a macro for the package.
fn defines(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() {
            return defines(&path, name);
        }
        let text = std::fs::read_to_string(&path).ok()?;
        let all = words(&text);
        let is_it = |i: usize| {
            all[i].text == "macro_export"
                && super::rewrite::macro_end(&all[i..]).is_some_and(|(_, found)| found == name)
        };
        text.contains("macro_export").then(|| (0..all.len()).any(is_it))?.then_some(path)
    })
}

/// The modules that a file declares, which are in files of their own.
fn declared<'a>(words: &[Word<'a>]) -> impl Iterator<Item = &'a str> {
    words
        .windows(3)
        .filter(|three| three[0].text == "mod" && three[2].text == ";")
        .map(|three| three[1].text)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Whether there is nothing but `pub mod …;`.
fn is_list(words: &[Word<'_>]) -> bool {
    let mut statements = words.split(|word| word.text == ";").filter(|words| !words.is_empty());
    statements.all(|words| matches!(words, [.., keyword, _] if keyword.text == "mod"))
}

/// Where the paths in a file lead that begin with `crate` or `super`.
fn paths(words: &[Word<'_>], place: &[String]) -> Vec<Place> {
    let mut found = Vec::new();
    let mut nested = super::rewrite::Nested::default();
    for (i, word) in words.iter().enumerate() {
        nested.see(words, i);
        let is_head = i == 0 || !["::", "."].contains(&words[i - 1].text);
        if !is_head || words.get(i + 1).is_none_or(|next| next.text != "::") {
            continue;
        }
        match word.text {
            "crate" => {
                tree(&words[i + 2..], &[], &mut found);
            }
            "super" => {
                let ups = words[i..].chunks(2).take_while(|pair| pair[0].text == "super").count();
                let inside = nested.depth();
                let Some(depth) = (place.len() + inside).checked_sub(ups) else { continue };
                if depth <= place.len() {
                    tree(&words[i + 2 * ups..], &place[..depth], &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// The paths of a tree after `use base::`, which a plain path is too; returns the words it has.
fn tree(words: &[Word<'_>], base: &[String], found: &mut Vec<Place>) -> usize {
    let Some(first) = words.first() else { return 0 };
    if first.text == "{" {
        let mut at = 1;
        while at < words.len() && words[at].text != "}" {
            at += match words[at].text {
                "," => 1,
                _ => tree(&words[at..], base, found).max(1),
            };
        }
        return at + 1;
    }
    let path = [base, &[first.text.to_owned()]].concat();
    if words.get(1).is_some_and(|next| next.text == "::") {
        return 2 + tree(&words[2..], &path, found);
    }
    found.push(path);
    match words.get(1).map(|word| word.text) {
        Some("as") => 3,
        _ => 1,
    }
}
