//! The precision that a model is computed in, which TensorRT reads off the graph: types of values and casts (`half`,
//! by the rules in `operators` and `islands`), and products of quantized factors (`quantize`). What is asked is in
//! [`PrecisionOptions`], what became of each layer in [`PrecisionReport`]. The same for every graph, whether it comes
//! from a framework or from a file.

mod arguments;
mod attention;
mod decide;
mod folded_norm;
mod half;
mod islands;
mod known;
mod moments;
mod narrow;
mod operators;
mod options;
mod quantize;
mod ranges;
mod report;
mod types;
mod upgrade;
mod vanishing;

use std::cell::RefCell;

pub use moments::Moments;
pub use options::{Precision, PrecisionOptions};
pub use ranges::{Range, Ranges};
pub use report::{Layer, LayerCost, ModelCost, PrecisionReport};

use super::Pass;
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::{Reader, Target};
use crate::spec::DType;
use half::{Where, wrong};

/// Writes a graph in the precision that is asked for.
pub(super) struct Precise<'a> {
    pub(super) options: &'a PrecisionOptions,
    pub(super) target: Target,
    /// What became of the layers.
    pub(super) report: &'a RefCell<PrecisionReport>,
}

/// The operator set whose `QuantizeLinear` takes half precision and 8-bit floats.
const OPSET_OF_QUANTIZED: i64 = 19;
/// The one whose `DequantizeLinear` takes blocks and four bits.
const OPSET_OF_BLOCKS: i64 = 21;
/// The one whose convolutions take bfloat16.
const OPSET_OF_BFLOAT16: i64 = 22;

impl Pass for Precise<'_> {
    fn name(&self) -> &'static str {
        "precision"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let precision = self.options.precision();
        let choice = Choice { options: self.options, reader: self.target.reader() };
        choice.check(graph, self.target)?;
        let mut report = self.report.borrow_mut();
        *report = PrecisionReport::new(precision);
        let kept = self.why_not(graph);
        if let Some(reason) = kept {
            tracing::warn!(target: "accelerant::export", "not in {precision}: {reason}");
            report.note = Some(reason);
            return Ok(0);
        }
        let (low, place) = match precision {
            Precision::Fp32 | Precision::Tf32 => return Ok(0),
            Precision::Mixed => (DType::F16, Where::Attention),
            Precision::Bf16 => (DType::BF16, Where::Everywhere),
            _ => (DType::F16, Where::Everywhere),
        };
        upgrade::to(graph, least_opset(precision))?;
        let written = half::write(graph, low, place, &choice)?;
        report.layers = written.layers;
        if let Some(form) = precision.quantized() {
            quantize::write(graph, form, &choice, &written.origins, &mut report.layers)?;
        }
        Ok(report.layers.iter().filter(|layer| layer.precision != DType::F32.to_string()).count())
    }
}

/// The operator set in which a precision can be written.
const fn least_opset(precision: Precision) -> i64 {
    match precision {
        Precision::Int8 | Precision::Fp8 => OPSET_OF_QUANTIZED,
        Precision::Int4Weights => OPSET_OF_BLOCKS,
        Precision::Bf16 => OPSET_OF_BFLOAT16,
        _ => 0,
    }
}

impl Precise<'_> {
    /// Why a graph stays as it is for its target, whatever is asked.
    fn why_not(&self, graph: &Graph) -> Option<String> {
        let precision = self.options.precision();
        if matches!(precision, Precision::Fp32 | Precision::Tf32) {
            return None;
        }
        if !self.target.computes_in_half() {
            return Some("the backend computes in 32 bits".into());
        }
        let quantized = |node: &&NodeProto| {
            matches!(
                node.op_type(),
                "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear"
            )
        };
        let found = graph.nodes.iter().find(quantized)?;
        Some(format!("the model is quantized already, by `{}`", half::label(found)))
    }
}

/// What is asked, for the questions that a pass has.
pub(super) struct Choice<'a> {
    options: &'a PrecisionOptions,
    reader: Reader,
}

impl Choice<'_> {
    /// Refuses what cannot be obeyed, before anything is done.
    fn check(&self, graph: &Graph, target: Target) -> Result<()> {
        let options = self.options;
        let precision = options.precision();
        for pattern in options.kept().iter().chain(options.asked()) {
            if find(&graph.nodes, &|node| matches(pattern, node)).is_none() {
                return Err(wrong(format!("no layer is called `{pattern}`")));
            }
        }
        for pattern in options.halves() {
            if find(&graph.nodes, &|node| names(pattern, node)).is_none() {
                return Err(wrong(format!("no layer is called `{pattern}`")));
            }
        }
        if !quantize::BLOCKS.contains(&options.most_inputs()) {
            let text = format!(
                "blocks of {} inputs: they are of 16, 32, 64 or 128",
                options.most_inputs()
            );
            return Err(wrong(text));
        }
        if options.least_signal().is_nan() {
            return Err(wrong("a least signal to noise of NaN decibels is no number".to_owned()));
        }
        let contradicts = |text: &str, node: &NodeProto| {
            Error::new(ErrorKind::InvalidArgument, text).in_operation(half::label(node))
        };
        let both = |node: &NodeProto| self.keeps(node) && self.asks(node);
        if let Some(node) = find(&graph.nodes, &both) {
            let text = "the layer is asked for in fewer bits and excluded from them";
            return Err(contradicts(text, node));
        }
        let both = |node: &NodeProto| self.keeps(node) && self.halves(node);
        if let Some(node) = find(&graph.nodes, &both) {
            let text = "the layer is wanted in half precision and excluded from fewer bits";
            return Err(contradicts(text, node));
        }
        let in_half = target.computes_in_half();
        if in_half && precision == Precision::Fp8 && !target.has_fp8() {
            let capability = target.compute_capability().unwrap_or_default();
            let text = format!(
                "fp8 takes compute capability 8.9 or newer, and the device has {}.{}",
                capability / 10,
                capability % 10
            );
            return Err(Error::new(ErrorKind::Device, text).in_operation("precision"));
        }
        if in_half && precision == Precision::Bf16 && !target.has_bf16() {
            let text = "bf16 takes compute capability 8.0 or newer";
            return Err(Error::new(ErrorKind::Device, text).in_operation("precision"));
        }
        // What no target could obey is refused of each target: a backend that computes in 32 bits in any case would
        // otherwise run the model, and nobody would learn why.
        let ranged = matches!(precision, Precision::Int8 | Precision::Fp8);
        if ranged && options.measured().is_none() {
            return Err(wrong(format!(
                "{precision} takes the ranges of a calibration: `PrecisionOptions::ranges` states them, and \
                 `Calibration` measures them"
            )));
        }
        if let Some(strength) = options.smoothing() {
            if !(0.0..=1.0).contains(&strength) {
                return Err(wrong(format!("a strength of {strength}: it is from 0 to 1")));
            }
            if !ranged || options.moments_of_layers().is_none() {
                return Err(wrong(format!(
                    "{precision} has nothing to smooth: int8 and fp8 with moments do"
                )));
            }
        }
        if !in_half {
            return Ok(());
        }
        if let Some(ranges) = options.measured() {
            ranges.expect_of(graph)?;
        }
        if let Some(moments) = options.moments_of_layers() {
            moments.expect_of(graph)?;
        }
        Ok(())
    }

    fn keeps(&self, node: &NodeProto) -> bool {
        self.options.kept().iter().any(|pattern| matches(pattern, node))
    }

    fn asks(&self, node: &NodeProto) -> bool {
        self.options.asked().iter().any(|pattern| matches(pattern, node))
    }

    /// Whether a layer stays in half precision by name.
    fn halves(&self, node: &NodeProto) -> bool {
        self.options.halves().iter().any(|pattern| names(pattern, node))
    }

    fn measured(&self, name: &str) -> Option<&Range> {
        self.options.measured()?.get(name)
    }

    /// Why a value does not fit into a type, by what was measured.
    fn beyond(&self, name: &str, low: DType) -> Option<String> {
        let reached = self.measured(name)?.largest();
        let beyond = low == DType::F16 && reached > ::half::f16::MAX.to_f32();
        beyond.then(|| format!("`{name}` reaches {reached:.4e} in the samples, beyond {low}"))
    }

    /// Why the differences between values would be lost, by what was measured.
    fn far(&self, name: &str, deviations: f32) -> Option<String> {
        let range = self.measured(name)?;
        let far = range.mean.abs() > deviations * range.deviation && range.deviation > 0.0;
        far.then(|| {
            format!(
                "`{name}` is {:.4e} ± {:.2e} in the samples, and is normalized",
                range.mean, range.deviation
            )
        })
    }

    fn range(&self, name: &str) -> Option<[f32; 2]> {
        self.measured(name).map(|range| [range.min, range.max])
    }
}

/// The first of the nodes that is looked for, also in branches and in bodies of loops.
fn find<'n>(nodes: &'n [NodeProto], is: &dyn Fn(&NodeProto) -> bool) -> Option<&'n NodeProto> {
    nodes.iter().find_map(|node| {
        let bodies = node.attribute.iter().flat_map(|value| value.g.iter().chain(&value.graphs));
        let within = || bodies.into_iter().find_map(|body| find(&body.node, is));
        if is(node) { Some(node) } else { within() }
    })
}

/// Whether a pattern names a node: by its name, its first output or its operator; `*` at the end stands for any rest.
fn matches(pattern: &str, node: &NodeProto) -> bool {
    names(pattern, node) || fits(pattern, node.op_type())
}

/// Whether a pattern names a node by its name or its first output.
fn names(pattern: &str, node: &NodeProto) -> bool {
    fits(pattern, node.name()) || node.output.first().is_some_and(|name| fits(pattern, name))
}

fn fits(pattern: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// What a target can do with fewer bits.
impl Target {
    /// Whether half precision is computed with. tract has it for a part of its operators only.
    const fn computes_in_half(self) -> bool {
        !matches!(self.reader(), Reader::Any)
    }

    /// Products of 8-bit floats: from compute capability 8.9 on. What is not known is taken to have them.
    const fn has_fp8(self) -> bool {
        match self.compute_capability() {
            Some(capability) => capability >= 89,
            None => true,
        }
    }

    /// bfloat16: from compute capability 8.0 on.
    const fn has_bf16(self) -> bool {
        match self.compute_capability() {
            Some(capability) => capability >= 80,
            None => true,
        }
    }
}
