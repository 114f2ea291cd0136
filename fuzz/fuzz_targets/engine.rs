//! An engine file, with checksums that fit.
#![no_main]

#[path = "../../tests/fuzzing/readers.rs"]
mod readers;

use accelerant::backend::tract::Tract;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    // A panic that the crate catches is no finding.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let sealed = readers::unseal(bytes).map(|(mut head, plan)| {
            head.plan_len = plan.len() as u64;
            readers::seal(&head, &plan)
        });
        readers::engine(sealed.as_deref().unwrap_or(bytes), &Tract, || {});
    }
);
