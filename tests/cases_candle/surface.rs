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

/// The source folder of a package that this one is built with.
fn source(package: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {error}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
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
    let nn = source("candle-nn");
    let mut offered = methods_of_tensor();
    assert!(offered.len() > 150 && offered.contains("recip"), "{offered:?}");
    offered.extend(public_functions(&nn.join("ops.rs")));
    offered.extend(public_functions(&nn.join("rotary_emb.rs")));
    let layers = layers();
    assert!(layers.contains("Linear") && layers.contains("BatchNorm"), "{layers:?}");
    offered.extend(layers);

    let cases = cases();
    let left_out: BTreeSet<&str> = LEFT_OUT.iter().flat_map(|(_, names)| *names).copied().collect();
    let missing: Vec<&String> = offered
        .iter()
        .filter(|name| !cases.contains(*name) && !left_out.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "without a case or a reason: {missing:?}");
    let gone: Vec<&&str> = left_out.iter().filter(|name| !offered.contains(**name)).collect();
    assert!(gone.is_empty(), "left out, but not there: {gone:?}");
    let both: Vec<&&str> = left_out.iter().filter(|name| cases.contains(**name)).collect();
    assert!(both.is_empty(), "left out, but with a case: {both:?}");
    for (reason, names) in LEFT_OUT {
        names.iter().for_each(|name| records::left_out(name, reason));
    }
}

/// What the tables say of an operation: its forms, and who does not take which of them.
#[derive(Default)]
struct Row {
    forms: BTreeSet<String>,
    gaps: BTreeSet<String>,
}

/// All rows by file and operation.
fn rows() -> BTreeMap<(String, String), Row> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases_candle");
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let family = path.file_stem().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let Some((name, rest)) = case_of(line) else { continue };
            if !rest.starts_with(',') || family == "surface" {
                continue;
            }
            let (operation, form) = name.split_once(", ").unwrap_or((name, ""));
            let row = rows.entry((family.clone(), operation.to_owned())).or_default();
            if !form.is_empty() {
                row.forms.insert(form.to_owned());
            }
            let gap = rest.split_once("except [").and_then(|(_, gaps)| gaps.split_once("\"]"));
            if let Some((runner, reason)) = gap.and_then(|(gap, _)| gap.split_once(": \"")) {
                let form = if form.is_empty() { operation } else { form };
                row.gaps.insert(format!("{runner}, {form}: {reason}"));
            }
        }
    }
    rows
}

fn document() -> String {
    let mut text = String::from(
        "# Candle's operations\n\n\
         What a forward over `TensorOps` can do, from the tables of `tests/cases_candle`. Each case runs in \
         every test run on random inputs: its results on tract and on ONNX Runtime are compared with \
         Candle's own on the CPU, and TensorRT-RTX's parser and builder take it (with a GPU, it also runs \
         there). Who does not take a case is named with the reason, and tried all the same: a gap that is \
         filled fails the test. Batches are fixed and symbolic; `lengths` has a second symbol. `dtypes` has them in 16-bit floats; in bfloat16 tract takes none of \
         them, and ONNX Runtime's CPU only those that move values.\n\n\
         Written by `ACCELERANT_WRITE_DOCUMENTS=1 cargo test --test cases_candle surface`, and compared \
         with the tables, and these with Candle's source, in every test run.\n",
    );
    let mut family = String::new();
    for ((of, operation), row) in rows() {
        if family != of {
            text += &format!(
                "\n## {of}\n\n| operation | further forms | not taken by |\n|---|---|---|\n"
            );
            family = of;
        }
        let join = |parts: &BTreeSet<String>, by| {
            parts.iter().map(String::as_str).collect::<Vec<_>>().join(by)
        };
        let (forms, gaps) = (join(&row.forms, "; "), join(&row.gaps, "; "));
        text += &format!("| {operation} | {forms} | {gaps} |\n");
    }
    text += "\n## Left out\n\n| reason | what |\n|---|---|\n";
    for (reason, names) in LEFT_OUT {
        text += &format!("| {reason} | {} |\n", names.join(", "));
    }
    text
}

#[test]
fn the_document_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/candle-operations.md");
    let expected = document();
    if std::env::var_os("ACCELERANT_WRITE_DOCUMENTS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(found.lines()).find(|(new, old)| new != old);
    assert!(expected == found, "docs/candle-operations.md is stale: {differs:?}");
}
