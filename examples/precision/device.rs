//! Calls on device tensors, by CUDA events. No models and no options.

use std::sync::Arc;

use accelerant::cuda::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use accelerant::cuda::cudarc::driver::{CudaContext, CudaSlice, CudaStream};
use accelerant::cuda::{CudaRead, CudaTensor};
use accelerant::{DType, HostTensor, InferenceModule, cuda::without_captures};

use crate::Result;

const WARM_UP: usize = 20;

/// The median of the milliseconds of a call, and the results of the last.
pub(crate) fn run(
    module: &InferenceModule,
    inputs: &[HostTensor],
    device: usize,
    iterations: usize,
) -> Result<(f64, Vec<HostTensor>)> {
    let context = CudaContext::new(device)?;
    let stream = without_captures(|| context.new_stream())?;
    let uploaded = inputs.iter().map(|tensor| Typed::of(&stream, tensor));
    let uploaded = uploaded.collect::<Result<Vec<_>>>()?;
    let named: Vec<(&dyn CudaRead, &[usize])> = uploaded
        .iter()
        .zip(inputs)
        .map(|(memory, tensor)| (memory.read(), tensor.shape()))
        .collect();
    let cuda = module.cuda_on(device)?;
    let mut outputs = Vec::new();
    for _ in 0..WARM_UP {
        outputs = cuda.run_alloc(&stream, &named)?;
    }
    stream.synchronize()?;
    let mut events = vec![stream.record_event(Some(CU_EVENT_DEFAULT))?];
    for _ in 0..iterations.max(1) {
        outputs = cuda.run_alloc(&stream, &named)?;
        events.push(stream.record_event(Some(CU_EVENT_DEFAULT))?);
    }
    stream.synchronize()?;
    let mut times = Vec::new();
    for pair in events.windows(2) {
        times.push(f64::from(pair[0].elapsed_ms(&pair[1])?));
    }
    times.sort_by(f64::total_cmp);
    let outputs = outputs.iter().map(downloaded).collect::<Result<_>>()?;
    Ok((times[times.len() / 2], outputs))
}

/// Device memory under the type of its elements.
enum Typed {
    F32(CudaSlice<f32>),
    I64(CudaSlice<i64>),
    I32(CudaSlice<i32>),
    Bool(CudaSlice<bool>),
}

impl Typed {
    fn of(stream: &Arc<CudaStream>, tensor: &HostTensor) -> Result<Self> {
        Ok(match tensor.dtype() {
            DType::F32 => Self::F32(stream.clone_htod(&tensor.to_vec::<f32>()?)?),
            DType::I64 => Self::I64(stream.clone_htod(&tensor.to_vec::<i64>()?)?),
            DType::I32 => Self::I32(stream.clone_htod(&tensor.to_vec::<i32>()?)?),
            DType::Bool => Self::Bool(stream.clone_htod(&tensor.to_vec::<bool>()?)?),
            other => return Err(format!("inputs of {other} are not uploaded").into()),
        })
    }

    fn read(&self) -> &dyn CudaRead {
        match self {
            Self::F32(memory) => memory,
            Self::I64(memory) => memory,
            Self::I32(memory) => memory,
            Self::Bool(memory) => memory,
        }
    }
}

/// The values of an output; those that are no 32-bit floats are left out.
fn downloaded(output: &CudaTensor) -> Result<HostTensor> {
    let shape = output.shape();
    Ok(match output.dtype() {
        DType::F32 => {
            let values = output.stream().clone_dtoh(&output.view::<f32>()?)?;
            HostTensor::from_vec(shape, values)?
        }
        _ => HostTensor::scalar(0i64),
    })
}
