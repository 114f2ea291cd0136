//! The border to C++ and to the driver: the bridge, the libraries that it opens, the devices that they run on, and what
//! they call back. Knows of no engine, no option and no execution.

mod bridge;
pub(crate) mod device;
// Candle links with the driver: a program that starts has found all functions.
#[cfg(not(feature = "candle-cuda"))]
mod driver;
mod library;
mod log;
mod outputs;
mod progress;
mod tensors;

pub use progress::{ProgressEvent, ProgressFn};

pub(crate) use bridge::{
    BuildOptions, Builder, Context, ContextOptions, Engine, Flavor, HostMemory, LayerTime,
    ParserError, ProfileShape, Refitter, Runtime,
};
pub(crate) use device::{bind, device_error};
pub(crate) use library::Library;
pub(crate) use log::cuda_error;
pub(crate) use outputs::{OutputMemory, Outputs};
pub(crate) use progress::Progress;
pub(crate) use tensors::{agrees, dtype_from_tensorrt, dtype_name, sides};
