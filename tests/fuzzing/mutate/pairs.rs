//! Changes of a model and the file of its weights.

use accelerant::export::onnx::{ModelProto, StringStringEntryProto};
use prost::Message as _;

use super::{bytes, models};
use crate::random::Random;

/// Places that a model may say its weights lie at.
const PLACES: [&str; 9] = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../weights",
    "model.onnx",
    "./w/../weights",
    "/dev/zero",
    "w\0x",
];

/// A pair with one to four changes. The model's weights lie in `weights`.
pub(crate) fn pair(corpus: &[(Vec<u8>, Vec<u8>)], random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let (model, mut weights) = random.pick(corpus).unwrap().clone();
    let mut model = ModelProto::decode(&*model).unwrap();
    for _ in 0..1 + random.below(4) {
        match random.below(8) {
            0..=1 => bytes::change(&mut weights, random),
            2 => models::change(&mut model, None, random),
            _ => external(&mut model, random),
        }
    }
    let mut model = model.encode_to_vec();
    if random.once_in(10) {
        bytes::change(&mut model, random);
    }
    (model, weights)
}

fn external(model: &mut ModelProto, random: &mut Random) {
    let Some(tensor) =
        model.graph.as_mut().and_then(|graph| random.pick_mut(&mut graph.initializer))
    else {
        return;
    };
    let number = random.odd().to_string();
    match random.below(7) {
        0 => match random.pick_mut(&mut tensor.dims) {
            Some(size) => *size = random.odd(),
            None => tensor.dims.push(random.odd()),
        },
        1 => tensor.data_type = Some(random.below(26) as i32),
        2 => tensor.external_data.extend(tensor.external_data.first().cloned()),
        3 => drop(tensor.external_data.pop()),
        _ => {
            let key = ["location", "offset", "length", "checksum"][random.below(4)];
            let value = match key {
                "location" => PLACES[random.below(PLACES.len())].to_owned(),
                _ => number,
            };
            tensor.external_data.retain(|entry| entry.key.as_deref() != Some(key));
            let entry = StringStringEntryProto { key: Some(key.into()), value: Some(value) };
            tensor.external_data.push(entry);
        }
    }
}
