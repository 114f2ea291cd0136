//! What each thread does, chosen at random, and how results are compared.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use accelerant::cuda::cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use accelerant::cuda::{CudaRead, without_captures};
use accelerant::{HostTensor, InferenceModule};

use crate::networks::Sample;
use crate::{Result, Service, Soak, add, only};

/// What may be done, and how often in a thousand.
const CHOICES: [(Action, usize); ACTIONS] = [
    (Action::Allocating, 365),
    (Action::InPlace, 240),
    (Action::Host, 180),
    (Action::Submit, 100),
    (Action::Batch, 100),
    (Action::Load, 5),
    (Action::Stream, 10),
];

pub(crate) const ACTIONS: usize = 7;

pub(crate) const NAMES: [&str; ACTIONS] = [
    "runs on new device tensors",
    "runs on kept device tensors",
    "runs on host tensors",
    "submitted",
    "through a batcher",
    "modules loaded and dropped",
    "new streams",
];

#[derive(Clone, Copy)]
enum Action {
    Allocating,
    InPlace,
    Host,
    Submit,
    Batch,
    Load,
    Stream,
}

/// Random numbers of a thread.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    fn action(&mut self) -> Action {
        let mut rest = self.below(CHOICES.iter().map(|choice| choice.1).sum());
        for (action, share) in CHOICES {
            if rest < share {
                return action;
            }
            rest -= share;
        }
        Action::Host
    }
}

/// Works until the time is over or something fails.
pub(crate) fn work(soak: &Soak, thread: usize, seed: u64) -> Result<()> {
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ (seed << 32) ^ (thread as u64 + 1));
    for _ in 0..10 {
        random.below(1);
    }
    let device = soak.devices[thread % soak.devices.len()];
    let mut stream = stream(device)?;
    while Instant::now() < soak.end {
        let place = random.below(soak.services.len());
        let service = &soak.services[place];
        let samples = &soak.samples[place % soak.samples.len()];
        let sample = &samples[random.below(samples.len())];
        let action = random.action();
        let did = match action {
            Action::Allocating => allocating(soak, &service.module, device, &stream, sample),
            Action::InPlace => in_place(soak, &service.module, device, &stream, sample),
            Action::Host => compare(soak, sample, &service.module.run(&sample.inputs)?),
            Action::Submit => submit(soak, service, sample),
            Action::Batch => batch(soak, service, sample),
            Action::Load => load(soak, service, device, &stream, sample),
            Action::Stream => self::stream(device).map(|new| stream = new),
        };
        let name = service.network.name;
        did.map_err(|e| format!("{}, {name}, size {}: {e}", NAMES[action as usize], sample.size))?;
        soak.done[action as usize].fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A stream of a handle of its own. The first of a handle waits for the whole device.
fn stream(device: usize) -> Result<Arc<CudaStream>> {
    let context = CudaContext::new(device)?;
    Ok(without_captures(|| context.new_stream())?)
}

fn uploaded(stream: &Arc<CudaStream>, sample: &Sample) -> Result<Vec<CudaSlice<f32>>> {
    let uploaded = sample.inputs.iter().map(|x| Ok(stream.clone_htod(&x.to_vec::<f32>()?)?));
    uploaded.collect()
}

fn with_shapes<'a>(
    uploaded: &'a [CudaSlice<f32>],
    sample: &'a Sample,
) -> Vec<(&'a dyn CudaRead, &'a [usize])> {
    let inputs = uploaded.iter().zip(&sample.inputs);
    inputs.map(|(memory, x)| (memory as &dyn CudaRead, x.shape())).collect()
}

/// New memory for inputs and outputs, whose addresses may be those of any call before.
fn allocating(
    soak: &Soak,
    module: &InferenceModule,
    device: usize,
    stream: &Arc<CudaStream>,
    sample: &Sample,
) -> Result<()> {
    let inputs = uploaded(stream, sample)?;
    let cuda = module.cuda_on(device)?;
    let outputs = cuda.run_alloc(stream, &with_shapes(&inputs, sample))?;
    drop(inputs);
    let outputs = outputs.iter().map(|output| {
        let values = stream.clone_dtoh(&output.view::<f32>()?)?;
        Ok(HostTensor::from_vec(output.shape(), values)?)
    });
    compare(soak, sample, &outputs.collect::<Result<Vec<_>>>()?)
}

/// The same memory several times in a row.
fn in_place(
    soak: &Soak,
    module: &InferenceModule,
    device: usize,
    stream: &Arc<CudaStream>,
    sample: &Sample,
) -> Result<()> {
    let inputs = uploaded(stream, sample)?;
    let outputs = sample.expected.iter();
    let outputs = outputs.map(|y| stream.alloc_zeros::<f32>(y.shape().iter().product()));
    let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let cuda = module.cuda_on(device)?;
    for _ in 0..4 {
        let mut written: Vec<_> = outputs.iter_mut().map(|y| y as _).collect();
        cuda.run_on(stream, &with_shapes(&inputs, sample), &mut written)?;
    }
    let outputs = outputs
        .iter()
        .zip(&sample.expected)
        .map(|(output, y)| Ok(HostTensor::from_vec(y.shape(), stream.clone_dtoh(output)?)?));
    compare(soak, sample, &outputs.collect::<Result<Vec<_>>>()?)
}

fn submit(soak: &Soak, service: &Service, sample: &Sample) -> Result<()> {
    let pending = (0..3).map(|_| service.module.submit(&sample.inputs));
    let pending = pending.collect::<Result<Vec<_>, _>>()?;
    pending.into_iter().try_for_each(|pending| compare(soak, sample, &pending.wait()?))
}

fn batch(soak: &Soak, service: &Service, sample: &Sample) -> Result<()> {
    let Some(batcher) = &service.batcher else { return Ok(()) };
    compare(soak, sample, &batcher.run(&sample.inputs)?)
}

/// As a thread loads an engine, on the first device.
pub(crate) fn load_once(soak: &Soak, service: &Service, sample: &Sample) -> Result<()> {
    let device = soak.devices[0];
    load(soak, service, device, &stream(device)?, sample)
}

/// The engine once more, on a host and a device tensor, and gone again.
fn load(
    soak: &Soak,
    service: &Service,
    device: usize,
    stream: &Arc<CudaStream>,
    sample: &Sample,
) -> Result<()> {
    let options = only(service.options.clone().device(device));
    let module = InferenceModule::from_engine(service.module.engine().clone(), &options)?;
    compare(soak, sample, &module.run(&sample.inputs)?)?;
    allocating(soak, &module, device, stream, sample)?;
    let counters = module.cuda()?.counters();
    add(&mut *soak.dropped.lock().map_err(|_| "a thread panicked")?, &counters);
    Ok(())
}

/// TF32 rounds each factor to 11 bits; what overlaps or is torn is further off by far.
const TOLERANCE: f32 = 1e-2;

fn compare(soak: &Soak, sample: &Sample, outputs: &[HostTensor]) -> Result<()> {
    if outputs.len() != sample.expected.len() {
        return Err(format!("{} outputs", outputs.len()).into());
    }
    for (output, expected) in outputs.iter().zip(&sample.expected) {
        if output.shape() != expected.shape() {
            return Err(format!("{:?} instead of {:?}", output.shape(), expected.shape()).into());
        }
        let (output, expected) = (output.to_vec::<f32>()?, expected.to_vec::<f32>()?);
        let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let off = output.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        // A value that is not a number stays.
        let off = off.fold(0f32, |most, off| if off <= most { most } else { off });
        let off = off / largest;
        if off.is_nan() || off > TOLERANCE {
            return Err(format!("{:.3} % of the largest value off", off * 100.0).into());
        }
        soak.furthest.fetch_max((off * 1e6) as u64, Ordering::Relaxed);
        soak.compared.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
