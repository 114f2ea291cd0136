//! The command `accelerant`: what the library does, without a line of Rust. Each command gives its result as text and as
//! JSON. This file prints the result, and gives the exit code to the shell.

mod apart;
mod bar;
#[cfg(unix)]
mod bound;
mod commands;
mod describe;
mod fail;
mod files;
mod inputs;
mod npy;
mod options;
mod panics;
mod pbtxt;
mod repository;
mod shapes;
mod source;
mod terminal;
mod timeout;
mod triton;
mod words;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use commands::{
    Output, bench, build, cache, check, compare, doctor, inspect, run, sdk, serve_export,
};
use fail::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  the work failed, or a result differs
  2  the command line makes no sense
  3  the model or the engine is refused
  4  no backend, library or device for it
  5  the work was not done within --timeout";

#[derive(Parser)]
#[command(
    name = "accelerant",
    version,
    about = "Builds, runs, measures and compares ONNX models on TensorRT, ONNX Runtime and tract",
    after_help = EXIT_CODES,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args)]
pub(crate) struct Globals {
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Show no progress
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Show the library's log; twice shows more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Work on the model in this process: a model that ends a parser then ends the command without a word
    #[arg(long, global = true)]
    trusted: bool,
    /// End with code 5 when the command takes longer: 30 (seconds), 500ms, 2m, 1h. The time counts from the start, and files
    /// that the command reads and writes are in it. For commands that take a model or an engine
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout::parse)]
    timeout: Option<std::time::Duration>,
    /// This is the process that works on a model
    #[arg(long, global = true, hide = true)]
    apart: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Build an engine of an ONNX model; no GPU is needed for TensorRT-RTX
    #[command(
        after_help = "Example: accelerant build model.onnx --shape n=1:8:32 --precision fp16 -o model.engine"
    )]
    Build(build::Args),
    /// Run a model or an engine on inputs from files, or on random ones
    #[command(after_help = "Example: accelerant run model.onnx --input x=x.npy --output out.npz")]
    Run(run::Args),
    /// Measure latency and throughput, in trtexec's words
    #[command(after_help = "Example: accelerant bench model.onnx --backend tract --duration 5")]
    Bench(bench::Args),
    /// Compare backends with each other, or with stored outputs
    #[command(after_help = "Example: accelerant compare model.onnx --backends tract,ort")]
    Compare(compare::Args),
    /// Show the contents of a model or an engine
    Inspect(inspect::Args),
    /// List everything that the backends refuse of a model
    Check(check::Args),
    /// List, check and clear the cache of engines
    Cache(cache::Args),
    /// Write a folder of a Triton model repository
    #[command(
        after_help = "Example: accelerant serve-export model.onnx --shape n=1:8:32 -o repository"
    )]
    ServeExport(serve_export::Args),
    /// Install, list and remove the libraries that the backends run on
    Sdk(sdk::Args),
    /// List backends, libraries and GPUs, and tell what helps where something is missing
    Doctor(doctor::Args),
    /// Print the completions of a shell
    #[command(
        after_help = "Example: accelerant completions bash > ~/.local/share/bash-completion/completions/accelerant"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let Cli { globals, command } = match Cli::try_parse_from(words::of(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => return misread(&e),
    };
    match panics::kept(|| work(command, &globals)) {
        Ok(code) => code,
        Err(failure) => refuse(&failure, &globals),
    }
}

fn work(command: Command, globals: &Globals) -> ExitCode {
    #[cfg(unix)]
    if globals.apart {
        apart::watch();
    } else if let Some(model) = command.apart(globals) {
        let is_trusted = globals.trusted || source::is_engine(model);
        let most = if is_trusted { None } else { bound::of(model, &command.given()) };
        return match apart::run(model, globals.timeout, most) {
            Ok(code) => code.into(),
            Err(failure) => refuse(&failure, globals),
        };
    }
    if globals.timeout.is_some() && !globals.apart {
        let text = match cfg!(unix) {
            true => "--timeout is for commands that take a model or an engine",
            false => "--timeout needs a Unix system",
        };
        return refuse(&Failure::usage(text), globals);
    }
    log(globals);
    let result = match command {
        Command::Build(args) => build::run(&args, globals),
        Command::Run(args) => run::run(&args, globals),
        Command::Bench(args) => bench::run(&args, globals),
        Command::Compare(args) => compare::run(&args, globals),
        Command::Inspect(args) => inspect::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::ServeExport(args) => serve_export::run(&args, globals),
        Command::Sdk(args) => sdk::run(&args, globals),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "accelerant", &mut script);
            print(&String::from_utf8_lossy(&script));
            return ExitCode::SUCCESS;
        }
    };
    let failure = match result {
        Ok(Output { text, json, failure }) => {
            match globals.json {
                true => print(&format!("{json:#}\n")),
                false => print(&terminal::text(&text)),
            }
            failure
        }
        Err(failure) => return refuse(&failure, globals),
    };
    match failure {
        Some(failure) => report(&failure),
        None => ExitCode::SUCCESS,
    }
}

impl Command {
    /// The model that a process of its own reads: a parser or a runtime would read it and nobody vouches for it, or the
    /// work has a limit of time. An engine is trusted anyway.
    #[cfg(unix)]
    fn apart(&self, globals: &Globals) -> Option<&std::path::Path> {
        let model = match self {
            Self::Build(args) => &args.model,
            Self::Run(args) => &args.model,
            Self::Bench(args) => &args.model,
            Self::Compare(args) => &args.model,
            Self::Check(args) => &args.model,
            Self::ServeExport(args) => &args.model,
            Self::Inspect(args) if globals.timeout.is_some() => &args.file,
            _ => return None,
        };
        let is_untrusted = || !globals.trusted && !source::is_engine(model);
        (globals.timeout.is_some() || is_untrusted()).then_some(model)
    }
}

impl Command {
    /// What the model gets beside its own files.
    #[cfg(unix)]
    fn given(&self) -> bound::Given<'_> {
        let (inputs, shapes, stored) = match self {
            Self::Run(args) => (&args.inputs, &args.shapes, None),
            Self::Bench(args) => (&args.inputs, &args.shapes, None),
            Self::Compare(args) => (&args.inputs, &args.shapes, args.expected.as_deref()),
            _ => return bound::Given::default(),
        };
        let inputs = inputs.paths().chain(stored).collect();
        bound::Given { inputs, states_sizes: !shapes.are_open() }
    }
}

/// The command line is none that clap takes, or asks for help.
fn misread(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        // Usage and advice come after an empty line.
        let text = error.to_string();
        let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
        let lines: Vec<&str> = lines.collect();
        let told = lines.join(" ");
        let told = told.strip_prefix("error: ").unwrap_or("there is no command");
        print(&format!("{:#}\n", Failure::usage(told).json()));
    }
    match error.use_stderr()
        && std::env::args_os().any(|argument| terminal::is_odd(&argument.to_string_lossy()))
    {
        true => eprint!("{}", terminal::text(&error.to_string())),
        // A reader that has gone is no error.
        false => drop(error.print()),
    }
    u8::try_from(error.exit_code()).unwrap_or(1).into()
}

/// The command has no result.
fn refuse(failure: &Failure, globals: &Globals) -> ExitCode {
    if globals.json {
        print(&format!("{:#}\n", failure.json()));
    }
    report(failure)
}

fn report(failure: &Failure) -> ExitCode {
    tell(&format!("error: {}\n", terminal::message(&failure.to_string())));
    if let Some(hint) = failure.hint() {
        tell(&format!("hint: {hint}\n"));
    }
    failure.code.into()
}

/// Prints to stderr. Where nobody reads it, the exit code says enough.
fn tell(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints to stdout. A reader that has gone, as `head` does, is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&format!("error: the result cannot be written: {e}\n"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Shows on stderr what the library logs. A process that works on a model hears which node its parser is at.
fn log(globals: &Globals) {
    use tracing_subscriber::{EnvFilter, Registry, fmt, prelude::*, registry};

    let level = match globals.verbose {
        0 => None,
        1 => Some("accelerant=info,warn"),
        _ => Some("debug"),
    };
    let shown = level.map(|level| {
        fmt::layer().with_writer(std::io::stderr).without_time().with_filter(EnvFilter::new(level))
    });
    #[cfg(unix)]
    let heard = globals.apart.then(apart::nodes::<Registry>);
    #[cfg(not(unix))]
    let heard = None::<tracing_subscriber::layer::Identity>;
    if shown.is_some() || heard.is_some() {
        registry().with(heard).with(shown).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_one_that_clap_takes() {
        Cli::command().debug_assert();
    }
}
