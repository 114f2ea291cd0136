//! Types, shapes and small integer values of all that a graph computes, as far as they follow from
//! the model alone; and what cannot be, refused with node and tensor. A rule that does not know says
//! nothing: only what is wrong for every consumer is an error.

mod alive;
mod call;
pub(super) mod condition;
mod control;
mod fact;
mod rules;
mod types;
mod values;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use crate::error::{Error, ErrorKind, Result};
use crate::export::model::check::schema;
use crate::export::model::{tensors, walk};
use crate::export::onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto};
pub(crate) use alive::Peak;
use call::Call;
pub(super) use fact::{Fact, Size, Values};

/// The most bytes of one value in a model without weights. Files of a few hundred bytes ask for more.
const MOST_BYTES: u64 = 4 << 30;
/// A model with weights may have values of so many times their bytes besides.
const MOST_OF_WEIGHTS: u64 = 64;
/// The largest size along one axis, also beside one of 0.
const MOST_ALONG: i64 = 1 << 48;

/// Gets a node with what is known of its inputs.
pub(super) type See<'s> = dyn Fn(&NodeProto, &[Option<&Fact>]) + 's;

/// What is known of every value in the main graph. A branch may be one that the sizes of the inputs do not fit, if the other
/// one fits.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] for nodes that no consumer can run.
pub(super) fn facts(model: &ModelProto) -> Result<HashMap<String, Fact>> {
    facts_seen(model, &|_, _| {})
}

/// What is known of every value in the main graph of a file, in which both branches must fit, and the most bytes of values
/// at a time.
///
/// # Errors
/// As [`facts`].
pub(super) fn facts_and_peak(
    model: &ModelProto,
    see: &See<'_>,
) -> Result<(HashMap<String, Fact>, Peak)> {
    let peak = RefCell::default();
    let facts = inferred(model, true, see, None, Some(&peak))?;
    Ok((facts, peak.into_inner()))
}

/// What a run gives for an input.
#[cfg_attr(not(any(feature = "ort", feature = "tract")), allow(dead_code))]
pub(super) struct Given {
    pub(super) sizes: Vec<usize>,
    /// Where they may decide sizes.
    pub(super) values: Option<Values>,
}

/// The most bytes of values at a time, where a run gives this for the inputs by name.
///
/// # Errors
/// As [`facts`].
#[cfg_attr(not(any(feature = "ort", feature = "tract")), allow(dead_code))]
pub(super) fn peak(model: &ModelProto, given: Option<&HashMap<&str, Given>>) -> Result<Peak> {
    let peak = RefCell::default();
    inferred(model, false, &|_, _| {}, given, Some(&peak))?;
    Ok(peak.into_inner())
}

/// What is known of every value in the main graph. `see` gets each node with what is known of its inputs, those in branches
/// and bodies too.
///
/// # Errors
/// As [`facts`].
pub(super) fn facts_seen(
    model: &ModelProto,
    see: &dyn Fn(&NodeProto, &[Option<&Fact>]),
) -> Result<HashMap<String, Fact>> {
    inferred(model, false, see, None, None)
}

fn inferred(
    model: &ModelProto,
    both_branches: bool,
    see: &dyn Fn(&NodeProto, &[Option<&Fact>]),
    given: Option<&HashMap<&str, Given>>,
    peak: Option<&RefCell<Peak>>,
) -> Result<HashMap<String, Fact>> {
    let Some(graph) = &model.graph else { return Ok(HashMap::new()) };
    let standard = model.opset_import.iter().find(|i| matches!(i.domain(), "" | "ai.onnx"));
    let own = model.functions.iter().map(|f| (f.domain(), f.name())).collect();
    let weights = graph.initializer.iter().filter_map(|tensor| tensor.raw_data.as_ref());
    let weights: u64 = weights.map(|data| data.len() as u64).sum();
    let inference = Inference {
        opset: standard.map(|import| import.version()),
        functions: own,
        // Where sizes of a run are given, the sum of all is what counts.
        most: match given {
            Some(_) => u64::MAX,
            None => MOST_BYTES.saturating_add(weights.saturating_mul(MOST_OF_WEIGHTS)),
        },
        both_branches,
        see,
        peak,
    };
    let mut scope = Scope { outer: None, facts: HashMap::new() };
    for input in &graph.input {
        let mut fact = stated(input, true);
        if let Some(given) = given.and_then(|given| given.get(input.name())) {
            let size = |&size: &usize| Size::Known(i64::try_from(size).unwrap_or(i64::MAX));
            fact.shape = Some(given.sizes.iter().map(size).collect());
            fact.values = given.values.clone().map(Rc::new);
        }
        let volume = check_volume(&fact, inference.most);
        volume.map_err(|e| e.on_tensor(walk::short(input.name())))?;
        scope.facts.insert(input.name(), fact);
    }
    inference.run(graph, &mut scope)?;
    Ok(scope.facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect())
}

/// What a file says of a value. Names of sizes are kept where they can be trusted.
fn stated(value: &ValueInfoProto, named: bool) -> Fact {
    use crate::export::onnx::tensor_shape_proto::dimension::Value;
    match value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => {
            let size = |value: &Option<Value>| match value {
                Some(Value::DimValue(size)) if named && *size >= 0 => Size::Known(*size),
                Some(Value::DimParam(name)) if named => Size::Named(name.as_str().into()),
                _ => Size::Unknown,
            };
            let shape = tensor.shape.as_ref();
            let shape = shape.map(|shape| shape.dim.iter().map(|dim| size(&dim.value)).collect());
            Fact { dtype: tensor.elem_type(), shape, ..Fact::default() }
        }
        Some(_) => Fact { other: true, ..Fact::default() },
        None => Fact::default(),
    }
}

/// What is known in a graph, then in those around it.
struct Scope<'s> {
    outer: Option<&'s Scope<'s>>,
    facts: HashMap<&'s str, Fact>,
}

impl Scope<'_> {
    fn get(&self, name: &str) -> Option<&Fact> {
        self.facts.get(name).or_else(|| self.outer.and_then(|outer| outer.get(name)))
    }
}

struct Inference<'m> {
    opset: Option<i64>,
    functions: std::collections::HashSet<(&'m str, &'m str)>,
    /// The most bytes of one value.
    most: u64,
    /// Whether a branch that does not fit is an error beside one that fits.
    both_branches: bool,
    /// Gets each node with what is known of its inputs.
    see: &'m dyn Fn(&NodeProto, &[Option<&Fact>]),
    /// The most bytes of values of the graphs that were gone through since it was taken.
    peak: Option<&'m RefCell<Peak>>,
}

impl Inference<'_> {
    /// Goes through the nodes of a graph, whose inputs are in `scope` already.
    fn run<'s>(&self, graph: &'s GraphProto, scope: &mut Scope<'s>) -> Result<()> {
        for tensor in &graph.initializer {
            scope.facts.insert(tensor.name(), Fact::of_tensor(tensor));
        }
        for sparse in &graph.sparse_initializer {
            if let Some(values) = &sparse.values {
                let shape = sparse.dims.iter().map(|&size| Size::Known(size)).collect();
                let dtype = values.data_type();
                let fact = Fact { dtype, shape: Some(shape), ..Fact::default() };
                let volume = check_volume(&fact, self.most);
                volume.map_err(|e| e.on_tensor(walk::short(values.name())))?;
                scope.facts.insert(values.name(), fact);
            }
        }
        let mut inner = Vec::new();
        for node in &graph.node {
            let facts = self.node(node, scope).map_err(|e| e.in_operation(walk::label(node)))?;
            for (name, fact) in node.output.iter().zip(facts) {
                if name.is_empty() {
                    continue;
                }
                let named =
                    |e: Error| e.in_operation(walk::label(node)).on_tensor(walk::short(name));
                check_volume(&fact, self.most).map_err(named)?;
                scope.facts.insert(name, fact);
            }
            inner.extend(self.peak.map(RefCell::take));
        }
        if let Some(peak) = self.peak {
            let found = alive::most(graph, scope, &inner);
            let mut peak = peak.borrow_mut();
            if found.bytes > peak.bytes {
                *peak = found;
            }
        }
        Ok(())
    }

    fn node(&self, node: &NodeProto, scope: &Scope<'_>) -> Result<Vec<Fact>> {
        let inputs: Vec<Option<&Fact>> = node
            .input
            .iter()
            .map(|name| if name.is_empty() { None } else { scope.get(name) })
            .collect();
        (self.see)(node, &inputs);
        let unknown = || vec![Fact::default(); node.output.len()];
        let standard = matches!(node.domain(), "" | "ai.onnx");
        let (Some(opset), true) = (self.opset, standard) else { return Ok(unknown()) };
        if self.functions.contains(&(node.domain(), node.op_type())) {
            return Ok(unknown());
        }
        let Some(schema) = schema::find(node.op_type(), opset) else { return Ok(unknown()) };
        let found = schema.check(node, &inputs)?;
        let call = Call { node, opset, inputs };
        if let Some(facts) = control::bodies(self, &call, scope)? {
            return Ok(facts);
        }
        let shapes = rules::shapes(&call)?;
        let mut facts = unknown();
        for (i, (fact, dtype)) in facts.iter_mut().zip(found).enumerate() {
            fact.other = dtype.is_none();
            fact.dtype = types::of_output(&call, i).or(dtype).unwrap_or(0);
            fact.shape = shapes.get(i).cloned().flatten();
        }
        values::fold(&call, &mut facts)?;
        Ok(facts)
    }
}

/// Refuses a value that is too large for what the model's file holds.
fn check_volume(fact: &Fact, most: u64) -> Result<()> {
    let Some(shape) = &fact.shape else { return Ok(()) };
    let invalid = |text: String| Err(Error::new(ErrorKind::InvalidModel, text));
    if shape.len() > tensors::MAX_RANK {
        return invalid(format!("rank {}, more than {}", shape.len(), tensors::MAX_RANK));
    }
    // Sizes that are not known are at least 1 somewhere; with a 0 there is nothing.
    let known = shape.iter().filter_map(Size::known);
    // Of a run, the sum of all is what counts.
    if let Some(size) = known.clone().find(|&size| size > MOST_ALONG && most < u64::MAX) {
        return invalid(format!("a size of {size} in {}", fact::list(shape)));
    }
    if known.clone().any(|size| size == 0) {
        return Ok(());
    }
    let count = known.fold(1u64, |count, size| count.saturating_mul(size.unsigned_abs()));
    let bits = tensors::bits(fact.dtype).unwrap_or(8);
    if count.saturating_mul(bits) / 8 > most {
        let shape = fact::list(shape);
        let text = format!("a shape of {shape}, more than the {most} bytes that a value may have");
        return invalid(text);
    }
    Ok(())
}
