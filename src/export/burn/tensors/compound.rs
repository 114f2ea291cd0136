//! Tensors in tuples, arrays, vectors and options.

use super::{BurnTensors, TensorSource, TensorVisitor};
use crate::error::{Error, ErrorKind, Result};

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))+) => {$(
        impl<$($name: BurnTensors),+> BurnTensors for ($($name,)+) {
            fn visit(&self, visitor: &mut TensorVisitor<'_>) -> Result<()> {
                $(visitor.item($index, &self.$index)?;)+
                Ok(())
            }

            fn build(source: &mut TensorSource<'_>) -> Result<Self> {
                Ok(($($name::build(source)?,)+))
            }
        }
    )+};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}

impl<T: BurnTensors, const N: usize> BurnTensors for [T; N] {
    fn visit(&self, visitor: &mut TensorVisitor<'_>) -> Result<()> {
        self.iter().enumerate().try_for_each(|(index, item)| visitor.item(index, item))
    }

    fn build(source: &mut TensorSource<'_>) -> Result<Self> {
        let items = (0..N).map(|_| T::build(source)).collect::<Result<Vec<_>>>()?;
        items
            .try_into()
            .map_err(|_| Error::new(ErrorKind::InputMismatch, "an array of another length"))
    }
}

impl<T: BurnTensors> BurnTensors for Vec<T> {
    fn visit(&self, visitor: &mut TensorVisitor<'_>) -> Result<()> {
        visitor.length(self.len());
        self.iter().enumerate().try_for_each(|(index, item)| visitor.item(index, item))
    }

    fn build(source: &mut TensorSource<'_>) -> Result<Self> {
        let length = source.length()?;
        (0..length).map(|_| T::build(source)).collect()
    }
}

impl<T: BurnTensors> BurnTensors for Option<T> {
    fn visit(&self, visitor: &mut TensorVisitor<'_>) -> Result<()> {
        visitor.length(usize::from(self.is_some()));
        self.iter().try_for_each(|value| value.visit(visitor))
    }

    fn build(source: &mut TensorSource<'_>) -> Result<Self> {
        match source.length()? {
            0 => Ok(None),
            _ => T::build(source).map(Some),
        }
    }
}
