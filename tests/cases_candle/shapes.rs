//! Shapes, parts, and what is put together.

use crate::harness::cases;

cases! {
    shapes {
        "reshape to the batch", true, [2, 3, 4], |xs| xs.reshape((xs.dim(0)?, 12));
        "reshape with a hole", true, [2, 3, 4], |xs| xs.reshape(((), 12));
        "reshape with a hole behind", true, [2, 3, 4], |xs| xs.reshape((xs.dim(0)?, 2, ()));
        "reshape of all", true, [2, 3, 4], |xs| xs.reshape(xs.elem_count());
        "reshape to more", true, [2, 12], |xs| xs.reshape((xs.dim(0)?, 3, 2, 2));
        "reshape with the batch behind", true, [2, 3, 4], |xs| xs.reshape((12, xs.dim(0)?));
        "reshape of batch and axis", true, [2, 3, 4], |xs| xs.reshape((xs.dim(0)? * 3, 4));
        "reshape there and back", true, [2, 3, 4], |xs| {
            let (b, n, d) = xs.dims3()?;
            let rows = xs.reshape((b * n, d))?.relu()?;
            rows.reshape((b, n, d))?.add(xs)
        };
        "reshape to a fixed front", true, [2, 3, 4], |xs| xs.reshape((4, ()));
        "reshape twice the batch", true, [2, 4], |xs| xs.reshape((xs.dim(0)? * 2, 2));
        "flatten", true, [2, 3, 4, 5], |xs| xs.flatten(1, 2);
        "flatten_from", true, [2, 3, 4, 5], |xs| xs.flatten_from(1);
        "flatten_to", true, [2, 3, 4, 5], |xs| xs.flatten_to(1);
        "flatten_all", true, [2, 3, 4], |xs| xs.flatten_all();
        "t", true, [2, 3, 4], |xs| xs.t();
        "t of a matrix", true, [2, 3], |xs| xs.t();
        "transpose", true, [2, 3, 4], |xs| xs.transpose(0, D::Minus1)?.contiguous();
        "permute", true, [2, 3, 4], |xs| xs.permute((1, 2, 0));
        "squeeze", true, [2, 1, 4], |xs| xs.squeeze(1);
        "squeeze of another size", true, [2, 3, 4], |xs| xs.squeeze(1);
        "unsqueeze", true, [2, 3, 4], |xs| xs.unsqueeze(1);
        "unsqueeze of the last", true, [2, 3, 4], |xs| xs.unsqueeze(D::Minus1);
        "narrow", true, [2, 5, 4], |xs| xs.narrow(1, 1, 3);
        "narrow of all", true, [2, 5, 4], |xs| xs.narrow(0, 0, xs.dim(0)?);
        "narrow to the first", true, [2, 5, 4], |xs| xs.narrow(0, 0, 1);
        "narrow to the last", true, [2, 5, 4], |xs| xs.narrow(0, xs.dim(0)? - 1, 1);
        "get", true, [2, 5, 4], |xs| xs.get(0);
        "chunk", true, [2, 6, 4], |xs| Ok(xs.chunk(3, 1)?.swap_remove(1));
        "chunk, ragged", true, [2, 5, 4], |xs| {
            let parts = xs.chunk(3, 1)?;
            T::cat(&[&parts[2], &parts[0]], 1)
        };
        "cat", true, [2, 3, 4], |xs| T::cat(&[xs, &xs.neg()?], D::Minus1);
        "cat along the batch", true, [2, 3, 4], |xs| T::cat(&[xs, &xs.neg()?], 0);
        "cat with a constant", true, [2, 3], |xs| T::cat(&[xs, &T::constant(&weight(&[1, 3], 1))], 0);
        "stack", true, [2, 3, 4], |xs| T::stack(&[xs, &xs.neg()?], 1);
        "pad_with_zeros", true, [2, 3, 4], |xs| xs.pad_with_zeros(2, 1, 2);
        "pad_with_zeros in front", true, [2, 3, 4], |xs| xs.pad_with_zeros(D::Minus2, 2, 0);
        "broadcast_as", true, [2, 1, 4], |xs| xs.broadcast_as((xs.dim(0)?, 3, 4));
        "broadcast_as to the batch", true, [2, 3], |xs| {
            T::constant(&weight(&[1, 3], 1)).broadcast_mul(&xs.sum_keepdim(0)?)?.broadcast_as(xs.shape())
        };
        "expand", true, [2, 3], |xs| xs.expand((4, xs.dim(0)?, 3));
        "get_on_dim", true, [2, 5, 4], |xs| xs.get_on_dim(1, 2);
        "broadcast_left", true, [2, 3], |xs| xs.broadcast_left((4, 5));
        "repeat", true, [2, 3], |xs| xs.repeat((2, 3));
        "repeat, new axes", true, [2, 3], |xs| xs.repeat((2, 1, 2));
        "repeat, the batch", true, [2, 3], |xs| xs.sum_keepdim(0)?.repeat((xs.dim(0)?, 2));
        "flip", true, [2, 3, 4], |xs| xs.flip(&[1, 2]);
        "flip, batch", true, [3, 4], |xs| xs.flip(&[0]);
        "roll", true, [2, 3, 5], |xs| xs.roll(2, 2);
        "roll, back", true, [2, 3, 5], |xs| xs.roll(-1, 1);
        "unfold", true, [2, 3, 9], |xs| xs.unfold(2, 3, 2);
        "unfold, middle", true, [2, 7, 3], |xs| xs.unfold(1, 4, 1);
        "pad_with_same", true, [2, 3, 4], |xs| xs.pad_with_same(2, 1, 2);
        "pad_with_same, front", true, [2, 3, 4], |xs| xs.pad_with_same(1, 2, 0);
        "replication_pad2d", true, [2, 3, 4, 5], |xs| xs.replication_pad2d(1);
        "pixel_shuffle", true, [2, 8, 3, 4], |xs| xs.pixel_shuffle(2);
        "pixel_unshuffle", true, [2, 3, 4, 6], |xs| xs.pixel_unshuffle(2);
        "normalize_axis", true, [2, 3, 4], |xs| xs.sum(xs.normalize_axis(-2)?);
        "i", true, [3, 4, 5], |xs| xs.i((.., 1, 2..4));
        "i, batch", true, [3, 4, 5], |xs| xs.i((0..1, ..=2, 3));
        "i, list", true, [3, 4, 5], |xs| xs.i((.., vec![2u32, 0], 1..));
        "i, one", true, [3, 4, 5], |xs| xs.i(0);
        "apply", true, [2, 4], |xs| xs.apply(&candle_nn::Activation::Relu);
        "apply_t", true, [2, 4], |xs| xs.relu()?.apply_t(&candle_nn::Dropout::new(0.5), false);
    }
}
