//! The choice of tokens from logits for several texts at a time: on several threads where that takes longer than their start.

use std::num::NonZero;
use std::thread;

use super::request::Request;
use crate::error::Result;
use crate::runtime::serving::caught;

/// So many logits take about as long as the start of a thread.
const FEW: usize = 1 << 14;

/// A token for each text, by its own options. A rule that fails or panics is an error of its text alone.
pub(super) fn choose_all(texts: Vec<(&mut Request, &[f32])>) -> Vec<Result<u32>> {
    let logits: usize = texts.iter().map(|(_, logits)| logits.len()).sum();
    let threads = match logits > FEW {
        true => thread::available_parallelism().map_or(1, NonZero::get).min(texts.len()),
        false => 1,
    };
    if threads < 2 {
        return texts.into_iter().map(choose).collect();
    }
    let size = texts.len().div_ceil(threads);
    let mut texts = texts.into_iter();
    let mut parts = Vec::new();
    loop {
        let part: Vec<_> = texts.by_ref().take(size).collect();
        if part.is_empty() {
            break;
        }
        parts.push(part);
    }
    thread::scope(|scope| {
        let chosen = |part: Vec<_>| part.into_iter().map(choose).collect::<Vec<_>>();
        let running: Vec<_> =
            parts.into_iter().map(|part| scope.spawn(move || chosen(part))).collect();
        // All panics were caught.
        running.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

fn choose((request, logits): (&mut Request, &[f32])) -> Result<u32> {
    caught("the choice of a token", || request.choose(logits))
}
