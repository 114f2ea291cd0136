//! The stretches of a text that timestamps bound.

use std::time::Duration;

/// From one timestamp to the next.
const STEP: Duration = Duration::from_millis(20);

/// A part of a transcription, with its times from the beginning of the audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The beginning of the part.
    pub start: Duration,
    /// The end of the part. `None` if the text ended without a timestamp, because the part continues after the audio.
    pub end: Option<Duration>,
    /// The tokens of the part, without timestamps.
    pub tokens: Vec<u32>,
}

/// Splits the tokens of Whisper at their timestamps. `no_timestamps` is the token `<|notimestamps|>`; the timestamps have the
/// numbers after this token. The special tokens from `end` to `no_timestamps` are left out.
///
/// ```
/// use accelerant::generate::segments;
/// use std::time::Duration;
///
/// // <|0.00|> 17 18 <|1.00|> <|1.20|> 19 <|endoftext|>
/// let all = segments(&[101, 17, 18, 151, 161, 19, 50], 50, 100);
/// assert_eq!(all.len(), 2);
/// assert_eq!((all[0].end, &all[0].tokens[..]), (Some(Duration::from_secs(1)), &[17, 18][..]));
/// assert_eq!((all[1].start, all[1].end), (Duration::from_millis(1200), None));
/// ```
pub fn segments(tokens: &[u32], end: u32, no_timestamps: u32) -> Vec<Segment> {
    let mut all = Vec::new();
    let mut open = Segment { start: Duration::ZERO, end: None, tokens: Vec::new() };
    for &token in tokens {
        if token > no_timestamps {
            let time = STEP * (token - no_timestamps - 1);
            if open.tokens.is_empty() {
                open.start = time;
                continue;
            }
            open.end = Some(time);
            let next = Segment { start: time, end: None, tokens: Vec::new() };
            all.push(std::mem::replace(&mut open, next));
        } else if token < end {
            open.tokens.push(token);
        }
    }
    if !open.tokens.is_empty() {
        all.push(open);
    }
    all
}
