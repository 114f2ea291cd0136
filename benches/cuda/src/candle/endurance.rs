//! What only long or repeated runs show: the first result of a process, threads, memory.

use std::{path::Path, sync::Barrier, thread, time::Instant};

use accelerant::{HostTensor, InferenceModule};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::models::{Case, device};
use crate::timing::{memory, millis};
use crate::{Model, Precision, Result, Setting, record};

/// The first result of this process, from an engine that is there or has to be built.
pub(crate) fn start(setting: &Setting, model: Model, engine: &Path) -> Result<()> {
    let options = setting.options(false);
    let there = engine.is_file();
    let mut weights_ms = 0.0;
    let module = if there {
        InferenceModule::open(engine, &options)?
    } else {
        let begun = Instant::now();
        let case = Case::new(model, Precision::F32, 1, &Device::Cpu)?;
        weights_ms = millis(begun.elapsed());
        let module = case.compile(setting, false)?.inference().clone();
        module.engine().save(engine)?;
        module
    };
    let loaded = millis(setting.start.elapsed()) - weights_ms;
    let inputs = module.signature().inputs.iter().map(|input| {
        let sizes: Vec<usize> = input.shape.dims().iter().map(|dim| dim.max()).collect();
        let bytes = vec![0u8; sizes.iter().product::<usize>() * input.dtype.size()];
        HostTensor::from_bytes(input.dtype, sizes, bytes)
    });
    module.run(&inputs.collect::<Result<Vec<_>, _>>()?)?;
    let engine = if there { "opened" } else { "built" };
    let kept = setting.runtime_cache.as_ref().is_some_and(|path| path.is_file());
    record::start(setting, model, engine, kept, loaded, weights_ms);
    Ok(())
}

/// As [`start`], of Candle itself.
pub(crate) fn start_native(setting: &Setting, model: Model) -> Result<()> {
    let device = device(setting.device)?;
    let begun = Instant::now();
    let case = Case::new(model, Precision::F32, 1, &device)?;
    device.synchronize()?;
    let weights_ms = millis(begun.elapsed());
    let loaded = millis(setting.start.elapsed()) - weights_ms;
    case.net.forward(&case.inputs)?;
    device.synchronize()?;
    record::start(setting, model, "Candle", false, loaded, weights_ms);
    Ok(())
}

/// Calls a second when threads share a module, each with a stream of its own. With several devices the
/// module is a replica on each, and the threads take turns among them.
pub(crate) fn threads(setting: &Setting, calls: usize, devices: &[usize]) -> Result<()> {
    let devices = if devices.is_empty() { std::slice::from_ref(&setting.device) } else { devices };
    let models = [(Model::Digits, Precision::F32), (Model::ResNet50, Precision::F16)];
    let plans = models.into_iter().flat_map(|model| [(model, false), (model, true)]);
    for ((model, precision), cuda_graph) in plans {
        let main = device(setting.device)?;
        let case = Case::new(model, precision, 1, &main)?;
        let module = case.compile(setting, cuda_graph)?.on_devices(devices)?;
        let values: Vec<Tensor> =
            case.inputs.iter().map(|x| x.to_device(&Device::Cpu)).collect::<Result<_, _>>()?;
        for count in [1, 2, 4, 8] {
            let barrier = Barrier::new(count + 1);
            let seconds = thread::scope(|scope| -> Result<f64> {
                let workers: Vec<_> = (0..count)
                    .map(|i| {
                        let (module, values, barrier) = (&module, &values, &barrier);
                        scope.spawn(move || -> Result<()> {
                            let ready = (|| -> Result<_> {
                                let device = device(devices[i % devices.len()])?;
                                let inputs = values
                                    .iter()
                                    .map(|x| x.to_device(&device))
                                    .collect::<Result<Vec<_>, _>>()?;
                                // A context each, and its kernels, before the clock runs.
                                for _ in 0..20 {
                                    module.run(inputs.iter().collect::<Vec<_>>().as_slice())?;
                                }
                                device.synchronize()?;
                                Ok((device, inputs))
                            })();
                            barrier.wait();
                            let (device, inputs) = ready?;
                            let inputs: Vec<_> = inputs.iter().collect();
                            for _ in 0..calls {
                                module.run(inputs.as_slice())?;
                            }
                            Ok(device.synchronize()?)
                        })
                    })
                    .collect();
                barrier.wait();
                let begun = Instant::now();
                for worker in workers {
                    worker.join().map_err(|_| "a thread panicked")??;
                }
                Ok(begun.elapsed().as_secs_f64())
            })?;
            record::print(
                "threads",
                json!({
                    "model": model.name(),
                    "dtype": precision.name(),
                    "cuda_graph": cuda_graph,
                    "devices": devices.len(),
                    "threads": count,
                    "calls_per_second": (count * calls) as f64 / seconds,
                }),
            );
        }
    }
    Ok(())
}

/// Builds, runs and drops.
pub(crate) fn cycles(setting: &Setting, count: usize, seconds: u64) -> Result<()> {
    let device = device(setting.device)?;
    let case = Case::new(Model::Digits, Precision::F32, 1, &device)?;
    let inputs: Vec<_> = case.inputs.iter().collect();
    let cycle = || -> Result<Vec<f32>> {
        let output = case.compile(setting, false)?.run(inputs.as_slice())?.swap_remove(0);
        Ok(output.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    let expected = cycle()?;
    let warm = (count / 10).clamp(1, 50);
    for _ in 0..warm {
        cycle()?;
    }
    let before = memory(setting.device)?;
    let begun = Instant::now();
    let mut done = 0;
    while done < count && begun.elapsed().as_secs() < seconds {
        if cycle()? != expected {
            return Err(format!("cycle {done} gave other values").into());
        }
        done += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    tell("cycles", false, done, seconds, before, memory(setting.device)?);
    Ok(())
}

/// One module, many calls on device tensors.
pub(crate) fn forwards(setting: &Setting, count: usize, graph: bool) -> Result<()> {
    let device = device(setting.device)?;
    let case = Case::new(Model::Digits, Precision::F32, 1, &device)?;
    let inputs: Vec<_> = case.inputs.iter().collect();
    let module = case.compile(setting, graph)?;
    let values = |output: &Tensor| -> Result<Vec<f32>> { Ok(output.flatten_all()?.to_vec1()?) };
    let expected = values(&module.run(inputs.as_slice())?[0])?;
    for _ in 0..count / 100 {
        module.run(inputs.as_slice())?;
    }
    device.synchronize()?;
    let before = memory(setting.device)?;
    let begun = Instant::now();
    for i in 0..count {
        let output = module.run(inputs.as_slice())?;
        if i % 10_000 == 0 && values(&output[0])? != expected {
            return Err(format!("call {i} gave other values").into());
        }
    }
    device.synchronize()?;
    let seconds = begun.elapsed().as_secs_f64();
    tell("forwards", graph, count, seconds, before, memory(setting.device)?);
    Ok(())
}

fn tell(
    who: &str,
    cuda_graph: bool,
    count: usize,
    seconds: f64,
    before: (f64, f64),
    after: (f64, f64),
) {
    record::print(
        who,
        json!({
            "model": Model::Digits.name(),
            "cuda_graph": cuda_graph,
            "count": count,
            "seconds": seconds,
            "device_growth_mb": after.0 - before.0,
            "host_growth_mb": after.1 - before.1,
        }),
    );
}
