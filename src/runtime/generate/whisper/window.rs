//! What the tokens of one window of sound say: stretches of text, and where the next window begins. The rules are those of the
//! authors' `transcribe`.

/// A stretch of one window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Frames of the sound, counted from the window's begin.
    pub(super) start: usize,
    pub(super) end: usize,
    /// With timestamps.
    pub(super) tokens: Vec<u32>,
}

/// One timestamp stands for so many frames of features.
pub(super) const FRAMES_OF_A_STEP: usize = 2;

/// Reads the tokens about a window that has `frames` frames of sound. Gives stretches and how far to go on.
pub(super) fn read(tokens: &[u32], frames: usize, no_timestamps: u32) -> (Vec<Stretch>, usize) {
    let time = |token: u32| match token.checked_sub(no_timestamps + 1) {
        Some(steps) => FRAMES_OF_A_STEP * steps as usize,
        None => 0,
    };
    let is_time = |i: usize| tokens[i] > no_timestamps;
    // Where the second of two timestamps stands that follow each other.
    let mut ends: Vec<usize> =
        (1..tokens.len()).filter(|i| is_time(i - 1) && is_time(*i)).collect();
    let count = tokens.len();
    if ends.is_empty() {
        // A timestamp that stands alone ends the text.
        let last = tokens.iter().rev().find(|token| **token > no_timestamps).copied().map(time);
        let end = last.filter(|end| *end > 0).unwrap_or(frames);
        return (vec![Stretch { start: 0, end, tokens: tokens.to_vec() }], frames);
    }
    let ends_alone = is_time(count - 1) && !is_time(count - 2);
    if ends_alone {
        ends.push(count);
    }
    let mut from = 0;
    let mut all = Vec::with_capacity(ends.len());
    for end in ends {
        let tokens = &tokens[from..end];
        all.push(Stretch {
            start: time(tokens[0]),
            end: time(tokens[tokens.len() - 1]),
            tokens: tokens.to_vec(),
        });
        from = end;
    }
    // Behind a timestamp that stands alone nothing is said. Else the text behind the last pair is heard again.
    let heard = time(tokens[from - 1]);
    (all, if ends_alone || heard == 0 { frames } else { heard })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<|notimestamps|>` is 100.
    fn stretches(tokens: &[u32]) -> (Vec<(usize, usize, usize)>, usize) {
        let (all, next) = read(tokens, 3000, 100);
        let said: usize = all.iter().map(|part| part.tokens.len()).sum();
        assert!(said <= tokens.len());
        (all.iter().map(|part| (part.start, part.end, part.tokens.len())).collect(), next)
    }

    #[test]
    fn the_next_window_begins_at_the_last_pair() {
        // <|0.00|> 1 2 <|1.00|><|1.20|> 3 <|2.00|><|2.00|> 4 5
        let tokens = [101, 1, 2, 151, 161, 3, 201, 201, 4, 5];
        assert_eq!(stretches(&tokens), (vec![(0, 100, 4), (120, 200, 3)], 200));
    }

    #[test]
    fn a_timestamp_alone_at_the_end_ends_the_window() {
        let tokens = [101, 1, 2, 151, 161, 3, 201];
        assert_eq!(stretches(&tokens), (vec![(0, 100, 4), (120, 200, 3)], 3000));
        assert_eq!(stretches(&[101, 1, 151]), (vec![(0, 100, 3)], 3000));
    }

    #[test]
    fn without_pairs_the_whole_window_is_one_stretch() {
        assert_eq!(stretches(&[101, 1, 2, 3]), (vec![(0, 3000, 4)], 3000));
        assert_eq!(stretches(&[1, 2]), (vec![(0, 3000, 2)], 3000));
        assert_eq!(stretches(&[]), (vec![(0, 3000, 0)], 3000));
    }

    /// A rule of a user's may allow times that Whisper's rules forbid.
    #[test]
    fn each_window_goes_on() {
        for tokens in
            [&[101, 101][..], &[101, 101, 1], &[151, 101, 101, 1, 2], &[101, 151, 101, 101]]
        {
            assert!(stretches(tokens).1 > 0, "{tokens:?}");
        }
    }
}
