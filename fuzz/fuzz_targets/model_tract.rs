//! A serialized model through the check and Tract.
#![no_main]

#[path = "../../tests/fuzzing/readers.rs"]
mod readers;

use accelerant::backend::tract::Tract;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    // A panic that the crate catches is no finding.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        readers::model(bytes, &Tract, || {});
    }
);
