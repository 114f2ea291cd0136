//! `cargo xtask sdk`: the native libraries, headers and trained models that the crate is built and tested with. What they
//! are and where they come from is in the crate `accelerant-sdk`.

use crate::workspace;
pub(crate) use accelerant_sdk::{
    MINILM, ONNXRUNTIME, Sdk, TENSORRT as ENTERPRISE, TENSORRT_RTX as RTX,
};
use anyhow::Result;
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which SDK to put in place.
    #[arg(long, value_enum, default_value = "rtx")]
    flavor: Flavor,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Flavor {
    /// TensorRT-RTX: libraries and headers.
    Rtx,
    /// Enterprise TensorRT: headers and the lean runtime.
    Enterprise,
    /// ONNX Runtime: the library, for ORT_DYLIB_PATH.
    Onnxruntime,
    /// The trained all-MiniLM-L6-v2 sentence encoder: weights and tokenizer.
    Models,
    /// All of them.
    All,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = [
        (Flavor::Rtx, RTX),
        (Flavor::Enterprise, ENTERPRISE),
        (Flavor::Onnxruntime, ONNXRUNTIME),
        (Flavor::Models, MINILM),
    ];
    for (_, sdk) in all.iter().filter(|(flavor, _)| [*flavor, Flavor::All].contains(&args.flavor)) {
        println!("{}", sdk.ensure()?.display());
    }
    Ok(())
}

/// Both flavors in place, and cargo told where: all commands call cargo through this, since
/// another environment would make it compile the bridge again.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = workspace::cargo(args);
    for sdk in [RTX, ENTERPRISE] {
        command.env(sdk.variable, sdk.ensure()?);
    }
    command.env_remove(ONNXRUNTIME.variable);
    Ok(command)
}

/// The same for what is compiled to be checked, not to be used: less optimized, and all of it alike, so that nothing is
/// compiled twice.
pub(crate) fn quick_cargo(args: &[&str]) -> Result<Command> {
    let mut command = cargo(args)?;
    command.arg("--config").arg(workspace::root().join(".ci/profile.toml"));
    Ok(command)
}
