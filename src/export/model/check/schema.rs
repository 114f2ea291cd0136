//! Operators as ONNX defines them: how many inputs and outputs, of which types, with which attributes,
//! by version of the operator set. The table `schemas.txt` is written by `schemas.py`.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};
use crate::export::model::infer::Fact;
use crate::export::model::tensors::type_name;
use crate::export::model::walk::{bodies, short};
use crate::export::onnx::NodeProto;

/// Types of one kind: floats, integers, truth values, texts, complex numbers. Consumers take more floats
/// than ONNX defines for an operator, bfloat16 among them, but never another kind, and no other integers.
const KINDS: [u64; 5] = [0x199f_0c02, 0x0660_30fc, 1 << 9, 1 << 8, 0xc000];

/// Among them, the integers.
const INTEGERS: u64 = KINDS[1];

static TABLE: &str = include_str!("schemas.txt");

/// In a mask of types: what is not a tensor.
const OTHER: u64 = 1 << 32;

/// All types of the kind of this one; an integer alone.
fn kin(bit: u64) -> u64 {
    KINDS.into_iter().find(|kind| kind & bit & !INTEGERS != 0).unwrap_or(bit)
}

/// An operator at one version.
#[derive(Debug)]
pub(in crate::export::model) struct Schema {
    since: i64,
    inputs: (usize, usize),
    outputs: (usize, usize),
    input_types: Vec<Parameter>,
    output_types: Vec<Parameter>,
    attributes: Vec<Attribute>,
    variables: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
struct Parameter {
    kind: ParameterTypes,
    repeated: bool,
    /// Repeated, each of a type of its own.
    mixed: bool,
}

#[derive(Debug)]
enum ParameterTypes {
    Variable(usize),
    Mask(u64),
}

#[derive(Debug)]
struct Attribute {
    name: &'static str,
    kind: i32,
    required: bool,
}

struct Table {
    newest: i64,
    operators: HashMap<&'static str, Vec<Schema>>,
}

fn table() -> &'static Table {
    static PARSED: OnceLock<Table> = OnceLock::new();
    PARSED.get_or_init(|| {
        let mut operators: HashMap<_, Vec<Schema>> = HashMap::new();
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        for (name, schema) in lines.filter_map(parse) {
            operators.entry(name).or_default().push(schema);
        }
        let newest = TABLE.lines().find_map(|line| line.strip_prefix("# newest ")?.parse().ok());
        Table { newest: newest.unwrap_or(0), operators }
    })
}

fn parse(line: &'static str) -> Option<(&'static str, Schema)> {
    let mut parts = line.split('|').map(str::trim);
    let mut head = parts.next()?.split(' ');
    let name = head.next()?;
    let since = head.next()?.parse().ok()?;
    let mut span = || {
        let (least, most) = head.next()?.split_once('-')?;
        let most = if most == "*" { usize::MAX } else { most.parse().ok()? };
        Some((least.parse().ok()?, most))
    };
    let (inputs, outputs) = (span()?, span()?);
    let [input_types, output_types, attributes, variables] =
        [(); 4].map(|()| parts.next().unwrap_or_default());
    let variables: Vec<(&str, u64)> = variables
        .split_whitespace()
        .filter_map(|word| word.split_once(':'))
        .filter_map(|(name, mask)| Some((name, u64::from_str_radix(mask, 16).ok()?)))
        .collect();
    let parameters = |words: &'static str| {
        let parameter = |word: &'static str| {
            let name = word.trim_start_matches(['?', '*', '~']);
            let kind = match name.strip_prefix('=') {
                Some(mask) => ParameterTypes::Mask(u64::from_str_radix(mask, 16).ok()?),
                None => ParameterTypes::Variable(
                    variables.iter().position(|(known, _)| *known == name)?,
                ),
            };
            let (repeated, mixed) = (word.starts_with(['*', '~']), word.starts_with('~'));
            Some(Parameter { kind, repeated, mixed })
        };
        words.split_whitespace().map(parameter).collect::<Option<Vec<_>>>()
    };
    let attribute = |word: &'static str| {
        let (name, kind) = word.split_once(':')?;
        let required = kind.ends_with('!');
        Some(Attribute { name, kind: kind.trim_end_matches('!').parse().ok()?, required })
    };
    let schema = Schema {
        since,
        inputs,
        outputs,
        input_types: parameters(input_types)?,
        output_types: parameters(output_types)?,
        attributes: attributes.split_whitespace().map(attribute).collect::<Option<_>>()?,
        variables,
    };
    Some((name, schema))
}

/// The schema of an operator in a version of the operator set; `None` for an operator that ONNX does
/// not define there, of which consumers know some, and for a version newer than the table.
pub(in crate::export::model) fn find(operator: &str, opset: i64) -> Option<&'static Schema> {
    let table = table();
    if opset > table.newest {
        return None;
    }
    let versions = table.operators.get(operator)?;
    versions.iter().rev().find(|schema| schema.since <= opset)
}

/// Whether all operators of nodes are the same in two versions of the operator set.
pub(in crate::export::model) fn same_between(nodes: &[NodeProto], a: i64, b: i64) -> bool {
    let since = |name: &str, opset: i64| find(name, opset).map(|schema| schema.since);
    nodes.iter().all(|node| {
        let foreign = !matches!(node.domain(), "" | "ai.onnx");
        let same = since(node.op_type(), a) == since(node.op_type(), b);
        (foreign || same) && bodies(node).all(|body| same_between(&body.node, a, b))
    })
}

impl Schema {
    /// Checks a node against its operator, and finds the types of its outputs: 0 where they are not
    /// known, `None` for what is not a tensor.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`], with the tensor where there is one.
    pub(in crate::export::model) fn check(
        &self,
        node: &NodeProto,
        inputs: &[Option<&Fact>],
    ) -> Result<Vec<Option<i32>>> {
        let invalid = |text: String| Error::new(ErrorKind::InvalidModel, text);
        let count = |what: &str, found: usize, (least, most): (usize, usize)| {
            if found >= least && found <= most {
                return Ok(());
            }
            let range = match most {
                usize::MAX => format!("{least} or more"),
                most if most == least => format!("{least}"),
                most => format!("{least} to {most}"),
            };
            Err(invalid(format!("the operator has {range} {what}, and the node {found}")))
        };
        // Empty names at the end are as good as none.
        let written = |names: &[String]| {
            names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1)
        };
        count(
            "inputs",
            written(&node.input).max(self.inputs.0.min(node.input.len())),
            self.inputs,
        )?;
        count(
            "outputs",
            written(&node.output).max(self.outputs.0.min(node.output.len())),
            self.outputs,
        )?;
        self.check_attributes(node)?;

        let mut found: Vec<i32> = vec![0; self.variables.len()];
        for (i, fact) in inputs.iter().enumerate() {
            let Some(parameter) = self.parameter(&self.input_types, i) else { break };
            let name = || short(&node.input[i]);
            if node.input[i].is_empty() && parameter.repeated && !parameter.mixed {
                return Err(invalid(format!(
                    "input {i} is left out, and the operator takes all of a list"
                )));
            }
            let Some(fact) = fact else {
                continue;
            };
            let bit = match (fact.other, fact.dtype) {
                (true, _) => OTHER,
                (_, 1..=31) => 1 << fact.dtype,
                _ => continue,
            };
            let allowed = match parameter.kind {
                ParameterTypes::Mask(mask) => mask,
                ParameterTypes::Variable(variable) => self.variables[variable].1,
            };
            let kind = || if fact.other { "no tensor".into() } else { type_name(fact.dtype) };
            if allowed & kin(bit) == 0 {
                let text = format!("input {i} is {}, which the operator does not take", kind());
                return Err(invalid(text).on_tensor(name()));
            }
            let ParameterTypes::Variable(variable) = parameter.kind else { continue };
            if fact.other || parameter.mixed {
                continue;
            }
            match found[variable] {
                0 => found[variable] = fact.dtype,
                first if first == fact.dtype => {}
                first => {
                    let text = format!(
                        "input {i} is {}, and another of the node {}; both must be of one type",
                        kind(),
                        type_name(first)
                    );
                    return Err(invalid(text).on_tensor(name()));
                }
            }
        }
        let output = |i: usize| {
            let parameter = self.parameter(&self.output_types, i);
            let only = |mask: u64| match mask {
                OTHER => None,
                mask if mask.is_power_of_two() => Some(mask.trailing_zeros() as i32),
                _ => Some(0),
            };
            match parameter.map(|parameter| &parameter.kind) {
                None => Some(0),
                Some(ParameterTypes::Mask(mask)) => only(*mask),
                Some(ParameterTypes::Variable(_)) if parameter.is_some_and(|p| p.mixed) => Some(0),
                Some(&ParameterTypes::Variable(variable)) => match found[variable] {
                    0 => only(self.variables[variable].1),
                    dtype => Some(dtype),
                },
            }
        };
        Ok((0..node.output.len()).map(output).collect())
    }

    fn parameter<'p>(&self, parameters: &'p [Parameter], i: usize) -> Option<&'p Parameter> {
        parameters.get(i).or_else(|| parameters.last().filter(|last| last.repeated))
    }

    fn check_attributes(&self, node: &NodeProto) -> Result<()> {
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidModel, text));
        for known in self.attributes.iter().filter(|known| known.required) {
            if !node.attribute.iter().any(|a| a.name() == known.name) {
                return invalid(format!("the attribute `{}` is missing", known.name));
            }
        }
        for attribute in &node.attribute {
            let Some(known) = self.attributes.iter().find(|a| a.name == attribute.name()) else {
                continue;
            };
            if !attribute.ref_attr_name().is_empty() {
                return invalid(format!(
                    "the attribute `{}` refers to one of a function, and the node is in none",
                    known.name
                ));
            }
            // Files of the first version do not state types.
            let stated = attribute.r#type.unwrap_or(0);
            if stated != 0 && stated != known.kind {
                return invalid(format!(
                    "the attribute `{}` is of type {stated}, not {}",
                    known.name, known.kind
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            assert!(parse(line).is_some(), "{line}");
        }
        assert!(table().newest >= 26);
        let since = |name, opset| find(name, opset).map(|schema| schema.since);
        assert_eq!(since("TopK", 9), Some(1));
        assert_eq!(since("TopK", 18), Some(11));
        assert_eq!(since("Attention", 22), None);
        assert_eq!(since("Relax", 22), None);
        let top = find("TopK", 18).unwrap();
        assert_eq!((top.inputs, top.outputs), ((2, 2), (2, 2)));
        let all: u64 = KINDS.into_iter().sum();
        assert_eq!(all, (1 << 29) - 2, "each type is of one kind");
    }
}
