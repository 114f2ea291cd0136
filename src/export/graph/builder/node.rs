//! A node that is described before it is added.

use super::{GraphBuilder, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::infer;
use crate::export::onnx::Attribute;
use crate::spec::{DType, Shape};

/// A node being described, for an operator of ONNX. [`build`](Self::build) checks and adds the node.
///
/// ```
/// use accelerant::{DType, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("elu");
/// let x = graph.input("x", DType::F32, [2, 3])?;
/// let y = graph.node("Elu").input(&x).attr("alpha", 0.5f32).build()?;
/// graph.output("y", &y)?;
/// assert_eq!(graph.finish()?.signature().outputs[0].to_string(), "y: f32 [2, 3]");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the node is added by `build`"]
pub struct Node<'g> {
    pub(super) graph: &'g GraphBuilder,
    pub(super) op_type: &'static str,
    pub(super) name: Option<String>,
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    pub(super) outputs: Option<Vec<(DType, Shape)>>,
}

impl Node<'_> {
    /// Names the node in the model and in errors.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds an input.
    pub fn input(mut self, value: &Value) -> Self {
        self.inputs.push(Some(value.clone()));
        self
    }

    /// Adds an optional input, left empty when `None`.
    pub fn input_opt(mut self, value: Option<&Value>) -> Self {
        self.inputs.push(value.cloned());
        self
    }

    /// Sets an attribute.
    pub fn attr(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// States types and shapes of the outputs, for operators without a shape rule here, or with output sizes that depend on
    /// computed values.
    pub fn outputs(mut self, outputs: impl IntoIterator<Item = (DType, Shape)>) -> Self {
        self.outputs = Some(outputs.into_iter().collect());
        self
    }

    /// Adds the node and returns its first output.
    ///
    /// # Errors
    /// As [`build_all`](Self::build_all).
    pub fn build(self) -> Result<Value> {
        let op_type = self.op_type;
        let mut outputs = self.build_all()?;
        if outputs.is_empty() {
            return Err(Error::new(ErrorKind::InvalidModel, "the node has no outputs")
                .in_operation(op_type));
        }
        Ok(outputs.swap_remove(0))
    }

    /// Adds the node and returns its outputs.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`], [`ErrorKind::DTypeMismatch`] or [`ErrorKind::InvalidArgument`]
    /// with the node's name; [`ErrorKind::UnsupportedOperation`] when the operator has no shape rule and
    /// [`outputs`](Self::outputs) was not called.
    pub fn build_all(mut self) -> Result<Vec<Value>> {
        while let Some(None) = self.inputs.last() {
            self.inputs.pop();
        }
        let label = match &self.name {
            Some(name) => format!("{} `{name}`", self.op_type),
            None => self.op_type.to_owned(),
        };
        for value in self.inputs.iter().flatten() {
            value.expect_in(self.graph, &label)?;
        }
        let outputs = match self.outputs {
            Some(outputs) => outputs,
            None => {
                let view = infer::View {
                    op: self.op_type,
                    inputs: &self.inputs,
                    attributes: &self.attributes,
                };
                infer::infer(&view).map_err(|e| e.in_operation(&*label))?
            }
        };
        let mut state = self.graph.lock();
        let hint = self.name.clone().unwrap_or_else(|| self.op_type.to_owned());
        let names: Vec<_> = outputs.iter().map(|_| state.unique(&hint)).collect();
        let inputs: Vec<_> = self.inputs.iter().map(Option::as_ref).collect();
        state.push_node(self.op_type, self.name, &inputs, &self.attributes, &names);
        for (name, (dtype, shape)) in names.iter().zip(&outputs) {
            state.graph.set_spec(name, *dtype, shape.clone());
        }
        drop(state);
        let outputs = names.into_iter().zip(outputs);
        Ok(outputs.map(|(name, (dtype, shape))| self.graph.value(name, dtype, shape)).collect())
    }
}
