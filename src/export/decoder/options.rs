//! Options of a decoder's graph: the number of tokens at once, the length of the cache, types and forms.

use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::spec::{DType, Dim};

/// Options of one graph of a decoder.
///
/// ```
/// use accelerant::{DType, generate::{DecoderOptions, Tokens}};
///
/// // A cache of 4096 positions, in 16 bits, and prompts in chunks of 128 tokens.
/// let options = DecoderOptions::new(4096).dtype(DType::F16).tokens(Tokens::UpTo(128));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// The number of positions that the caches hold.
    pub capacity: usize,
    /// The number of texts at once.
    pub batch: usize,
    /// The most tokens of a text that an encoder reads, for [models of text to text](super::EncoderDecoder) alone.
    pub source: usize,
    /// The tokens of each text in one pass.
    pub tokens: Tokens,
    /// The type that weights, states and caches have: f32, f16 or bf16.
    pub dtype: DType,
    /// Whether scores are computed in 32 bits where the type is narrower. Norms are always computed in 32 bits.
    pub wide_scores: bool,
    /// Whether query, key and value are one product, and gate and up are.
    pub joined: bool,
    /// How the products with weights are written.
    pub form: ProductForm,
    /// How the attention of a single token over the cache is written; `None` leaves that to the target.
    pub attention: Option<AttentionForm>,
    /// Whether a pass over single tokens reads only as much of the caches as the texts fill; `None` leaves that to the target.
    pub part_of_cache: Option<bool>,
    /// Whether a pass may take fewer texts than the batch has.
    pub(crate) fewer_texts: bool,
}

/// How many tokens of each text one pass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tokens {
    /// Always this number.
    Fixed(usize),
    /// From one to this number.
    UpTo(usize),
}

/// How a product `[rows, in] x [in, out]` with a weight is written. All compute the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProductForm {
    /// `Gemm` with the weight as the checkpoint has it, `[out, in]`.
    Gemm,
    /// `MatMul` with the weight turned to `[in, out]`.
    MatMul,
    /// `MatMul` of the weight and a column: `[out, in] x [in, rows]`.
    Columns,
    /// The sum over this number of parts of `in`, each a product of one batch.
    Parts(usize),
}

/// How the attention of one token over the cache is written. All compute the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttentionForm {
    /// Over the whole cache at once, which TensorRT runs as one kernel. That kernel has work for as many multiprocessors as
    /// there are heads.
    Whole,
    /// Over so many parts of the cache side by side, each with a softmax of its own, put together afterwards ("Flash-Decoding",
    /// Dao et al., 2023).
    Parts(usize),
    /// One softmax over the whole cache, and the sum of the values over so many parts.
    Sums(usize),
    /// As `Sums`, with the keys as the first factor of their product.
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
    /// One token of one text at a time, in 32 bits, with caches of `capacity` positions.
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

    /// Sets the number of tokens in one pass.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    /// Sets the number of texts at once.
    #[must_use]
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = texts;
        self
    }

    /// Sets the most tokens of a text that an encoder reads. The keys and values of the text take memory for so many tokens.
    #[must_use]
    pub fn source(mut self, tokens: usize) -> Self {
        self.source = tokens;
        self
    }

    /// Sets the type of weights, states and caches.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Sets the form of products.
    #[must_use]
    pub fn form(mut self, form: ProductForm) -> Self {
        self.form = form;
        self
    }

    /// Says whether query, key and value are one product, and gate and up are. By default they are.
    #[must_use]
    pub fn joined(mut self, joined: bool) -> Self {
        self.joined = joined;
        self
    }

    /// Says whether scores are computed in 32 bits where the type is narrower. By default they are.
    #[must_use]
    pub fn wide_scores(mut self, wide: bool) -> Self {
        self.wide_scores = wide;
        self
    }

    /// With the attention of single tokens in another form.
    #[must_use]
    pub fn attention(mut self, form: AttentionForm) -> Self {
        self.attention = Some(form);
        self
    }

    /// Says whether a pass over single tokens reads only as much of the caches as the texts fill, in blocks of 512 positions.
    /// By default passes on TensorRT do, where the capacity is a multiple of 512 and larger.
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
