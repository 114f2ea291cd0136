//! What keeps a model from TensorRT is told at once, and every size is tried where that is asked for.

use accelerant::candle::{OptimizeTrt, Trace};
use accelerant::export::ParserCheck;
use accelerant::export::Target;
use accelerant::{Dim, ErrorKind};

use crate::common::portable;
use crate::harness::*;

struct Refused;

impl Forward for Refused {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        let long = xs.scope("first", |xs| xs.sort_last_dim(true).map(|(sorted, _)| sorted))?;
        let tanh = long.tanh()?;
        let other =
            xs.scope("second", |xs| xs.neg()?.sort_last_dim(false).map(|(sorted, _)| sorted))?;
        tanh.add(&other)
    }
}

#[test]
fn all_refusals_are_told_with_their_scopes() {
    let x = tensor(&[2, 5000], 1);
    let report = Refused.check_trt(&x).unwrap();
    assert!(!report.is_exportable());
    let places: Vec<_> =
        report.refusals.iter().map(|r| (r.operation.as_str(), r.module.as_str())).collect();
    assert_eq!(places, [("Sort", "first"), ("Sort", "second")]);
    let text = report.to_string();
    assert!(text.starts_with("2 of 5 operations cannot be exported:"), "{text}");
    assert!(text.contains("3840") && text.contains("first (operation 0)"), "{text}");
    // The error of the export has them all, and another target has none.
    let trace = Trace::of(&Refused, &x, &OptimizeOptions::new()).unwrap();
    let error = trace.to_onnx(Target::tensorrt()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation);
    assert!(error.to_string().contains(&text), "{error}");
    assert!(trace.check(Target::onnx_runtime()).unwrap().is_exportable());
}

#[test]
fn a_parser_is_asked_where_a_registry_has_one() {
    struct Plain;
    impl Forward for Plain {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            xs.relu()?.exp()
        }
    }
    let x = tensor(&[2, 3], 1);
    let report = Plain.check_trt(&x).unwrap();
    assert!(report.is_exportable());
    assert!(report.to_string().starts_with("all 2 operations can be exported"), "{report}");
    let options = OptimizeOptions::new().require(portable());
    let report = Plain.check_trt_with(&x, &options).unwrap();
    assert!(matches!(&report.parser, ParserCheck::NotAsked(why) if why.contains("no backend")));
}

#[test]
fn every_size_is_tried_on_request() {
    struct Branch;
    impl Forward for Branch {
        fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
            match xs.dims() {
                [13, 21] => xs.exp(),
                _ => xs.tanh(),
            }
        }
    }
    let x = tensor(&[2, 3], 1);
    let options = |max: usize| {
        let rows = Dim::dynamic("n", 1..=max).unwrap();
        let columns = Dim::dynamic("m", 2..=30).unwrap();
        OptimizeOptions::new().dynamic_axis(0, 0, rows).dynamic_axis(0, 1, columns)
    };
    // Known not to be seen otherwise; where it is some day, the documents have to say so.
    assert!(Trace::of(&Branch, &x, &options(20)).is_ok());
    let every =
        |max: usize| Trace::of(&Branch, &x, &options(max).probe_every_size(true)).unwrap_err();
    let text = every(20).to_string();
    assert!(text.contains("`m` = 21, `n` = 13"), "{text}");
    assert_eq!(every(1000).kind(), ErrorKind::InvalidArgument);
}
