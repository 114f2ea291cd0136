//! Random inputs, and the ranges that are measured on them.

use std::path::Path;
use std::time::Instant;

use accelerant::backend::tensorrt::TensorRt;
use accelerant::export::{OnnxModel, Target};
use accelerant::precision::{Calibration, Ranges};
use accelerant::{DType, HostTensor, Registry};
use ndarray::{Array4, ArrayD};
use serde_json::json;

use crate::{Args, Result, name, portable};

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In -1..1.
    fn even(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Inputs of a model: waves and noise where an input is of pictures, else numbers of -1..1, and integers below a number.
pub(crate) fn inputs(model: &OnnxModel, args: &Args, seed: u64) -> Result<Vec<HostTensor>> {
    let tokens = args.tokens;
    let mut random = Random(seed);
    let mut inputs = Vec::new();
    for spec in &model.signature().inputs {
        let shape = spec.shape.fixed().ok_or_else(|| format!("{spec} has a size of its own"))?;
        let whole = spec.name.contains("mask") || spec.name == "x1" && spec.dtype.is_int();
        let mut integer = || if whole { 1 } else { random.next() % tokens.max(1) };
        inputs.push(match spec.dtype {
            DType::I64 if whole && !shape.is_empty() => {
                let last = shape.len() - 1;
                let seen = |at: usize| args.keys.is_none_or(|keys| at < keys);
                ArrayD::from_shape_fn(shape, |at| i64::from(seen(at[last]))).into()
            }
            DType::I64 => ArrayD::from_shape_simple_fn(shape, || integer() as i64).into(),
            DType::I32 => ArrayD::from_shape_simple_fn(shape, || integer() as i32).into(),
            DType::Bool => ArrayD::from_elem(shape, true).into(),
            DType::F32 | DType::F16 => {
                let numbers = match *shape {
                    [n, 3, height, width] => pictures([n, 3, height, width], &mut random),
                    _ if whole => ArrayD::from_elem(shape, 1f32),
                    _ => ArrayD::from_shape_simple_fn(shape, || random.even()),
                };
                match spec.dtype {
                    DType::F32 => numbers.into(),
                    _ => numbers.mapv(half::f16::from_f32).into(),
                }
            }
            other => return Err(format!("`{}` is {other}: no numbers for it", spec.name).into()),
        });
    }
    Ok(inputs)
}

/// Pictures as they are after the usual normalization: a few waves, much alike in all colors, and noise.
fn pictures(shape: [usize; 4], random: &mut Random) -> ArrayD<f32> {
    let mut all = Array4::zeros(shape);
    for mut picture in all.outer_iter_mut() {
        let waves: Vec<[f32; 4]> = (0..6)
            .map(|_| [random.even() * 0.3, random.even() * 0.3, random.even() * 3.0, random.even()])
            .collect();
        let light = random.even();
        for ((color, y, x), value) in picture.indexed_iter_mut() {
            let at = |[down, right, phase, strength]: &[f32; 4]| {
                strength
                    * 0.6
                    * (down * y as f32 + right * x as f32 + phase + 0.2 * color as f32).sin()
            };
            *value = light + waves.iter().map(at).sum::<f32>() + 0.1 * random.even();
        }
    }
    all.into_dyn()
}

/// What was measured before, or on random inputs now. How long that took goes to stdout, beside how long it takes to
/// run the same inputs in 32 bits.
pub(crate) fn ranges(path: &Path, model: &OnnxModel, args: &Args) -> Result<Option<Ranges>> {
    if let Some(path) = &args.ranges {
        return Ok(Some(Ranges::open(path)?));
    }
    if args.calibrate == 0 {
        return Ok(None);
    }
    // The values that a precision will see: sizes that are computed though they are known are constants.
    let model = &model.for_target(Target::tensorrt())?;
    let registry = match args.calibrate_on_gpu {
        true => Registry::empty().with(TensorRt::rtx()),
        false => portable(),
    };
    let first =
        model.signature().inputs.first().and_then(|spec| spec.shape.dims().first()?.fixed());
    let count = args.calibrate.div_ceil(first.unwrap_or(1).max(1)) as u64;
    let batch = |i| inputs(model, args, args.seed + 1000 + i);
    let batches = (0..count).map(batch).collect::<Result<Vec<_>>>()?;
    let compiled = registry.compile(|target| model.for_target(target))?;
    let start = Instant::now();
    for batch in &batches {
        compiled.executable.run(batch)?;
    }
    let plain = start.elapsed().as_secs_f64();
    let on = compiled.engine.kind().to_string();
    drop(compiled);
    let start = Instant::now();
    let calibration = Calibration::new(args.method).least_samples(1);
    let calibration = args.at_once.into_iter().fold(calibration, Calibration::batches_at_once);
    let ranges = calibration.run(model, &registry, batches)?;
    let line = json!({
        "model": name(path),
        "calibrated_on": on,
        "samples": ranges.samples(),
        "method": ranges.method(),
        "calibration_s": start.elapsed().as_secs_f64(),
        "fp32_run_s": plain,
    });
    println!("{line}");
    Ok(Some(ranges))
}
