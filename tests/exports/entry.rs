//! What a record says of one exported model: hashes of its parts and how many nodes of each operator there are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use accelerant::export::OnnxModel;
use prost::Message as _;

/// One exported model in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Of the graph with its weights, to the byte.
    pub(crate) bytes: String,
    /// Of what is computed from what, whatever its names: operators, attributes, and which value goes where.
    pub(crate) nodes: String,
    /// Of the values of all weights and constants, whatever their names and order.
    pub(crate) weights: String,
    pub(crate) operators: BTreeMap<String, usize>,
}

/// What stands before each line of an entry behind its name.
const INDENT: &str = "  ";

impl Entry {
    pub(crate) fn of(name: String, model: &OnnxModel) -> Self {
        let mut graph = model.proto().graph.clone().expect("a model has a graph");
        let mut operators = BTreeMap::new();
        for node in &graph.node {
            *operators.entry(node.op_type().to_owned()).or_default() += 1;
        }
        // Each weight is read once and stands for itself by its hash from then on.
        let mut contents = Vec::new();
        let mut numbers = HashMap::new();
        let mut nodes = blake3::Hasher::new();
        for tensor in &mut graph.initializer {
            let hash = blake3::hash(tensor.raw_data());
            tensor.raw_data = Some(hash.as_bytes().to_vec().into());
            contents.push(format!("{} {:?} {hash}", tensor.data_type(), tensor.dims));
            let form = format!("{} {:?}", tensor.data_type(), tensor.dims);
            numbers.insert(tensor.name().to_owned(), form);
        }
        contents.sort();
        let bytes = blake3::hash(&graph.encode_to_vec());

        for (i, input) in graph.input.iter().enumerate() {
            numbers.insert(input.name().to_owned(), format!("input {i}"));
        }
        for (i, node) in graph.node.iter().enumerate() {
            nodes.update(format!("{} {}", node.domain(), node.op_type()).as_bytes());
            for attribute in &node.attribute {
                nodes.update(&attribute.encode_to_vec());
            }
            for input in &node.input {
                let number = numbers.get(input).map_or("none", String::as_str);
                nodes.update(format!("({number})").as_bytes());
            }
            for (k, output) in node.output.iter().enumerate() {
                numbers.insert(output.clone(), format!("{i}.{k}"));
            }
        }
        for output in &graph.output {
            nodes.update(format!("out {:?}", numbers.get(output.name())).as_bytes());
        }
        Self {
            name,
            bytes: short(bytes),
            nodes: short(nodes.finalize()),
            weights: short(blake3::hash(contents.join("\n").as_bytes())),
            operators,
        }
    }

    /// The entries of a record.
    pub(crate) fn all_of(record: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for line in record.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some(line) = line.strip_prefix(INDENT) else {
                found.push(Self::named(line));
                continue;
            };
            let entry = found.last_mut().expect("a record begins with a name");
            let (key, value) = line.split_once(' ').expect("a line has a key and a value");
            match key {
                "bytes" => entry.bytes = value.to_owned(),
                "nodes" => entry.nodes = value.to_owned(),
                "weights" => entry.weights = value.to_owned(),
                _ => entry.operators = value.split(", ").filter_map(counted).collect(),
            }
        }
        found
    }

    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            bytes: String::new(),
            nodes: String::new(),
            weights: String::new(),
            operators: BTreeMap::new(),
        }
    }

    /// What has changed since this was recorded, if anything has.
    pub(crate) fn change(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let mut parts = Vec::new();
        let operators = self.operators.keys().chain(now.operators.keys());
        let mut operators: Vec<_> = operators.collect();
        operators.sort();
        operators.dedup();
        for operator in operators {
            let [before, after] =
                [self, now].map(|e| e.operators.get(operator).copied().unwrap_or(0));
            if before != after {
                parts.push(format!("{operator} {before} -> {after}"));
            }
        }
        let told = parts.is_empty();
        if told && self.nodes != now.nodes {
            parts.push("the same operators with other attributes, sizes or inputs".to_owned());
        }
        if self.weights != now.weights {
            parts.push("other values of weights or constants".to_owned());
        }
        if parts.is_empty() {
            parts.push("only names, types or the order of weights".to_owned());
        }
        Some(format!("{}: {}", self.name, parts.join("; ")))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operators: Vec<_> =
            self.operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "{}", self.name)?;
        writeln!(f, "{INDENT}bytes {}", self.bytes)?;
        writeln!(f, "{INDENT}nodes {}", self.nodes)?;
        writeln!(f, "{INDENT}weights {}", self.weights)?;
        writeln!(f, "{INDENT}operators {}", operators.join(", "))
    }
}

fn counted(text: &str) -> Option<(String, usize)> {
    let (name, count) = text.split_once(' ')?;
    Some((name.to_owned(), count.parse().ok()?))
}

fn short(hash: blake3::Hash) -> String {
    hash.to_hex()[..16].to_owned()
}
