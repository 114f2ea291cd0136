//! The nodes with more rows, with the operators of the builder.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{ALIGNED, Search};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::rewrite::Rewriter;
use crate::export::graph::{State, Value};
use crate::export::onnx::NodeProto;
use crate::spec::Dim;
use crate::tensor::HostTensor;

impl State {
    /// The same graph with more rows around the layers that were written for that.
    pub(in crate::export::graph) fn with_more_rows(&self, target: Target) -> Result<Self> {
        let mut state = self.clone();
        let counts: BTreeSet<usize> = self.few_rows.iter().map(|(_, rows)| *rows).collect();
        for rows in counts {
            let layers = self.few_rows.iter().filter(|(_, of)| *of == rows);
            let region = Search::of(&state, rows).region(layers.map(|(y, _)| &**y));
            let mut writer = Writer {
                new: Rewriter::new(&state, target),
                state: &state,
                rows,
                more: HashMap::new(),
                cut: HashSet::new(),
            };
            for (i, node) in state.nodes.iter().enumerate() {
                writer.node(node, region.get(&i))?;
            }
            state = writer.new.finish();
        }
        Ok(state)
    }
}

struct Writer<'a> {
    new: Rewriter,
    state: &'a State,
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
        let mut spec = self.state.spec(name).expect("the search found its shape");
        let mut dims = spec.shape.dims().to_vec();
        let rows = dims.len() - 2;
        dims[rows] = Dim::Fixed(self.rows.next_multiple_of(ALIGNED));
        spec.shape = dims.into();
        {
            let mut state = self.new.graph.lock();
            let unique = state.unique(&format!("{name}.rows"));
            state.computed.insert(unique.clone(), (spec.dtype, spec.shape.clone()));
            spec.name = (*unique).to_owned();
        }
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
        self.new.graph.enter(format!("{name}.rows"));
        let value = value.pad(&padding)?;
        self.new.graph.leave();
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
            self.new.graph.enter(format!("{name}.rows"));
            let value = value.slice(-2, 0, Some(self.rows as i64))?;
            self.new.graph.leave();
            self.new.named(&value, name);
        }
        Ok(())
    }
}
