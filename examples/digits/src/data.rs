//! The UCI handwritten digits: 1,797 images of 8x8 pixels, and their split. No models.

use ndarray::{Array4, Axis};

/// Images as `[n, 1, 8, 8]` with values of 0..=1, and their digits.
#[derive(Clone)]
pub struct Digits {
    pub images: Array4<f32>,
    pub labels: Vec<u32>,
}

/// The training and the test set: every fifth image is for testing.
pub fn load() -> (Digits, Digits) {
    let rows: Vec<Vec<u32>> = include_str!("../../data/digits.csv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            line.split(',')
                .map(|word| word.parse().expect("the data file holds whole numbers"))
                .collect()
        })
        .collect();
    let pick = |test: bool| {
        let chosen: Vec<_> = rows
            .iter()
            .enumerate()
            .filter(|(i, _)| (i % 5 == 0) == test)
            .map(|(_, row)| row)
            .collect();
        let pixels = chosen
            .iter()
            .flat_map(|row| row[..64].iter().map(|&pixel| pixel as f32 / 16.0))
            .collect();
        Digits {
            images: Array4::from_shape_vec((chosen.len(), 1, 8, 8), pixels)
                .expect("64 pixels an image"),
            labels: chosen.iter().map(|row| row[64]).collect(),
        }
    };
    (pick(false), pick(true))
}

impl Digits {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Some images and their digits, in this order.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            images: self.images.select(Axis(0), indices),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
        }
    }

    /// Minibatches of `size` in an order that depends on `seed` alone (Fisher-Yates over splitmix64).
    pub fn shuffled(&self, size: usize, seed: u64) -> Vec<Self> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let mut order: Vec<usize> = (0..self.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (next() % (i as u64 + 1)) as usize);
        }
        order.chunks(size).map(|indices| self.select(indices)).collect()
    }
}
