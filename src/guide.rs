//! The guide: one module for each page. `docs/guide/` holds the text, and the examples of the pages are tests.
//!
//! | page | subject |
//! |---|---|
//! | [Burn](../guide/burn/index.html) | Burn models: inputs, outputs, what is captured |
//! | [Candle](../guide/candle/index.html) | Candle models and `#[accelerant::trace]` |
//! | [files](../guide/files/index.html) | `.onnx` files, engine files, models by hand |
//! | [shapes](../guide/shapes/index.html) | dynamic sizes, and sizes that get kernels of their own |
//! | [precision](../guide/precision/index.html) | fewer bits, what stays in 32 bits, ranges |
//! | [CUDA](../guide/cuda/index.html) | tensors on the GPU, streams, memory, graphs, several GPUs |
//! | [serving](../guide/serving/index.html) | runs in the background, batches, time limits, pipelines |
//! | [generation](../guide/generation/index.html) | text from language models, T5 and Whisper, token by token |
//! | [cache](../guide/cache/index.html) | the cache of engines, reports, profilers, verification |
//! | [command](../guide/command/index.html) | the command `accelerant` |
//! | [backends](../guide/backends/index.html) | which backend runs, and where libraries are looked for |
//! | [troubleshooting](../guide/troubleshooting/index.html) | errors, and what to do |
//! | [upstream](../guide/upstream/index.html) | where Candle itself is wrong, with the right results |
//! | [mistakes](../guide/mistakes/index.html) | typical mistakes, and the text that each gives |
//! | [support](../guide/support/index.html) | versions, GPUs and systems that were tried |
//!
//! Tables: [operations of Burn](../guide/burn_operations/index.html),
//! [operations of Candle](../guide/candle_operations/index.html), and
//! [the faults of TensorRT-RTX](../guide/tensorrt_rtx/index.html).

/// A page of `docs/`. Links between pages are written `[text][name]`. The first meaning of a name counts: rustdoc takes
/// the meanings here, and other readers take those at the end of each page.
macro_rules! page {
    ($(#[$gate:meta])* $name:ident, $path:literal) => {
        #[doc = "[burn]: ../burn/index.html"]
        #[doc = "[candle]: ../candle/index.html"]
        #[doc = "[files]: ../files/index.html"]
        #[doc = "[shapes]: ../shapes/index.html"]
        #[doc = "[precision]: ../precision/index.html"]
        #[doc = "[cuda]: ../cuda/index.html"]
        #[doc = "[serving]: ../serving/index.html"]
        #[doc = "[generation]: ../generation/index.html"]
        #[doc = "[cache]: ../cache/index.html"]
        #[doc = "[command]: ../command/index.html"]
        #[doc = "[backends]: ../backends/index.html"]
        #[doc = "[troubleshooting]: ../troubleshooting/index.html"]
        #[doc = "[upstream]: ../upstream/index.html"]
        #[doc = "[mistakes]: ../mistakes/index.html"]
        #[doc = "[support]: ../support/index.html"]
        #[doc = "[trace]: ../../attr.trace.html"]
        #[doc = "[traced]: ../../macro.traced.html"]
        #[doc = "[burn-operations]: ../burn_operations/index.html"]
        #[doc = "[candle-operations]: ../candle_operations/index.html"]
        #[doc = "[tensorrt-rtx]: ../tensorrt_rtx/index.html"]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $path))]
        $(#[$gate])*
        pub mod $name {}
    };
}

page!(
    #[cfg(feature = "burn")]
    burn,
    "guide/burn.md"
);
page!(
    #[cfg(feature = "candle")]
    candle,
    "guide/candle.md"
);
page!(files, "guide/files.md");
page!(shapes, "guide/shapes.md");
// The examples of this page are not tests yet.
page!(
    #[cfg(not(doctest))]
    precision,
    "guide/precision.md"
);
page!(
    #[cfg(feature = "cuda")]
    cuda,
    "guide/cuda.md"
);
page!(serving, "guide/serving.md");
page!(generation, "guide/generation.md");
page!(cache, "guide/cache.md");
page!(command, "guide/command.md");
page!(backends, "guide/backends.md");
page!(troubleshooting, "guide/troubleshooting.md");
page!(
    #[cfg(feature = "candle")]
    upstream,
    "guide/upstream.md"
);
page!(mistakes, "mistakes.md");
page!(support, "support.md");
page!(burn_operations, "burn-operations.md");
page!(candle_operations, "candle-operations.md");
page!(tensorrt_rtx, "tensorrt-rtx.md");
