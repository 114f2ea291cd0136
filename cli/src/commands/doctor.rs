//! `accelerant doctor`: what there is to run on, what is missing, and what helps.

use accelerant::backend::Backend;
use accelerant::cache::EngineCache;
use accelerant::export::GraphBuilder;
use accelerant::{BackendKind, DType, Error, ErrorKind};
use serde_json::{Value, json};

use super::Output;
use super::cache::{bytes_of, files, why_none};
use crate::describe;
use crate::fail::{Code, Failure, Result};
use crate::options::Device;

#[derive(clap::Args)]
pub(crate) struct Args {}

/// Features of this command, and whether they are compiled in.
const FEATURES: [(&str, bool); 4] = [
    ("tensorrt-rtx", cfg!(feature = "tensorrt-rtx")),
    ("tensorrt", cfg!(feature = "tensorrt")),
    ("ort", cfg!(feature = "ort")),
    ("tract", cfg!(feature = "tract")),
];

/// Variables that say where something is.
const VARIABLES: [&str; 6] = [
    "TENSORRT_RTX_ROOT",
    "TENSORRT_ROOT",
    "ORT_DYLIB_PATH",
    "ACCELERANT_CACHE_DIR",
    "ACCELERANT_ENGINE_CACHE",
    "LD_LIBRARY_PATH",
];

pub(crate) fn run(_: &Args) -> Result<Output> {
    let mut text = format!("accelerant {}\n", env!("CARGO_PKG_VERSION"));
    let compiled = |wanted: bool| {
        let names = FEATURES.iter().filter(|(_, there)| *there == wanted).map(|(name, _)| *name);
        names.collect::<Vec<_>>()
    };
    text += &format!("features  {}\n", compiled(true).join(", "));
    if !compiled(false).is_empty() {
        text += &format!("  not compiled in: {}\n", compiled(false).join(", "));
    }

    text += "backends\n";
    let (mut backends, mut usable, mut hints) = (Vec::new(), 0, Vec::new());
    for backend in Device::default().registry().backends() {
        let (kind, probed) = (backend.kind(), backend.probe());
        let description = backend.description();
        let hint = probed.as_ref().err().map(|reason| hint(&kind, reason));
        let builds = probed.as_ref().is_err_and(|e| e.kind() == ErrorKind::Device)
            && kind == BackendKind::TensorRtRtx
            && builds(backend.as_ref());
        match (&probed, &hint) {
            (Err(reason), Some(hint)) if builds => {
                text += &format!("  {kind:<13} builds engines and cannot run them: {reason}\n");
                text += &format!("  {:<13} {description}\n", "");
                hints.push(format!("{kind}: {hint}"));
            }
            (Err(reason), Some(hint)) => {
                text += &format!("  {kind:<13} cannot run: {reason}\n");
                // A library that is not there has nothing else to say.
                if !reason.to_string().contains(&description) {
                    text += &format!("  {:<13} {description}\n", "");
                }
                hints.push(format!("{kind}: {hint}"));
            }
            _ => {
                usable += 1;
                text += &format!("  {kind:<13} runs: {description}\n");
            }
        }
        backends.push(json!({
            "backend": kind,
            "description": description,
            "runs": probed.is_ok(),
            "buildsAlone": builds,
            "reason": probed.err().map(|e| e.to_string()),
            "hint": hint,
        }));
    }
    for name in compiled(false) {
        hints.push(format!("{name} is not compiled in: {}", install(name)));
    }

    let gpus = gpus();
    match gpus.as_array().map(Vec::as_slice) {
        None | Some([]) => text += "GPUs      none that CUDA shows to this command\n",
        Some(all) => {
            for gpu in all {
                let word = |key: &str| gpu[key].as_str().unwrap_or_default().to_owned();
                let memory = describe::bytes(gpu["memoryBytes"].as_u64().unwrap_or_default());
                text += &format!(
                    "GPU {:<5} {}, compute capability {}, {memory}, driver {}\n",
                    gpu["ordinal"],
                    word("name"),
                    word("computeCapability"),
                    word("driver")
                );
            }
        }
    }

    let cache = EngineCache::new();
    let mut cache_json = json!({ "folder": cache.folder() });
    match (cache.folder(), cache.entries().and_then(|found| Ok((found, cache.timings()?)))) {
        (None, _) => match why_none() {
            None => text += "cache     off (ACCELERANT_ENGINE_CACHE)\n",
            Some(why) => {
                text += &format!("cache     none: {why}\n");
                cache_json["error"] = json!(why);
            }
        },
        (Some(folder), Ok((entries, timings))) => {
            let bytes = bytes_of(&entries, &timings);
            let (what, size) = (files(entries.len(), timings.len()), describe::bytes(bytes));
            text += &format!("cache     {}: {what}, {size}\n", folder.display());
            cache_json["engines"] = json!(entries.len());
            cache_json["bytes"] = json!(bytes);
        }
        (Some(folder), Err(e)) => {
            text += &format!("cache     {}: {e}\n", folder.display());
            cache_json["error"] = json!(e.to_string());
        }
    }

    let set = |name: &&'static str| std::env::var_os(name).map(|value| (*name, value));
    let variables: Vec<_> = VARIABLES.iter().filter_map(set).collect();
    for (name, value) in &variables {
        text += &format!("variable  {name}={}\n", value.to_string_lossy());
    }
    if !hints.is_empty() {
        text += "what helps\n";
        text += &hints.iter().map(|hint| format!("  {hint}\n")).collect::<String>();
    }
    let variables: serde_json::Map<_, _> = variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value.to_string_lossy())))
        .collect();
    let json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "features": compiled(true),
        "backends": backends,
        "gpus": gpus,
        "cache": cache_json,
        "variables": variables,
        "hints": hints,
    });
    let failure = (usable == 0).then(|| {
        Failure::with_code(Code::NoBackend, "no backend can run anything on this machine")
    });
    Ok(Output { text, json, failure })
}

/// Whether a backend that has no device here takes a model all the same, as for building.
fn builds(backend: &dyn Backend) -> bool {
    let model = || {
        let graph = GraphBuilder::new("probe");
        let x = graph.input("x", DType::F32, [1])?;
        graph.output("y", &x.relu()?)?;
        graph.finish()?.for_target(backend.target())
    };
    let refused = model().and_then(|model| backend.check(&model));
    refused.is_ok_and(|refused| refused.is_some_and(|list| list.is_empty()))
}

/// The one thing that helps a backend that cannot run.
fn hint(kind: &BackendKind, reason: &Error) -> String {
    let sdk = match kind {
        BackendKind::TensorRtRtx => accelerant_sdk::TENSORRT_RTX,
        BackendKind::TensorRt => accelerant_sdk::TENSORRT,
        _ => accelerant_sdk::ONNXRUNTIME,
    };
    match (reason.kind(), kind) {
        (ErrorKind::Device, _) => {
            "it takes an NVIDIA GPU and its driver; `nvidia-smi` tells whether they are there"
                .into()
        }
        // A variable that names another library is the only place that is looked in.
        _ if accelerant_sdk::folder_in(sdk.variable).is_some() => {
            format!("`unset {}`, which names it now, and `{}`", sdk.variable, sdk.command())
        }
        _ => format!("`{}` installs it", sdk.command()),
    }
}

/// How a feature comes in.
fn install(feature: &str) -> String {
    let command = format!("`cargo install accelerant-cli --features {feature} --force`");
    // Compiling them takes the headers.
    match [accelerant_sdk::TENSORRT_RTX, accelerant_sdk::TENSORRT]
        .iter()
        .find(|sdk| sdk.name == feature)
    {
        Some(sdk) if !sdk.installed().is_ok_and(|found| found.is_some()) => {
            format!("`{}`, then {command}", sdk.command())
        }
        _ => command,
    }
}

/// The GPUs, where a flavor of TensorRT sees them.
#[cfg(feature = "_tensorrt")]
fn gpus() -> Value {
    use accelerant::cuda::cudarc::driver::{
        CudaContext, result, sys::CUdevice_attribute_enum as Attribute,
    };

    let registry = Device::default().registry();
    let tensorrt = [BackendKind::TensorRtRtx, BackendKind::TensorRt];
    let backends = tensorrt.iter().filter_map(|kind| registry.get(kind).ok());
    // The driver is safe to ask only where a backend has found it.
    let count = backends.filter_map(|backend| backend.devices().ok()).max().unwrap_or(0);
    let gpus = (0..count).filter_map(|ordinal| {
        let context = CudaContext::new(ordinal).ok()?;
        let of = |attribute| context.attribute(attribute).unwrap_or_default();
        let major = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
        let minor = of(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
        // SAFETY: the device is that of a context that is alive.
        let memory = unsafe { result::device::total_mem(context.cu_device()) }.unwrap_or_default();
        Some(json!({
            "ordinal": ordinal,
            "name": context.name().unwrap_or_default(),
            "computeCapability": format!("{major}.{minor}"),
            "memoryBytes": memory,
            "driver": driver(),
        }))
    });
    gpus.collect()
}

/// The driver's version, as Linux tells it.
#[cfg(feature = "_tensorrt")]
fn driver() -> String {
    std::fs::read_to_string("/sys/module/nvidia/version").unwrap_or_default().trim().to_owned()
}

#[cfg(not(feature = "_tensorrt"))]
fn gpus() -> Value {
    json!([])
}
