//! The files of `bench` that have the names of trtexec's `--exportTimes` and `--exportProfile`.

use std::path::Path;

use accelerant::backend::LayerTime;
use serde_json::{Value, json};

use crate::fail::{Failure, Result};
use crate::files;

/// Writes when each run began and ended, in milliseconds since the first began. A run begins as it is enqueued, and ends
/// with the copy of the outputs to the host. What lies between is not told apart.
pub(super) fn times(path: &Path, runs: &[[f64; 2]]) -> Result<()> {
    let run = |&[begin, end]: &[f64; 2]| json!({ "startEnqMs": begin, "endD2hMs": end, "latencyMs": end - begin });
    write(path, &runs.iter().map(run).collect())
}

/// Writes how long each layer took in so many runs.
pub(super) fn profile(path: &Path, layers: &[LayerTime], count: usize) -> Result<()> {
    let total: f64 = layers.iter().map(|layer| layer.mean_micros).sum();
    let layer = |layer: &LayerTime| {
        let average = layer.mean_micros / 1e3;
        json!({
            "name": layer.name,
            "timeMs": average * count as f64,
            "averageMs": average,
            "medianMs": layer.micros / 1e3,
            "percentage": 100.0 * layer.mean_micros / total.max(f64::MIN_POSITIVE),
        })
    };
    let layers = layers.iter().map(layer);
    write(path, &std::iter::once(json!({ "count": count })).chain(layers).collect())
}

fn write(path: &Path, json: &Value) -> Result<()> {
    let wrong = |e| Failure::failed(format!("cannot write {}: {e}", path.display()));
    files::write(path, format!("{json:#}\n").as_bytes()).map_err(wrong)
}
