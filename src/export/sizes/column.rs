//! A size over all runs of a forward. All runs together tell whether the size is fixed or follows another size.

use std::{fmt, ops::Deref};

use crate::error::Result;
use crate::spec::{Dim, Symbol};

/// One size in each run of a forward, in the order of the runs, of which there is one at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::export) struct Column(Vec<usize>);

impl Column {
    /// The size, if it is the same in all runs.
    pub(in crate::export) fn fixed(&self) -> Option<usize> {
        let first = *self.first()?;
        self.iter().all(|&size| size == first).then_some(first)
    }

    /// The smallest and the largest, which need not be of the runs with the smallest and largest inputs.
    pub(in crate::export) fn range(&self) -> (usize, usize) {
        self.iter().fold((usize::MAX, 0), |(low, high), &size| (low.min(size), high.max(size)))
    }

    /// A dimension of which nothing is known but its sizes, tuned for `opt`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when `opt` is none of the sizes nor between
    /// them.
    pub(in crate::export) fn dim(&self, name: String, opt: usize) -> Result<Dim> {
        match (self.fixed(), self.range()) {
            (Some(size), _) => Ok(Dim::Fixed(size)),
            (None, (low, high)) => Symbol::new(name, low, opt, high).map(Dim::Symbol),
        }
    }

    /// A place on an axis of the sizes `whole`, moved by `offset`, as ONNX has it: from the front, or from the end
    /// when negative. `None` where it is neither.
    pub(in crate::export) fn place(&self, whole: &Self, offset: i64) -> Option<i64> {
        if let Some(at) = self.fixed() {
            return Some(at as i64 + offset);
        }
        let behind: Self = whole.iter().zip(self.iter()).map(|(size, at)| size - at).collect();
        // The end itself cannot be said with a negative number.
        let behind = behind.fixed().map(|behind| behind as i64);
        behind.filter(|&behind| behind > offset).map(|behind| offset - behind)
    }
}

impl Deref for Column {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl AsRef<[usize]> for Column {
    fn as_ref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Column {
    fn from(sizes: Vec<usize>) -> Self {
        Self(sizes)
    }
}

impl FromIterator<usize> for Column {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        Self(sizes.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Column {
    type Item = &'a usize;
    type IntoIter = std::slice::Iter<'a, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<_> = self.iter().map(usize::to_string).collect();
        f.write_str(&sizes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_from_where_it_does_not_move() {
        let column = |sizes: &[usize]| Column::from(sizes.to_vec());
        let whole = column(&[4, 7]);
        for (places, offset, expected) in [
            ([2, 2], 0, Some(2)),
            ([2, 2], -1, Some(1)),
            ([3, 6], 0, Some(-1)),
            ([3, 6], -1, Some(-2)),
            ([4, 7], 0, None),
            ([4, 7], -1, Some(-1)),
            ([2, 3], 0, None),
        ] {
            let found = column(&places).place(&whole, offset);
            assert_eq!(found, expected, "{places:?} moved by {offset}");
        }
    }

    #[test]
    fn a_size_that_moves_has_the_range_of_all_runs() {
        let column = Column::from(vec![5, 9, 2]);
        assert_eq!((column.fixed(), column.range()), (None, (2, 9)));
        let dim = column.dim("n".to_owned(), 5).unwrap();
        assert_eq!((dim.min(), dim.opt(), dim.max()), (2, 5, 9));
        assert_eq!(Column::from(vec![3, 3]).dim("n".to_owned(), 3).unwrap(), Dim::Fixed(3));
        assert_eq!(Column::default().fixed(), None);
    }
}
