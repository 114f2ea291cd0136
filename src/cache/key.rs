//! The key of an engine: a hash over everything that decides what the engine computes and where the engine runs. The parts
//! have names, so that a miss can tell which part differs.

use std::collections::HashMap;

use blake3::Hasher;
use bytes::Bytes;

use super::code;
use crate::backend::Fingerprint;
use crate::export::{OnnxModel, SplitModel, Target};
use crate::hash;

/// The key of an engine, and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(super) hash: [u8; 32],
    /// Names and values, in order. Those of the model are hashes.
    pub(super) parts: Vec<(String, String)>,
    /// Which model it is of before the passes and the precision, for people alone: not a part of the key.
    pub(super) source: Option<[u8; 32]>,
}

/// The parts that are of the model.
pub(super) const GRAPH: &str = "graph";
pub(super) const WEIGHTS: &str = "weights";
pub(super) const PRECISION: &str = "precision";
/// Not hashed on its own, since the graph has it: how a miss finds the entry to compare with.
pub(super) const NAME: &str = "name";

/// What an entry says of the source beside the parts of its key.
pub(super) const SOURCE: &str = "source";

/// Hashes of weights that are known. The bytes stay, so that no others can come to be at their address.
#[derive(Default)]
pub(crate) struct KnownWeights(HashMap<(usize, usize), (Bytes, blake3::Hash)>);

impl KnownWeights {
    /// A hash over the weights, with names and types. Each weight that is not known is hashed, and known from then on.
    fn hash(&mut self, split: &SplitModel) -> blake3::Hash {
        let at = |bytes: &Bytes| (bytes.as_ptr() as usize, bytes.len());
        let bytes = split.weights.iter().map(|(_, weight)| weight.bytes());
        let new: Vec<&Bytes> = bytes.filter(|bytes| !self.0.contains_key(&at(bytes))).collect();
        let slices: Vec<&[u8]> = new.iter().map(|bytes| &***bytes).collect();
        for (bytes, hash) in new.iter().zip(hash::hash_each(&slices)) {
            self.0.insert(at(bytes), ((*bytes).clone(), hash));
        }
        let mut all = Hasher::new();
        for (name, weight) in &split.weights {
            add(&mut all, name.as_bytes());
            add(&mut all, weight.dtype().to_string().as_bytes());
            add(&mut all, self.0[&at(weight.bytes())].1.as_bytes());
        }
        all.finalize()
    }
}

/// The key of a model as it is before the passes, for one target and one build of this crate. Where the passes made an
/// engine's model of the same before, the engine is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before(pub(super) [u8; 32]);

impl Before {
    /// `None` where nobody can tell which build of this crate runs.
    pub(crate) fn of(
        model: &OnnxModel,
        target: Target,
        fingerprint: &Fingerprint,
        known: &mut KnownWeights,
    ) -> Option<Self> {
        Some(Self::of_code(code::identity()?, model, target, fingerprint, known))
    }

    fn of_code(
        code: &str,
        model: &OnnxModel,
        target: Target,
        fingerprint: &Fingerprint,
        known: &mut KnownWeights,
    ) -> Self {
        let split = model.split_unchanged();
        let mut all = Hasher::new();
        let own = [code, &format!("{target:?}"), &asked(model), &model.known_of_passes()];
        for text in own {
            add(&mut all, text.as_bytes());
        }
        for (name, value) in fingerprint.parts() {
            add(&mut all, name.as_bytes());
            add(&mut all, value.as_bytes());
        }
        add(&mut all, hash::hash(&split.bytes).as_bytes());
        add(&mut all, known.hash(&split).as_bytes());
        Self(*all.finalize().as_bytes())
    }

    /// The hash as text.
    pub(super) fn text(&self) -> String {
        text(&self.0)
    }
}

impl Key {
    /// The key for a model, as the backend gets it, and the backend.
    pub(crate) fn of(
        model: &OnnxModel,
        fingerprint: &Fingerprint,
        known: &mut KnownWeights,
    ) -> Self {
        let split = model.split();
        let own = [
            (NAME, model.name().to_owned()),
            ("accelerant", env!("CARGO_PKG_VERSION").to_owned()),
            (GRAPH, short(&hash::hash(&split.bytes))),
            (WEIGHTS, short(&known.hash(&split))),
            // The ranges of symbols are in no protobuf.
            ("sizes", format!("{:?}", model.signature())),
            // Whether products round to TF32 is in no node.
            (PRECISION, asked(model)),
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
        Self { hash: *all.finalize().as_bytes(), parts, source: model.source() }
    }

    /// The same, of a model that is known as it was before the passes.
    pub(crate) fn with_source(self, source: Option<[u8; 32]>) -> Self {
        Self { source: self.source.or(source), ..self }
    }

    /// What the entry of the key says: the parts, and the source.
    pub(super) fn told(&self) -> Vec<(String, String)> {
        let source = self.source.iter().map(|source| (SOURCE.to_owned(), text(source)));
        self.parts.iter().cloned().chain(source).collect()
    }

    /// The hash as text: the name of the entry.
    pub(crate) fn text(&self) -> String {
        text(&self.hash)
    }
}

/// A hash as the names of files have it.
pub(super) fn text(hash: &[u8; 32]) -> String {
    short(&blake3::Hash::from_bytes(*hash))
}

/// What [`WEIGHTS`] is of a model whose weights are all in its graph.
pub(super) fn no_weights() -> String {
    short(&Hasher::new().finalize())
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

    fn key(model: &OnnxModel, fingerprint: &Fingerprint) -> Key {
        Key::of(model, fingerprint, &mut KnownWeights::default())
    }

    /// Models that differ in one thing from the first, or in more.
    fn models() -> [OnnxModel; 10] {
        let tuned = Dim::dynamic("n", 1..=8).unwrap().tuned_for([1, 8]).unwrap();
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
            model("a", 1000, 1.0, tuned),
        ]
    }

    #[test]
    fn the_same_is_the_same_and_every_part_counts() {
        let keys = || -> Vec<Key> {
            let both = [true, false].map(fingerprint);
            let keys = models().into_iter();
            keys.flat_map(|model| both.each_ref().map(|print| key(&model, print))).collect()
        };
        assert_eq!(keys(), keys());
        let different: HashSet<_> = keys().iter().map(|key| key.hash).collect();
        assert_eq!(different.len(), keys().len());
    }

    #[test]
    fn before_the_passes_every_part_counts_too() {
        let targets = [
            Target::portable(),
            Target::tensorrt(),
            Target::tensorrt().for_compute_capability(Some(90)),
        ];
        let mut all = Vec::new();
        for code in ["one", "other"] {
            for (target, tf32) in targets.into_iter().flat_map(|t| [(t, true), (t, false)]) {
                // What one model taught of weights is right for the next.
                let mut known = KnownWeights::default();
                for model in models() {
                    let of = |known: &mut KnownWeights| {
                        Before::of_code(code, &model, target, &fingerprint(tf32), known)
                    };
                    let first = of(&mut known);
                    assert_eq!(first, of(&mut KnownWeights::default()));
                    all.push(first.0);
                }
            }
        }
        // What a file says of the model beside its nodes.
        let file = |model: &OnnxModel| OnnxModel::from_bytes(model.to_bytes()).unwrap();
        let [_, .., symbolic, _, _] = models();
        let of = |model: &OnnxModel| {
            let known = &mut KnownWeights::default();
            Before::of_code("one", model, Target::tensorrt(), &fingerprint(true), known).0
        };
        let opened = file(&symbolic);
        let bound = [1..=8, 4..=4, 1..=9].map(|sizes| opened.clone().bind("n", sizes).unwrap());
        all.extend(bound.iter().map(of));
        let different: HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn weights_that_are_known_are_not_mixed_up() {
        let mut known = KnownWeights::default();
        for model in models().iter().chain(&models()) {
            assert_eq!(
                Key::of(model, &fingerprint(true), &mut known),
                key(model, &fingerprint(true))
            );
        }
    }

    #[test]
    fn what_moves_from_one_part_to_the_next_is_something_else() {
        let of = |print: Fingerprint| key(&model("a", 10, 1.0, 4usize), &print).hash;
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
            let key = key(&model, &fingerprint(true));
            println!("{:?} {}", start.elapsed(), key.text());
        }
    }
}
