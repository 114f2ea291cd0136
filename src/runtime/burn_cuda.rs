//! Burn tensors of CUDA devices, without a copy to the host and without waiting for the device.
//!
//! CubeCL owns Burn's streams and memory, and lets no other code enqueue. CubeCL's server, one thread for each device, is
//! therefore asked to enqueue for us. The server makes the caller's stream wait for the streams that wrote the inputs, keeps the
//! inputs' memory until the stream is done, and gives outputs from its own pools. Later work of Burn on the outputs comes later
//! in the same stream.
//!
//! With Burn's feature `fusion`, another thread for each device puts operations off until they can be fused. An execution is
//! one of these operations, or has the operations before enqueued first and waits for its turn.

use std::{fmt, marker::PhantomData};

use ::burn::backend::ir::{CustomOpIr, HandleContainer, InitOperationIr, OperationIr, TensorIr};
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
use ::burn_fusion::stream::{Operation, StreamId};
use ::burn_fusion::{ExecutionError, FusionBackend, FusionHandle, FusionTensor, NoOp, get_client};
use cubecl_server::runtime::Runtime;
use cubecl_server::stream::{FailureStore, WriteScoped, failed_writing};

use super::InferenceModule;
use super::burn::When;
use super::cuda::{checked_len, not_on};
use crate::backend::{DeviceExecutable, DeviceTensor, StreamHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::export::burn::dtype;
use crate::spec::DType;

/// CubeCL's server of a CUDA device. Its name is private, its traits are not.
type Server = <CudaRuntime as Runtime>::Server;

/// What Burn's CUDA tensors are made of: the same for floats, integers and bools.
type Tensor = <Cube as BackendTypes>::FloatTensorPrimitive;

/// Runs on `inputs` and returns the outputs, both in the order of the signature. `None` when not all
/// inputs live on a CUDA device.
///
/// # Errors
/// [`ErrorKind::Device`] for tensors of another device than the executable's; else as
/// [`DeviceExecutable::enqueue`], unless that comes later: then the outputs carry the error, as after
/// any of Burn's operations.
pub(super) fn run(
    module: &InferenceModule,
    inputs: Vec<DispatchTensor>,
    settings: DeviceSettings,
    when: When,
) -> Result<Option<Vec<DispatchTensor>>> {
    let Some(inputs) = inputs.into_iter().map(of_cube).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let signature = module.signature();
    let mut found: Option<&dyn DeviceExecutable> = None;
    for (i, input) in inputs.iter().enumerate() {
        let CubeDevice::Cuda(cuda) = TensorMetadata::device(input) else { return Ok(None) };
        let theirs = cuda.index as usize;
        let ours = match found {
            // One whose inputs are on several devices runs on that of the first.
            Some(executable) => Some(executable).filter(|e| e.ordinal() == theirs),
            None => module.device_on(theirs),
        };
        let Some(executable) = ours else {
            let Some(first) = found.or(module.device()) else { return Ok(None) };
            let error = not_on(theirs, first.ordinal());
            return Err(match signature.inputs.get(i) {
                Some(spec) => error.on_tensor(&spec.name),
                None => error,
            });
        };
        found = Some(executable);
    }
    let Some(executable) = found else { return Ok(None) };

    let dtypes = inputs.iter().map(|input| dtype(input.dtype())).collect::<Result<Vec<_>>>()?;
    let sizes: Vec<_> = inputs.iter().map(TensorMetadata::shape).collect();
    let sizes: Vec<_> = sizes.iter().map(|shape| &shape[..]).collect();
    signature.check_inputs(dtypes.into_iter().zip(sizes.iter().copied()))?;
    let shapes = executable.output_shapes(&sizes)?;
    let ordinal = executable.ordinal();
    let call = Call { module: module.clone(), ordinal, shapes, settings };
    let outputs = match when {
        When::Now => {
            let inputs = inputs.into_iter().map(Primitive::<CubeBackend>::resolve).collect();
            call.enqueue(inputs, when)?.into_iter().map(Primitive::<CubeBackend>::wrap).collect()
        }
        When::InTurn => Primitive::<CubeBackend>::put_off(inputs, call)?,
    };
    let outputs = outputs.into_iter().zip(&module.signature().outputs);
    Ok(Some(outputs.map(|(output, spec)| of_dispatch(output, spec.dtype)).collect()))
}

/// An execution that was checked, with all that it needs but the inputs.
struct Call {
    module: InferenceModule,
    ordinal: usize,
    /// The sizes of the outputs.
    shapes: Vec<Vec<usize>>,
    settings: DeviceSettings,
}

impl Call {
    /// Has CubeCL's server enqueue it, and gives the outputs in the types that Burn expects. Errors of the
    /// server are told to who reads the outputs, unless it is to be done `Now`.
    fn enqueue(&self, inputs: Vec<CubeTensor>, when: When) -> Result<Vec<CubeTensor>> {
        let signature = self.module.signature();
        let Some(first) = inputs.first() else { return Err(lost(self.ordinal)) };
        let (device, client) = (first.device.clone(), first.client.clone());
        let CubeDevice::Cuda(cuda) = device.clone() else { return Err(lost(self.ordinal)) };
        let inputs = inputs.into_iter().map(Input::new).collect::<Result<Vec<_>>>()?;
        let stream = StreamId::current();
        let outputs = signature.outputs.iter().zip(&self.shapes).map(|(spec, sizes)| {
            let bytes = checked_len(spec.dtype, sizes).map_err(|e| e.on_tensor(&spec.name))?;
            let handle = Handle::new(client.service_id(), stream, bytes as u64);
            let shape = Shape::from(sizes.clone());
            let (client, device) = (client.clone(), device.clone());
            Ok(CubeTensor::new_contiguous(client, device, shape, handle, raw(spec.dtype)))
        });
        let outputs: Vec<_> = outputs.collect::<Result<_>>()?;
        let (module, ordinal) = (self.module.clone(), self.ordinal);
        let work = Work { module, ordinal, stream, inputs, outputs: outputs.clone() };
        let server = DeviceHandle::<Server>::new(cuda.to_id());
        match when {
            When::Now => server.submit_blocking(|server| work.enqueue(server)).map_err(|e| {
                Error::new(ErrorKind::Execution, format!("CubeCL's server failed: {e:?}"))
            })??,
            When::InTurn => {
                server.submit(move |server| {
                    if let Err(error) = work.enqueue(server) {
                        work.fail(server, &error.in_operation("forward"));
                    }
                });
                // Nobody waits for it, so nobody else would send it.
                server.flush_queue();
            }
        }
        let outputs = outputs.into_iter().zip(&signature.outputs);
        Ok(outputs.map(|(output, spec)| self.own(output, spec.dtype)).collect())
    }

    /// The type in which Burn expects an output: devices have their own for integers and bools.
    fn own_dtype(&self, dtype: DType) -> BurnDType {
        match dtype {
            DType::I64 => self.settings.int_dtype.into(),
            DType::Bool => self.settings.bool_dtype.into(),
            other => crate::export::burn::burn_dtype(other),
        }
    }

    /// An output in the type in which Burn expects it.
    fn own(&self, tensor: CubeTensor, dtype: DType) -> CubeTensor {
        let dtype = match dtype {
            DType::I64 if self.settings.int_dtype != IntDType::I64 => {
                return CubeBackend::int_cast(tensor, self.settings.int_dtype);
            }
            DType::Bool if self.settings.bool_dtype != BoolDType::U8 => {
                let zero = 0.into();
                return CubeBackend::int_not_equal_elem(tensor, zero, self.settings.bool_dtype);
            }
            other => self.own_dtype(other),
        };
        CubeTensor { dtype, ..tensor }
    }
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

fn lost(ordinal: usize) -> Error {
    let text = format!("the module is not on CUDA device {ordinal} any more");
    Error::new(ErrorKind::Device, text)
}

/// What CubeCL's server is asked to enqueue.
struct Work {
    module: InferenceModule,
    ordinal: usize,
    stream: StreamId,
    inputs: Vec<Input>,
    outputs: Vec<CubeTensor>,
}

impl Work {
    /// On the server's thread: memory for the outputs, the order of streams, and the execution.
    fn enqueue(&self, server: &mut Server) -> Result<()> {
        let failed =
            |e: ServerError| Error::new(ErrorKind::Execution, format!("CubeCL failed: {e}"));
        let Self { module, ordinal, stream, inputs, outputs } = self;
        let executable = module.device_on(*ordinal).ok_or_else(|| lost(*ordinal))?;
        for output in outputs {
            let handle = &output.handle;
            let (memory, size) = (handle.memory.clone(), handle.size());
            server.initialize_memory(memory, size, *stream).map_err(failed)?;
        }
        let tensors = inputs.iter().map(|input| &input.tensor).chain(outputs);
        let bindings: Vec<BufferBinding> = tensors.map(binding).collect();
        let streams = server.write_streams();
        streams.ensure_written(bindings.iter()).map_err(failed)?;
        // Until this is dropped, after the execution was enqueued, the memory is not given to others.
        let mut resolved = streams.resolve(*stream, bindings.iter()).map_err(failed)?;
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
            .map(|(input, &address)| {
                let Input { dtype, sizes, .. } = input;
                DeviceTensor { dtype: *dtype, shape: sizes, address }
            })
            .collect();
        let stream = StreamHandle(resolved.current().sys as usize);
        // SAFETY: a stream of this device in its primary context, which CubeCL retains. It comes after
        // the work that wrote the inputs. All memory belongs to this device, has room for the sizes
        // given, and is CubeCL's, which gives it to other work only in the order of the stream.
        unsafe { executable.enqueue(stream, &inputs, &mut |i, _| Ok(of_outputs[i])) }
    }

    /// Gives the outputs an error, which a reader of the outputs gets.
    fn fail(&self, server: &mut Server, error: &Error) {
        let reason = error.to_string();
        let error = ServerError::Generic { reason, backtrace: Default::default() };
        let (allocated, others): (Vec<_>, Vec<_>) = self
            .outputs
            .iter()
            .partition(|output| output.handle.memory.descriptor().is_allocated());
        for output in others {
            server.write_streams().fail_unallocated(&output.handle.memory, error.clone());
        }
        let allocated = allocated.into_iter().map(binding).collect();
        failed_writing(server, self.stream, allocated, error);
    }
}

fn binding(tensor: &CubeTensor) -> BufferBinding {
    tensor.handle.clone().binding()
}

/// The type in which CubeCL holds what TensorRT writes. A bool is a byte.
fn raw(dtype: DType) -> BurnDType {
    match dtype {
        DType::Bool => BurnDType::U8,
        other => crate::export::burn::burn_dtype(other),
    }
}

/// The tensor of CubeCL, or what stands for it, behind one of Burn's.
fn of_cube(tensor: DispatchTensor) -> Option<Tensor> {
    match <DispatchTensor as DispatchKindConversion<Cube>>::try_into_backend(tensor).ok()? {
        BackendTensor::Float(tensor) | BackendTensor::Int(tensor) | BackendTensor::Bool(tensor) => {
            Some(tensor)
        }
        _ => None,
    }
}

fn of_dispatch(tensor: Tensor, dtype: DType) -> DispatchTensor {
    <DispatchTensor as DispatchKindConversion<Cube>>::from_backend(if dtype == DType::Bool {
        BackendTensor::Bool(tensor)
    } else if dtype.is_float() {
        BackendTensor::Float(tensor)
    } else {
        BackendTensor::Int(tensor)
    })
}

/// What `Cube` makes tensors of: those of the backend `B`, or with Burn's feature `fusion` those that
/// stand for them. The feature is Burn's and may be on or off.
trait Primitive<B: BackendTypes>: Sized {
    /// Operations that Burn has put off are enqueued.
    fn resolve(self) -> B::FloatTensorPrimitive;
    fn wrap(tensor: B::FloatTensorPrimitive) -> Self;
    /// The outputs of a call that is enqueued in its turn.
    fn put_off(inputs: Vec<Self>, call: Call) -> Result<Vec<Self>>;
}

impl<B: BackendTypes<FloatTensorPrimitive = CubeTensor>> Primitive<B> for CubeTensor {
    fn resolve(self) -> CubeTensor {
        self
    }

    fn wrap(tensor: CubeTensor) -> Self {
        tensor
    }

    fn put_off(inputs: Vec<Self>, call: Call) -> Result<Vec<Self>> {
        call.enqueue(inputs, When::InTurn)
    }
}

impl<B: FusionBackend> Primitive<B> for FusionTensor<B::FusionRuntime>
where
    B::FloatTensorPrimitive: Into<CubeTensor> + From<CubeTensor>,
{
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

    fn put_off(inputs: Vec<Self>, call: Call) -> Result<Vec<Self>> {
        let Some(client) = inputs.first().map(|input| input.client.clone()) else {
            return Ok(Vec::new());
        };
        let inputs: Vec<_> = inputs.into_iter().map(FusionTensor::into_ir).collect();
        let outputs = call.module.signature().outputs.iter().zip(&call.shapes);
        let outputs: Vec<_> = outputs
            .map(|(spec, sizes)| {
                let (id, shape) = (client.create_empty_handle(), Shape::from(sizes.clone()));
                TensorIr::uninit(id, shape, call.own_dtype(spec.dtype))
            })
            .collect();
        let ir = OperationIr::Custom(CustomOpIr::new("accelerant", &inputs, &outputs));
        let put_off = PutOff::<B> { call, inputs, outputs, backend: PhantomData };
        let outputs = client.register(StreamId::current(), ir, put_off);
        // Nobody waits for it, so nobody else would send it.
        client.flush_queue();
        Ok(outputs)
    }
}

/// A call among the operations that Burn has put off.
struct PutOff<B> {
    call: Call,
    inputs: Vec<TensorIr>,
    outputs: Vec<TensorIr>,
    backend: PhantomData<fn() -> B>,
}

impl<B: FusionBackend> Operation<B::FusionRuntime> for PutOff<B>
where
    B::FloatTensorPrimitive: Into<CubeTensor> + From<CubeTensor>,
{
    fn execute(
        &self,
        handles: &mut HandleContainer<FusionHandle<B::FusionRuntime>>,
    ) -> Result<(), ExecutionError> {
        let inputs = self.inputs.iter().map(|input| handles.get_float_tensor::<B>(input).into());
        let inputs = inputs.collect();
        let outputs = self
            .call
            .enqueue(inputs, When::InTurn)
            .map_err(|e| ExecutionError::with_context(e.in_operation("forward").to_string()))?;
        for (ir, output) in self.outputs.iter().zip(outputs) {
            handles.register_float_tensor::<B>(&ir.id, output.into());
        }
        Ok(())
    }
}

impl<B> fmt::Debug for PutOff<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutOff").field("module", &self.call.module).finish_non_exhaustive()
    }
}
