//! What TensorRT-RTX computes, read from its plan: the plan holds its program as text. Good for tests of one version,
//! for nothing else.

use std::collections::HashMap;

use accelerant::backend::{Backend, tensorrt::TensorRt};
use accelerant::export::OnnxModel;

/// A kernel that the program calls.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Such as `_gemm_mha_v2` for attention.
    pub(crate) name: String,
    /// The types of what it reads and writes, as the program names them, such as `half`.
    pub(crate) types: Vec<String>,
    /// The ONNX nodes that it computes.
    pub(crate) layers: String,
}

/// The program of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) size: usize,
}

impl Plan {
    /// Builds a model, which takes no GPU, and reads its program.
    pub(crate) fn of(name: &str, model: &OnnxModel) -> Self {
        let built = TensorRt::rtx().build(model);
        let engine = built.unwrap_or_else(|e| panic!("{name}: {e}\n{model}"));
        Self::read(engine.plan())
    }

    fn read(plan: &[u8]) -> Self {
        let text = String::from_utf8_lossy(plan);
        let between = |text: &str, start: &str, end: &str| {
            let from = text.find(start)? + start.len();
            Some(text[from..from + text[from..].find(end)?].to_owned())
        };
        let mut types = HashMap::new();
        let mut kernels = Vec::new();
        for line in text.split("  tensor={").skip(1) {
            let line = line.split('\n').next().unwrap_or_default();
            let (name, kind) = (between(line, "name=\"", "\""), between(line, " type=", " "));
            types.extend(name.zip(kind));
        }
        for part in text.split("  function={ name=").skip(1) {
            let name = part.split(' ').next().unwrap_or_default().to_owned();
            let arguments = between(part, " args={", "}").unwrap_or_default();
            let named = arguments.split('"').filter(|name| !name.trim().is_empty());
            let types = named.filter_map(|name| types.get(name).cloned()).collect();
            let layers = between(part, "layers=\"", "\"").unwrap_or_default();
            kernels.push(Kernel { name, types, layers });
        }
        assert!(!kernels.is_empty(), "no program is found in the plan");
        Self { kernels, size: plan.len() }
    }

    /// How many kernels compute whole attentions.
    pub(crate) fn attentions(&self) -> usize {
        self.kernels.iter().filter(|kernel| kernel.name.contains("mha")).count()
    }

    /// The kernels that a product of matrices or a convolution named so is computed by.
    pub(crate) fn of_layer<'a>(&'a self, layer: &'a str) -> impl Iterator<Item = &'a Kernel> {
        self.kernels.iter().filter(move |kernel| kernel.layers.contains(layer))
    }
}
