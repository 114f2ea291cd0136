//! Masks that are added to the scores of attention, as torch writes them: the keys that a text has, repeated for each query.

use accelerant::export::{OnnxModel, Target};
use accelerant::{DType, HostTensor};

use crate::file::{File, Stated};
use crate::forms::count;
use crate::{changed, common, run, tensor, unchanged};

const KEYS: usize = 6;

/// How a mask is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// `Where(Expand(And(true, seen)), 0, -inf)`.
    Expanded,
    /// The same, broadcast by `And` alone.
    Broadcast,
    /// `Where(Expand(hidden), -inf, 0)`.
    Hidden,
    /// With the least number instead of minus infinity.
    Least,
    /// `Where(Cast(1 - Cast(Expand(seen))), least, 1 - Cast(Expand(seen)))`, as older exports have it.
    Older,
    /// With one row in the file, as `Where` of infinities.
    OneRow,
    /// A query sees no later key.
    Causal,
    /// A query without a text sees nothing.
    OfQueries,
    /// The mask has more texts than the scores.
    MoreTexts,
}

const MASKS: [(Written, Option<usize>); 9] = [
    (Written::Expanded, Some(1)),
    (Written::Broadcast, Some(1)),
    (Written::Hidden, Some(1)),
    (Written::Least, Some(0)),
    (Written::Older, Some(0)),
    (Written::OneRow, Some(1)),
    (Written::Causal, None),
    (Written::OfQueries, None),
    (Written::MoreTexts, None),
];

/// What a mask asks of each query and key, from `[batch, keys]` of what is seen.
fn condition(file: &mut File, seen: &str, written: Written) -> String {
    let axes = file.ints(if written == Written::OfQueries { &[1, 3] } else { &[1, 2] });
    let keys = file.node("Unsqueeze", &[seen, &axes]);
    let texts = if written == Written::MoreTexts { 3 } else { 1 };
    let sizes = file.ints(&[texts, 1, KEYS as i64, KEYS as i64]);
    let known = |keys: usize| {
        let all = (0..KEYS * keys).map(|i| keys == 1 || i % keys <= i / keys).collect::<Vec<_>>();
        HostTensor::from_vec([1, 1, KEYS, keys], all).unwrap()
    };
    let all = file.weight("all", known(if written == Written::Causal { KEYS } else { 1 }));
    match written {
        Written::OneRow => keys,
        Written::Broadcast | Written::Causal => file.node("And", &[&all, &keys]),
        Written::Hidden => {
            let hidden = file.node("Not", &[&keys]);
            file.node("Expand", &[&hidden, &sizes])
        }
        Written::OfQueries => file.node("Expand", &[&keys, &sizes]),
        _ => {
            let both = file.node("And", &[&keys, &all]);
            file.node("Expand", &[&both, &sizes])
        }
    }
}

/// The mask of a layer.
fn mask(file: &mut File, dtype: DType, condition: &str, written: Written) -> String {
    let (number, least) = match dtype {
        DType::F16 => (10, -65504.0),
        _ => (1, f32::MIN),
    };
    let [zero, one] = [0.0, 1.0].map(|value| file.scalar(dtype, value));
    let [none, least] = [f32::NEG_INFINITY, least].map(|value| file.scalar(dtype, value));
    match written {
        Written::Hidden => file.node("Where", &[condition, &none, &zero]),
        Written::Least => file.node("Where", &[condition, &zero, &least]),
        Written::Older => {
            let seen = file.node_with("Cast", &[condition], &[("to", Stated::Int(number))]);
            let hidden = file.node("Sub", &[&one, &seen]);
            let flag = file.node_with("Cast", &[&hidden], &[("to", Stated::Int(9))]);
            file.node("Where", &[&flag, &least, &hidden])
        }
        _ => file.node("Where", &[condition, &zero, &none]),
    }
}

/// Two layers of attention, each with a mask of its own, and with a guard or not. The masks may be given as well.
fn model(dtype: DType, texts: &str, written: Written, guarded: bool, given: bool) -> OnnxModel {
    let more = written == Written::MoreTexts;
    let mut file = File::new(18);
    let of_file = if more { "1" } else { texts };
    let mut y = file.input("x", dtype, &[of_file, "2", "6", "16"]);
    let seen = file.input("seen", DType::Bool, &[of_file, "6"]);
    let condition = condition(&mut file, &seen, written);
    // The first layer gives as many texts as the mask has.
    for _ in 0..if more { 1 } else { 2 } {
        let turned = [("perm", Stated::Ints(&[0, 1, 3, 2]))];
        let keys = file.node_with("Transpose", &[&y], &turned);
        let scores = file.node("MatMul", &[&y, &keys]);
        let mask = mask(&mut file, dtype, &condition, written);
        let scores = file.node("Add", &[&scores, &mask]);
        let mut weights = file.node_with("Softmax", &[&scores], &[("axis", Stated::Int(-1))]);
        if guarded {
            let none = file.node("IsNaN", &[&weights]);
            let zero = file.scalar(dtype, 0.0);
            weights = file.node("Where", &[&none, &zero, &weights]);
        }
        y = file.node("MatMul", &[&weights, &y]);
        if given {
            file.output(&mask, dtype, &[3, 1, KEYS, KEYS].map(Into::into));
        }
    }
    file.read(&y, dtype, &[if more { "3" } else { texts }, "2", "6", "16"])
}

/// A whole text, a padded one, and one without a key.
fn inputs(dtype: DType) -> [HostTensor; 2] {
    let seen = (0..3 * KEYS).map(|i| [KEYS, 4, 0][i / KEYS] > i % KEYS).collect();
    let seen = HostTensor::from_vec([3, KEYS], seen).unwrap();
    [tensor(dtype, &[3, 2, KEYS, 16], 1.0, 7), seen]
}

#[test]
fn a_mask_of_keys_has_one_row_for_all_layers() {
    for (written, logarithms) in MASKS {
        for (dtype, texts) in [(DType::F32, "3"), (DType::F32, "batch"), (DType::F16, "3")] {
            let name = format!("{written:?} of {dtype} for {texts}");
            let Some(logarithms) = logarithms else {
                unchanged(&name, &model(dtype, texts, written, false, false));
                continue;
            };
            let plain = model(dtype, texts, written, true, false);
            let one = changed(&name, &plain, Target::tensorrt(), &inputs(dtype));
            let infinite = logarithms > 0;
            assert_eq!(count(&one, "Log"), logarithms, "{name}: {one}");
            assert_eq!(count(&one, "Expand") + count(&one, "And"), 0, "{name}: {one}");
            // One for each guard, and for each mask that has no logarithm.
            assert_eq!(count(&one, "Where"), if infinite { 2 } else { 4 }, "{name}: {one}");
            assert_eq!(count(&one, "ReduceMax"), if infinite { 1 } else { 2 }, "{name}: {one}");
        }
    }
}

/// What the portable runtime makes of a model and of its form for TensorRT is the same to the last number.
fn same(name: &str, plain: &OnnxModel) -> OnnxModel {
    let one = plain.for_target(Target::tensorrt()).unwrap();
    let inputs = inputs(DType::F32);
    for (got, expected) in run(&one, &inputs).iter().zip(&run(plain, &inputs)) {
        let [got, expected] = [got, expected].map(common::to_f64);
        assert_eq!(got, expected, "{name}: {one}");
    }
    one
}

#[test]
fn sums_are_the_same_also_where_all_keys_are_hidden() {
    for (written, _) in MASKS.into_iter().filter(|(_, logarithms)| logarithms.is_some()) {
        let guarded = written != Written::Least && written != Written::Older;
        same(&format!("{written:?}"), &model(DType::F32, "3", written, guarded, false));
    }
}

/// Who else reads a mask has it as it is.
#[test]
fn a_mask_that_is_read_elsewhere_stays_there() {
    for (written, logarithms) in [(Written::Expanded, 1), (Written::Least, 0)] {
        let one = same("given", &model(DType::F32, "3", written, true, true));
        assert_eq!(count(&one, "Expand"), 1, "{one}");
        assert_eq!(count(&one, "Log"), logarithms, "{one}");
        // Two guards, two masks that are given, and those of one row.
        assert_eq!(count(&one, "Where"), 6 - 2 * logarithms, "{one}");
    }
}
