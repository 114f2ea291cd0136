//! Reductions, sorting, softmax.

use crate::harness::cases;

cases! {
    reductions {
        "sum", true, [2, 3, 5], |xs| xs.sum(1);
        "sum of two", true, [2, 3, 5], |xs| xs.sum((1, 2));
        "sum of none", true, [2, 3, 5], |xs| xs.sum(());
        "sum over the batch", true, [2, 3, 5], |xs| xs.sum(0);
        "sum_keepdim", true, [2, 3, 5], |xs| xs.sum_keepdim((1, D::Minus1));
        "mean", true, [2, 3, 5], |xs| xs.mean(D::Minus1);
        "mean over the batch", true, [2, 3, 5], |xs| xs.mean_keepdim(0);
        "mean_keepdim", true, [2, 3, 5], |xs| xs.mean_keepdim((1, 2));
        "max", true, [2, 3, 5], |xs| xs.max(1);
        "max_keepdim", true, [2, 3, 5], |xs| xs.max_keepdim(2);
        "min", true, [2, 3, 5], |xs| xs.min(D::Minus2);
        "min_keepdim", true, [2, 3, 5], |xs| xs.min_keepdim(1);
        "argmax", true, [2, 3, 5], |xs| xs.argmax(D::Minus1);
        "argmax_keepdim", true, [2, 3, 5], |xs| xs.argmax_keepdim(1);
        "argmin", true, [2, 3, 5], |xs| xs.argmin(2);
        "argmin_keepdim", true, [2, 3, 5], |xs| xs.argmin_keepdim(2);
        "sum_all", true, [2, 3, 5], |xs| xs.sum_all();
        "mean_all", true, [2, 3, 5], |xs| xs.mean_all();
        "max_all", true, [2, 3, 5], |xs| xs.max_all();
        "min_all", true, [2, 3, 5], |xs| xs.min_all();
        "softmax", true, [2, 3, 5], |xs| xs.softmax(1);
        "softmax of the last", true, [2, 3, 5], |xs| ops::softmax(xs, D::Minus1);
        "softmax_last_dim", true, [2, 3, 5], |xs| xs.softmax_last_dim();
        "log_softmax", true, [2, 3, 5], |xs| ops::log_softmax(xs, D::Minus1);
        "var", true, [2, 3, 5], |xs| xs.var(1);
        "var_keepdim", true, [2, 3, 5], |xs| xs.var_keepdim(D::Minus1);
        "log_sum_exp", true, [2, 3, 5], |xs| xs.affine(100.0, 0.0)?.log_sum_exp(1);
        "log_sum_exp, two", true, [2, 3, 5], |xs| xs.log_sum_exp((1, 2));
        "norm", true, [2, 3, 5], |xs| xs.norm();
        "cumsum", true, [2, 3, 5], |xs| xs.cumsum(1);
        "cumsum, last", true, [2, 5], |xs| xs.cumsum(D::Minus1);
        "cumsum, batch", true, [4, 5], |xs| xs.cumsum(0);
        "sort_last_dim", true, [2, 3, 7], |xs| Ok(xs.sort_last_dim(true)?.0);
        "sort_last_dim, descending", true, [2, 3, 7], |xs| Ok(xs.sort_last_dim(false)?.0);
        "arg_sort_last_dim", true, [2, 3, 7], |xs| xs.arg_sort_last_dim(true);
        "arg_sort_last_dim, descending", true, [2, 3, 7], |xs| xs.arg_sort_last_dim(false);
        "sort_last_dim, the largest", true, [2, 9], |xs| {
            let (values, positions) = xs.sort_last_dim(false)?;
            values.narrow(1, 0, 3)?.add(&positions.narrow(1, 0, 3)?.to_dtype(DType::F32)?)
        };
        "sum, of nothing", true, [2, 5], |xs| xs.narrow(1, 2, 0)?.sum(1);
        "mean, of nothing", true, [2, 5], |xs| xs.narrow(1, 2, 0)?.mean(1);
        "log_softmax, far", true, [2, 5], |xs| ops::log_softmax(&xs.affine(1e4, 0.0)?, 1);
        "log_sum_exp, far", true, [2, 5], |xs| xs.affine(1e4, 0.0)?.log_sum_exp(1);
        "sort_last_dim, a few of many", false, [1, 3841], |xs| {
            let (values, positions) = xs.sort_last_dim(false)?;
            values.narrow(1, 0, 5)?.add(&positions.narrow(1, 0, 5)?.to_dtype(DType::F32)?)
        };
        "sort_last_dim, the smallest of many", false, [2, 8400], |xs| xs.sort_last_dim(true)?.0.narrow(D::Minus1, 0, 300);
        "arg_sort_last_dim, a few of many", true, [2, 4000], |xs| xs.arg_sort_last_dim(false)?.narrow(1, 0, 50);
        "sort_last_dim, two cuts", true, [2, 9], |xs| {
            let (values, positions) = xs.sort_last_dim(false)?;
            values.narrow(1, 1, 4)?.add(&positions.narrow(1, 0, 4)?.to_dtype(DType::F32)?)
        };
        "sort_last_dim, cut and whole", true, [2, 9], |xs| {
            let sorted = xs.sort_last_dim(false)?.0;
            T::cat(&[&sorted.narrow(1, 0, 3)?, &sorted], 1)
        };
    }
}
