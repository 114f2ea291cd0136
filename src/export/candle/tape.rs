//! The tape of a traced forward: steps in order, with the types and sizes that candle's own tensors would have. No ONNX and no
//! symbols here.

use std::collections::HashMap;
use std::fmt;

use candle_core::{DType, Device, Tensor, TensorId};

use crate::export::lower::RecurrentKind;

/// An elementwise function of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Abs,
    Ceil,
    Cos,
    Erf,
    Exp,
    Floor,
    Gelu,
    GeluErf,
    HardSigmoid,
    HardSwish,
    Log,
    Mish,
    Neg,
    Recip,
    Relu,
    Round,
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Sqr,
    Sqrt,
    Tanh,
}

/// An elementwise function of two tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Div,
    Maximum,
    Minimum,
    Mul,
    Sub,
}

/// An elementwise comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    Ne,
}

/// A reduction along axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reduce {
    Max,
    Mean,
    Min,
    Sum,
}

/// An LSTM or GRU over a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recurrent {
    pub(super) kind: RecurrentKind,
    pub(super) hidden: usize,
    /// Whether there is one for the input, and for the state.
    pub(super) biases: [bool; 2],
    /// Whether this is the last cell state, instead of all hidden states.
    pub(super) cell: bool,
}

/// Where a square matrix made in the forward is one, and elsewhere zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Triangle {
    Diagonal,
    Lower,
    Upper,
}

/// What a step does. Sizes that may follow a symbol are not in here but in [`Recorded`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Absent {
        what: &'static str,
    },
    Affine {
        mul: f64,
        add: f64,
    },
    ArgReduce {
        max: bool,
        dim: usize,
        keepdim: bool,
    },
    BatchNorm {
        eps: f64,
    },
    Binary(Binary),
    Broadcast,
    Cast,
    Cat {
        dim: usize,
    },
    Compare(Compare),
    Constant(Constant),
    Conv {
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    },
    ConvTranspose {
        padding: usize,
        output_padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    },
    CumSum {
        dim: usize,
    },
    Elu {
        alpha: f64,
    },
    Embedding,
    Flip {
        dim: usize,
    },
    Full {
        value: f64,
    },
    Gather {
        dim: usize,
    },
    GroupNorm {
        groups: usize,
        eps: f64,
    },
    IndexSelect {
        dim: usize,
    },
    Input(usize),
    LayerNorm {
        eps: f64,
    },
    LeakyRelu {
        slope: f64,
    },
    Linear,
    MatMul,
    Narrow {
        dim: usize,
    },
    Pad {
        dim: usize,
        left: usize,
        right: usize,
    },
    PadSame {
        dim: usize,
        left: usize,
        right: usize,
    },
    Permute {
        order: Vec<usize>,
    },
    Pool {
        max: bool,
        kernel: [usize; 2],
        stride: [usize; 2],
    },
    Powf {
        exponent: f64,
    },
    Prelu,
    Range {
        start: f64,
        step: f64,
    },
    Recurrent(Recurrent),
    Reduce {
        op: Reduce,
        dims: Vec<usize>,
        keepdim: bool,
    },
    Repeat,
    Reshape,
    RmsNorm {
        eps: f64,
    },
    Scatter {
        dim: usize,
        add: bool,
    },
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Softmax {
        dim: usize,
        log: bool,
    },
    Sort {
        ascending: bool,
        positions: bool,
    },
    Squeeze {
        dim: usize,
    },
    Triangle(Triangle),
    Unary(Unary),
    Unfold {
        dim: usize,
        size: usize,
        step: usize,
    },
    Unsqueeze {
        dim: usize,
    },
    UpsampleBilinear {
        align_corners: bool,
        scales: Option<[f64; 2]>,
    },
    UpsampleNearest,
    Variance {
        dim: usize,
    },
    Where,
}

impl Op {
    /// For people.
    pub(super) fn name(&self) -> String {
        let whole = match self {
            Self::Absent { what } => return (*what).to_owned(),
            Self::Binary(op) => format!("{op:?}"),
            Self::Compare(op) => format!("{op:?}"),
            Self::Reduce { op, .. } => format!("{op:?}"),
            Self::Unary(op) => format!("{op:?}"),
            Self::Recurrent(layer) => format!("{:?}", layer.kind),
            other => format!("{other:?}"),
        };
        whole.split([' ', '(']).next().unwrap_or_default().to_owned()
    }
}

/// A weight, or another tensor whose values are known.
#[derive(Clone)]
pub(super) struct Constant {
    pub(super) tensor: Tensor,
    /// The layer's name for it.
    pub(super) name: String,
    /// The path that it was recorded under.
    pub(super) path: Option<String>,
}

impl PartialEq for Constant {
    /// The same tensor, or one with the same values: a forward may make it anew on each call.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.tensor, &other.tensor);
        if a.id() == b.id() {
            return true;
        }
        let bytes = |tensor| super::tensors::to_host(tensor).ok();
        a.dtype() == b.dtype()
            && a.dims() == b.dims()
            && bytes(a).is_some_and(|a| Some(a) == bytes(b))
    }
}

impl fmt::Debug for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.tensor.dims())
    }
}

/// One step of one trace.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) op: Op,
    pub(super) inputs: Vec<usize>,
    pub(super) dtype: DType,
    pub(super) dims: Vec<usize>,
    /// Arguments that are sizes: start and length of a `narrow`, the times of a `repeat`.
    pub(super) sizes: Vec<usize>,
    pub(super) scope: String,
}

/// The steps of one trace so far.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) steps: Vec<Recorded>,
    pub(super) device: Device,
    /// The first step that used a tensor of another trace, in its scope.
    pub(super) foreign: Option<String>,
    scope: Vec<String>,
    constants: HashMap<TensorId, usize>,
    layers: HashMap<String, usize>,
}

impl Tape {
    pub(super) fn new(device: Device) -> Self {
        let (constants, layers) = (HashMap::new(), HashMap::new());
        Self { steps: Vec::new(), device, foreign: None, scope: Vec::new(), constants, layers }
    }

    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: Vec<usize>,
        dtype: DType,
        dims: Vec<usize>,
        sizes: Vec<usize>,
    ) -> usize {
        let scope = self.scope.join("/");
        self.steps.push(Recorded { op, inputs, dtype, dims, sizes, scope });
        self.steps.len() - 1
    }

    /// The step of a constant; the same tensor is one constant.
    pub(super) fn constant(&mut self, tensor: &Tensor, name: &str) -> usize {
        if let Some(&known) = self.constants.get(&tensor.id()) {
            return known;
        }
        let constant = Constant { tensor: tensor.clone(), name: name.to_owned(), path: None };
        let op = Op::Constant(constant);
        let step = self.push(op, Vec::new(), tensor.dtype(), tensor.dims().to_vec(), Vec::new());
        self.constants.insert(tensor.id(), step);
        step
    }

    /// A name for one more layer of a kind in the scope: `linear`, `linear_2`, ...
    pub(super) fn layer(&mut self, kind: &str) -> String {
        let count = self.layers.entry(format!("{}/{kind}", self.scope.join("/"))).or_default();
        *count += 1;
        if *count == 1 { kind.to_owned() } else { format!("{kind}_{count}") }
    }

    /// A name behind the scopes that are open.
    pub(super) fn path(&self, name: &str) -> String {
        self.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
    }

    pub(super) fn enter(&mut self, name: &str) {
        self.scope.push(name.to_owned());
    }

    pub(super) fn leave(&mut self) {
        self.scope.pop();
    }
}
