//! Recurrent layers. tract runs layers of direction `reverse` forward. It gives the last cell state or the other results, but
//! not both. It cannot make the initial state of a batch of any size.

use std::collections::HashSet;

use super::LONGEST;
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, scalar};
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;
use crate::export::passes::rewrite::{Rewriter, replace};
use crate::spec::{Dim, Shape, TensorSpec};

/// Turns what layers of direction `reverse` read and give, makes initial states, and has the last cell state given by a
/// layer of its own.
pub(in crate::export::passes) struct RecurrentLayers(pub(in crate::export::passes) Target);

impl Pass for RecurrentLayers {
    fn name(&self) -> &'static str {
        "recurrent layers"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let used: HashSet<String> = graph.used().into_iter().map(str::to_owned).collect();
        let found = |graph: &Graph, node: &NodeProto| RecurrentNode::of(graph, node, &used);
        replace(graph, self.0, found, |new, node, layer| layer.write(new, node))
    }
}

/// The first input that is an initial state.
const STATES: usize = 5;

struct RecurrentNode {
    x: TensorSpec,
    reversed: bool,
    /// The shape of the initial states that are missing, and which inputs they are.
    missing: Option<(Shape, std::ops::Range<usize>)>,
    /// Whether the last cell state and another result are read.
    apart: bool,
}

impl RecurrentNode {
    /// The layer that a node is, if tract would not compute it.
    fn of(graph: &Graph, node: &NodeProto, used: &HashSet<String>) -> Option<Self> {
        let states = match node.op_type() {
            "LSTM" => 2,
            "GRU" | "RNN" => 1,
            _ => return None,
        };
        let x = graph.spec(node.input.first()?).filter(|x| x.shape.rank() == 3)?;
        let given = |at: usize| node.input.get(at).is_some_and(|name| !name.is_empty());
        let direction = node.stated("direction").map_or(&b"forward"[..], |direction| direction.s());
        // Lengths would have each row turned by itself.
        let short = x.shape.dims().iter().all(|dim| dim.fixed().is_none_or(|size| size <= LONGEST));
        let reversed = direction == b"reverse" && !given(4) && short;
        let batch = &x.shape.dims()[if node.int("layout", 0) == 0 { 1 } else { 0 }];
        let missing = (STATES..STATES + states).all(|at| !given(at)) && batch.fixed().is_none();
        let missing = match missing {
            true => {
                let hidden = graph.spec(node.input.get(2)?)?.shape.dims().get(2)?.clone();
                let directions = Dim::Fixed(if direction == b"bidirectional" { 2 } else { 1 });
                let shape = match node.int("layout", 0) {
                    0 => [directions, batch.clone(), hidden],
                    _ => [batch.clone(), directions, hidden],
                };
                Some((Shape::from(shape), STATES..STATES + states))
            }
            false => None,
        };
        let read = |at: usize| node.output.get(at).is_some_and(|name| used.contains(name));
        let apart = read(2) && (read(0) || read(1));
        let known = node.is_default() && (reversed || missing.is_some() || apart);
        known.then_some(Self { x, reversed, missing, apart })
    }

    fn write(&self, new: &Rewriter, node: &NodeProto) -> Result<()> {
        let mut node = node.clone();
        let x = new.of(&self.x);
        let time = if node.int("layout", 0) == 0 { 0 } else { 1 };
        if let Some((shape, places)) = &self.missing {
            let zero = new.graph.constant("initial", scalar(x.dtype(), 0.0)?);
            let zeros = zero.expand(shape.dims(), &[&x])?;
            node.input.resize(node.input.len().max(places.end), String::new());
            node.input[places.clone()].fill(zeros.name().to_owned());
        }
        let all = node.output.first().filter(|name| self.reversed && !name.is_empty()).cloned();
        if self.reversed {
            node.input[0] = x.backwards(time)?.name().to_owned();
            node.attribute.retain(|attribute| attribute.name() != "direction");
            node.attribute.push(Attribute::from("forward").to_proto("direction"));
        }
        let turned = all.as_ref().map(|_| new.graph.unique("turned"));
        if let Some(turned) = &turned {
            node.output[0] = turned.to_string();
        }
        if self.apart {
            let mut cell = node.clone();
            cell.name = Some(format!("{}.cell", node.name()));
            cell.output[..2].fill(String::new());
            node.output.truncate(2);
            new.keep(&cell);
        }
        let hidden = new.known(&node.input[2]).dims()[2].clone();
        new.keep(&node);
        if let (Some(all), Some(turned)) = (all, turned) {
            let dims = self.x.shape.dims();
            let one = Dim::Fixed(1);
            let dims = match time {
                0 => [dims[0].clone(), one, dims[1].clone(), hidden],
                _ => [dims[0].clone(), dims[1].clone(), one, hidden],
            };
            let turned = new.graph.value(turned, x.dtype(), Shape::from(dims));
            new.named(&turned.backwards(time)?, &all);
        }
        Ok(())
    }
}
