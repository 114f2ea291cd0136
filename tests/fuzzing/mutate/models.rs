//! Changes of serialized models.

use accelerant::export::onnx::{ModelProto, OperatorSetIdProto};
use prost::Message as _;

use super::{bytes, graphs};
use crate::random::Random;

/// A model of the corpus with some changes, few of them mostly, so that many are models still.
pub(crate) fn model(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let of = random.pick(corpus).unwrap();
    let Ok(mut model) = ModelProto::decode(&**of) else {
        let mut changed = of.clone();
        bytes::change(&mut changed, random);
        return changed;
    };
    let other = random.pick(corpus).and_then(|bytes| ModelProto::decode(&**bytes).ok());
    for _ in 0..1 + random.below(4) / (1 + random.below(3)) {
        change(&mut model, other.as_ref(), random);
    }
    let mut changed = model.encode_to_vec();
    if random.once_in(6) {
        bytes::change(&mut changed, random);
    }
    changed
}

pub(super) fn change(model: &mut ModelProto, other: Option<&ModelProto>, random: &mut Random) {
    match random.below(24) {
        0 => {
            let version = Some(random.below(28) as i64);
            match random.pick_mut(&mut model.opset_import) {
                Some(set) => set.version = version,
                None => model.opset_import.push(OperatorSetIdProto { domain: None, version }),
            }
        }
        1 => model.ir_version = Some(random.odd()),
        2 => {
            if let Some(function) = other.and_then(|other| random.pick(&other.functions)).cloned() {
                model.functions.push(function);
            }
        }
        3 => {
            if let Some(function) = random.pick_mut(&mut model.functions) {
                // A function that calls itself, or another in a circle.
                let name = function.name.clone();
                if let Some(node) = random.pick_mut(&mut function.node) {
                    node.op_type = name;
                    node.domain.clone_from(&function.domain);
                }
            }
        }
        _ => {
            if let Some(graph) = &mut model.graph {
                graphs::change(graph, other.and_then(|other| other.graph.as_ref()), random);
            }
        }
    }
}
