//! Candle's tensors of a CUDA device, in and out by address: on Candle's stream, into memory of
//! Candle's device, nothing copied and nobody waited for.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, SyncOnDrop,
};
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, DType as CandleType, Device, Storage, Tensor};
use half::{bf16, f16};

use super::InferenceModule;
use super::cuda::{byte_len, no_room, not_on};
use super::output_pool::OutputPool;
use crate::backend::{DeviceExecutable, DeviceTensor, StreamHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::export::candle::{candle_dtype, carried_dtype, from_candle};
use crate::spec::{DType, TensorSpec};

/// Runs on tensors of `device`, which need not be that of `first`, and gives the outputs there, of the types that candle calls
/// `outputs`. The number of inputs and their types were checked.
pub(super) fn run(
    module: &InferenceModule,
    first: &dyn DeviceExecutable,
    device: &CudaDevice,
    inputs: &[&Tensor],
    outputs: &[CandleType],
) -> Result<Vec<Tensor>> {
    let signature = module.signature();
    let stream = device.cuda_stream();
    let theirs = stream.context().ordinal();
    let executable = module.device_on(theirs).ok_or_else(|| not_on(theirs, first.ordinal()))?;
    let contiguous = signature.inputs.iter().zip(inputs);
    let contiguous = contiguous.map(|(spec, input)| contiguous_on(input, device, spec));
    let contiguous = contiguous.collect::<Result<Vec<Tensor>>>()?;
    let storages: Vec<_> = contiguous.iter().map(Tensor::storage_and_layout).collect();
    let mut tensors = Vec::with_capacity(storages.len());
    // Candle's own events are recorded when these are dropped, which is after the run was enqueued.
    let mut reading = Vec::with_capacity(storages.len());
    for ((spec, tensor), (storage, layout)) in
        signature.inputs.iter().zip(&contiguous).zip(&storages)
    {
        let Storage::Cuda(storage) = &**storage else {
            return Err(not_there(spec, tensor.device()));
        };
        let (dtype, start, guard) = read(storage, &stream, spec)?;
        let address = start + (layout.start_offset() * dtype.size()) as u64;
        tensors.push(DeviceTensor { dtype, shape: tensor.dims(), address });
        reading.push(guard);
    }
    let pool = OutputPool::of(stream.context());
    let mut made: Vec<Option<(Vec<usize>, CudaStorageSlice)>> =
        outputs.iter().map(|_| None).collect();
    let mut output = |i: usize, sizes: &[usize]| {
        let spec = &signature.outputs[i];
        let (slice, address) =
            alloc(&pool, &stream, spec.dtype, sizes).map_err(|e| e.on_tensor(&spec.name))?;
        made[i] = Some((sizes.to_vec(), slice));
        Ok(address)
    };
    let handle = StreamHandle(stream.cu_stream() as usize);
    // SAFETY: candle's stream, of the primary context as candle's devices are. Inputs are tensors of
    // this device with these sizes, locked against changes while the run is enqueued; outputs were
    // allocated for theirs. Candle frees all of it in the order of the stream.
    unsafe { executable.enqueue(handle, &tensors, &mut output) }?;
    drop(reading);
    let made = made.into_iter().flatten().zip(outputs).map(|((sizes, mut slice), &dtype)| {
        written(&mut slice, &stream);
        let storage = Storage::Cuda(CudaStorage { slice, device: device.clone() });
        Tensor::from_storage(storage, sizes, BackpropOp::none(), false)
            .to_dtype(dtype)
            .map_err(from_candle)
    });
    made.collect()
}

/// The tensor with contiguous values of the type that it travels under, made by candle on its own
/// stream where it is not so already.
fn contiguous_on(input: &Tensor, device: &CudaDevice, spec: &TensorSpec) -> Result<Tensor> {
    match input.device() {
        Device::Cuda(theirs) if theirs.id() == device.id() => {}
        other => return Err(not_there(spec, other)),
    }
    let tensor = if carried_dtype(input.dtype())? == spec.dtype && input.dtype() != CandleType::U32
    {
        input.contiguous()
    } else {
        input.to_dtype(candle_dtype(spec.dtype)?).and_then(|tensor| tensor.contiguous())
    };
    tensor.map_err(|e| from_candle(e).on_tensor(&spec.name))
}

fn not_there(spec: &TensorSpec, device: &Device) -> Error {
    let place = match device {
        Device::Cpu => "on the CPU".to_owned(),
        Device::Cuda(_) => "on another CUDA device, or another stream of it,".to_owned(),
        other => format!("on {:?}", other.location()),
    };
    let text = format!("the tensor is {place} and the first input is not: move it there first");
    Error::new(ErrorKind::Device, text).on_tensor(&spec.name)
}

/// Type and address of a storage, with the event that candle wants recorded after the reading.
fn read<'a>(
    storage: &'a CudaStorage,
    stream: &'a CudaStream,
    spec: &TensorSpec,
) -> Result<(DType, u64, SyncOnDrop<'a>)> {
    fn at<'a, T>(
        slice: &'a CudaSlice<T>,
        dtype: DType,
        stream: &'a CudaStream,
    ) -> Result<(DType, u64, SyncOnDrop<'a>)> {
        let (address, guard) = slice.device_ptr(stream);
        Ok((dtype, address, guard))
    }
    match &storage.slice {
        CudaStorageSlice::U8(slice) => at(slice, DType::U8, stream),
        CudaStorageSlice::U32(slice) => at(slice, DType::U32, stream),
        CudaStorageSlice::I16(slice) => at(slice, DType::I16, stream),
        CudaStorageSlice::I32(slice) => at(slice, DType::I32, stream),
        CudaStorageSlice::I64(slice) => at(slice, DType::I64, stream),
        CudaStorageSlice::BF16(slice) => at(slice, DType::BF16, stream),
        CudaStorageSlice::F16(slice) => at(slice, DType::F16, stream),
        CudaStorageSlice::F32(slice) => at(slice, DType::F32, stream),
        CudaStorageSlice::F64(slice) => at(slice, DType::F64, stream),
        _ => {
            let text = format!("a tensor of this type cannot be {}", spec.dtype);
            Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&spec.name))
        }
    }
}

/// Memory for a tensor, allocated in the order of candle's stream, and its address.
fn alloc(
    pool: &OutputPool,
    stream: &Arc<CudaStream>,
    dtype: DType,
    sizes: &[usize],
) -> Result<(CudaStorageSlice, u64)> {
    // A tensor without elements has an address too.
    let len = byte_len(dtype, sizes)?.div_ceil(dtype.size());
    fn of<T: DeviceRepr>(
        pool: &OutputPool,
        stream: &Arc<CudaStream>,
        len: usize,
        wrap: fn(CudaSlice<T>) -> CudaStorageSlice,
    ) -> Result<(CudaStorageSlice, u64)> {
        // SAFETY: the pool is of candle's device. Becomes a tensor only after the run that writes to
        // it was enqueued.
        let (slice, address) = unsafe { pool.alloc::<T>(stream, len) }
            .map_err(|e| no_room(len.saturating_mul(size_of::<T>()), e))?;
        Ok((wrap(slice), address))
    }
    match candle_dtype(dtype)? {
        CandleType::U8 => of::<u8>(pool, stream, len, CudaStorageSlice::U8),
        CandleType::U32 => of::<u32>(pool, stream, len, CudaStorageSlice::U32),
        CandleType::I16 => of::<i16>(pool, stream, len, CudaStorageSlice::I16),
        CandleType::I32 => of::<i32>(pool, stream, len, CudaStorageSlice::I32),
        CandleType::I64 => of::<i64>(pool, stream, len, CudaStorageSlice::I64),
        CandleType::BF16 => of::<bf16>(pool, stream, len, CudaStorageSlice::BF16),
        CandleType::F16 => of::<f16>(pool, stream, len, CudaStorageSlice::F16),
        CandleType::F64 => of::<f64>(pool, stream, len, CudaStorageSlice::F64),
        _ => of::<f32>(pool, stream, len, CudaStorageSlice::F32),
    }
}

/// Records the event that other streams of candle wait for, now that the writing is enqueued.
fn written(slice: &mut CudaStorageSlice, stream: &CudaStream) {
    fn touch<T>(slice: &mut CudaSlice<T>, stream: &CudaStream) {
        drop(slice.device_ptr_mut(stream));
    }
    match slice {
        CudaStorageSlice::U8(slice) => touch(slice, stream),
        CudaStorageSlice::U32(slice) => touch(slice, stream),
        CudaStorageSlice::I16(slice) => touch(slice, stream),
        CudaStorageSlice::I32(slice) => touch(slice, stream),
        CudaStorageSlice::I64(slice) => touch(slice, stream),
        CudaStorageSlice::BF16(slice) => touch(slice, stream),
        CudaStorageSlice::F16(slice) => touch(slice, stream),
        CudaStorageSlice::F32(slice) => touch(slice, stream),
        CudaStorageSlice::F64(slice) => touch(slice, stream),
        // None other is allocated here.
        _ => {}
    }
}
