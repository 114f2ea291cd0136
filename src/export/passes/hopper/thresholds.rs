//! From which sizes on a form is a gain, and up to which: as it was measured on an H200
//! (`docs/measured/2026-11-forms-h200.md`). Nothing is computed here.

/// Linear layers.
pub(super) mod batched {
    /// The parts that the hidden axis of a feed-forward network is written in.
    pub(in super::super) const PARTS: usize = 4;
    /// Where results were compared on the device: from a text of 16 tokens on with BERT-base's width, and
    /// from 128 on with MiniLM's.
    pub(in super::super) const LEAST_ROWS: usize = 16;
    pub(in super::super) const LEAST_WIDTH: usize = 384;
    /// Query, key and value. More at once, such as what all layers of a decoder make of an encoder's
    /// result, would hold memory for long.
    pub(in super::super) const STACKED: usize = 3;
    /// In half precision several layers as one are slower with 4096 rows, and even with 1024.
    pub(in super::super) const MOST_ROWS_OF_HALF: usize = 1024;
    /// From 1024 rows on a feed-forward network in parts is slower in fp32 and hardly faster in fp16; in fp32 it
    /// is slower also with rows that 64 does not divide, such as 196 or 208, but where they become more.
    pub(in super::super) const MOST_ROWS_IN_PARTS: usize = 512;
    pub(in super::super) const ROWS_OF_F32_IN_PARTS: usize = 64;
    /// Elements of the hidden axis and all rows from which on an exact `Gelu` in half precision is better
    /// kept out of the product before it: 1024 rows of BERT-base. With half of that it is a loss.
    pub(in super::super) const LEAST_IN_HALVES: usize = 1024 * 3072;
}

/// Convolutions.
pub(super) mod convolutions {
    /// Kernels for tensor cores load 16 bytes of channels at once, which three or four have not got.
    pub(in super::super) const FEW_CHANNELS: usize = 4;
    /// Of 3 × 3 it is no gain.
    pub(in super::super) const LEAST_WINDOW_OF_FEW: usize = 16;
    /// What the kernels compute at once, and how many of these the GPU does at a time.
    pub(in super::super) const TILE: [usize; 2] = [64, 128];
    pub(in super::super) const MULTIPROCESSORS: usize = 132;
    /// Groups, with the least products a result in fp32 from which their sum is not dearer than what they
    /// save. Eight groups are hardly ever a gain over four.
    pub(in super::super) const GROUPS: [(usize, usize); 2] = [(4, 1024), (2, 1152)];
    pub(in super::super) const LEAST_INPUTS_OF_A_GROUP: usize = 64;
    /// In half precision sums are twice as long before they gain, and longer where there are fewer tiles,
    /// for which its kernels are good.
    pub(in super::super) const LEAST_PRODUCTS_OF_HALF: usize = 2048;
    pub(in super::super) const MANY_PRODUCTS_OF_HALF: usize = 4096;
    pub(in super::super) const FEW_TILES_OF_HALF: usize = 16;
    /// The last stage of a ResNet, for one picture.
    pub(in super::super) const LEAST_PIXELS: usize = 49;
}

/// Keys of attention.
pub(super) mod attention {
    /// Numbers that are loaded at once: 16 bytes.
    pub(in super::super) const ALIGNED: usize = 4;
    /// The fewest that were measured: a window of Swin. One picture of 50, CLIP's, is no gain.
    pub(in super::super) const LEAST_KEYS: usize = 49;
}

/// Rows of one text or picture.
pub(super) mod rows {
    /// What divides rows that are computed fast.
    pub(in super::super) const ALIGNED: usize = 64;
    /// The fewest that were measured: CLIP's, of a picture.
    pub(in super::super) const LEAST_ROWS: usize = 50;
    /// From here on a feed-forward network in parts, without which some numbers of rows gain nothing, is slower.
    pub(in super::super) const MOST_ROWS: usize = 512;
}
