//! Rotary embeddings and attention.

use crate::harness::{cases, cases_of};

cases_of! {
    rotary {
        "rope", [tensor(&[2, 3, 4, 6], 1), tensor(&[5, 3], 2), tensor(&[5, 3], 3)], |xs| Ok(vec![ops::rope(&xs[0], &xs[1], &xs[2])?]);
        "rope, batch", [tensor(&[2, 3, 4, 6], 1), tensor(&[2, 4, 3], 2), tensor(&[2, 4, 3], 3)], |xs| Ok(vec![xs[0].rope(&xs[1], &xs[2])?]);
        "rope_i", [tensor(&[2, 3, 4, 6], 1), tensor(&[5, 3], 2), tensor(&[5, 3], 3)], |xs| Ok(vec![ops::rope_i(&xs[0], &xs[1], &xs[2])?]);
        "rope_i, batch", [tensor(&[2, 3, 4, 6], 1), tensor(&[2, 4, 3], 2), tensor(&[2, 4, 3], 3)], |xs| Ok(vec![xs[0].rope_i(&xs[1], &xs[2])?]);
        "rope_thd", [tensor(&[2, 4, 3, 6], 1), tensor(&[5, 3], 2), tensor(&[5, 3], 3)], |xs| Ok(vec![ops::rope_thd(&xs[0], &xs[1], &xs[2])?]);
        "rope_thd, batch", [tensor(&[2, 4, 3, 6], 1), tensor(&[2, 4, 3], 2), tensor(&[2, 4, 3], 3)], |xs| Ok(vec![xs[0].rope_thd(&xs[1], &xs[2])?]);
    }

    attention_of {
        "sdpa", [tensor(&[2, 4, 5, 8], 1), tensor(&[2, 4, 7, 8], 2), tensor(&[2, 4, 7, 6], 3)], |xs| Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], None, false, 0.35, 1.0)?]);
        "sdpa, grouped", [tensor(&[2, 4, 5, 8], 1), tensor(&[2, 2, 7, 8], 2), tensor(&[2, 2, 7, 8], 3)], |xs| Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], None, false, 0.35, 1.0)?]);
        "sdpa, causal", [tensor(&[2, 4, 5, 8], 1), tensor(&[2, 4, 5, 8], 2), tensor(&[2, 4, 5, 8], 3)], |xs| Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], None, true, 0.35, 1.0)?]);
        "sdpa, causal with a cache", [tensor(&[2, 4, 3, 8], 1), tensor(&[2, 2, 7, 8], 2), tensor(&[2, 2, 7, 8], 3)], |xs| Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], None, true, 0.35, 1.0)?]);
        "sdpa, mask", [tensor(&[2, 4, 5, 8], 1), tensor(&[2, 4, 7, 8], 2), tensor(&[2, 4, 7, 8], 3), tensor(&[2, 4, 5, 7], 4)], |xs| Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], Some(&xs[3]), false, 0.35, 1.0)?]);
        "sdpa, capped", [tensor(&[2, 4, 1, 8], 1), tensor(&[2, 2, 7, 8], 2), tensor(&[2, 2, 7, 8], 3)], |xs| Ok(vec![ops::sdpa(&xs[0], &xs[1], &xs[2], None, false, 0.35, 2.0)?]);
    }
}

cases! {
    attention {
        "rope, batch as a symbol", true, [2, 3, 4, 6], |xs| xs.rope(&T::constant(&weight(&[5, 3], 1)), &T::constant(&weight(&[5, 3], 2)));
        "rope_i, batch as a symbol", true, [2, 3, 4, 6], |xs| xs.rope_i(&T::constant(&weight(&[5, 3], 1)), &T::constant(&weight(&[5, 3], 2)));
        "sdpa, batch as a symbol", true, [2, 4, 5, 8], |xs| ops::sdpa(xs, &xs.narrow(1, 0, 2)?, &xs.narrow(1, 2, 2)?, None, true, 0.35, 1.0);
        "sdpa, causal with low scores", true, [2, 2, 5, 8], |xs| {
            let low = xs.abs()?.affine(-1e5, -1e5)?;
            ops::sdpa(&low, &xs.abs()?.affine(1.0, 1.0)?, xs, None, true, 0.35, 1.0)
        };
        "layer_norm", true, [2, 3, 6], |xs| ops::layer_norm(xs, &T::constant(&weight(&[6], 1)), &T::constant(&weight(&[6], 2)), 1e-5);
        "rms_norm", true, [2, 3, 6], |xs| ops::rms_norm(xs, &T::constant(&weight(&[6], 1)), 1e-5);
    }
}
