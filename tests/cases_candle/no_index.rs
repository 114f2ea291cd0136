//! The largest number of an index's type, which Candle takes for no index: zeros are read there, and nothing is
//! written.

use crate::harness::*;

const NONE: u32 = u32::MAX;

cases_of! {
    no_index {
        "index_select, none", [tensor(&[3, 4, 2], 1), values(&[2u32, NONE, 0])], |xs| {
            Ok(vec![xs[0].index_select(&xs[1], 0)?, xs[0].index_select(&xs[1], 1)?])
        };
        "index_select, none of i64", [tensor(&[3, 4], 1), values(&[2i64, i64::MAX, 0])], |xs| Ok(vec![xs[0].index_select(&xs[1], 1)?]);
        "index_select, none of u8", [tensor(&[300, 2], 1), values(&[2u8, 255, 254])], |xs| Ok(vec![xs[0].index_select(&xs[1], 0)?]);
        "index_select, none of a constant", [tensor(&[3, 4], 1)], |xs| Ok(vec![xs[0].index_select(&T::new(&[1u32, NONE], xs[0].device())?, 0)?]);
        "index_select, integers and none", [whole(&[3, 4], 20, DType::I64, 1), values(&[2u32, NONE, 0])], |xs| Ok(vec![xs[0].index_select(&xs[1], 0)?]);
        "embedding, none", [tensor(&[7, 4], 1), values(&[3u32, NONE, 6])], |xs| Ok(vec![xs[0].embedding(&xs[1])?]);
        "Embedding, none", [values(&[3u32, NONE, 6, 1]).reshape((2, 2)).unwrap()], |xs| {
            Ok(vec![candle_nn::Embedding::new(weight(&[7, 4], 1), 4).forward(&xs[0])?])
        };
        "gather, none", [tensor(&[2, 4], 1), values(&[3u32, NONE, 0, NONE]).reshape((2, 2)).unwrap()], |xs| Ok(vec![xs[0].gather(&xs[1], 1)?]);
        "gather, none of u8", [tensor(&[2, 4], 1), values(&[3u8, 255, 0, 255]).reshape((2, 2)).unwrap()], |xs| Ok(vec![xs[0].gather(&xs[1], 1)?]);
        "scatter, none", [tensor(&[4, 2], 1), values(&[3u32, NONE, NONE, 0]).reshape((2, 2)).unwrap(), tensor(&[2, 2], 2)], |xs| {
            Ok(vec![xs[0].scatter(&xs[1], &xs[2], 0)?])
        };
        "scatter, none of i64", [tensor(&[2, 4], 1), values(&[3i64, i64::MAX, i64::MAX, 0]).reshape((2, 2)).unwrap(), tensor(&[2, 2], 2)], |xs| {
            Ok(vec![xs[0].scatter(&xs[1], &xs[2], 1)?])
        };
        "scatter_add, none", [tensor(&[4, 2], 1), values(&[3u32, NONE, NONE, 3]).reshape((2, 2)).unwrap(), tensor(&[2, 2], 2)], |xs| {
            Ok(vec![xs[0].scatter_add(&xs[1], &xs[2], 0)?])
        };
        "scatter_add, none of u8", [tensor(&[300], 1), values(&[3u8, 255, 3]), tensor(&[3], 2)], |xs| Ok(vec![xs[0].scatter_add(&xs[1], &xs[2], 0)?]);
        "index_add, none", [tensor(&[4, 3], 1), values(&[3u32, NONE, 0, 3]), tensor(&[4, 3], 2)], |xs| Ok(vec![xs[0].index_add(&xs[1], &xs[2], 0)?]);
        "index_add, none of i64", [tensor(&[2, 4], 1), values(&[3i64, i64::MAX]), tensor(&[2, 2], 2)], |xs| Ok(vec![xs[0].index_add(&xs[1], &xs[2], 1)?]);
    }
}

cases! {
    no_index_of_any_batch {
        "gather, computed none", true, [2, 5], |xs| {
            let none = xs.argmax_keepdim(1)?.maximum(NONE)?;
            xs.gather(&T::cat(&[&xs.argmax_keepdim(1)?, &none], 1)?, 1)
        };
        "scatter, computed none", true, [2, 5], |xs| {
            let far = xs.gt(0.0)?.to_dtype(DType::U32)?.affine(f64::from(NONE), 0.0)?;
            xs.zeros_like()?.scatter(&far.maximum(&xs.arg_sort_last_dim(true)?)?, xs, 1)
        };
    }
}
