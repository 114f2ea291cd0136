//! Outputs that no node makes, or that come twice, get an `Identity`: consumers lose them, or read
//! memory that is not theirs.

use std::collections::{HashMap, HashSet};

use super::names::{self, Names};
use crate::export::model::walk;
use crate::export::onnx::GraphProto;

/// Gives each output a node of its own. The name of an output that is a weight stays, since weights
/// are not seen from outside.
pub(in crate::export::model) fn give_names(graph: &mut GraphProto) {
    let inputs: HashSet<String> = graph.input.iter().map(|input| input.name().to_owned()).collect();
    let weights: HashSet<String> = weight_names(graph).map(|name| name.clone()).collect();
    let mut taken = None;
    let mut seen = HashSet::new();
    let mut hidden = HashMap::new();
    for i in 0..graph.output.len() {
        let name = graph.output[i].name().to_owned();
        let again = !seen.insert(name.clone());
        let is_weight = weights.contains(&name);
        if !(again || is_weight || inputs.contains(&name)) {
            continue;
        }
        let taken = taken.get_or_insert_with(|| Names::of(graph));
        if is_weight && !again {
            hidden.insert(name.clone(), taken.unique(&format!("{name}_weight")));
        } else {
            let new = taken.unique(&format!("{name}_output"));
            graph.node.push(names::identity(&name, &new));
            graph.output[i].name = Some(new);
        }
    }
    if !hidden.is_empty() {
        names::rename_reads(&mut graph.node, &hidden);
        for weight in weight_names(graph) {
            if let Some(new) = hidden.get(weight) {
                weight.clone_from(new);
            }
        }
        graph.value_info.retain(|value| !hidden.contains_key(value.name()));
        let outputs = graph.output.iter().filter_map(|output| {
            hidden.get(output.name()).map(|weight| names::identity(weight, output.name()))
        });
        let outputs: Vec<_> = outputs.collect();
        drop(graph.node.splice(0..0, outputs));
    }
    for node in &mut graph.node {
        walk::bodies_mut(node).for_each(outputs_of_body);
    }
}

fn weight_names(graph: &mut GraphProto) -> impl Iterator<Item = &mut String> {
    let sparse = graph.sparse_initializer.iter_mut().filter_map(|sparse| sparse.values.as_mut());
    graph.initializer.iter_mut().chain(sparse).filter_map(|tensor| tensor.name.as_mut())
}

/// What a body gives is known by its place alone, so that every such output may have a new name.
fn outputs_of_body(body: &mut GraphProto) {
    let computed: HashSet<String> =
        body.node.iter().flat_map(|node| &node.output).cloned().collect();
    let mut taken = None;
    let mut seen = HashSet::new();
    for i in 0..body.output.len() {
        let name = body.output[i].name().to_owned();
        if seen.insert(name.clone()) && computed.contains(&name) {
            continue;
        }
        let taken = taken.get_or_insert_with(|| Names::of(body));
        let new = taken.unique(&format!("{name}_output"));
        body.node.push(names::identity(&name, &new));
        body.output[i].name = Some(new);
    }
    for node in &mut body.node {
        walk::bodies_mut(node).for_each(outputs_of_body);
    }
}
