//! The tables of a report, in Markdown.

use super::{Results, Times, WHO};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// All of them, with their headings.
pub(super) fn all(results: &Results) -> String {
    let mut text = String::new();
    type Pick = fn(&Times) -> f64;
    let sections: [(&str, Pick); 3] = [
        ("Time of a call on the device, ms", |times| times.device),
        ("Time until a call returns to the host, ms", |times| times.host),
        ("First call, ms", |times| times.first),
    ];
    for (title, pick) in sections {
        let _ = writeln!(text, "## {title}\n");
        times(&mut text, results, pick);
    }
    rows(
        &mut text,
        results,
        ("Threads that share a module", &["threads", "threads, burn"]),
        &["model", "precision", "CUDA graphs", "GPUs", "threads", "calls a second"],
        |told| {
            vec![
                string(told, "model"),
                string(told, "dtype"),
                graphs(told),
                told["devices"].as_u64().unwrap_or(1).to_string(),
                whole(told, "threads"),
                whole(told, "calls_per_second"),
            ]
        },
    );
    rows(
        &mut text,
        results,
        ("From the start of a process to its first result", &["start"]),
        &["model", "engine, or native", "from a cache", "loaded, ms", "first result, ms"],
        |told| {
            let cache = if told["runtime_cache"] == true { "yes" } else { "no" };
            vec![
                string(told, "model"),
                string(told, "engine"),
                cache.to_owned(),
                whole(told, "loaded_ms"),
                whole(told, "first_result_ms"),
            ]
        },
    );
    rows(
        &mut text,
        results,
        ("Endurance", &["cycles", "forwards", "forwards, burn"]),
        &[
            "what",
            "model",
            "CUDA graphs",
            "times",
            "seconds",
            "device memory, MB more",
            "host memory, MB more",
        ],
        |told| {
            vec![
                string(told, "who"),
                string(told, "model"),
                graphs(told),
                whole(told, "count"),
                tenths(told, "seconds"),
                tenths(told, "device_growth_mb"),
                tenths(told, "host_growth_mb"),
            ]
        },
    );
    text
}

fn graphs(told: &Value) -> String {
    if told["cuda_graph"] == true { "yes" } else { "no" }.to_owned()
}

/// A table for each network and precision: who by batch.
fn times(text: &mut String, results: &Results, pick: fn(&Times) -> f64) {
    for (case, batches) in &results.times {
        let _ = write!(text, "| {} {} |", case.model, case.dtype);
        for batch in batches.keys() {
            let _ = write!(text, " batch {batch} |");
        }
        let _ = writeln!(text, "\n|---|{}", "---|".repeat(batches.len()));
        let present: BTreeSet<usize> = batches.values().flat_map(|by| by.keys().copied()).collect();
        for place in present {
            let _ = write!(text, "| {} |", WHO[place].1);
            for by in batches.values() {
                match by.get(&place) {
                    Some(times) => {
                        let _ = write!(text, " {} |", short(pick(times)));
                    }
                    None => text.push_str(" |"),
                }
            }
            text.push('\n');
        }
        text.push('\n');
    }
}

fn rows(
    text: &mut String,
    results: &Results,
    (title, who): (&str, &[&str]),
    columns: &[&str],
    row: fn(&Value) -> Vec<String>,
) {
    let mut told = results
        .others
        .iter()
        .filter(|told| told["who"].as_str().is_some_and(|name| who.contains(&name)))
        .peekable();
    if told.peek().is_none() {
        return;
    }
    let _ = writeln!(
        text,
        "## {title}\n\n| {} |\n|{}",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    for told in told {
        let _ = writeln!(text, "| {} |", row(told).join(" | "));
    }
    text.push('\n');
}

/// Three digits that count.
pub(super) fn short(milliseconds: f64) -> String {
    match milliseconds {
        x if x < 1.0 => format!("{x:.3}"),
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 100.0 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

fn string(told: &Value, name: &str) -> String {
    told[name].as_str().unwrap_or_default().to_owned()
}

fn whole(told: &Value, name: &str) -> String {
    told[name].as_f64().map(|number| format!("{number:.0}")).unwrap_or_default()
}

fn tenths(told: &Value, name: &str) -> String {
    told[name].as_f64().map(|number| format!("{number:.1}")).unwrap_or_default()
}
