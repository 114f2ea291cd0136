//! Changes that know nothing of what the bytes are.

use crate::random::Random;

/// Changes one thing.
pub(crate) fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(16)).min(bytes.len());
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        5 => {
            let number = random.odd().to_le_bytes();
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        6 => bytes.extend((0..random.below(64)).map(|_| random.next() as u8)),
        _ => {
            // A length or tag of protobuf that goes on and on.
            let end = (at + 9).min(bytes.len());
            bytes[at..end].fill(0xff);
        }
    }
}
