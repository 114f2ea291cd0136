//! Windows that reach beyond an edge, with `ceil_mode`. TensorRT-RTX 1.6.1 differs from ONNX in two ways.
//! A window that begins on the pads behind the input is no window in ONNX, and is one in TensorRT-RTX.
//! With `count_include_pad` TensorRT-RTX divides by all of a window (seen on an H200), and ONNX by what lies on the input and
//! its pads.

use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::export::graph::{Graph, Value};
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;
use crate::export::passes::rewrite::{Rewriter, replace};
use crate::tensor::HostTensor;

/// The operator set from which on `Pad` takes its pads as an input.
const PADS_AS_INPUT: i64 = 11;

/// Gives the windows that ONNX has, and counts what lies on the input and its pads.
pub(in crate::export::passes) struct EdgesOfWindows(pub(in crate::export::passes) Target);

impl Pass for EdgesOfWindows {
    fn name(&self) -> &'static str {
        "edges of windows"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        for node in &graph.nodes {
            let unknown = || graph.spec(node.input.first().map_or("", String::as_str)).is_none();
            if let Some(windows) = Windows::all(node)
                && windows.iter().any(|w| w.may_be_cut() || counts_pads(node))
                && (unknown() || counts_pads(node) && graph.opset() < PADS_AS_INPUT)
            {
                let text = "TensorRT takes windows beyond an edge wrongly; the operator set must be 11 or newer, and \
                            type and rank of the input must be known";
                let error = Error::new(ErrorKind::UnsupportedOperation, text);
                let made = node.output.first().map_or("", String::as_str);
                return Err(error.in_operation(format!("{} `{made}`", node.op_type())));
            }
        }
        replace(graph, self.0, Pool::of, |new, node, pool| pool.write(new, node))
    }
}

fn counts_pads(node: &NodeProto) -> bool {
    node.is("AveragePool") && node.int("count_include_pad", 0) == 1
}

/// A node that comes out wrong, with what its input has along each axis of space.
struct Pool {
    windows: Vec<Windows>,
    /// Whether TensorRT gives windows that ONNX does not have.
    is_cut: bool,
    form: Form,
}

enum Form {
    /// The same node.
    Same,
    /// An average over the padded input.
    Padded,
    /// The average of the padded input, divided by that of ones where ONNX counts: TensorRT takes no window without a cell
    /// that is counted.
    Shares,
}

impl Pool {
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        let windows = Windows::all(node)?;
        let x = graph.spec(node.input.first()?)?;
        if x.shape.rank() != windows.len() + 2 {
            return None;
        }
        let sizes: Vec<_> = x.shape.dims()[2..].iter().map(|dim| dim.fixed()).collect();
        let any = |wrong: &dyn Fn(&Windows, Option<i64>) -> bool| {
            let sizes = sizes.iter().map(|size| size.and_then(|size| i64::try_from(size).ok()));
            windows.iter().zip(sizes).any(|(windows, size)| wrong(windows, size))
        };
        let is_cut = any(&|w, size| size.map_or(w.may_be_cut(), |size| w.are_cut(size)));
        let is_empty = any(&|w, size| size.map_or(w.stride > w.extent, |size| w.is_empty(size)));
        let form = match (node.is("AveragePool"), counts_pads(node)) {
            (true, true) if is_empty => Form::Shares,
            (true, true) => Form::Padded,
            (true, false) if is_cut => Form::Shares,
            (_, _) if is_cut => Form::Same,
            _ => return None,
        };
        // Only the windows over pads that are input now are cut off.
        Some(Self { windows, is_cut, form })
    }

    fn write(&self, new: &Rewriter, node: &NodeProto) -> Result<()> {
        let x = new.known(&node.input[0]);
        let mut pool = node.clone();
        match self.form {
            Form::Same => {}
            Form::Padded => {
                if self.windows.iter().any(|w| (w.before, w.after) != (0, 0)) {
                    pool.input[0] = x.pad(&self.pads(true, false))?.name().to_owned();
                }
                without_pads(&mut pool);
            }
            Form::Shares => return self.shares(new, node, &x),
        }
        if !self.is_cut {
            new.keep(&pool);
            return Ok(());
        }
        let all = new.graph.with_graph(|graph| graph.fresh(&format!("{}.all", node.output[0])));
        pool.output[0].clone_from(&all);
        pool.name = None;
        new.keep(&pool);
        self.cut(new, node, &x, &all)
    }

    /// Sums over windows of zeros beyond the edges, and how many cells of each are counted.
    fn shares(&self, new: &Rewriter, node: &NodeProto, x: &Value) -> Result<()> {
        let fresh = |hint: &str| {
            new.graph.with_graph(|graph| graph.fresh(&format!("{}.{hint}", node.output[0])))
        };
        let average = |input: &Value, hint: &str| {
            let mut pool = node.clone();
            without_pads(&mut pool);
            pool.attribute.retain(|attribute| attribute.name() != "ceil_mode");
            pool.input[0] = input.name().to_owned();
            pool.output[0] = fresh(hint);
            pool.name = None;
            new.keep(&pool);
            pool.output[0].clone()
        };
        let sums = average(&x.pad(&self.pads(true, true))?, "sums");
        let one = new.graph.constant("one", HostTensor::scalar(1f32).convert(x.dtype())?);
        let mut dims = x.dims().to_vec();
        dims[..2].fill(1usize.into());
        let mut ones = one.expand(&dims, &[x])?;
        if counts_pads(node) {
            ones = ones_around(new, &ones, &one, &self.pads(true, false))?;
            ones = ones.pad(&self.pads(false, true))?;
        } else {
            ones = ones.pad(&self.pads(true, true))?;
        }
        let counts = average(&ones, "counts");
        let all = fresh("all");
        new.keep(&NodeProto {
            op_type: Some("Div".into()),
            input: vec![sums, counts],
            output: vec![all.clone()],
            ..Default::default()
        });
        self.cut(new, node, x, &all)
    }

    /// The pads of all axes: ONNX's own, and enough behind them for the last window.
    fn pads(&self, own: bool, last: bool) -> Vec<(usize, usize)> {
        let pads = |w: &Windows| {
            let behind = if last { w.stride - 1 } else { 0 };
            let (before, after) = if own { (w.before, w.after) } else { (0, 0) };
            (before as usize, (after + behind) as usize)
        };
        [(0, 0); 2].into_iter().chain(self.windows.iter().map(pads)).collect()
    }

    /// The windows of `all` that ONNX has.
    fn cut(&self, new: &Rewriter, node: &NodeProto, x: &Value, all: &str) -> Result<()> {
        let vector = |name: &str, values: Vec<i64>| {
            Ok::<_, Error>(new.graph.constant(name, HostTensor::from_vec([values.len()], values)?))
        };
        let ends = self.ends(new, x)?;
        let first = vector("first", vec![0; self.windows.len()])?;
        let axes = vector("axes", (2..).take(self.windows.len()).collect())?;
        new.keep(&NodeProto {
            name: node.name.clone(),
            op_type: Some("Slice".into()),
            input: [all, first.name(), ends.name(), axes.name()].map(str::to_owned).to_vec(),
            output: node.output.clone(),
            ..Default::default()
        });
        Ok(())
    }

    /// How many windows ONNX has along each axis: the last one reaches what is left, and begins before the pads behind the
    /// input.
    fn ends(&self, new: &Rewriter, x: &Value) -> Result<Value> {
        let sizes: Option<Vec<i64>> =
            x.dims()[2..].iter().map(|d| Some(d.fixed()? as i64)).collect();
        if let Some(sizes) = sizes {
            let ends = self.windows.iter().zip(sizes).map(|(w, size)| w.count(size)).collect();
            let ends = HostTensor::from_vec([self.windows.len()], ends)?;
            return Ok(new.graph.constant("ends", ends));
        }
        let vector = |name: &str, of: &dyn Fn(&Windows) -> i64| {
            let values: Vec<i64> = self.windows.iter().map(of).collect();
            Ok::<_, Error>(new.graph.constant(name, HostTensor::from_vec([values.len()], values)?))
        };
        let sizes = new.graph.shape_tensor(&x.dims()[2..], &[x])?;
        let strides = vector("strides", &|w| w.stride)?;
        let room = vector("room", &|w| w.before + w.after - w.extent + w.stride - 1)?;
        let reached = sizes.add(&room)?.div(&strides)?;
        let begun = vector("begun", &|w| w.before - 1)?;
        let begun = sizes.add(&begun)?.div(&strides)?;
        reached.minimum(&begun)?.add(&vector("one", &|_| 1)?)
    }
}

fn ones_around(new: &Rewriter, x: &Value, one: &Value, pads: &[(usize, usize)]) -> Result<Value> {
    let (before, after) = (pads.iter().map(|pad| pad.0), pads.iter().map(|pad| pad.1));
    let pads: Vec<i64> = before.chain(after).map(|pad| pad as i64).collect();
    let pads = new.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
    new.graph.node("Pad").input(x).input(&pads).input(one).build()
}

fn without_pads(pool: &mut NodeProto) {
    pool.attribute.retain(|a| !["auto_pad", "pads", "count_include_pad"].contains(&a.name()));
    pool.attribute.push(Attribute::Int(0).to_proto("count_include_pad"));
}

/// Windows along an axis.
struct Windows {
    stride: i64,
    /// From the first to the last cell.
    extent: i64,
    before: i64,
    after: i64,
}

impl Windows {
    /// Those of a pool that may reach beyond an edge.
    fn all(node: &NodeProto) -> Option<Vec<Self>> {
        let automatic = node.stated("auto_pad").map_or(&b"NOTSET"[..], |pad| pad.s());
        let pools = node.is("AveragePool") || node.is("MaxPool");
        if !pools || automatic.starts_with(b"SAME") || node.int("ceil_mode", 0) != 1 {
            return None;
        }
        let kernel = &node.stated("kernel_shape")?.ints;
        let axes = kernel.len();
        let list = |name: &str, usual: i64, count: usize| match node.stated(name) {
            Some(list)
                if list.ints.len() == count && !(name == "pads" && automatic == b"VALID") =>
            {
                list.ints.clone()
            }
            _ => vec![usual; count],
        };
        let (pads, strides) = (list("pads", 0, 2 * axes), list("strides", 1, axes));
        let dilations = list("dilations", 1, axes);
        let windows = (0..axes).map(|axis| {
            let extent = dilations[axis].checked_mul(kernel[axis] - 1)?.checked_add(1)?;
            let (before, after) = (pads[axis], pads[axis + axes]);
            let near = |value: i64| (0..=i64::from(i32::MAX)).contains(&value);
            let fits = near(before) && near(after) && near(extent) && near(strides[axis]);
            fits.then_some(Self { stride: strides[axis].max(1), extent, before, after })
        });
        windows.collect()
    }

    /// How many there are in TensorRT, less one.
    fn last(&self, size: i64) -> i64 {
        let reach = size + self.before + self.after - self.extent;
        (reach + self.stride - 1).div_euclid(self.stride)
    }

    /// How many there are in ONNX.
    fn count(&self, size: i64) -> i64 {
        self.last(size).min((size + self.before - 1).div_euclid(self.stride)) + 1
    }

    fn are_cut(&self, size: i64) -> bool {
        self.last(size) + 1 > self.count(size)
    }

    /// Whether there is a size at which they are cut.
    fn may_be_cut(&self) -> bool {
        self.after + self.stride > self.extent
    }

    /// Whether the last one has no cell of the input and its pads.
    fn is_empty(&self, size: i64) -> bool {
        self.last(size) * self.stride >= size + self.before + self.after
    }
}
