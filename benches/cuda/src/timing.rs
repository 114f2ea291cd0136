//! Times of calls, by CUDA events or the wall clock; and the memory of a device.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use accelerant::Engine;
use serde_json::Value;

use crate::record::{self, Times};
use crate::{Model, Precision, Result};

const WARM_UP: usize = 20;

/// The time between two CUDA events around each call, of calls that go to `stream`.
#[cfg(feature = "candle")]
pub(crate) fn by_events(
    stream: &cudarc::driver::CudaStream,
    iterations: usize,
    mut call: impl FnMut() -> Result<()>,
) -> Result<Times> {
    use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;

    let start = Instant::now();
    call()?;
    stream.synchronize()?;
    let first = start.elapsed();
    for _ in 0..WARM_UP {
        call()?;
    }
    stream.synchronize()?;
    let mut events = vec![stream.record_event(Some(CU_EVENT_DEFAULT))?];
    let mut host = Vec::with_capacity(iterations);
    for _ in 0..iterations {
        let start = Instant::now();
        call()?;
        host.push(millis(start.elapsed()));
        events.push(stream.record_event(Some(CU_EVENT_DEFAULT))?);
    }
    stream.synchronize()?;
    let mut device = Vec::with_capacity(iterations);
    for pair in events.windows(2) {
        device.push(f64::from(pair[0].elapsed_ms(&pair[1])?));
    }
    let (device, host) = (median(device), median(host));
    Ok(Times { device, host, first: millis(first), iterations, clock: "events" })
}

/// Wall time, for streams that are not to be had: the median of rows of calls, each row ended by `wait`, whose own
/// time is spread over the row. The host's time is of rows of as many calls as CubeCL queues at once.
#[cfg(feature = "burn-eager")]
pub(crate) fn by_wall_clock(
    iterations: usize,
    mut call: impl FnMut() -> Result<()>,
    wait: impl Fn() -> Result<()>,
) -> Result<Times> {
    const ROW: usize = 50;
    const SHORT_ROW: usize = 2;
    /// A single one that something interrupts should not count.
    const LEAST_ROWS: usize = 7;

    wait()?;
    let start = Instant::now();
    call()?;
    wait()?;
    let first = start.elapsed();
    for _ in 0..WARM_UP {
        call()?;
    }
    wait()?;
    let (mut device, mut host) = (Vec::new(), Vec::new());
    for _ in 0..iterations.div_ceil(ROW).max(LEAST_ROWS) {
        let row = Instant::now();
        for _ in 0..ROW {
            call()?;
        }
        wait()?;
        device.push(millis(row.elapsed()) / ROW as f64);
    }
    for _ in 0..iterations.div_ceil(SHORT_ROW) {
        for _ in 0..SHORT_ROW {
            let start = Instant::now();
            call()?;
            host.push(millis(start.elapsed()));
        }
        wait()?;
    }
    let (device, host) = (median(device), median(host));
    Ok(Times { device, host, first: millis(first), iterations, clock: "wall" })
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs the loop of `benches/cpp` on the engine's plan, without graphs, with them, and with kernels that wait.
pub(crate) fn raw_loop(
    program: &Path,
    engine: &Engine,
    (model, precision, batch): (Model, Precision, usize),
    iterations: usize,
) -> Result<()> {
    let plan = std::env::temp_dir().join(format!("accelerant-{}.plan", std::process::id()));
    std::fs::write(&plan, engine.plan())?;
    let measured = [&[][..], &["--graph"], &["--wait"]].iter().try_for_each(|extra| {
        let output = Command::new(program)
            .arg(&plan)
            .args(["--iterations", &iterations.to_string()])
            .args(*extra)
            .output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{} failed: {text}", program.display()).into());
        }
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let time = |name: &str| told[name].as_f64().unwrap_or(f64::NAN);
        let times = Times {
            device: time("device_ms"),
            host: time("host_ms"),
            first: time("first_ms"),
            iterations,
            clock: "events",
        };
        let who = told["who"].as_str().unwrap_or("raw loop");
        record::times(who, model, precision, batch, times);
        Ok(())
    });
    std::fs::remove_file(&plan)?;
    measured
}

/// Megabytes in use on a device, and of this process in the host's memory.
pub(crate) fn memory(device: usize) -> Result<(f64, f64)> {
    let context = cudarc::driver::CudaContext::new(device)?;
    context.bind_to_thread()?;
    let (free, total) = cudarc::driver::result::mem_get_info()?;
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = status.split_whitespace().nth(1).ok_or("no resident size")?.parse()?;
    Ok(((total - free) as f64 / 1e6, pages * 4096.0 / 1e6))
}
