//! The seam between a generation and where its caches are: on the host, or on a GPU.

use crate::error::Result;
use crate::tensor::HostTensor;

/// Some texts that grow together, as many as the engines take at once, with caches of their own.
///
/// Each pass leaves a result behind: the most likely next token of each text, and its logits. Results are taken in the
/// order of the passes.
pub(super) trait Session: Send {
    /// Forgets what was there, encodes what an encoder is to read, and passes over prompts, one a text, none of them empty
    /// or longer than the cache.
    fn start(&mut self, source: &[HostTensor], prompts: &[&[u32]]) -> Result<()>;

    /// Passes over one more token of each text: the given ones, or the most likely ones of the pass before.
    fn step(&mut self, tokens: Option<&[u32]>) -> Result<()>;

    /// Waits for the oldest result and gives the most likely tokens.
    fn tokens(&mut self) -> Result<Vec<u32>>;

    /// Waits for the oldest result and gives the logits, one text after the other. No later pass may have been made.
    fn logits(&mut self) -> Result<Vec<f32>>;

    /// How many passes it is worth to be ahead of the results that are taken.
    fn ahead(&self) -> usize;
}

/// The tokens of a prompt that one pass takes: where they begin in it, and how many are real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// A prompt in chunks of `size`, the first ones full. The last one begins early enough to be full as well, where the
/// prompt is long enough: what is computed again comes out the same, and nothing is written beyond the prompt.
pub(super) fn chunks(len: usize, size: usize) -> Vec<Chunk> {
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
