//! `accelerant build`: from an ONNX model to an engine in a file.

use std::path::{Path, PathBuf};

use accelerant::InferenceModule;
use serde_json::json;

use super::Output;
use crate::fail::{Failure, Result};
use crate::options::{Name, Options};
use crate::shapes::{Shapes, unbound};
use crate::source::Source;
use crate::{Globals, bar::Bar, describe, files};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model
    pub(crate) model: PathBuf,
    /// The engine's file
    #[arg(short, long, alias = "saveEngine", value_name = "FILE")]
    output: PathBuf,
    /// The backend; by default TensorRT-RTX, or where it cannot build, TensorRT
    #[arg(long)]
    backend: Option<Name>,
    #[command(flatten)]
    shapes: Shapes,
    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<Output> {
    files::expect_place(&args.output)?;
    let bar = Bar::new(globals.quiet);
    let place = |path: &Path| std::fs::canonicalize(path).ok();
    if place(&args.output).is_some_and(|output| Some(output) == place(&args.model)) {
        let text =
            format!("{} is the model itself, which an engine would replace", args.output.display());
        return Err(Failure::usage(text));
    }
    bar.say("read the model");
    let Source::Model(model) = Source::open(&args.model)? else {
        let text =
            format!("{} is an engine already; build takes an ONNX model", args.model.display());
        return Err(Failure::usage(text));
    };
    let model = args.shapes.bind(*model)?;
    let is_tensorrt = !matches!(args.backend, Some(Name::Ort | Name::Tract));
    if let [first, ..] = &*unbound(model.signature())
        && is_tensorrt
    {
        let text = format!(
            "TensorRT plans memory for the largest size of `{first}`, which nobody states: add --shape {first}=1:8:32, say"
        );
        return Err(Failure::usage(text));
    }
    let options = args.options.options(args.options.device.registry(), args.backend)?;
    let options = bar.follow(options.save_engine(&args.output));
    let (engine, report) = InferenceModule::build(&model, &options)?;
    drop(bar);
    args.options.device.say_unused(engine.kind());
    let path = args.output.display();
    let json = json!({
        "engine": args.output,
        "backend": engine.kind(),
        "library": engine.library(),
        "target": engine.target(),
        "signature": describe::signature(engine.signature()),
        "precision": args.options.precision(),
        "report": report,
    });
    Ok(Output::new(format!("{report}written    {path}\n"), json))
}
