//! Whether every public method of `candle_core::Tensor`, function of `candle_nn::ops` and
//! `rotary_emb`, and layer of candle_nn has a case here, or a reason why not. They are read from the
//! source of the version of Candle that is built against, so that what a release adds is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::records;

/// What has no case, and why.
const LEFT_OUT: [(&str, &[&str]); 8] = [
    (
        "about the tensor, not its values; without a case of its own",
        &["dtype", "device", "shape", "dims", "dim", "rank", "elem_count", "is_contiguous"],
    ),
    (
        "about memory, which a traced tensor has none of",
        &[
            "empty",
            "empty_like",
            "id",
            "is_fortran_contiguous",
            "layout",
            "storage_and_layout",
            "from_storage",
            "stride",
            "strided_blocks",
            "strided_index",
        ],
    ),
    ("training", &["backward", "is_variable", "sorted_nodes", "track_op", "dropout"]),
    ("random numbers", &["rand", "rand_like", "randn", "randn_like"]),
    (
        "reads values; refused while tracing (`reading_values_names_the_call`)",
        &["to_scalar", "to_vec0", "to_vec1", "to_vec2", "to_vec3"],
    ),
    (
        "changes the tensor in place; refused while tracing (`changing_in_place_names_the_call`)",
        &["const_set", "one_set", "scatter_add_set", "scatter_set", "slice_set", "zero_set"],
    ),
    (
        "files",
        &[
            "from_raw_buffer",
            "read_npy",
            "read_npz",
            "read_npz_by_name",
            "save_safetensors",
            "write_bytes",
            "write_npy",
            "write_npz",
        ],
    ),
    (
        "a kernel of the caller's own, or one in Candle's terms, which ONNX has no word for",
        &[
            "apply_op1",
            "apply_op1_arc",
            "apply_op1_no_bwd",
            "apply_op2",
            "apply_op2_arc",
            "apply_op2_no_bwd",
            "apply_op3",
            "apply_op3_arc",
            "apply_op3_no_bwd",
            "inplace_op1",
            "inplace_op2",
            "inplace_op3",
            "rms_norm_slow",
            "layer_norm_slow",
            "rope_slow",
            "rope_i_slow",
        ],
    ),
];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).output().expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The source folder of a package that this one is built with.
fn source(package: &str) -> PathBuf {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    // Packages of other platforms need not be here.
    let metadata = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    let metadata = cargo(&[&metadata[..], &["--manifest-path", manifest]].concat());
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|p| p["name"] == package).expect(package);
    let manifest = found["manifest_path"].as_str().unwrap();
    Path::new(manifest).parent().unwrap().join("src")
}

fn parse(file: &Path) -> syn::File {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn files(folder: &Path) -> Vec<syn::File> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "rs")).map(|p| parse(&p)).collect()
}

fn last_name(path: &syn::Path) -> String {
    path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

fn self_name(item: &syn::ItemImpl) -> String {
    match &*item.self_ty {
        syn::Type::Path(path) => last_name(&path.path),
        _ => String::new(),
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// The public methods of `impl Tensor`, also those a macro makes (`unary_op!(recip, Recip)`).
fn methods_of_tensor() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for item in files(&source("candle-core")).into_iter().flat_map(|file| file.items) {
        let syn::Item::Impl(item) = item else { continue };
        if item.trait_.is_some() || self_name(&item) != "Tensor" {
            continue;
        }
        for member in item.items {
            match member {
                syn::ImplItem::Fn(method) if is_public(&method.vis) => {
                    methods.insert(method.sig.ident.to_string());
                }
                syn::ImplItem::Macro(call) => {
                    let first = call.mac.tokens.into_iter().next();
                    methods.extend(first.map(|name| name.to_string()));
                }
                _ => {}
            }
        }
    }
    methods
}

fn public_functions(file: &Path) -> BTreeSet<String> {
    let functions = parse(file).items.into_iter().filter_map(|item| match item {
        syn::Item::Fn(function) if is_public(&function.vis) => Some(function.sig.ident.to_string()),
        _ => None,
    });
    functions.collect()
}

/// The types that implement `Module` or `ModuleT`, or are recurrent.
fn layers() -> BTreeSet<String> {
    let items = files(&source("candle-nn")).into_iter().flat_map(|file| file.items);
    let layer = |item: syn::Item| match item {
        syn::Item::Impl(item) => {
            let of = last_name(&item.trait_.as_ref()?.1);
            matches!(&*of, "Module" | "ModuleT" | "RNN").then(|| self_name(&item))
        }
        _ => None,
    };
    items.filter_map(layer).collect()
}

/// The name of the case that a line of a table, or a call for a layer, is about, and what follows.
fn case_of(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let layer = ["layer(", "layer_of_one(", "layer_of_lengths("]
        .iter()
        .find_map(|call| line.strip_prefix(call));
    layer.unwrap_or(line).trim_start().strip_prefix('"')?.split_once('"')
}

/// The names of all cases, up to the first comma, and whether the row speaks of it as a call.
fn cases() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases_candle");
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some((name, rest)) = case_of(line) else { continue };
            let is_layer = !line.trim_start().starts_with('"');
            let name = name.split(", ").next().unwrap_or(name);
            // A row of a table calls what it is named for; its body may take a few lines.
            let body: String = lines.clone().take(6).collect();
            let call = format!("{name}(");
            if is_layer || rest.contains(&call) || body.contains(&call) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn all_that_candle_offers_for_inference_has_a_case_or_a_reason() {
    // A bundle of binaries runs where there is neither cargo nor source.
    if !Path::new(env!("CARGO")).exists() {
        eprintln!("skipped: Candle's source is not on this machine");
        return;
    }
    let nn = source("candle-nn");
    let methods = methods_of_tensor();
    assert!(methods.len() > 150 && methods.contains("recip"), "{methods:?}");
    let layers = layers();
    assert!(layers.contains("Linear") && layers.contains("BatchNorm"), "{layers:?}");
    let families = [
        ("`candle_core::Tensor`", methods),
        ("`candle_nn::ops`", public_functions(&nn.join("ops.rs"))),
        ("`candle_nn::rotary_emb`", public_functions(&nn.join("rotary_emb.rs"))),
        ("Layers of candle_nn", layers),
    ];

    let cases = cases();
    let reasons =
        LEFT_OUT.iter().flat_map(|(reason, names)| names.iter().map(move |n| (*n, *reason)));
    let left_out: BTreeMap<&str, &str> = reasons.collect();
    let (mut offered, mut missing) = (BTreeSet::new(), Vec::new());
    for (family, names) in &families {
        for name in names {
            // A function of the same name is the method.
            if !offered.insert(name.as_str()) {
                continue;
            }
            let reason = left_out.get(name.as_str()).copied();
            if reason.is_none() && !cases.contains(name) {
                missing.push(name);
            }
            records::listed(family, name, reason.unwrap_or_default());
        }
    }
    assert!(missing.is_empty(), "without a case or a reason: {missing:?}");
    let gone: Vec<&&str> = left_out.keys().filter(|name| !offered.contains(**name)).collect();
    assert!(gone.is_empty(), "left out, but not there: {gone:?}");
    let both: Vec<&&str> = left_out.keys().filter(|name| cases.contains(**name)).collect();
    assert!(both.is_empty(), "left out, but with a case: {both:?}");
}
