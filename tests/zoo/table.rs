//! `docs/candle-transformers.md`, from what happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::harness::Row;

/// Modules that no case is for.
const WITHOUT: [(&str, &str); 6] = [
    ("llama2_c_weights", "a reader of files, no model"),
    ("mpt", "its only configuration has 3 billion weights"),
    ("nvembed_v2", "its only configuration has 7 billion weights"),
    ("persimmon", "a configuration, no model"),
    ("with_tracing", "layers that other models use, no model"),
    ("yi", "its smallest configuration has 6 billion weights"),
];

const HEAD: &str = "Candle's models as they stand.

[`traced!`](traced.md) reads all modules of candle-transformers 0.11.1 but its quantized ones in one call, and they compile.
Each is compared with the crate's own result, on the same random weights of a small configuration.
The comparison is on ONNX Runtime, relative to the largest value of an output: 2e-4.
TensorRT-RTX builds each from the same export; where it could not run, no result of it was compared.
Candle's `Linear` gives wrong results for the second of two items that were permuted, on the CPU.
Where its own results of two equal items differ for that, each item is compared with the first.

`cargo xtask zoo` compiles and runs all of this, and writes this page.
The cases are in `tests/zoo`.

- *As it stands*: taken, in all parts that were tried.
- *With an option*: taken, and another part or option of it is refused.
- *In part*: refused as a whole, and a part of it is taken.
- *Refused*: with the step that stops it and its error.
- By *model*: `optimize_trt` on the model itself; by *closure*: `Trace::of_fn`, which a cache or another argument needs.
- *Sizes*: whether one export takes any length of texts, or any batch of others, of which another one is compared too; else why not.

";

pub(crate) fn write(rows: &[(&'static str, &'static str, Row)]) {
    let mut modules: BTreeMap<&str, Vec<(&str, &Row)>> = BTreeMap::new();
    for (name, _, row) in rows {
        let (module, part) = name.split_once(" (").unwrap_or((name, ""));
        modules.entry(module).or_default().push((part.trim_end_matches(')'), row));
    }
    let (mut table, mut counts) = (String::new(), BTreeMap::<&str, usize>::new());
    table.push_str("| Model | Part | | By | Sizes | What stops it |\n|---|---|---|---|---|---|\n");
    let all = modules.keys().copied().chain(WITHOUT.iter().map(|(name, _)| *name));
    let mut all: Vec<&str> = all.collect();
    all.sort_unstable();
    for name in all {
        let Some(cases) = modules.get(name) else {
            let (_, why) = WITHOUT.iter().find(|(without, _)| *without == name).expect("listed");
            *counts.entry("not compared").or_default() += 1;
            writeln!(table, "| {name} | | not compared | | | {why} |").unwrap();
            continue;
        };
        let main =
            cases.iter().find(|(part, _)| part.is_empty()).map_or(cases[0].1, |(_, row)| row);
        let status = match main.is_taken() {
            true if cases.iter().all(|(_, row)| row.is_taken()) => "as it stands",
            true => "with an option",
            false if cases.iter().any(|(_, row)| row.is_taken()) => "in part",
            false => "refused",
        };
        *counts.entry(status).or_default() += 1;
        for (i, (part, row)) in cases.iter().enumerate() {
            let (name, status) = if i == 0 { (name, status) } else { ("", "") };
            let status = match row.is_taken() {
                _ if !status.is_empty() => status,
                true => "taken",
                false => "refused",
            };
            let by = if row.stands { "model" } else { "closure" };
            let (sizes, why) = (row.sizes(), row.refusal());
            writeln!(table, "| {name} | {part} | {status} | {by} | {sizes} | {why} |").unwrap();
        }
    }
    let counts = counts.iter().map(|(status, count)| format!("{count} {status}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let modules = modules.len() + WITHOUT.len();
    let text = format!("{HEAD}Of {modules} modules: {counts}.\n\n{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/candle-transformers.md");
    std::fs::write(path, text).unwrap();
    eprintln!("of {modules} modules: {counts}");
}
