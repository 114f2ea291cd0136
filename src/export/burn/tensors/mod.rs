//! The arguments and results of a forward function: tensors, and anything made of tensors. How they are named, taken apart
//! and put together again. No graphs.

mod compound;
mod host;

use std::{fmt, slice};

use ::burn::backend::capture::{CaptureBackend, TensorId};
#[cfg(feature = "burn-cuda")]
use ::burn::backend::{DispatchTensor, TensorMetadata};
use ::burn::tensor::{Bool, Device, Float, Int, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

pub(super) use host::to_host;
pub(crate) use host::{burn_dtype, dtype};

/// Tensors that go into or come out of a forward function: a [`Tensor`] of any rank and kind; a
/// tuple, array, `Vec` or `Option` of such; or a struct of such, see [`burn_tensors!`].
///
/// [`burn_tensors!`]: crate::burn_tensors
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tensor, and no tuple, list or struct of tensors",
    label = "not known as tensors",
    note = "for a struct of tensors of your own, write `accelerant::burn_tensors!` beside it"
)]
pub trait BurnTensors: Sized {
    /// Shows each tensor to `visitor`, in order.
    ///
    /// # Errors
    /// Errors of the visitor. An implementation passes them on.
    fn visit(&self, visitor: &mut TensorVisitor<'_>) -> Result<()>;

    /// Makes a value from the tensors of `source`, in the same order.
    ///
    /// # Errors
    /// Errors of the source. An implementation passes them on.
    fn build(source: &mut TensorSource<'_>) -> Result<Self>;

    /// Appends the values of each tensor.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when a device cannot be read; [`ErrorKind::DTypeMismatch`] for types
    /// that ONNX does not have.
    fn into_host(self, out: &mut Vec<HostTensor>) -> Result<()> {
        let mut read = |_: &TensorPath<'_>, tensor: &dyn AnyTensor| {
            out.push(tensor.host()?);
            Ok(())
        };
        self.visit(&mut TensorVisitor::new(&mut read))
    }
}

/// Implements [`BurnTensors`](crate::burn::BurnTensors) for a struct of tensors, or of types that are made of tensors. The
/// tensors get the names of the fields, joined by dots where structs are nested.
///
/// ```
/// use burn::tensor::{Bool, Int, Tensor};
///
/// struct Batch {
///     tokens: Tensor<2, Int>,
///     mask: Option<Tensor<2, Bool>>,
/// }
///
/// accelerant::burn_tensors!(Batch { tokens, mask });
/// ```
#[macro_export]
macro_rules! burn_tensors {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::burn::BurnTensors for $type {
            fn visit(&self, visitor: &mut $crate::burn::TensorVisitor<'_>) -> $crate::Result<()> {
                $(visitor.field(::core::stringify!($field), &self.$field)?;)+
                ::core::result::Result::Ok(())
            }

            fn build(source: &mut $crate::burn::TensorSource<'_>) -> $crate::Result<Self> {
                ::core::result::Result::Ok(Self {
                    $($field: $crate::burn::BurnTensors::build(source)?,)+
                })
            }
        }
    };
}

/// How many tensors there are in each part whose length its type does not tell: every `Vec` and
/// `Option`, in order.
pub(crate) type Lengths = Vec<usize>;

/// Where a tensor stands within the value it belongs to.
pub(crate) struct TensorPath<'a>(&'a [PathPart]);

enum PathPart {
    Field(String),
    Item(usize),
}

impl TensorPath<'_> {
    /// The names of fields and the positions on the way to the tensor, joined by dots; `None`
    /// where there are positions alone.
    pub(crate) fn name(&self) -> Option<String> {
        self.0.iter().any(|step| matches!(step, PathPart::Field(_))).then(|| {
            let steps = self.0.iter().map(|step| match step {
                PathPart::Field(name) => name.clone(),
                PathPart::Item(index) => index.to_string(),
            });
            steps.collect::<Vec<_>>().join(".")
        })
    }
}

impl fmt::Debug for TensorVisitor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = TensorPath(&self.steps).name();
        f.debug_struct("TensorVisitor").field("at", &at).finish_non_exhaustive()
    }
}

impl fmt::Debug for TensorSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorSource").field("lengths", &self.lengths).finish_non_exhaustive()
    }
}

type Each<'a> = dyn FnMut(&TensorPath<'_>, &dyn AnyTensor) -> Result<()> + 'a;

/// Walks over the tensors of a value. [`BurnTensors::visit`] leads it.
pub struct TensorVisitor<'a> {
    steps: Vec<PathPart>,
    lengths: Lengths,
    each: &'a mut Each<'a>,
}

impl<'a> TensorVisitor<'a> {
    pub(crate) fn new(each: &'a mut Each<'a>) -> Self {
        Self { steps: Vec::new(), lengths: Vec::new(), each }
    }

    pub(crate) fn into_lengths(self) -> Lengths {
        self.lengths
    }

    /// Shows a part that has a name.
    ///
    /// # Errors
    /// When a tensor of it cannot be used; to be passed on.
    pub fn field(&mut self, name: &str, value: &impl BurnTensors) -> Result<()> {
        self.step(PathPart::Field(name.to_owned()), value)
    }

    /// Shows a part that has a position.
    ///
    /// # Errors
    /// When a tensor of it cannot be used; to be passed on.
    pub fn item(&mut self, index: usize, value: &impl BurnTensors) -> Result<()> {
        self.step(PathPart::Item(index), value)
    }

    /// States how many parts follow, where the type leaves the number open. [`TensorSource::length`] gives the number
    /// back.
    pub fn length(&mut self, length: usize) {
        self.lengths.push(length);
    }

    fn step(&mut self, step: PathPart, value: &impl BurnTensors) -> Result<()> {
        self.steps.push(step);
        let result = value.visit(self);
        self.steps.pop();
        result
    }

    fn tensor(&mut self, tensor: &dyn AnyTensor) -> Result<()> {
        (self.each)(&TensorPath(&self.steps), tensor)
    }
}

/// What one tensor is made of.
pub(crate) enum Material {
    /// Values from the host.
    Host(HostTensor),
    /// Type and sizes alone, for a capture.
    Empty(DType, Vec<usize>),
    /// A tensor that is there already, and the type that it is to have.
    #[cfg(feature = "burn-cuda")]
    Ready(DispatchTensor, DType),
}

/// Gives the tensors of a value in order. [`BurnTensors::build`] draws from it.
pub struct TensorSource<'a> {
    device: &'a Device,
    lengths: slice::Iter<'a, usize>,
    materials: &'a mut dyn Iterator<Item = Material>,
}

impl<'a> TensorSource<'a> {
    pub(crate) fn new(
        device: &'a Device,
        lengths: &'a [usize],
        materials: &'a mut dyn Iterator<Item = Material>,
    ) -> Self {
        Self { device, lengths: lengths.iter(), materials }
    }

    /// The device on which tensors are made.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// How many parts follow: the number that [`TensorVisitor::length`] got.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`] when `length` was not called.
    pub fn length(&mut self) -> Result<usize> {
        self.lengths.next().copied().ok_or_else(|| {
            let text = "the length of a list of tensors is not known";
            Error::new(ErrorKind::InputMismatch, text)
        })
    }

    fn next(&mut self) -> Result<Material> {
        self.materials.next().ok_or_else(|| {
            Error::new(ErrorKind::InputMismatch, "the model has fewer tensors than this type")
        })
    }
}

/// A tensor of any rank and kind.
pub(crate) trait AnyTensor {
    fn dtype(&self) -> Result<DType>;
    fn sizes(&self) -> Vec<usize>;
    fn device(&self) -> Device;
    /// The values, copied to the host.
    fn host(&self) -> Result<HostTensor>;
    /// The tensor itself, in this type, without its gradients.
    #[cfg(feature = "burn-cuda")]
    fn dispatch(&self, dtype: DType) -> DispatchTensor;
    /// The id of a tensor on a capture device.
    fn capture_id(&self) -> Result<TensorId>;
}

/// A tensor of type and sizes without values, as a capture records it.
pub(super) fn empty<const D: usize, K: TensorKind>(
    dtype: DType,
    sizes: &[usize],
    device: &Device,
) -> Result<Tensor<D, K>> {
    let sizes: [usize; D] = sizes.try_into().map_err(|_| {
        let text = format!("expected rank {D}, got {sizes:?}");
        Error::new(ErrorKind::ShapeMismatch, text)
    })?;
    K::check(dtype)?;
    Ok(K::empty(dtype, sizes, device))
}

fn check_rank<const D: usize>(sizes: &[usize]) -> Result<()> {
    if sizes.len() == D {
        return Ok(());
    }
    Err(Error::new(ErrorKind::ShapeMismatch, format!("expected rank {D}, got {sizes:?}")))
}

/// The three kinds of tensors. Sealed by being unnameable outside of the crate.
pub(crate) trait TensorKind: ::burn::tensor::kind::Basic + Sized {
    /// Checks that tensors of this kind have elements of `dtype`.
    fn check(dtype: DType) -> Result<()>;
    fn empty<const D: usize>(dtype: DType, sizes: [usize; D], device: &Device) -> Tensor<D, Self>;
    /// The same values in another type of this kind, on the tensor's device.
    #[cfg(feature = "burn-cuda")]
    fn converted<const D: usize>(tensor: Tensor<D, Self>, dtype: DType) -> Tensor<D, Self>;
}

macro_rules! kinds {
    ($($kind:ty, $fits:expr, $named:literal, $convert:expr;)*) => {$(
        impl TensorKind for $kind {
            fn check(dtype: DType) -> Result<()> {
                let fits: fn(DType) -> bool = $fits;
                if fits(dtype) {
                    return Ok(());
                }
                let text = format!("expected a {} tensor, got {dtype}", $named);
                Err(Error::new(ErrorKind::DTypeMismatch, text))
            }

            fn empty<const D: usize>(
                dtype: DType,
                sizes: [usize; D],
                device: &Device,
            ) -> Tensor<D, Self> {
                Tensor::empty(sizes, (device, burn_dtype(dtype)))
            }

            #[cfg(feature = "burn-cuda")]
            fn converted<const D: usize>(
                tensor: Tensor<D, Self>,
                dtype: DType,
            ) -> Tensor<D, Self> {
                $convert(tensor, dtype)
            }
        }

        impl<const D: usize> AnyTensor for Tensor<D, $kind> {
            fn dtype(&self) -> Result<DType> {
                dtype(Tensor::dtype(self))
            }

            fn sizes(&self) -> Vec<usize> {
                self.dims().to_vec()
            }

            fn device(&self) -> Device {
                Tensor::device(self)
            }

            fn host(&self) -> Result<HostTensor> {
                let data = self.clone().try_into_data().map_err(|e| {
                    Error::new(ErrorKind::Device, format!("the tensor cannot be read: {e:?}"))
                })?;
                to_host(data)
            }

            #[cfg(feature = "burn-cuda")]
            fn dispatch(&self, dtype: DType) -> DispatchTensor {
                <$kind>::converted(self.clone().without_autodiff(), dtype).into_dispatch()
            }

            fn capture_id(&self) -> Result<TensorId> {
                let primitive = self.clone().try_into_primitive::<CaptureBackend>().map_err(|e| {
                    let text = format!(
                        "an output is not on the capture device: compute the output from an input, or create it on \
                         the device of an input, `x.device()` ({e:?})"
                    );
                    Error::new(ErrorKind::InvalidArgument, text).in_operation("capture")
                })?;
                Ok(primitive.id())
            }
        }

        impl<const D: usize> BurnTensors for Tensor<D, $kind> {
            fn visit(&self, visitor: &mut TensorVisitor<'_>) -> Result<()> {
                visitor.tensor(self)
            }

            fn build(source: &mut TensorSource<'_>) -> Result<Self> {
                match source.next()? {
                    Material::Empty(dtype, sizes) => empty(dtype, &sizes, source.device),
                    #[cfg(feature = "burn-cuda")]
                    Material::Ready(tensor, own) => {
                        check_rank::<D>(&tensor.shape())?;
                        <$kind>::check(dtype(tensor.dtype())?)?;
                        Ok(<$kind>::converted(Tensor::from_dispatch(tensor), own))
                    }
                    Material::Host(tensor) => {
                        check_rank::<D>(tensor.shape())?;
                        <$kind>::check(tensor.dtype())?;
                        let stored = host::stored(tensor.dtype(), source.device);
                        Ok(Tensor::from_data(host::to_data(&tensor), (source.device, stored)))
                    }
                }
            }
        }
    )*};
}

kinds! {
    Float, DType::is_float, "float", |tensor: Tensor<D>, dtype| tensor.cast(burn_dtype(dtype));
    Int, DType::is_int, "int", |tensor: Tensor<D, Int>, dtype| tensor.cast(burn_dtype(dtype));
    Bool, |dtype| dtype == DType::Bool, "bool", |tensor, _| tensor;
}
