//! `xs.i(…)`: the indices of candle's `IndexOp`, for any tensor of a forward.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use candle_core::{Result, Tensor, TensorIndexer};

use super::tensor_ops::TensorOps;

/// One axis of an index: a number, a range, or a list of numbers.
pub trait Indexer: Into<TensorIndexer> {}

/// The index of [`TensorOps::i`]: an [`Indexer`], or a tuple of up to six.
pub trait Indexes {
    /// The indexers, outermost axis first.
    fn indexers(self) -> Vec<TensorIndexer>;
}

macro_rules! indexers {
    ($($type:ty),*) => {$(
        impl Indexer for $type {}

        impl Indexes for $type {
            fn indexers(self) -> Vec<TensorIndexer> {
                vec![self.into()]
            }
        }
    )*};
}

indexers!(
    usize,
    Range<usize>,
    RangeFrom<usize>,
    RangeFull,
    RangeInclusive<usize>,
    RangeTo<usize>,
    RangeToInclusive<usize>,
    &[u32],
    Vec<u32>,
    &Tensor
);

macro_rules! tuples {
    ($(($($name:ident),+))*) => {$(
        impl<$($name: Indexer),+> Indexes for ($($name,)+) {
            fn indexers(self) -> Vec<TensorIndexer> {
                #[allow(non_snake_case, reason = "a tuple's parts are named as their types are")]
                let ($($name,)+) = self;
                vec![$($name.into()),+]
            }
        }
    )*};
}

tuples! { (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }

/// As candle indexes its own tensor, which keeps the function to itself.
pub(super) fn index<T: TensorOps>(xs: &T, index: impl Indexes) -> Result<T> {
    let mut part = xs.clone();
    let mut axis = 0;
    for (i, indexer) in index.indexers().into_iter().enumerate() {
        part = match indexer {
            TensorIndexer::Select(at) => {
                part = part.narrow(axis, at, 1)?.squeeze(axis)?;
                continue;
            }
            TensorIndexer::Narrow(from, to) => {
                let start = match from {
                    Bound::Included(at) => at,
                    Bound::Excluded(at) => at + 1,
                    Bound::Unbounded => 0,
                };
                let stop = match to {
                    Bound::Included(at) => at + 1,
                    Bound::Excluded(at) => at,
                    Bound::Unbounded => xs.dim(i)?,
                };
                part.narrow(axis, start, stop.saturating_sub(start))?
            }
            TensorIndexer::IndexSelect(indexes) => {
                if indexes.rank() != 1 {
                    candle_core::bail!("multi-dimensional tensor indexing is not supported")
                }
                part.index_select(&T::constant(&indexes.to_device(part.device())?), axis)?
            }
            TensorIndexer::Err(e) => candle_core::bail!("indexing error {e:?}"),
        };
        axis += 1;
    }
    Ok(part)
}
