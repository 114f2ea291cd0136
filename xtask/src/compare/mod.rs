//! `cargo xtask compare`: turns the lines that the runs of `benches/cuda` and `benches/python` print
//! into a report with tables, which are printed too, and a plot. Measures nothing.

mod plot;
mod tables;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files with one JSON object a line; where two tell of the same, the later one counts.
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// What to write, without an extension: `.md` and `.svg` are added.
    #[arg(long)]
    out: PathBuf,
    /// A text for the head of the report: the machine, the versions, the date.
    #[arg(long)]
    head: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut results = Results::default();
    for path in &args.results {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        results.read(&text).with_context(|| format!("in {}", path.display()))?;
    }
    if results.times.is_empty() {
        bail!("no times in {} files", args.results.len());
    }
    let head = match &args.head {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?
        }
        None => "# Measured\n".to_owned(),
    };
    let (report, picture) = (args.out.with_extension("md"), args.out.with_extension("svg"));
    let name = picture.file_name().and_then(|name| name.to_str()).context("no name to write")?;
    let tables = tables::all(&results);
    let text = format!("{}\n\n![times of a call]({name})\n\n{tables}", head.trim_end());
    fs::write(&picture, plot::svg(&results))
        .with_context(|| format!("writing {}", picture.display()))?;
    fs::write(&report, text).with_context(|| format!("writing {}", report.display()))?;
    print!("{tables}");
    eprintln!("{}", report.display());
    Ok(())
}

/// Everybody who may be measured, with a name for people, in the order of the tables.
const WHO: [(&str, &str); 17] = [
    ("candle", "Candle CUDA"),
    ("candle, cudnn", "Candle CUDA, cuDNN"),
    ("burn", "Burn CUDA"),
    ("torch-eager", "PyTorch eager"),
    ("torch-compile", "torch.compile"),
    ("accelerant, candle", "accelerant, Candle tensors"),
    ("accelerant, burn", "accelerant, Burn tensors"),
    ("raw loop", "raw C++ loop"),
    ("accelerant, candle, graph", "accelerant, Candle tensors, graph"),
    ("accelerant, candle, graph, any batch", "the same, any batch"),
    ("accelerant, candle, graph, any batch, one profile", "any batch, one profile for all"),
    ("accelerant, candle, graph, batch sizes", "several batch sizes in one engine"),
    ("accelerant, candle, graph, any length", "the same, any length"),
    ("accelerant, candle, graph, any length, one profile", "any length, one profile for all"),
    ("accelerant, burn, graph", "accelerant, Burn tensors, graph"),
    ("raw loop, graph", "raw C++ loop, graph"),
    ("raw loop, graph, kernels wait", "raw C++ loop, graph, kernels wait"),
];

/// A network at one precision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    model: String,
    dtype: String,
}

/// Milliseconds of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    device: f64,
    host: f64,
    first: f64,
}

#[derive(Debug, Default)]
struct Results {
    /// By case, batch, and the place in [`WHO`].
    times: BTreeMap<Case, BTreeMap<u64, BTreeMap<usize, Times>>>,
    /// Everything else, as it was told.
    others: Vec<Value>,
}

impl Results {
    fn read(&mut self, text: &str) -> Result<()> {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('{')) {
            let told: Value =
                serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
            if told["device_ms"].is_null() {
                self.others.push(told);
            } else {
                self.time(&told).with_context(|| format!("line {}", number + 1))?;
            }
        }
        Ok(())
    }

    fn time(&mut self, told: &Value) -> Result<()> {
        let text = |name: &str| told[name].as_str().with_context(|| format!("no {name}"));
        let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name}"));
        let who = text("who")?;
        let Some(place) = WHO.iter().position(|(name, _)| *name == who) else {
            bail!("nobody knows `{who}`");
        };
        let case = Case { model: text("model")?.to_owned(), dtype: text("dtype")?.to_owned() };
        let batch = told["batch"].as_u64().context("no batch")?;
        let times = Times {
            device: number("device_ms")?,
            host: number("host_ms")?,
            first: number("first_ms")?,
        };
        self.times.entry(case).or_default().entry(batch).or_default().insert(place, times);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"warming up
{"who":"candle","model":"net","dtype":"f32","batch":1,"device_ms":4.0,"host_ms":3.0,"first_ms":90.0}
{"who":"raw loop","model":"net","dtype":"f32","batch":1,"device_ms":0.5,"host_ms":0.1,"first_ms":9.0}
{"who":"raw loop","model":"net","dtype":"f32","batch":8,"device_ms":1.5,"host_ms":0.1,"first_ms":9.0}
{"who":"threads","model":"net","dtype":"f32","threads":4,"calls_per_second":1234.5}
{"who":"start","model":"net","engine":"built","runtime_cache":false,"loaded_ms":10.0,"first_result_ms":20.0}
{"who":"cycles","model":"net","count":1000,"seconds":9.0,"device_growth_mb":0.0,"host_growth_mb":1.5}"#;

    fn results() -> Results {
        let mut results = Results::default();
        results.read(LINES).unwrap();
        results
    }

    #[test]
    fn every_line_shows_in_the_report() {
        let report = tables::all(&results());
        for row in [
            "| Candle CUDA | 4.00 | |",
            "| raw C++ loop | 0.500 | 1.50 |",
            "| net | f32 | no | 1 | 4 | 1234 |",
            "| net | built | no | 10 | 20 |",
            "| cycles | net | no | 1000 | 9.0 | 0.0 | 1.5 |",
        ] {
            assert!(report.contains(row), "no `{row}` in\n{report}");
        }
    }

    #[test]
    fn the_plot_has_a_bar_for_every_time() {
        let picture = plot::svg(&results());
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<title>").count(), 3, "{picture}");
        assert!(picture.contains("raw C++ loop, batch 8: 1.50 ms"), "{picture}");
    }

    #[test]
    fn the_later_time_counts_and_strangers_are_refused() {
        let mut results = results();
        results.read(&LINES.replace("4.0", "2.0")).unwrap();
        let case = Case { model: "net".into(), dtype: "f32".into() };
        assert_eq!(results.times[&case][&1][&0].device, 2.0);
        let error = results.read(&LINES.replace("raw loop", "nobody")).unwrap_err();
        assert_eq!(format!("{error:#}"), "line 3: nobody knows `nobody`");
    }
}
