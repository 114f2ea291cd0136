//! A second symbol, the length of a sequence, for operations whose form depends on it.

use accelerant::Dim;

use crate::harness::*;

/// A layer in a case of several lengths.
pub(crate) fn layer_of_lengths(name: &str, features: usize, gaps: &[Gap], model: &impl Forward) {
    lengths(name, &[features], gaps, model);
}

/// Runs a forward of one input `[batch, length, …]` at several sizes of both.
fn lengths(name: &str, rest: &[usize], gaps: &[Gap], model: &impl Forward) {
    let length = Dim::dynamic("length", 2..=9).unwrap();
    let options = OptimizeOptions::new().dynamic_batch(1..=3).dynamic_axis(0, 1, length);
    let inputs = [(2, 5), (1, 2), (3, 9), (2, 7)].map(|(batch, length)| {
        vec![tensor(&[&[batch, length], rest].concat(), (batch + length) as u64)]
    });
    let native = |inputs: &[Tensor]| Ok(vec![model.forward(&inputs[0])?]);
    let traced = |inputs: &[_]| Ok(vec![model.forward(&inputs[0])?]);
    let named = Named { family: "lengths", name, gaps };
    run(named, "length", &options, &native, &traced, &inputs);
}

macro_rules! lengths {
    ($($test:ident { $($name:literal, [$($size:expr),*] $(, except [$($runner:ident: $reason:literal),*])?, |$xs:ident| $body:expr;)* })*) => {$(
        #[test]
        fn $test() {
            let mut table = Table::new();
            $({
                struct Model;
                impl Forward for Model {
                    fn forward<T: TensorOps>(&self, $xs: &T) -> Result<T> {
                        $body
                    }
                }
                let gaps: &[Gap] = &[$($(Gap { runner: $runner, reason: $reason }),*)?];
                table.row($name, || lengths($name, &[$($size),*], gaps, &Model));
            })*
            table.end();
        }
    )*};
}

lengths! {
    lengths_of_operations {
        "mean", [4], |xs| xs.mean(1);
        "var", [4], |xs| xs.var(1);
        "cumsum", [4], |xs| xs.cumsum(1);
        "softmax", [4], |xs| xs.softmax(1);
        "log_sum_exp", [4], |xs| xs.log_sum_exp(1);
        "sort_last_dim", [], except [Tract: "tract's TopK wants a constant k"], |xs| Ok(xs.sort_last_dim(true)?.0);
        "arg_sort_last_dim", [], except [Tract: "tract's TopK wants a constant k"], |xs| xs.arg_sort_last_dim(false);
        "argmax", [4], |xs| xs.argmax(1);
        "flip", [4], |xs| xs.flip(&[1]);
        "roll", [4], |xs| xs.roll(1, 1);
        "pad_with_zeros", [4], |xs| xs.pad_with_zeros(1, 1, 2);
        "pad_with_same", [4], |xs| xs.pad_with_same(1, 1, 2);
        "cat", [4], |xs| T::cat(&[xs, xs], 1);
        "narrow, the first", [4], |xs| xs.narrow(1, 0, xs.dim(1)? - 1);
        "narrow, the last", [4], |xs| xs.i((.., xs.dim(1)? - 1));
        "narrow, the second half", [4], |xs| {
            let length = xs.dim(1)?;
            xs.narrow(1, length / 2, length - length / 2)
        };
        "narrow, as long as the batch and one more", [4], |xs| xs.pad_with_zeros(1, 0, 3)?.narrow(1, 1, xs.dim(0)? + 1);
        "index_select, every other", [4], |xs| {
            let places = T::arange_step(0u32, xs.dim(1)? as u32, 2, xs.device())?;
            xs.index_select(&places, 1)
        };
        "unfold", [4], |xs| xs.unfold(1, 2, 1);
        "unfold, in steps", [4], |xs| xs.unfold(1, 2, 3);
        "cat, with as many ones and one more", [4], |xs| {
            let (batch, length, width) = xs.dims3()?;
            T::cat(&[xs, &T::ones((batch, length + 1, width), DType::F32, xs.device())?], 1)
        };
        "broadcast_as, both sizes together", [4], |xs| {
            let (batch, length, width) = xs.dims3()?;
            xs.mean_keepdim(1)?.broadcast_as((batch, batch + length, width))
        };
        "repeat, half as often", [4], |xs| xs.repeat((1, xs.dim(1)? / 2, 1));
        "repeat", [4], |xs| xs.repeat((1, 2, 1));
        "upsample_nearest1d", [4], |xs| xs.upsample_nearest1d(8);
        "conv1d", [4], |xs| xs.transpose(1, 2)?.conv1d(&T::constant(&weight(&[3, 4, 3], 1)), 1, 1, 1, 1);
        "conv_transpose1d", [4], |xs| xs.transpose(1, 2)?.conv_transpose1d(&T::constant(&weight(&[4, 3, 3], 1)), 1, 1, 2, 1, 1);
        "upsample_nearest1d, twice", [4], |xs| xs.transpose(1, 2)?.upsample_nearest1d(2 * xs.dim(1)?);
        "rope", [6], |xs| {
            let xs = xs.unsqueeze(1)?.contiguous()?;
            xs.rope(&T::constant(&weight(&[9, 3], 1)), &T::constant(&weight(&[9, 3], 2)))
        };
        "sdpa, causal", [8], |xs| {
            let heads = xs.reshape((xs.dim(0)?, xs.dim(1)?, 2, 4))?.transpose(1, 2)?.contiguous()?;
            ops::sdpa(&heads, &heads, &heads, None, true, 0.5, 1.0)
        };
        "tril2", [4], |xs| {
            let (batch, length, _) = xs.dims3()?;
            let mask = T::tril2(length, DType::F32, xs.device())?;
            mask.broadcast_left(batch)?.matmul(xs)
        };
        "arange", [4], |xs| {
            let places = T::arange(0u32, xs.dim(1)? as u32, xs.device())?;
            let table = T::constant(&weight(&[9, 4], 1));
            xs.broadcast_add(&table.index_select(&places, 0)?)
        };
        "scatter_add", [4], |xs| xs.scatter_add(&xs.argmax_keepdim(1)?, &xs.narrow(1, 0, 1)?.contiguous()?, 1);
        "scatter", [4], |xs| xs.scatter(&xs.argmax_keepdim(1)?, &xs.narrow(1, 0, 1)?.contiguous()?, 1);
        "index_add", [4], |xs| {
            let places = T::arange(0u32, xs.dim(1)? as u32, xs.device())?;
            xs.index_add(&places, &xs.neg()?.exp()?, 1)
        };
        "slice_scatter", [4], |xs| xs.slice_scatter(&xs.narrow(1, 1, 1)?.neg()?, 1, 0);
    }
}

/// Queries and keys of lengths of their own, with heads that share keys.
#[test]
fn two_lengths() {
    let dim = |name: &str| Dim::dynamic(name, 1..=9).unwrap();
    let options = OptimizeOptions::new().dynamic_axis(0, 2, dim("queries"));
    let options = options.dynamic_axis(1, 2, dim("keys")).dynamic_axis(2, 2, dim("keys"));
    let inputs = [(5, 7), (1, 9), (9, 1), (4, 4)].map(|(queries, keys)| {
        vec![
            tensor(&[2, 4, queries, 6], 1),
            tensor(&[2, 2, keys, 6], 2),
            tensor(&[2, 2, keys, 5], 3),
        ]
    });
    fn attention<T: TensorOps>(xs: &[T]) -> Result<Vec<T>> {
        Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], None, false, 0.4, 1.0)?])
    }
    fn repeated<T: TensorOps>(xs: &[T]) -> Result<Vec<T>> {
        let grow = |xs: &T| {
            let (batch, heads, length, width) = xs.dims4()?;
            let xs = xs.unsqueeze(2)?.broadcast_as((batch, heads, 2, length, width))?;
            xs.reshape((batch, heads * 2, length, width))
        };
        let (keys, values) = (grow(&xs[1])?, grow(&xs[2])?);
        let weights = xs[0].matmul(&keys.t()?)?.softmax(D::Minus1)?;
        Ok(vec![weights.matmul(&values)?])
    }
    let named = |name| Named { family: "lengths", name, gaps: &[] };
    run(named("sdpa, grouped"), "two lengths", &options, &attention, &attention, &inputs);
    run(named("matmul, repeated keys"), "two lengths", &options, &repeated, &repeated, &inputs);
}
