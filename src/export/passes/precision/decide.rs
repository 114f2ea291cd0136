//! The type of each node: by its operator (`operators`), by what its values are (`islands`), by the options (by name and
//! by measured range), and by what comes before and after it. No writing.

use std::collections::{HashMap, HashSet};

use super::arguments;
use super::attention;
use super::half::{Where, Writer};
use super::islands::{self, Need};
use super::known::Known;
use super::narrow::Fit;
use super::operators::{self, Narrowing};
use crate::error::Result;
use crate::export::onnx::NodeProto;
use crate::spec::{DType, Dim};

/// A mean over more elements than these is computed in 32 bits.
const LONG_MEAN: usize = 1024;

/// How far the mean may be from 0, in standard deviations, where a normalization takes it away, for each bit of the
/// narrow type's mantissa: values 1000 apart from 0 with differences of 1 lose a tenth of these.
const FAR_F16: f32 = 64.0;
const FAR_BF16: f32 = 8.0;

/// What a list of nodes needs, by their places.
pub(super) struct Plan {
    pub(super) marks: HashMap<usize, &'static str>,
    pub(super) wanted: Vec<bool>,
    pub(super) normalized: HashSet<String>,
    pub(super) attention: HashSet<usize>,
}

/// The type of a node, and what its values need then.
pub(super) struct Decision {
    pub(super) low: bool,
    pub(super) reason: Option<String>,
    pub(super) need: Option<Need>,
}

impl Decision {
    pub(super) fn low() -> Self {
        Self { low: true, reason: None, need: None }
    }

    fn single(reason: impl Into<String>, need: Option<Need>) -> Self {
        Self { low: false, reason: Some(reason.into()), need }
    }
}

impl Writer<'_> {
    pub(super) fn plan(&self, nodes: &[NodeProto]) -> Plan {
        let mut marks = islands::before(nodes);
        for at in attention::changed(nodes) {
            marks.insert(at, "TensorRT fails to build a product with a softmax that was changed");
        }
        for at in arguments::before(nodes, |name| self.largest(name)) {
            marks.entry(at).or_insert(arguments::REASON);
        }
        let mut wanted = vec![false; nodes.len()];
        let mut wants: HashSet<&str> = HashSet::new();
        let mut normalized = HashSet::new();
        for (at, node) in nodes.iter().enumerate().rev() {
            let kind = operators::kind(node);
            wanted[at] = match kind {
                _ if marks.contains_key(&at) => false,
                Narrowing::Computes => true,
                Narrowing::Moves => node.output.iter().any(|name| wants.contains(name.as_str())),
                Narrowing::Normalizes | Narrowing::Keeps(_) => false,
            };
            if wanted[at] {
                wants.extend(node.input.iter().map(String::as_str));
            }
            let mark = marks.get(&at).filter(|mark| **mark != arguments::REASON);
            let difference = mark.is_some() && node.is("Sub");
            if kind == Narrowing::Normalizes || difference {
                normalized.extend(node.input.first().cloned());
            }
        }
        let mut products = HashSet::new();
        if self.place == Where::Attention {
            let mut all = attention::all(nodes);
            all.retain(|found| {
                let both = [&nodes[found.scores], &nodes[found.weighted]];
                let mut names = both.iter().flat_map(|node| node.input.iter().chain(&node.output));
                names.all(|name| self.choice.beyond(name, self.low).is_none())
            });
            let constant = |name: &str| self.known(name).is_some_and(|known| known.constant);
            products = attention::fed(nodes, &all, constant);
            products.retain(|at| {
                let mut names = nodes[*at].input.iter().chain(&nodes[*at].output);
                names.all(|name| self.choice.beyond(name, self.low).is_none())
            });
            products.extend(all.iter().flat_map(|found| [found.scores, found.weighted]));
        }
        Plan { marks, wanted, normalized, attention: products }
    }

    pub(super) fn decide(
        &mut self,
        at: usize,
        node: &NodeProto,
        inputs: &[Option<Known>],
        outputs: &[Option<DType>],
        plan: &Plan,
    ) -> Result<Decision> {
        let operator = node.op_type();
        let floats: Vec<(usize, &Known)> = inputs
            .iter()
            .enumerate()
            .filter_map(|(i, known)| Some((i, known.as_ref()?)))
            .filter(|(i, known)| known.is_single() && !operators::keeps_input(node, *i))
            .collect();
        let needs: Vec<Option<Need>> = floats.iter().map(|(_, known)| known.need).collect();
        let others = floats.iter().filter(|(_, known)| known.need.is_none());
        let scaled = others.clone().all(|(_, known)| known.constant);
        let mut need = islands::after(node, &needs, scaled);

        let mut beyond = None;
        let mut tiny = self.vanishing_bound(node)?;
        let folded = self.folded_norm(node, inputs)?.is_some();
        for (i, known) in floats.iter().filter(|(_, known)| known.constant && !folded) {
            match self.fit(known)? {
                Fit::Fits => {}
                // A bound that nothing reaches.
                Fit::Beyond if operator == "Clip" && *i > 0 => {}
                Fit::Beyond => beyond = Some(&node.input[*i]),
                fit => {
                    let small = needs.contains(&Some(Need::Small));
                    let several = fit == Fit::Vanishes;
                    if small && several && matches!(operator, "Add" | "Sub") {
                        need = need.or(Some(Need::Small));
                    }
                    tiny = self.vanishing(node, *i, fit).or(tiny);
                }
            }
        }
        if beyond.is_some() && !operators::bounds(operator) {
            need = need.or(Some(Need::Range));
        }
        need = need.or(tiny.as_ref().and_then(|tiny| tiny.need));
        need = need.or(self.source(node, inputs));
        let mark = plan.marks.get(&at).copied();
        if mark.is_some_and(|mark| mark.contains("squared") && mark.contains("it is squared")) {
            need = Some(Need::Range);
        }
        let measured = node.output.iter().find_map(|name| self.choice.beyond(name, self.low));
        if measured.is_some() {
            need = Some(Need::Range);
        }

        if self.place == Where::Attention {
            let wanted = plan.attention.contains(&at) && !self.choice.keeps(node);
            let wide = |need: &Option<Need>| matches!(need, Some(Need::Range | Need::Stated));
            let fits = beyond.is_none() && tiny.is_none();
            return Ok(match wanted && fits && !needs.iter().any(wide) {
                true => Decision::low(),
                false => Decision::single("it is no part of attention", need),
            });
        }
        if self.choice.keeps(node) {
            return Ok(Decision::single("it is excluded", need));
        }
        let kind = operators::kind(node);
        if let Narrowing::Keeps(reason) = kind {
            return Ok(Decision::single(reason, need));
        }
        if let Some(reason) = operators::missing(operator, self.low) {
            return Ok(Decision::single(reason, need));
        }
        if let Some(mark) = mark {
            return Ok(Decision::single(mark, need));
        }
        if let Some((i, known)) = floats.iter().find(|(_, known)| known.need.is_some()) {
            let text = known.need.map_or("", Need::text);
            return Ok(Decision::single(format!("`{}` {text}", node.input[*i]), need));
        }
        if let Some(name) = beyond {
            let text = format!("the constant `{name}` is beyond the range of {}", self.low);
            return Ok(Decision::single(text, need));
        }
        if let Some(tiny) = tiny {
            return Ok(Decision::single(tiny.reason, need));
        }
        let read = floats.iter().find_map(|(i, _)| self.choice.beyond(&node.input[*i], self.low));
        if let Some(text) = measured.or(read) {
            return Ok(Decision::single(text, need));
        }
        if operator == "ReduceMean" && self.is_long(node) {
            return Ok(Decision::single("a mean of many values is a large sum first", need));
        }
        let near = node.output.iter().filter(|name| plan.normalized.contains(*name));
        let far = if self.low == DType::F16 { FAR_F16 } else { FAR_BF16 };
        if let Some(text) = near.into_iter().find_map(|name| self.choice.far(name, far)) {
            return Ok(Decision::single(text, need));
        }
        let low = Some(self.low);
        let computed = floats.iter().filter(|(_, known)| !known.constant);
        let narrowed = computed.clone().any(|(_, known)| known.form(low).is_some());
        Ok(match kind {
            Narrowing::Normalizes => {
                let statistics = node.output.iter().skip(1).any(|name| !name.is_empty());
                match narrowed && !statistics {
                    true => Decision::low(),
                    false => Decision::single("what it reads is of 32 bits", need),
                }
            }
            Narrowing::Moves => {
                let nothing = !outputs.contains(&Some(DType::F32));
                match narrowed || plan.wanted[at] && !nothing {
                    true => Decision::low(),
                    false => Decision::single("nothing computes with it in fewer bits", need),
                }
            }
            _ => Decision::low(),
        })
    }

    /// What a node's values need that are its own.
    fn source(&self, node: &NodeProto, inputs: &[Option<Known>]) -> Option<Need> {
        let from = inputs.first().and_then(Option::as_ref).and_then(|known| known.dtype);
        match node.op_type() {
            "ReduceSum" | "ReduceL1" | "ReduceProd" | "ReduceSumSquare" | "CumSum" | "CumProd" => {
                Some(Need::Range)
            }
            "Cosh" | "Sinh" => Some(Need::Range),
            "ReduceL2" => Some(Need::Divisor),
            "Exp" => {
                let bounded = inputs.first().and_then(Option::as_ref);
                let name = bounded.and_then(|known| known.forms.first()).map(|(_, name)| name);
                let shifted = name.is_some_and(|name| self.is_below_its_maximum(name));
                (!shifted).then_some(Need::Range)
            }
            "Range" | "Floor" | "Ceil" | "Round" => Some(Need::Count),
            "Cast" => match from {
                Some(DType::F16 | DType::BF16 | DType::F64) => Some(Need::Stated),
                Some(DType::Bool | DType::I8 | DType::U8) => None,
                Some(dtype) if dtype.is_int() => Some(Need::Count),
                _ => None,
            },
            _ => None,
        }
    }

    /// The largest magnitude of a constant.
    fn largest(&self, name: &str) -> Option<f32> {
        let tensor = self.constant(name).filter(|tensor| tensor.dtype() == DType::F32)?;
        let values = tensor.view::<f32>().ok()?;
        Some(values.iter().fold(0f32, |most, value| most.max(value.abs())))
    }

    /// Whether a value is `x - max(x)`.
    fn is_below_its_maximum(&self, name: &str) -> bool {
        let nodes = || self.frames.iter().flat_map(|frame| &frame.nodes);
        let maker =
            |name: &str| nodes().find(|node| node.output.iter().any(|output| output == name));
        let Some(node) = maker(name).filter(|node| node.is("Sub")) else { return false };
        maker(&node.input[1])
            .is_some_and(|maximum| maximum.is("ReduceMax") && maximum.input[0] == node.input[0])
    }

    fn is_long(&self, node: &NodeProto) -> bool {
        let count = |name: &String| {
            let shape = self.graph.spec(name)?.shape;
            Some(shape.dims().iter().map(|dim: &Dim| dim.opt()).product::<usize>())
        };
        let counts = node.input.first().and_then(count).zip(node.output.first().and_then(count));
        counts.is_none_or(|(read, given)| read / given.max(1) >= LONG_MEAN)
    }
}
