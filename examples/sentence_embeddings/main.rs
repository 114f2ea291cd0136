//! Sentences to vectors with all-MiniLM-L6-v2, natively in Candle and accelerated: how alike the
//! sentences are, how far the results are apart, and how long each takes.
//!
//! ```sh
//! cargo xtask sdk --flavor models      # the trained weights and their tokenizer
//! cargo run --release --features candle --example sentence_embeddings
//! ```

#[path = "../candle_models/mod.rs"]
mod candle_models;
#[path = "../../tests/common/minilm.rs"]
#[allow(unreachable_pub, reason = "shared with tests")]
mod minilm;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use accelerant::candle::OptimizeTrt;
use accelerant::{Dim, OptimizeOptions};
use candle_core::{DType, Device, Tensor};
use candle_models::bert::{Bert, Config, SentenceEncoder};
use candle_nn::VarBuilder;
use clap::Parser;
use tokenizers::{PaddingParams, Tokenizer};

const SENTENCES: [&str; 6] = [
    "A man is eating food.",
    "Someone has a meal.",
    "The engine was built for another GPU.",
    "The plan does not fit the graphics card.",
    "It rained in Lisbon all week.",
    "The weather in Portugal was wet.",
];

/// Embeds sentences with a trained model, natively and accelerated.
#[derive(Parser)]
struct Args {
    /// The folder with the weights and the tokenizer; where `cargo xtask sdk` puts them, if not given.
    #[arg(long)]
    model: Option<PathBuf>,
    /// How often each is timed.
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Sentences of one's own.
    sentences: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).init();
    let args = Args::parse();
    let folder = args.model.map_or_else(minilm::folder, Ok)?;
    let sentences = match args.sentences.is_empty() {
        true => SENTENCES.map(str::to_owned).to_vec(),
        false => args.sentences,
    };

    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
    tokenizer.with_padding(Some(PaddingParams::default()));
    let encodings = tokenizer.encode_batch(sentences.clone(), true)?;
    let rows = |part: fn(&tokenizers::Encoding) -> &[u32]| {
        Tensor::new(encodings.iter().map(|e| part(e).to_vec()).collect::<Vec<_>>(), &Device::Cpu)
    };
    let (ids, mask) = (rows(|e| e.get_ids())?, rows(|e| e.get_attention_mask())?);

    let weights = std::fs::read(folder.join("model.safetensors"))?;
    let vb = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let encoder = SentenceEncoder(Bert::new(&Config::MINILM, vb)?);

    let length = Dim::dynamic("length", 1..=256)?;
    let options = OptimizeOptions::new()
        .dynamic_batch(1..=sentences.len().max(32))
        .dynamic_axis("ids", 1, length.clone())
        .dynamic_axis("mask", 1, length);
    let start = Instant::now();
    let fast = encoder.optimize_trt_with([("ids", &ids), ("mask", &mask)], &options)?;
    println!("optimized in {:.1} s, runs on {}", start.elapsed().as_secs_f64(), fast.backend());

    let (native, native_time) = median(args.runs, || Ok(encoder.forward(&ids, &mask)?))?;
    let (fast, fast_time) = median(args.runs, || Ok(fast.run((&ids, &mask))?.swap_remove(0)))?;

    println!("\nsimilarity (accelerated)");
    for (i, row) in fast.matmul(&fast.t()?)?.to_vec2::<f32>()?.iter().enumerate() {
        let cells: String = row.iter().map(|similarity| format!("{similarity:6.2}")).collect();
        println!("{cells}  {}", sentences[i]);
    }
    let difference = (&native - &fast)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("\nlargest difference of a coordinate: {difference:.1e}");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("candle {:.2} ms, accelerated {:.2} ms (medians)", ms(native_time), ms(fast_time));
    // TensorRT may use TF32 for 32-bit products: 10 bits of mantissa.
    if difference.is_nan() || difference > 5e-3 {
        return Err("the results differ".into());
    }
    Ok(())
}

/// The result of a run, and the median time of several after a first one.
fn median<T>(
    runs: usize,
    mut run: impl FnMut() -> Result<T, Box<dyn Error + Send + Sync>>,
) -> Result<(T, Duration), Box<dyn Error + Send + Sync>> {
    let result = run()?;
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((result, times[times.len() / 2]))
}
