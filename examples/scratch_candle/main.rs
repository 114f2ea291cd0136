#![allow(missing_docs)]
#[path = "../digits/candle_net.rs"]
mod candle_net;
#[path = "../digits/data.rs"]
mod data;
use accelerant::candle::{Forward as _, OptimizeTrt as _};
fn main() {
    let (training, test) = data::load();
    for _ in 0..2 {
        let t = std::time::Instant::now();
        let (_, net) = candle_net::train(&training, 42, 8).unwrap();
        let x = candle_net::tensor(&test.images).unwrap();
        let fast = net.optimize_trt_with(&x, &accelerant::OptimizeOptions::new().dynamic_batch(1..=512).unwrap()).unwrap();
        for y in [net.forward(&x).unwrap(), fast.forward(&x).unwrap()] {
            let p = y.argmax(1).unwrap().to_vec1::<u32>().unwrap();
            let ok = p.iter().zip(&test.labels).filter(|(a, b)| a == b).count();
            println!("{:?} {}/{} sum {}", t.elapsed(), ok, p.len(), y.sum_all().unwrap().to_scalar::<f32>().unwrap());
        }
    }
}
