//! Windows along an axis.

use crate::error::Result;
use crate::export::Value;
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// Windows of `size` cells of an axis, each `step` cells behind the one before. What a window holds becomes the last
/// axis. There are `count` of them, and `counted` gives `0, 1, .. count - 1` as 64-bit integers.
pub(in crate::export) fn windows(
    x: &Value,
    axis: usize,
    (size, step): (usize, usize),
    count: &Dim,
    counted: impl FnOnce() -> Result<Value>,
) -> Result<Value> {
    let places = match count.fixed() {
        Some(windows) => {
            let of = |window| (0..size).map(move |i| (window * step + i) as i64);
            let places = (0..windows).flat_map(of).collect();
            x.graph().constant("windows", HostTensor::from_vec([windows, size], places)?)
        }
        None => {
            let within = HostTensor::from_vec([size], (0..size as i64).collect())?;
            let within = x.graph().constant("within", within);
            counted()?.affine(step as f64, 0.0)?.unsqueeze(&[1])?.add(&within)?
        }
    };
    let gathered = x.gather(&places, axis as i64)?;
    let mut order: Vec<usize> = (0..gathered.rank()).collect();
    order.remove(axis + 1);
    order.push(axis + 1);
    gathered.transpose(&order)
}
