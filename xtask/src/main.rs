//! Chores of this repository, called as `cargo xtask COMMAND`. Only the command line lives here;
//! each command has its own file.

mod alike;
mod apps;
mod bundle;
mod ci;
mod codegen;
mod compare;
mod cuda_toolkit;
mod demo;
mod fuzz;
mod nvcc;
mod packages;
mod pip;
mod rooms;
mod sdk;
mod tables;
mod test;
mod tidy;
mod workspace;
mod zoo;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Chores of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put an SDK in place if none is there, and print where it is.
    Sdk(sdk::Args),
    /// Put the CUDA toolkit in place that `candle-cuda` is compiled with, and print its environment.
    CudaToolkit(cuda_toolkit::Args),
    /// Run all tests.
    Test(test::Args),
    /// Run the example that shows the crate at work.
    Demo(demo::Args),
    /// Make the packages that go to the registry, check what they hold, and print their sizes.
    Packages,
    /// Build and run the applications of `examples/apps` from these packages.
    Apps(apps::Args),
    /// Run everything that must hold before a change goes in.
    Ci,
    /// Run the cases and write the tables of operations from what they recorded.
    Tables,
    /// Check the rules about files.
    Tidy,
    /// Pack binaries and libraries for a machine without Rust or network.
    Bundle(bundle::Args),
    /// Give changed models, engines and saved pairs to each reader.
    Fuzz(fuzz::Args),
    /// Turn measurements into a report with tables and a plot.
    Compare(compare::Args),
    /// Compare all models of candle-transformers with the crate's own, and write their table.
    Zoo,
    /// Regenerate the ONNX protobuf code.
    Codegen(codegen::Args),
}

fn main() -> ExitCode {
    // Printed by hand: where in xtask an error came up (RUST_BACKTRACE) helps nobody who reads it.
    let Err(error) = run(Cli::parse().command) else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("\ncaused by: {cause}");
    }
    ExitCode::FAILURE
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Sdk(args) => sdk::run(&args),
        Command::CudaToolkit(args) => cuda_toolkit::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Packages => packages::run(),
        Command::Apps(args) => apps::run(&args),
        Command::Ci => ci::run(),
        Command::Tables => tables::run(),
        Command::Tidy => tidy::run(),
        Command::Bundle(args) => bundle::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Zoo => zoo::run(),
        Command::Codegen(args) => codegen::run(&args),
    }
}
