//! The meaning of an error of the library: of the device, of this machine, or of the bytes of an engine.

use crate::backend::tensorrt::ffi;
use crate::error::{Error, ErrorKind, Result};

pub(crate) fn execution(error: &cxx::Exception) -> Error {
    failure(error, ErrorKind::Execution)
}

/// An error of the device where the library gives a number of CUDA's, else of `kind`.
pub(crate) fn failure(error: &cxx::Exception, kind: ErrorKind) -> Error {
    let kind = ffi::cuda_error(error).map_or(kind, |_| ErrorKind::Device);
    Error::new(kind, error.what())
}

/// Where CUDA has no part in it, the library tells only in words why it cannot deserialize.
pub(crate) fn not_deserialized(error: &cxx::Exception) -> Error {
    let words = error.what();
    let of_another = ["ncompatible", "not compatible", "ersion tag"];
    let kind = match of_another.iter().any(|sign| words.contains(sign)) {
        true => ErrorKind::EngineIncompatible,
        false => ErrorKind::EngineCorrupt,
    };
    failure(error, kind).in_operation("load engine")
}

/// What the library says against a plan, from the header that it wrote.
///
/// It is cautious: of a device that is not on its list of supported ones it says so, and then runs
/// the engine all the same (seen with TensorRT-RTX 1.6 and compute capability 9.0). So only what
/// is wrong with the bytes is refused at once; the rest explains a failure.
pub(crate) struct Invalidity(u64);

impl Invalidity {
    /// Kind and text for each bit of `nvinfer1::EngineInvalidityDiagnostics`.
    const REASONS: [(ErrorKind, &str); 7] = [
        (ErrorKind::EngineIncompatible, "built by another version"),
        (ErrorKind::EngineIncompatible, "not built for the compute capability of this device"),
        (ErrorKind::EngineIncompatible, "built with a newer CUDA driver"),
        (ErrorKind::EngineIncompatible, "built with a newer CUDA runtime"),
        (ErrorKind::Device, "too large for the memory of this device"),
        (ErrorKind::EngineCorrupt, "not an engine"),
        (ErrorKind::Device, "the CUDA driver or runtime is not installed correctly"),
    ];
    /// The bits that are about the bytes alone, the worst first.
    const OF_BYTES: [usize; 2] = [5, 0];
    /// The bits that are about this machine.
    const OF_MACHINE: [usize; 5] = [1, 2, 3, 4, 6];

    pub(crate) fn of(runtime: &ffi::Runtime, plan: &[u8]) -> Result<Self> {
        runtime.invalidity(plan).map(Self).map_err(|e| not_deserialized(&e))
    }

    fn first(&self, bits: &[usize]) -> Option<(ErrorKind, &'static str)> {
        bits.iter().find(|&&bit| self.0 & (1 << bit) != 0).map(|&bit| Self::REASONS[bit])
    }

    /// Fails when the bytes are no plan of this version.
    pub(crate) fn check_bytes(&self) -> Result<()> {
        match self.first(&Self::OF_BYTES) {
            Some((kind, reason)) => Err(Error::new(kind, reason).in_operation("load engine")),
            None => Ok(()),
        }
    }

    /// Adds to an error what speaks against this machine, unless the machine said itself what it lacks.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match self.first(&Self::OF_MACHINE) {
            Some((kind, reason)) if error.kind() != ErrorKind::Device => {
                let text = format!("{reason}: {}", error.message());
                Error::new(kind, text).in_operation("load engine").with_source(error)
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_not_taken_for_the_wrong_one() {
        let unlisted = Invalidity(1 << 1);
        let full = Error::new(ErrorKind::Device, "allocateAsync (cudaError 2: out of memory)");
        assert_eq!(unlisted.explain(full).kind(), ErrorKind::Device);
        let corrupt = || Error::new(ErrorKind::EngineCorrupt, "no kernel image");
        let other = unlisted.explain(corrupt());
        assert_eq!(other.kind(), ErrorKind::EngineIncompatible);
        assert!(other.message().contains("compute capability"), "{other}");
        assert!(other.message().contains("no kernel image"), "{other}");
        assert_eq!(Invalidity(0).explain(corrupt()).kind(), ErrorKind::EngineCorrupt);
    }
}
