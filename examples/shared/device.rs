//! Calls on device tensors that stay where they are, timed by CUDA events: what examples measure. No models and no
//! options.

use std::error::Error;
use std::sync::Arc;

use accelerant::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use accelerant::cuda::cudarc::driver::{CudaContext, CudaStream};
use accelerant::cuda::{CudaRead, CudaWrite, without_captures};
use accelerant::{DType, HostTensor, InferenceModule};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const WARM_UP: usize = 30;

/// The median of the milliseconds of a call.
pub(crate) fn median(
    module: &InferenceModule,
    inputs: &[HostTensor],
    device: usize,
    iterations: usize,
) -> Result<f64> {
    let context = CudaContext::new(device)?;
    let stream = without_captures(|| context.new_stream())?;
    let uploaded = inputs.iter().map(|tensor| upload(&stream, tensor));
    let uploaded = uploaded.collect::<Result<Vec<_>>>()?;
    let read: Vec<(&dyn CudaRead, &[usize])> =
        uploaded.iter().zip(inputs).map(|(memory, tensor)| (&**memory, tensor.shape())).collect();
    let cuda = module.cuda_on(device)?;
    // The outputs stay where the first call puts them.
    let mut outputs = cuda.run_alloc(&stream, &read)?;
    let mut call = || {
        let written = outputs.iter_mut().map(|output| output as &mut dyn CudaWrite);
        cuda.run_on(&stream, &read, &mut written.collect::<Vec<_>>())
    };
    for _ in 0..WARM_UP {
        call()?;
    }
    stream.synchronize()?;
    let mut events = vec![stream.record_event(Some(CU_EVENT_DEFAULT))?];
    for _ in 0..iterations.max(1) {
        call()?;
        events.push(stream.record_event(Some(CU_EVENT_DEFAULT))?);
    }
    stream.synchronize()?;
    let times = events.windows(2).map(|pair| Ok(f64::from(pair[0].elapsed_ms(&pair[1])?)));
    let mut times = times.collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// A tensor in device memory, of its own type.
fn upload(stream: &Arc<CudaStream>, tensor: &HostTensor) -> Result<Box<dyn CudaRead>> {
    macro_rules! memory {
        ($($dtype:ident => $type:ty),*) => {
            match tensor.dtype() {
                $(DType::$dtype => Ok(Box::new(stream.clone_htod(&tensor.to_vec::<$type>()?)?)),)*
                other => Err(format!("inputs of {other} are not uploaded").into()),
            }
        };
    }
    memory!(F32 => f32, F16 => half::f16, BF16 => half::bf16, I64 => i64, I32 => i32, Bool => bool)
}
