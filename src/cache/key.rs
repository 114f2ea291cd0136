//! The key of an engine: a hash over everything that decides what the engine computes and where the engine runs. The parts
//! have names, so that a miss can tell which part differs.

use blake3::Hasher;

use crate::backend::Fingerprint;
use crate::export::OnnxModel;
use crate::hash;

/// The key of an engine, and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(super) hash: [u8; 32],
    /// Names and values, in order. Those of the model are hashes.
    pub(super) parts: Vec<(String, String)>,
}

/// The parts that are of the model.
pub(super) const GRAPH: &str = "graph";
pub(super) const WEIGHTS: &str = "weights";
/// Not hashed on its own, since the graph has it: how a miss finds the entry to compare with.
pub(super) const NAME: &str = "name";

impl Key {
    /// The key for a model, as the backend gets it, and the backend.
    pub(crate) fn of(model: &OnnxModel, fingerprint: &Fingerprint) -> Self {
        let split = model.split();
        let mut weights = Hasher::new();
        let bytes: Vec<&[u8]> = split.weights.iter().map(|(_, weight)| &**weight.bytes()).collect();
        for ((name, weight), hash) in split.weights.iter().zip(hash::hash_each(&bytes)) {
            add(&mut weights, name.as_bytes());
            add(&mut weights, weight.dtype().to_string().as_bytes());
            add(&mut weights, hash.as_bytes());
        }
        let own = [
            (NAME, model.name().to_owned()),
            ("accelerant", env!("CARGO_PKG_VERSION").to_owned()),
            (GRAPH, short(&hash::hash(&split.bytes))),
            (WEIGHTS, short(&weights.finalize())),
            // The ranges of symbols are in no protobuf.
            ("sizes", format!("{:?}", model.signature())),
            // Whether products round to TF32 is in no node.
            ("precision", asked(model)),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let of_backend =
            fingerprint.parts().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let parts: Vec<_> = own.into_iter().chain(of_backend).collect();
        let mut all = Hasher::new();
        for (name, value) in &parts {
            add(&mut all, name.as_bytes());
            add(&mut all, value.as_bytes());
        }
        Self { hash: *all.finalize().as_bytes(), parts }
    }

    /// The hash as text: the name of the entry.
    pub(crate) fn text(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }

    pub(super) fn name(&self) -> &str {
        value(&self.parts, NAME).unwrap_or_default()
    }
}

/// The precision that was asked for.
fn asked(model: &OnnxModel) -> String {
    model.precision_report().map_or("its own".into(), |report| format!("{:?}", report.precision))
}

/// The value of a part.
pub(super) fn value<'a>(parts: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parts.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Lengths keep what follows apart.
fn add(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

fn short(hash: &blake3::Hash) -> String {
    hash.to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::export::GraphBuilder;
    use crate::{DType, Dim, HostTensor};

    /// A linear layer whose weight is large enough to be apart, or not.
    fn model(name: &str, width: usize, seed: f32, batch: impl Into<Dim>) -> OnnxModel {
        let graph = GraphBuilder::new(name);
        let x = graph.input("x", DType::F32, [batch.into(), Dim::Fixed(width)]).unwrap();
        let weight = HostTensor::from_vec([width], vec![seed; width]).unwrap();
        let y = x.mul(&graph.weight("w", weight).unwrap()).unwrap();
        graph.output("y", &y).unwrap();
        graph.finish().unwrap()
    }

    fn fingerprint(tf32: bool) -> Fingerprint {
        Fingerprint::new("1.6.1.120").with("tf32", tf32)
    }

    #[test]
    fn the_same_is_the_same_and_every_part_counts() {
        let tuned = Dim::dynamic("n", 1..=8).unwrap().tuned_for([1, 8]).unwrap();
        let models = || {
            [
                model("a", 1000, 1.0, 4usize),
                model("b", 1000, 1.0, 4usize),
                model("a", 1000, 2.0, 4usize),
                model("a", 1001, 1.0, 4usize),
                model("a", 10, 1.0, 4usize),
                model("a", 10, 2.0, 4usize),
                model("a", 1000, 1.0, 5usize),
                model("a", 1000, 1.0, Dim::dynamic("n", 1..=8).unwrap()),
                model("a", 1000, 1.0, Dim::dynamic("n", 2..=8).unwrap()),
                model("a", 1000, 1.0, tuned.clone()),
            ]
        };
        let keys = || -> Vec<Key> {
            let both = [true, false].map(fingerprint);
            let keys = models().into_iter();
            keys.flat_map(|model| both.each_ref().map(|print| Key::of(&model, print))).collect()
        };
        assert_eq!(keys(), keys());
        let different: HashSet<_> = keys().iter().map(|key| key.hash).collect();
        assert_eq!(different.len(), keys().len());
    }

    #[test]
    fn what_moves_from_one_part_to_the_next_is_something_else() {
        let of = |print: Fingerprint| Key::of(&model("a", 10, 1.0, 4usize), &print).hash;
        let one = of(Fingerprint::new("1").with("a", "bc"));
        assert_ne!(one, of(Fingerprint::new("1").with("ab", "c")));
        assert_ne!(one, of(Fingerprint::new("1a").with("", "bc")));
    }

    /// `cargo test --release --lib -- hashing_of_a_gigabyte --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn hashing_of_a_gigabyte() {
        let model = model("a", 1 << 28, 1.0, 1usize);
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let key = Key::of(&model, &fingerprint(true));
            println!("{:?} {}", start.elapsed(), key.text());
        }
    }
}
