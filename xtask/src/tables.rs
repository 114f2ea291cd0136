//! `cargo xtask tables`: what each operation of Burn becomes and who takes it, as a document, from
//! what the cases recorded when they ran. `cargo xtask test` compares instead of writing.

use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sdk::{self, ONNXRUNTIME};
use crate::workspace::{FEATURES, root, stream};

/// The variable that names the folder of the records, and the file in it.
pub(crate) const RECORDS: (&str, &str) = ("ACCELERANT_CASE_RECORDS", "burn.tsv");
const DOCUMENT: &str = "docs/burn-operations.md";
const RUNNERS: [(&str, &str); 3] =
    [("Tract", "tract"), ("OnnxRuntime", "ONNX Runtime"), ("TensorRtRtx", "TensorRT-RTX builder")];

/// An empty folder for the records of one run.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = root().join("target/case-records");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing old records")?;
    }
    fs::create_dir_all(&folder).context("making a folder for records")?;
    Ok(folder)
}

/// Runs the cases of Burn with both runtimes, and writes the document.
pub(crate) fn run() -> Result<()> {
    let (folder, library) = (folder()?, ONNXRUNTIME.ensure()?);
    let cases = || -> Result<Command> {
        let mut command =
            sdk::cargo(&["test", "--release", "--features", FEATURES, "--test", "cases_burn"])?;
        command.env(RECORDS.0, &folder);
        Ok(command)
    };
    stream(&mut cases()?)?;
    stream(cases()?.env(ONNXRUNTIME.variable, library))?;
    let text = document(&read(&folder)?)?;
    fs::write(root().join(DOCUMENT), text).with_context(|| format!("writing {DOCUMENT}"))
}

/// Fails when the document does not say what the cases just recorded.
pub(crate) fn check(folder: &Path) -> Result<()> {
    let found = fs::read_to_string(root().join(DOCUMENT)).unwrap_or_default();
    let expected = document(&read(folder)?)?;
    let differs = expected.lines().zip(found.lines()).find(|(new, old)| new != old);
    match differs {
        Some((new, old)) => {
            bail!("{DOCUMENT} is stale; run `cargo xtask tables`\n  now: {new}\n  there: {old}")
        }
        None if expected != found => bail!("{DOCUMENT} is stale; run `cargo xtask tables`"),
        None => Ok(()),
    }
}

fn read(folder: &Path) -> Result<String> {
    let path = folder.join(RECORDS.1);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
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

fn document(records: &str) -> Result<String> {
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    let mut order = Vec::new();
    for line in records.lines().collect::<BTreeSet<_>>() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [what, family, name, nodes, case, reason] = fields[..] else {
            bail!("a record of {} fields: {line}", fields.len());
        };
        let key = (family.to_owned(), name.to_owned());
        let row = rows.entry(key.clone()).or_default();
        match what {
            "All" => {
                row.left_out = reason.to_owned();
                order.push(key);
            }
            "Refused" => drop(row.refused.insert(reason.to_owned())),
            runner => {
                row.forms.insert(form(nodes));
                let (passed, gaps) = row.results.entry(runner.to_owned()).or_default();
                if reason.is_empty() {
                    passed.insert(case.into())
                } else {
                    gaps.insert(reason.into())
                };
            }
        }
    }
    ensure!(!order.is_empty(), "the records do not list the operations of Burn");
    ensure!(rows.len() == order.len(), "a record names an operation that Burn does not have");
    let untold = order.iter().filter(|key| rows[*key].says_nothing());
    let untold: Vec<_> = untold.map(|(family, name)| format!("{family}::{name}")).collect();
    ensure!(untold.is_empty(), "no case holds these, and none refuses them: {}", untold.join(", "));
    let mut text = String::from(HEAD);
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

const HEAD: &str = "# Burn's operations

What each operation of Burn's graph representation becomes in ONNX, and what the cases of
`tests/cases_burn` found when they ran. `ok`: every case that holds the operation agrees with Burn on
random inputs, or for TensorRT-RTX, its parser and builder take it. `Custom` stands for the recurrent
layers, which the exporter puts together again from their steps. Written by `cargo xtask tables`;
`cargo xtask test` fails when it is stale, or when an operation is missing.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_rows_and_a_missing_case_is_an_error() {
        let all = "All\tBase\tFlip\t\t\t\nAll\tBase\tGrad\t\t\ta gradient\n";
        assert!(document(all).unwrap_err().to_string().contains("Flip"));
        let case = "Tract\tBase\tFlip\tSlice Slice\tflip, static\t\n";
        let gap = "Tract\tBase\tFlip\tSlice Cast\tflip, dynamic\ttoo hard\n";
        let text = document(&format!("{all}{case}{gap}")).unwrap();
        let row = "| Flip | Slice; at times Cast | ok; not every form: too hard | – | – |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| Grad | not exported: a gradient |"), "{text}");
        assert!(document(&format!("{all}{case}Tract\tBase\tNone\t\tx\t\n")).is_err());
    }
}
