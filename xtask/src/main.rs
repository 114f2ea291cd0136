//! Chores of this repository, called as `cargo xtask COMMAND`. Only the command line lives here;
//! each command has its own file.

mod codegen;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the accelerant repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Regenerate the ONNX protobuf code.
    Codegen(codegen::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Codegen(args) => codegen::run(&args),
    }
}
