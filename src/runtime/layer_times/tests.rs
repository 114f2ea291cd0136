//! The join on what was recorded of BERT-base, batch 8, on an H200 (`docs/measured/2026-11-precision-h200.md`): the first
//! layer's kernels with their times. The nodes of a kernel are those that a plan of the same graph has for the kernel.

use super::*;
use crate::export::precision::Precision;

const SELF: &str = "/bert/encoder/layer.0/attention/self/";
const LAYER: &str = "/bert/encoder/layer.0/";

fn kernel(name: &str, micros: f64, types: &[&str], nodes: &[&str]) -> LayerTime {
    let owned = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
    LayerTime::new(name, micros, micros).of_nodes(owned(nodes), owned(types))
}

fn of(folder: &str, nodes: &[&str]) -> Vec<String> {
    nodes.iter().map(|node| format!("{folder}{node}")).collect()
}

fn report() -> PrecisionReport {
    let within = of(SELF, &["query/MatMul", "key/MatMul", "MatMul", "Softmax", "MatMul_1"]);
    let after = of(LAYER, &["attention/output/dense/MatMul", "output/dense/MatMul"]);
    let layer = |name: &String| {
        let half = name.ends_with("MatMul_1") || name.ends_with("self/MatMul");
        let precision = if half { "f16" } else { "f32" };
        serde_json::json!({ "name": name, "operator": "MatMul", "precision": precision })
    };
    let layers: Vec<_> = within.iter().chain(&after).map(layer).collect();
    let report = serde_json::json!({ "precision": Precision::Mixed, "layers": layers });
    serde_json::from_value(report).expect("a report is read")
}

#[test]
fn recorded_kernels_are_joined_by_their_nodes() {
    let projections =
        of(SELF, &["query/MatMul_output_0.batched/MatMul", "query/MatMul_output_0.batched/Add"]);
    let [scores, softmax, weighted] =
        ["MatMul", "Softmax", "MatMul_1"].map(|name| format!("{SELF}{name}"));
    let [output, down] = ["attention/output/dense/MatMul", "output/dense/MatMul"]
        .map(|name| format!("{LAYER}{name}"));
    let projections: Vec<&str> = projections.iter().map(String::as_str).collect();
    let float = &["Float"][..];
    let before = [
        kernel("__myl_FcAdd_myl0_1", 56.5, float, &projections),
        kernel(&format!("{scores}_myl0_5"), 9.6, float, &[&scores]),
        kernel("__myl_CastReshGathReshAndSeleMaxr_myl0_6", 7.6, float, &["/bert/Gather_1"]),
        kernel("__myl_AddMaxrSubExpSumDivMul_myl0_7", 6.8, float, &[&softmax]),
        kernel(&format!("{weighted}_myl0_9"), 13.0, float, &[&weighted]),
        kernel(&format!("{output}_myl0_11"), 19.9, float, &[&output]),
        kernel(&format!("{down}_myl0_14"), 24.9, float, &[&down]),
    ];
    let cast = format!("{softmax}_output_0.f16.cast");
    let fused = [&*scores, &*softmax, &*cast, &*weighted];
    let after = [
        kernel("__myl_CastReshGathReshAndSeleMaxr_myl0_0", 12.9, float, &["/bert/Gather_1"]),
        kernel("__myl_FcAdd_myl0_9", 53.5, float, &projections),
        kernel("_gemm_mha_v2_myl0_13", 9.4, &["Half"], &fused),
        kernel(&format!("{output}_myl0_15"), 12.0, float, &[&output]),
        kernel(&format!("{down}_myl0_18"), 25.0, float, &[&down]),
    ];
    let mut report = report();
    join(&mut report, &before, &after);

    let cost = |micros, shared_with| {
        let mut cost = LayerCost::default();
        (cost.micros, cost.shared_with) = (micros, shared_with);
        Some(cost)
    };
    let times = |name: &str| {
        let layer = report.layer(name).expect("the layer is in the report");
        (layer.before, layer.after)
    };
    assert_eq!(times(&scores), (cost(9.6, 0), cost(9.4, 2)));
    assert_eq!(times(&softmax), (cost(6.8, 0), cost(9.4, 2)));
    assert_eq!(times(&weighted), (cost(13.0, 0), cost(9.4, 2)));
    assert_eq!(times(&output), (cost(19.9, 0), cost(12.0, 0)));
    // The three products are one kernel, which is named after the first.
    assert_eq!(times(&format!("{SELF}query/MatMul")), (cost(56.5, 0), cost(53.5, 0)));
    assert_eq!(times(&format!("{SELF}key/MatMul")), (None, None));
    let [all, then] = [report.before, report.after].map(|cost| cost.expect("it was timed"));
    assert!((all.micros - 138.3).abs() < 1e-9 && (all.elsewhere - 7.6).abs() < 1e-9, "{all:?}");
    assert!((then.micros - 112.8).abs() < 1e-9 && (then.elsewhere - 12.9).abs() < 1e-9, "{then:?}");
    assert_eq!(report.layer(&scores).expect("it is there").engine, ["Half"]);

    let text = report.to_string();
    assert!(text.contains("before 138.3 µs, after 112.8 µs"), "{text}");
    assert!(text.contains("before 9.6 µs, after 9.4 µs with 2 other layers"), "{text}");
    let json = report.to_json().expect("it is written");
    let read: PrecisionReport = serde_json::from_str(&json).expect("it is read");
    assert_eq!(read.layers, report.layers);
    assert!(read.before.is_some() && read.after.is_some(), "{json}");
}

#[test]
fn a_node_belongs_to_the_layer_that_it_was_made_for() {
    let names = ["/a/MatMul", "/a/MatMul_1", "y"];
    let places: Places<'_> = names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let of = |node| layer_of(&places, node);
    assert_eq!(of("/a/MatMul"), Some(0));
    assert_eq!(of("/a/MatMul_output_0.f16.cast"), Some(0));
    assert_eq!(of("/a/MatMul_1_output_0.batched/MatMul"), Some(1));
    assert_eq!(
        (of("node_of_y"), of("y.f16.cast"), of("y.groups/Conv")),
        (Some(2), Some(2), Some(2))
    );
    assert_eq!(
        (of("/a/MatMul_2"), of("/a/MatMul_10"), of("/a/Mat"), of("")),
        (None, None, None, None)
    );
}
