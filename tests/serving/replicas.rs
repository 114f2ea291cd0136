//! One model on several devices.

use std::thread;
use std::time::Duration;

use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{ErrorKind, InferenceModule, OptimizeOptions};

use super::common::portable;
use super::counting::Counting;
use super::{assert_line, model, number, rows};

#[test]
fn runs_go_where_the_least_is_done() {
    let backend = Counting::of_devices(3);
    let module = backend.compile(&model()).on_all_devices().unwrap();
    backend.close();
    let inputs: Vec<_> = (0..3).map(|i| rows(1 + i, 2, i)).collect();
    let submit = |x| module.submit(std::slice::from_ref(x)).unwrap();
    let handles: Vec<_> = inputs.iter().map(submit).collect();
    backend.wait_for(3);
    let mut used = backend.devices_used();
    used.sort();
    assert_eq!(used, [0, 1, 2]);
    backend.open();
    for (x, handle) in inputs.iter().zip(handles) {
        assert_line(x, &handle.wait().unwrap());
    }
    for i in 0..3 {
        assert_line(&number(5.0), &module.run(&[number(5.0)]).unwrap());
        assert_eq!(backend.devices_used()[3 + i], 0, "idle ones are taken in their order");
    }
}

#[test]
fn a_device_that_fails_is_passed_over_for_a_while() {
    let backend = Counting::of_devices(2);
    let module = backend.compile(&model()).on_devices(&[0, 1]).unwrap();
    let run = || module.run(&[number(7.0)]);
    backend.set_broken(&[0]);
    for _ in 0..3 {
        assert_line(&number(7.0), &run().unwrap());
    }
    assert_eq!(backend.devices_used(), [0, 1, 1, 1]);
    backend.set_broken(&[0, 1]);
    let error = run().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Device, "run: the device is gone".into())
    );
    assert_eq!(backend.devices_used()[4..], [1, 0], "all were tried");
    backend.set_broken(&[]);
    assert_line(&number(7.0), &run().unwrap());
    thread::sleep(Duration::from_millis(1100));
    assert_line(&number(7.0), &run().unwrap());
    assert_eq!(*backend.devices_used().last().unwrap(), 0, "it had its rest");
}

#[test]
fn what_is_not_the_fault_of_a_device_is_not_tried_on_another() {
    let backend = Counting::of_devices(2);
    let module = backend.compile(&model()).on_all_devices().unwrap();
    let error = module.run(&[number(-1.0)]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Execution, Some("x")));
    assert_eq!(backend.devices_used(), [0]);
    assert_line(&number(1.0), &module.run(&[number(1.0)]).unwrap());
    assert_eq!(backend.devices_used(), [0, 0], "a panic or an error leaves no load behind");
}

#[test]
fn devices_are_chosen_by_their_numbers() {
    let backend = Counting::of_devices(3);
    let module = backend.compile(&model());
    let one = module.on_devices(&[2]).unwrap();
    assert_eq!(backend.loaded(), [0, 2]);
    assert_line(&number(1.0), &one.run(&[number(1.0)]).unwrap());
    assert_eq!(backend.devices_used(), [2]);
    for devices in [&[][..], &[1, 2, 1]] {
        let error = module.on_devices(devices).unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::InvalidArgument, Some("replicas"))
        );
    }
    let missing = module.on_devices(&[0, 3]).unwrap_err();
    assert_eq!((missing.kind(), missing.message()), (ErrorKind::Device, "no device 3"));

    let options = OptimizeOptions::new().require(portable());
    let portable = InferenceModule::compile(&model(), &options).unwrap();
    assert_line(&number(3.0), &portable.on_all_devices().unwrap().run(&[number(3.0)]).unwrap());
    let error = portable.on_devices(&[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.message().starts_with("no device 1: "), "{error}");
}

#[test]
fn batches_run_on_all_devices_at_the_same_time() {
    let backend = Counting::of_devices(2);
    let module = backend.compile(&model()).on_all_devices().unwrap();
    let batcher = Batcher::new(module, &BatcherOptions::new().max_batch(2)).unwrap();
    backend.close();
    let inputs: Vec<_> = (0..4).map(|i| rows(1, 1, i)).collect();
    let submit = |x| batcher.submit(std::slice::from_ref(x)).unwrap();
    let handles: Vec<_> = inputs.iter().map(submit).collect();
    backend.wait_for(2);
    let mut used = backend.devices_used();
    used.sort();
    assert_eq!(used, [0, 1]);
    backend.open();
    for (x, handle) in inputs.iter().zip(handles) {
        assert_line(x, &handle.wait().unwrap());
    }
}

#[test]
fn what_has_no_profiles_says_so() {
    let module = Counting::of_devices(2).compile(&model()).on_devices(&[0, 1]).unwrap();
    let error = module.for_profile("few").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("`few`: this backend has no profiles"), "{error}");
}
