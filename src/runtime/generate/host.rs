//! Texts with caches in host memory, for runtimes that run on the host.

use super::host_caches::HostCaches;
use super::session::{Row, Session, likeliest};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::InferenceModule;
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
    batch: usize,
    /// Whether a pass computes the whole batch, wherever texts are.
    is_whole: bool,
    caches: HostCaches,
    /// What the encoder gave.
    encoded: Vec<HostTensor>,
    /// The lengths of the texts of the last pass.
    lengths: Vec<Option<usize>>,
    /// What the last pass gave, and of which texts.
    result: Option<([HostTensor; RESULTS], Vec<usize>)>,
}

impl HostSession {
    pub(super) fn new(
        module: &InferenceModule,
        encoder: Option<&InferenceModule>,
        chunk: usize,
    ) -> Self {
        let signature = module.signature();
        let count = signature.outputs.len() - RESULTS;
        let texts = &signature.inputs[0].shape.dims()[0];
        Self {
            module: module.clone(),
            encoder: encoder.cloned(),
            chunk,
            batch: texts.max(),
            is_whole: texts.fixed().is_some(),
            caches: HostCaches::new(&signature.inputs[BEFORE_CACHES..][..count]),
            encoded: Vec::new(),
            lengths: Vec::new(),
            result: None,
        }
    }

    fn run(&mut self, rows: &[Option<Row<'_>>]) -> Result<()> {
        let nobody = self.is_whole.then_some(Row::OF_NOBODY);
        let (texts, rows): (Vec<usize>, Vec<Row<'_>>) =
            rows.iter().enumerate().filter_map(|(text, row)| Some((text, row.or(nobody)?))).unzip();
        let count = rows.iter().map(|row| row.tokens.len()).max().unwrap_or_default();
        let (mut tokens, mut positions, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            tokens.extend(row.padded(count));
            positions.extend((row.start..row.start + count).map(|position| position as i64));
            last.push(row.end() as i64 - 1);
        }
        let batch = rows.len();
        let mut inputs = vec![
            HostTensor::from_vec([batch, count], tokens)?,
            HostTensor::from_vec([batch, count], positions)?,
            HostTensor::from_vec([batch, 1], last)?,
        ];
        inputs.append(&mut self.caches.take(&texts)?);
        inputs.extend_from_slice(&self.encoded);
        let mut outputs = match self.module.run(&inputs) {
            Ok(outputs) => outputs,
            Err(e) => {
                inputs.truncate(BEFORE_CACHES + self.caches.len());
                self.caches.give(inputs.split_off(BEFORE_CACHES));
                return Err(e);
            }
        };
        self.caches.give(outputs.split_off(RESULTS));
        self.result = outputs.try_into().ok().map(|outputs| (outputs, texts));
        Ok(())
    }

    fn result(&self) -> Result<&([HostTensor; RESULTS], Vec<usize>)> {
        let none = || Error::new(ErrorKind::Execution, "no pass has left a result");
        self.result.as_ref().ok_or_else(none)
    }
}

impl Session for HostSession {
    fn forget(&mut self, texts: &[usize]) -> Result<()> {
        self.caches.forget(texts);
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

    fn pass(&mut self, rows: &[Option<Row<'_>>]) -> Result<()> {
        self.result = None;
        self.run(rows)?;
        self.lengths = rows.iter().map(|row| Some(row.as_ref()?.end())).collect();
        Ok(())
    }

    fn step(&mut self, tokens: Option<&[u32]>) -> Result<()> {
        let chosen = match tokens {
            Some(tokens) => tokens.to_vec(),
            // A text whose logits are NaN ends as soon as its result is taken.
            None => self.tokens()?.into_iter().map(Result::unwrap_or_default).collect(),
        };
        let lengths = self.lengths.clone();
        let row = |(token, start): (_, Option<usize>)| {
            Some(Row { tokens: std::slice::from_ref(token), start: start? })
        };
        self.pass(&chosen.iter().zip(lengths).map(row).collect::<Vec<_>>())
    }

    fn tokens(&mut self) -> Result<Vec<Result<u32>>> {
        let ([next, ..], texts) = self.result()?;
        let mut tokens: Vec<Result<u32>> = (0..self.batch).map(|_| Ok(0)).collect();
        for (text, next) in texts.iter().zip(next.to_vec::<i64>()?) {
            tokens[*text] = likeliest(next);
        }
        Ok(tokens)
    }

    fn logits(&mut self) -> Result<Vec<f32>> {
        let ([_, _, logits], texts) = self.result()?;
        let logits = logits.to_vec::<f32>()?;
        if texts.len() == self.batch {
            return Ok(logits);
        }
        let size = logits.len() / texts.len();
        let mut all = vec![0f32; self.batch * size];
        for (text, logits) in texts.iter().zip(logits.chunks_exact(size)) {
            all[text * size..][..size].copy_from_slice(logits);
        }
        Ok(all)
    }

    fn ahead(&self) -> usize {
        0
    }
}
