//! Features of sound: the logarithms of powers in bands of frequencies, as the authors of Whisper compute them.

use std::f64::consts::PI;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// Samples of sound a second, as Whisper was trained with.
pub const SAMPLES_A_SECOND: usize = 16_000;
/// Samples of one window, and from one window to the next.
const WINDOW: usize = 400;
pub(super) const HOP: usize = 160;
const BINS: usize = WINDOW / 2 + 1;

/// The log-mel features of audio for Whisper, f32 `[bands, frames]`, with one frame for each 160 samples. The audio is mono with
/// 16,000 samples per second, from -1 to 1. Shorter audio is padded with silence, and longer audio is cut. Whisper takes 80
/// bands (`large-v3` takes 128) and 3000 frames.
///
/// ```
/// use accelerant::generate::{SAMPLES_A_SECOND, log_mel};
///
/// let hum: Vec<f32> = (0..SAMPLES_A_SECOND).map(|i| (i as f32 * 0.05).sin()).collect();
/// let features = log_mel(&hum, 80, 3000)?;
/// assert_eq!(features.shape(), [80, 3000]);
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for no bands or frames, and for samples that are not finite.
pub fn log_mel(samples: &[f32], bands: usize, frames: usize) -> Result<HostTensor> {
    let wrong = |text: String| Error::new(ErrorKind::InvalidArgument, text).in_operation("log mel");
    if bands == 0 || frames == 0 {
        return Err(wrong(format!("{bands} bands and {frames} frames")));
    }
    if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
        return Err(wrong(format!("sample {at} is no number")));
    }
    let length = frames * HOP;
    let samples = &samples[..samples.len().min(length)];
    // A window is centered on its frame, and sound is mirrored at its ends.
    let at = |i: isize| {
        let last = length as isize - 1;
        let i = if i < 0 { -i } else { i };
        let i = if i > last { 2 * last - i } else { i };
        samples.get(i.unsigned_abs()).copied().unwrap_or(0.0)
    };
    let fourier = Fourier::new();
    let hann: Vec<f32> = (0..WINDOW)
        .map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / WINDOW as f64).cos()) as f32)
        .collect();
    let filters: Vec<_> = (0..bands).map(|band| filter(band, bands)).collect();
    let mut features = vec![0f32; bands * frames];
    let mut window = [0f32; WINDOW];
    for frame in 0..frames {
        let start = (frame * HOP) as isize - (WINDOW / 2) as isize;
        for (i, (value, weight)) in window.iter_mut().zip(&hann).enumerate() {
            *value = at(start + i as isize) * weight;
        }
        let powers = fourier.powers(&window);
        for (band, (first, weights)) in filters.iter().enumerate() {
            let power: f32 = weights.iter().zip(&powers[*first..]).map(|(w, p)| w * p).sum();
            features[band * frames + frame] = power.max(1e-10).log10();
        }
    }
    let least = features.iter().copied().fold(f32::NEG_INFINITY, f32::max) - 8.0;
    features.iter_mut().for_each(|value| *value = (value.max(least) + 4.0) / 4.0);
    HostTensor::from_vec([bands, frames], features)
}

/// The scale of Slaney's Auditory Toolbox (1998): even below 1000 Hz, and logarithmic above.
fn hertz(mel: f64) -> f64 {
    const BEND: f64 = 15.0;
    if mel < BEND { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - BEND) * 6.4f64.ln() / 27.0).exp() }
}

/// The triangle of a band: the first frequency bin with a weight, and the weights. All triangles have the same area.
fn filter(band: usize, bands: usize) -> (usize, Vec<f32>) {
    let top = 15.0 + (SAMPLES_A_SECOND as f64 / 2.0 / 1000.0).ln() * 27.0 / 6.4f64.ln();
    let edge = |i: usize| hertz(top * (band + i) as f64 / (bands + 1) as f64);
    let [low, middle, high] = [edge(0), edge(1), edge(2)];
    let weight = |bin: usize| {
        let at = bin as f64 * SAMPLES_A_SECOND as f64 / WINDOW as f64;
        let slope = ((at - low) / (middle - low)).min((high - at) / (high - middle));
        (slope.max(0.0) * 2.0 / (high - low)) as f32
    };
    let first = (0..BINS).find(|bin| weight(*bin) > 0.0).unwrap_or(0);
    let weights = (first..BINS).map(weight).take_while(|weight| *weight > 0.0).collect();
    (first, weights)
}

/// The discrete Fourier transform of a window of 400 = 16 x 25 samples (Cooley and Tukey, 1965).
struct Fourier {
    /// Cosines and sines of the multiples of a whole turn's 400th part.
    turns: Vec<[f32; 2]>,
}

impl Fourier {
    fn new() -> Self {
        let turn = |i: usize| {
            let angle = 2.0 * PI * i as f64 / WINDOW as f64;
            [angle.cos() as f32, -angle.sin() as f32]
        };
        Self { turns: (0..WINDOW).map(turn).collect() }
    }

    /// The squares of the absolute values of the first half of the frequencies.
    fn powers(&self, samples: &[f32; WINDOW]) -> [f32; BINS] {
        const OUTER: usize = 16;
        const INNER: usize = WINDOW / OUTER;
        // One transform of 25 for each of 16 interleaved rows of samples.
        let mut rows = [[[0f32; 2]; INNER]; OUTER];
        for (offset, row) in rows.iter_mut().enumerate() {
            for (k, sum) in row.iter_mut().enumerate() {
                for i in 0..INNER {
                    let [cosine, sine] = self.turns[(OUTER * i * k) % WINDOW];
                    let sample = samples[offset + OUTER * i];
                    sum[0] += sample * cosine;
                    sum[1] += sample * sine;
                }
            }
        }
        let mut powers = [0f32; BINS];
        for (k, power) in powers.iter_mut().enumerate() {
            let mut sum = [0f32; 2];
            for (offset, row) in rows.iter().enumerate() {
                let [cosine, sine] = self.turns[(offset * k) % WINDOW];
                let [real, imaginary] = row[k % INNER];
                sum[0] += real * cosine - imaginary * sine;
                sum[1] += real * sine + imaginary * cosine;
            }
            *power = sum[0] * sum[0] + sum[1] * sum[1];
        }
        powers
    }
}
