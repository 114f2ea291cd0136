//! From an ONNX model to a plan of tract. `gaps` refuses before what tract gets wrong.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message as _;
use tract_onnx::prelude::{
    DatumType, InferenceFact, InferenceModelExt as _, IntoRunnable as _, TDim, TractError,
    TractResult, TypedSimplePlan,
};
use tract_onnx::tract_hir::internal::{Framework as _, ToDim as _};

use super::fits::{self, Branches, Fit};
use super::gaps::{self, view::View};
use super::{checked, kept, nan, rewrite, tensors};
use crate::backend::panics::guarded;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::export::onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::progress;
use crate::spec::{Dim, Signature, TensorSpec};

/// A model larger than this many nodes is not compiled again and again to find the node that panicked.
const SEARCHED_NODES: usize = 2000;

pub(super) type Plan = Arc<TypedSimplePlan>;

/// A plan, and what the sizes of its runs have to fit.
pub(super) struct Compiled {
    pub(super) plan: Plan,
    pub(super) fits: Vec<Fit>,
    pub(super) branches: Branches,
    /// By the numbers of the nodes, which inputs must have no NaN.
    pub(super) searched: Vec<nan::Searched>,
}

/// Compiles a model.
///
/// # Errors
/// [`ErrorKind::Build`] with the node, and the cause.
pub(super) fn compile(model: &OnnxModel, signature: &Signature) -> Result<Compiled> {
    // What a hostile model makes of this crate's own steps is an error as well.
    let refused_nodes = guarded(ErrorKind::Build, || gaps::refused(model))?;
    if let Some(refusal) = refused_nodes.into_iter().next() {
        return Err(refusal.reason);
    }
    let proto = guarded(ErrorKind::Build, || prepared(model, signature))?;
    let facts = signature.inputs.iter().map(fact_of).collect::<Result<Vec<_>>>()?;
    match guarded(ErrorKind::Build, || plan(&proto, &facts)) {
        Ok(Ok(plan)) => Ok(plan),
        Ok(Err(cause)) if cause.is::<Error>() => Err(of_build(own(cause))),
        Ok(Err(cause)) => Err(refused(&format!("{cause:#}")).with_source(cause)),
        Err(panic) => {
            let error = refused(panic.message()).with_source(panic);
            Err(match culprit(&proto, &facts) {
                Some(node) => error.in_operation(node),
                None => error,
            })
        }
    }
    .map_err(|e| e.in_operation("build"))
}

fn refused(reason: &str) -> Error {
    // tract tells a node that it does not know whole, with its weights.
    let short: String = reason.chars().take(1000).collect();
    Error::new(ErrorKind::Build, format!("{} refuses the model: {short}", super::NAME))
}

/// The type and the sizes of an input: numbers where they are fixed, and else the symbols.
struct Fact {
    datum_type: DatumType,
    dims: Vec<Dim>,
}

fn fact_of(spec: &TensorSpec) -> Result<Fact> {
    let datum_type = tensors::datum_type(spec.dtype).map_err(|e| e.on_tensor(&spec.name))?;
    Ok(Fact { datum_type, dims: spec.shape.dims().to_vec() })
}

fn plan(proto: &ModelProto, facts: &[Fact]) -> TractResult<Compiled> {
    let bytes = proto.encode_to_vec();
    let mut model = checked::framework().model_for_read(&mut &bytes[..])?;
    drop(bytes);
    for (i, fact) in facts.iter().enumerate() {
        let dims = fact.dims.iter().map(|dim| match dim {
            Dim::Fixed(size) => size.to_dim(),
            Dim::Symbol(symbol) if symbol.min() == symbol.max() => symbol.min().to_dim(),
            Dim::Symbol(symbol) => TDim::from(model.symbols.sym(symbol.name())),
        });
        let dims: Vec<TDim> = dims.collect();
        model.set_input_fact(i, InferenceFact::dt_shape(fact.datum_type, dims))?;
    }
    progress::go_on()?;
    let mut typed = model.into_typed()?;
    // Before tract takes products apart.
    let mut conditions = fits::Conditions::default();
    conditions.of(&typed)?;
    kept::keep_expanded(&mut typed)?;
    progress::go_on()?;
    let decluttered = typed.into_decluttered()?;
    progress::go_on()?;
    conditions.of(&decluttered)?;
    let mut optimized = decluttered.into_optimized()?;
    progress::go_on()?;
    let names = names(proto);
    for node in &mut optimized.nodes {
        node.name = rewrite::origin(&node.name, &names).to_owned();
    }
    for fit in &mut conditions.all {
        fit.node = rewrite::origin(&fit.node, &names).to_owned();
    }
    let (branches, searched) = (Branches::of(&optimized), nan::searched(&optimized)?);
    let plan = optimized.into_runnable()?;
    Ok(Compiled { plan, fits: conditions.all, branches, searched })
}

/// The names of the nodes of a model, and of those that were written for them.
fn names(proto: &ModelProto) -> HashSet<&str> {
    proto.graph.iter().flat_map(|graph| &graph.node).map(NodeProto::name).collect()
}

/// The same error as one of the build: what follows from constants is computed there.
fn of_build(error: Error) -> Error {
    if error.kind() != ErrorKind::Execution {
        return error;
    }
    let same = Error::new(ErrorKind::Build, error.message());
    match error.operation() {
        Some(operation) => same.in_operation(operation),
        None => same,
    }
}

/// The graph as tract reads it best: what tract gets wrong in other operators, a name of its own for each node, the inputs alone that are no weights, and
/// nothing said of sizes, which tract finds by itself and believes before it looks.
fn prepared(model: &OnnxModel, signature: &Signature) -> ModelProto {
    let mut proto = model.for_consumer().unwrap_or_else(|| model.proto().clone());
    let graph = proto.graph.iter().find(|graph| rewrite::needs_sizes(graph, &View::default()));
    let sizes = graph.map(|_| model.known_shapes()).unwrap_or_default();
    if let Some(graph) = &mut proto.graph {
        let known: HashSet<&str> = signature.inputs.iter().map(|spec| &*spec.name).collect();
        graph.input.retain(|input| known.contains(input.name()));
        rename(graph);
        rewrite::widen(graph, &View::default());
        let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset = proto.opset_import.iter().find(|import| standard(import.domain()));
        rewrite::rewrite(graph, opset.map_or(0, |import| import.version()), &View::of(&sizes));
        rewrite::count_outputs(graph, &View::default());
        rename(graph);
        checked::insert(graph, &View::default(), &HashSet::new());
        graph.value_info.clear();
    }
    proto
}

fn rename(graph: &mut GraphProto) {
    let mut taken = HashSet::new();
    for (i, node) in graph.node.iter_mut().enumerate() {
        let name = match node.name() {
            "" => format!("{}_{i}", node.op_type()),
            name => name.to_owned(),
        };
        let name = if taken.contains(&name) { format!("{name}#{i}") } else { name };
        taken.insert(name.clone());
        node.name = Some(name);
    }
}

/// The node at which tract panics: the last one of the shortest beginning of the graph that it panics on.
fn culprit(proto: &ModelProto, facts: &[Fact]) -> Option<String> {
    let graph = proto.graph.as_ref()?;
    if graph.node.len() > SEARCHED_NODES {
        return None;
    }
    let panics = |count: usize| {
        let mut part = proto.clone();
        if let Some(graph) = &mut part.graph {
            graph.node.truncate(count);
            let made = graph.node.last().into_iter().flat_map(|node| &node.output);
            let named =
                |name: &String| ValueInfoProto { name: Some(name.clone()), ..Default::default() };
            graph.output = made.filter(|name| !name.is_empty()).map(named).collect();
        }
        guarded(ErrorKind::Build, || plan(&part, facts).map(drop)).is_err()
    };
    let (mut fine, mut wrong) = (0, graph.node.len());
    if !panics(wrong) {
        return None;
    }
    while wrong - fine > 1 {
        let middle = fine + (wrong - fine) / 2;
        if panics(middle) { wrong = middle } else { fine = middle }
    }
    let node = graph.node.get(wrong - 1)?;
    let name = rewrite::origin(node.name(), &names(proto));
    // What was written for a node is of another operator.
    Some(if name == node.name() {
        format!("{} `{name}`", node.op_type())
    } else {
        format!("node `{name}`")
    })
}

/// An error of this crate that went through tract: that of a time limit.
fn own(cause: TractError) -> Error {
    let text = cause.to_string();
    cause.downcast().unwrap_or_else(|_| Error::new(ErrorKind::Execution, text))
}

/// An error of tract's while it runs.
pub(super) fn run_error(cause: TractError) -> Error {
    if cause.is::<Error>() {
        return own(cause);
    }
    let short: String = format!("{cause:#}").chars().take(1000).collect();
    Error::new(ErrorKind::Execution, short).with_source(cause)
}
