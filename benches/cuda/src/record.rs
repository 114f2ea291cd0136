//! What is told of a measurement: one JSON object a line.

use serde_json::{Map, Value, json};

use crate::timing::millis;
use crate::{Model, Precision, Setting};

/// Times of one call, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// On the device: the median between CUDA events, or for `clock` "wall" the wall time of a
    /// call in a row of calls.
    pub device: f64,
    /// Until the call returned.
    pub host: f64,
    /// The first call.
    pub first: f64,
    pub iterations: usize,
    pub clock: &'static str,
}

/// Prints the times of `who` on a model.
pub(crate) fn times(who: &str, model: Model, precision: Precision, batch: usize, times: Times) {
    print(
        who,
        json!({
            "model": model.name(),
            "dtype": precision.name(),
            "batch": batch,
            "device_ms": round(times.device),
            "host_ms": round(times.host),
            "first_ms": round(times.first),
            "iterations": times.iterations,
            "clock": times.clock,
        }),
    );
}

/// Prints that the first result of this process is there: since when the model was `loaded`, in
/// milliseconds, without the time that its random weights took.
pub(crate) fn start(
    setting: &Setting,
    model: Model,
    engine: &str,
    cached: bool,
    loaded: f64,
    weights_ms: f64,
) {
    print(
        "start",
        json!({
            "model": model.name(),
            "engine": engine,
            "runtime_cache": cached,
            "loaded_ms": loaded,
            "first_result_ms": millis(setting.start.elapsed()) - weights_ms,
        }),
    );
}

/// Prints an object, with `who` in front.
pub(crate) fn print(who: &str, values: Value) {
    let mut object = Map::new();
    object.insert("who".into(), who.into());
    if let Value::Object(values) = values {
        object.extend(values);
    }
    println!("{}", Value::Object(object));
}

fn round(milliseconds: f64) -> f64 {
    (milliseconds * 1e5).round() / 1e5
}
