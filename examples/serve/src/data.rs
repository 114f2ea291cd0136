//! The values of an input in JSON: read into few bytes each, whatever their type turns out to be.

use std::fmt;

use accelerant::{DType, Element, HostTensor};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

/// Numbers or bools, all of one kind.
#[derive(Debug)]
enum Values {
    None,
    Bools(Vec<bool>),
    Signed(Vec<i64>),
    /// As soon as one is beyond the signed ones.
    Unsigned(Vec<u64>),
    /// As soon as one has a point or an exponent.
    Floats(Vec<f64>),
}

/// The `data` of a tensor: a flat list, or lists in lists.
#[derive(Debug)]
pub(crate) struct Data {
    values: Values,
    /// The length of the lists at each depth.
    lengths: Vec<usize>,
    /// In how many lists a value stands.
    leaf: Option<usize>,
}

/// Why values are not those of a tensor.
type Wrong = String;

impl Data {
    /// The tensor of these values.
    pub(crate) fn tensor(self, dtype: DType, shape: &[usize]) -> Result<HostTensor, Wrong> {
        let is_nested = self.lengths.len() > 1;
        // A list of no values has no lists within.
        if is_nested && self.lengths[..] != *shape && !shape.contains(&0) {
            return Err(format!("the lists of data have the sizes {:?}", self.lengths));
        }
        match dtype {
            DType::Bool => self.build(shape, Self::bools),
            DType::I8 => self.build(shape, Self::whole::<i8>),
            DType::I16 => self.build(shape, Self::whole::<i16>),
            DType::I32 => self.build(shape, Self::whole::<i32>),
            DType::I64 => self.build(shape, Self::whole::<i64>),
            DType::U8 => self.build(shape, Self::whole::<u8>),
            DType::U16 => self.build(shape, Self::whole::<u16>),
            DType::U32 => self.build(shape, Self::whole::<u32>),
            DType::U64 => self.build(shape, Self::whole::<u64>),
            DType::F32 => self.build(shape, Self::singles),
            DType::F64 => self.build(shape, Self::floats),
            _ => Err("values of 16 bits have no form in JSON: send them as binary data".into()),
        }
    }

    fn build<T: Element>(
        self,
        shape: &[usize],
        convert: impl FnOnce(Self) -> Result<Vec<T>, Wrong>,
    ) -> Result<HostTensor, Wrong> {
        let values = convert(self)?;
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        if count != Some(values.len()) {
            return Err(format!("data has {} values for the shape {shape:?}", values.len()));
        }
        HostTensor::from_vec(shape, values).map_err(|e| e.to_string())
    }

    fn whole<T: TryFrom<i64> + TryFrom<u64>>(self) -> Result<Vec<T>, Wrong> {
        fn all<N: Copy + fmt::Display, T: TryFrom<N>>(numbers: Vec<N>) -> Result<Vec<T>, Wrong> {
            let one = |(i, number): (usize, N)| {
                let beyond = |_| format!("value {i}, {number}, is out of range");
                T::try_from(number).map_err(beyond)
            };
            numbers.into_iter().enumerate().map(one).collect()
        }
        match self.values {
            Values::None => Ok(Vec::new()),
            Values::Signed(numbers) => all(numbers),
            Values::Unsigned(numbers) => all(numbers),
            Values::Floats(_) => {
                Err("data has a number with a point, with an exponent or beyond 64 bits".into())
            }
            Values::Bools(_) => Err("data has true or false".into()),
        }
    }

    fn floats(self) -> Result<Vec<f64>, Wrong> {
        match self.values {
            Values::None => Ok(Vec::new()),
            Values::Floats(numbers) => Ok(numbers),
            Values::Signed(numbers) => Ok(numbers.into_iter().map(|n| n as f64).collect()),
            Values::Unsigned(numbers) => Ok(numbers.into_iter().map(|n| n as f64).collect()),
            Values::Bools(_) => Err("data has true or false".into()),
        }
    }

    fn singles(self) -> Result<Vec<f32>, Wrong> {
        let one = |(i, wide): (usize, f64)| {
            let narrow = wide as f32;
            match narrow.is_finite() {
                true => Ok(narrow),
                false => Err(format!("value {i}, {wide:e}, is out of range")),
            }
        };
        self.floats()?.into_iter().enumerate().map(one).collect()
    }

    /// Zeros and ones are taken as well.
    fn bools(self) -> Result<Vec<bool>, Wrong> {
        match self.values {
            Values::None => Ok(Vec::new()),
            Values::Bools(bools) => Ok(bools),
            Values::Signed(numbers) if numbers.iter().all(|n| matches!(n, 0 | 1)) => {
                Ok(numbers.into_iter().map(|n| n == 1).collect())
            }
            _ => Err("data has other values than true and false".into()),
        }
    }
}

impl Values {
    fn signed(&mut self, number: i64) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Signed(vec![number]),
            Self::Signed(all) => all.push(number),
            Self::Floats(all) => all.push(number as f64),
            Self::Unsigned(all) => all.push(u64::try_from(number).map_err(|_| BOTH)?),
            Self::Bools(_) => return Err(MIXED),
        }
        Ok(())
    }

    fn unsigned(&mut self, number: u64) -> Result<(), &'static str> {
        if let Ok(number) = i64::try_from(number) {
            return self.signed(number);
        }
        match self {
            Self::None => *self = Self::Unsigned(vec![number]),
            Self::Unsigned(all) => all.push(number),
            Self::Floats(all) => all.push(number as f64),
            Self::Signed(all) => {
                let before = all.iter().map(|&n| u64::try_from(n).map_err(|_| BOTH));
                let mut widened = before.collect::<Result<Vec<_>, _>>()?;
                widened.push(number);
                *self = Self::Unsigned(widened);
            }
            Self::Bools(_) => return Err(MIXED),
        }
        Ok(())
    }

    fn float(&mut self, number: f64) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Floats(vec![number]),
            Self::Floats(all) => all.push(number),
            Self::Signed(all) => {
                let before = all.iter().map(|&n| n as f64);
                *self = Self::Floats(before.chain([number]).collect());
            }
            Self::Unsigned(all) => {
                let before = all.iter().map(|&n| n as f64);
                *self = Self::Floats(before.chain([number]).collect());
            }
            Self::Bools(_) => return Err(MIXED),
        }
        Ok(())
    }

    fn bool(&mut self, value: bool) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Bools(vec![value]),
            Self::Bools(all) => all.push(value),
            _ => return Err(MIXED),
        }
        Ok(())
    }
}

const MIXED: &str = "data has both numbers and true or false";
const BOTH: &str = "data has both negative numbers and numbers beyond 64 bits with a sign";
const SIDE_BY_SIDE: &str = "data has values and lists side by side";
const RAGGED: &str = "the lists of data have different lengths";

/// Reads what stands at a depth: at 0 the list itself.
struct At<'a> {
    data: &'a mut Data,
    depth: usize,
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut data = Self { values: Values::None, lengths: Vec::new(), leaf: None };
        from.deserialize_seq(At { data: &mut data, depth: 0 })?;
        Ok(data)
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl At<'_> {
    fn value<E: serde::de::Error>(
        self,
        add: impl FnOnce(&mut Values) -> Result<(), &'static str>,
    ) -> Result<(), E> {
        let Self { data, depth } = self;
        if data.lengths.len() > depth || *data.leaf.get_or_insert(depth) != depth {
            return Err(E::custom(SIDE_BY_SIDE));
        }
        add(&mut data.values).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.depth == 0 { "a list" } else { "a number, true, false or a list" })
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.value(|values| values.bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.value(|values| values.signed(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.value(|values| values.unsigned(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.value(|values| values.float(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { data, depth } = self;
        let mut length = 0;
        if data.leaf.is_some_and(|leaf| leaf <= depth) {
            return Err(A::Error::custom(SIDE_BY_SIDE));
        }
        let first = data.lengths.len() == depth;
        if first {
            data.lengths.push(usize::MAX);
        }
        while list.next_element_seed(At { data: &mut *data, depth: depth + 1 })?.is_some() {
            length += 1;
        }
        if first {
            data.lengths[depth] = length;
        } else if data.lengths[depth] != length {
            return Err(A::Error::custom(RAGGED));
        }
        Ok(())
    }
}
