//! Numbers that a seed decides (SplitMix64).

pub(crate) struct Random(u64);

/// Numbers that break sizes, counts and offsets.
const ODD: [i64; 22] = [
    0,
    1,
    2,
    3,
    7,
    64,
    255,
    256,
    4096,
    65_536,
    1 << 20,
    -1,
    -2,
    -7,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    100_000_000_000,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
];

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Whether it happens that happens once in `n`.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }

    pub(crate) fn pick_mut<'a, T>(&mut self, of: &'a mut [T]) -> Option<&'a mut T> {
        let len = of.len();
        (len > 0).then(|| &mut of[self.below(len)])
    }

    /// A number that breaks something, or is small.
    pub(crate) fn odd(&mut self) -> i64 {
        match self.once_in(3) {
            true => self.below(10) as i64,
            false => ODD[self.below(ODD.len())],
        }
    }
}
