//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use accelerant::DType;

use crate::sizes::Sizes;

/// Serves models over HTTP: Open Inference Protocol v2 as Triton speaks it, and completions as OpenAI's API has them.
#[derive(clap::Parser, Debug)]
#[command(name = "accelerant-serve", version)]
pub(crate) struct Options {
    /// A model and its name, as NAME=model.onnx or NAME=model.engine; may be given several times. Trust an engine as a
    /// program.
    #[arg(long = "model", value_name = "NAME=FILE")]
    pub(crate) models: Vec<Named>,
    /// A language model and its name: a folder with config.json, *.safetensors and tokenizer.json
    #[arg(long, value_name = "NAME=FOLDER")]
    pub(crate) language_model: Option<Named>,
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// The backend that must be used: tensorrt-rtx, tensorrt, ort or tract
    #[arg(long)]
    pub(crate) backend: Option<String>,
    /// Sizes as the command `accelerant` takes them: SYMBOL=SIZE, SYMBOL=MIN:OPT:MAX or INPUT:1x3x224x224, for all models
    /// that have these, or with MODEL/ before; several with commas
    #[arg(long = "shape", value_name = "SIZES", value_delimiter = ',')]
    pub(crate) shapes: Vec<Sizes>,
    /// The most rows of a batch
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_batch: u32,
    /// How long a request waits for others, in milliseconds
    #[arg(long, default_value_t = 1)]
    pub(crate) max_delay: u64,
    /// The most requests of a model that wait; more get the status 503
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_queue: usize,
    /// The largest body of a request, in MiB
    #[arg(long, default_value_t = 64)]
    pub(crate) max_body: usize,
    /// Bodies of all requests together, in MiB; more get the status 503
    #[arg(long, default_value_t = 1024)]
    pub(crate) max_bodies: usize,
    /// The most connections at a time; others wait to be accepted
    #[arg(long, default_value_t = 1024)]
    pub(crate) connections: usize,
    /// The longest that a request's head, and then its body, may take to arrive, in seconds
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) read_limit: Duration,
    /// The longest that a client may leave its answer unread, in seconds
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) write_limit: Duration,
    /// How long open connections are still served after SIGTERM, in seconds, so that no request is lost on its way
    #[arg(long, default_value = "0.25", value_parser = seconds)]
    pub(crate) linger: Duration,
    /// The longest that the shutdown waits for answers, in seconds
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub(crate) shutdown_limit: Duration,
    /// The type that the language model computes in: f32, f16 or bf16; portable backends compute in f32
    #[arg(long, default_value = "f32", value_parser = dtype)]
    pub(crate) dtype: DType,
    /// Tokens of prompt and answer together that the language model's cache holds
    #[arg(long, default_value_t = 2048)]
    pub(crate) capacity: usize,
    /// How many texts are generated at a time, in one batch; by default 8 on a GPU and 4 elsewhere
    #[arg(long)]
    pub(crate) generations: Option<usize>,
    /// The most texts that wait for a place in the batch; more get the status 503
    #[arg(long, default_value_t = 64)]
    pub(crate) max_waiting: usize,
}

/// A name and a path.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) =
            text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=PATH"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("the name `{name}` has other characters than A-Z a-z 0-9 . _ -"));
        }
        Ok(Self { name: name.into(), path: path.into() })
    }
}

fn dtype(text: &str) -> Result<DType, String> {
    match text {
        "f32" => Ok(DType::F32),
        "f16" => Ok(DType::F16),
        "bf16" => Ok(DType::BF16),
        other => Err(format!("`{other}` is none of f32, f16 and bf16")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no number of seconds");
    let number = text.parse::<f64>().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number).map_err(|_| wrong())
}
