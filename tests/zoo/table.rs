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

const HEAD: &str = "Models of candle-transformers.

[`traced!`](traced.md) reads all modules of candle-transformers 0.11.1 in one call, except the quantized modules, and all of them compile.
Each model is compared with the result of candle-transformers, on the same random weights of a small configuration.
The comparison runs on ONNX Runtime, with a tolerance of 2e-4 relative to the largest value of an output.
TensorRT-RTX builds each model from the same export.
Without a GPU, its results were not compared.
On the CPU, Candle's `Linear` gives wrong results for the second of two permuted items.
If Candle's own results of two equal items differ for this reason, each item is compared with the first item.

`cargo xtask zoo` compiles and runs all of this, and writes this page.
The cases are in `tests/zoo`.

- *As it stands*: all parts that were tried can be exported.
- *With an option*: the model can be exported, but another part or option is refused.
- *In part*: only a part of the model can be exported.
- *Refused*: the last column has the step that fails and its error.
- By *model*: `optimize_trt` on the model itself; by *closure*: `Trace::of_fn`, for models with a cache or another argument.
- *Sizes*: whether one export accepts any sequence length, or any batch for other models, or else the reason.
  A second size is compared too.

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
