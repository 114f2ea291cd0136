//! The guide: one module for each page. `docs/guide/` holds the text, and the examples of the pages are tests.
//!
//! **Models**
//!
//! | page | subject |
//! |---|---|
//! | [Burn](../guide/burn/index.html) | Burn models: inputs, outputs, what is captured |
//! | [Candle](../guide/candle/index.html) | Candle models and `#[accelerant::trace]` |
//! | [files](../guide/files/index.html) | `.onnx` files, engine files, models built by hand |
//! | [shapes](../guide/shapes/index.html) | dynamic sizes, and sizes with kernels of their own |
//!
//! **Text**
//!
//! | page | subject |
//! |---|---|
//! | [generation](../guide/generation/index.html) | text generation with language models: sampling, the cache, scores |
//! | [checkpoints](../guide/checkpoints/index.html) | model families, weights, GGUF files |
//! | [Whisper and T5](../guide/encoder_decoder/index.html) | speech to text, and text to text |
//! | [batched generation](../guide/batched_generation/index.html) | many sequences at once, continuous batching |
//!
//! **Speed**
//!
//! | page | subject |
//! |---|---|
//! | [precision](../guide/precision/index.html) | fp16 and bf16, ranges, what stays in fp32 |
//! | [quantization](../guide/quantization/index.html) | int8, fp8 and 4-bit weights |
//! | [choosing a precision](../guide/precision_search/index.html) | a precision by measured time and accuracy |
//! | [CUDA](../guide/cuda/index.html) | tensors on the GPU, memory, times, several GPUs |
//! | [CUDA graphs](../guide/cuda_graphs/index.html) | recorded runs, and what other threads must avoid |
//! | [CUDA execution](../guide/cuda_execution/index.html) | contexts, streams, copies and waits of a call |
//! | [cache](../guide/cache/index.html) | the cache of engines |
//!
//! **Programs**
//!
//! | page | subject |
//! |---|---|
//! | [serving](../guide/serving/index.html) | batches, background runs, time limits, pipelines |
//! | [HTTP](../guide/http/index.html) | an HTTP server with Triton's protocol and OpenAI's API |
//! | [command](../guide/command/index.html) | the command `accelerant` |
//! | [diagnostics](../guide/diagnostics/index.html) | reports, progress, profilers, verification |
//!
//! **Help**
//!
//! | page | subject |
//! |---|---|
//! | [troubleshooting](../guide/troubleshooting/index.html) | errors, and what to do |
//! | [mistakes](../guide/mistakes/index.html) | typical mistakes, and the error message of each |
//! | [backends](../guide/backends/index.html) | which backend runs, and where libraries are found |
//! | [support](../guide/support/index.html) | versions, GPUs and systems that were tested |
//! | [upstream](../guide/upstream/index.html) | where Candle itself is wrong, with the right results |
//! | [faults of TensorRT-RTX](../guide/tensorrt_rtx/index.html) | what the library computes wrongly or refuses |
//! | [speed of TensorRT-RTX](../guide/tensorrt_rtx_speed/index.html) | forms of a graph that are slow, and the faster forms |
//!
//! Tables: [operations of Burn](../guide/burn_operations/index.html) and
//! [operations of Candle](../guide/candle_operations/index.html).

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
        #[doc = "[checkpoints]: ../checkpoints/index.html"]
        #[doc = "[encoder-decoder]: ../encoder_decoder/index.html"]
        #[doc = "[batched-generation]: ../batched_generation/index.html"]
        #[doc = "[quantization]: ../quantization/index.html"]
        #[doc = "[precision-search]: ../precision_search/index.html"]
        #[doc = "[cuda-graphs]: ../cuda_graphs/index.html"]
        #[doc = "[cuda-execution]: ../cuda_execution/index.html"]
        #[doc = "[http]: ../http/index.html"]
        #[doc = "[diagnostics]: ../diagnostics/index.html"]
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
        #[doc = "[tensorrt-rtx-speed]: ../tensorrt_rtx_speed/index.html"]
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
page!(generation, "guide/generation.md");
page!(checkpoints, "guide/checkpoints.md");
page!(encoder_decoder, "guide/encoder-decoder.md");
page!(batched_generation, "guide/batched-generation.md");
page!(precision, "guide/precision.md");
page!(quantization, "guide/quantization.md");
page!(precision_search, "guide/precision-search.md");
page!(
    #[cfg(feature = "cuda")]
    cuda,
    "guide/cuda.md"
);
page!(
    #[cfg(feature = "cuda")]
    cuda_graphs,
    "guide/cuda-graphs.md"
);
page!(
    #[cfg(feature = "cuda")]
    cuda_execution,
    "guide/cuda-execution.md"
);
page!(cache, "guide/cache.md");
page!(serving, "guide/serving.md");
page!(http, "guide/http.md");
page!(command, "guide/command.md");
page!(diagnostics, "guide/diagnostics.md");
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
page!(tensorrt_rtx_speed, "tensorrt-rtx-speed.md");
