//! Element types: in which one a tensor is computed, and how it gets there and back.
//!
//! Consumers calculate in 32 and 64-bit integers. Narrower ones are computed in these and wrap where
//! Burn's own would. TensorRT has no 64-bit floats, and of unsigned integers only bytes, which it
//! takes as inputs to be cast to floats.

use ::burn::backend::ir::{
    BaseOperationIr as Base, FloatOperationIr, NumericOperationIr as Numeric, OperationIr, TensorIr,
};

use super::{Lowering, tensors, unsupported};
use crate::error::{Error, Result};
use crate::export::{Target, Value};
use crate::spec::DType;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    /// The type in which a tensor is computed.
    pub(super) fn dtype(&self, tensor: &TensorIr) -> Result<DType> {
        self.computed(tensors::dtype(tensor.dtype)?)
    }

    fn computed(&self, dtype: DType) -> Result<DType> {
        match computed(dtype, self.graph.target()) {
            DType::F32 if dtype == DType::F64 && !self.narrow_f64 => Err(no_f64()),
            computed => Ok(computed),
        }
    }

    /// Adds an input in the type that the target takes, and gives it in the one it computes in.
    pub(super) fn input(&self, spec: &crate::TensorSpec) -> Result<Value> {
        let computed = self.computed(spec.dtype).map_err(|e| e.on_tensor(&spec.name))?;
        let bytes = spec.dtype == DType::U8;
        let dtype = if bytes { DType::U8 } else { handed(spec.dtype, self.graph.target()) };
        let value = self.graph.input(&spec.name, dtype, spec.shape.clone())?;
        self.of_bytes(&value)?.cast(computed)
    }

    /// Makes a value of Burn's type `own` an output, in the type that the target gives.
    pub(super) fn output(&self, name: &str, value: &Value, own: DType) -> Result<()> {
        let dtype = handed(own, self.graph.target());
        self.graph.output(name, &value.cast(dtype)?)
    }

    /// A parameter or constant in the type in which it is computed.
    pub(super) fn constant_data(&self, data: &HostTensor) -> Result<HostTensor> {
        data.convert(self.computed(data.dtype())?)
    }

    /// TensorRT casts bytes to floats only.
    fn of_bytes(&self, value: &Value) -> Result<Value> {
        match value.dtype() {
            DType::U8 if !self.graph.target().casts_bytes_to_integers() => value.cast(DType::F32),
            _ => Ok(value.clone()),
        }
    }

    /// The result of an operation in the type in which it is computed, within the range of `own`.
    pub(super) fn fit(&self, value: &Value, own: DType) -> Result<Value> {
        let computed = self.computed(own)?;
        if !own.is_int() || !self.may_leave || value.dtype() == DType::Bool {
            return value.cast(computed);
        }
        if value.dtype().is_float() {
            return value.saturated(own, computed);
        }
        if computed == own {
            return value.cast(computed);
        }
        if own == DType::U64 {
            return Err(unsupported("TensorRT has no unsigned 64-bit integers to calculate with"));
        }
        value.wrapped(own)?.cast(computed)
    }
}

/// The type in which a target computes with tensors of a type.
fn computed(dtype: DType, target: Target) -> DType {
    match dtype {
        DType::I8 | DType::I16 | DType::U8 | DType::U16 => DType::I32,
        DType::U32 => DType::I64,
        DType::U64 if !target.computes_u64() => DType::I64,
        DType::F64 if !target.computes_f64() => DType::F32,
        dtype => dtype,
    }
}

/// The type in which a target gives tensors of a type, and takes all but bytes.
fn handed(dtype: DType, target: Target) -> DType {
    match dtype {
        dtype if !target.takes_any_type() => computed(dtype, target),
        dtype => dtype,
    }
}

/// Whether the result may lie outside of the type's range where it is computed in a wider one.
pub(super) fn may_leave(operation: &OperationIr) -> bool {
    match operation {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
            matches!(
                op,
                Base::Cast(_) | Base::Scatter(_) | Base::ScatterNd(_) | Base::SelectAssign(_)
            )
        }
        OperationIr::NumericInt(_, op) => !matches!(
            op,
            Numeric::Rem(_)
                | Numeric::RemScalar(_)
                | Numeric::Sign(_)
                | Numeric::Clamp(_)
                | Numeric::ClampMin(_)
                | Numeric::ClampMax(_)
                | Numeric::Full(_)
                | Numeric::Pad(_)
                | Numeric::Max(_)
                | Numeric::MaxDim(_)
                | Numeric::Min(_)
                | Numeric::MinDim(_)
                | Numeric::ArgMax(_)
                | Numeric::ArgMin(_)
                | Numeric::MaxDimWithIndices(_)
                | Numeric::MinDimWithIndices(_)
                | Numeric::CumMin(_)
                | Numeric::CumMax(_)
                | Numeric::Sort(_)
                | Numeric::ArgSort(_)
                | Numeric::SortWithIndices(_)
                | Numeric::TopK(_)
                | Numeric::ArgTopK(_)
                | Numeric::TopKWithIndices(_)
        ),
        OperationIr::Int(_) => true,
        OperationIr::Float(_, op) => matches!(op, FloatOperationIr::IntoInt(_)),
        _ => false,
    }
}

/// The refusal of 64-bit floats that nobody allowed to be narrowed.
pub(super) fn no_f64() -> Error {
    unsupported(
        "TensorRT has no 64-bit floats; OptimizeOptions::narrow_f64 has them computed in 32 bits",
    )
}
