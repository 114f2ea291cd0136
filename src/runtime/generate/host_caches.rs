//! Caches in host memory of the texts that passes take, one behind the other without a gap.

use std::mem::take;

use crate::error::Result;
use crate::spec::{DType, Dim, TensorSpec};
use crate::tensor::HostTensor;

/// The caches of the texts of the last pass. Those of other texts are zeros, which take no memory.
pub(super) struct HostCaches {
    kinds: Vec<Kind>,
    /// None before the first pass, else one for each kind, with a row for each place.
    tensors: Vec<HostTensor>,
    /// The text of each row, unless the text was forgotten.
    rows: Vec<Option<usize>>,
}

/// What a cache has for one text.
struct Kind {
    dtype: DType,
    sizes: Vec<usize>,
}

impl Kind {
    fn bytes(&self) -> usize {
        self.sizes.iter().product::<usize>() * self.dtype.size()
    }
}

impl HostCaches {
    /// All zeros. The first axis of each cache counts texts.
    pub(super) fn new(specs: &[TensorSpec]) -> Self {
        let kind = |spec: &TensorSpec| {
            let sizes = spec.shape.dims()[1..].iter().map(Dim::max).collect();
            Kind { dtype: spec.dtype, sizes }
        };
        let kinds = specs.iter().map(kind).collect();
        Self { kinds, tensors: Vec::new(), rows: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Makes the caches of these texts zeros.
    pub(super) fn forget(&mut self, texts: &[usize]) {
        for row in &mut self.rows {
            *row = row.filter(|text| !texts.contains(text));
        }
    }

    /// The caches of these texts, in this order, for a pass which [gives](Self::give) them back. Bytes are copied where the
    /// texts are not those of the pass before, and nowhere else.
    pub(super) fn take(&mut self, texts: &[usize]) -> Result<Vec<HostTensor>> {
        let wanted: Vec<Option<usize>> = texts.iter().copied().map(Some).collect();
        if self.rows != wanted {
            let place = |text: &Option<usize>| self.rows.iter().position(|row| row == text);
            let places: Vec<Option<usize>> = wanted.iter().map(place).collect();
            let mut before = take(&mut self.tensors).into_iter();
            let kinds = self.kinds.iter();
            let moved = kinds.map(|kind| moved(kind, before.next().as_ref(), &places));
            self.tensors = moved.collect::<Result<_>>()?;
            self.rows = wanted;
        }
        Ok(take(&mut self.tensors))
    }

    /// The caches behind a pass, or those before one that failed.
    pub(super) fn give(&mut self, tensors: Vec<HostTensor>) {
        self.tensors = tensors;
    }
}

/// A cache with the rows of another one that stood at these places, and zeros for the others.
fn moved(kind: &Kind, before: Option<&HostTensor>, places: &[Option<usize>]) -> Result<HostTensor> {
    let each = kind.bytes();
    let mut bytes = vec![0u8; each * places.len()];
    for (to, from) in places.iter().enumerate() {
        if let (Some(from), Some(before)) = (from, before) {
            bytes[to * each..][..each].copy_from_slice(&before.bytes()[from * each..][..each]);
        }
    }
    let sizes = [&[places.len()], &kind.sizes[..]].concat();
    HostTensor::from_bytes(kind.dtype, sizes, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Shape;

    fn caches() -> HostCaches {
        let spec = |name: &str| TensorSpec::new(name, DType::I64, Shape::from([4, 2]));
        HostCaches::new(&[spec("key"), spec("value")])
    }

    /// What a pass over these texts finds, of the second cache; it writes the text's number and one more.
    fn pass(caches: &mut HostCaches, texts: &[usize]) -> Result<Vec<i64>> {
        let found = caches.take(texts)?;
        assert!(found.iter().all(|cache| cache.shape() == [texts.len(), 2]), "{found:?}");
        let written: Vec<i64> = texts.iter().flat_map(|&text| [text as i64, 1]).collect();
        let written = HostTensor::from_vec([texts.len(), 2], written)?;
        caches.give(vec![found[0].clone(), written]);
        found[1].to_vec()
    }

    #[test]
    fn each_text_finds_what_it_wrote_whoever_else_is_there() -> Result<()> {
        let mut caches = caches();
        assert_eq!(pass(&mut caches, &[1, 3])?, [0, 0, 0, 0]);
        assert_eq!(pass(&mut caches, &[1, 3])?, [1, 1, 3, 1]);
        assert_eq!(pass(&mut caches, &[0, 1, 2, 3])?, [0, 0, 1, 1, 0, 0, 3, 1]);
        assert_eq!(pass(&mut caches, &[3])?, [3, 1]);
        caches.forget(&[3, 2]);
        assert_eq!(pass(&mut caches, &[2, 3])?, [0, 0, 0, 0]);
        caches.forget(&[2]);
        assert_eq!(pass(&mut caches, &[2, 3])?, [0, 0, 3, 1]);
        Ok(())
    }

    #[test]
    fn the_same_texts_find_the_same_memory() -> Result<()> {
        let mut caches = caches();
        let found = caches.take(&[0, 2])?;
        let address = found[0].bytes().as_ptr();
        caches.give(found);
        assert_eq!(caches.take(&[0, 2])?[0].bytes().as_ptr(), address);
        Ok(())
    }
}
