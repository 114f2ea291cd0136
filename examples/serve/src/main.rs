//! An HTTP server over accelerant: models by name, requests of many clients gathered into batches, the Open Inference
//! Protocol v2 with Triton's binary tensors. Here are the command line, the start and the end.
//!
//! ```text
//! cargo run --release -p accelerant-serve -- digits=digits.onnx,batch=1:8:32 --listen 127.0.0.1:8000
//! curl localhost:8000/v2/models/digits
//! ```

mod http;
mod metrics;
mod models;
mod protocol;

use std::{
    io::Write as _,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::serve::ListenerExt as _;
use clap::Parser;
use models::{Limits, Models, Wanted};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "Serves ONNX models and engines over HTTP, by the Open Inference Protocol v2")]
struct Args {
    /// Models as NAME=FILE, with sizes of symbols as NAME=FILE,n=1:8:32
    #[arg(required = true)]
    models: Vec<Wanted>,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// The most requests of a model that wait; more get the status 503
    #[arg(long, default_value_t = 256)]
    max_queue: usize,
    /// The longest that a request waits for others to make a batch
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 500)]
    max_delay: u64,
    /// The largest request, in MiB
    #[arg(long, default_value_t = 64)]
    max_body: usize,
    /// After a signal to end, serve for so long as not ready, so that a load balancer sees it
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    drain: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failed(&format!("no threads for the server: {e}")),
    };
    // Models are built before anybody may connect.
    let limits = Limits { queue: args.max_queue, delay: Duration::from_micros(args.max_delay) };
    let models = match Models::load(&args.models, &limits) {
        Ok(models) => Arc::new(models),
        Err(e) => return failed(&e),
    };
    match runtime.block_on(serve(&args, models)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&format!("{}: {e}", args.listen)),
    }
}

fn failed(text: &str) -> ExitCode {
    eprintln!("error: {text}");
    ExitCode::FAILURE
}

async fn serve(args: &Args, models: Arc<Models>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    // With port 0 the system chooses, and a program that started this one reads which.
    println!("listening on {}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let drain = Duration::try_from_secs_f64(args.drain).unwrap_or_default();
    let app = http::app(models.clone(), args.max_body << 20);
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async move {
        std::future::poll_fn(|cx| match terminate.poll_recv(cx) {
            std::task::Poll::Pending => interrupt.poll_recv(cx),
            ready => ready,
        })
        .await;
        models.ending.store(true, Ordering::Release);
        tokio::time::sleep(drain).await;
    };
    // Takes no more connections then, and answers what has arrived.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).with_graceful_shutdown(end).await
}
