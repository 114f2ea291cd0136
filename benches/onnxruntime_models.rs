//! Models of packages of PyPI on the backend of ONNX Runtime and on ONNX Runtime called directly: the same library,
//! threads and inputs. The two take turns, so that what else the machine does falls on both.
//!
//! `ACCELERANT_ONNX_MODELS` is the folder of the models. Prints a table, and fails above the bounds.

use std::env;
use std::path::Path;
use std::time::{Duration, Instant};

use accelerant::backend::Backend as _;
use accelerant::backend::ort::{Ort, environment};
use accelerant::export::OnnxModel;
use accelerant::{DType, Dim, Engine, HostTensor, TensorSpec};
use ort::session::{Session, SessionInputValue, builder::GraphOptimizationLevel};
use ort::value::{DynValue, TensorRef};

/// At most so many times ONNX Runtime's own time.
const RUN: f64 = 1.1;
const LOAD: f64 = 1.2;
/// A model is run for about this long by each.
const LONG: Duration = Duration::from_secs(2);

/// A file, and the sizes of its inputs in order.
type Model = (&'static str, &'static [&'static [usize]]);
const MODELS: &[Model] = &[
    ("ch_PP-OCRv4_det_infer.onnx", &[&[1, 3, 320, 320]]),
    ("ch_PP-OCRv4_rec_infer.onnx", &[&[1, 3, 48, 320]]),
    ("ch_ppocr_mobile_v2.0_cls_infer.onnx", &[&[1, 3, 48, 192]]),
    ("common.onnx", &[&[1, 1, 64, 160]]),
    ("common_det.onnx", &[&[1, 3, 416, 416]]),
    ("common_old.onnx", &[&[1, 1, 64, 160]]),
    ("decoder.onnx", &[&[1, 8], &[1, 12, 256], &[1, 12], &[1, 2, 256]]),
    ("encoder.onnx", &[&[1, 12], &[1, 12]]),
    ("model.onnx", &[&[1, 2048]]),
    ("silero_vad_16k_op15.onnx", &[&[1, 576], &[2, 1, 128], &[]]),
    ("silero_vad_half.onnx", &[&[1, 576], &[2, 1, 128]]),
    ("silero_vad_16k_sequence.onnx", &[&[4, 576], &[1, 1, 128], &[1, 1, 128]]),
    ("silero_vad_openvino_16k.onnx", &[&[1, 576], &[2, 1, 128]]),
];

fn session(bytes: &[u8]) -> Session {
    let builder =
        Session::builder(environment().expect("ONNX Runtime is found")).expect("a builder");
    let builder = builder.with_optimization_level(GraphOptimizationLevel::Level3);
    builder.expect("a level").commit_from_memory(bytes).expect("ONNX Runtime takes the model")
}

fn input(spec: &TensorSpec, shape: &[usize]) -> HostTensor {
    for (dim, size) in spec.shape.dims().iter().zip(shape) {
        assert!(matches!(dim, Dim::Symbol(_)) || *dim == Dim::Fixed(*size), "{spec}: {shape:?}");
    }
    let len: usize = shape.iter().product();
    let made = match spec.dtype {
        DType::F32 => {
            let value = |i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0;
            HostTensor::from_vec(shape, (0..len).map(value).collect())
        }
        DType::I32 => HostTensor::from_vec(shape, (0..len).map(|i| (i % 200) as i32).collect()),
        DType::I64 if shape.is_empty() => return HostTensor::scalar(16000i64),
        DType::I64 => HostTensor::from_vec(shape, (0..len).map(|i| 1 + (i % 20) as i64).collect()),
        DType::Bool => {
            HostTensor::from_vec(shape, (0..len).map(|i| i >= 10).collect::<Vec<bool>>())
        }
        other => panic!("no input of {other}"),
    };
    made.expect("as many values")
}

/// What a program hands to ONNX Runtime, of values that it has.
enum Values {
    F32(Vec<f32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

impl Values {
    fn of(tensor: &HostTensor) -> Self {
        let values = match tensor.dtype() {
            DType::F32 => tensor.to_vec().map(Self::F32),
            DType::I32 => tensor.to_vec().map(Self::I32),
            DType::I64 => tensor.to_vec().map(Self::I64),
            _ => tensor.to_vec().map(Self::Bool),
        };
        values.expect("values of this type")
    }

    fn value<'v>(&'v self, shape: &'v [usize]) -> SessionInputValue<'v> {
        match self {
            Self::F32(values) => TensorRef::from_array_view((shape, &**values)).map(Into::into),
            Self::I32(values) => TensorRef::from_array_view((shape, &**values)).map(Into::into),
            Self::I64(values) => TensorRef::from_array_view((shape, &**values)).map(Into::into),
            Self::Bool(values) => TensorRef::from_array_view((shape, &**values)).map(Into::into),
        }
        .expect("a tensor")
    }
}

/// The outputs' bytes, which a program keeps.
fn read(value: &DynValue, dtype: DType) -> Vec<u8> {
    let read = match dtype {
        DType::F32 => {
            value.try_extract_tensor::<f32>().map(|(_, v)| bytemuck::cast_slice(v).to_vec())
        }
        DType::I64 => {
            value.try_extract_tensor::<i64>().map(|(_, v)| bytemuck::cast_slice(v).to_vec())
        }
        DType::I32 => {
            value.try_extract_tensor::<i32>().map(|(_, v)| bytemuck::cast_slice(v).to_vec())
        }
        DType::Bool => value
            .try_extract_tensor::<bool>()
            .map(|(_, v)| v.iter().map(|&value| u8::from(value)).collect()),
        other => panic!("no output of {other}"),
    };
    read.expect("it has this type")
}

/// The medians of two that take turns, and the median of their ratios, in turns until `LONG` is over for each.
fn compare(mut direct: impl FnMut(), mut own: impl FnMut(), least: usize) -> [f64; 3] {
    let time = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    };
    for _ in 0..3 {
        direct();
        own();
    }
    let (mut pairs, start) = (Vec::new(), Instant::now());
    while pairs.len() < least || (start.elapsed() < 2 * LONG && pairs.len() < 20_000) {
        pairs.push(match pairs.len() % 2 {
            0 => {
                let first = time(&mut direct);
                (first, time(&mut own))
            }
            _ => {
                let first = time(&mut own);
                (time(&mut direct), first)
            }
        });
    }
    let median = |value: &dyn Fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = pairs.iter().map(value).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    };
    [median(&|pair| pair.0), median(&|pair| pair.1), median(&|pair| pair.1 / pair.0)]
}

fn measure(path: &Path, shapes: &[&[usize]]) -> [[f64; 3]; 2] {
    let model = OnnxModel::open(path).expect("it is a model");
    let specs = &model.signature().inputs;
    let inputs: Vec<_> = specs.iter().zip(shapes).map(|(spec, shape)| input(spec, shape)).collect();
    let values: Vec<_> = inputs.iter().map(Values::of).collect();
    let outputs = model.signature().outputs.clone();
    let bytes = std::fs::read(path).expect("it is read");
    let (engine, executable) = Ort.build_and_load(&model).expect("it is built");
    let mut direct = session(&bytes);
    let mut directly = || {
        let named = specs.iter().zip(&values).zip(shapes);
        let named = named.map(|((spec, values), shape)| (spec.name.as_str(), values.value(shape)));
        let results = direct.run(named.collect::<Vec<_>>()).expect("it runs");
        outputs
            .iter()
            .map(|spec| read(&results[spec.name.as_str()], spec.dtype))
            .collect::<Vec<_>>()
    };
    let own = || executable.run(&inputs).expect("it runs");
    let expected = directly();
    let same =
        own().iter().zip(&expected).all(|(output, expected)| output.bytes()[..] == expected[..]);
    assert!(same, "{}: other values", path.display());
    let run = compare(|| drop(directly()), || drop(own()), 30);
    // As another process has it.
    let engine = Engine::from_bytes(engine.to_bytes()).expect("it is an engine");
    let load = || Ort.load(&engine).expect("it is loaded");
    [run, compare(|| drop(session(&bytes)), || drop(load()), 15)]
}

fn main() {
    let Some(folder) = env::var_os("ACCELERANT_ONNX_MODELS") else {
        eprintln!("left out: ACCELERANT_ONNX_MODELS is not set");
        return;
    };
    if let Err(reason) = Ort.probe() {
        eprintln!("left out: {reason}");
        return;
    }
    println!(
        "| model | run directly, ms | accelerant, ms | ratio | load directly, ms | accelerant, ms | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut beyond = Vec::new();
    for (name, shapes) in MODELS {
        let path = Path::new(&folder).join(name);
        if !path.exists() {
            println!("| {name} | not there | | | | | |");
            continue;
        }
        let [run, load] = measure(&path, shapes);
        let cell = |[direct, own, ratio]: [f64; 3]| {
            format!("{:.3} | {:.3} | {ratio:.3}", direct * 1e3, own * 1e3)
        };
        println!("| {name} | {} | {} |", cell(run), cell(load));
        if run[2] > RUN || load[2] > LOAD {
            beyond.push(*name);
        }
    }
    assert!(beyond.is_empty(), "beyond {RUN} for a run or {LOAD} for a load: {beyond:?}");
}
