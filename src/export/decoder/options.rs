//! Options of a decoder's graph: the number of tokens at once, the length of the cache, types and forms.

use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::spec::{DType, Dim};

/// Options of the graph of a decoder.
///
/// ```
/// use accelerant::{DType, generate::{DecoderOptions, Tokens}};
///
/// // A cache of 4096 positions in fp16, and prompts in chunks of 128 tokens.
/// let options = DecoderOptions::new(4096).dtype(DType::F16).tokens(Tokens::UpTo(128));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// The capacity of the key-value cache in tokens.
    pub capacity: usize,
    /// The batch size, in sequences.
    pub batch: usize,
    /// The largest number of source tokens, for the encoder of an [`EncoderDecoder`](super::EncoderDecoder).
    pub source: usize,
    /// The number of tokens of each sequence in one pass.
    pub tokens: Tokens,
    /// The type of weights, hidden states and caches: f32, f16 or bf16.
    pub dtype: DType,
    /// Whether attention scores are computed in fp32 if `dtype` is narrower. Norms are always computed in fp32.
    pub wide_scores: bool,
    /// Whether query, key and value are one matrix multiplication, and also gate and up.
    pub joined: bool,
    /// How the multiplications with weights are written.
    pub form: ProductForm,
    /// How the attention of a single token over the cache is written. With `None`, the target decides.
    pub attention: Option<AttentionForm>,
    /// Whether a pass over single tokens reads only the used part of the caches. With `None`, the target decides.
    pub part_of_cache: Option<bool>,
    /// Whether a pass may take fewer texts than the batch has.
    pub(crate) fewer_texts: bool,
}

/// How many tokens of each sequence one pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tokens {
    /// Exactly this number.
    Fixed(usize),
    /// Any number from one to this number.
    UpTo(usize),
}

/// How the multiplication `[rows, in] x [in, out]` with a weight is written. All forms compute the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProductForm {
    /// `Gemm` with the weight as the checkpoint has it, `[out, in]`.
    Gemm,
    /// `MatMul` with the weight transposed to `[in, out]`.
    MatMul,
    /// `MatMul` of the weight and a column: `[out, in] x [in, rows]`.
    Columns,
    /// A batched `MatMul` over this number of parts of `in`, and the sum of its results.
    Parts(usize),
}

/// How the attention of one token over the cache is written. All forms compute the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttentionForm {
    /// Attention over the whole cache, which TensorRT runs as one kernel. The kernel uses one multiprocessor for each head.
    Whole,
    /// Attention over this number of parts of the cache in parallel, each with its own softmax, and then their combination
    /// ("Flash-Decoding", Dao et al., 2023).
    Parts(usize),
    /// One softmax over the whole cache, and the weighted sum of the values in this number of parts.
    Sums(usize),
    /// As `Sums`, with the keys as the first factor of the multiplication.
    Columns(usize),
}

impl AttentionForm {
    /// The number of parts, of the forms that have parts.
    fn parts(self) -> Option<usize> {
        match self {
            Self::Whole => None,
            Self::Parts(parts) | Self::Sums(parts) | Self::Columns(parts) => Some(parts),
        }
    }
}

/// A part of a cache is worth a multiprocessor of its own from so many positions on.
const POSITIONS_OF_A_PART: usize = 256;

/// A pass that reads a part of a cache reads a multiple of so many positions.
pub(crate) const POSITIONS_OF_A_BLOCK: usize = 512;

impl DecoderOptions {
    /// One token of one sequence in each pass, in fp32, with a cache for `capacity` tokens.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            batch: 1,
            source: 512,
            tokens: Tokens::Fixed(1),
            dtype: DType::F32,
            wide_scores: true,
            joined: true,
            form: ProductForm::Gemm,
            attention: None,
            part_of_cache: None,
            fewer_texts: false,
        }
    }

    /// Sets the number of tokens of each sequence in one pass. Longer prompts are processed in chunks of this size.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// Sets the batch size, in sequences.
    #[must_use]
    pub fn batch(mut self, sequences: usize) -> Self {
        self.batch = sequences;
        self
    }

    /// Sets the largest number of source tokens. The keys and values of the source take memory for this number of tokens.
    #[must_use]
    pub fn source(mut self, tokens: usize) -> Self {
        self.source = tokens;
        self
    }

    /// Sets the type of weights, hidden states and caches.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Sets the form of multiplications with weights.
    #[must_use]
    pub fn form(mut self, form: ProductForm) -> Self {
        self.form = form;
        self
    }

    /// Sets whether query, key and value are one matrix multiplication, and also gate and up. The default is `true`.
    #[must_use]
    pub fn joined(mut self, joined: bool) -> Self {
        self.joined = joined;
        self
    }

    /// Sets whether attention scores are computed in fp32 if the type is narrower. The default is `true`.
    #[must_use]
    pub fn wide_scores(mut self, wide: bool) -> Self {
        self.wide_scores = wide;
        self
    }

    /// Sets the form of the attention of single tokens.
    #[must_use]
    pub fn attention(mut self, form: AttentionForm) -> Self {
        self.attention = Some(form);
        self
    }

    /// Sets whether a pass over single tokens reads only the used part of the caches, in blocks of 512 positions. The default
    /// is `true` on TensorRT if the capacity is a multiple of 512, and larger than 512.
    #[must_use]
    pub fn part_of_cache(mut self, part: bool) -> Self {
        self.part_of_cache = Some(part);
        self
    }

    /// Whether a pass is told how many positions of the caches it reads.
    pub(super) fn reads_a_part(&self, target: Target) -> bool {
        let (size, capacity) = (POSITIONS_OF_A_BLOCK, self.capacity);
        let fits = capacity > size && capacity.is_multiple_of(size);
        // Each number of positions is divided into the parts of the attention.
        let divided =
            self.attention.and_then(AttentionForm::parts).is_none_or(|n| size.is_multiple_of(n));
        let may = self.tokens == Tokens::Fixed(1) && fits && divided;
        may && self.part_of_cache.unwrap_or(target.writes_caches_in_place())
    }

    /// Lets a pass take any number of texts, up to the whole batch.
    #[must_use]
    pub(crate) fn with_fewer_texts(mut self) -> Self {
        // A dynamic size has two values at least.
        self.fewer_texts = self.batch > 1;
        self
    }

    /// The texts of one pass.
    ///
    /// # Errors
    /// None, where [`check`](Self::check) has none.
    pub(super) fn texts(&self) -> Result<Dim> {
        match self.fewer_texts {
            true => Dim::dynamic("texts", 1..=self.batch),
            false => Ok(self.batch.into()),
        }
    }

    /// The form of the attention.
    pub(super) fn attention_form(&self, target: Target) -> AttentionForm {
        if self.tokens != Tokens::Fixed(1) {
            return AttentionForm::Whole;
        }
        let usual = || {
            let parts = (2..=self.capacity / POSITIONS_OF_A_PART).rev();
            let parts = parts
                .filter(|parts| self.capacity.is_multiple_of(*parts))
                .filter(|parts| !self.reads_a_part(target) || parts.is_power_of_two())
                .find(|parts| *parts <= 16);
            parts.filter(|_| target.writes_caches_in_place())
        };
        self.attention.unwrap_or_else(|| usual().map_or(AttentionForm::Whole, AttentionForm::Sums))
    }

    /// The most tokens in one pass.
    pub(super) fn most_tokens(&self) -> usize {
        match self.tokens {
            Tokens::Fixed(most) | Tokens::UpTo(most) => most,
        }
    }

    /// Checks the options for a model that was trained for so many positions.
    pub(crate) fn check(&self, positions: usize) -> Result<()> {
        let invalid = |text: String| {
            Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("decoder options"))
        };
        if !matches!(self.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return invalid(format!(
                "a decoder is computed in f32, f16 or bf16, not in {}",
                self.dtype
            ));
        }
        if self.batch == 0 || self.most_tokens() == 0 || self.source == 0 {
            return invalid("a pass over no tokens".into());
        }
        if self.most_tokens() > self.capacity {
            let (most, capacity) = (self.most_tokens(), self.capacity);
            return invalid(format!("{most} tokens do not fit into a cache of {capacity}"));
        }
        if self.capacity > positions {
            let capacity = self.capacity;
            return invalid(format!("a cache of {capacity} for a model of {positions} positions"));
        }
        if self.form == ProductForm::Parts(0) {
            return invalid("products in 0 parts".into());
        }
        if let Some(n) = self.attention.and_then(AttentionForm::parts)
            && (n == 0 || !self.capacity.is_multiple_of(n))
        {
            let capacity = self.capacity;
            return invalid(format!("a cache of {capacity} positions in {n} equal parts"));
        }
        Ok(())
    }
}
