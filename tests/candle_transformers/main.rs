//! Models of candle-transformers as they stand, read by `traced!`: each is compared with the crate's
//! own on the same weights, and what is exported of it with both.

#![cfg(all(feature = "candle", feature = "tract"))]

#[path = "../common/mod.rs"]
mod common;
mod harness;
#[allow(unused_imports)]
mod native;
#[allow(unused_imports)]
mod traced;

accelerant::traced!(pub mod models = candle_transformers::models::{
    bert, clip, llama, mimi, mistral, qwen3, qwen3_vl, resnet, vit, whisper,
});

/// Models whose `forward` alone tells what is traced.
const STAND: [&str; 3] = ["bert", "resnet", "vit"];

accelerant::traced!(mod alone = candle_transformers::models::bert);

#[test]
fn models_agree_with_the_crate_and_are_exported() {
    for (native, traced) in native::all().iter().zip(&traced::all()) {
        let row = harness::compare(native, traced);
        eprintln!("{} by `{}`: {row}", native.name, native.call);
        assert!(row.is_good(), "{}: {row}", native.name);
        assert_eq!(row.stands, STAND.contains(&native.name), "{} stands by itself", native.name);
    }
}

#[test]
fn one_module_is_named_by_itself_and_its_inputs_by_its_forward() {
    use accelerant::OptimizeOptions;
    use accelerant::candle::export_onnx;

    let config = harness::config(r#""hidden_act": "gelu""#);
    let model = alone::BertModel::load(harness::weights().into(), &config).unwrap();
    let ids = harness::ids(9, 64);
    let options = OptimizeOptions::new();
    let onnx = export_onnx(&model, (&ids, &ids.affine(0., 0.).unwrap()), &options).unwrap();
    let names: Vec<_> = onnx.signature().inputs.iter().map(|input| input.name.clone()).collect();
    assert_eq!(names, ["input_ids", "token_type_ids"]);
}

#[test]
fn numbers_that_a_forward_draws_are_refused_at_one_size_and_at_any() {
    use accelerant::OptimizeOptions;
    use accelerant::candle::mirror::Methods as _;
    use accelerant::candle::{Trace, Traced};

    let any = OptimizeOptions::new().dynamic_batch(1..=3);
    for options in [OptimizeOptions::new(), any] {
        let refused = |draw: fn(&Traced) -> candle_core::Result<Traced>| {
            let trace = Trace::of_fn(&harness::noise(&[1, 4]), &options, |x| {
                Ok(vec![(&x[0] + draw(&x[0])?)?])
            });
            trace.unwrap_err().to_string()
        };
        let drawn = refused(|x| Traced::randn(0f32, 1f32, x.shape(), x.device()));
        assert!(drawn.contains("randn") && drawn.contains("random"), "{drawn}");
        let drawn = refused(|x| x.zeros_like()?.rand_like(0., 1.));
        assert!(drawn.contains("rand_like") && drawn.contains("random"), "{drawn}");
    }
}
