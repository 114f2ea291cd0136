//! Every name is made once, and before it is read; bodies give as many values as their node.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::export::model::walk::{bodies, label, short};
use crate::export::onnx::{GraphProto, NodeProto};

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidModel, text)
}

/// Checks the names of a whole model.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] with node and tensor.
pub(in crate::export::model) fn names(graph: &GraphProto) -> Result<()> {
    of_graph(graph, &Scope { outer: None, known: HashSet::new() })
}

/// The names that nodes may read: those of a graph, then those around it.
struct Scope<'g> {
    outer: Option<&'g Scope<'g>>,
    known: HashSet<&'g str>,
}

impl Scope<'_> {
    fn knows(&self, name: &str) -> bool {
        self.known.contains(name) || self.outer.is_some_and(|outer| outer.knows(name))
    }
}

fn of_graph<'g>(graph: &'g GraphProto, outer: &'g Scope<'g>) -> Result<()> {
    let mut scope = Scope { outer: Some(outer), known: HashSet::new() };
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    let weights: HashSet<&str> =
        graph.initializer.iter().chain(sparse).map(|tensor| tensor.name()).collect();
    for input in &graph.input {
        if input.name().is_empty() {
            return Err(invalid("an input has no name"));
        }
        if !scope.known.insert(input.name()) {
            return Err(invalid("two inputs have this name").on_tensor(short(input.name())));
        }
    }
    scope.known.extend(weights);
    for (i, node) in graph.node.iter().enumerate() {
        if node.op_type().is_empty() {
            return Err(invalid(format!("node {i} has no operator")).on_tensor(node.name()));
        }
        let fail = |text: &str, name: &str| {
            Err(invalid(text).in_operation(label(node)).on_tensor(short(name)))
        };
        if let Some(name) = node.input.iter().find(|name| !name.is_empty() && !scope.knows(name)) {
            return fail("the node reads it, and no node makes it", name);
        }
        if node.output.iter().all(String::is_empty) {
            return Err(invalid("the node has no outputs").in_operation(label(node)));
        }
        check_bodies(node).map_err(|e| e.in_operation(label(node)))?;
        for body in bodies(node) {
            of_graph(body, &scope).map_err(|e| e.in_operation(label(node)))?;
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !scope.known.insert(name) {
                return fail("the node makes it a second time", name);
            }
        }
    }
    match graph.output.iter().find(|output| !scope.knows(output.name())) {
        Some(output) => {
            Err(invalid("it is an output, and no node makes it").on_tensor(short(output.name())))
        }
        None => Ok(()),
    }
}

/// Branches and loops take and give what their node says.
fn check_bodies(node: &NodeProto) -> Result<()> {
    if !matches!(node.domain(), "" | "ai.onnx") {
        return Ok(());
    }
    let body =
        |name: &str| node.attribute.iter().find(|a| a.name() == name).and_then(|a| a.g.as_ref());
    let expect = |graph: Option<&GraphProto>, name: &str, inputs: Option<usize>, outputs: usize| {
        let Some(graph) = graph else {
            return Err(invalid(format!("the attribute `{name}` is missing, or no graph")));
        };
        let (taken, given) = (graph.input.len(), graph.output.len());
        if inputs.is_some_and(|inputs| inputs != taken) || outputs != given {
            let text = format!(
                "`{name}` takes {taken} values and gives {given}; the node needs {} and {outputs}",
                inputs.unwrap_or(taken)
            );
            return Err(invalid(text));
        }
        Ok(())
    };
    let (inputs, outputs) = (node.input.len(), node.output.len());
    match node.op_type() {
        "If" => {
            expect(body("then_branch"), "then_branch", Some(0), outputs)?;
            expect(body("else_branch"), "else_branch", Some(0), outputs)
        }
        "Loop" => expect(body("body"), "body", Some(inputs.max(2)), outputs + 1),
        "Scan" => {
            let scanned = node.attribute.iter().find(|a| a.name() == "num_scan_inputs");
            let scanned = scanned.map_or(0, |a| a.i());
            if scanned < 1 || scanned as usize > inputs {
                let text = format!("`num_scan_inputs` is {scanned}, of {inputs} inputs");
                return Err(invalid(text));
            }
            // Before operator set 9 an input of lengths came first.
            let taken = body("body").map(|body| body.input.len());
            let expected = taken.filter(|&taken| taken + 1 == inputs).unwrap_or(inputs);
            expect(body("body"), "body", Some(expected), outputs)
        }
        _ => Ok(()),
    }
}
