//! Ranges that profiles become, by their text.

use super::*;
use crate::spec::{DType, Shape, TensorSpec};
use crate::tensor::HostTensor;

fn signature() -> Signature {
    let dims = |name: &str, width: usize| [Dim::dynamic(name, 1..=64).unwrap(), Dim::Fixed(width)];
    let spec = |name: &str, symbol: &str| TensorSpec::new(name, DType::F32, dims(symbol, 8));
    Signature { inputs: vec![spec("x", "batch"), spec("y", "length")], outputs: Vec::new() }
}

#[test]
fn each_profile_narrows_the_symbols_it_names() {
    let profiles = Profiles::new().range("batch", 1, 2, 4).another().range("length", 5, 5, 5);
    let told = profiles.of(&signature(), &[]).unwrap();
    let of = |profile: usize, input: usize| {
        let shape = &told[profile][input];
        [shape.min[0], shape.opt[0], shape.max[0]]
    };
    assert_eq!((of(0, 0), of(0, 1)), ([1, 2, 4], [1, 64, 64]));
    assert_eq!((of(1, 0), of(1, 1)), ([1, 64, 64], [5, 5, 5]));
    assert_eq!(told[0][0].max, [4, 8]);
}

fn ranges(profiles: &Profiles) -> Vec<String> {
    let of = |profile: &Profile| format!("{:?}", profile.ranges.values().collect::<Vec<_>>());
    profiles.0.iter().map(of).collect()
}

#[test]
fn single_sizes_come_before_all_others() {
    let profiles = Profiles::new().named("rest").range("batch", 1, 2, 32);
    let batches = profiles.sizes("batch", [1, 8]);
    assert_eq!(ranges(&batches), ["[batch=1..=1]", "[batch=8..=8]", "[batch=1..=32]"]);
    assert_eq!(batches.names(), ["", "", "rest"]);
    let both = batches.clone().sizes("length", [5, 64]);
    let of = |batch, length| format!("[batch={batch}..={batch}, length={length}..={length}]");
    let whole = "[batch=1..=32]".to_owned();
    assert_eq!(ranges(&both), [of(1, 5), of(1, 64), of(8, 5), of(8, 64), whole]);
    let none = batches.clone().sizes("length", []).range("batch", 1, 2, 3);
    assert_eq!(none.of(&signature(), &[]).err().unwrap().kind(), ErrorKind::InvalidArgument);
    let turned = Profiles::new().range("batch", 4, 2, 1).of(&signature(), &[]).err().unwrap();
    assert!(turned.message().contains("the range 4..=1 has no size"), "{turned}");
    let more = batches.sizes("batch", [16]);
    assert_eq!(ranges(&more)[1..3], ["[batch=8..=8]", "[batch=16..=16]"]);
    let few = Profiles::new().range("batch", 1, 2, 4).another();
    let few = few.sizes("batch", [8]);
    assert_eq!(ranges(&few), ["[batch=1..=4]", "[batch=8..=8]", "[]"]);
    let outside = Profiles::new().sizes("batch", [65]);
    assert!(outside.of(&signature(), &[]).is_err(), "more than the model takes");
}

#[test]
fn the_usual_sizes_are_those_tuned_for() {
    let usual = |signature: &Signature, faster| ranges(&Profiles::usual(signature, faster));
    let tuned = "[batch=64..=64, length=64..=64]";
    let single = "[batch=1..=1, length=64..=64]";
    assert_eq!(usual(&signature(), true), [tuned, single, "[]"]);
    assert_eq!(usual(&signature(), false), ["[]"]);
    let of = |dims: [Dim; 2]| {
        let mut signature = signature();
        signature.inputs.iter_mut().for_each(|spec| spec.shape = Shape::from(dims.clone()));
        signature
    };
    assert_eq!(usual(&of([3, 8].map(Dim::Fixed)), true), ["[]"]);
    // What is not on the first axis has no smallest size that matters.
    let length = Dim::dynamic("length", 1..=64).unwrap();
    assert_eq!(usual(&of([2.into(), length.clone()]), true), ["[length=64..=64]", "[]"]);
    let batch = Dim::dynamic("batch", 1..=64).unwrap().tuned_for([8, 1, 32]).unwrap();
    let both = of([batch.clone(), length.clone()]);
    let sizes = ["[batch=8..=8]", "[batch=32..=32]", "[batch=1..=1]", "[]"];
    assert_eq!(usual(&both, false), sizes, "where they are stated");
    let whole = sizes.map(|sizes| sizes.replace(']', ", length=64..=64]"));
    assert_eq!(usual(&both, true)[..3], whole[..3]);
    let [middle, largest, least, rest] = sizes;
    let batch = batch.with_opt(1).unwrap();
    assert_eq!(usual(&of([batch, length]), false), [least, largest, middle, rest]);
}

#[test]
fn samples_become_a_range_tuned_for_the_most_frequent() {
    let profiles = Profiles::from_samples("batch", [7, 12, 9, 12, 9]).unwrap();
    assert_eq!(profiles, Profiles::new().range("batch", 7, 12, 12));
    assert!(Profiles::from_samples("batch", []).is_err());
}

#[test]
fn a_profile_that_the_model_has_not_is_refused() {
    for (symbol, max, said) in [("bach", 2, "`bach`"), ("batch", 65, "1..=64")] {
        let profiles = Profiles::new().range(symbol, 1, 1, max);
        let error = profiles.of(&signature(), &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn samples_of_all_inputs_become_ranges_of_all_symbols() {
    let signature = signature();
    let shapes = [(3, 9), (1, 9), (3, 2)].map(|(batch, length)| [[batch, 8], [length, 8]]);
    let expected = Profiles::new().range("batch", 1, 3, 3);
    let expected = expected.range("length", 2, 9, 9);
    assert_eq!(Profiles::from_shapes(&signature, shapes).unwrap(), expected);
    let tensor = |shape: [usize; 2]| {
        HostTensor::from_vec(shape, vec![0.0f32; shape.iter().product()]).unwrap()
    };
    let inputs = shapes.map(|sample| sample.map(tensor));
    assert_eq!(Profiles::from_inputs(&signature, &inputs).unwrap(), expected);

    let kind = |result: Result<Profiles>| result.unwrap_err().kind();
    assert_eq!(kind(Profiles::from_inputs(&signature, &inputs[..0])), ErrorKind::InvalidArgument);
    assert_eq!(kind(Profiles::from_shapes(&signature, [[[1, 8]]])), ErrorKind::InputMismatch);
    let bad = Profiles::from_shapes(&signature, [[[1, 8], [1, 8]], [[1, 8], [65, 8]]]);
    let bad = bad.unwrap_err();
    assert_eq!((bad.kind(), bad.item()), (ErrorKind::OutOfProfile, Some(1)));
    assert_eq!((bad.tensor(), bad.axis()), (Some("y"), Some(0)));
    let integers = [HostTensor::scalar(1i64), HostTensor::scalar(1i64)];
    assert_eq!(kind(Profiles::from_inputs(&signature, [integers])), ErrorKind::DTypeMismatch);
}

#[test]
fn names_are_of_one_profile_each() {
    let two = |a: &str, b: &str| Profiles::new().named(a).another().another().named(b);
    assert_eq!(two("a", "b").names(), ["a", "", "b"]);
    assert!(Profiles::new().another().names().is_empty());
    assert!(two("a", "b").of(&signature(), &[]).is_ok());
    let mut fixed = signature();
    fixed.inputs.iter_mut().for_each(|spec| spec.shape = Shape::from([1, 8]));
    for (profiles, signature, said) in [
        (two("a", "a"), signature(), "two profiles are named `a`"),
        (two("a", ""), signature(), "empty name"),
        (two("a", "b"), fixed, "no input has a symbolic dimension"),
    ] {
        let error = profiles.of(&signature, &[]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(said), "{error}");
    }
    let names = two("a", "b").names();
    assert_eq!((place_of("a", &names).unwrap(), place_of("b", &names).unwrap()), (0, 2));
    for (name, names, said) in [("c", &names[..], "there are: a, b"), ("", &names, "named ``")] {
        let error = place_of(name, names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(place_of("a", &[]).unwrap_err().to_string().contains("none"));
}
