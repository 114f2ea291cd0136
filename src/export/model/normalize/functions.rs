//! Calls of a model's own functions become the nodes of the function, so that checks and readers see nodes of known operators
//! alone. Calls that would make the model too large, and functions that call themselves, are refused.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::names;
use crate::error::{Error, ErrorKind, Result};
use crate::export::model::{check, walk};
use crate::export::onnx::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
};

/// The most nodes that calls may become, for each node of the file.
const MOST_FOR_EACH: u64 = 64;
/// And in any case allowed.
const ALLOWED: u64 = 100_000;

type Key = (String, String, String);

fn key_of(node: &NodeProto) -> Key {
    (domain(node.domain()), node.op_type().to_owned(), node.overload().to_owned())
}

fn domain(name: &str) -> String {
    if name == "ai.onnx" { String::new() } else { name.to_owned() }
}

/// Replaces the calls of functions, wherever they stand.
///
/// A function of an operator set in which an operator of it differs from the model's stays a function.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] for functions that call themselves, or become too many nodes.
pub(in crate::export::model) fn inline(model: &mut ModelProto) -> Result<()> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let functions = std::mem::take(&mut model.functions);
    let mut library = Library { functions: BTreeMap::new(), calls: 0, limit: 0 };
    let mut nodes = count(model.graph.iter().flat_map(|graph| &graph.node));
    for function in functions {
        nodes = nodes.saturating_add(count(&function.node));
        let key =
            (domain(function.domain()), function.name().to_owned(), function.overload().to_owned());
        library.functions.insert(key, function);
    }
    library.limit = nodes.saturating_mul(MOST_FOR_EACH).max(ALLOWED);
    let graph = model.graph.get_or_insert_default();
    library.check_sizes(graph)?;
    let imports = imports(&model.opset_import);
    let as_they_are: Vec<Key> = library
        .functions
        .iter()
        .filter(|(_, function)| !reads_the_same(function, &imports))
        .map(|(key, _)| key.clone())
        .collect();
    let mut kept: Vec<FunctionProto> = Vec::new();
    if !as_they_are.is_empty() {
        // What stays a function needs all that it calls.
        kept = library.functions.values().cloned().collect();
        as_they_are.iter().for_each(|key| drop(library.functions.remove(key)));
    }
    for function in library.functions.values() {
        for import in &function.opset_import {
            let known =
                |known: &OperatorSetIdProto| domain(known.domain()) == domain(import.domain());
            if !model.opset_import.iter().any(known) {
                model.opset_import.push(import.clone());
            }
        }
    }
    let graph = model.graph.get_or_insert_default();
    library.expand_graph(graph)?;
    model.functions = kept;
    Ok(())
}

fn imports(list: &[OperatorSetIdProto]) -> HashMap<String, i64> {
    list.iter().map(|import| (domain(import.domain()), import.version())).collect()
}

/// Whether the operators of a function mean the same in the operator sets of the model.
fn reads_the_same(function: &FunctionProto, model: &HashMap<String, i64>) -> bool {
    imports(&function.opset_import).iter().all(|(name, &version)| match model.get(name) {
        None => true,
        Some(&there) if there == version => true,
        Some(&there) if name.is_empty() => {
            check::schema::same_between(&function.node, version, there)
        }
        Some(_) => false,
    })
}

fn count<'n>(nodes: impl IntoIterator<Item = &'n NodeProto>) -> u64 {
    nodes
        .into_iter()
        .map(|node| 1 + walk::bodies(node).map(|body| count(&body.node)).sum::<u64>())
        .sum()
}

struct Library {
    functions: BTreeMap<Key, FunctionProto>,
    /// Calls replaced so far: each gets names of its own.
    calls: u64,
    limit: u64,
}

impl Library {
    /// Counts the nodes that all calls become, without making any.
    fn check_sizes(&self, graph: &GraphProto) -> Result<()> {
        let mut sizes: HashMap<&Key, Option<u64>> = HashMap::new();
        let total = self.size_of(&graph.node, &mut sizes)?;
        if total > self.limit {
            let text = format!(
                "calls of functions become {total} nodes, more than {} for a file of this size",
                self.limit
            );
            return Err(Error::new(ErrorKind::InvalidModel, text));
        }
        Ok(())
    }

    fn size_of<'l>(
        &'l self,
        nodes: &[NodeProto],
        sizes: &mut HashMap<&'l Key, Option<u64>>,
    ) -> Result<u64> {
        let mut total = 0u64;
        for node in nodes {
            for body in walk::bodies(node) {
                total = total.saturating_add(self.size_of(&body.node, sizes)?);
            }
            let Some((key, function)) = self.functions.get_key_value(&key_of(node)) else {
                total = total.saturating_add(1);
                continue;
            };
            let size = match sizes.get(key) {
                Some(Some(size)) => *size,
                Some(None) => {
                    let text = format!("function `{}` calls itself", walk::short(function.name()));
                    return Err(
                        Error::new(ErrorKind::InvalidModel, text).in_operation(walk::label(node))
                    );
                }
                None => {
                    if sizes.values().filter(|size| size.is_none()).count() >= 100 {
                        let text = "functions call each other more than 100 deep";
                        return Err(Error::new(ErrorKind::InvalidModel, text)
                            .in_operation(walk::label(node)));
                    }
                    sizes.insert(key, None);
                    // Its outputs may each need an `Identity`.
                    let own = function.output.len() as u64;
                    let size = self.size_of(&function.node, sizes)?.saturating_add(own);
                    sizes.insert(key, Some(size));
                    size
                }
            };
            total = total.saturating_add(size);
        }
        Ok(total)
    }

    fn expand_graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.expand(nodes)?;
        Ok(())
    }

    fn expand(&mut self, nodes: Vec<NodeProto>) -> Result<Vec<NodeProto>> {
        let mut expanded = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for body in walk::bodies_mut(&mut node) {
                self.expand_graph(body)?;
            }
            match self.functions.get(&key_of(&node)) {
                None => expanded.push(node),
                Some(function) => {
                    self.calls += 1;
                    let inner = called(function, &node, self.calls)
                        .map_err(|e| e.in_operation(walk::label(&node)))?;
                    expanded.extend(self.expand(inner)?);
                }
            }
        }
        Ok(expanded)
    }
}

/// The nodes of a function for one call, under names that no other call has.
fn called(function: &FunctionProto, call: &NodeProto, number: u64) -> Result<Vec<NodeProto>> {
    if call.input.len() > function.input.len() || call.output.len() > function.output.len() {
        let text = format!(
            "the call has {} inputs and {} outputs, function `{}` has {} and {}",
            call.input.len(),
            call.output.len(),
            walk::short(function.name()),
            function.input.len(),
            function.output.len()
        );
        return Err(Error::new(ErrorKind::InvalidModel, text));
    }
    let mut values: HashMap<String, String> = HashMap::new();
    for (i, name) in function.input.iter().enumerate() {
        values.insert(name.clone(), call.input.get(i).cloned().unwrap_or_default());
    }
    let prefix = format!("{}.{number}/", walk::short(function.name()));
    let computed: HashSet<&str> =
        function.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    let mut repeated = Vec::new();
    for (name, given) in function.output.iter().zip(&call.output) {
        if given.is_empty() {
            continue;
        }
        match computed.contains(name.as_str()) && !values.contains_key(name) {
            true => drop(values.insert(name.clone(), given.clone())),
            // An input, or an output for the second time.
            false => repeated.push((name, given)),
        }
    }
    let mut attributes: HashMap<&str, &AttributeProto> =
        function.attribute_proto.iter().map(|a| (a.name(), a)).collect();
    attributes.extend(call.attribute.iter().map(|a| (a.name(), a)));
    let mut nodes = function.node.clone();
    rename(&mut nodes, &mut values, &prefix, &attributes);
    for (name, given) in repeated {
        let from = values.get(name).cloned().unwrap_or_else(|| name.clone());
        nodes.push(names::identity(&from, given));
    }
    Ok(nodes)
}

/// Gives the values that nodes make names of this call, and the attributes that refer to the call's
/// their values.
fn rename(
    nodes: &mut [NodeProto],
    values: &mut HashMap<String, String>,
    prefix: &str,
    attributes: &HashMap<&str, &AttributeProto>,
) {
    for node in nodes {
        if !node.name().is_empty() {
            node.name = Some(format!("{prefix}{}", node.name()));
        }
        node.attribute.retain_mut(|attribute| {
            if attribute.ref_attr_name().is_empty() {
                return true;
            }
            let Some(given) = attributes.get(attribute.ref_attr_name()) else { return false };
            *attribute = AttributeProto { name: attribute.name.clone(), ..(*given).clone() };
            true
        });
        let new = |values: &mut HashMap<String, String>, name: &mut String| {
            if !name.is_empty() {
                let fresh = || format!("{prefix}{name}");
                *name = values.entry(name.clone()).or_insert_with(fresh).clone();
            }
        };
        node.input.iter_mut().for_each(|name| new(values, name));
        for body in walk::bodies_mut(node) {
            rename_body(body, values, prefix, attributes);
        }
        node.output.iter_mut().for_each(|name| new(values, name));
    }
}

/// Names of a body are its own: the same ones in two branches are two values.
fn rename_body(
    body: &mut GraphProto,
    outer: &HashMap<String, String>,
    prefix: &str,
    attributes: &HashMap<&str, &AttributeProto>,
) {
    let mut values = outer.clone();
    for name in names::made(body) {
        values.insert(name.to_owned(), format!("{prefix}{name}"));
    }
    rename(&mut body.node, &mut values, prefix, attributes);
    let renamed = |name: &mut Option<String>| {
        if let Some(new) = name.as_ref().and_then(|name| values.get(name)) {
            *name = Some(new.clone());
        }
    };
    body.initializer.iter_mut().for_each(|tensor| renamed(&mut tensor.name));
    let sparse = body.sparse_initializer.iter_mut().filter_map(|sparse| sparse.values.as_mut());
    sparse.for_each(|tensor| renamed(&mut tensor.name));
    body.input.iter_mut().chain(&mut body.output).for_each(|value| renamed(&mut value.name));
    body.value_info.clear();
}
