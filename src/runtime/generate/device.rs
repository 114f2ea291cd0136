//! Texts with caches that stay on a GPU. Chosen tokens and their positions go from pass to pass on the GPU. The host reads the
//! tokens from memory that the device writes, a pass or more behind.

use std::collections::VecDeque;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, PinnedHostSlice, result};

use super::device_encoder::Encoder;
use super::device_memory::{Memory, bytes, failed, on_device, sizes};
use super::session::{Row, Session, likeliest};
use crate::backend::{DeviceTensor, StreamHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::POSITIONS_OF_A_BLOCK;
use crate::runtime::InferenceModule;
use crate::runtime::cuda::without_captures;
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

/// Passes whose results are not taken yet.
const AHEAD: usize = 2;
/// Places for the tokens of passes on the host: those ahead, and the one that is read.
const PLACES: usize = AHEAD + 2;
/// The outputs before the caches: the next token, its position and the logits.
const RESULTS: usize = 3;

/// Where the device writes the tokens of a pass for the host, and when it has.
struct Place {
    tokens: PinnedHostSlice<i64>,
    written: CudaEvent,
}

// SAFETY: memory of the process and an event, bound to no thread.
unsafe impl Send for Place {}

/// The input of an engine that says how many places of the caches it reads.
struct Seen {
    memory: Memory,
    capacity: usize,
}

impl Seen {
    fn new(step: &InferenceModule, stream: &Arc<CudaStream>) -> Result<Option<Self>> {
        let Some(input) = step.signature().inputs.iter().find(|input| input.name == "seen") else {
            return Ok(None);
        };
        let [_, _, largest] = input.shape.profile();
        let capacity = largest.iter().product();
        let memory = Memory::new(stream, capacity * DType::I64.size())?;
        let places: Vec<i64> = (0..capacity as i64).collect();
        // SAFETY: memory of this many integers; pageable memory is read before the call returns.
        unsafe { result::memcpy_htod_async(memory.address, &places, stream.cu_stream()) }
            .map_err(|e| failed("places cannot be copied", e))?;
        Ok(Some(Self { memory, capacity }))
    }

    /// The shape for texts of `reached` positions: few different ones, since each is a graph of its own.
    fn shape(&self, reached: usize) -> Vec<usize> {
        let places = reached.max(POSITIONS_OF_A_BLOCK).next_power_of_two().min(self.capacity);
        vec![places / POSITIONS_OF_A_BLOCK, POSITIONS_OF_A_BLOCK]
    }
}

/// Two engines, one for a chunk of a prompt and one for a token, over the same caches.
pub(super) struct DeviceSession {
    prompt: InferenceModule,
    step: InferenceModule,
    encoder: Option<Encoder>,
    device: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    batch: usize,
    chunk: usize,
    vocabulary: usize,
    /// Tokens of a chunk, their positions, and the last ones.
    inputs: [Memory; 3],
    /// `0, 1, …`, of which a pass over single tokens gets as many as it is to read places of the caches.
    seen: Option<Seen>,
    /// Positions that the texts have by the last pass.
    reached: usize,
    /// Next tokens and their positions: a pass reads one pair and writes the other.
    next: [[Memory; 2]; 2],
    /// The pair that the last pass wrote.
    newest: usize,
    logits: Memory,
    caches: Vec<Memory>,
    /// Where passes write that have no cache in place: the other of two.
    spare: Vec<Option<Memory>>,
    places: Vec<Place>,
    pending: VecDeque<usize>,
    place: usize,
}

impl DeviceSession {
    pub(super) fn new(
        prompt: &InferenceModule,
        step: &InferenceModule,
        encoder: Option<&InferenceModule>,
    ) -> Result<Self> {
        let executable = on_device(step)?;
        let signature = step.signature();
        let device = CudaContext::new(executable.ordinal()).map_err(|e| failed("no context", e))?;
        let stream =
            without_captures(|| device.new_stream()).map_err(|e| failed("no stream", e))?;
        let (batch, chunk) = match sizes(&prompt.signature().inputs[0])[..] {
            [batch, chunk] => (batch, chunk),
            _ => return Err(Error::new(ErrorKind::InvalidModel, "tokens have two axes")),
        };
        let memory = |len: usize| Memory::new(&stream, len);
        let words = |count: usize| memory(count * DType::I64.size());
        let pair = || Ok::<_, Error>([words(batch)?, words(batch)?]);
        let vocabulary = sizes(&signature.outputs[2])[1];
        let caches = &signature.outputs[RESULTS..];
        let all = |specs: &[TensorSpec]| {
            specs.iter().map(|spec| memory(bytes(spec))).collect::<Result<_>>()
        };
        let encoder = encoder.map(|module| Encoder::new(module, &device, &stream));
        let spare = (0..caches.len()).map(|i| match executable.aliased_input(RESULTS + i) {
            Some(_) => Ok(None),
            None => memory(bytes(&caches[i])).map(Some),
        });
        let places = (0..PLACES).map(|_| {
            // SAFETY: written by the device before it is read.
            let pinned = unsafe { device.alloc_pinned_with_flags(batch, 0) };
            Ok::<_, Error>(Place {
                tokens: pinned.map_err(|e| failed("no host memory", e))?,
                written: device.new_event(None).map_err(|e| failed("no event", e))?,
            })
        });
        Ok(Self {
            inputs: [words(batch * chunk)?, words(batch * chunk)?, words(batch)?],
            seen: Seen::new(step, &stream)?,
            reached: 0,
            next: [pair()?, pair()?],
            newest: 0,
            logits: memory(batch * vocabulary * DType::F32.size())?,
            caches: all(caches)?,
            encoder: encoder.transpose()?,
            spare: spare.collect::<Result<_>>()?,
            places: places.collect::<Result<_>>()?,
            pending: VecDeque::new(),
            place: 0,
            prompt: prompt.clone(),
            step: step.clone(),
            device,
            stream,
            batch,
            chunk,
            vocabulary,
        })
    }

    /// Writes 64-bit integers in the order of the stream.
    fn write(&self, to: &Memory, values: &[i64]) -> Result<()> {
        self.device.bind_to_thread().map_err(|e| failed("no context", e))?;
        // SAFETY: memory of this many integers at least; pageable memory is read before the call returns.
        unsafe { result::memcpy_htod_async(to.address, values, self.stream.cu_stream()) }
            .map_err(|e| failed("tokens cannot be copied", e))
    }

    /// Enqueues a pass of one of the engines over what is in its inputs.
    fn enqueue(&mut self, whole: bool) -> Result<()> {
        let module = if whole { self.prompt.clone() } else { self.step.clone() };
        let (executable, signature) = (on_device(&module)?, module.signature());
        let to = 1 - self.newest;
        let mut addresses: Vec<u64> = match whole {
            true => self.inputs.iter().map(|memory| memory.address).collect(),
            false => self.next[self.newest].iter().map(|memory| memory.address).collect(),
        };
        let places = self.seen.as_ref().filter(|_| !whole).map(|seen| seen.shape(self.reached));
        addresses.extend(self.seen.iter().filter(|_| !whole).map(|seen| seen.memory.address));
        let encoded = self.encoder.iter().flat_map(Encoder::outputs);
        addresses.extend(self.caches.iter().chain(encoded).map(|memory| memory.address));
        let dynamic = |shape: Option<Vec<usize>>| shape.or(places.clone()).unwrap_or_default();
        let shapes: Vec<_> =
            signature.inputs.iter().map(|spec| dynamic(spec.shape.fixed())).collect();
        let inputs: Vec<_> = signature
            .inputs
            .iter()
            .zip(&shapes)
            .zip(&addresses)
            .map(|((spec, shape), &address)| DeviceTensor { dtype: spec.dtype, shape, address })
            .collect();
        let mut output = |i: usize, _: &[usize]| {
            Ok::<_, Error>(match i {
                0 | 1 => self.next[to][i].address,
                2 => self.logits.address,
                _ => self.spare[i - RESULTS].as_ref().unwrap_or(&self.caches[i - RESULTS]).address,
            })
        };
        let stream = StreamHandle(self.stream.cu_stream() as usize);
        // SAFETY: our own stream, and memory of the sizes of the signature that lives until the stream is done.
        unsafe { executable.enqueue(stream, &inputs, &mut output) }?;
        for (cache, spare) in self.caches.iter_mut().zip(&mut self.spare) {
            if let Some(spare) = spare {
                std::mem::swap(cache, spare);
            }
        }
        self.newest = to;
        Ok(())
    }

    /// Has the device tell the host the tokens that the last pass chose.
    fn tell(&mut self) -> Result<()> {
        let place = self.place;
        self.place = (place + 1) % PLACES;
        let from = self.next[self.newest][0].address;
        let Place { tokens, written } = &mut self.places[place];
        let to = tokens.as_mut_slice().map_err(|e| failed("no host memory", e))?;
        self.device.bind_to_thread().map_err(|e| failed("no context", e))?;
        // SAFETY: as many integers on both sides; the host reads them after the event.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream.cu_stream()) }
            .and_then(|()| written.record(&self.stream))
            .map_err(|e| failed("tokens cannot be copied", e))?;
        self.pending.push_back(place);
        Ok(())
    }
}

impl Session for DeviceSession {
    fn forget(&mut self, texts: &[usize]) -> Result<()> {
        self.device.bind_to_thread().map_err(|e| failed("no context", e))?;
        let specs = &self.step.signature().outputs[RESULTS..];
        for (cache, spec) in self.caches.iter().zip(specs) {
            let each = bytes(spec) / self.batch;
            // Texts beside each other are cleared at once: a call takes about as long for all as for one.
            for texts in texts.chunk_by(|text, next| text + 1 == *next) {
                let address = cache.address + (texts[0] * each) as u64;
                let stream = self.stream.cu_stream();
                // SAFETY: a part of the cache, in the order of the stream that uses the cache.
                unsafe { result::memset_d8_async(address, 0, each * texts.len(), stream) }
                    .map_err(|e| failed("a cache cannot be cleared", e))?;
            }
        }
        Ok(())
    }

    fn encode(&mut self, source: &[HostTensor]) -> Result<()> {
        self.encoder.as_ref().map_or(Ok(()), |encoder| encoder.encode(source))
    }

    fn width(&self, most: usize) -> usize {
        if most > 1 { self.chunk } else { 1 }
    }

    fn pass(&mut self, rows: &[Option<Row<'_>>]) -> Result<()> {
        self.pending.clear();
        let rows: Vec<Row<'_>> = rows.iter().map(|row| row.unwrap_or(Row::OF_NOBODY)).collect();
        let most = rows.iter().map(|row| row.tokens.len()).max().unwrap_or_default();
        let width = self.width(most);
        let (mut tokens, mut positions, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let Row { tokens: own, start } = row;
            tokens.extend(row.padded(width));
            positions.extend((*start..start + width).map(|position| position as i64));
            last.push((start + own.len()) as i64 - 1);
        }
        let whole = width > 1;
        match whole {
            true => {
                for (memory, values) in self.inputs.iter().zip([&tokens, &positions, &last]) {
                    self.write(memory, values)?;
                }
            }
            false => {
                for (memory, values) in self.next[self.newest].iter().zip([&tokens, &positions]) {
                    self.write(memory, values)?;
                }
            }
        }
        self.reached = rows.iter().map(|row| row.start + width).max().unwrap_or_default();
        self.enqueue(whole)?;
        self.tell()
    }

    fn step(&mut self, tokens: Option<&[u32]>) -> Result<()> {
        if let Some(tokens) = tokens {
            let tokens: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
            self.write(&self.next[self.newest][0], &tokens)?;
        }
        self.reached += 1;
        self.enqueue(false)?;
        self.tell()
    }

    fn tokens(&mut self) -> Result<Vec<Result<u32>>> {
        let none = || Error::new(ErrorKind::Execution, "no pass has left a result");
        let place = self.pending.pop_front().ok_or_else(none)?;
        let Place { tokens, written } = &self.places[place];
        written.synchronize().map_err(|e| failed("the device failed", e))?;
        let tokens = tokens.as_slice().map_err(|e| failed("the device failed", e))?;
        Ok(tokens.iter().map(|&token| likeliest(token)).collect())
    }

    fn logits(&mut self) -> Result<Vec<f32>> {
        self.pending.pop_front();
        let mut logits = vec![0f32; self.batch * self.vocabulary];
        self.device.bind_to_thread().map_err(|e| failed("no context", e))?;
        // SAFETY: as many numbers on both sides; the copy is waited for.
        unsafe {
            result::memcpy_dtoh_async(&mut logits, self.logits.address, self.stream.cu_stream())
        }
        .map_err(|e| failed("logits cannot be copied", e))?;
        self.stream.synchronize().map_err(|e| failed("the device failed", e))?;
        Ok(logits)
    }

    fn ahead(&self) -> usize {
        AHEAD
    }
}

impl Drop for DeviceSession {
    fn drop(&mut self) {
        // The host's places may be written to still.
        let _ = self.stream.synchronize();
    }
}
