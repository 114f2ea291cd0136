//! The sizes of one symbol that are tried one by one.

use super::formulas::DIVISORS;

/// So many sizes in a row are tried from the smallest of a symbol: all of them, if its range is no
/// larger, and else whatever a division by as much can leave as the rest.
const ROW: usize = DIVISORS;

/// Sizes that are no power of two, nor beside one.
const ODD: [usize; 3] = [100, 1000, 10_007];

/// The sizes from `min` to `max` that are tried, those that show most first: where forward functions branch most,
/// which is at the ends and around powers of two, a row from the smallest, and a few others.
pub(in crate::export) fn sweep(min: usize, max: usize) -> Vec<usize> {
    let powers = (0..usize::BITS - 2).map(|bit| 1usize << bit);
    let powers = powers.flat_map(|power| [power, power - 1, power + 1]);
    let row = || min..=max.min(min + ROW - 1);
    let ends = [max.saturating_sub(1), max];
    let sizes = row().take(8).chain(ends).chain(powers).chain(row()).chain(ODD);
    let mut found: Vec<usize> = Vec::new();
    for size in sizes {
        if (min..=max).contains(&size) && !found.contains(&size) {
            found.push(size);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ranges_are_tried_whole_and_large_ones_where_it_shows() {
        let sorted = |min, max| {
            let mut sizes = sweep(min, max);
            sizes.sort_unstable();
            sizes
        };
        assert_eq!(sorted(3, 3), [3]);
        assert_eq!(sorted(5, 68), (5..=68).collect::<Vec<_>>());
        let many = sorted(1, 4096);
        assert!((1..=64).chain([100, 127, 128, 129, 2049, 4095, 4096]).all(|n| many.contains(&n)));
        assert!(many.len() < 110, "{many:?}");
    }
}
