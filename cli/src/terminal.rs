//! Text on its way to a terminal. Names come from files that nobody vouches for: what would move the cursor, change colors,
//! turn the direction of text or add a line is written as `\u{1b}`. JSON has escapes of its own.

use std::borrow::Cow;

/// Text of several lines.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && is_unseen(c))
}

/// A name within a line.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    escaped(name, is_unseen)
}

/// A message, whose later lines cannot be taken for other messages.
pub(crate) fn message(message: &str) -> String {
    text(message.trim_end()).replace('\n', "\n  ")
}

/// Whether a name has characters that are not printed as they are.
pub(crate) fn is_odd(name: &str) -> bool {
    name.chars().any(is_unseen)
}

fn escaped(text: &str, is_odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_odd) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_odd(c) {
            true => escaped.extend(c.escape_unicode()),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Control characters, those that turn the direction of text, other ends of lines, and those without a width.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_seen_and_all_else_stays() {
        let plain = "Größe 数据 🙂 a/b:0\n\tx² `y`";
        assert!(matches!(text(plain), Cow::Borrowed(same) if same == plain));
        let odd = "a\u{1b}[2Jb\rc\u{7}\u{9b}1m\u{202e}gpj\u{2066}\u{200b}\u{e0041}\0\u{7f}d\ne";
        let seen = text(odd);
        assert_eq!(
            seen,
            "a\\u{1b}[2Jb\\u{d}c\\u{7}\\u{9b}1m\\u{202e}gpj\\u{2066}\\u{200b}\\u{e0041}\\u{0}\\u{7f}d\ne"
        );
        assert_eq!(name("a\nerror: b\t"), "a\\u{a}error: b\\u{9}");
        assert_eq!(message("a\nhint: b\n"), "a\n  hint: b");
    }
}
