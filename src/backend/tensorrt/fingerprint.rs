//! The parts that an engine of TensorRT depends on beside its model. Each option is named here, or left out by name, so that
//! a new option cannot be forgotten.

use std::{env, fmt::Debug};

use super::build::TensorRtOptions;
use super::ffi::{Flavor, Library, device};
use crate::backend::Fingerprint;
use crate::error::Result;

/// The fingerprint of what would be built now. `single_sizes` tells whether the usual profiles are of one size each.
///
/// # Errors
/// For the Enterprise flavor without a device.
pub(super) fn of(
    library: &Library,
    options: &TensorRtOptions,
    single_sizes: impl Fn() -> bool,
) -> Result<Fingerprint> {
    let TensorRtOptions {
        workspace,
        optimization_level,
        aux_streams,
        tf32,
        layer_details,
        refit,
        weight_streaming,
        compute_capabilities,
        profiles,
        // Asked of the device.
        device: ordinal,
        // The model that is built has the forms already.
        hopper_forms: _,
        // A cache of timings changes how long a build takes.
        timing_cache: _,
        // Of loading and running.
        runtime_cache: _,
        layer_ranges: _,
        cuda_graph: _,
        kernel_overlap: _,
        isolated_captures: _,
        max_contexts: _,
        shared_scratch: _,
        memory_limit: _,
        weight_budget: _,
        profile: _,
        progress: _,
    } = options;
    let (name, capability, driver) = match (library.flavor, device::identity(*ordinal)) {
        (_, Ok(identity)) => identity,
        (Flavor::Rtx, Err(_)) => ["none"; 3].map(str::to_owned).into(),
        (_, Err(e)) => return Err(e),
    };
    let usual = || format!("usual, single sizes {}", single_sizes());
    let stated = |value: &dyn Debug| format!("{value:?}");
    Ok(Fingerprint::new(format!("{} {}", library.flavor.title(), library.version))
        .with("device", name)
        .with("compute capability", capability)
        .with("driver", driver)
        .with("workspace", stated(workspace))
        .with("optimization level", stated(optimization_level))
        .with("auxiliary streams", stated(aux_streams))
        .with("tf32", tf32)
        .with("tf32 override", stated(&env::var_os("NVIDIA_TF32_OVERRIDE")))
        .with("layer details", layer_details)
        .with("refit", refit)
        .with("weight streaming", weight_streaming)
        .with("compute capabilities", stated(compute_capabilities))
        .with("profiles", profiles.as_ref().map_or_else(usual, |profiles| stated(profiles))))
}
