//! Compiles the C++ side of the TensorRT backend, once for each flavor that was asked for. Links
//! nothing of TensorRT: its libraries are loaded at run time. Without these features it does
//! nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "_tensorrt")]
    tensorrt::compile();
}

#[cfg(feature = "_tensorrt")]
mod tensorrt {
    use std::{
        env,
        path::{Path, PathBuf},
        process,
    };

    use accelerant_sdk::{Sdk, TENSORRT, TENSORRT_RTX, cache_folder, folder_in};

    struct Flavor {
        feature: &'static str,
        name: &'static str,
        sdk: Sdk,
        defines: &'static [&'static str],
    }

    const FLAVORS: [Flavor; 2] = [
        Flavor {
            feature: "CARGO_FEATURE_TENSORRT_RTX",
            name: "rtx",
            sdk: TENSORRT_RTX,
            defines: &["ACCELERANT_IS_RTX"],
        },
        Flavor {
            feature: "CARGO_FEATURE_TENSORRT",
            name: "enterprise",
            sdk: TENSORRT,
            defines: &[],
        },
    ];

    const BRIDGE: &str = "src/backend/tensorrt/ffi/bridge.rs";
    const SOURCES: [&str; 5] = [
        "cpp/log.cpp",
        "cpp/library.cpp",
        "cpp/builder.cpp",
        "cpp/refitter.cpp",
        "cpp/runtime.cpp",
    ];

    pub(super) fn compile() {
        println!("cargo::rerun-if-changed=cpp");
        println!("cargo::rerun-if-changed={BRIDGE}");
        for variable in ["ACCELERANT_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "DOCS_RS"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        for flavor in &FLAVORS {
            println!("cargo::rerun-if-env-changed={}", flavor.sdk.variable);
        }
        if env::var_os("DOCS_RS").is_some() {
            return;
        }
        let wanted: Vec<_> =
            FLAVORS.iter().filter(|flavor| env::var_os(flavor.feature).is_some()).collect();

        let mut dispatch = cxx_build::bridge(BRIDGE);
        common(&mut dispatch).file("cpp/dispatch.cpp");
        for flavor in &wanted {
            dispatch.define(&format!("ACCELERANT_{}", flavor.name.to_uppercase()), None);
        }
        dispatch.compile("accelerant_dispatch");

        for flavor in wanted {
            // No bridge of its own, only the include folders of the one above.
            let mut build = cxx_build::bridges(std::iter::empty::<&str>());
            // The two flavors define the same namespaces and meet in one program.
            common(&mut build)
                .files(SOURCES)
                .include(headers(flavor))
                .define("ACCELERANT_FLAVOR", flavor.name)
                .define("nvinfer1", &*format!("nvinfer1_{}", flavor.name))
                .define("nvonnxparser", &*format!("nvonnxparser_{}", flavor.name));
            for define in flavor.defines {
                build.define(define, None);
            }
            build.compile(&format!("accelerant_{}", flavor.name));
        }
    }

    /// The folder with the flavor's headers.
    fn headers(flavor: &Flavor) -> PathBuf {
        let Sdk { variable, folder, .. } = flavor.sdk;
        let root = match folder_in(variable) {
            Some(root) => Some(root),
            None => match cache_folder() {
                Ok(cache) => cache.map(|cache| cache.join(folder)),
                Err(refused) => {
                    println!("cargo::error=no TensorRT headers: the cache folder {refused}");
                    process::exit(1);
                }
            },
        };
        let include = root
            .map(|root| root.join("include"))
            .unwrap_or_else(|| Path::new(folder).join("include"));
        if !include.join("NvInfer.h").is_file() {
            let missing = include.join("NvInfer.h");
            println!(
                "cargo::error=no TensorRT headers: {} is missing. Either run `{}` (`cargo install \
                 accelerant-cli` gives the command), which fetches headers and libraries into a folder that all \
                 crates look in, or set {variable} to the folder of an SDK with include/ and lib/",
                missing.display(),
                flavor.sdk.command()
            );
            process::exit(1);
        }
        println!("cargo::rerun-if-changed={}", include.display());
        include
    }

    fn common(build: &mut cc::Build) -> &mut cc::Build {
        build
            .std("c++17")
            .flag_if_supported("-Wall")
            .flag_if_supported("-Wextra")
            // The vendor's headers use what they deprecate.
            .flag_if_supported("-Wno-deprecated-declarations")
            .flag_if_supported("-Wno-unused-parameter")
    }
}
