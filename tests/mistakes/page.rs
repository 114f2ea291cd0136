//! A section of `docs/mistakes.md`: what each mistake says, compared with the page or written into the page. The command
//! and the server have sections too, which their own tests make.

#![allow(dead_code, unreachable_pub)]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

/// With this variable set to `write`, the sections are written instead of compared.
pub const WRITE: &str = "ACCELERANT_RECORD";

/// Sections of one process are written one after the other.
static WRITING: Mutex<()> = Mutex::new(());

pub struct Section {
    title: &'static str,
    text: String,
}

impl Section {
    pub fn new(title: &'static str) -> Self {
        Self { title, text: String::new() }
    }

    /// A mistake: what somebody did, as code or as a command, and what that says.
    pub fn add(&mut self, title: &str, language: &str, did: &str, says: &str) {
        let (did, says) = (did.trim(), says.trim());
        let _ = write!(
            self.text,
            "\n### {title}\n\n```{language}\n{did}\n```\n\n```text\n{says}\n```\n"
        );
    }

    /// A call that must fail.
    pub fn call<T, E: Into<Box<dyn Error>>>(
        &mut self,
        title: &str,
        did: &str,
        result: Result<T, E>,
    ) {
        let Err(error) = result else { panic!("`{did}` is no mistake") };
        self.add(title, "rust,ignore", did, &chain(&*error.into()));
    }

    /// Compares the section with the page, or writes the section.
    pub fn finish(self) {
        let guard = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = page();
        let page = fs::read_to_string(&path).unwrap_or_default();
        let head = format!("\n## {}\n", self.title);
        let start = page.find(&head).unwrap_or_else(|| panic!("the page lacks `{}`", head.trim()));
        let from = start + head.len();
        let to = page[from..].find("\n## ").map_or(page.len(), |next| from + next);
        if std::env::var_os(WRITE).is_some_and(|value| value == "write") {
            let written = format!("{}{}{}", &page[..from], self.text, &page[to..]);
            fs::write(&path, written).unwrap();
        } else {
            let (has, says) = (&page[from..to], self.text.as_str());
            let differ = has.lines().zip(says.lines()).find(|(has, says)| has != says);
            drop(guard);
            assert!(
                has == says,
                "docs/mistakes.md says something else under `{}`, first at {differ:?}; {WRITE}=write writes it anew",
                self.title
            );
        }
    }
}

pub fn page() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = root.ancestors().find(|folder| folder.join("docs/guide").is_dir());
    root.expect("the repository is around its crates").join("docs/mistakes.md")
}

/// The text of an error with its causes, without the stack that some machines are asked for.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let own = error.to_string();
        let own = own.lines().take_while(|line| !line.trim_start().starts_with("0: "));
        let own = own.collect::<Vec<_>>().join("\n");
        // Some errors say their cause themselves.
        if !text.contains(&own) {
            let _ = write!(text, "{}{own}", if text.is_empty() { "" } else { "\ncaused by: " });
        }
        next = error.source();
    }
    text
}

/// A call, and what it says.
#[allow(unused_macros)]
macro_rules! mistake {
    ($section:expr, $title:literal, $call:expr) => {
        $section.call($title, stringify!($call), $call)
    };
}
#[allow(unused_imports)]
pub(crate) use mistake;
