//! The version of an ONNX Runtime, from the library itself: its build information names a branch, which is `HEAD` for
//! released packages. Beside `memory`, the one place of this backend with unsafe code.

use std::{
    error::Error as _,
    ffi::{CStr, c_char, c_void},
    fmt,
    path::Path,
};

/// What an ONNX Runtime calls its release, such as `1.29.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version(String);

impl Version {
    /// What a library says its version is.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        /// The beginning of ONNX Runtime's `OrtApiBase`, which has been the same since the first release.
        #[repr(C)]
        struct ApiBase {
            get_api: unsafe extern "C" fn(u32) -> *const c_void,
            get_version_string: unsafe extern "C" fn() -> *const c_char,
        }
        // SAFETY: the file is named as ONNX Runtime's, by the user, or in the folder that the user or the system chose for
        // it; running its initializers is what loading it is for. It stays loaded until the end of the process.
        let library = unsafe { libloading::Library::new(path) }.map_err(|e| told(&e))?;
        let library = std::mem::ManuallyDrop::new(library);
        // SAFETY: this is the type of the function in every release of ONNX Runtime.
        let base =
            unsafe { library.get::<unsafe extern "C" fn() -> *const ApiBase>(b"OrtGetApiBase\0") };
        let base = base.map_err(|e| format!("this is no ONNX Runtime: {}", told(&e)))?;
        // SAFETY: the function takes nothing, and returns a table that lives as long as the library.
        let table = unsafe { base().as_ref() };
        let table = table.ok_or("this ONNX Runtime has no functions")?;
        // SAFETY: as above; the text ends with a zero and lives as long as the library.
        let text = unsafe {
            let text = (table.get_version_string)();
            (!text.is_null()).then(|| CStr::from_ptr(text))
        };
        let text = text.and_then(|text| text.to_str().ok()).filter(|text| !text.is_empty());
        text.map(|text| Self(text.to_owned())).ok_or_else(|| "it does not say its version".into())
    }

    /// The numbers, to tell which is newer.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
        self.0.split('.').map(|part| digits(part).parse().unwrap_or(0)).collect()
    }

    /// Whether it ends the process when it divides an integer by 0: 1.24 does, 1.29 gives an error.
    pub(super) fn divides_by_zero(&self) -> bool {
        self.numbers() < vec![1, 29]
    }

    /// Whether `ort` can call it.
    pub(super) fn is_new_enough(&self) -> bool {
        self.numbers() >= vec![1, u64::from(ort::MINOR_VERSION)]
    }
}

/// An error with its cause: libloading itself says no more than that a call failed.
fn told(error: &libloading::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let version = |text: &str| Version(text.to_owned());
        assert!(version("1.29.0").numbers() > version("1.9.12").numbers());
        assert!(version("1.29.0").is_new_enough() && version("2.0.0").is_new_enough());
        assert!(!version("1.17.3").is_new_enough() && !version("").is_new_enough());
        assert_eq!(version("1.30.0-dev+1").numbers(), [1, 30, 0]);
    }
}
