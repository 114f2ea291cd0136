//! Files that people give for an ONNX model and that are something else: what they are, and what to do.

/// How some files begin, and what is told of them.
const BEGINNINGS: [(&[u8], &str); 6] = [
    (
        b"version https://git-lfs",
        "they are a pointer of Git LFS, and `git lfs pull` fetches the file itself",
    ),
    (
        b"PK\x03\x04",
        "they are a zip archive, such as torch.save writes, and torch.onnx.export writes a model",
    ),
    (b"ACCELENG", "they are an engine, and `InferenceModule::open` loads it"),
    (b"GGUF", "they are a GGUF file, which has weights of a language model and no graph"),
    (b"<!DOCTYPE", "they are a web page in place of the file that was to be downloaded"),
    (b"<html", "they are a web page in place of the file that was to be downloaded"),
];

/// What the bytes are, if they are of a kind that is known here.
pub(super) fn told(bytes: &[u8]) -> Option<&'static str> {
    let known = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning));
    known.map(|(_, told)| *told).or_else(|| {
        let is_safetensors = bytes.get(8..10) == Some(b"{\"");
        is_safetensors.then_some("they are a safetensors file, which has weights and no graph")
    })
}
