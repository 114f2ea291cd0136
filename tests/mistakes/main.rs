//! Typical mistakes, and the text that each gives. `docs/mistakes.md` is made from these tests and from those of the
//! command and the server; `ACCELERANT_RECORD=write` writes the page anew. A text says what is wrong, where, and what
//! to do.

#![cfg(all(feature = "burn", feature = "candle", feature = "tract"))]
#![allow(clippy::reversed_empty_ranges, reason = "it is one of the mistakes")]

mod compiling;
mod files;
mod page;
#[path = "burn.rs"]
mod with_burn;
#[path = "candle.rs"]
mod with_candle;

/// A link leads to one of them.
#[test]
fn each_title_stands_once() {
    let page = std::fs::read_to_string(page::page()).unwrap();
    let mut titles: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
    titles.sort_unstable();
    let twice: Vec<_> = titles.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn sixty_mistakes_have_texts() {
    let page = std::fs::read_to_string(page::page()).unwrap();
    let count = page.lines().filter(|line| line.starts_with("### ")).count();
    assert!(count >= 60, "{count} mistakes");
}
