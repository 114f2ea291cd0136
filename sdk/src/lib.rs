//! Which native libraries `accelerant` runs on, where they are looked for, and the command that puts them there.
//!
//! Without the feature `install` the crate has no dependencies: the library, its build script, the command and the
//! repository's chores all look in the same folder. With `install` a library is fetched through pip and cargo, as this
//! machine has them set up, and checked against the hashes in this crate.

mod folder;
#[cfg(feature = "install")]
pub mod install;

pub use folder::{cache_folder, folder_in};

/// A library or a trained model that lies in a folder of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdk {
    /// What the command calls it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The pinned version.
    pub version: &'static str,
    /// The variable of the environment that points at one that is installed already, which is then used as it is.
    pub variable: &'static str,
    /// What the variable names.
    pub points_at: PointsAt,
    /// Its folder in the cache.
    pub folder: &'static str,
}

/// What the variable of an [`Sdk`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointsAt {
    /// A folder with `include/` and `lib/`.
    Folder,
    /// A library, which is this file of the folder in the cache.
    Library(&'static str),
    /// A folder with this file in it.
    FolderWith(&'static str),
}

/// TensorRT-RTX: libraries and headers.
pub const TENSORRT_RTX: Sdk = Sdk {
    name: "tensorrt-rtx",
    title: "TensorRT-RTX",
    version: "1.6.1.120",
    variable: "TENSORRT_RTX_ROOT",
    points_at: PointsAt::Folder,
    folder: "tensorrt-rtx-1.6.1.120",
};

/// Enterprise TensorRT: headers and the lean runtime, which runs engines and builds none.
pub const TENSORRT: Sdk = Sdk {
    name: "tensorrt",
    title: "TensorRT",
    version: "11.4.0.106",
    variable: "TENSORRT_ROOT",
    points_at: PointsAt::Folder,
    folder: "tensorrt-lean-11.4.0.106",
};

/// ONNX Runtime: the library.
pub const ONNXRUNTIME: Sdk = Sdk {
    name: "onnxruntime",
    title: "ONNX Runtime",
    version: "1.29.0",
    variable: "ORT_DYLIB_PATH",
    points_at: PointsAt::Library("lib/libonnxruntime.so.1.29.0"),
    folder: "onnxruntime-1.29.0",
};

/// The trained sentence encoder all-MiniLM-L6-v2: weights and tokenizer.
pub const MINILM: Sdk = Sdk {
    name: "minilm",
    title: "all-MiniLM-L6-v2",
    version: "0.1.0",
    variable: "ACCELERANT_MINILM_DIR",
    points_at: PointsAt::FolderWith("model.safetensors"),
    folder: "all-minilm-l6-v2",
};

/// All of them.
pub const ALL: [Sdk; 4] = [TENSORRT_RTX, TENSORRT, ONNXRUNTIME, MINILM];

impl Sdk {
    /// The command that puts it in place.
    ///
    /// ```
    /// assert_eq!(accelerant_sdk::TENSORRT_RTX.command(), "accelerant sdk install tensorrt-rtx");
    /// ```
    #[must_use]
    pub fn command(&self) -> String {
        format!("accelerant sdk install {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_by_what_is_in_it() {
        for sdk in [TENSORRT_RTX, TENSORRT, ONNXRUNTIME] {
            assert!(sdk.folder.ends_with(&format!("-{}", sdk.version)), "{sdk:?}");
        }
    }
}
