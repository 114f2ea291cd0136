//! Pipelines on TensorRT: items of many threads, in batches of what the engine takes.

use std::thread;

use accelerant::InferenceModule;
use accelerant::backend::tensorrt::{Profiles, TensorRtOptions};
use accelerant::pipeline::Pipeline;
use ndarray::Array1;

use crate::{FEATURES, LARGEST, Layer, gpu, module, module_with, numbers, shared};

fn scores(module: InferenceModule) -> Pipeline<Vec<f32>, Vec<f32>> {
    Pipeline::new(module)
        .pre(|item: &Vec<f32>| Array1::from(item.clone()))
        .post(|outputs| outputs[0].to_vec::<f32>())
}

fn items(count: usize, seed: usize) -> Vec<Vec<f32>> {
    (0..count).map(|i| numbers(FEATURES, 1000 * seed + i)).collect()
}

fn assert_layer(layer: &Layer, items: &[Vec<f32>], results: &[Vec<f32>]) {
    let expected: Vec<_> = items.iter().map(|item| layer.forward(item)).collect();
    assert_eq!(results, expected);
}

#[test]
fn items_of_many_threads_run_in_chunks() {
    if !gpu("items_of_many_threads_run_in_chunks") {
        return;
    }
    let _shared = shared();
    let layer = &Layer::new(31);
    let module = module(layer);
    let pipeline = &scores(module.clone());
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let items = items(3 * LARGEST + seed, seed);
                assert_layer(layer, &items, &pipeline.run_batch(&items).unwrap());
                assert_eq!(pipeline.run(&items[0]).unwrap(), layer.forward(&items[0]));
            });
        }
    });
    // Three whole chunks each, a part of one for three of them, and the single items.
    assert_eq!(module.cuda().unwrap().counters().executions, 4 * 3 + 3 + 4);
}

#[test]
fn a_profile_of_one_size_is_filled_up() {
    if !gpu("a_profile_of_one_size_is_filled_up") {
        return;
    }
    let _shared = shared();
    let layer = Layer::new(32);
    let profiles = Profiles::new().another().named("eight").range("batch", 8, 8, 8);
    let options = TensorRtOptions::default().profiles(profiles).profile("eight");
    let module = module_with(&layer.export(), options).unwrap();
    let items = items(19, 5);
    assert_layer(&layer, &items, &scores(module.clone()).run_batch(&items).unwrap());
    assert_eq!(module.cuda().unwrap().counters().executions, 3);
}
