//! Burn tensors of CUDA devices, run where they are: nothing is copied to the host, and nobody waits
//! for the device.
//!
//! CubeCL owns Burn's streams and memory and lets nobody else enqueue. Its server, one thread a
//! device, is therefore asked to enqueue for us: it makes the caller's stream wait for the streams
//! that wrote the inputs, keeps their memory until the stream is done with it, and gives outputs
//! from its own pools. What Burn does afterwards with the outputs comes later in the same stream.

use ::burn::backend::ir::{InitOperationIr, OperationIr};
use ::burn::backend::ops::{BoolTensorOps, IntTensorOps};
use ::burn::backend::{
    BackendTensor, BackendTypes, Cube, Device as _, DispatchKindConversion, DispatchTensor, Shape,
    TensorMetadata,
};
use ::burn::tensor::{BoolDType, BoolStore, DType as BurnDType, DeviceSettings, IntDType};
use ::burn_cubecl::cubecl::cuda::CudaRuntime;
use ::burn_cubecl::cubecl::device_handle::DeviceHandle;
use ::burn_cubecl::cubecl::server::{BufferBinding, Handle, Server as _, ServerError};
use ::burn_cubecl::kernel::into_contiguous;
use ::burn_cubecl::tensor::CubeTensor;
use ::burn_cubecl::{CubeBackend, CubeDevice};
use ::burn_fusion::stream::StreamId;
use ::burn_fusion::{FusionBackend, FusionTensor, NoOp, get_client};
use cubecl_server::runtime::Runtime;
use cubecl_server::stream::{FailureStore, WriteScoped};

use super::InferenceModule;
use super::cuda::not_on;
use crate::backend::{DeviceExecutable, DeviceTensor, StreamHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::export::burn::dtype;
use crate::spec::DType;

/// CubeCL's server of a CUDA device. Its name is private, its traits are not.
type Server = <CudaRuntime as Runtime>::Server;

/// Runs on `inputs` and returns the outputs, both in the order of the signature. `None` when not all
/// inputs live on a CUDA device.
///
/// # Errors
/// [`ErrorKind::Device`] for tensors of another device than the executable's; else as
/// [`DeviceExecutable::enqueue`].
pub(super) fn run(
    module: &InferenceModule,
    inputs: Vec<DispatchTensor>,
    settings: DeviceSettings,
) -> Result<Option<Vec<DispatchTensor>>> {
    let Some(inputs) = inputs.into_iter().map(resolve).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let signature = module.signature();
    let mut found: Option<(&dyn DeviceExecutable, _)> = None;
    for (i, input) in inputs.iter().enumerate() {
        let CubeDevice::Cuda(cuda) = &input.device else { return Ok(None) };
        let theirs = cuda.index as usize;
        let ours = match found {
            // One whose inputs are on several devices runs on that of the first.
            Some((executable, _)) => Some(executable).filter(|e| e.ordinal() == theirs),
            None => module.device_on(theirs),
        };
        let Some(executable) = ours else {
            let Some(first) = found.map(|(executable, _)| executable).or(module.device()) else {
                return Ok(None);
            };
            let error = not_on(theirs, first.ordinal());
            return Err(match signature.inputs.get(i) {
                Some(spec) => error.on_tensor(&spec.name),
                None => error,
            });
        };
        found = Some((executable, input));
    }
    let Some((executable, input)) = found else { return Ok(None) };
    let (device, client) = (input.device.clone(), input.client.clone());
    let CubeDevice::Cuda(cuda) = device.clone() else { return Ok(None) };

    let inputs = inputs.into_iter().map(Input::new).collect::<Result<Vec<_>>>()?;
    signature.check_inputs(inputs.iter().map(|input| (input.dtype, &*input.sizes)))?;
    let sizes: Vec<_> = inputs.iter().map(|input| &*input.sizes).collect();
    let shapes = executable.output_shapes(&sizes)?;
    let stream = StreamId::current();
    let outputs = signature.outputs.iter().zip(shapes).map(|(spec, sizes)| {
        let bytes = sizes.iter().product::<usize>() * spec.dtype.size();
        let handle = Handle::new(client.service_id(), stream, bytes as u64);
        let shape = Shape::from(sizes);
        CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, raw(spec.dtype))
    });
    let outputs: Vec<_> = outputs.collect();
    let server = DeviceHandle::<Server>::new(cuda.to_id());
    server
        .submit_blocking(|server| enqueue(server, executable, stream, &inputs, &outputs))
        .map_err(|e| {
            Error::new(ErrorKind::Execution, format!("CubeCL's server failed: {e:?}"))
        })??;

    let outputs = outputs.into_iter().zip(&signature.outputs);
    Ok(Some(outputs.map(|(output, spec)| wrap(output, spec.dtype, &settings)).collect()))
}

/// An input as TensorRT takes it, with what keeps its memory.
struct Input {
    tensor: CubeTensor,
    dtype: DType,
    sizes: Vec<usize>,
}

impl Input {
    fn new(tensor: CubeTensor) -> Result<Self> {
        let dtype = dtype(tensor.dtype)?;
        let tensor = match tensor.dtype {
            BurnDType::Bool(BoolStore::U32) => CubeBackend::bool_into_int(tensor, IntDType::U8),
            _ => tensor,
        };
        // On the device, and only where it is strided.
        let tensor = into_contiguous(tensor);
        let sizes = tensor.shape().iter().copied().collect();
        Ok(Self { tensor, dtype, sizes })
    }
}

/// On the server's thread: memory for the outputs, the order of streams, and the execution.
fn enqueue(
    server: &mut Server,
    executable: &dyn DeviceExecutable,
    stream: StreamId,
    inputs: &[Input],
    outputs: &[CubeTensor],
) -> Result<()> {
    let failed = |e: ServerError| Error::new(ErrorKind::Execution, format!("CubeCL failed: {e}"));
    for output in outputs {
        let handle = &output.handle;
        server.initialize_memory(handle.memory.clone(), handle.size(), stream).map_err(failed)?;
    }
    let tensors = inputs.iter().map(|input| &input.tensor).chain(outputs);
    let bindings: Vec<BufferBinding> =
        tensors.map(|tensor| tensor.handle.clone().binding()).collect();
    let streams = server.write_streams();
    streams.ensure_written(bindings.iter()).map_err(failed)?;
    // Until this is dropped, after the execution was enqueued, the memory is not given to others.
    let mut resolved = streams.resolve(stream, bindings.iter()).map_err(failed)?;
    let mut addresses = Vec::with_capacity(bindings.len());
    for binding in &bindings {
        let memory = &mut resolved.get(&binding.stream).memory_management_gpu;
        let resource = memory
            .get_resource(binding.memory.clone(), binding.offset_start, binding.offset_end)
            .map_err(|e| failed(e.into()))?;
        addresses.push(resource.ptr);
    }
    let (of_inputs, of_outputs) = addresses.split_at(inputs.len());
    let inputs: Vec<_> = inputs
        .iter()
        .zip(of_inputs)
        .map(|(input, &address)| DeviceTensor { dtype: input.dtype, shape: &input.sizes, address })
        .collect();
    let stream = StreamHandle(resolved.current().sys as usize);
    // SAFETY: a stream of this device in its primary context, which CubeCL retains. It comes after
    // the work that wrote the inputs. All memory belongs to this device, has room for the sizes
    // given, and is CubeCL's, which gives it to other work only in the order of the stream.
    unsafe { executable.enqueue(stream, &inputs, &mut |i, _| Ok(of_outputs[i])) }
}

/// The type in which CubeCL holds what TensorRT writes. A bool is a byte.
fn raw(dtype: DType) -> BurnDType {
    match dtype {
        DType::Bool => BurnDType::U8,
        other => crate::export::burn::burn_dtype(other),
    }
}

/// An output as Burn wants it: devices have their own types for integers and bools.
fn wrap(tensor: CubeTensor, dtype: DType, settings: &DeviceSettings) -> DispatchTensor {
    let tensor = match dtype {
        DType::I64 if settings.int_dtype != IntDType::I64 => {
            CubeBackend::int_cast(tensor, settings.int_dtype)
        }
        DType::Bool => match settings.bool_dtype {
            BoolDType::U8 => CubeTensor { dtype: BurnDType::Bool(BoolStore::U8), ..tensor },
            other => CubeBackend::int_not_equal_elem(tensor, 0.into(), other),
        },
        _ => tensor,
    };
    let primitive = Primitive::<CubeBackend>::wrap(tensor);
    <DispatchTensor as DispatchKindConversion<Cube>>::from_backend(if dtype == DType::Bool {
        BackendTensor::Bool(primitive)
    } else if dtype.is_float() {
        BackendTensor::Float(primitive)
    } else {
        BackendTensor::Int(primitive)
    })
}

/// The tensor of CubeCL behind one of Burn's. Operations that Burn has put off are enqueued.
fn resolve(tensor: DispatchTensor) -> Option<CubeTensor> {
    match <DispatchTensor as DispatchKindConversion<Cube>>::try_into_backend(tensor).ok()? {
        BackendTensor::Float(tensor) | BackendTensor::Int(tensor) | BackendTensor::Bool(tensor) => {
            Some(Primitive::<CubeBackend>::resolve(tensor))
        }
        _ => None,
    }
}

/// What `Cube` makes tensors of: those of the backend `B`, or with Burn's feature `fusion` those that
/// stand for them. The feature is Burn's and may be on or off.
trait Primitive<B: BackendTypes> {
    fn resolve(self) -> B::FloatTensorPrimitive;
    fn wrap(tensor: B::FloatTensorPrimitive) -> Self;
}

impl<B: BackendTypes<FloatTensorPrimitive = CubeTensor>> Primitive<B> for CubeTensor {
    fn resolve(self) -> CubeTensor {
        self
    }

    fn wrap(tensor: CubeTensor) -> Self {
        tensor
    }
}

impl<B: FusionBackend> Primitive<B> for FusionTensor<B::FusionRuntime> {
    fn resolve(self) -> B::FloatTensorPrimitive {
        let client = self.client.clone();
        // All kinds are the same to CubeCL.
        client.resolve_tensor_float::<B>(self)
    }

    fn wrap(tensor: B::FloatTensorPrimitive) -> Self {
        let client = get_client::<B>(&tensor.device());
        let (shape, dtype) = (tensor.shape(), tensor.dtype());
        let handle = B::float_tensor_handle(tensor);
        let init = InitOperationIr::create(shape, dtype, || client.register_tensor_handle(handle));
        client.register(StreamId::current(), OperationIr::Init(init), NoOp::<B>::new()).remove(0)
    }
}
