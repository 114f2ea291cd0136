//! Every model of candle-transformers as it stands, read by one `traced!`: each is compared with the
//! crate's own on the same weights, and `docs/candle-transformers.md` is written from what happened.
//!
//! It is compiled and run by hand, as that page says: it takes minutes, and continuous integration
//! runs a few of these models in `tests/candle_transformers`.

#![cfg(all(accelerant_zoo, feature = "candle", feature = "tract"))]

#[path = "../common/mod.rs"]
mod common;
#[path = "../candle_transformers/harness.rs"]
mod harness;
mod models;
#[allow(unused_imports)]
mod native;
mod table;
#[allow(unused_imports)]
mod traced;

/// `ACCELERANT_ZOO` limits it to the models whose names contain it, and then writes no table.
#[test]
fn models_agree_with_the_crate_and_are_exported() {
    let only = std::env::var("ACCELERANT_ZOO").ok();
    let mut rows = Vec::new();
    for (native, traced) in native::all().iter().zip(&traced::all()) {
        if only.as_ref().is_none_or(|only| native.name.contains(only)) {
            let row = harness::compare(native, traced);
            eprintln!("{} by `{}`: {row}", native.name, native.call);
            rows.push((native.name, native.call, row));
        }
    }
    match only {
        Some(_) => {
            let bad: Vec<_> = rows.iter().filter(|(_, _, row)| !row.is_good()).collect();
            assert!(bad.is_empty(), "{} models differ or are refused", bad.len());
        }
        None => table::write(&rows),
    }
}
