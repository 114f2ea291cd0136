//! Generates tokens with a language model: one from a folder, or random weights of a known shape.
//!
//! A folder has `config.json`, perhaps `generation_config.json`, `*.safetensors` and `tokenizer.json`, as checkpoints of Hugging Face have them:
//! `cargo run --release --example generate -- --folder SmolLM2-135M --prompt "Once upon a time"`.
//! Without a folder the weights are random, nothing is downloaded, and times are printed:
//! `cargo run --release --example generate --features tensorrt-rtx -- --shape llama-1b --dtype f16 --backend tensorrt-rtx`.

mod in_flight;
mod native;
mod random;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use accelerant::cache::EngineCache;
use accelerant::generate::{
    AttentionForm, Decoder, DecoderConfig, DecoderModule, DecoderOptions, GenerateOptions,
    ProductForm, Tokens,
};
use accelerant::{BackendKind, DType, HostTensor, OptimizeOptions};
use clap::Parser;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Generates tokens with a language model, and prints how long they take.
#[derive(Parser)]
struct Options {
    /// A checkpoint: config.json, *.safetensors and tokenizer.json.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// What the text begins with, for a folder.
    #[arg(long, default_value = "Once upon a time")]
    prompt: String,
    /// Random weights of this shape: tiny, small, llama-1b.
    #[arg(long, default_value = "tiny")]
    shape: String,
    /// So many layers instead of all.
    #[arg(long)]
    layers: Option<usize>,
    /// f32, f16 or bf16.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Weights in another precision, such as int4-weights.
    #[arg(long)]
    precision: Option<accelerant::precision::Precision>,
    /// A backend that must be used, such as tensorrt-rtx.
    #[arg(long)]
    backend: Option<String>,
    /// How products are written, several with commas: gemm, matmul, columns, parts2, parts4, …
    #[arg(long, default_value = "gemm")]
    forms: String,
    /// Query, key and value as three products, gate and up as two.
    #[arg(long)]
    apart: bool,
    /// Scores in the type of the states.
    #[arg(long)]
    narrow_scores: bool,
    /// Positions of the cache.
    #[arg(long, default_value_t = 512)]
    capacity: usize,
    /// Tokens of the random prompt.
    #[arg(long, default_value_t = 128)]
    prompt_tokens: usize,
    /// Tokens to generate.
    #[arg(long, default_value_t = 256)]
    tokens: usize,
    /// Tokens of a prompt in one pass.
    #[arg(long, default_value_t = 128)]
    chunk: usize,
    /// Texts at once.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// So many requests through continuous batching, in a batch of `--batch` texts, against the same requests one after the
    /// other on a batch of one.
    #[arg(long)]
    requests: Option<usize>,
    /// Milliseconds between two requests.
    #[arg(long, default_value_t = 0)]
    every: u64,
    /// How often the generation is timed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// What tokens are drawn with; 0 takes the most likely.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// How attention is written for single tokens, several with commas: usual, whole, parts16, sums16, …
    #[arg(long, default_value = "usual")]
    attention: String,
    /// Tells how long each layer of a step takes, on TensorRT.
    #[arg(long)]
    profile: bool,
    /// Times candle-transformers' own Llama besides, on CUDA with the feature `candle-cuda`, else on the CPU.
    #[arg(long)]
    native: bool,
    /// Builds engines and runs nothing.
    #[arg(long)]
    build_only: bool,
}

fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let options = Options::parse();
    if let Some(folder) = &options.folder {
        return tell(folder, &options);
    }
    let mut config = random::shape(&options.shape)?;
    if let Some(layers) = options.layers {
        config.layers = layers;
    }
    let dtype = dtype(&options.dtype)?;
    if options.native {
        native::measure(&config, dtype, &options)?;
    }
    let decoder = Decoder::new(config.clone(), random::Random::new(&config, dtype));
    if let Some(requests) = options.requests {
        return in_flight::measure(&decoder, requests, dtype, &options);
    }
    for form in options.forms.split(',') {
        for attention in options.attention.split(',') {
            let form = format!("{form}+{attention}");
            if let Err(e) = measure(&decoder, &form, dtype, &options) {
                println!("{form}: {e}");
            }
        }
    }
    Ok(())
}

fn dtype(name: &str) -> Result<DType> {
    Ok(match name {
        "f32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        other => return Err(format!("`{other}` is none of f32, f16 and bf16").into()),
    })
}

fn form(name: &str) -> Result<ProductForm> {
    Ok(match name {
        "gemm" => ProductForm::Gemm,
        "matmul" => ProductForm::MatMul,
        "columns" => ProductForm::Columns,
        other => match other.strip_prefix("parts") {
            Some(parts) => ProductForm::Parts(parts.parse()?),
            None => return Err(format!("the form `{other}` is not known").into()),
        },
    })
}

fn attention(name: &str) -> Result<Option<AttentionForm>> {
    let number =
        |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is no number of parts"));
    Ok(match name {
        "usual" => None,
        "whole" => Some(AttentionForm::Whole),
        other => {
            type Form = fn(usize) -> AttentionForm;
            let forms: [(&str, Form); 3] = [
                ("parts", AttentionForm::Parts),
                ("sums", AttentionForm::Sums),
                ("columns", AttentionForm::Columns),
            ];
            let parts = |(prefix, form)| other.strip_prefix(prefix).map(|parts| (parts, form));
            let found = forms.into_iter().find_map(parts);
            let (parts, form) = found.ok_or(format!("the attention `{other}` is not known"))?;
            Some(form(number(parts)?))
        }
    })
}

/// `form_name` is that of the products, and after a `+` that of the attention.
fn decoder_options(form_name: &str, dtype: DType, options: &Options) -> Result<DecoderOptions> {
    let (form_name, attention_name) = form_name.split_once('+').unwrap_or((form_name, "usual"));
    let chunk = Tokens::UpTo(options.chunk.min(options.capacity));
    let mut decoder = DecoderOptions::new(options.capacity).batch(options.batch).tokens(chunk);
    decoder = decoder.dtype(dtype).form(form(form_name)?);
    decoder = decoder.joined(!options.apart).wide_scores(!options.narrow_scores);
    decoder.attention = attention(attention_name)?;
    Ok(decoder)
}

fn compiling(options: &Options) -> OptimizeOptions {
    let all = OptimizeOptions::new().cache(EngineCache::off());
    let all = match options.precision {
        Some(precision) => all.precision(precision),
        None => all,
    };
    match &options.backend {
        Some(name) => all.require(BackendKind::from_name(name)),
        None => all,
    }
}

/// Compiles in one form, generates, and prints the times.
fn measure(decoder: &Decoder, form: &str, dtype: DType, options: &Options) -> Result<()> {
    let start = Instant::now();
    let written = decoder_options(form, dtype, options)?;
    if options.build_only {
        return build_only(decoder, form, &written, options);
    }
    let module = decoder.optimize_trt(&written, &compiling(options))?;
    let compiled = start.elapsed();
    let description = module.module().description();
    println!("{form}: compiled in {:.1} s on {description}", compiled.as_secs_f64());
    let prompts = prompts(decoder.config(), options);
    let mut firsts = Vec::new();
    let mut steps = Vec::new();
    for run in 0..=options.runs {
        let [first, step, slowest] = time(&module, &prompts, options)?;
        // The first one compiles kernels and captures graphs.
        if run == 0 {
            let (first, slowest) = (first.as_secs_f64(), slowest.as_secs_f64());
            println!(
                "{form}: the first run took {first:.3} s to its first token, and {slowest:.3} s for its slowest step"
            );
        } else {
            firsts.push(first);
            steps.push(step);
        }
    }
    let (first, step) = (median(&mut firsts), median(&mut steps));
    tell_times(form, first, step, options);
    #[cfg(feature = "cuda")]
    if let Some(device) = module.module().device() {
        println!("{form}: {:?}", device.counters());
    }
    if options.profile {
        profile(&module, form)?;
    }
    Ok(())
}

fn tell_times(form: &str, first: Duration, step: Duration, options: &Options) {
    println!(
        "{form} batch {} prompt {} tokens {} capacity {} {}: first token {:.3} ms, a step {:.4} ms, {:.1} tokens/s",
        options.batch,
        options.prompt_tokens,
        options.tokens,
        options.capacity,
        options.dtype,
        first.as_secs_f64() * 1e3,
        step.as_secs_f64() * 1e3,
        options.batch as f64 / step.as_secs_f64(),
    );
}

/// The same prompts each time.
fn prompts(config: &DecoderConfig, options: &Options) -> Vec<Vec<u32>> {
    let token = |text: u32, i: u32| (i * 7919 + text * 104_729) % config.vocabulary as u32;
    (0..options.batch as u32)
        .map(|text| (0..options.prompt_tokens as u32).map(|i| token(text, i)).collect())
        .collect()
}

/// Prints how long each layer of a step takes, with a cache that is full.
fn profile(module: &DecoderModule, form: &str) -> Result<()> {
    let step = module.module();
    let inputs: Vec<HostTensor> = step
        .signature()
        .inputs
        .iter()
        .map(|spec| {
            let [_, _, shape] = spec.shape.profile();
            let bytes = vec![0u8; shape.iter().product::<usize>() * spec.dtype.size()];
            HostTensor::from_bytes(spec.dtype, shape, bytes)
        })
        .collect::<accelerant::Result<_>>()?;
    let layers = step.layer_times(&inputs, 20)?;
    for layer in &layers {
        println!("{form} layer {:>8.1} us  {}", layer.micros, layer.name);
    }
    println!("{form} layers {:>8.1} us", layers.iter().map(|layer| layer.micros).sum::<f64>());
    Ok(())
}

fn build_only(
    decoder: &Decoder,
    form: &str,
    written: &DecoderOptions,
    options: &Options,
) -> Result<()> {
    use accelerant::InferenceModule;
    for (name, tokens) in [("step", 1), ("prompt", options.chunk)] {
        let start = Instant::now();
        let written = written.clone().tokens(Tokens::Fixed(tokens));
        let model = decoder.model(accelerant::export::Target::tensorrt(), &written)?;
        let (engine, _) = InferenceModule::build(&model, &compiling(options))?;
        let bytes = engine.plan().len();
        println!("{form} {name}: {bytes} bytes, built in {:.1} s", start.elapsed().as_secs_f64());
        std::fs::write(format!("{form}.{name}.plan"), engine.plan())?;
    }
    Ok(())
}

/// The time to the first token, of each step after it, and of the slowest of the steps.
fn time(module: &DecoderModule, prompts: &[Vec<u32>], options: &Options) -> Result<[Duration; 3]> {
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let generation = GenerateOptions::new()
        .max_tokens(options.tokens)
        .temperature(options.temperature)
        .stop_tokens([]);
    let start = Instant::now();
    let mut batch = module.generate_batch(&prompts, &generation)?;
    batch.next().transpose()?;
    let first = start.elapsed();
    let start = Instant::now();
    let (mut count, mut slowest) = (0, Duration::ZERO);
    let mut last = start;
    for tokens in batch.by_ref() {
        tokens?;
        count += 1;
        slowest = slowest.max(last.elapsed());
        last = Instant::now();
    }
    Ok([first, start.elapsed() / count.max(1), slowest])
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Prints the text of a checkpoint as it is generated.
fn tell(folder: &Path, options: &Options) -> Result<()> {
    use std::io::Write as _;
    let mut config =
        DecoderConfig::from_json(&std::fs::read_to_string(folder.join("config.json"))?)?;
    if let Ok(text) = std::fs::read_to_string(folder.join("generation_config.json")) {
        config = config.with_generation_config(&text)?;
    }
    let tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json"))?;
    let mut weights = std::collections::HashMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            weights.extend(candle_core::safetensors::load(&path, &candle_core::Device::Cpu)?);
        }
    }
    let decoder = Decoder::new(config, weights);
    let written = decoder_options(&options.forms, dtype(&options.dtype)?, options)?;
    let module = decoder.optimize_trt(&written, &compiling(options))?;
    let prompt = tokenizer.encode(options.prompt.as_str(), true)?;
    let generation =
        GenerateOptions::new().max_tokens(options.tokens).temperature(options.temperature);
    print!("{}", options.prompt);
    for piece in module
        .generate(prompt.get_ids(), &generation)?
        .text(|tokens: &[u32]| tokenizer.decode(tokens, true))
    {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
