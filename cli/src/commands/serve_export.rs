//! `accelerant serve-export`: a model as a folder of a Triton model repository.

use std::path::PathBuf;

use accelerant::export::OnnxModel;
use accelerant::{BackendKind, Engine, InferenceModule, Symbol};
use serde_json::json;

use super::Output;
use crate::fail::{Failure, Result, io};
use crate::options::{Name, Options};
use crate::shapes::Shapes;
use crate::source::Source;
use crate::triton::{Config, Instances, batch};
use crate::{Globals, bar::Bar, files, repository};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The ONNX model, or an engine of Enterprise TensorRT
    pub(crate) model: PathBuf,
    /// The model repository
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// The model's name; by default that of the file
    #[arg(long)]
    name: Option<String>,
    /// The version, a number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    model_version: u32,
    /// The model as ONNX, or a plan, which is built of it here for Triton on a machine like this one
    #[arg(long, value_enum, default_value = "onnx")]
    format: Format,
    /// The most rows of a batch; 0 for none. By default the largest size stated, else 8, where the model takes batches
    #[arg(long, value_name = "N")]
    max_batch: Option<usize>,
    /// Sizes of batches that are worth waiting for
    #[arg(long, value_name = "N", value_delimiter = ',')]
    preferred_batch: Vec<usize>,
    /// The longest that a request waits for others
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100)]
    queue_delay: u64,
    /// Executions at once, on each GPU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    instances: usize,
    /// The GPUs; by default all that Triton has
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with = "cpu")]
    gpus: Vec<u32>,
    /// Run on the CPU
    #[arg(long)]
    cpu: bool,
    /// Do without requests that warm the model up
    #[arg(long)]
    no_warmup: bool,
    /// Have Triton's ONNX Runtime run TensorRT, in the precision of --precision (fp32 or fp16)
    #[arg(long, conflicts_with = "cpu")]
    tensorrt: bool,
    #[command(flatten)]
    shapes: Shapes,
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    Onnx,
    Plan,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("`{text}` is no positive number"))
}

/// The largest batch where nobody states one.
const MAX_BATCH: usize = 8;

/// What goes into the folder of a version.
enum Content {
    Model(Box<OnnxModel>),
    Plan(Box<Engine>),
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<Output> {
    let bar = Bar::new(globals.quiet);
    bar.say("read the model");
    let content = match (Source::open(&args.model)?, args.format) {
        (Source::Model(model), Format::Onnx) => Content::Model(Box::new(args.shapes.bind(*model)?)),
        (Source::Model(model), Format::Plan) => {
            Content::Plan(Box::new(build(args, &args.shapes.bind(*model)?, &bar)?))
        }
        (Source::Engine(engine), _) => {
            args.options.expect_none()?;
            Content::Plan(engine)
        }
    };
    let (backend, file, signature) = match &content {
        Content::Model(model) => ("onnxruntime", "model.onnx", model.signature()),
        Content::Plan(engine) => {
            if *engine.kind() != BackendKind::TensorRt {
                return Err(Failure::usage(format!(
                    "Triton loads plans of Enterprise TensorRT alone, and this is one of {}; export the ONNX model",
                    engine.kind()
                )));
            }
            ("tensorrt", "model.plan", engine.signature())
        }
    };
    let precision = accelerated(args, &content)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => args.model.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    // It is the name of a folder, and a part of addresses.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(Failure::usage(format!(
            "`{name}` is no name of a model; --name gives another"
        )));
    }
    let (max_batch, why_none) = max_batch(args.max_batch, batch(signature))?;
    let config = Config {
        name: &name,
        backend,
        file,
        signature,
        max_batch,
        preferred: &args.preferred_batch,
        delay: args.queue_delay,
        instances: Instances { count: args.instances, gpus: &args.gpus, cpu: args.cpu },
        warm_up: !args.no_warmup,
        accelerated: precision,
    };
    if let Some(size) = args.preferred_batch.iter().find(|&&size| size == 0 || size > max_batch) {
        return Err(Failure::usage(match max_batch {
            0 => format!("--preferred-batch {size}: Triton makes no batches of this model"),
            _ => format!("--preferred-batch {size} is not in 1..={max_batch}"),
        }));
    }
    let config = config.text()?;
    let folder = args.output.join(&name);
    repository::add(&folder, args.model_version, &config, |version| {
        let path = version.join(file);
        match &content {
            Content::Model(model) => model.save(path).map_err(Failure::from),
            Content::Plan(engine) => {
                files::replace(&path, engine.plan()).map_err(|e| io("write", &path, e))
            }
        }
    })?;
    drop(bar);
    let mut text = format!("written   {}\n", folder.display());
    text += &match why_none {
        None => format!("batches   of up to {max_batch}\n"),
        Some(why) => format!("batches   none: {why}\n"),
    };
    text += &format!("serve     tritonserver --model-repository={}\n", args.output.display());
    let json = json!({
        "folder": folder, "name": name, "version": args.model_version, "backend": backend,
        "maxBatch": max_batch, "config": config,
    });
    Ok(Output::new(text, json))
}

fn build(args: &Args, model: &OnnxModel, bar: &Bar) -> Result<Engine> {
    let registry = args.options.device.registry();
    let options = bar.follow(args.options.options(registry, Some(Name::Tensorrt))?);
    Ok(InferenceModule::build(model, &options)?.0)
}

/// The precision in which ONNX Runtime runs TensorRT, if it does. A precision says nothing without it.
fn accelerated(args: &Args, content: &Content) -> Result<Option<&'static str>> {
    use accelerant::precision::Precision;
    let precision = args.options.precision();
    match (content, args.tensorrt) {
        (Content::Plan(_), true) => {
            Err(Failure::usage("--tensorrt is for ONNX models; a plan runs on TensorRT anyway"))
        }
        (Content::Model(_), false) if precision.is_some() => Err(Failure::usage(
            "Triton's ONNX Runtime takes a precision with --tensorrt alone; --format plan has it in the plan",
        )),
        (Content::Model(_), true) => match precision {
            None | Some(Precision::Fp32 | Precision::Tf32) => Ok(Some("FP32")),
            Some(Precision::Fp16) => Ok(Some("FP16")),
            Some(other) => Err(Failure::usage(format!(
                "{other}: TensorRT in Triton's ONNX Runtime has fp32 and fp16"
            ))),
        },
        _ => Ok(None),
    }
}

/// The most rows of a batch, and why it is none.
fn max_batch(
    wanted: Option<usize>,
    batch: Result<&Symbol, String>,
) -> Result<(usize, Option<String>)> {
    match (wanted, batch) {
        (Some(0), _) => Ok((0, Some("as --max-batch says".into()))),
        (Some(wanted), Err(why)) => Err(Failure::usage(format!(
            "--max-batch {wanted}: the model takes no batches, as {why}"
        ))),
        (Some(wanted), Ok(symbol)) if wanted > symbol.max() => Err(Failure::usage(format!(
            "--max-batch {wanted}: `{}` is at most {}",
            symbol.name(),
            symbol.max()
        ))),
        (Some(wanted), Ok(_)) => Ok((wanted, None)),
        // Triton makes batches of one row, which the model has to take.
        (None, Ok(symbol)) if symbol.min() > 1 => {
            Ok((0, Some(format!("`{}` is at least {}", symbol.name(), symbol.min()))))
        }
        (None, Ok(symbol)) if symbol.max() == Symbol::UNBOUNDED => Ok((MAX_BATCH, None)),
        (None, Ok(symbol)) => Ok((symbol.max(), None)),
        (None, Err(why)) => Ok((0, Some(why))),
    }
}
