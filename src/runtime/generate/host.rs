//! Texts with caches in host memory, for runtimes that run on the host.

use super::session::{Row, Session, likeliest};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::InferenceModule;
use crate::spec::TensorSpec;
use crate::tensor::HostTensor;

/// The inputs before the caches: tokens, positions and the last position.
const BEFORE_CACHES: usize = 3;
/// The outputs before the caches: the next token, its position and the logits.
const RESULTS: usize = 3;

/// One module for prompts and single tokens, whose number of tokens is dynamic.
pub(super) struct HostSession {
    module: InferenceModule,
    encoder: Option<InferenceModule>,
    chunk: usize,
    caches: Vec<HostTensor>,
    /// What the encoder gave.
    encoded: Vec<HostTensor>,
    lengths: Vec<usize>,
    result: Option<[HostTensor; RESULTS]>,
}

impl HostSession {
    pub(super) fn new(
        module: &InferenceModule,
        encoder: Option<&InferenceModule>,
        chunk: usize,
    ) -> Result<Self> {
        let signature = module.signature();
        let count = signature.outputs.len() - RESULTS;
        let caches = signature.inputs[BEFORE_CACHES..][..count].iter().map(empty);
        Ok(Self {
            module: module.clone(),
            encoder: encoder.cloned(),
            chunk,
            caches: caches.collect::<Result<_>>()?,
            encoded: Vec::new(),
            lengths: Vec::new(),
            result: None,
        })
    }

    fn run(&mut self, rows: &[Row<'_>]) -> Result<()> {
        let count = rows.iter().map(|row| row.tokens.len()).max().unwrap_or_default();
        let (mut tokens, mut positions, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            tokens.extend(row.padded(count));
            positions.extend((row.start..row.start + count).map(|position| position as i64));
            last.push((row.start + row.tokens.len()) as i64 - 1);
        }
        let batch = rows.len();
        let mut inputs = vec![
            HostTensor::from_vec([batch, count], tokens)?,
            HostTensor::from_vec([batch, count], positions)?,
            HostTensor::from_vec([batch, 1], last)?,
        ];
        let count = self.caches.len();
        inputs.append(&mut self.caches);
        inputs.extend_from_slice(&self.encoded);
        let mut outputs = match self.module.run(&inputs) {
            Ok(outputs) => outputs,
            Err(e) => {
                inputs.truncate(BEFORE_CACHES + count);
                self.caches = inputs.split_off(BEFORE_CACHES);
                return Err(e);
            }
        };
        self.caches = outputs.split_off(RESULTS);
        self.result = outputs.try_into().ok();
        Ok(())
    }

    fn result(&self) -> Result<&[HostTensor; RESULTS]> {
        let none = || Error::new(ErrorKind::Execution, "no pass has left a result");
        self.result.as_ref().ok_or_else(none)
    }
}

impl Session for HostSession {
    fn forget(&mut self, texts: &[usize]) -> Result<()> {
        for cache in &mut self.caches {
            let (shape, dtype) = (cache.shape().to_vec(), cache.dtype());
            let mut bytes = match texts.len() == shape[0] {
                true => vec![0; cache.bytes().len()],
                false => cache.bytes().to_vec(),
            };
            let each = bytes.len() / shape[0];
            for text in texts {
                bytes[text * each..][..each].fill(0);
            }
            *cache = HostTensor::from_bytes(dtype, shape, bytes::Bytes::from(bytes))?;
        }
        Ok(())
    }

    fn encode(&mut self, source: &[HostTensor]) -> Result<()> {
        if let Some(encoder) = &self.encoder {
            self.encoded = encoder.run(source)?;
        }
        Ok(())
    }

    fn width(&self, most: usize) -> usize {
        most.min(self.chunk)
    }

    fn pass(&mut self, rows: &[Row<'_>]) -> Result<()> {
        self.result = None;
        self.run(rows)?;
        self.lengths = rows.iter().map(|row| row.start + row.tokens.len()).collect();
        Ok(())
    }

    fn step(&mut self, tokens: Option<&[u32]>) -> Result<()> {
        let chosen = match tokens {
            Some(tokens) => tokens.to_vec(),
            // A text whose logits are NaN ends as soon as its result is taken.
            None => self.tokens()?.into_iter().map(Result::unwrap_or_default).collect(),
        };
        let tokens = chosen.iter().map(std::slice::from_ref);
        let rows = tokens.zip(&self.lengths).map(|(tokens, &start)| Row { tokens, start });
        self.pass(&rows.collect::<Vec<_>>())
    }

    fn tokens(&mut self) -> Result<Vec<Result<u32>>> {
        let tokens = self.result()?[0].to_vec::<i64>()?;
        Ok(tokens.into_iter().map(likeliest).collect())
    }

    fn logits(&mut self) -> Result<Vec<f32>> {
        self.result()?[2].to_vec()
    }

    fn ahead(&self) -> usize {
        0
    }
}

fn empty(spec: &TensorSpec) -> Result<HostTensor> {
    let shape = spec.shape.fixed().unwrap_or_default();
    let len = shape.iter().product::<usize>() * spec.dtype.size();
    HostTensor::from_bytes(spec.dtype, shape, bytes::Bytes::from(vec![0u8; len]))
}
