//! The plot of a report: a panel for each network and precision, a group of bars for each batch, on
//! one logarithmic scale of milliseconds.

use super::tables::short;
use super::{Results, WHO};
use std::fmt::Write as _;

/// Natively blue and green, PyTorch grey, this crate red, the lower bound black.
const COLOURS: [&str; super::WHO.len()] = [
    "#5b8ff9", "#a3c4ff", "#61c9a8", "#b8b8b8", "#8c8c8c", "#e8684a", "#f6a04d", "#404040",
    "#c23b22", "#7a1f12", "#e8a090", "#b87860", "#9a2f5a", "#e0a0c0", "#d97d0d", "#000000",
    "#707070",
];

const WIDTH: f64 = 900.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 150.0;
const TOP: f64 = 84.0;

pub(super) fn svg(results: &Results) -> String {
    let all = || results.times.values().flat_map(|batches| batches.values());
    let values = || all().flat_map(|by| by.values().map(|times| times.device));
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(0.0, f64::max).log10().ceil().max(low + 1.0);
    let height = TOP + results.times.len() as f64 * (PANEL + 30.0) + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"14\">Time of a call on the device, ms; lower is better</text>\n"
    );
    for (place, (_, name)) in WHO.iter().enumerate() {
        let (x, y) = (10.0 + (place % 4) as f64 * 222.0, 32.0 + (place / 4) as f64 * 17.0);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"{}\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            COLOURS[place],
            x + 14.0,
            y + 10.0
        );
    }
    for (panel, (case, batches)) in results.times.iter().enumerate() {
        let bottom = TOP + 20.0 + panel as f64 * (PANEL + 30.0) + PANEL;
        let at = |value: f64| bottom - PANEL * (value.log10() - low) / (high - low);
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{} {}</text>",
            bottom - PANEL / 2.0,
            case.model,
            case.dtype
        );
        for power in low as i32..=high as i32 {
            let value = 10f64.powi(power);
            let y = at(value);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{value}</text>",
                WIDTH - 10.0,
                LEFT - 6.0,
                y + 4.0
            );
        }
        let group = (WIDTH - 10.0 - LEFT) / batches.len() as f64;
        for (column, (batch, by)) in batches.iter().enumerate() {
            let start = LEFT + column as f64 * group + 8.0;
            let bar = (group - 16.0) / WHO.len() as f64;
            for (place, times) in by {
                let (x, y) = (start + *place as f64 * bar, at(times.device));
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\">\
                     <title>{}, batch {batch}: {} ms</title></rect>",
                    bar - 2.0,
                    (bottom - y).max(1.0),
                    COLOURS[*place],
                    WHO[*place].1,
                    short(times.device)
                );
            }
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">batch {batch}</text>",
                start + group / 2.0 - 8.0,
                bottom + 14.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
