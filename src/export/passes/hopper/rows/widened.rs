//! The nodes with more rows, with the operators of the builder.

use std::collections::{HashMap, HashSet};

use super::{ALIGNED, Region};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Value};
use crate::export::onnx::NodeProto;
use crate::export::passes::rewrite::Rewriter;
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// The same graph with more rows in a region.
pub(super) fn written(
    graph: &Graph,
    region: &Region,
    rows: usize,
    target: Target,
) -> Result<Graph> {
    let mut writer = Writer {
        new: Rewriter::new(graph, target),
        graph,
        rows,
        more: HashMap::new(),
        cut: HashSet::new(),
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        writer.node(node, region.get(&i))?;
    }
    for output in &graph.outputs {
        writer.without(&output.name)?;
    }
    Ok(writer.new.finish())
}

struct Writer<'a> {
    new: Rewriter,
    graph: &'a Graph,
    rows: usize,
    /// Values with more rows, by the name of what has not got them.
    more: HashMap<String, Value>,
    /// Those that the graph has without as well, which others read.
    cut: HashSet<String>,
}

impl Writer<'_> {
    /// `with` are the inputs that have the rows, if the node goes on with more of them.
    fn node(&mut self, node: &NodeProto, with: Option<&Vec<usize>>) -> Result<()> {
        let mut new = node.clone();
        for (i, name) in node.input.iter().enumerate() {
            if with.is_some_and(|with| with.contains(&i)) {
                new.input[i] = self.with_more(name)?.name().to_owned();
            } else {
                self.without(name)?;
            }
        }
        if with.is_some() {
            for (name, output) in node.output.iter().zip(&mut new.output) {
                let value = self.given(name);
                *output = value.name().to_owned();
                if node.op_type() == "Reshape" {
                    let sizes = value.dims().iter().map(|dim| dim.max() as i64).collect();
                    let sizes = HostTensor::from_vec([value.rank()], sizes)?;
                    new.input[1] = self.new.graph.constant("shape", sizes).name().to_owned();
                }
            }
        }
        self.new.keep(&new);
        Ok(())
    }

    /// What a node that goes on with more rows gives.
    fn given(&mut self, name: &str) -> Value {
        let mut spec = self.graph.spec(name).expect("the search found its shape");
        let mut dims = spec.shape.dims().to_vec();
        let rows = dims.len() - 2;
        dims[rows] = Dim::Fixed(self.rows.next_multiple_of(ALIGNED));
        spec.shape = dims.into();
        spec.name = self.new.graph.unique(&format!("{name}.rows")).to_string();
        self.new.graph.with_graph(|graph| {
            graph.set_spec(&spec.name, spec.dtype, spec.shape.clone());
        });
        let value = self.new.of(&spec);
        self.more.insert(name.to_owned(), value.clone());
        value
    }

    /// A value with more rows, of zeros where nothing gave them.
    fn with_more(&mut self, name: &str) -> Result<Value> {
        if let Some(value) = self.more.get(name) {
            return Ok(value.clone());
        }
        let value = self.new.known(name);
        let mut padding = vec![(0, 0); value.rank()];
        padding[value.rank() - 2].1 = self.rows.next_multiple_of(ALIGNED) - self.rows;
        let scope = self.new.graph.scope(format!("{name}.rows"));
        let value = value.pad(&padding)?;
        drop(scope);
        // What had no more rows is there without them.
        self.cut.insert(name.to_owned());
        self.more.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// Sees that a value is there as it was.
    fn without(&mut self, name: &str) -> Result<()> {
        if let Some(value) = self.more.get(name).cloned()
            && self.cut.insert(name.to_owned())
        {
            let scope = self.new.graph.scope(format!("{name}.rows"));
            let value = value.slice(-2, 0, Some(self.rows as i64))?;
            drop(scope);
            self.new.named(&value, name);
        }
        Ok(())
    }
}
