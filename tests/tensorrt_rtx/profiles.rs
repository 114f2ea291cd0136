//! Optimization profiles by name.

use accelerant::Engine;
use accelerant::Registry;
use accelerant::backend::Backend;
use accelerant::backend::tensorrt::{Profiles, TensorRt, TensorRtOptions};
use accelerant::{Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Signature};

use super::{Mlp, assert_close, batch, exact, gpu, input, rtx};

/// Few rows, any number, and many.
fn three() -> Profiles {
    let few = Profiles::new().named("few").range("batch", 1, 1, 4);
    few.another().another().named("many").range("batch", 4, 16, 32)
}

fn with(options: TensorRtOptions) -> TensorRt {
    TensorRt::rtx().with_options(options)
}

fn of_three() -> Engine {
    with(exact().profiles(three())).build(&Mlp::new(1).export(batch(1, 64))).unwrap()
}

#[test]
fn names_of_profiles_are_in_the_file() {
    let engine = of_three();
    assert_eq!(engine.profile_names(), ["few", "", "many"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mlp.engine");
    engine.save(&path).unwrap();
    assert_eq!(Engine::open(&path).unwrap(), engine);
    let plain = rtx().build(&Mlp::new(1).export(batch(1, 64))).unwrap();
    assert!(plain.profile_names().is_empty());
}

#[test]
fn a_profile_that_will_not_be_there_is_refused_before_building() {
    let model = Mlp::new(1).export(batch(1, 64));
    let refused = |options: TensorRtOptions| with(options).build(&model).unwrap_err();
    let error = refused(exact().profiles(three()).profile("more"));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("there are: few, many"), "{error}");
    assert_eq!(refused(exact().profile("few")).kind(), ErrorKind::InvalidArgument);
    let twice = Profiles::new().named("few").another().named("few");
    assert_eq!(refused(exact().profiles(twice)).kind(), ErrorKind::InvalidArgument);
}

#[test]
fn samples_of_inputs_are_built_for() {
    let model = Mlp::new(1).export(batch(1, 64));
    let samples = [2, 8, 8].map(|rows| [HostTensor::from(input(rows, 1))]);
    let profiles = Profiles::from_inputs(model.signature(), &samples).unwrap();
    assert_eq!(profiles, Profiles::new().range("batch", 2, 8, 8));
    let shapes = samples.map(|[x]| [x.shape().to_vec()]);
    assert_eq!(Profiles::from_shapes(model.signature(), shapes).unwrap(), profiles);
    let backend = with(exact().profiles(profiles));
    let engine = backend.build(&model).unwrap();
    let Signature { inputs, outputs, .. } = engine.signature();
    for spec in inputs.iter().chain(outputs) {
        let dim = &spec.shape.dims()[0];
        assert_eq!([dim.min(), dim.opt(), dim.max()], [2, 8, 8], "{dim:?}");
    }
    if !gpu("an engine of one profile of samples runs") {
        return;
    }
    let executable = backend.load(&engine).unwrap();
    for rows in [2, 8] {
        let x = input(rows, 3);
        let y = executable.run(&[x.clone().into()]).unwrap();
        assert_close(&y[0], &Mlp::new(1).forward(&x));
    }
    for rows in [1, 9] {
        let error = executable.run(&[input(rows, 3).into()]).unwrap_err();
        assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)));
    }
}

#[test]
fn an_engine_runs_with_the_profile_of_a_name_alone() {
    if !gpu("an_engine_runs_with_the_profile_of_a_name_alone") {
        return;
    }
    let mlp = Mlp::new(1);
    let engine = of_three();
    let runs = |name: Option<&str>, rows: usize| {
        let options = name.map_or(exact(), |name| exact().profile(name));
        let executable = with(options).load(&engine).unwrap();
        let x = input(rows, rows as u64);
        assert_close(&executable.run(&[x.clone().into()])?[0], &mlp.forward(&x));
        Ok::<_, accelerant::Error>(executable.signature().inputs[0].shape.dims()[0].clone())
    };
    let range = |dim: Dim| (dim.min(), dim.max());
    for (name, least, most) in [(None, 1, 64), (Some("few"), 1, 4), (Some("many"), 4, 32)] {
        for rows in [least, most] {
            assert_eq!(range(runs(name, rows).unwrap()), (least, most));
        }
        for rows in [least - 1, most + 1] {
            let error = runs(name, rows).unwrap_err();
            assert_eq!((error.kind(), error.axis()), (ErrorKind::OutOfProfile, Some(0)));
        }
    }
    let error = with(exact().profile("more")).load(&engine).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let one = with(exact().profiles(Profiles::new()));
    let one_too_few = one.build(&mlp.export(batch(1, 8))).unwrap();
    let altered = one_too_few.with_profile_names(["", "b"]);
    let error = with(exact().profile("b")).load(&altered).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineCorrupt);
}

/// A profile for each size that a symbol is tuned for, and one for the others: such an engine has more in it.
#[test]
fn an_engine_is_tuned_for_each_size_that_is_stated() {
    let mlp = Mlp::new(1);
    let tuned = batch(1, 16).tuned_for([8, 1]).unwrap();
    let one = with(exact().profiles(Profiles::new()));
    let engine = with(exact()).build(&mlp.export(tuned.clone())).unwrap();
    assert!(engine.plan().len() > one.build(&mlp.export(tuned)).unwrap().plan().len());
    if !gpu("an_engine_is_tuned_for_each_size_that_is_stated") {
        return;
    }
    let executable = with(exact()).load(&engine).unwrap();
    for rows in [8, 1, 5, 16, 8, 1] {
        let x = input(rows, rows as u64);
        assert_close(&executable.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
    }
    let error = executable.run(&[input(17, 1).into()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfProfile);
}

#[test]
fn a_run_names_its_profile() {
    if !gpu("a_run_names_its_profile") {
        return;
    }
    let mlp = Mlp::new(1);
    let options = OptimizeOptions::new().registry(Registry::empty().with(with(exact())));
    let module = InferenceModule::from_engine(of_three(), &options).unwrap();
    let [few, many] = ["few", "many"].map(|name| module.for_profile(name).unwrap());
    let again = many.on_devices(&[0]).unwrap();
    for (module, rows, fits) in [
        (&few, 4, true),
        (&few, 5, false),
        (&many, 4, true),
        (&many, 3, false),
        (&again, 32, true),
        (&again, 3, false),
        (&module, 64, true),
    ] {
        let x = input(rows, 3);
        match module.run(&[x.clone().into()]) {
            Ok(y) => {
                assert!(fits, "{rows} rows");
                assert_close(&y[0], &mlp.forward(&x));
            }
            Err(error) => assert_eq!((error.kind(), fits), (ErrorKind::OutOfProfile, false)),
        }
    }
    let error = module.for_profile("more").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("there are: few, many"), "{error}");
}
