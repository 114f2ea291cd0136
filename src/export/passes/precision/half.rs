//! A graph in half precision: each node is written in the narrow type or in 32 bits, with casts where one reads the
//! other. What decides is in `operators` (by operator), `islands` (by what values are) and the options (by name and by
//! measured range). Inputs and outputs keep their types, also those of branches and loops.

use std::collections::{HashMap, HashSet};

use super::islands::{self, Need};
use super::known::{Frame, Known};
use super::narrow::{self, Fit};
use super::operators::{self, Kind};
use super::report::Layer;
use super::{Choice, attention, types};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Graph;
use crate::export::onnx::{self, Attribute, GraphProto, NodeProto, tensor_proto::DataType};
use crate::spec::{DType, Dim, Shape};
use crate::tensor::HostTensor;

/// A mean over more elements than these is computed in 32 bits.
const LONG_MEAN: usize = 1024;

/// How far the mean may be from 0, in standard deviations, where a normalization takes it away, for each bit of the
/// narrow type's mantissa: values 1000 apart from 0 with differences of 1 lose a tenth of these.
const FAR_F16: f32 = 64.0;
const FAR_BF16: f32 = 8.0;

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

struct Writer<'g> {
    graph: &'g mut Graph,
    low: DType,
    place: Where,
    choice: &'g Choice<'g>,
    /// The graph, and the branches and loops that are being written, outermost first.
    frames: Vec<Frame>,
    layers: Vec<Layer>,
    fits: HashMap<String, Fit>,
    origins: HashMap<String, String>,
}

/// What a list of nodes needs, by their places.
struct Plan {
    marks: HashMap<usize, &'static str>,
    wanted: Vec<bool>,
    normalized: HashSet<String>,
    attention: HashSet<usize>,
}

/// The type of a node, and what its values need then.
struct Decision {
    low: bool,
    reason: Option<String>,
    need: Option<Need>,
}

impl Decision {
    fn low() -> Self {
        Self { low: true, reason: None, need: None }
    }

    fn single(reason: impl Into<String>, need: Option<Need>) -> Self {
        Self { low: false, reason: Some(reason.into()), need }
    }
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

    fn plan(&self, nodes: &[NodeProto]) -> Plan {
        let mut marks = islands::before(nodes);
        for at in attention::changed(nodes) {
            marks.insert(at, "TensorRT fails to build a product with a softmax that was changed");
        }
        let mut wanted = vec![false; nodes.len()];
        let mut wants: HashSet<&str> = HashSet::new();
        let mut normalized = HashSet::new();
        for (at, node) in nodes.iter().enumerate().rev() {
            let kind = operators::kind(node);
            wanted[at] = match kind {
                _ if marks.contains_key(&at) => false,
                Kind::Computes => true,
                Kind::Moves => node.output.iter().any(|name| wants.contains(name.as_str())),
                Kind::Normalizes | Kind::Keeps(_) => false,
            };
            if wanted[at] {
                wants.extend(node.input.iter().map(String::as_str));
            }
            let difference = marks.contains_key(&at) && node.is("Sub");
            if kind == Kind::Normalizes || difference {
                normalized.extend(node.input.first().cloned());
            }
        }
        let mut products = HashSet::new();
        if self.place == Where::Attention {
            for found in attention::all(nodes) {
                let both = [&nodes[found.scores], &nodes[found.weighted]];
                let mut names = both.iter().flat_map(|node| node.input.iter().chain(&node.output));
                if names.all(|name| self.choice.beyond(name, self.low).is_none()) {
                    products.extend([found.scores, found.weighted]);
                }
            }
        }
        Plan { marks, wanted, normalized, attention: products }
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

    fn decide(
        &mut self,
        at: usize,
        node: &NodeProto,
        inputs: &[Option<Known>],
        outputs: &[Option<DType>],
        plan: &Plan,
    ) -> Result<Decision> {
        let operator = node.op_type();
        let floats: Vec<(usize, &Known)> = inputs
            .iter()
            .enumerate()
            .filter_map(|(i, known)| Some((i, known.as_ref()?)))
            .filter(|(i, known)| known.is_single() && !operators::keeps_input(node, *i))
            .collect();
        let needs: Vec<Option<Need>> = floats.iter().map(|(_, known)| known.need).collect();
        let others = floats.iter().filter(|(_, known)| known.need.is_none());
        let scaled = others.clone().all(|(_, known)| known.constant);
        let mut need = islands::after(node, &needs, scaled);

        let mut beyond = None;
        let mut tiny = None;
        let folded = self.folded_norm(node, inputs)?.is_some();
        for (i, known) in floats.iter().filter(|(_, known)| known.constant) {
            if folded || operator == "Clip" && *i > 0 {
                continue;
            }
            let name = &node.input[*i];
            match self.fit(known)? {
                Fit::Fits => {}
                Fit::Beyond => beyond = Some(name),
                Fit::Tiny => tiny = Some((*i, name)),
            }
        }
        if beyond.is_some() && !operators::bounds(operator) {
            need = need.or(Some(Need::Range));
        }
        let fragile = matches!(operator, "Add" | "Sub" | "Max" | "Div" | "Mul" | "Pow" | "Min");
        let tiny = tiny.filter(|_| fragile);
        if let Some((i, _)) = tiny {
            need = need.or(match (operator, i) {
                ("Add" | "Sub" | "Max", _) => Some(Need::Divisor),
                ("Div", 1) => Some(Need::Range),
                _ => None,
            });
        }
        need = need.or(self.source(node, inputs));
        let mark = plan.marks.get(&at).copied();
        if mark.is_some_and(|mark| mark.contains("squared") && mark.contains("it is squared")) {
            need = Some(Need::Range);
        }
        let measured = node.output.iter().find_map(|name| self.choice.beyond(name, self.low));
        if measured.is_some() {
            need = Some(Need::Range);
        }

        if self.place == Where::Attention {
            let wanted = plan.attention.contains(&at) && !self.choice.keeps(node);
            let wide = |need: &Option<Need>| matches!(need, Some(Need::Range | Need::Stated));
            return Ok(match wanted && beyond.is_none() && !needs.iter().any(wide) {
                true => Decision::low(),
                false => Decision::single("it is no product of attention", need),
            });
        }
        if self.choice.keeps(node) {
            return Ok(Decision::single("it is excluded", need));
        }
        let kind = operators::kind(node);
        if let Kind::Keeps(reason) = kind {
            return Ok(Decision::single(reason, need));
        }
        if self.low == DType::BF16 && operator == "ConvTranspose" {
            return Ok(Decision::single("TensorRT has no transposed convolution in bf16", need));
        }
        if let Some(mark) = mark {
            return Ok(Decision::single(mark, need));
        }
        if let Some((i, known)) = floats.iter().find(|(_, known)| known.need.is_some()) {
            let text = known.need.map_or("", Need::text);
            return Ok(Decision::single(format!("`{}` {text}", node.input[*i]), need));
        }
        if let Some(name) = beyond {
            let text = format!("the constant `{name}` is beyond the range of {}", self.low);
            return Ok(Decision::single(text, need));
        }
        if let Some((_, name)) = tiny {
            let text = format!("the constant `{name}` vanishes in {}", self.low);
            return Ok(Decision::single(text, need));
        }
        let read = floats.iter().find_map(|(i, _)| self.choice.beyond(&node.input[*i], self.low));
        if let Some(text) = measured.or(read) {
            return Ok(Decision::single(text, need));
        }
        if operator == "ReduceMean" && self.is_long(node) {
            return Ok(Decision::single("a mean of many values is a large sum first", need));
        }
        let near = node.output.iter().filter(|name| plan.normalized.contains(*name));
        let far = if self.low == DType::F16 { FAR_F16 } else { FAR_BF16 };
        if let Some(text) = near.into_iter().find_map(|name| self.choice.far(name, far)) {
            return Ok(Decision::single(text, need));
        }
        let low = Some(self.low);
        let computed = floats.iter().filter(|(_, known)| !known.constant);
        let narrowed = computed.clone().any(|(_, known)| known.form(low).is_some());
        Ok(match kind {
            Kind::Normalizes => {
                let statistics = node.output.iter().skip(1).any(|name| !name.is_empty());
                match narrowed && !statistics {
                    true => Decision::low(),
                    false => Decision::single("what it reads is of 32 bits", need),
                }
            }
            Kind::Moves => {
                let nothing = !outputs.iter().any(|dtype| *dtype == Some(DType::F32));
                match narrowed || plan.wanted[at] && !nothing {
                    true => Decision::low(),
                    false => Decision::single("nothing computes with it in fewer bits", need),
                }
            }
            _ => Decision::low(),
        })
    }

    /// What a node's values need that are its own.
    fn source(&self, node: &NodeProto, inputs: &[Option<Known>]) -> Option<Need> {
        let from = inputs.first().and_then(Option::as_ref).and_then(|known| known.dtype);
        match node.op_type() {
            "ReduceSum" | "ReduceL1" | "ReduceProd" | "ReduceSumSquare" | "CumSum" | "CumProd" => {
                Some(Need::Range)
            }
            "ReduceL2" => Some(Need::Divisor),
            "Exp" => {
                let bounded = inputs.first().and_then(Option::as_ref);
                let name = bounded.and_then(|known| known.forms.first()).map(|(_, name)| name);
                let shifted = name.is_some_and(|name| self.is_below_its_maximum(name));
                (!shifted).then_some(Need::Range)
            }
            "Range" | "Floor" | "Ceil" | "Round" => Some(Need::Count),
            "Cast" => match from {
                Some(DType::F16 | DType::BF16 | DType::F64) => Some(Need::Stated),
                Some(DType::Bool | DType::I8 | DType::U8) => None,
                Some(dtype) if dtype.is_int() => Some(Need::Count),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a value is `x - max(x)`.
    fn is_below_its_maximum(&self, name: &str) -> bool {
        let nodes = || self.frames.iter().flat_map(|frame| &frame.nodes);
        let maker =
            |name: &str| nodes().find(|node| node.output.iter().any(|output| output == name));
        let Some(node) = maker(name).filter(|node| node.is("Sub")) else { return false };
        maker(&node.input[1])
            .is_some_and(|maximum| maximum.is("ReduceMax") && maximum.input[0] == node.input[0])
    }

    fn is_long(&self, node: &NodeProto) -> bool {
        let count = |name: &String| {
            let shape = self.graph.spec(name)?.shape;
            Some(shape.dims().iter().map(|dim: &Dim| dim.opt()).product::<usize>())
        };
        let counts = node.input.first().and_then(count).zip(node.output.first().and_then(count));
        counts.is_none_or(|(read, given)| read / given.max(1) >= LONG_MEAN)
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

    /// A batch normalization by constants is a factor and a term, which fit where a variance may not.
    fn fold_norm(&mut self, node: &mut NodeProto, inputs: &[Option<Known>]) -> Result<()> {
        let Some(folded) = self.folded_norm(node, inputs)? else { return Ok(()) };
        for (i, tensor) in folded.into_iter().enumerate() {
            let hint = format!("{}.{}", node.input[i + 1], ["factor", "term", "zero", "one"][i]);
            node.input[i + 1] = self.graph.add_constant(&hint, tensor);
        }
        node.attribute.retain(|attribute| attribute.name() != "epsilon");
        node.attribute.push(Attribute::Float(0.0).to_proto("epsilon"));
        Ok(())
    }

    /// Factor, term, mean and variance of such a normalization, where they fit.
    fn folded_norm(
        &self,
        node: &NodeProto,
        inputs: &[Option<Known>],
    ) -> Result<Option<[HostTensor; 4]>> {
        if !node.is("BatchNormalization") || node.input.len() != 5 {
            return Ok(None);
        }
        let constant = |(name, known): (&String, &Option<Known>)| {
            known.as_ref().filter(|known| known.constant && known.is_single())?;
            self.constant(name)
        };
        let constants = node.input.iter().zip(inputs).skip(1).map(constant);
        let Some(constants) = constants.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let values = constants.iter().map(HostTensor::to_vec::<f32>).collect::<Result<Vec<_>>>()?;
        let [scale, bias, mean, variance] = &values[..] else { return Ok(None) };
        let epsilon = node.stated("epsilon").map_or(1e-5, |epsilon| epsilon.f());
        let factor = scale.iter().zip(variance).map(|(s, v)| s / (v + epsilon).sqrt());
        let factor: Vec<f32> = factor.collect();
        let term = bias.iter().zip(mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        let count = factor.len();
        let [factor, term, zero, one] = [factor, term, vec![0.0; count], vec![1.0; count]]
            .map(|values| HostTensor::from_vec([count], values));
        let folded = [factor?, term?, zero?, one?];
        let mut fits = true;
        for tensor in &folded {
            fits &= narrow::fit(tensor, self.low)? != Fit::Beyond;
        }
        Ok(fits.then_some(folded))
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

    fn known(&self, name: &str) -> Option<Known> {
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

    fn constant(&self, name: &str) -> Option<HostTensor> {
        let within = self.frames.iter().rev().find_map(|frame| frame.constants.get(name));
        within.or_else(|| self.graph.constant(name)).cloned()
    }

    fn fit(&mut self, known: &Known) -> Result<Fit> {
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

    fn top(&mut self) -> &mut Frame {
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
            range,
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
