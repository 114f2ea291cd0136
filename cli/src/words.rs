//! Words of trtexec that name the model: `--onnx=FILE` and `--loadEngine=FILE` stand for the file alone.

use std::ffi::OsString;

const WORDS: [&str; 2] = ["--onnx", "--loadEngine"];

/// The arguments, with the model where this command takes it.
pub(crate) fn of(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut found = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let named = argument.to_str().and_then(|text| {
            let (word, file) = text.split_once('=').unwrap_or((text, ""));
            WORDS.contains(&word).then(|| (!file.is_empty()).then(|| OsString::from(file)))
        });
        match named {
            Some(Some(file)) => found.push(file),
            // The file is the next one.
            Some(None) => found.extend(arguments.next()),
            None => found.push(argument),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_behind_its_word() {
        let rows = [
            ("a build --onnx=m.onnx --fp16", "a build m.onnx --fp16"),
            ("a build --onnx m.onnx", "a build m.onnx"),
            ("a bench --loadEngine=m.engine", "a bench m.engine"),
            ("a run m.onnx --input onnx=x.npy", "a run m.onnx --input onnx=x.npy"),
            ("a run --onnx", "a run"),
            ("a run --onnx=", "a run"),
        ];
        for (given, expected) in rows {
            let all = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(of(all(given)), all(expected), "{given}");
        }
    }
}
