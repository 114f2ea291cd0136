//! BLAKE3 over much memory on all cores, with threads of its own: those of a pool that a program shares may all be
//! waiting for the caller.

use std::thread;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::parallel;

/// A thread is not worth its start for less.
const PIECE: usize = 2 << 20;

/// All threads hash one thing of more bytes together.
const LARGE: usize = 16 << 20;

/// What [`blake3::hash`] gives.
pub(crate) fn hash(bytes: &[u8]) -> blake3::Hash {
    hash_on(bytes, parallel::threads())
}

/// What [`blake3::hash`] gives of each: large ones by all threads, the others by one thread each, since threads that share
/// a weight of a few megabytes wait for each other more than they hash.
pub(crate) fn hash_each(all: &[&[u8]]) -> Vec<blake3::Hash> {
    let small = |bytes: &&[u8]| (bytes.len() <= LARGE).then(|| blake3::hash(bytes));
    let total: usize = all.iter().map(|bytes| bytes.len()).sum();
    let known: Vec<_> = match total <= PIECE {
        true => all.iter().map(small).collect(),
        false => parallel::map(all, small),
    };
    known.into_iter().zip(all).map(|(known, bytes)| known.unwrap_or_else(|| hash(bytes))).collect()
}

fn hash_on(bytes: &[u8], threads: usize) -> blake3::Hash {
    if bytes.len() <= PIECE || threads < 2 {
        return blake3::hash(bytes);
    }
    let [left, right] = both(bytes, 0, threads);
    merge_subtrees_root(&left, &right, Mode::Hash)
}

/// The two halves of BLAKE3's tree over `bytes`, which begin at `offset` of the whole.
fn both(bytes: &[u8], offset: u64, threads: usize) -> [ChainingValue; 2] {
    let (left, right) = bytes.split_at(left_subtree_len(bytes.len() as u64) as usize);
    let middle = offset + left.len() as u64;
    // The left half is the larger one.
    let of_right = (threads * right.len()).div_ceil(bytes.len()).clamp(1, threads - 1);
    thread::scope(|scope| {
        let here = || subtree(left, offset, threads - of_right);
        let other = thread::Builder::new().spawn_scoped(scope, || subtree(right, middle, of_right));
        match other {
            Ok(other) => [here(), other.join().expect("hashing does not panic")],
            // The system gives no thread.
            Err(_) => [here(), subtree(right, middle, 1)],
        }
    })
}

fn subtree(bytes: &[u8], offset: u64, threads: usize) -> ChainingValue {
    if bytes.len() <= PIECE || threads < 2 {
        return Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root();
    }
    let [left, right] = both(bytes, offset, threads);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_of_one_thread_at_all_lengths() {
        let bytes: Vec<u8> = (0..5 * PIECE + 7).map(|i| (i * 31 % 251) as u8).collect();
        let lengths = [
            0,
            1,
            1024,
            PIECE,
            PIECE + 1,
            2 * PIECE,
            2 * PIECE + 1,
            3 * PIECE,
            4 * PIECE,
            bytes.len(),
        ];
        for length in lengths {
            for threads in [1, 2, 3, 5, 8, 16] {
                let part = &bytes[..length];
                assert_eq!(hash_on(part, threads), blake3::hash(part), "{length} on {threads}");
            }
        }
    }
    #[test]
    fn many_are_hashed_each() {
        let bytes: Vec<u8> = (0..LARGE + 7).map(|i| (i * 31 % 251) as u8).collect();
        let lengths = [0, LARGE + 7, 1, PIECE, 1000, 2 * PIECE, LARGE, PIECE / 2, PIECE + 1];
        let all: Vec<&[u8]> = lengths.iter().cycle().take(20).map(|&len| &bytes[..len]).collect();
        let expected: Vec<_> = all.iter().map(|bytes| blake3::hash(bytes)).collect();
        assert_eq!(hash_each(&all), expected);
        assert!(hash_each(&[]).is_empty());
    }
}
