//! What means something else, or nothing, in the edition of 2024 that a crate is compiled in which
//! reads a package of an older one.

use std::ops::Range;

use super::lex::Word;

/// A change of a text.
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) text: &'static str,
}

/// The changes that let a text of an older edition keep its meaning in a newer one.
pub(super) fn edits(words: &[Word<'_>]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let rest = &words[i..];
        match word.text {
            "fn" => edits.extend(captures_nothing(rest)),
            "let" => edits.extend(binds_by_itself(rest)),
            "|" if takes_references(words, i) => edits.extend(is_reference(rest)),
            _ => {}
        }
    }
    edits.sort_by_key(|edit| edit.at.start);
    edits
}

/// A function that gives an `impl Trait`, which captured no lifetime: `impl Trait + use<>`.
fn captures_nothing(words: &[Word<'_>]) -> Option<Edit> {
    // With parameters of types it would be a list of these.
    if words.get(2)?.text != "(" {
        return None;
    }
    let body = words.iter().position(|word| ["{", ";"].contains(&word.text))?;
    let arrow =
        words[..body].windows(2).rposition(|two| two[0].text == "-" && two[1].text == ">")?;
    let output = &words[arrow + 2..body];
    let start = output.iter().position(|word| word.text == "impl")?;
    if output.iter().any(|word| word.text.starts_with('\'')) {
        return None;
    }
    let len = output[start..].iter().position(|word| [">", ","].contains(&word.text));
    let last = output[..len.map_or(output.len(), |len| start + len)].last()?;
    Some(Edit { at: last.end()..last.end(), text: " + use<>" })
}

/// `let (Some(ref a), …) = (&x, …)`: what a reference is matched with binds by reference anyhow.
fn binds_by_itself<'a>(words: &[Word<'a>]) -> Vec<Edit> {
    let Some(equals) = words.iter().position(|word| ["=", ";", "{"].contains(&word.text)) else {
        return Vec::new();
    };
    if words[equals].text != "=" {
        return Vec::new();
    }
    let end = words.iter().position(|word| ["{", ";"].contains(&word.text)).unwrap_or(words.len());
    let (patterns, values) = (parts(&words[1..equals]), parts(&words[equals + 1..end]));
    if patterns.len() != values.len() {
        return Vec::new();
    }
    let references = patterns.iter().zip(&values).filter(|(pattern, value)| {
        value.first().is_some_and(|word| word.text == "&")
            && pattern.first().is_some_and(|word| word.text != "&" && word.text != "ref")
    });
    let bound = references.flat_map(|(pattern, _)| pattern.iter().filter(|w| w.text == "ref"));
    bound.map(|word| Edit { at: word.start..word.end(), text: "" }).collect()
}

/// The parts of a tuple; of anything else, itself.
fn parts<'w, 'a>(words: &'w [Word<'a>]) -> Vec<&'w [Word<'a>]> {
    let is_tuple = matches!((words.first(), words.last()), (Some(first), Some(last))
        if first.text == "(" && last.text == ")");
    if !is_tuple {
        return vec![words];
    }
    let (mut depth, mut start, mut parts) = (0, 1, Vec::new());
    for (i, word) in words.iter().enumerate() {
        match word.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 1 && word.text == "," || depth == 0 {
            if i > start {
                parts.push(&words[start..i]);
            }
            start = i + 1;
        }
    }
    parts
}

/// Whether a closure begins here whose argument is a reference to an item.
fn takes_references(words: &[Word<'_>], i: usize) -> bool {
    let methods = ["filter", "find", "max_by_key", "min_by_key", "skip_while", "take_while"];
    let before = |back: usize| i.checked_sub(back).map_or("", |i| words[i].text);
    before(1) == "(" && before(3) == "." && methods.contains(&before(2))
}

/// `|(_, &a)|` of a reference is `|&(_, &a)|`, where all that is bound is behind another.
fn is_reference(words: &[Word<'_>]) -> Option<Edit> {
    let end = 1 + words[1..].iter().position(|word| word.text == "|")?;
    let pattern = parts(&words[1..end]);
    let refers = |part: &&[Word<'_>]| part[0].text == "&";
    let fits = |part: &&[Word<'_>]| refers(part) || part.iter().all(|word| word.text == "_");
    let is_it = words[1].text == "(" && pattern.iter().any(refers) && pattern.iter().all(fits);
    is_it.then(|| Edit { at: words[1].start..words[1].start, text: "&" })
}

#[cfg(test)]
mod tests {
    use super::super::lex::words;

    fn changed(text: &str) -> String {
        let (mut out, mut done) = (String::new(), 0);
        for edit in super::edits(&words(text)) {
            out.push_str(&text[done..edit.at.start]);
            out.push_str(edit.text);
            done = edit.at.end;
        }
        out + &text[done..]
    }

    #[test]
    fn what_an_edition_changed_keeps_its_meaning() {
        for (text, expected) in [
            ("fn f(x: &u8) -> Result<impl A> {}", "fn f(x: &u8) -> Result<impl A + use<>> {}"),
            ("fn f(x: u8) -> impl A + B {}", "fn f(x: u8) -> impl A + B + use<> {}"),
            ("fn f<'a>(x: &'a u8) -> impl A + 'a {}", "fn f<'a>(x: &'a u8) -> impl A + 'a {}"),
            ("fn f(x: impl A) -> u8 {}", "fn f(x: impl A) -> u8 {}"),
            (
                "if let (Some(ref a), B(ref b)) = (x, &y) {}",
                "if let (Some(ref a), B( b)) = (x, &y) {}",
            ),
            ("if let Some(ref a) = &x {}", "if let Some( a) = &x {}"),
            ("let ref a = &x;", "let ref a = &x;"),
            ("x.min_by_key(|(_, &a)| a)", "x.min_by_key(|&(_, &a)| a)"),
            ("x.map(|(_, &a)| a)", "x.map(|(_, &a)| a)"),
            ("x.filter(|(b, &a)| a)", "x.filter(|(b, &a)| a)"),
        ] {
            assert_eq!(changed(text), expected);
        }
    }
}
