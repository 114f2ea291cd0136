//! Engines that are compared with their model before the cache has them.

use accelerant::backend::tract::Tract;
use accelerant::cache::Miss;
use accelerant::verify::VerifyOptions;
use accelerant::{
    BackendKind, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Phase, Registry,
};

use super::harness::{KIND, Place, in_file, is_hit, missed, model};

fn options(place: &Place) -> OptimizeOptions {
    let registry = Registry::empty().with(place.backend.clone()).with(Tract);
    OptimizeOptions::new().cache(place.cache()).registry(registry)
}

/// Compares new engines on a row of this number.
fn compared(place: &Place, number: f32) -> OptimizeOptions {
    let sample = vec![HostTensor::from_vec([2, 400], vec![number; 800]).unwrap()];
    let reference = VerifyOptions::new().reference(Registry::empty().with(Tract));
    options(place).verify_new([sample], reference)
}

fn compile(options: &OptimizeOptions) -> Result<InferenceModule, Error> {
    InferenceModule::compile(&in_file(&model(2.0), "unread"), options)
}

#[test]
fn an_engine_that_is_wrong_is_neither_kept_nor_run() {
    let mut place = Place::new();
    place.backend.off_by = 0.5;
    let error = compile(&compared(&place, 3.0).require(KIND)).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Execution, Some("y")), "{error}");
    assert!(error.to_string().contains("verify"), "{error}");
    assert!(place.cache().entries().unwrap().is_empty());
    // Nor is a file written.
    let path = place.folder.path().join("wrong.engine");
    let writes = compared(&place, 3.0).require(KIND).save_engine(&path);
    assert!(InferenceModule::build(&model(2.0), &writes).is_err() && !path.exists());
    // Without the cache it is compared too.
    let off = compared(&place, 3.0).cache(accelerant::cache::EngineCache::off());
    assert!(compile(&off.require(KIND)).is_err());
    // Another backend runs the model where one may, and the report says why.
    let module = compile(&compared(&place, 3.0)).unwrap();
    assert_eq!(module.backend(), BackendKind::Tract);
    assert!(module.report().to_string().contains("verify"), "{}", module.report());
    // Who does not ask gets what there is.
    assert_eq!(compile(&options(&place)).unwrap().backend(), KIND);
}

#[test]
fn an_engine_that_is_right_is_compared_once() {
    let place = Place::new();
    let phases = |options: &OptimizeOptions| {
        let report = compile(options).unwrap().report();
        let was_compared = report.phases.iter().any(|time| time.phase == Phase::Verify);
        (report.cache, was_compared)
    };
    let (cache, was_compared) = phases(&compared(&place, 3.0));
    assert!(was_compared && missed(cache) == Miss::New);
    for _ in 0..2 {
        let (cache, was_compared) = phases(&compared(&place, 3.0));
        assert!(is_hit(&cache) && !was_compared, "{cache}");
    }
    // One that nobody compared, or on another sample, is not taken.
    assert!(matches!(missed(phases(&options(&place)).0), Miss::Changed { .. }));
    let (cache, was_compared) = phases(&compared(&place, 4.0));
    let Miss::Changed { changes } = missed(cache) else { panic!() };
    assert_eq!((changes[0].part.as_str(), was_compared), ("verified on", true));
    assert_eq!(place.builds(), 3);
}

#[test]
fn samples_that_do_not_fit_are_an_error() {
    let place = Place::new();
    let none = options(&place).require(KIND).verify_new([], VerifyOptions::new());
    assert_eq!(compile(&none).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let narrow = vec![HostTensor::from_vec([2, 3], vec![1f32; 6]).unwrap()];
    let narrow = options(&place).require(KIND).verify_new([narrow], VerifyOptions::new());
    assert_eq!(compile(&narrow).unwrap_err().kind(), ErrorKind::ShapeMismatch);
    assert!(place.cache().entries().unwrap().is_empty());
}
