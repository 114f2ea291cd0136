//! Measures native and accelerated models on CUDA devices. One line of JSON a measurement goes to
//! stdout, where `cargo xtask compare` reads it; what is left out and why goes to stderr.

mod record;
mod timing;

#[cfg(feature = "burn-eager")]
mod burn;
#[cfg(feature = "burn-eager")]
mod burn_check;
#[cfg(feature = "candle")]
mod candle;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use accelerant::Registry;
use accelerant::backend::tensorrt::{Profiles, TensorRt, TensorRtOptions};
use accelerant::{BackendKind, OptimizeOptions};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Measures native and accelerated models on CUDA devices")]
struct Args {
    /// Whose models.
    #[arg(long, value_enum)]
    framework: Framework,
    /// The CUDA device.
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Where TensorRT keeps the kernels that it compiles at run time.
    #[arg(long)]
    runtime_cache: Option<PathBuf>,
    /// Whether kernels may overlap; by default as the crate has it on the device.
    #[arg(long)]
    kernel_overlap: Option<bool>,
    /// Whether layers are in the forms that are faster on Hopper; by default as the crate has it on the device.
    #[arg(long)]
    hopper_forms: Option<bool>,
    /// The precision of accelerated modules, such as `mixed`; by default that of the model.
    #[arg(long)]
    precision: Option<accelerant::precision::Precision>,
    /// Which size of Candle's accelerated modules is not fixed: any up to the one measured.
    #[arg(long, value_enum)]
    any: Option<Any>,
    /// Batches that one accelerated module of Candle's is tuned for, with layers in the forms that are for the first of
    /// them; those measured are among them.
    #[arg(long, value_delimiter = ',', conflicts_with = "any")]
    batch_sizes: Vec<usize>,
    /// One profile for all sizes, also where single ones get their own by default.
    #[arg(long)]
    one_profile: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum Framework {
    Burn,
    Candle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Any {
    Batch,
    /// Of texts.
    Length,
}

#[derive(Subcommand)]
enum Command {
    /// Native, accelerated, and the raw loop over the same engine, model by model.
    Models(Plan),
    /// From the start of the process to the first result.
    Start {
        #[arg(long, value_enum, default_value = "digits")]
        model: Model,
        /// Opened if it is there, else built and saved. Without one it is the framework itself that runs.
        #[arg(long)]
        engine: Option<PathBuf>,
    },
    /// Calls a second from 1, 2, 4 and 8 threads that share one module.
    Threads {
        #[arg(long, default_value_t = 2000)]
        calls: usize,
        /// Shares the threads among replicas on these devices.
        #[arg(long, num_args = 1..)]
        devices: Vec<usize>,
    },
    /// Builds, runs and drops a module again and again; tells what memory is missing afterwards.
    Cycles {
        #[arg(long, default_value_t = 1000)]
        count: usize,
        /// Stops before the count is reached.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
    /// Runs modules on the framework's own CUDA tensors in all ways, and compares with its results on the CPU.
    Check,
    /// One module, called again and again; tells what memory is missing afterwards.
    Forwards {
        #[arg(long, default_value_t = 1_000_000)]
        count: usize,
        /// With CUDA graphs.
        #[arg(long)]
        graph: bool,
    },
}

#[derive(clap::Args, Clone)]
pub(crate) struct Plan {
    #[arg(long, value_enum, num_args = 1.., default_values = ["digits", "resnet50", "bert-base", "vit-b16", "minilm"])]
    pub models: Vec<Model>,
    #[arg(long, value_enum, num_args = 1.., default_values = ["f32", "f16"])]
    pub dtypes: Vec<Precision>,
    #[arg(long, num_args = 1.., default_values_t = [1, 8, 32])]
    pub batches: Vec<usize>,
    #[arg(long, value_enum, num_args = 1.., default_values = ["native", "accelerated", "raw"])]
    pub who: Vec<Who>,
    /// Accelerated without CUDA graphs, with them, or both. Where kernels wait all are graphs.
    #[arg(long, action = ArgAction::Set, num_args = 1.., default_values_t = [false, true])]
    pub cuda_graphs: Vec<bool>,
    #[arg(long, default_value_t = 100)]
    pub iterations: usize,
    /// Starts no measurement after so many seconds.
    #[arg(long, default_value_t = 500)]
    pub seconds: u64,
    /// The program of `benches/cpp`.
    #[arg(long)]
    pub raw_loop: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    Digits,
    #[value(name = "resnet50")]
    ResNet50,
    BertBase,
    #[value(name = "vit-b16")]
    VitB16,
    #[value(name = "minilm")]
    MiniLm,
}

impl Model {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    F32,
    F16,
}

impl Precision {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    /// How far results may be from each other, of the largest value: TF32, and dozens of layers.
    pub(crate) fn tolerance(self) -> f64 {
        match self {
            Self::F32 => 3e-3,
            Self::F16 => 3e-2,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    Native,
    Accelerated,
    Raw,
}

/// What is common to all measurements of a run.
pub(crate) struct Setting {
    pub device: usize,
    pub start: Instant,
    pub runtime_cache: Option<PathBuf>,
    pub kernel_overlap: Option<bool>,
    pub hopper_forms: Option<bool>,
    pub precision: Option<accelerant::precision::Precision>,
    pub any: Option<Any>,
    pub batch_sizes: Vec<usize>,
    pub one_profile: bool,
}

impl Setting {
    /// TensorRT-RTX or nothing, on the chosen device.
    pub(crate) fn options(&self, cuda_graph: bool) -> OptimizeOptions {
        let mut options = TensorRtOptions::default().device(self.device).cuda_graph(cuda_graph);
        if let Some(path) = &self.runtime_cache {
            options = options.runtime_cache(path);
        }
        if let Some(allowed) = self.kernel_overlap {
            options = options.kernel_overlap(allowed);
        }
        if let Some(written) = self.hopper_forms {
            options = options.hopper_forms(written);
        }
        if self.one_profile {
            options = options.profiles(Profiles::new());
        }
        let registry = Registry::empty()
            .with(TensorRt::rtx().with_options(options))
            .require(BackendKind::TensorRtRtx);
        let options = OptimizeOptions::new().registry(registry);
        match self.precision {
            Some(precision) => options.precision(precision),
            None => options,
        }
    }
}

fn run(args: Args, start: Instant) -> Result<()> {
    let setting = Setting {
        device: args.device,
        start,
        runtime_cache: args.runtime_cache,
        kernel_overlap: args.kernel_overlap,
        hopper_forms: args.hopper_forms,
        precision: args.precision,
        any: args.any,
        batch_sizes: args.batch_sizes,
        one_profile: args.one_profile,
    };
    match args.framework {
        #[cfg(feature = "candle")]
        Framework::Candle => match args.command {
            Command::Models(plan) => candle::models::measure(&setting, &plan),
            Command::Start { model, engine: Some(engine) } => {
                candle::endurance::start(&setting, model, &engine)
            }
            Command::Start { model, engine: None } => {
                candle::endurance::start_native(&setting, model)
            }
            Command::Threads { calls, devices } => {
                candle::endurance::threads(&setting, calls, &devices)
            }
            Command::Cycles { count, seconds } => {
                candle::endurance::cycles(&setting, count, seconds)
            }
            Command::Forwards { count, graph } => {
                candle::endurance::forwards(&setting, count, graph)
            }
            Command::Check => Err("tests/device_cuda does this for Candle".into()),
        },
        #[cfg(feature = "burn-eager")]
        Framework::Burn => match args.command {
            Command::Models(plan) => burn::measure(&setting, &plan),
            Command::Start { model, engine: None } => burn::start_native(&setting, model),
            Command::Forwards { count, graph } => burn::forwards(&setting, count, graph),
            Command::Check => burn_check::check(&setting),
            _ => Err("measured with --framework candle".into()),
        },
        #[allow(unreachable_patterns)]
        _ => Err("this framework was not compiled in".into()),
    }
}

fn main() -> ExitCode {
    let start = Instant::now();
    match run(Args::parse(), start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
