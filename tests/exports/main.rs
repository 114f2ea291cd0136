//! The models that the benches measure, exported for each kind of reader and compared with a record, so that
//! whoever changes an export sees it. With `ACCELERANT_RECORD=write` the record is written anew.
#![cfg(all(feature = "burn", feature = "candle"))]

mod burn;
mod candle;
mod entry;
#[path = "../models/mod.rs"]
mod models;
#[allow(dead_code, reason = "a bench runs them, too")]
#[path = "../../benches/cuda/src/candle/nets.rs"]
mod nets;

use std::path::Path;

use accelerant::export::{OnnxModel, Target};
use accelerant::{OptimizeOptions, Result};
use entry::Entry;

const HEAD: &str = "\
# What the models of the benches export to: operators, and the first 64 bits of BLAKE3 of all bytes, of the nodes
# whatever the names, and of the values of weights and constants. `tests/exports` compares; written anew with
# ACCELERANT_RECORD=write cargo test --release --features burn,candle --test exports
";

/// A model of the benches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    Digits,
    ResNet50,
    BertBase,
    VitB16,
    MiniLm,
}

impl Model {
    const ALL: [Self; 5] =
        [Self::Digits, Self::ResNet50, Self::BertBase, Self::VitB16, Self::MiniLm];

    fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::ResNet50 => "resnet50",
            Self::BertBase => "bert-base",
            Self::VitB16 => "vit-b16",
            Self::MiniLm => "minilm",
        }
    }

    /// How many inputs have a batch.
    fn inputs(self) -> usize {
        match self {
            Self::BertBase | Self::MiniLm => 2,
            _ => 1,
        }
    }

    /// The batch as it is, and one of 1 to 32.
    fn batches(self) -> Vec<(&'static str, OptimizeOptions)> {
        let dim = accelerant::Dim::dynamic("batch", 1..=32).and_then(|dim| dim.with_opt(BATCH));
        let dim = dim.expect("a valid range");
        let open = |options: OptimizeOptions, i: usize| options.dynamic_axis(i, 0, dim.clone());
        let dynamic = (0..self.inputs()).fold(OptimizeOptions::new(), open);
        vec![("batch 8", OptimizeOptions::new()), ("batch 1 to 32", dynamic)]
    }
}

/// The types of weights that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F16,
}

/// In the example.
const BATCH: usize = 8;

/// Who reads, with a name.
fn targets() -> [(&'static str, Target); 3] {
    [
        ("portable", Target::portable()),
        ("TensorRT", Target::tensorrt()),
        ("TensorRT on 9.0", Target::tensorrt().for_compute_capability(Some(90))),
    ]
}

/// An entry for each target.
fn entries(name: &str, export: impl Fn(Target) -> Result<OnnxModel>) -> Vec<Entry> {
    let entry = |(reader, target): (&str, Target)| {
        let name = format!("{name}, {reader}");
        let model = export(target).unwrap_or_else(|e| panic!("{name}: {e}"));
        Entry::of(name, &model)
    };
    targets().into_iter().map(entry).collect()
}

#[test]
fn exports_are_as_recorded() {
    let now: Vec<Entry> = burn::entries().into_iter().chain(candle::entries()).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports/record.txt");
    let text = now.iter().fold(HEAD.to_owned(), |text, entry| format!("{text}\n{entry}"));
    if std::env::var("ACCELERANT_RECORD").is_ok_and(|wish| wish == "write") {
        std::fs::write(&path, text).expect("the record is written");
        return;
    }
    let recorded = std::fs::read_to_string(&path).expect("there is a record");
    let recorded = Entry::all_of(&recorded);
    let mut changes = Vec::new();
    for entry in &now {
        match recorded.iter().find(|other| other.name == entry.name) {
            Some(before) => changes.extend(before.change(entry)),
            None => changes.push(format!("{}: not recorded", entry.name)),
        }
    }
    let gone = recorded.iter().filter(|entry| !now.iter().any(|other| other.name == entry.name));
    changes.extend(gone.map(|entry| format!("{}: recorded, and no longer exported", entry.name)));
    assert!(
        changes.is_empty(),
        "{} exports are not as recorded. Where that is meant, write the record anew (see its first lines) and say \
         why in the commit:\n{}",
        changes.len(),
        changes.join("\n")
    );
}

#[test]
fn what_changed_is_told() {
    let text = "\
a, portable
  bytes 1
  nodes 2
  weights 3
  operators Add 2, Mul 1
";
    let [before] = &Entry::all_of(text)[..] else { panic!("one entry") };
    assert_eq!(before.to_string(), text);
    assert_eq!(before.change(before), None);
    let with = |edit: &dyn Fn(&mut Entry)| {
        let mut now = before.clone();
        edit(&mut now);
        before.change(&now).expect("it differs")
    };
    let more = with(&|now| {
        now.operators.insert("Add".to_owned(), 3);
        now.operators.remove("Mul");
    });
    assert_eq!(more, "a, portable: Add 2 -> 3; Mul 1 -> 0");
    assert!(with(&|now| now.nodes = "9".to_owned()).contains("other attributes"));
    assert!(with(&|now| now.weights = "9".to_owned()).contains("other values"));
    assert!(with(&|now| now.bytes = "9".to_owned()).contains("only names"));
}
