//! Rotary positions: tables of sines and cosines, and the rotation of query and key heads.

use super::Rotary;
use crate::error::Result;
use crate::export::graph::{GraphBuilder, Value};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Sines and cosines of the positions of one pass, `[b, 1, t, pairs]`.
pub(super) struct Angles {
    cosine: Value,
    sine: Value,
    size: usize,
    interleaved: bool,
}

impl Angles {
    /// Reads those of `positions`, `[b, t]`, from tables over `capacity` positions.
    pub(super) fn new(
        graph: &GraphBuilder,
        rotary: &Rotary,
        positions: &Value,
        capacity: usize,
        dtype: DType,
    ) -> Result<Self> {
        let (frequencies, scale) = rotary.frequencies(capacity);
        let pairs = frequencies.len();
        let table = |name: &str, of: fn(f64) -> f64| {
            let angles = (0..capacity).flat_map(|at| {
                // Frameworks multiply in 32 bits.
                frequencies.iter().map(move |&f| f64::from(at as f32 * f as f32))
            });
            let values: Vec<f32> = angles.map(|angle| (of(angle) * scale) as f32).collect();
            let table = HostTensor::from_vec([capacity, pairs], values)?.convert(dtype)?;
            graph.constant(name, table).gather(positions, 0)?.unsqueeze(&[1])
        };
        let (cosine, sine) = (table("cosine", f64::cos)?, table("sine", f64::sin)?);
        Ok(Self { cosine, sine, size: rotary.size, interleaved: rotary.interleaved })
    }

    /// Rotates heads, `[b, heads, t, head size]`.
    pub(super) fn rotate(&self, x: &Value) -> Result<Value> {
        let graph = x.graph();
        let whole = x.dims()[3].fixed().unwrap_or(self.size);
        let half = (self.size / 2) as i64;
        let rotated = if whole == self.size { x.clone() } else { x.slice(3, 0, Some(2 * half))? };
        let rotated = if self.interleaved {
            let mut dims: Vec<_> = x.dims()[..3].iter().cloned().map(Some).collect();
            dims.extend([Some((self.size / 2).into()), Some(2.into())]);
            let pairs = rotated.reshape(&dims)?;
            let side = |i: i64| pairs.slice(4, i, Some(i + 1))?.squeeze(&[4]);
            let (first, second) = self.turn(&side(0)?, &side(1)?)?;
            let both = graph.concat(&[&first.unsqueeze(&[4])?, &second.unsqueeze(&[4])?], 4)?;
            dims.truncate(3);
            dims.push(Some(self.size.into()));
            both.reshape(&dims)?
        } else {
            let (first, second) =
                (rotated.slice(3, 0, Some(half))?, rotated.slice(3, half, Some(2 * half))?);
            let (first, second) = self.turn(&first, &second)?;
            graph.concat(&[&first, &second], 3)?
        };
        if whole == self.size {
            return Ok(rotated);
        }
        graph.concat(&[&rotated, &x.slice(3, 2 * half, None)?], 3)
    }

    fn turn(&self, first: &Value, second: &Value) -> Result<(Value, Value)> {
        let new_first = first.mul(&self.cosine)?.sub(&second.mul(&self.sine)?)?;
        let new_second = second.mul(&self.cosine)?.add(&first.mul(&self.sine)?)?;
        Ok((new_first, new_second))
    }
}
