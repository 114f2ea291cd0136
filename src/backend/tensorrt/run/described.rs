//! What TensorRT tells of an engine's layers, as JSON: the nodes of the model that a layer computes, and types. Engines with
//! names of layers alone tell neither.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::backend::LayerTime;

/// How the parser's name of a node begins where layers are described.
const NODE: &str = "[ONNX Layer: ";
/// What stands between the names.
const BETWEEN: [char; 2] = ['\u{1e}', '\u{1f}'];

/// The layers by their names.
pub(super) struct Described(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    nodes: BTreeSet<String>,
    types: BTreeSet<String>,
}

impl Described {
    /// What is no such JSON describes nothing.
    pub(super) fn of(told: &str) -> Self {
        let told: Value = serde_json::from_str(told).unwrap_or_default();
        let layers = told["Layers"].as_array().map_or(&[][..], Vec::as_slice);
        let layers = layers.iter().filter_map(|layer| {
            let name = layer.get("Name")?.as_str()?.to_owned();
            let mut found = Layer::default();
            for value in layer.as_object()?.values().filter_map(Value::as_str) {
                found.nodes.extend(nodes(value));
            }
            for tensors in ["Inputs", "Outputs"].map(|key| layer[key].as_array()) {
                let fields = tensors.into_iter().flatten().filter_map(Value::as_object).flatten();
                // Versions name it `Format/Datatype`, `Format` or `DataType`.
                let types = fields.filter(|(key, _)| {
                    let key = key.to_lowercase();
                    key.contains("datatype") || key.contains("format")
                });
                found.types.extend(types.filter_map(|(_, kind)| kind.as_str().map(str::to_owned)));
            }
            Some((name, found))
        });
        Self(layers.collect())
    }

    /// A layer with what is known of it.
    pub(super) fn completed(&self, layer: LayerTime) -> LayerTime {
        let Some(found) = self.0.get(&layer.name) else {
            let nodes = of_name(&layer.name);
            return layer.of_nodes(nodes, Vec::new());
        };
        let [mut nodes, types]: [Vec<String>; 2] =
            [&found.nodes, &found.types].map(|all| all.iter().cloned().collect());
        if nodes.is_empty() {
            nodes = of_name(&layer.name);
        }
        layer.of_nodes(nodes, types)
    }
}

/// The nodes in a text such as `[ONNX Layer: a]␟[ONNX Layer: b]`.
fn nodes(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(BETWEEN);
    let names = parts.filter_map(|part| part.trim().strip_prefix(NODE)?.strip_suffix(']'));
    names.map(str::to_owned)
}

/// The nodes that a layer's name has, such as `/a/MatMul+/b/MatMul_myl0_9`. TensorRT names kernels of its own by what they
/// compute, such as `__myl_FcAdd_myl0_9`; those name no node.
fn of_name(name: &str) -> Vec<String> {
    if name.starts_with('_') {
        return Vec::new();
    }
    let stem = name.rsplit_once("_myl").map_or(name, |(stem, number)| {
        let counted = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        if counted { stem } else { name }
    });
    // In an engine of several profiles, those of later ones are numbered.
    let plain = |node: &str| node.split(" [profile ").next().unwrap_or(node).trim().to_owned();
    stem.split('+').map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(told: &str, name: &str) -> (Vec<String>, Vec<String>) {
        let layer = Described::of(told).completed(LayerTime::new(name, 1.0, 1.0));
        (layer.nodes, layer.types)
    }

    #[test]
    fn a_described_layer_has_its_nodes_and_types() {
        let told = r#"{"Layers": [{
            "Name": "__myl_FcAdd_myl0_9", "LayerType": "kgen",
            "Inputs": [{"Name": "x", "Dimensions": [1024, 768], "Format/Datatype": "Half"}],
            "Outputs": [{"Name": "y", "Dimensions": [1024, 768], "Format/Datatype": "Float"}],
            "TacticName": "__myl_FcAdd", "StreamId": 0,
            "Metadata": "[ONNX Layer: /a/MatMul]\u001f[ONNX Layer: /a[0]/Add]"
        }], "Bindings": ["x", "y"]}"#;
        let (nodes, types) = completed(told, "__myl_FcAdd_myl0_9");
        assert_eq!(
            (nodes, types),
            (vec!["/a/MatMul".into(), "/a[0]/Add".into()], vec!["Float".into(), "Half".into()])
        );
    }

    #[test]
    fn a_name_alone_gives_the_nodes_that_it_has() {
        let told =
            r#"{"Layers": ["/a/MatMul+/b/MatMul_myl0_9", "__myl_FcAdd_myl0_10"], "Bindings": []}"#;
        let of = |name| completed(told, name).0;
        assert_eq!(of("/a/MatMul+/b/MatMul_myl0_9"), ["/a/MatMul", "/b/MatMul"]);
        assert_eq!(
            of("/a/MatMul [profile 1]+/b/MatMul [profile 1]_myl1_4"),
            ["/a/MatMul", "/b/MatMul"]
        );
        assert_eq!(of("a_mylayer"), ["a_mylayer"]);
        assert!(of("__myl_FcAdd_myl0_10").is_empty() && of("_gemm_mha_v2_myl0_13").is_empty());
        assert_eq!(completed("no JSON", "a").0, ["a"]);
        // Types are known without nodes, and go by several names.
        let told = r#"{"Layers": [{"Name": "a_myl0_1", "Inputs": [
            {"Name": "x", "Format": "Row major linear FP16 format"}, {"Name": "y", "DataType": "Float"}]}]}"#;
        let (nodes, types) = completed(told, "a_myl0_1");
        assert_eq!(nodes, ["a"]);
        assert_eq!(types, ["Float", "Row major linear FP16 format"]);
    }
}
