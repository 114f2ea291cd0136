//! Files that people give for an ONNX model and that are something else: what they are, and what to do.

/// How some files begin, and what is told of them.
const BEGINNINGS: [(&[u8], &str); 6] = [
    (
        b"version https://git-lfs",
        "they are a pointer of Git LFS; `git lfs pull` downloads the file itself",
    ),
    (
        b"PK\x03\x04",
        "they are a zip archive, such as torch.save writes; torch.onnx.export writes an ONNX model",
    ),
    (b"ACCELENG", "they are an engine, which `InferenceModule::open` loads"),
    (b"GGUF", "they are a GGUF file, which has the weights of a language model and no graph"),
    (b"<!DOCTYPE", "they are a web page; the download of the file failed"),
    (b"<html", "they are a web page; the download of the file failed"),
];

/// What the bytes are, if they are of a kind that is known here.
pub(super) fn told(bytes: &[u8]) -> Option<&'static str> {
    let known = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    known.map(|(_, told)| *told).or_else(|| {
        let is_safetensors = bytes.get(8..10) == Some(b"{\"");
        is_safetensors.then_some("they are a safetensors file, which has weights and no graph")
    })
}
