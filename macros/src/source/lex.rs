//! Rust source as words with their places: enough to change paths in a text and leave its lines as
//! they are, for which a compiler's spans tell no places.

/// A word, number or sign, with the place of its first byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Word<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The words of a text without its comments and documentation; `::` is one, a literal is one.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let (bytes, mut words, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        let len = if let Some(len) = comment(rest).or_else(|| space(rest)) {
            at += len;
            continue;
        } else if rest.starts_with("::") {
            2
        } else {
            literal(rest).or_else(|| identifier(rest)).unwrap_or_else(|| first(rest))
        };
        words.push(Word { text: &rest[..len], start: at });
        at += len;
    }
    words
}

fn first(rest: &str) -> usize {
    rest.chars().next().map_or(1, char::len_utf8)
}

fn space(rest: &str) -> Option<usize> {
    let len = rest.len() - rest.trim_start().len();
    (len > 0).then_some(len)
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        match () {
            () if tail.starts_with(b"/*") => (depth, at) = (depth + 1, at + 2),
            () if tail.starts_with(b"*/") => (depth, at) = (depth - 1, at + 2),
            () => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// A string, character, number or lifetime.
fn literal(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|tail| {
            let hashes = tail.len() - tail.trim_start_matches('#').len();
            let raw = prefix.ends_with('r');
            (hashes == 0 || raw) && tail[hashes..].starts_with('"')
        })
    });
    if let Some(prefix) = prefix {
        let tail = &rest[prefix.len()..];
        let hashes = tail.len() - tail.trim_start_matches('#').len();
        let open = prefix.len() + hashes + 1;
        if prefix.ends_with('r') {
            let close = format!("\"{}", "#".repeat(hashes));
            return Some(rest[open..].find(&close).map_or(rest.len(), |i| open + i + close.len()));
        }
        return Some(quoted(bytes, open, b'"'));
    }
    let open = usize::from(rest.starts_with("b'"));
    if bytes.get(open) == Some(&b'\'') {
        let inside = &rest[open + 1..];
        let next = first(inside);
        if inside.starts_with('\\') || inside[next..].starts_with('\'') {
            return Some(quoted(bytes, open + 1, b'\''));
        }
        return Some(1 + identifier(inside).unwrap_or(0));
    }
    if bytes[0].is_ascii_digit() {
        let mut end = word(rest);
        // `1.5`, but neither `1..2` nor `1.max(2)`.
        let tail = &bytes[end..];
        if tail.first() == Some(&b'.') && tail.get(1).is_some_and(u8::is_ascii_digit) {
            end += 1 + word(&rest[end + 1..]);
        }
        return Some(end);
    }
    None
}

fn quoted(bytes: &[u8], mut at: usize, close: u8) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == close => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn word(rest: &str) -> usize {
    rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
}

fn identifier(rest: &str) -> Option<usize> {
    let raw = if rest.starts_with("r#") { 2 } else { 0 };
    let len = word(&rest[raw..]);
    (len > 0).then_some(raw + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        words(text).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn comments_strings_and_lifetimes_hide_no_words_and_show_none() {
        let text = r##"
            //! candle::A
            /* candle /* nested */ */ use candle::{B as r#C};
            const D: &'static str = "candle::\"E"; let c = '\''; let f = 'x'; b'y';
            r#"candle " "#; 1.5e3; 1..2; 0.max(1)
        "##;
        let expected = [
            "use",
            "candle",
            "::",
            "{",
            "B",
            "as",
            "r#C",
            "}",
            ";",
            "const",
            "D",
            ":",
            "&",
            "'static",
            "str",
            "=",
            "\"candle::\\\"E\"",
            ";",
            "let",
            "c",
            "=",
            "'\\''",
            ";",
            "let",
            "f",
            "=",
            "'x'",
            ";",
            "b'y'",
            ";",
            "r#\"candle \" \"#",
            ";",
            "1.5e3",
            ";",
            "1",
            ".",
            ".",
            "2",
            ";",
            "0",
            ".",
            "max",
            "(",
            "1",
            ")",
        ];
        assert_eq!(texts(text), expected);
    }
}
