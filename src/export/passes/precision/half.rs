//! A graph in half precision: each node is written in the narrow type or in 32 bits, with casts where one reads the
//! other. What decides is in `decide`. Inputs and outputs keep their types, also those of branches and loops.

use std::collections::{HashMap, HashSet};

use super::decide::{Decision, Plan};
use super::known::{Frame, Known};
use super::narrow::{self, Fit};
use super::operators;
use super::report::Layer;
use super::{Choice, quantize, types};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Graph;
use crate::export::onnx::{self, Attribute, GraphProto, NodeProto, tensor_proto::DataType};
use crate::spec::{DType, Shape};
use crate::tensor::HostTensor;

/// Where the narrow type is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Everywhere,
    /// In the products of attention alone.
    Attention,
}

/// What was written.
pub(super) struct Written {
    /// What became of each layer.
    pub(super) layers: Vec<Layer>,
    /// The names that the model has for values that have others now.
    pub(super) origins: HashMap<String, String>,
}

/// Writes a graph in half precision.
pub(super) fn write(
    graph: &mut Graph,
    low: DType,
    place: Where,
    choice: &Choice<'_>,
) -> Result<Written> {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut frame = Frame::default();
    for input in &graph.inputs {
        frame.values.insert(input.name.clone(), Known::of(&input.name, Some(input.dtype)));
    }
    let gives: HashSet<String> = graph.outputs.iter().map(|output| output.name.clone()).collect();
    let mut writer = Writer {
        graph,
        low,
        place,
        choice,
        frames: vec![frame],
        layers: Vec::new(),
        fits: HashMap::new(),
        origins: HashMap::new(),
    };
    writer.list(nodes, &gives)?;
    let frame = writer.frames.pop().expect("the graph's own");
    let (layers, origins) = (writer.layers, writer.origins);
    graph.nodes = frame.nodes;
    Ok(Written { layers, origins })
}

pub(super) struct Writer<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) low: DType,
    pub(super) place: Where,
    pub(super) choice: &'g Choice<'g>,
    /// The graph, and the branches and loops that are being written, outermost first.
    pub(super) frames: Vec<Frame>,
    pub(super) layers: Vec<Layer>,
    pub(super) fits: HashMap<String, Fit>,
    pub(super) origins: HashMap<String, String>,
}

impl Writer<'_> {
    /// Writes nodes, of which a graph gives some values.
    fn list(&mut self, nodes: Vec<NodeProto>, gives: &HashSet<String>) -> Result<()> {
        let plan = self.plan(&nodes);
        for (at, node) in nodes.into_iter().enumerate() {
            let name = label(&node).to_owned();
            self.node(at, node, gives, &plan).map_err(|e| e.in_operation(name))?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        at: usize,
        mut node: NodeProto,
        gives: &HashSet<String>,
        plan: &Plan,
    ) -> Result<()> {
        let mut given = None;
        for attribute in &mut node.attribute {
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                given = Some(self.body(body)?);
            }
        }
        let inputs: Vec<Option<Known>> = node.input.iter().map(|name| self.known(name)).collect();
        let dtypes: Vec<_> =
            inputs.iter().map(|known| known.as_ref().and_then(|k| k.dtype)).collect();
        let mut outputs = types::of_outputs(&node, &dtypes);
        if let Some(given) = given {
            // A loop keeps what says whether it goes on.
            let own = given.into_iter().skip(usize::from(node.is("Loop")));
            outputs.iter_mut().zip(own).for_each(|(output, dtype)| *output = dtype);
        }
        for (dtype, name) in outputs.iter_mut().zip(&node.output) {
            let outermost = self.frames.len() == 1;
            let stated = outermost.then(|| self.graph.spec(name)).flatten();
            *dtype = stated.map(|spec| spec.dtype).or(*dtype);
        }
        let single = |dtype: &Option<DType>| *dtype == Some(DType::F32);
        if !dtypes.iter().chain(&outputs).any(single) {
            for (name, dtype) in node.output.iter().zip(&outputs) {
                self.learn(name, Known::of(name, *dtype));
            }
            let low = outputs.first() == Some(&Some(self.low)) && !self.choice.keeps(&node);
            // A layer that the model has in half precision may have fewer bits still.
            if low && self.choice.options.precision().is_quantized() && quantize::is_layer(&node) {
                self.report(&node, &Decision::low());
            }
            self.top().nodes.push(node);
            return Ok(());
        }
        if node.is("Cast") && self.leave_out(&node, &inputs, outputs[0], gives) {
            return Ok(());
        }
        let decision = self.decide(at, &node, &inputs, &outputs, plan)?;
        self.report(&node, &decision);
        self.write(node, &inputs, &outputs, &decision, gives)
    }

    /// A cast to a type that the value has already is none.
    fn leave_out(
        &mut self,
        node: &NodeProto,
        inputs: &[Option<Known>],
        to: Option<DType>,
        gives: &HashSet<String>,
    ) -> bool {
        let Some(known) = inputs.first().and_then(Option::as_ref) else { return false };
        let Some(same) = known.form(to).filter(|_| !gives.contains(&node.output[0])) else {
            return false;
        };
        // What the model narrows itself may go on as it is; what it widens is wanted so.
        if to == Some(DType::F32) && !known.is_single() {
            return false;
        }
        let forms = vec![(to, same.to_owned())];
        let known = Known { dtype: to, forms, need: None, constant: false };
        self.learn(&node.output[0], known);
        true
    }

    fn write(
        &mut self,
        mut node: NodeProto,
        inputs: &[Option<Known>],
        outputs: &[Option<DType>],
        decision: &Decision,
        gives: &HashSet<String>,
    ) -> Result<()> {
        if decision.low && node.is("BatchNormalization") {
            self.fold_norm(&mut node, inputs)?;
        }
        for i in 0..node.input.len() {
            let name = node.input[i].clone();
            let Some(known) = self.known(&name) else { continue };
            let wanted = match known.is_single() {
                // A comparison of sizes takes whatever there is.
                true if matches!(node.op_type(), "Shape" | "Size") => known.forms[0].0,
                true if node.is("Cast") => known.forms[0].0,
                true if decision.low && !operators::keeps_input(&node, i) => Some(self.low),
                true => Some(DType::F32),
                false => known.forms[0].0,
            };
            node.input[i] = self.form(&name, wanted)?;
        }
        let mut casts = Vec::new();
        for (i, dtype) in outputs.iter().enumerate() {
            let name = node.output[i].clone();
            if name.is_empty() {
                continue;
            }
            let narrow = decision.low && *dtype == Some(DType::F32);
            let mut known = Known::of(&name, *dtype);
            known.need = decision.need.filter(|_| *dtype == Some(DType::F32));
            if narrow {
                let own = if gives.contains(&name) {
                    self.graph.fresh(&format!("{name}.{}", self.low))
                } else {
                    name.clone()
                };
                self.state(&own, &name, self.low);
                self.origins.insert(own.clone(), name.clone());
                known.forms = vec![(Some(self.low), own.clone())];
                if own != name {
                    if node.name().is_empty() {
                        node.name = Some(name.clone());
                    }
                    casts.push(cast(&own, &name, DType::F32));
                    known.forms.push((Some(DType::F32), name.clone()));
                }
                node.output[i] = own;
            }
            self.learn(&name, known);
        }
        self.top().nodes.push(node);
        self.top().nodes.extend(casts);
        Ok(())
    }

    /// The name of a value in a type, which is cast or converted for it once.
    fn form(&mut self, name: &str, dtype: Option<DType>) -> Result<String> {
        let known = self.known(name).unwrap_or_else(|| Known::of(name, dtype));
        if let Some(form) = known.form(dtype) {
            return Ok(form.to_owned());
        }
        let Some(to) = dtype else { return Ok(known.forms[0].1.clone()) };
        if let (true, Some(tensor)) = (known.constant, self.constant(name)) {
            let tensor = narrow::narrowed(&tensor, to)?;
            let within = self.frames.iter().rposition(|frame| frame.constants.contains_key(name));
            let hint = format!("{name}.{to}");
            let made = match within {
                None => self.graph.add_constant(&hint, tensor),
                Some(place) => {
                    let made = self.graph.fresh(&hint);
                    self.frames[place].added.push(onnx::tensor_to_proto(&made, &tensor));
                    made
                }
            };
            self.origins.insert(made.clone(), name.to_owned());
            let mut known = known;
            known.forms.push((dtype, made.clone()));
            self.frames[within.unwrap_or(0)].values.insert(name.to_owned(), known);
            return Ok(made);
        }
        let made = self.graph.fresh(&format!("{name}.{to}"));
        self.state(&made, name, to);
        self.origins.insert(made.clone(), name.to_owned());
        let from = known.forms[0].1.clone();
        self.top().nodes.push(cast(&from, &made, to));
        let mut known = known;
        known.forms.push((dtype, made.clone()));
        self.learn(name, known);
        Ok(made)
    }

    /// A branch or the body of a loop, and the types of what it gives.
    fn body(&mut self, body: &mut GraphProto) -> Result<Vec<Option<DType>>> {
        let mut frame = Frame::default();
        for input in &body.input {
            let dtype = onnx_type(input);
            frame.values.insert(input.name().to_owned(), Known::of(input.name(), dtype));
        }
        for tensor in &body.initializer {
            let mut known = Known::of(tensor.name(), onnx::from_onnx(tensor.data_type()).ok());
            if let Some(tensor_value) = onnx::tensor_from_proto(tensor) {
                known.constant = true;
                frame.constants.insert(tensor.name().to_owned(), tensor_value);
            }
            frame.values.insert(tensor.name().to_owned(), known);
        }
        let mut nodes = Vec::new();
        let gives: HashSet<String> =
            body.output.iter().map(|output| output.name().to_owned()).collect();
        for node in std::mem::take(&mut body.node) {
            let value = node.attribute.first().and_then(|value| value.t.as_ref());
            match value.and_then(onnx::tensor_from_proto) {
                Some(tensor) if node.is("Constant") && !gives.contains(&node.output[0]) => {
                    let name = node.output[0].clone();
                    body.initializer.push(onnx::tensor_to_proto(&name, &tensor));
                    let known = Known { constant: true, ..Known::of(&name, Some(tensor.dtype())) };
                    frame.constants.insert(name.clone(), tensor);
                    frame.values.insert(name, known);
                }
                _ => nodes.push(node),
            }
        }
        self.frames.push(frame);
        self.list(nodes, &gives)?;
        let given = body.output.iter().map(|output| {
            onnx_type(output).or_else(|| self.known(output.name()).and_then(|known| known.dtype))
        });
        let given = given.collect();
        let frame = self.frames.pop().expect("it was pushed");
        body.node = frame.nodes;
        body.initializer.extend(frame.added);
        body.value_info.clear();
        Ok(given)
    }

    pub(super) fn known(&self, name: &str) -> Option<Known> {
        if name.is_empty() {
            return None;
        }
        let found = self.frames.iter().rev().find_map(|frame| frame.values.get(name));
        if let Some(known) = found {
            return Some(known.clone());
        }
        let constant = self.graph.constant(name);
        let spec = self.graph.spec(name);
        let known = Known::of(name, spec.map(|spec| spec.dtype));
        Some(Known { constant: constant.is_some(), ..known })
    }

    pub(super) fn constant(&self, name: &str) -> Option<HostTensor> {
        let within = self.frames.iter().rev().find_map(|frame| frame.constants.get(name));
        within.or_else(|| self.graph.constant(name)).cloned()
    }

    pub(super) fn fit(&mut self, known: &Known) -> Result<Fit> {
        let name = &known.forms[0].1;
        if let Some(fit) = self.fits.get(name) {
            return Ok(*fit);
        }
        let Some(tensor) = self.constant(name) else { return Ok(Fit::Fits) };
        let fit = narrow::fit(&tensor, self.low)?;
        self.fits.insert(name.clone(), fit);
        Ok(fit)
    }

    fn learn(&mut self, name: &str, known: Known) {
        self.top().values.insert(name.to_owned(), known);
    }

    pub(super) fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the graph's own")
    }

    /// States the type of a value that has the shape of another, in the graph itself.
    fn state(&mut self, made: &str, like: &str, dtype: DType) {
        if self.frames.len() == 1
            && let Some(spec) = self.graph.spec(like)
        {
            let shape: Shape = spec.shape;
            self.graph.set_spec(made, dtype, shape);
        }
    }

    fn report(&mut self, node: &NodeProto, decision: &Decision) {
        if matches!(node.op_type(), "Constant" | "Cast" | "Shape" | "Size") {
            return;
        }
        let precision = if decision.low { self.low } else { DType::F32 };
        let range = node.output.first().and_then(|name| self.choice.range(name));
        self.layers.push(Layer {
            name: label(node).to_owned(),
            operator: node.op_type().to_owned(),
            precision: precision.to_string(),
            asked: self.choice.asks(node),
            reason: decision.reason.clone(),
            signal_to_noise: None,
            range,
            before: None,
            after: None,
            engine: Vec::new(),
        });
    }
}

/// How a layer is called: by its name, else by what it gives.
pub(super) fn label(node: &NodeProto) -> &str {
    match node.name() {
        "" => node.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str),
        name => name,
    }
}

fn cast(from: &str, to: &str, dtype: DType) -> NodeProto {
    NodeProto {
        name: Some(format!("{to}.cast")),
        op_type: Some("Cast".into()),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![Attribute::Int(onnx::to_onnx(dtype) as DataType as i64).to_proto("to")],
        ..Default::default()
    }
}

fn onnx_type(value: &onnx::ValueInfoProto) -> Option<DType> {
    match value.r#type.as_ref()?.value.as_ref()? {
        onnx::type_proto::Value::TensorType(tensor) => onnx::from_onnx(tensor.elem_type()).ok(),
        _ => None,
    }
}

/// Says that an option cannot be obeyed.
pub(super) fn wrong(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text).in_operation("precision")
}
