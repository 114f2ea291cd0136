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
    bert, clip, llama, mimi, mistral, mixtral, qwen3, qwen3_vl, resnet, vit, whisper,
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

/// A closure over what CLIP computes before it reads a value gives what its `forward` gives.
#[test]
fn the_last_token_of_a_text_is_found_by_its_number() {
    use candle_core::Module;
    use candle_transformers::models::clip::text_model::{ClipTextConfig, ClipTextTransformer};

    let mut config = ClipTextConfig::vit_base_patch32();
    (config.vocab_size, config.embed_dim, config.num_hidden_layers) = (64, 32, 2);
    (config.num_attention_heads, config.intermediate_size, config.projection_dim) = (4, 48, 16);
    let model = ClipTextTransformer::new(harness::weights(), &config).unwrap();
    let ids = harness::ids(7, 64);
    let expected = model.forward(&ids).unwrap();
    let case = native::all().into_iter().find(|case| case.name == "clip texts").unwrap();
    let own = (case.build)(harness::weights()).unwrap();
    let got = (own.run)(&[ids]).unwrap();
    assert_eq!(got[0].to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
}

#[test]
fn what_reads_values_is_refused_with_its_place_in_the_source() {
    use accelerant::OptimizeOptions;
    use accelerant::candle::{Trace, Traced};

    let refused = |run: &dyn Fn(&Traced) -> candle_core::Result<Traced>| {
        let ids = harness::ids(7, 64);
        let trace = Trace::of_fn(&ids, &OptimizeOptions::new(), |x| Ok(vec![run(&x[0])?]));
        trace.expect_err("refused").to_string()
    };
    let mut config = models::clip::ClipConfig::vit_base_patch32();
    let text = &mut config.text_config;
    (text.vocab_size, text.embed_dim, text.num_hidden_layers) = (64, 32, 2);
    (text.num_attention_heads, text.intermediate_size, text.projection_dim) = (4, 48, 16);
    let vision = &mut config.vision_config;
    (vision.embed_dim, vision.intermediate_size, vision.num_hidden_layers) = (32, 48, 2);
    (vision.num_attention_heads, vision.image_size, vision.patch_size) = (4, 32, 8);
    vision.projection_dim = 16;
    let clip = models::clip::ClipModel::new(harness::weights().into(), &config).unwrap();
    let text = refused(&|ids| clip.get_text_features(ids));
    assert!(text.starts_with("to_vec1: reads values"), "{text}");
    assert!(text.contains("models/clip/text_model.rs:341)"), "{text}");
    let mixtral =
        models::mixtral::Model::new(&harness::config(""), harness::weights().into()).unwrap();
    let text = refused(&|ids| mixtral.clone().forward(ids, 0));
    assert!(text.starts_with("to_vec2: reads values"), "{text}");
    assert!(text.contains("models/mixtral.rs:307)"), "{text}");
}
