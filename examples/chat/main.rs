//! Trains a small language model in seconds, compiles the model, and answers: nothing is downloaded.
//!
//! `cargo run --release --example chat --features candle` reads questions line by line.
//! `-- --say "Who are you?"` answers one question and ends.

mod trained;

use std::io::{BufRead, Write};
use std::time::Instant;

use accelerant::OptimizeOptions;
use accelerant::generate::{Decoder, DecoderModule, DecoderOptions, GenerateOptions};
use clap::Parser;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Chats with a language model that is trained first.
#[derive(Parser)]
struct Options {
    /// A question to answer instead of those of the terminal.
    #[arg(long)]
    say: Option<String>,
    /// How bold the answers are: 0 always takes the likeliest letter.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let begin = Instant::now();
    let (config, weights, loss) = trained::train()?;
    eprintln!("trained in {:.1} s, a loss of {loss:.3}", begin.elapsed().as_secs_f64());
    let capacity = config.positions;
    let model = Decoder::new(config, weights)
        .optimize_trt(&DecoderOptions::new(capacity), &OptimizeOptions::new())?;
    eprintln!("runs on {}", model.module().description());
    if let Some(question) = &options.say {
        return answer(&model, question, &options);
    }
    eprintln!("Ask one of these, or something else:");
    trained::TALK.iter().for_each(|(question, _)| eprintln!("  {question}"));
    for question in std::io::stdin().lock().lines() {
        answer(&model, &question?, &options)?;
    }
    Ok(())
}

/// Writes the answer piece by piece.
fn answer(model: &DecoderModule, question: &str, options: &Options) -> Result<()> {
    let options = GenerateOptions::new().temperature(options.temperature).stop_string("\n");
    for piece in model.generate(&trained::prompt(question), &options)?.text(trained::spelled) {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
