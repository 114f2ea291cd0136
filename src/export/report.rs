//! All parts of a model that cannot be exported, or that TensorRT's parser refuses, at once.

use std::collections::HashMap;
use std::fmt;

use super::{NodeRefusal, OnnxModel};
use crate::error::{Error, ErrorKind};

/// An operation that cannot be exported, or that the parser refuses in its exported form.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The operation, by the name that Burn's graph representation or Candle's trace has. `Input` stands for an input of the
    /// model, which the reason names. `Model` stands for a refusal of a parser that is about no operation.
    pub operation: String,
    /// Of a Burn model, the path of the module that the operation came from; empty for the outermost module. An operation
    /// that reads a parameter belongs to the parameter's module. Any other operation belongs to the innermost module that
    /// holds both the last parameter read before and the first parameter read after.
    ///
    /// Of a Candle model, the scope in which the operation was traced; empty outside of all scopes.
    pub module: String,
    /// The position among the operations of the forward pass, from 0.
    pub position: usize,
    /// The reason.
    pub reason: Error,
}

impl Refusal {
    /// An input that is refused.
    pub(super) fn of_input(reason: Error) -> Self {
        Self { operation: INPUT.to_owned(), module: String::new(), position: 0, reason }
    }

    /// What is refused of an operation, or of the model as a whole.
    pub(super) fn of(owner: Option<Owner>, reason: Error) -> Self {
        match owner {
            Some(Owner { operation, module, position }) => {
                Self { operation, module, position, reason }
            }
            None => {
                Self { operation: MODEL.to_owned(), module: String::new(), position: 0, reason }
            }
        }
    }

    fn is_operation(&self) -> bool {
        ![INPUT, MODEL].contains(&self.operation.as_str())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operation)?;
        if !self.is_operation() {
            return write!(f, ": {}", self.reason);
        }
        if !self.module.is_empty() {
            write!(f, " of {}", self.module)?;
        }
        write!(f, " (operation {}): {}", self.position, self.reason)
    }
}

/// An operation: its position, its name and the module it came from.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) operation: String,
    pub(super) module: String,
    pub(super) position: usize,
}

/// The result of `check_trt` of a Burn or Candle model. The text has a line for each kind of refusal:
///
/// ```text
/// 2 of 57 operations cannot be exported:
///   CumSum: this numeric operation has no ONNX form yet: 2 times, in layers.0.mix (operation 12),
///     layers.1.mix (operation 40)
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The number of operations of the forward pass.
    pub operations: usize,
    /// The operations that cannot be exported, in order. If all can be exported, the refusals of the parser: several
    /// nodes may belong to one operation.
    pub refusals: Vec<Refusal>,
    /// Whether TensorRT's parser read the model.
    pub parser: ParserCheck,
}

/// Whether a parser read the exported model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParserCheck {
    /// No parser read the model, for this reason.
    NotAsked(String),
    /// The parser of this library read the model.
    Asked(String),
}

/// What stands for the operation where an input is refused.
const INPUT: &str = "Input";

/// What stands for the operation where a parser refuses something else.
const MODEL: &str = "Model";

/// So many places are named for each kind of refusal.
const NAMED: usize = 4;

impl Report {
    pub(super) fn new(operations: usize, refusals: Vec<Refusal>) -> Self {
        let reason = match refusals.is_empty() {
            true => "the export alone was checked",
            false => "there is no whole model",
        };
        Self { operations, refusals, parser: ParserCheck::NotAsked(reason.into()) }
    }

    /// The same with what a parser makes of the whole model, whose nodes have these owners by the first value that they
    /// give.
    pub(super) fn parsed(
        mut self,
        model: &OnnxModel,
        owners: &HashMap<String, Owner>,
        (parser, refusals): (ParserCheck, Vec<NodeRefusal>),
    ) -> Self {
        let nodes = model.proto().graph.as_ref().map_or(&[][..], |graph| &graph.node);
        let refusal = |refusal: NodeRefusal| {
            let node = refusal.node.and_then(|node| nodes.get(node));
            let owner = node.and_then(|node| owners.get(node.output.first()?));
            Refusal::of(owner.cloned(), refusal.reason)
        };
        self.refusals = refusals.into_iter().map(refusal).collect();
        self.refusals.sort_by_key(|refusal| refusal.position);
        self.parser = parser;
        self
    }

    /// Whether everything can be exported, and the parser, if one was asked, refuses nothing.
    pub fn is_exportable(&self) -> bool {
        self.refusals.is_empty()
    }

    /// One refusal is passed on as it is; several become one error that lists them all.
    pub(super) fn into_error(mut self) -> Option<Error> {
        if self.refusals.len() < 2 {
            let Refusal { operation, module, reason, .. } = self.refusals.pop()?;
            let place = match module.is_empty() {
                true => operation,
                false => format!("{operation} of {module}"),
            };
            return Some(reason.in_operation(place));
        }
        let mixed = self.refusals.iter().any(|r| r.reason.kind() != self.refusals[0].reason.kind());
        let kind = match mixed {
            true => ErrorKind::UnsupportedOperation,
            false => self.refusals[0].reason.kind(),
        };
        Some(Error::new(kind, self.to_string()).in_operation("export"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.refusals.iter().filter(|refusal| refusal.operation == INPUT).count();
        let mut places: Vec<_> =
            self.refusals.iter().filter(|refusal| refusal.is_operation()).collect();
        places.dedup_by_key(|refusal| refusal.position);
        let (count, all) = (places.len(), self.operations);
        match (&self.parser, self.is_exportable()) {
            (ParserCheck::Asked(library), true) => {
                return write!(f, "all {all} operations can be exported; {library} reads them");
            }
            (ParserCheck::NotAsked(reason), true) => {
                let text = "can be exported; TensorRT's parser was not asked:";
                return write!(f, "all {all} operations {text} {reason}");
            }
            (ParserCheck::Asked(library), false) => {
                write!(f, "{count} of {all} operations are refused by {library}:")?;
            }
            (ParserCheck::NotAsked(_), false) => {
                write!(f, "{count} of {all} operations")?;
                match inputs {
                    0 => {}
                    1 => f.write_str(" and an input")?,
                    inputs => write!(f, " and {inputs} inputs")?,
                }
                f.write_str(" cannot be exported:")?;
            }
        }
        let mut groups: Vec<(&str, String, Vec<&Refusal>)> = Vec::new();
        for refusal in &self.refusals {
            let reason = refusal.reason.to_string();
            let same = |(name, text, _): &&mut (&str, String, Vec<_>)| {
                *name == refusal.operation && *text == reason
            };
            match groups.iter_mut().find(same) {
                Some((.., group)) => group.push(refusal),
                None => groups.push((&refusal.operation, reason, vec![refusal])),
            }
        }
        for (operation, reason, group) in groups {
            if !group[0].is_operation() {
                write!(f, "\n  {operation}: {reason}")?;
                continue;
            }
            let place = |refusal: &&Refusal| match refusal.module.as_str() {
                "" => format!("operation {}", refusal.position),
                module => format!("{module} (operation {})", refusal.position),
            };
            let places: Vec<_> = group.iter().take(NAMED).map(place).collect();
            let times =
                if group.len() > 1 { format!("{} times, ", group.len()) } else { String::new() };
            let more = match group.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            write!(f, "\n  {operation}: {reason}: {times}in {}{more}", places.join(", "))?;
        }
        Ok(())
    }
}
