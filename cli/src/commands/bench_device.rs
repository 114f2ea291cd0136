//! What `bench` measures on a GPU beside: calls on tensors that are there already. The host's time of a call, and the
//! device's time by CUDA events, one call after the other on one stream.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use accelerant::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use accelerant::cuda::cudarc::driver::{CudaContext, CudaStream, DriverError};
use accelerant::cuda::{CudaRead, CudaWrite};
use accelerant::{DType, HostTensor, InferenceModule};

use super::bench::Args;
use crate::fail::{Failure, Result};

/// Milliseconds of each call.
pub(super) struct OnDevice {
    pub(super) enqueue: Vec<f64>,
    pub(super) compute: Vec<f64>,
}

/// Calls between two looks at the clock: the host does not run away from the device.
const AT_ONCE: usize = 16;

/// None where the backend takes no tensors of a device.
pub(super) fn measure(
    module: &InferenceModule,
    inputs: &[HostTensor],
    args: &Args,
    ordinal: usize,
) -> Result<Option<OnDevice>> {
    if module.device_on(ordinal).is_none() {
        return Ok(None);
    }
    let cuda = module.cuda_on(ordinal)?;
    let stream =
        CudaContext::new(ordinal).and_then(|context| context.new_stream()).map_err(failed)?;
    let memory: Vec<_> = inputs.iter().map(|x| upload(&stream, x)).collect::<Result<_>>()?;
    let read: Vec<(&dyn CudaRead, &[usize])> =
        memory.iter().zip(inputs).map(|(memory, x)| (&**memory, x.shape())).collect();
    // The outputs stay where the first call has put them.
    let mut outputs = cuda.run_alloc(&stream, &read)?;
    let mut call = || -> Result<f64> {
        let mut written: Vec<&mut dyn CudaWrite> =
            outputs.iter_mut().map(|output| output as &mut dyn CudaWrite).collect();
        let start = Instant::now();
        cuda.run_on(&stream, &read, &mut written)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(args.warmup) {
        call()?;
        stream.synchronize().map_err(failed)?;
    }
    let (mut enqueue, mut compute) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < args.duration || compute.len() < args.iterations {
        let mut events = vec![stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(failed)?];
        for _ in 0..AT_ONCE {
            enqueue.push(call()?);
            events.push(stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(failed)?);
        }
        stream.synchronize().map_err(failed)?;
        for pair in events.windows(2) {
            compute.push(f64::from(pair[0].elapsed_ms(&pair[1]).map_err(failed)?));
        }
    }
    Ok(Some(OnDevice { enqueue, compute }))
}

fn failed(error: DriverError) -> Failure {
    Failure::failed(format!("the CUDA driver: {error}"))
}

/// A tensor in device memory, of its own type.
fn upload(stream: &Arc<CudaStream>, tensor: &HostTensor) -> Result<Box<dyn CudaRead>> {
    macro_rules! memory {
        ($($dtype:ident => $type:ty),*) => {
            match tensor.dtype() {
                $(DType::$dtype => {
                    Ok(Box::new(stream.clone_htod(&tensor.to_vec::<$type>()?).map_err(failed)?))
                })*
                other => Err(Failure::failed(format!("{other} is not brought to the device"))),
            }
        };
    }
    memory!(F32 => f32, F16 => half::f16, BF16 => half::bf16, F64 => f64, I8 => i8, I16 => i16, I32 => i32,
        I64 => i64, U8 => u8, U16 => u16, U32 => u32, U64 => u64, Bool => bool)
}
