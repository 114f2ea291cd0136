//! What `#[accelerant::trace]` says at compile time. `macros/tests/refused.rs` makes these mistakes and checks the texts;
//! here they come onto the page.

use std::fs;
use std::path::Path;

use crate::page::Section;

#[test]
fn compiling() {
    let mut section = Section::new("Compiling");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("macros/tests/ui");
    for file in ["expressions", "items", "methods", "modules"] {
        let told = fs::read_to_string(folder.join(file).with_extension("stderr")).unwrap();
        // One line of code may hold two mistakes.
        let mut lines: Vec<(&str, Vec<String>)> = Vec::new();
        for error in told.split("error: ").skip(1) {
            let line = error.lines().find_map(|line| {
                let (number, code) = line.split_once(" | ")?;
                number.trim().parse::<usize>().ok().map(|_| code.trim())
            });
            let line = line.unwrap_or_else(|| panic!("{file}: no code under {error}"));
            let says = format!("error: {}", error.trim_end());
            match lines.last_mut().filter(|(last, _)| *last == line) {
                Some((_, errors)) => errors.push(says),
                None => lines.push((line, vec![says])),
            }
        }
        for (line, errors) in lines {
            let title = format!("`{}`", line.trim_end_matches([';', '{', ' ']));
            section.add(&title, "text", line, &errors.join("\n\n"));
        }
    }
    section.finish();
}
