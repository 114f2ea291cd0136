//! Tokens to text as they come: what later tokens cannot change any more. Knows no stop strings.

/// What decoders write for bytes that are no character, and for a character that is not whole yet.
const SIGN: char = '\u{FFFD}';
/// A character of UTF-8 that is not whole has so many bytes at most. Some decoders write a sign for each of them.
const MOST_UNFINISHED: usize = 3;
/// With more tokens than this, those whose text was given are looked for, and left out.
const WINDOW: usize = 16;
/// So many tokens are kept of a longer window at most.
const KEPT: usize = 8;

/// The tokens of a text, and how far their text was given.
///
/// Some tokens are parts of characters, and some look otherwise at the start of a text: tokens before them are decoded as
/// well, as few as will do.
pub(super) struct Spelled {
    tokens: Vec<u32>,
    /// Where the tokens begin that are decoded, and where those begin whose text was not given when they came.
    from: usize,
    new: usize,
    /// What was given of the text of the tokens that are decoded.
    given: String,
    /// So many tokens are decoded before some of them are left out.
    most: usize,
}

impl Spelled {
    pub(super) fn new() -> Self {
        Self { tokens: Vec::new(), from: 0, new: 0, given: String::new(), most: WINDOW }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// What the tokens add to the text that was given: all of it if no token follows, and else what none can change.
    /// Signs at the end are kept back while a character may come of the bytes behind them.
    pub(super) fn more<E>(
        &mut self,
        decode: &mut impl FnMut(&[u32]) -> Result<String, E>,
        last: bool,
    ) -> Result<String, E> {
        let mut all = decode(&self.tokens[self.from..])?;
        if !all.starts_with(&self.given) && self.from < self.new {
            // The tokens before spell something else with those behind them.
            let before = decode(&self.tokens[self.from..self.new])?;
            self.given = self.given.get(before.len()..).unwrap_or_default().to_owned();
            self.from = self.new;
            all = decode(&self.tokens[self.from..])?;
        }
        let most = if last { 0 } else { MOST_UNFINISHED };
        let unfinished = all.chars().rev().take(most).take_while(|c| *c == SIGN).count();
        let certain = &all[..all.len() - unfinished * SIGN.len_utf8()];
        let (more, is_other) = match certain.strip_prefix(self.given.as_str()) {
            Some(more) => (more.to_owned(), false),
            // What was given stays, and stands for as many characters.
            None => (certain.chars().skip(self.given.chars().count()).collect(), true),
        };
        self.given += &more;
        if unfinished == 0 && (is_other || !more.is_empty()) {
            (self.from, self.new) = (self.new, self.tokens.len());
            self.given = decode(&self.tokens[self.from..])?;
            self.most = WINDOW;
        } else if self.tokens.len() - self.from > self.most {
            self.narrow(&all, decode)?;
        }
        Ok(more)
    }

    /// Leaves out tokens whose text was given, where the others spell the same without them.
    fn narrow<E>(
        &mut self,
        all: &str,
        decode: &mut impl FnMut(&[u32]) -> Result<String, E>,
    ) -> Result<(), E> {
        let len = self.tokens.len();
        for kept in 1..=KEPT.min(len - self.from) {
            let at = len - kept;
            let (before, behind) =
                (decode(&self.tokens[self.from..at])?, decode(&self.tokens[at..])?);
            // What stands behind must not be a rest of a character that begins before it.
            let is_apart = !behind.is_empty() && all.strip_prefix(&*before) == Some(&*behind);
            if let Some(given) = self.given.strip_prefix(&*before).filter(|_| is_apart) {
                self.given = given.to_owned();
                (self.from, self.new, self.most) = (at, at, WINDOW);
                return Ok(());
            }
        }
        self.most *= 2;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    type Decoded = Result<String, Infallible>;

    /// As decoders of bytes do it.
    fn lossy(tokens: &[u32]) -> Decoded {
        let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As decoders do it whose bytes are the exception: a run of them is text as a whole, or a sign for each byte.
    fn fallback(tokens: &[u32]) -> Decoded {
        let mut text = String::new();
        for run in tokens.chunk_by(|a, b| (*a < 128) == (*b < 128)) {
            let bytes: Vec<u8> = run.iter().map(|&token| token as u8).collect();
            match String::from_utf8(bytes) {
                Ok(run) => text += &run,
                Err(_) => text.extend(run.iter().map(|_| SIGN)),
            }
        }
        Ok(text)
    }

    /// The pieces of a text, one for each token and one for the end, and the most tokens that were decoded at once.
    fn pieces(tokens: &[u32], decode: fn(&[u32]) -> Decoded) -> (Vec<String>, usize) {
        let (mut spelled, mut most) = (Spelled::new(), 0);
        let mut decode = |tokens: &[u32]| {
            most = most.max(tokens.len());
            decode(tokens)
        };
        let mut pieces = Vec::new();
        for token in tokens {
            spelled.push(*token);
            pieces.push(spelled.more(&mut decode, false).unwrap_or_else(|e| match e {}));
        }
        pieces.push(spelled.more(&mut decode, true).unwrap_or_else(|e| match e {}));
        (pieces, most)
    }

    /// Bytes of all kinds: of characters of each length, whole and cut, and of none.
    fn bytes(seed: u64, count: usize) -> Vec<u32> {
        let parts: [&[u8]; 12] = [
            b"a",
            b" word",
            "é".as_bytes(),
            "€".as_bytes(),
            "😀".as_bytes(),
            &[0xFF],
            &[0x80],
            &[0xF0, 0x9F],
            &[0xE2, 0x82],
            &[0xC3],
            &[0xED, 0xA0, 0x80],
            "\u{FFFD}".as_bytes(),
        ];
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let drawn = (0..count).flat_map(|_| parts[next() % parts.len()].iter().copied());
        drawn.map(u32::from).collect()
    }

    #[test]
    fn pieces_of_any_bytes_are_the_whole_text() {
        for seed in 0..2000 {
            let tokens = bytes(seed, 1 + seed as usize % 40);
            let (pieces, most) = pieces(&tokens, lossy);
            assert_eq!(pieces.concat(), lossy(&tokens).unwrap_or_default(), "{tokens:?}");
            assert!(most <= 4 * WINDOW, "{most} of {tokens:?}");
        }
    }

    /// A run that is wrong from its end on has shown its characters before: they stay.
    #[test]
    fn pieces_of_a_fallback_to_bytes_lose_nothing() {
        for seed in 0..2000 {
            let tokens = bytes(seed, 1 + seed as usize % 40);
            let all = pieces(&tokens, fallback).0.concat();
            let letters = |text: &str| text.chars().filter(char::is_ascii).collect::<String>();
            assert_eq!(
                letters(&all),
                letters(&fallback(&tokens).unwrap_or_default()),
                "{tokens:?}"
            );
        }
        let of =
            |bytes: &[u8]| pieces(&bytes.iter().map(|&b| b.into()).collect::<Vec<_>>(), fallback).0;
        assert_eq!(of("a€😀é".as_bytes()).concat(), "a€😀é");
        assert_eq!(
            of(&[&[0xFF; 3][..], "é b".as_bytes()].concat()).concat(),
            "\u{FFFD}".repeat(5) + " b"
        );
        assert_eq!(
            of(&["é".as_bytes(), &[0xFF; 3], b" b"].concat()).concat(),
            "é\u{FFFD}\u{FFFD}\u{FFFD} b"
        );
    }

    #[test]
    fn bytes_that_are_no_characters_come_as_they_are_made() {
        for decode in [lossy, fallback] {
            for byte in [0xFF, 0x80, 0xC3] {
                let (pieces, most) = pieces(&[byte; 1000], decode);
                let given = pieces[..100].concat().chars().count();
                assert!((97..=100).contains(&given), "{given}");
                assert_eq!(pieces.concat(), "\u{FFFD}".repeat(1000));
                assert!(pieces[1000].chars().count() <= MOST_UNFINISHED);
                assert!(most <= 2 * WINDOW, "{most}");
            }
        }
    }

    #[test]
    fn a_character_is_given_once_it_is_whole() {
        let tokens: Vec<u32> = "a€b".bytes().map(u32::from).collect();
        for decode in [lossy, fallback] {
            assert_eq!(pieces(&tokens, decode).0, ["a", "", "", "€", "b", ""]);
        }
    }
}
