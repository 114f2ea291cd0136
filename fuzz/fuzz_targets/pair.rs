//! A model in a file, and a file beside it that it may name `weights`.
#![no_main]

#[path = "../../tests/fuzzing/readers.rs"]
mod readers;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let (model, weights) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model).unwrap();
    std::fs::write(folder.path().join("weights"), weights).unwrap();
    readers::pair(&path);
});
