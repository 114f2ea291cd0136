//! Selecting and writing by index.

use crate::harness::{cases, cases_of};

cases_of! {
    by_index {
        "gather", [tensor(&[3, 5, 4], 1), whole(&[3, 2, 4], 5, DType::U32, 2)], |xs| Ok(vec![xs[0].gather(&xs[1], 1)?]);
        "gather, smaller", [tensor(&[3, 5, 4], 1), whole(&[2, 5, 3], 4, DType::I64, 2)], |xs| Ok(vec![xs[0].gather(&xs[1], 2)?]);
        "gather, u8", [tensor(&[3, 5], 1), whole(&[3, 2], 5, DType::U8, 2)], |xs| Ok(vec![xs[0].gather(&xs[1], D::Minus1)?]);
        "index_select", [tensor(&[3, 5, 4], 1), whole(&[6], 5, DType::U32, 2)], |xs| Ok(vec![xs[0].index_select(&xs[1], 1)?]);
        "index_select, i64", [tensor(&[3, 5, 4], 1), whole(&[2], 3, DType::I64, 2)], |xs| Ok(vec![xs[0].index_select(&xs[1], 0)?]);
        "embedding", [tensor(&[7, 4], 1), whole(&[5], 7, DType::U32, 2)], |xs| Ok(vec![xs[0].embedding(&xs[1])?]);
        "index_add", [tensor(&[3, 5, 4], 1), whole(&[6], 5, DType::U32, 2), tensor(&[3, 6, 4], 3)], |xs| Ok(vec![xs[0].index_add(&xs[1], &xs[2], 1)?]);
        "index_add, i64", [tensor(&[3, 5], 1), whole(&[4], 3, DType::I64, 2), tensor(&[4, 5], 3)], |xs| Ok(vec![xs[0].index_add(&xs[1], &xs[2], 0)?]);
        "scatter_add", [tensor(&[3, 5, 4], 1), whole(&[3, 6, 4], 5, DType::U32, 2), tensor(&[3, 6, 4], 3)], |xs| Ok(vec![xs[0].scatter_add(&xs[1], &xs[2], 1)?]);
        "scatter_add, last", [tensor(&[3, 5], 1), whole(&[3, 6], 5, DType::I64, 2), tensor(&[3, 6], 3)], |xs| Ok(vec![xs[0].scatter_add(&xs[1], &xs[2], D::Minus1)?]);
        "scatter", [tensor(&[3, 5, 4], 1), whole(&[3, 1, 4], 5, DType::U32, 2), tensor(&[3, 1, 4], 3)], |xs| Ok(vec![xs[0].scatter(&xs[1], &xs[2], 1)?]);
        "slice_scatter", [tensor(&[3, 5, 4], 1), tensor(&[3, 2, 4], 2)], |xs| Ok(vec![xs[0].slice_scatter(&xs[1], 1, 2)?]);
        "slice_scatter, end", [tensor(&[3, 5, 4], 1), tensor(&[3, 2, 4], 2)], |xs| Ok(vec![xs[0].slice_scatter(&xs[1], 1, 3)?]);
        "slice_scatter0", [tensor(&[5, 4], 1), tensor(&[2, 4], 2)], |xs| Ok(vec![xs[0].slice_scatter0(&xs[1], 0)?]);
        "slice_assign", [tensor(&[3, 5, 4], 1), tensor(&[2, 3, 4], 2)], |xs| Ok(vec![xs[0].slice_assign(&[1..3, 0..3, 0..4], &xs[1])?]);
    }
}

cases! {
    by_computed_index {
        "index_select, computed", true, [2, 3, 5], |xs| {
            T::constant(&weight(&[5, 4], 1)).index_select(&xs.argmax(2)?.flatten_all()?, 0)
        };
        "gather, computed", true, [2, 3, 5], |xs| xs.gather(&xs.argmax_keepdim(2)?, 2);
        "scatter_add, infinite", true, [2, 5], |xs| {
            let infinite = (xs.affine(1e30, 0.0)? * 1e30)?;
            xs.scatter_add(&xs.arg_sort_last_dim(true)?, &infinite, 1)
        };
        "scatter_add, zeros", true, [2, 5], |xs| {
            xs.zeros_like()?.scatter_add(&xs.arg_sort_last_dim(true)?, xs, 1)
        };
    }
}
