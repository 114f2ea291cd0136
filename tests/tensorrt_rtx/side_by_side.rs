//! Builds in several threads.

use std::thread;

use accelerant::backend::Backend;
use accelerant::backend::tensorrt::TensorRt;

use super::{Mlp, exact, raw, rtx};

#[test]
fn builds_run_side_by_side() {
    thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|seed| scope.spawn(move || rtx().build(&Mlp::new(seed).export(4))))
            .collect();
        for build in builds {
            rtx().validate(&build.join().unwrap().unwrap()).unwrap();
        }
    });
}

#[test]
fn builds_for_other_devices_side_by_side_do_not_disturb_each_other() {
    let model = Mlp::new(5).export(4);
    thread::scope(|scope| {
        for capabilities in [&[][..], &[89, 120], &[80], &[86]] {
            let backend = TensorRt::rtx()
                .with_options(exact().compute_capabilities(capabilities.iter().copied()));
            let model = &model;
            scope.spawn(move || {
                for _ in 0..4 {
                    backend.build(model).unwrap_or_else(|e| panic!("{capabilities:?}: {e}"));
                }
            });
        }
    });
}

#[test]
fn errors_of_side_by_side_builds_are_not_mixed_up() {
    thread::scope(|scope| {
        for name in ["left", "right"] {
            scope.spawn(move || {
                for _ in 0..8 {
                    let error = raw(&[("NoSuchOperator", name, &["x"], "y")], "y")
                        .and_then(|m| rtx().build(&m))
                        .unwrap_err();
                    let other = if name == "left" { "right" } else { "left" };
                    let text = error.to_string();
                    assert!(text.contains(name) && !text.contains(other), "{text}");
                }
            });
        }
    });
}
