//! Forms of layers that TensorRT-RTX was measured to be faster with on compute capability 9.0
//! (`docs/measured/2026-11-forms-h200.md`): a folder each, found on the graph and written with the builder's operators.
//! `thresholds` has the sizes from which on each form is a gain. Another GPU is another folder.

mod attention;
mod batched;
mod convolutions;
mod rows;
mod thresholds;
mod weights_by_outputs;

pub(super) use attention::AlignedKeys;
pub(super) use batched::BatchedLayers;
pub(super) use convolutions::Convolutions;
pub(super) use rows::AlignedRows;
pub(super) use weights_by_outputs::WeightsByOutputs;

/// What an activation is made of.
fn is_elementwise(operator: &str) -> bool {
    matches!(
        operator,
        "Add"
            | "Celu"
            | "Clip"
            | "Div"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "LeakyRelu"
            | "Mish"
            | "Mul"
            | "Neg"
            | "Pow"
            | "Relu"
            | "Selu"
            | "Sigmoid"
            | "Softplus"
            | "Softsign"
            | "Sub"
            | "Tanh"
    )
}
