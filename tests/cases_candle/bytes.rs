//! Bytes and narrow integers: pictures before they are floats, masks, and sums that wrap as Candle's do.

use crate::harness::*;

cases_of! {
    pictures_of_bytes {
        "to_dtype, u8 picture", [whole(&[2, 4, 5, 3], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].to_dtype(DType::F32)?]);
        "permute, u8", [whole(&[2, 4, 5, 3], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].permute((0, 3, 1, 2))?.to_dtype(DType::F32)?.affine(1.0 / 255.0, 0.0)?]);
        "reshape, u8", [whole(&[2, 12], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].reshape((2, 3, 4))?.to_dtype(DType::F32)?]);
        "narrow, u8", [whole(&[4, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].narrow(0, 1, 2)?.to_dtype(DType::F32)?]);
        "flip, u8", [whole(&[2, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].flip(&[1])?]);
        "pad_with_zeros, u8", [whole(&[2, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].pad_with_zeros(1, 1, 2)?]);
        "pad_with_same, u8", [whole(&[2, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].pad_with_same(1, 1, 2)?]);
        "cat, u8", [whole(&[2, 5], 256, DType::U8, 1)], |xs| Ok(vec![T::cat(&[&xs[0], &xs[0]], 0)?]);
        "copy, u8", [whole(&[2, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].copy()?]);
        "index_select, u8", [whole(&[4, 5], 256, DType::U8, 1), whole(&[3], 4, DType::U32, 2)], |xs| Ok(vec![xs[0].index_select(&xs[1], 0)?]);
        "gather, of u8", [whole(&[4, 5], 256, DType::U8, 1), whole(&[4, 2], 5, DType::U32, 2)], |xs| Ok(vec![xs[0].gather(&xs[1], 1)?]);
        "interpolate2d, u8", [whole(&[1, 2, 3, 4], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].interpolate2d(6, 9)?]);
        "max_pool2d, u8", [whole(&[1, 2, 4, 4], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].max_pool2d(2)?]);
        "max, u8", [whole(&[4, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].max(1)?, xs[0].min(0)?]);
        "argmax, u8", [whole(&[4, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].argmax(1)?]);
        "to_dtype, floats to u8", [tensor(&[4, 5], 1)], |xs| Ok(vec![xs[0].affine(100.0, 120.0)?.to_dtype(DType::U8)?]);
    }

    masks_of_bytes {
        "unsqueeze, mask", [whole(&[2, 4], 2, DType::U8, 1), tensor(&[2, 4, 3], 2)], |xs| {
            let mask = xs[0].unsqueeze(2)?.broadcast_as(xs[1].shape())?;
            Ok(vec![mask.where_cond(&xs[1], &xs[1].neg()?)?])
        };
        "eq, mask", [whole(&[2, 4], 2, DType::U8, 1)], |xs| Ok(vec![xs[0].eq(0u8)?.to_dtype(DType::F32)?]);
        "affine, 1 - mask", [whole(&[2, 4], 2, DType::U8, 1)], |xs| Ok(vec![(1.0 - &xs[0])?]);
        "sub, ones - mask", [whole(&[2, 4], 2, DType::U8, 1)], |xs| Ok(vec![(xs[0].ones_like()? - &xs[0])?]);
        "mul, masks", [whole(&[2, 4], 2, DType::U8, 1), whole(&[2, 4], 2, DType::U8, 2)], |xs| Ok(vec![(&xs[0] * &xs[1])?, xs[0].maximum(&xs[1])?]);
        "cat, mask", [whole(&[2, 4], 2, DType::U8, 1), tensor(&[2, 4], 2)], |xs| {
            let mask = T::cat(&[&xs[0], &xs[1].gt(0.0)?], 1)?;
            Ok(vec![mask.to_dtype(DType::F32)?])
        };
        "pad_with_zeros, a comparison", [tensor(&[2, 4], 2)], |xs| Ok(vec![xs[0].gt(0.0)?.pad_with_zeros(1, 1, 0)?]);
        "flip, a comparison", [tensor(&[2, 4], 2)], |xs| Ok(vec![xs[0].gt(0.0)?.flip(&[1])?]);
        "tril2, u8", [tensor(&[4, 4], 2)], |xs| {
            let mask = T::tril2(xs[0].dim(0)?, DType::U8, xs[0].device())?;
            Ok(vec![mask.where_cond(&xs[0], &xs[0].affine(0.0, -1e4)?)?])
        };
        "triu2, u8 of a mask", [whole(&[4, 4], 2, DType::U8, 1)], |xs| {
            let mask = (T::triu2(4, DType::U8, xs[0].device())? * &xs[0])?;
            Ok(vec![mask.eq(0u8)?.to_dtype(DType::F32)?])
        };
    }

    sums_of_bytes {
        "sum, u8", [values(&[200u8, 90, 1])], |xs| Ok(vec![xs[0].sum_keepdim(0)?]);
        "sum_all, u8", [whole(&[3, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].sum_all()?]);
        "sum, u32", [values(&[u32::MAX, 3, 7])], |xs| Ok(vec![xs[0].sum_keepdim(0)?]);
        "mean, u8", [whole(&[3, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].mean(1)?]);
        "add, u8", [whole(&[3, 5], 256, DType::U8, 1), whole(&[3, 5], 256, DType::U8, 2)], |xs| Ok(vec![(&xs[0] + &xs[1])?, (&xs[0] - &xs[1])?, (&xs[0] * &xs[1])?]);
        "sub, u32", [values(&[0u32, 1, 5]), values(&[1u32, 1, 7])], |xs| Ok(vec![(&xs[0] - &xs[1])?.to_dtype(DType::F32)?]);
        "mul, u32", [values(&[0x1234_5678u32, 65537]), values(&[0x9abc_def0u32, 65537])], |xs| Ok(vec![(&xs[0] * &xs[1])?]);
        "affine, u8", [whole(&[3, 5], 256, DType::U8, 1)], |xs| Ok(vec![xs[0].affine(2.0, 3.0)?, xs[0].affine(-1.0, 255.0)?]);
        "scatter_add, u8", [whole(&[3], 256, DType::U8, 1), values(&[0u32, 2, 2, 0]), values(&[200u8, 100, 100, 90])], |xs| {
            Ok(vec![xs[0].scatter_add(&xs[1], &xs[2], 0)?])
        };
        "index_add, u8", [whole(&[3], 256, DType::U8, 1), values(&[0u32, 2, 2, 0]), values(&[200u8, 100, 100, 90])], |xs| {
            Ok(vec![xs[0].index_add(&xs[1], &xs[2], 0)?])
        };
        "add, i16", [values(&[30_000i16, -30_000, 5]), values(&[10_000i16, -10_000, 6])], |xs| {
            Ok(vec![(&xs[0] + &xs[1])?, (&xs[0] - &xs[1])?, (&xs[0] * &xs[1])?])
        };
        "relu, of integers", [values(&[-3i64, 0, 7])], |xs| Ok(vec![xs[0].relu()?, xs[0].floor()?, xs[0].ceil()?]);
        "mul, a square of i64", [values(&[-3i64, 3_000_000_000, 7])], |xs| Ok(vec![(&xs[0] * &xs[0])?]);
        "sum, large i64", [values(&[5_000_000_000i64, -7, 1 << 50, -(1 << 40)])], |xs| Ok(vec![xs[0].sum_keepdim(0)?, xs[0].sum_all()?]);
    }
}

cases! {
    bytes_of_any_batch {
        "to_dtype, u8 and back", true, [2, 3], |xs| {
            let bytes = xs.affine(300.0, 0.0)?.to_dtype(DType::U8)?;
            bytes.sum(1)?.to_dtype(DType::F32)
        };
        "unsqueeze, u8", true, [2, 3], |xs| {
            let mask = xs.affine(2.0, 1.0)?.to_dtype(DType::U8)?.unsqueeze(1)?.eq(0u8)?;
            mask.to_dtype(DType::F32)?.flatten_from(1)
        };
    }
}
