//! The mask of torch's BERTs, one row of all keys that is repeated for each query: TensorRT-RTX computes it as it computes a
//! mask of one row.

use accelerant::export::{GraphBuilder, OnnxModel, Target, Value};
use accelerant::precision::Precision;
use accelerant::{DType, Dim, HostTensor};

use crate::plan::Plan;
use crate::runs::{has_ort, near, numbers, run};

const TEXTS: usize = 4;
const KEYS: usize = 32;
const WIDTH: usize = 64;

/// How the mask is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    /// `Where(Expand(seen), 0, -inf)` in each layer, as torch has it.
    Torch,
    /// `Log(Cast(seen))` in one row.
    OneRow,
}

fn sizes(sizes: &[usize]) -> Vec<Option<Dim>> {
    sizes.iter().map(|size| Some(Dim::Fixed(*size))).collect()
}

/// Two layers of attention with their output layers and residuals.
fn model(written: Written) -> OnnxModel {
    let graph = GraphBuilder::for_target("model", Target::onnx_runtime());
    let mut x = graph.input("x", DType::F32, [TEXTS, KEYS, WIDTH]).unwrap();
    let seen = graph.input("seen", DType::I64, [TEXTS, KEYS]).unwrap();
    let (zero, none) = (x.scalar_like(0.0).unwrap(), x.scalar_like(f64::NEG_INFINITY).unwrap());
    let chosen = |condition: &Value, yes: &Value, no: &Value| {
        graph.node("Where").input(condition).input(yes).input(no).build().unwrap()
    };
    let keys = seen.cast(DType::Bool).unwrap().reshape(&sizes(&[TEXTS, 1, 1, KEYS])).unwrap();
    let all = HostTensor::from_vec([1, 1, KEYS, 1], vec![true; KEYS]).unwrap();
    let all = graph.constant("all", all);
    let condition = graph.node("And").input(&all).input(&keys).build().unwrap();
    let log = graph.node("Log").input(&keys.cast(DType::F32).unwrap()).build().unwrap();
    for layer in 0..2 {
        let heads = x.reshape(&sizes(&[TEXTS, KEYS, 2, WIDTH / 2])).unwrap();
        let heads = heads.transpose(&[0, 2, 1, 3]).unwrap();
        let scores = heads.matmul(&heads.transpose(&[0, 1, 3, 2]).unwrap()).unwrap();
        let mask = match written {
            Written::Torch => chosen(&condition, &zero, &none),
            Written::OneRow => log.clone(),
        };
        let weights = scores.add(&mask).unwrap().softmax(-1).unwrap();
        let hidden = graph.node("IsNaN").input(&weights).build().unwrap();
        let weights = chosen(&hidden, &zero, &weights);
        let context = weights.matmul(&heads).unwrap().transpose(&[0, 2, 1, 3]).unwrap();
        let flat = context.reshape(&sizes(&[TEXTS, KEYS, WIDTH])).unwrap();
        let weight = numbers(&[WIDTH, WIDTH], 0.2, layer);
        let weight = graph.constant(&format!("weight{layer}"), weight);
        x = flat.matmul(&weight).unwrap().add(&x).unwrap().tanh().unwrap();
    }
    graph.output("y", &x).unwrap();
    graph.finish().unwrap()
}

/// Texts of all keys, of one, of some and of none.
fn inputs() -> [HostTensor; 2] {
    let lengths = [KEYS, 1, 20, 0];
    let seen = (0..TEXTS * KEYS).map(|i| i64::from(i % KEYS < lengths[i / KEYS])).collect();
    [numbers(&[TEXTS, KEYS, WIDTH], 1.0, 40), HostTensor::from_vec([TEXTS, KEYS], seen).unwrap()]
}

#[test]
fn the_program_is_that_of_a_mask_in_one_row() {
    let [torch, row] = [Written::Torch, Written::OneRow].map(model);
    for precision in [Precision::Fp32, Precision::Mixed, Precision::Fp16] {
        let kernels = |model: &OnnxModel| {
            let plan = Plan::of(precision.name(), model);
            // A product has the number of its node in its name.
            let name = |name: &str| match name.starts_with("MatMul") {
                true => "MatMul".to_owned(),
                false => name.to_owned(),
            };
            let mut names: Vec<_> = plan.kernels.iter().map(|kernel| name(&kernel.name)).collect();
            names.sort();
            names
        };
        let [written, expected] = [&torch, &row]
            .map(|model| model.with_precision(Target::tensorrt(), precision).unwrap());
        assert_eq!(kernels(&written), kernels(&expected), "{precision}");
        if has_ort(precision.name()) {
            let expected = &run("torch", &torch, &inputs())[0];
            near(precision.name(), &run("written", &written, &inputs())[0], expected, 5e-3);
        }
    }
}
