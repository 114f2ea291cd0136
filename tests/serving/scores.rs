//! Softmax and the largest scores, against Candle's own.

use accelerant::pipeline::{softmax, top_k};
use accelerant::{ErrorKind, HostTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayD, array, s};

use super::common::{F32, assert_close, random};

fn candle(scores: &ArrayD<f32>) -> Tensor {
    let values: Vec<f32> = scores.iter().copied().collect();
    Tensor::from_vec(values, scores.shape(), &Device::Cpu).unwrap()
}

#[test]
fn softmax_is_candles_along_every_axis() {
    for scale in [1.0, 30.0, 3e4] {
        let scores = random(&[3, 7, 5], 1).mapv(|x| x * scale);
        for axis in 0..3 {
            let expected = candle_nn::ops::softmax(&candle(&scores), axis).unwrap();
            let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let expected = HostTensor::from_vec(scores.shape(), expected).unwrap();
            let place = format!("axis {axis}, scale {scale}");
            assert_close(&place, &softmax(&scores, axis).unwrap().into(), &expected, F32);
            let tensor = HostTensor::from(scores.clone());
            assert_close(&place, &softmax(&tensor, axis).unwrap().into(), &expected, F32);
        }
    }
}

#[test]
fn scores_of_any_float_type_and_layout_are_the_same() {
    let scores = random(&[4, 6], 2).mapv(|x| f16::from_f32(8.0 * x));
    let wide = softmax(&scores.mapv(f16::to_f32), 1).unwrap();
    assert_eq!(softmax(&scores, 1).unwrap(), wide);
    assert_eq!(softmax(&HostTensor::from(scores.clone()), 1).unwrap(), wide);
    assert_eq!(softmax(&HostTensor::from(scores.mapv(f16::to_f64)), 1).unwrap(), wide);
    let scores = scores.mapv(|x| bf16::from_f32(x.into()));
    let wide = softmax(&scores.mapv(bf16::to_f32), 1).unwrap();
    assert_eq!(softmax(&HostTensor::from(scores.clone()), 1).unwrap(), wide);
    // A view that is not contiguous.
    let columns = scores.slice(s![.., 2]);
    assert_eq!(softmax(&columns, 0).unwrap(), softmax(&columns.to_owned(), 0).unwrap());
}

#[test]
fn softmax_of_the_extremes() {
    let infinity = f32::INFINITY;
    let rows: Array2<f32> = array![[3e38, -3e38], [-infinity, 0.0]];
    assert_eq!(softmax(&rows, 1).unwrap(), array![[1.0, 0.0], [0.0, 1.0]].into_dyn());
    for line in [array![infinity, 0.0], array![-infinity, -infinity], array![f32::NAN, 0.0]] {
        assert!(softmax(&line, 0).unwrap().iter().all(|x| x.is_nan()), "{line}");
    }
    assert!(softmax(&Array1::<f32>::zeros(0), 0).unwrap().is_empty());
    let error = softmax(&rows, 2).unwrap_err();
    assert_eq!((error.kind(), error.axis()), (ErrorKind::InvalidArgument, Some(2)));
    let error = softmax(&HostTensor::from(array![1i64]), 0).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::DTypeMismatch, Some("softmax")));
}

#[test]
fn the_largest_are_candles() {
    for (n, seed) in [(1, 1), (10, 2), (1000, 3)] {
        let scores = random(&[n], seed);
        let order = candle(&scores).arg_sort_last_dim(false).unwrap().to_vec1::<u32>().unwrap();
        let all: Vec<_> = order.iter().map(|&i| (i as usize, scores[i as usize])).collect();
        for k in [0, 1, 5, n - 1, n, n + 3] {
            assert_eq!(top_k(&scores, k).unwrap(), all[..k.min(n)], "{k} of {n}");
            let tensor = HostTensor::from(scores.clone());
            assert_eq!(top_k(&tensor, k).unwrap(), all[..k.min(n)], "{k} of {n}");
        }
    }
}

#[test]
fn equal_scores_keep_their_order_and_nan_is_last() {
    let scores = array![1.0f32, f32::NAN, 2.0, -0.0, f32::NEG_INFINITY, 2.0, 0.0, f32::NAN];
    let places = |k| top_k(&scores, k).unwrap().iter().map(|(i, _)| *i).collect::<Vec<_>>();
    let all = [2, 5, 0, 3, 6, 4, 1, 7];
    for k in 0..=8 {
        assert_eq!(places(k), all[..k]);
    }
    assert!(top_k(&scores, 8).unwrap()[7].1.is_nan());
    let error = top_k(&array![[1.0f32]], 1).unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::ShapeMismatch, Some("top_k")));
}

#[test]
fn values_are_borrowed_where_they_are_aligned() {
    let tensor = HostTensor::from(array![[1.0f32, 2.0], [3.0, 4.0]]);
    let view = tensor.view::<f32>().unwrap();
    assert!(view.is_view());
    assert_eq!(view, array![[1.0, 2.0], [3.0, 4.0]].into_dyn());
    assert_eq!(tensor.view::<f64>().unwrap_err().kind(), ErrorKind::DTypeMismatch);
    let bytes: Vec<u8> = [0u8].into_iter().chain(tensor.bytes().iter().copied()).collect();
    let bytes = bytes::Bytes::from(bytes);
    // One of these two is not aligned, wherever the bytes are.
    for start in [0, 1] {
        let shifted = HostTensor::from_bytes(tensor.dtype(), [3], bytes.slice(start..start + 12));
        let shifted = shifted.unwrap();
        let values = shifted.view::<f32>().unwrap();
        let aligned = (shifted.bytes().as_ptr() as usize).is_multiple_of(4);
        assert_eq!(values.is_view(), aligned);
        assert_eq!(
            values,
            ArrayD::from_shape_vec(vec![3], shifted.to_vec::<f32>().unwrap()).unwrap()
        );
    }
    assert!(HostTensor::from(array![true]).view::<bool>().unwrap()[[0]]);
}
