//! Bars on a logarithmic scale, as SVG.

use std::fmt::Write as _;

use super::Sensitivity;

const ROW: usize = 18;
const NAMES: usize = 360;
const BARS: usize = 480;

pub(super) fn bars(found: &Sensitivity) -> String {
    let drops: Vec<f64> = found.layers.iter().filter_map(|layer| layer.drop).collect();
    let most = drops.iter().copied().fold(found.max_drop, f64::max).max(f64::MIN_POSITIVE);
    // Four decades are enough to see which layers matter.
    let width = |drop: f64| {
        let part = 1.0 + (drop / most).max(1e-4).log10() / 4.0;
        (part * BARS as f64).max(1.0)
    };
    let height = ROW * (found.layers.len() + 2);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{height}" font-family="sans-serif" font-size="12">"#,
        NAMES + BARS + 100
    );
    let title = format!("{}: lost by {}, one layer at a time", found.precision, found.metric);
    let _ = write!(svg, r#"<text x="4" y="{}">{}</text>"#, ROW - 4, escaped(&title));
    for (row, layer) in found.layers.iter().enumerate() {
        let y = ROW * (row + 1);
        let color = if layer.in_half { "#b03030" } else { "#7090c0" };
        let _ = write!(svg, r#"<text x="4" y="{}">{}</text>"#, y + ROW - 5, escaped(&layer.name));
        if let Some(drop) = layer.drop {
            let width = width(drop);
            let _ = write!(
                svg,
                r#"<rect x="{NAMES}" y="{}" width="{width:.1}" height="{}" fill="{color}"/>"#,
                y + 2,
                ROW - 4
            );
            let x = NAMES as f64 + width + 4.0;
            let _ = write!(svg, r#"<text x="{x:.1}" y="{}">{drop:.1e}</text>"#, y + ROW - 5);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
