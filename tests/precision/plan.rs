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
    /// How the program calls it.
    pub(crate) kind: &'static str,
    /// The types of what it reads and writes, as the program names them, such as `half`.
    pub(crate) types: Vec<String>,
    /// The ONNX nodes that it computes.
    pub(crate) layers: String,
}

/// Statements that call a kernel: products of matrices, convolutions, and what is written for this program.
const KINDS: [&str; 4] = ["fully_connected", "corrltn", "runtime_fusion", "function"];

/// The program of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) size: usize,
    bytes: Vec<u8>,
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
        for line in text.split("tensor={").skip(1) {
            let line = line.split('\n').next().unwrap_or_default();
            let (name, kind) = (between(line, "name=\"", "\""), between(line, " type=", " "));
            types.extend(name.zip(kind));
        }
        for kind in KINDS {
            for part in text.split(&format!("\n  {kind}={{ name=")).skip(1) {
                let name = part.split(' ').next().unwrap_or_default().trim_matches('"').to_owned();
                let lists = [" args={", " input={", " output={", " input_args={", " output_args={"];
                let line = part.split("layers=").next().unwrap_or_default();
                let names =
                    lists.iter().filter_map(|list| between(line, list, "}")).collect::<String>();
                let named = names.split('"').filter(|name| !name.trim().is_empty());
                let types = named.filter_map(|name| types.get(name).cloned()).collect();
                let layers = between(part, "layers=\"", "\"").unwrap_or_default();
                kernels.push(Kernel { name, kind, types, layers });
            }
        }
        assert!(!kernels.is_empty(), "no program is found in the plan");
        Self { kernels, size: plan.len(), bytes: plan.to_vec() }
    }

    /// Whether a number in 32 bits is a constant of the program, or its neighbour.
    pub(crate) fn holds(&self, number: f32) -> bool {
        let near = [number.to_bits() - 1, number.to_bits(), number.to_bits() + 1];
        let written = near.map(|bits| format!("alpha={bits:08X} "));
        let text = String::from_utf8_lossy(&self.bytes);
        let words = self.bytes.windows(4);
        let mut words = words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        words.any(|word| near.contains(&word)) || written.iter().any(|alpha| text.contains(alpha))
    }

    /// How many kernels compute whole attentions.
    pub(crate) fn attentions(&self) -> usize {
        self.kernels.iter().filter(|kernel| kernel.name.contains("mha")).count()
    }

    /// The kernels of products with weights.
    pub(crate) fn products(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter().filter(|kernel| kernel.kind == "fully_connected")
    }

    /// The convolutions.
    pub(crate) fn convolutions(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter().filter(|kernel| kernel.kind == "corrltn")
    }
}
