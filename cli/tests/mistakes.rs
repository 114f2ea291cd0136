//! Mistakes at the command line, and the text that each gives: a section of `docs/mistakes.md`.

#[path = "../../tests/mistakes/page.rs"]
mod page;

use std::fs;
use std::path::Path;
use std::process::Command;

use page::Section;
use tempfile::TempDir;

/// A page of its own for the words of somebody who types in a folder.
struct Shell {
    folder: TempDir,
    section: Section,
}

impl Shell {
    /// A command that must fail.
    fn mistake(&mut self, title: &str, line: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_accelerant"));
        command.current_dir(self.folder.path()).args(line.split_whitespace());
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "`accelerant {line}` is no mistake: {told}");
        self.section.add(title, "sh", &format!("accelerant {line}"), &told);
    }

    fn has(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }
}

/// A `.npy` file, with a header as NumPy writes it.
fn npy(dtype: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}

#[test]
fn the_command() {
    let mut shell = Shell { folder: TempDir::new().unwrap(), section: Section::new("The command") };
    let case = Path::new(env!("CARGO_MANIFEST_DIR"));
    // One input `x`, of `n` rows of 3.
    let case = case.join("../tests/data/import/cases/dim_unbound/model.onnx");
    shell.has("model.onnx", &fs::read(case).unwrap());
    shell.has("text.onnx", b"hello, this is no model");
    shell.has("cut.engine", b"ACCELENG and nothing else");
    shell.has("wide.npy", &npy("<f4", "(2, 4)", &[0; 32]));
    shell.has("whole.npy", &npy("<i8", "(2, 3)", &[0; 48]));
    shell.has("list.npy", b"[1.0, 2.0, 3.0]");

    shell.mistake("A command that does not exist", "convert model.onnx");
    shell.mistake("A file that is not there, on the command line", "run modell.onnx");
    shell.mistake("A file that is no model", "inspect text.onnx");
    shell.mistake("An engine that was cut off", "run cut.engine");
    shell.mistake("No file for the engine", "build model.onnx");
    shell.mistake(
        "A backend that does not exist, on the command line",
        "run model.onnx --backend tensorrt10",
    );
    shell.mistake("A precision that does not exist", "run model.onnx --precision fp15");
    shell.mistake("8 bits without ranges", "run model.onnx --backend tract --precision int8");
    shell.mistake("Sizes in another form, on the command line", "run model.onnx --shape n=1-8");
    shell.mistake("Sizes in the wrong order", "run model.onnx --shape n=8:1");
    shell.mistake(
        "A symbol that the model does not have, on the command line",
        "run model.onnx --shape batch=8",
    );
    shell.mistake(
        "An input that the model does not have, on the command line",
        "run model.onnx --backend tract --input images=wide.npy",
    );
    shell.mistake(
        "An input of another size, on the command line",
        "run model.onnx --backend tract --input wide.npy",
    );
    shell.mistake(
        "An input of another type, on the command line",
        "run model.onnx --backend tract --input whole.npy",
    );
    shell.mistake("A text file as an input", "run model.onnx --backend tract --input list.npy");
    shell.mistake("A library that nobody knows", "sdk install cudnn");
    shell.section.finish();
}
