//! Constants that count: positions, as many as a size of the inputs says.

use crate::tensor::HostTensor;

/// First value and step of a 1-D integer tensor `start, start + step, ..` with two values or more.
pub(super) fn of(tensor: &HostTensor) -> Option<(i64, i64)> {
    let values = match tensor.to_vec::<i64>() {
        Ok(values) => values,
        Err(_) => tensor.to_vec::<i32>().ok()?.into_iter().map(i64::from).collect(),
    };
    let [start, second, ..] = values[..] else { return None };
    let step = second.checked_sub(start)?;
    let counts = values.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(step));
    (tensor.shape().len() == 1 && counts).then_some((start, step))
}

/// Whether two constants of two captures are the same one, but for how far it counts.
pub(super) fn same(first: &HostTensor, second: &HostTensor) -> bool {
    let counts = || match (of(first), of(second)) {
        (Some(first), Some(second)) => first == second,
        // A single value does not tell the step.
        (Some((start, _)), None) => single(second) == Some(start),
        (None, Some((start, _))) => single(first) == Some(start),
        (None, None) => false,
    };
    first == second || (first.dtype() == second.dtype() && counts())
}

/// The value of a 1-D integer tensor of one element.
fn single(tensor: &HostTensor) -> Option<i64> {
    if tensor.shape() != [1] {
        return None;
    }
    match tensor.to_vec::<i64>() {
        Ok(values) => values.first().copied(),
        Err(_) => tensor.to_vec::<i32>().ok()?.first().map(|&value| i64::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_counting_continues_alike() {
        let ints = |values: &[i64]| HostTensor::from_vec([values.len()], values.to_vec()).unwrap();
        assert_eq!(of(&ints(&[3, 5, 7])), Some((3, 2)));
        assert_eq!(of(&ints(&[3])), None);
        assert_eq!(of(&ints(&[3, 5, 8])), None);
        assert!(same(&ints(&[0, 1]), &ints(&[0, 1, 2, 3])));
        assert!(!same(&ints(&[0, 1]), &ints(&[0, 2, 4, 6])));
        assert!(!same(&ints(&[0, 1]), &ints(&[0, 1, 2, 4])));
        assert!(same(&ints(&[4, 1]), &ints(&[4, 1])));
        assert!(same(&ints(&[3]), &ints(&[3, 5])));
        assert!(!same(&ints(&[3, 5]), &ints(&[5])));
        let square = HostTensor::from_vec([2, 2], vec![0i64, 1, 2, 3]).unwrap();
        assert!(!same(&square, &ints(&[0, 1, 2, 3, 4])));
        let narrow = HostTensor::from_vec([2], vec![0i32, 1]).unwrap();
        assert!(!same(&narrow, &ints(&[0, 1, 2])));
    }
}
