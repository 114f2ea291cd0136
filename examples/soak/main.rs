//! Everything that a program may do with modules on a GPU, at the same time and for minutes: eight modules of four
//! networks, host tensors and device tensors, new sizes, engines that are loaded and dropped, `submit` and a `Batcher`.
//! Every result is compared. An error, a wrong result or growing memory ends the program with status 1.
//! Memory of a device counts whole, so that no other program may use the devices meanwhile.
//!
//! `cargo run --release --features tensorrt-rtx --example soak -- --seconds 480`

mod networks;
mod work;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::backend::{Backend, ExecutionCounters};
use accelerant::cuda::cudarc::driver::CudaContext;
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{BackendKind, InferenceModule, OptimizeOptions, Registry};
use clap::Parser;
use networks::{NETWORKS, Network, Sample};

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Uses modules on a GPU in every way at once, and compares every result")]
struct Args {
    /// How long.
    #[arg(long, default_value_t = 480)]
    seconds: u64,
    /// How many threads.
    #[arg(long, default_value_t = 16)]
    threads: usize,
    /// The CUDA devices; each module has a replica on each.
    #[arg(long, num_args = 1.., default_values_t = [0])]
    devices: Vec<usize>,
    /// The random numbers that the threads start with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A module in service, with its samples and its batcher.
pub(crate) struct Service {
    pub(crate) network: &'static Network,
    pub(crate) options: TensorRtOptions,
    pub(crate) module: InferenceModule,
    pub(crate) batcher: Option<Batcher>,
}

/// What all threads share.
pub(crate) struct Soak {
    pub(crate) services: Vec<Service>,
    pub(crate) samples: Vec<Vec<Sample>>,
    pub(crate) devices: Vec<usize>,
    pub(crate) end: Instant,
    /// What was done, by [`work::Action`].
    pub(crate) done: [AtomicU64; work::ACTIONS],
    /// Results that were compared.
    pub(crate) compared: AtomicU64,
    /// The largest difference, in millionths of the largest value.
    pub(crate) furthest: AtomicU64,
    /// Counters of modules that were dropped.
    pub(crate) dropped: std::sync::Mutex<ExecutionCounters>,
}

/// Options for TensorRT-RTX and nothing else.
pub(crate) fn only(options: TensorRtOptions) -> OptimizeOptions {
    let registry = Registry::empty().with(TensorRt::rtx().with_options(options));
    OptimizeOptions::new().registry(registry).require(BackendKind::TensorRtRtx)
}

fn service(network: &'static Network, second: bool, devices: &[usize]) -> Result<Service> {
    let options = TensorRtOptions::default().device(devices[0]);
    let options = match second {
        true => options.cuda_graph(true).max_contexts(3).shared_scratch(network.batches),
        false => options,
    };
    let backend = TensorRt::rtx().with_options(options.clone());
    let model = network.export(backend.target())?;
    let module = InferenceModule::compile(&model, &only(options.clone()))?;
    let module = if devices.len() > 1 { module.on_devices(devices)? } else { module };
    let batcher = network.batches.then(|| {
        let options = BatcherOptions::new().max_delay(Duration::from_micros(500));
        Batcher::new(module.clone(), &options)
    });
    Ok(Service { network, options, module, batcher: batcher.transpose()? })
}

/// Sums of counters.
pub(crate) fn add(sum: &mut ExecutionCounters, of: &ExecutionCounters) {
    sum.executions += of.executions;
    sum.contexts += of.contexts;
    sum.staged += of.staged;
    sum.reshapes += of.reshapes;
    sum.graph_launches += of.graph_launches;
    sum.graph_captures += of.graph_captures;
    sum.graph_refusals += of.graph_refusals;
}

impl Soak {
    fn counters(&self) -> Result<ExecutionCounters> {
        let mut sum = *self.dropped.lock().map_err(|_| "a thread panicked")?;
        for service in &self.services {
            for &device in &self.devices {
                add(&mut sum, &service.module.cuda_on(device)?.counters());
            }
        }
        Ok(sum)
    }
}

/// What a moment of the soak looks like.
#[derive(Clone, Copy)]
struct Moment {
    /// Megabytes of this process in the host's memory.
    host: f64,
    /// Megabytes taken of all devices.
    device: f64,
    contexts: u64,
}

impl Soak {
    fn moment(&self) -> Result<Moment> {
        give_back();
        let pages = std::fs::read_to_string("/proc/self/statm")?;
        let resident = pages.split(' ').nth(1).ok_or("no resident size")?.parse::<f64>()? * 4096.0;
        let mut taken = 0;
        for &device in &self.devices {
            let (free, total) = CudaContext::new(device)?.mem_get_info()?;
            taken += total - free;
        }
        let (host, device) = (resident / 1e6, taken as f64 / 1e6);
        Ok(Moment { host, device, contexts: self.counters()?.contexts })
    }

    /// Megabytes of host and of device memory that the library keeps of each context that was made and dropped, while
    /// nothing else happens.
    fn kept_by_library(&self) -> Result<[f64; 2]> {
        let mut before = self.moment()?;
        for round in 0..2 {
            before = self.moment()?;
            for _ in 0..4 {
                for (i, service) in self.services.iter().enumerate() {
                    let samples = &self.samples[i % self.samples.len()];
                    work::load_once(self, service, &samples[round])?;
                }
            }
        }
        let after = self.moment()?;
        let contexts = (after.contexts - before.contexts) as f64;
        Ok([after.host - before.host, after.device - before.device]
            .map(|kept| kept.max(0.0) / contexts))
    }
}

/// Has the allocator give back what it holds on to.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: glibc's own, which may be called at any time.
        unsafe { malloc_trim(0) };
    }
}

fn run(args: &Args) -> Result<()> {
    let samples = NETWORKS.iter().map(Network::samples).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let mut services = Vec::new();
    for second in [false, true] {
        for network in &NETWORKS {
            services.push(service(network, second, &args.devices)?);
        }
    }
    println!("{} modules in {:.1} s", services.len(), begun.elapsed().as_secs_f64());
    let mut soak = Soak {
        services,
        samples,
        devices: args.devices.clone(),
        end: Instant::now(),
        done: Default::default(),
        compared: AtomicU64::new(0),
        furthest: AtomicU64::new(0),
        dropped: Default::default(),
    };
    let [host_kept, device_kept] = soak.kept_by_library()?;
    println!(
        "of each context that is dropped, TensorRT keeps {host_kept:.2} MB of host memory and {device_kept:.2} MB of \
         device memory"
    );
    soak.end = Instant::now() + Duration::from_secs(args.seconds);
    let (results, moments) = thread::scope(|scope| -> Result<_> {
        let threads: Vec<_> = (0..args.threads)
            .map(|thread| {
                let soak = &soak;
                scope.spawn(move || work::work(soak, thread, args.seed))
            })
            .collect();
        let mut moments = Vec::new();
        for _ in 0..4 {
            thread::sleep(Duration::from_secs(args.seconds) / 4);
            let moment = soak.moment()?;
            let Moment { host, device, contexts } = moment;
            println!("host {host:.0} MB, device {device:.0} MB, {contexts} contexts made");
            moments.push(moment);
        }
        let results: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect();
        Ok((results, moments))
    })?;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (name, done) in work::NAMES.iter().zip(&soak.done) {
        println!("{name:<28} {:>10}", load(done));
    }
    println!("{:<28} {:>10}", "results compared", load(&soak.compared));
    println!("{:<28} {:>10.4} %", "furthest off", load(&soak.furthest) as f64 / 1e4);
    println!("{:?}", soak.counters()?);
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    for error in &failed {
        println!("error: {error}");
    }
    if !failed.is_empty() {
        return Err(format!("{} of {} threads failed", failed.len(), args.threads).into());
    }
    // In the second half all sizes have been met.
    let (half, end) = (moments[1], moments[3]);
    let contexts = (end.contexts - half.contexts) as f64;
    let (host, device) = (end.host - half.host, end.device - half.device);
    let host_allowed = 64.0 + 1.5 * host_kept * contexts;
    let device_allowed = 64.0 * args.devices.len() as f64 + 1.5 * device_kept * contexts;
    println!(
        "second half, {contexts} contexts: host {host:+.0} MB of {host_allowed:.0} allowed, device {device:+.0} MB of \
         {device_allowed:.0} allowed"
    );
    if host > host_allowed {
        return Err("host memory grows".into());
    }
    if device > device_allowed {
        return Err("device memory grows".into());
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}
