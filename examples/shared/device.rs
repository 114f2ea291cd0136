//! How long a call takes on a device: what examples measure. No models and no options.

use accelerant::cuda::DeviceTimer;
use accelerant::{HostTensor, InferenceModule};

const WARM_UP: usize = 30;

/// The median of the milliseconds of a call.
pub(crate) fn median(
    module: &InferenceModule,
    inputs: &[HostTensor],
    device: usize,
    iterations: usize,
) -> accelerant::Result<f64> {
    let mut timer = DeviceTimer::new(module, device, inputs)?;
    timer.calls(WARM_UP)?;
    Ok(timer.calls(iterations.max(1))?.median())
}
