//! Everything that tract ignores or computes wrongly, by name. A model is refused here, before tract sees the model, since
//! tract itself would say nothing. Each refusal names the node and says what to use instead.

mod resize;
mod rules;
mod table;
pub(super) mod view;

use crate::error::{Error, ErrorKind};
use crate::export::onnx::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType};
use crate::export::{NodeRefusal, OnnxModel};
use view::{Shapes, View};

/// All that tract would get wrong of a model, in the order of its nodes.
pub(super) fn refused(model: &OnnxModel) -> Vec<NodeRefusal> {
    let proto = model.proto();
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = proto.opset_import.iter().find(|import| standard(import.domain()));
    let opset = opset.map_or(0, |import| import.version());
    if !(table::OLDEST..=table::NEWEST).contains(&opset) {
        let (oldest, newest) = (table::OLDEST, table::NEWEST);
        let text = format!(
            "the model is of operator set {opset}, and tract was tried with {oldest} to {newest}; use ONNX Runtime"
        );
        let reason = Error::new(ErrorKind::Build, text).in_operation("build");
        return vec![NodeRefusal::new(None, reason)];
    }
    let Some(graph) = &proto.graph else { return Vec::new() };
    let by_sizes = |node: &NodeProto| {
        const BY_SIZES: [&str; 8] = [
            "BatchNormalization",
            "LayerNormalization",
            "MatMul",
            "MaxPool",
            "Mod",
            "RMSNormalization",
            "Resize",
            "Slice",
        ];
        BY_SIZES.contains(&node.op_type()) || node.op_type().starts_with("Reduce")
    };
    let shapes =
        if graph.node.iter().any(by_sizes) { model.known_shapes() } else { Shapes::default() };
    let ends_the_process = model.refused_by_tract();
    let mut found = in_graph(graph, opset, &View::of(&shapes));
    found.extend(ends_the_process);
    found.sort_by_key(|refusal| refusal.node);
    found
}

fn in_graph(graph: &GraphProto, opset: i64, outer: &View<'_>) -> Vec<NodeRefusal> {
    let view = outer.with(graph);
    let mut found = Vec::new();
    for (i, node) in graph.node.iter().enumerate() {
        if let Some(reason) = reason(node, opset, &view) {
            let error = Error::new(ErrorKind::Build, format!("{reason}; use ONNX Runtime"));
            found.push(NodeRefusal::new(Some(i), error.in_operation(label(i, node))));
            continue;
        }
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            let inside = in_graph(body, opset, &view).into_iter().map(|refusal| {
                let error = Error::new(ErrorKind::Build, refusal.reason.message());
                let inner = refusal.reason.operation().unwrap_or_default();
                NodeRefusal::new(
                    Some(i),
                    error.in_operation(format!("{}: {inner}", label(i, node))),
                )
            });
            found.extend(inside);
        }
    }
    found
}

/// A node for people.
fn label(index: usize, node: &NodeProto) -> String {
    match node.name() {
        "" => format!("node {index}, {}", node.op_type()),
        name => format!("node {index}, {} `{name}`", node.op_type()),
    }
}

fn reason(node: &NodeProto, opset: i64, view: &View<'_>) -> Option<String> {
    let name = node.op_type();
    if !matches!(node.domain(), "" | "ai.onnx") {
        let domain = node.domain();
        return Some(format!(
            "tract would take `{name}` of domain `{domain}` for another operator"
        ));
    }
    let knows =
        |operators: &&table::Operators| operators.names.split(' ').any(|known| known == name);
    let Some(operators) = table::OPERATORS.iter().find(knows) else {
        return Some("tract does not have this operator".to_owned());
    };
    let (first, last) = operators.opsets;
    if !(first..=last).contains(&opset) {
        return Some(format!("tract computes this operator wrongly in operator set {opset}"));
    }
    let ignored = node.attribute.iter().find(|attribute| !is_read(attribute, operators.attributes));
    if let Some(attribute) = ignored {
        return Some(format!("tract ignores the attribute {}", told(attribute)));
    }
    rules::reason(node, opset, view)
}

/// Whether tract does what the attribute says.
fn is_read(attribute: &AttributeProto, read: &str) -> bool {
    let mut entries =
        read.split_whitespace().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let Some((_, values)) = entries.find(|(name, _)| *name == attribute.name()) else {
        return false;
    };
    let allowed = |text: &str| values.split('|').any(|value| value == text);
    values.is_empty()
        || match attribute.r#type() {
            AttributeType::Int => allowed(&attribute.i().to_string()),
            AttributeType::Float => allowed(&attribute.f().to_string()),
            AttributeType::String => std::str::from_utf8(attribute.s()).is_ok_and(allowed),
            AttributeType::Strings => {
                attribute.strings.iter().all(|text| std::str::from_utf8(text).is_ok_and(allowed))
            }
            _ => false,
        }
}

fn told(attribute: &AttributeProto) -> String {
    let name = attribute.name();
    match attribute.r#type() {
        AttributeType::Int => format!("{name} = {}", attribute.i()),
        AttributeType::Float => format!("{name} = {}", attribute.f()),
        AttributeType::String => format!("{name} = {}", String::from_utf8_lossy(attribute.s())),
        _ => format!("`{name}`"),
    }
}
