//! What `bench` measures on a GPU beside: calls on tensors that are there already. The host's time of a call, and the
//! device's time by CUDA events, one call after the other on one stream.

use std::time::{Duration, Instant};

use accelerant::cuda::{CallTimes, DeviceTimer};
use accelerant::{HostTensor, InferenceModule};

use super::bench::Args;
use crate::fail::Result;

/// Calls between two looks at the clock: the host does not run away from the device.
const AT_ONCE: usize = 16;

/// None where the backend takes no tensors of a device.
pub(super) fn measure(
    module: &InferenceModule,
    inputs: &[HostTensor],
    args: &Args,
    ordinal: usize,
) -> Result<Option<CallTimes>> {
    if module.device_on(ordinal).is_none() {
        return Ok(None);
    }
    let mut timer = DeviceTimer::new(module, ordinal, inputs)?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(args.warmup) {
        timer.calls(1)?;
    }
    let mut all = CallTimes::default();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < args.duration || all.compute.len() < args.iterations {
        let some = timer.calls(AT_ONCE)?;
        all.enqueue.extend(some.enqueue);
        all.compute.extend(some.compute);
    }
    Ok(Some(all))
}
