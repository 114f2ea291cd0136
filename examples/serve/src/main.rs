//! A server of ONNX models, engines and one language model over HTTP. Clients that were written for Triton, KServe or
//! OpenAI work against it. Start it with `cargo run --release -p accelerant-serve -- --model NAME=model.onnx`.
//!
//! This file has the order of the start and of the end. `routes` says which address leads where.

mod admission;
mod answer;
mod binary;
mod body;
mod data;
mod datatype;
mod describe;
mod exit;
mod fail;
mod gauge;
mod gone;
mod heavy;
mod infer;
mod inlet;
mod listen;
mod metrics;
mod models;
mod options;
mod request;
mod respond;
mod routes;
mod server;
mod shutdown;
mod sizes;
mod socket;
mod statistics;
mod text;
mod written;

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use options::Options;
use server::Server;

/// What ends the start: each has a text for a person.
type Problem = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    match run(&Options::parse()) {
        Ok(code) => exit::now(code),
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Serves, and gives the exit code. An error is one of the start.
fn run(options: &Options) -> Result<c_int, Problem> {
    let server = Arc::new(Server::load(options)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answered = runtime.block_on(listen::serve(server.clone(), options))?;
    let code = exit::told(answered, server.metrics.accepted());
    if answered {
        exit::let_go(server, runtime, options.shutdown_limit);
    } else {
        let _kept = ManuallyDrop::new((server, runtime));
    }
    Ok(code)
}
