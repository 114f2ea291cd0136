//! The seam between a generation and where its caches are: on the host, or on a GPU.

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// Some texts that grow together, as many as the engines take at once, with caches of their own.
///
/// Each pass leaves a result behind: the most likely next token of each text, and its logits. Results are taken in the
/// order of the passes.
pub(super) trait Session: Send {
    /// Fills the caches of some texts with zeros. What a cache holds where no token stands is multiplied by 0, and a text
    /// before may have left what is no number there.
    fn forget(&mut self, texts: &[usize]) -> Result<()>;

    /// Encodes what an encoder is to read.
    fn encode(&mut self, source: &[HostTensor]) -> Result<()>;

    /// So many places of each cache a pass writes to, where the longest of its rows has `most` tokens. No row may begin so
    /// late that these places end beyond its cache. A pass takes rows of this many tokens at most.
    fn width(&self, most: usize) -> usize;

    /// Passes over some tokens of each text. Results that were not taken are forgotten. A row overwrites what its cache had
    /// there, and its last token has the result. There is no row where no text is: the cache of such a place may lose what
    /// it holds, and the result of the place is any.
    fn pass(&mut self, rows: &[Option<Row<'_>>]) -> Result<()>;

    /// Passes over one more token of each text: the given ones, or the most likely ones of the pass before.
    fn step(&mut self, tokens: Option<&[u32]>) -> Result<()>;

    /// Waits for the oldest result and gives the most likely token of each text: an error where its logits are NaN.
    fn tokens(&mut self) -> Result<Vec<Result<u32>>>;

    /// Waits for the oldest result and gives the logits, one text after the other. No later pass may have been made.
    fn logits(&mut self) -> Result<Vec<f32>>;

    /// How many passes it is worth to be ahead of the results that are taken.
    fn ahead(&self) -> usize;
}

/// The most likely token of a text, of the output `next`.
pub(super) fn likeliest(next: i64) -> Result<u32> {
    let error = || Error::new(ErrorKind::Execution, "the logits of the next token are NaN");
    u32::try_from(next).map_err(|_| error().in_operation("generate"))
}

/// Tokens of one text in one pass, one at least, and where they begin in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) tokens: &'a [u32],
    pub(super) start: usize,
}

impl Row<'_> {
    /// What stands in a place where no text is, for what passes over all places.
    pub(super) const OF_NOBODY: Self = Row { tokens: &[0], start: 0 };

    /// The place behind the last token.
    pub(super) fn end(&self) -> usize {
        self.start + self.tokens.len()
    }

    /// The tokens, and the last one again until there are `width`: what stands behind a text is overwritten before it is
    /// read, and comes of no token that the text has not.
    pub(super) fn padded(&self, width: usize) -> impl Iterator<Item = i64> {
        let last = self.tokens.last().copied().unwrap_or_default();
        let behind = std::iter::repeat_n(last, width - self.tokens.len());
        self.tokens.iter().copied().chain(behind).map(i64::from)
    }
}

/// Forgets the texts before, encodes what an encoder is to read, and passes over prompts, one a text, none of them empty or longer than the cache.
pub(super) fn start(
    session: &mut dyn Session,
    source: &[HostTensor],
    prompts: &[&[u32]],
) -> Result<()> {
    session.forget(&(0..prompts.len()).collect::<Vec<_>>())?;
    session.encode(source)?;
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or_default();
    let width = session.width(longest);
    let plans: Vec<_> = prompts.iter().map(|prompt| chunks(prompt.len(), width)).collect();
    let passes = plans.iter().map(Vec::len).max().unwrap_or_default();
    for pass in 0..passes {
        let rows = prompts.iter().zip(&plans).map(|(prompt, plan)| {
            // A text that is through passes over its end again.
            let Chunk { start, len } = plan[pass.min(plan.len() - 1)];
            Some(Row { tokens: &prompt[start..start + len], start })
        });
        session.pass(&rows.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// The tokens of a prompt that one pass takes: where they begin in it, and how many are real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    start: usize,
    len: usize,
}

/// A prompt in chunks of `size`, the first ones full. The last one begins early enough to be full as well, where the
/// prompt is long enough: what is computed again comes out the same, and nothing is written beyond the prompt.
fn chunks(len: usize, size: usize) -> Vec<Chunk> {
    (0..len.div_ceil(size))
        .map(|i| {
            let start = (i * size).min(len.saturating_sub(size));
            Chunk { start, len: (len - start).min(size) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_a_prompt_and_stay_within() {
        for len in 1..40 {
            for size in 1..20 {
                let all = chunks(len, size);
                assert_eq!(all.len(), len.div_ceil(size));
                let mut covered = 0;
                for chunk in &all {
                    assert!(chunk.start <= covered && chunk.len <= size, "{len} {size} {chunk:?}");
                    assert!(chunk.len == size || all.len() == 1, "{len} {size} {chunk:?}");
                    covered = chunk.start + chunk.len;
                }
                assert_eq!(covered, len);
            }
        }
    }
}
