//! `cargo xtask tables`: what each operation of Burn and of Candle becomes, and which backends take the operation, as
//! documents, from what the cases recorded when they ran. `cargo xtask test` compares instead of
//! writing.

use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sdk::{self, ONNXRUNTIME};
use crate::workspace::{WHOLE, root, stream};

/// The variable that names the folder of the records.
pub(crate) const RECORDS: &str = "ACCELERANT_CASE_RECORDS";
/// The variable that names the runners that the cases go through.
const RUNNERS_ASKED_FOR: &str = "ACCELERANT_CASES_ON";
const RUNNERS: [(&str, &str); 3] =
    [("Tract", "tract"), ("OnnxRuntime", "ONNX Runtime"), ("TensorRtRtx", "TensorRT-RTX builder")];

/// A document, and the file of records that it is made from.
struct Table {
    records: &'static str,
    document: &'static str,
    head: &'static str,
    /// Where cases go that are of no operation of the framework: nowhere, or under this title.
    others: Option<&'static str>,
}

const TABLES: [Table; 2] = [
    Table { records: "burn.tsv", document: "docs/burn-operations.md", head: BURN, others: None },
    Table {
        records: "candle.tsv",
        document: "docs/candle-operations.md",
        head: CANDLE,
        others: Some("Several operations together"),
    },
];

/// An empty folder for the records of one run.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = root().join("target/case-records");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing old records")?;
    }
    fs::create_dir_all(&folder).context("making a folder for records")?;
    Ok(folder)
}

/// Runs the cases with both runtimes, and writes the documents.
pub(crate) fn run() -> Result<()> {
    let (folder, library) = (folder()?, ONNXRUNTIME.ensure()?);
    let cases = || -> Result<Command> {
        let mut command = sdk::quick_cargo(&["test", "--release"])?;
        command
            .args(WHOLE)
            .args(["--test", "cases_burn", "--test", "cases_candle"])
            .env(RECORDS, &folder);
        Ok(command)
    };
    stream(without_onnxruntime(&mut cases()?))?;
    stream(only_onnxruntime(&mut cases()?, &library))?;
    for table in &TABLES {
        let name = table.document;
        fs::write(root().join(name), table.text(&folder)?)
            .with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// Cases on tract, and in TensorRT-RTX's builder.
pub(crate) fn without_onnxruntime(command: &mut Command) -> &mut Command {
    command.env(RUNNERS_ASKED_FOR, "Tract,TensorRtRtx")
}

/// The same cases on ONNX Runtime. TensorRT-RTX has built them all in the first run.
pub(crate) fn only_onnxruntime<'a>(command: &'a mut Command, library: &Path) -> &'a mut Command {
    command.env(ONNXRUNTIME.variable, library).env(RUNNERS_ASKED_FOR, "OnnxRuntime")
}

/// Fails when a document does not say what the cases just recorded.
pub(crate) fn check(folder: &Path) -> Result<()> {
    TABLES.iter().try_for_each(|table| table.check(folder))
}

impl Table {
    fn check(&self, folder: &Path) -> Result<()> {
        let name = self.document;
        let found = fs::read_to_string(root().join(name)).unwrap_or_default();
        let expected = self.text(folder)?;
        let differs = expected.lines().zip(found.lines()).find(|(new, old)| new != old);
        match differs {
            Some((new, old)) => {
                bail!("{name} is stale; run `cargo xtask tables`\n  now: {new}\n  there: {old}")
            }
            None if expected != found => bail!("{name} is stale; run `cargo xtask tables`"),
            None => Ok(()),
        }
    }

    fn text(&self, folder: &Path) -> Result<String> {
        let path = folder.join(self.records);
        let records =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        self.written(&records).with_context(|| format!("making {}", self.document))
    }
}

/// What is known of one operation.
#[derive(Default)]
struct Row {
    left_out: String,
    refused: BTreeSet<String>,
    /// Forms: the operators in order.
    forms: BTreeSet<String>,
    /// Cases that passed, and reasons of those that are left out, by runner.
    results: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
}

impl Row {
    fn says_nothing(&self) -> bool {
        self.left_out.is_empty() && self.refused.is_empty() && self.forms.is_empty()
    }
}

impl Table {
    fn written(&self, records: &str) -> Result<String> {
        let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
        let mut order = Vec::new();
        let lines: BTreeSet<_> = records.lines().collect();
        let split = |line: &str| -> Result<[String; 6]> {
            let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
            let count = fields.len();
            fields.try_into().map_err(|_| anyhow!("a record of {count} fields: {line}"))
        };
        let lines = lines.into_iter().map(split).collect::<Result<Vec<_>>>()?;
        // The family of an operation is that of the list of all; a case tells the table it is in.
        let mut families = BTreeMap::new();
        for [what, family, name, .., reason] in &lines {
            if what == "All" {
                let key = (family.clone(), name.clone());
                rows.entry(key.clone()).or_default().left_out.clone_from(reason);
                families.insert(name, family.as_str());
                order.push(key);
            }
        }
        ensure!(!order.is_empty(), "the records do not list the operations");
        let listed = order.len();
        for [what, family, name, nodes, case, reason] in &lines {
            let family = match self.others {
                _ if what == "All" => continue,
                Some(others) => families.get(name).copied().unwrap_or(others),
                None => family,
            };
            let key = (family.to_owned(), name.clone());
            if !rows.contains_key(&key) {
                let known = self.others == Some(family);
                ensure!(known, "a record names an operation that there is not: {family} {name}");
                order.push(key.clone());
            }
            let row = rows.entry(key).or_default();
            if what == "Refused" {
                row.refused.insert(reason.clone());
                continue;
            }
            row.forms.insert(form(nodes));
            let (passed, gaps) = row.results.entry(what.clone()).or_default();
            match reason.is_empty() {
                true => passed.insert(case.clone()),
                false => gaps.insert(reason.clone()),
            };
        }
        order[listed..].sort();
        let untold = order.iter().filter(|key| rows[*key].says_nothing());
        let untold: Vec<_> = untold.map(|(family, name)| format!("{family}::{name}")).collect();
        ensure!(
            untold.is_empty(),
            "no case holds these, and none refuses them: {}",
            untold.join(", ")
        );
        let mut text = String::from(self.head);
        let mut family = "";
        for key in &order {
            let (row, group) = (&rows[key], if key.0.is_empty() { "Other" } else { &key.0 });
            if group != family {
                family = group;
                write!(text, "\n## {family}\n\n| operation | ONNX |")?;
                RUNNERS.iter().for_each(|(_, title)| text.extend([" ", title, " |"]));
                text += "\n|---|---|---|---|---|\n";
            }
            write!(text, "| {} | {} |", key.1, onnx(row))?;
            for (runner, _) in RUNNERS {
                write!(text, " {} |", result(row.results.get(runner)))?;
            }
            text.push('\n');
        }
        Ok(text)
    }
}

/// Repeated operators once, in the order of their first use.
fn form(nodes: &str) -> String {
    let mut seen = BTreeSet::new();
    let distinct: Vec<&str> = nodes.split(' ').filter(|node| seen.insert(*node)).collect();
    distinct.join(", ")
}

fn onnx(row: &Row) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !row.left_out.is_empty() && row.forms.is_empty() {
        parts.push(format!("not exported: {}", row.left_out));
    }
    // The shortest form, and what the others have besides.
    let mut forms: Vec<&String> = row.forms.iter().collect();
    forms.sort_by_key(|form| (form.split(", ").count(), form.len()));
    if let Some(first) = forms.first() {
        let known: BTreeSet<&str> = first.split(", ").collect();
        let more: BTreeSet<&str> = forms
            .iter()
            .flat_map(|form| form.split(", "))
            .filter(|op| !known.contains(op))
            .collect();
        let first = if first.is_empty() { "the value itself" } else { first };
        parts.push(match more.is_empty() {
            true => first.to_owned(),
            false => {
                format!("{first}; at times {}", more.into_iter().collect::<Vec<_>>().join(", "))
            }
        });
    }
    parts.extend(row.refused.iter().map(|reason| format!("refused: {reason}")));
    parts.join("; ")
}

fn result(found: Option<&(BTreeSet<String>, BTreeSet<String>)>) -> String {
    let Some((passed, gaps)) = found else { return "–".to_owned() };
    let mut parts: Vec<String> = Vec::new();
    if !passed.is_empty() {
        parts.push("ok".to_owned());
    }
    parts.extend(gaps.iter().map(|reason| format!("not every form: {reason}")));
    parts.join("; ")
}

const BURN: &str = "# Burn's operations

This table has the ONNX form of each operation of Burn's graph representation.
The other columns have the results of the test cases in `tests/cases_burn`.
`ok` means that every case with the operation agrees with Burn on random inputs.
For TensorRT-RTX, `ok` means that its parser and builder accept the operation.
`Custom` stands for the recurrent layers, which the exporter recognizes by their steps.
`cargo xtask tables` writes this page, and `cargo xtask test` fails when the page is stale or an operation is missing.

`tests/cases_burn/nans.rs` has the inputs that are NaN.
tract loses a NaN in minima, maxima, clamps, relu, sigmoid, tanh, hypot and atan2.
ONNX Runtime and Burn give the same results there.
ONNX does not define the position of a NaN in a sorted order.
The results of TensorRT for a NaN were not compared.
";

const CANDLE: &str = "# Candle's operations

This table has the ONNX form of each public method of `candle_core::Tensor`, each function of `candle_nn::ops` and `rotary_emb`, and each layer of candle_nn.
The list comes from the source of Candle.
The other columns have the results of the test cases in `tests/cases_candle`.
`ok` means that every case of that name agrees with Candle's own result on the CPU, on random inputs, with fixed and dynamic sizes.
For TensorRT-RTX, `ok` means that its parser and builder accept the case.
The ONNX column lists all operators of the case, which may have a few operators around the operation.
`cargo xtask tables` writes this page, and `cargo xtask test` fails when the page is stale or a method is missing.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_rows_and_a_missing_case_is_an_error() {
        let [burn, candle] = TABLES;
        let all = "All\tBase\tFlip\t\t\t\nAll\tBase\tGrad\t\t\ta gradient\n";
        assert!(burn.written(all).unwrap_err().to_string().contains("Flip"));
        let case = "Tract\tBase\tFlip\tSlice Slice\tflip, static\t\n";
        let gap = "Tract\tBase\tFlip\tSlice Cast\tflip, dynamic\ttoo hard\n";
        let text = burn.written(&format!("{all}{case}{gap}")).unwrap();
        let row = "| Flip | Slice; at times Cast | ok; not every form: too hard | – | – |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| Grad | not exported: a gradient |"), "{text}");
        let unknown = format!("{all}{case}Tract\tBase\tNone\t\tx\t\n");
        assert!(burn.written(&unknown).is_err());

        // Where the table of a case says nothing about what it is of.
        let elsewhere = format!("{all}Tract\tshapes\tFlip\tSlice\tx\t\n");
        let both = format!("{elsewhere}Tract\tshapes\tthere and back\t\tx\t\n");
        let text = candle.written(&both).unwrap();
        assert!(text.contains("## Base\n\n| operation |"), "{text}");
        assert!(text.contains("| Flip | Slice | ok | – | – |"), "{text}");
        let (_, others) = text.split_once("## Several operations together").unwrap();
        assert!(others.contains("| there and back | the value itself | ok |"), "{text}");
    }
}
